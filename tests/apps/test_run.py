"""`rickhouse run` as a process: whatever ends it, nothing that it started is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from rickhouse.platform.embedded import find_embedded, reset
from tests.journeys.stack import free_port

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def home(new_cluster_root: Callable[[], Path]) -> Iterator[Path]:
    """The data directory of this module's runs."""
    root = new_cluster_root()
    yield root
    reset(root)


class Run:
    """One `rickhouse run` under way."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ports = {"web": free_port(), "bank": free_port(), "bureau": free_port()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rickhouse", "run"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(home, self.ports),
        )
        self.heard: list[str] = []

    def wait_for(self, words: str) -> None:
        """Read what it says until a line begins with `words`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard.append(line.rstrip())
            if line.startswith(words):
                return
        raise AssertionError(f"never said {words!r}: {self.heard}")

    def started(self) -> list[psutil.Process]:
        """Every process that it has started and that runs now, PostgreSQL included."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        server = find_embedded(self.home)
        pid = server.pid() if server is not None else None
        return [*found, psutil.Process(pid)] if pid is not None else found

    def end(self, number: signal.Signals) -> int:
        """Send the signal; answers the exit code."""
        self.process.send_signal(number)
        self.heard += self.process.communicate(timeout=60)[0].splitlines()
        return self.process.returncode


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended; a zombie has, and nobody has asked for its exit code yet."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def environment(home: Path, ports: dict[str, int]) -> dict[str, str]:
    """The settings of a run with its own ports and data."""
    return {
        **os.environ,
        "RICKHOUSE_DATA_DIR": str(home),
        "RICKHOUSE_WEB__PORT": str(ports["web"]),
        "RICKHOUSE_PAYMENTS__BANK_URL": f"http://127.0.0.1:{ports['bank']}",
        "RICKHOUSE_CUSTOMERS__BUREAU_URL": f"http://127.0.0.1:{ports['bureau']}",
    }


@contextmanager
def under_way(home: Path) -> Generator[Run]:
    run = Run(home)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.wait()


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("starting PostgreSQL", signal.SIGTERM),
        ("starting the age bureau simulator", signal.SIGHUP),
        ("ready after", signal.SIGINT),
    ],
)
def test_signal_while_it_starts_ends_all_that_it_started(
    home: Path, words: str, number: signal.Signals
) -> None:
    with under_way(home) as run:
        run.wait_for(words)
        started = run.started()
        code = run.end(number)

    assert code == 128 + number
    assert run.heard[-1] == f"ended by {number.name} before everything was up"
    assert [process for process in started if runs(process)] == []
    assert find_embedded(home) is None


def test_signal_while_it_serves_ends_it_well(home: Path) -> None:
    with under_way(home) as run:
        run.wait_for("serving")
        started = run.started()
        code = run.end(signal.SIGTERM)

    assert code == 0
    assert len(started) >= 6
    assert [process for process in started if runs(process)] == []
    assert find_embedded(home) is None


@pytest.mark.parametrize(
    ("part", "setting"),
    [
        ("web", "RICKHOUSE_WEB__PORT"),
        ("bank", "RICKHOUSE_PAYMENTS__BANK_URL"),
        ("bureau", "RICKHOUSE_CUSTOMERS__BUREAU_URL"),
    ],
)
def test_taken_port_is_told_with_the_setting_that_names_another(
    tmp_path: Path, part: str, setting: str
) -> None:
    ports = {"web": free_port(), "bank": free_port(), "bureau": free_port()}
    with socket.create_server(("127.0.0.1", ports[part])):
        done = subprocess.run(
            [sys.executable, "-m", "rickhouse", "run", "--once"],
            env=environment(tmp_path / "home", ports),
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == (
        f"rickhouse: Port {ports[part]} on 127.0.0.1 is taken: stop what listens there, "
        f"or choose another with {setting}.\n"
    )
    assert not (tmp_path / "home").exists()
