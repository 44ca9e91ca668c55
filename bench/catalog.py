"""The list of 24 products, and the 304 that a shop gets which has it already."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from bench.cpu import since
from bench.house import OURS, PRODUCTS, MeasuredHouse
from bench.table import percentiles_ms, say, show
from bench.wire import Crowd, Plan, Visit, request

CONCURRENCY: Final = 16
WARM_UP_S: Final = 2.0
_PATH: Final = f"/v1/products?limit={PRODUCTS}"


def measure(house: MeasuredHouse, crowd: Crowd, seconds: float) -> None:
    """Ask for the list, whole and only if changed, for `seconds` each."""
    whole = request("GET", _PATH, house.token)
    etag, body_bytes = _look(house, crowd, whole)
    unchanged = request("GET", _PATH, house.token, f"if-none-match: {etag}")
    asked = {
        f"list of {PRODUCTS}, {body_bytes / 1024:.1f} KiB": (whole, "200"),
        "unchanged": (unchanged, "304"),
    }
    rows: list[tuple[str, ...]] = []
    for name, (asking, expected) in asked.items():
        say(f"catalog: {name}, {seconds:.0f} s")
        visits = partial(_readers, asking)
        crowd.follow(Plan(house.port, CONCURRENCY, visits, seconds=WARM_UP_S))
        before = house.meter.read()
        found = crowd.follow(Plan(house.port, CONCURRENCY, visits, seconds=seconds))
        spent = since(before, house.meter.read())
        answered = found.came_to(expected)
        assert not found.others(expected), f"other answers than {expected}: {found.others(expected)}"
        rows.append(
            (
                name,
                expected,
                f"{len(answered) / found.elapsed_s:.0f}",
                percentiles_ms([done.took_s for done in answered]),
                f"{sum(spent[part] for part in OURS) * 1000 / len(answered):.3f}",
                *(f"{spent[part] * 1000 / len(answered):.3f}" for part in OURS),
            )
        )
    head = ("GET /v1/products", "status", "requests/s", "p50 / p95 / p99 ms", "core-ms, ours", *OURS)
    show(f"The catalogue, {CONCURRENCY} at a time", head, rows)


def _look(house: MeasuredHouse, crowd: Crowd, asking: bytes) -> tuple[str, int]:
    """The entity tag of the list, and its size in bytes."""
    found = crowd.follow(Plan(house.port, 1, partial(_look_once, asking), visits_max=1))
    etag, _, size = found.done[0].outcome.rpartition(" ")
    return etag, int(size)


def _look_once(asking: bytes) -> Iterator[Visit]:
    def visit() -> Visit:
        reply = yield asking
        etag = next(line for line in reply.head.split(b"\r\n") if line.lower().startswith(b"etag: "))
        return f"{etag[6:].decode()} {len(reply.body)}"

    yield visit()


def _readers(asking: bytes) -> Iterator[Visit]:
    def visit() -> Visit:
        reply = yield asking
        return str(reply.status)

    while True:
        yield visit()
