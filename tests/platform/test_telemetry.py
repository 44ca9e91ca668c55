"""Metrics: counted in any process, rendered in one place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COUNT = """
import sys
from pathlib import Path
from rickhouse.platform import telemetry
{before}
for _ in range({times}):
    telemetry.observe_request("GET", "/v1/products", 200, 0.004)
telemetry.observe_request("BREW", "unmatched", 405, 0.004)
telemetry.count_event_handled("orders.stock")
telemetry.count_event_failed("orders.stock")
telemetry.count_event_parked("orders.stock")
telemetry.count_job_failed("inventory.expire_holds")
telemetry.count_rpc_failure("inventory.hold")
{after}
"""


def run(script: str) -> str:
    """Standard output of a Python process."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_one_process_renders_what_it_counted() -> None:
    text = run(COUNT.format(before="", times=3, after="sys.stdout.buffer.write(telemetry.render_metrics())"))
    assert 'rickhouse_request_seconds_count{method="GET",route="/v1/products",status="200"} 3.0' in text
    assert (
        'rickhouse_request_seconds_bucket{le="0.0025",method="GET",route="/v1/products",status="200"} 0.0'
        in text
    )
    assert (
        'rickhouse_request_seconds_bucket{le="0.005",method="GET",route="/v1/products",status="200"} 3.0'
        in text
    )
    assert 'method="OTHER"' in text
    assert "BREW" not in text
    for name, label in (
        ("events_handled", 'subscription="orders.stock"'),
        ("events_failed", 'subscription="orders.stock"'),
        ("events_parked", 'subscription="orders.stock"'),
        ("jobs_failed", 'job="inventory.expire_holds"'),
        ("rpc_failures", 'call="inventory.hold"'),
    ):
        assert f"rickhouse_{name}_total{{{label}}} 1.0" in text


def test_processes_of_a_run_are_summed_and_the_run_before_is_forgotten(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    child = COUNT.format(before="", times=2, after="")
    run(COUNT.format(before=f"telemetry.share_metrics(Path({str(directory)!r}))", times=100, after=""))
    left = list(directory.iterdir())
    assert left
    text = run(f"""
import subprocess, sys
from pathlib import Path
from rickhouse.platform import telemetry
telemetry.share_metrics(Path({str(directory)!r}))
for _ in range(2):
    subprocess.run([sys.executable, "-c", {child!r}], check=True)
telemetry.observe_request("GET", "/v1/products", 200, 0.004)
sys.stdout.buffer.write(telemetry.render_metrics())
""")
    assert 'rickhouse_request_seconds_count{method="GET",route="/v1/products",status="200"} 5.0' in text
    assert 'rickhouse_events_parked_total{subscription="orders.stock"} 2.0' in text
    assert directory.stat().st_mode & 0o777 == 0o700
    assert not any(path.exists() for path in left)


def test_command_that_starts_later_leaves_the_numbers_of_the_living_alone(tmp_path: Path) -> None:
    share = f"telemetry.share_metrics(Path({str(tmp_path)!r}))"
    other = COUNT.format(before=share, times=1, after="")
    text = run(
        COUNT.format(
            before=share,
            times=3,
            after=f"""
import subprocess
subprocess.run([sys.executable, "-c", {other!r}], check=True)
sys.stdout.buffer.write(telemetry.render_metrics())
""",
        )
    )
    assert 'rickhouse_request_seconds_count{method="GET",route="/v1/products",status="200"} 4.0' in text
