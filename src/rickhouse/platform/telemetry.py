"""Metrics for Prometheus, summed over every process that shares a directory, and the line that each request leaves.

What a log line may hold belongs in `logs`; what a number means belongs to whoever counts it.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Final

import prometheus_client
import psutil
from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

from rickhouse.platform.logs import log_request

_DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Named by the library; processes that a run starts inherit it."""

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_REQUEST_BUCKETS_S: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class _Metrics:
    """Every metric of the house, made at first use: by then the process knows whether it shares a directory."""

    def __init__(self) -> None:
        if os.environ.get(_DIRECTORY_VARIABLE):
            # The library decides at its import, which may come before the directory is known.
            values.ValueClass = values.get_value_class()
        self.registry = CollectorRegistry()
        self.request_seconds = Histogram(
            "rickhouse_request_seconds",
            "Time from the first byte in to the last byte out, by route template.",
            ("method", "route", "status"),
            buckets=_REQUEST_BUCKETS_S,
            registry=self.registry,
        )
        self.events_handled = self._counter("events_handled", "Events whose effect was kept.", "subscription")
        self.events_failed = self._counter(
            "events_failed", "Attempts at an event that failed.", "subscription"
        )
        self.events_parked = self._counter(
            "events_parked", "Events set aside after failing too often.", "subscription"
        )
        self.jobs_failed = self._counter("jobs_failed", "Runs of a job that failed.", "job")
        self.rpc_failures = self._counter(
            "rpc_failures", "Calls of another process that had no answer.", "call"
        )

    def _counter(self, name: str, text: str, label: str) -> Counter:
        return Counter(f"rickhouse_{name}", text, (label,), registry=self.registry)


@cache
def _metrics() -> _Metrics:
    return _Metrics()


def share_metrics(directory: Path) -> None:
    """Let this process, and those that it starts from now on, write their metrics where every process finds them.

    Called before anything is counted, by each command that counts; what processes that are gone left there is deleted.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in directory.glob("*.db"):
        pid = left.stem.rpartition("_")[2]
        if not pid.isdigit() or int(pid) == os.getpid() or not psutil.pid_exists(int(pid)):
            left.unlink(missing_ok=True)
    os.environ[_DIRECTORY_VARIABLE] = str(directory)


def render_metrics() -> bytes:
    """The metrics of every process in Prometheus' text format."""
    directory = os.environ.get(_DIRECTORY_VARIABLE)
    if not directory:
        return prometheus_client.generate_latest(_metrics().registry)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, directory)
    return prometheus_client.generate_latest(registry)


@cache
def _request_child(method: str, route: str, status: int) -> Histogram:
    return _metrics().request_seconds.labels(method, route, str(status))


def observe_request(method: str, route: str, status: int, seconds: float, request_id: str = "") -> None:
    """Count one request and write its access line. `route` is the template, so that series stay few."""
    if method not in _METHODS:
        method = "OTHER"
    _request_child(method, route, status).observe(seconds)
    log_request(method, route, status, seconds, request_id)


def count_event_handled(subscription: str) -> None:
    """An event's effect and the subscription's position were kept together."""
    _metrics().events_handled.labels(subscription).inc()


def count_event_failed(subscription: str) -> None:
    """A handler raised; the event will be tried again or parked."""
    _metrics().events_failed.labels(subscription).inc()


def count_event_parked(subscription: str) -> None:
    """An event failed too often and was set aside."""
    _metrics().events_parked.labels(subscription).inc()


def count_job_failed(job: str) -> None:
    """A periodic or a task raised."""
    _metrics().jobs_failed.labels(job).inc()


def count_rpc_failure(call: str) -> None:
    """A call of another process (`inventory.hold`) ended without an answer."""
    _metrics().rpc_failures.labels(call).inc()
