"""A release of 200 bottles and 2,000 buyers at once: exactly 200 buy, the rest are told that it is sold out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

import asyncpg

from bench.cpu import since
from bench.house import OURS, MeasuredHouse
from bench.shop import BOUGHT, SOLD_OUT, buyers
from bench.table import percentiles_ms, say, show
from bench.wire import Crowd, Done, Plan
from rickhouse.apps.databases import database_of
from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.ids import VariantId

BUYERS: Final = 2_000
CONCURRENCY: Final = 200
BOTTLES: Final = 200

_BROKEN: Final = "BROKEN"
_LEFT: Final = (
    "select coalesce(sum(on_hand), 0), coalesce(sum(held), 0) from inventory.stock where variant_id = $1"
)


class DropInexact(Exception):
    """A bottle too many or too few was sold, or somebody was told something else than that."""


def measure(house: MeasuredHouse, crowd: Crowd, seconds: float) -> None:
    """Sell one release out, then refuse buyers who come too late for `seconds`. Raises DropInexact."""
    say(f"drop: {BUYERS} buyers, {CONCURRENCY} at a time, for {BOTTLES} bottles")
    variant_id = house.release(BOTTLES)
    visits = partial(buyers, house.token, (str(variant_id),))
    rush = crowd.follow(Plan(house.port, CONCURRENCY, visits, visits_max=BUYERS))
    left, faults = asyncio.run(_books(house, variant_id))
    say(f"drop: refusing latecomers for {seconds:.0f} s")
    before = house.meter.read()
    late = crowd.follow(Plan(house.port, CONCURRENCY, visits, seconds=seconds))
    spent = since(before, house.meter.read())
    bought, refused = rush.came_to(BOUGHT), late.came_to(SOLD_OUT)
    rows = [
        _required("bottles sold", len(bought), BOTTLES),
        _required("buyers told 409 sold_out", len(rush.came_to(SOLD_OUT)), BUYERS - BOTTLES),
        _required("other outcomes", rush.others(BOUGHT, SOLD_OUT), {}),
        _required("bottles on hand and held", sum(left), 0),
        _required("differences in the inventory's books", faults, 0),
        ("sold out after, s", f"{max((done.ended_s for done in bought), default=0.0):.2f}", ""),
        ("everybody answered after, s", f"{rush.elapsed_s:.2f}", ""),
        _times("buying", bought),
        _times("refusals in the rush", rush.came_to(SOLD_OUT)),
        _required("other outcomes of latecomers", late.others(SOLD_OUT), {}),
        ("refusals/s of latecomers", f"{len(refused) / late.elapsed_s:.0f}", ""),
        _times("refusals of latecomers", refused),
        ("core-ms per refusal, ours", _each_ms(sum(spent[part] for part in OURS), refused), ""),
        *((f"– {part}", _each_ms(spent[part], refused), "") for part in OURS),
    ]
    title = f"A drop: {BUYERS:,} buyers, {CONCURRENCY} at a time, {BOTTLES} bottles"
    show(title, ("figure", "found", "must be"), rows)
    broken = [name for name, _, verdict in rows if verdict.endswith(_BROKEN)]
    if broken:
        raise DropInexact(f"the drop was not exact: {', '.join(broken)}")


def _required(name: str, found: object, wanted: object) -> tuple[str, str, str]:
    shown, required = ("none" if value == {} else str(value) for value in (found, wanted))
    return name, shown, f"{required}: {'kept' if found == wanted else _BROKEN}"


def _times(name: str, visits: Sequence[Done]) -> tuple[str, str, str]:
    return f"{name}, p50 / p95 / p99 ms", percentiles_ms([done.took_s for done in visits]), ""


def _each_ms(seconds: float, visits: Sequence[Done]) -> str:
    return f"{seconds * 1000 / max(len(visits), 1):.2f}"


async def _books(house: MeasuredHouse, variant_id: VariantId) -> tuple[tuple[int, int], int]:
    """What is left of the variant (on hand, held), and how many differences the books show."""
    connection = await asyncpg.connect(house.admin_url)
    database = await database_of(house.settings, "inventory").open()
    try:
        row = await connection.fetchrow(_LEFT, variant_id.uuid)
        assert row is not None
        report = await InventoryService(database).verify()
        return (int(row[0]), int(row[1])), len(report.differences)
    finally:
        await database.close()
        await connection.close()
