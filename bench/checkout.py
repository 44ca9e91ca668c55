"""Whole checkouts over HTTP, beside pgbench running the same statements on the same server in the same run."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final, NamedTuple

from bench import effect, limit
from bench.cpu import EVERYBODY, STOLEN, memory_mib, since, workers_of
from bench.house import APART, OURS, POSTGRES, SERVER, MeasuredHouse
from bench.limit import Limit, Script
from bench.shop import BOUGHT, buyers
from bench.statements import take_down
from bench.table import percentile, percentiles_ms, say, show
from bench.wire import Crowd, Done, Plan, Visits
from rickhouse.apps.databases import SLICES, database_of
from rickhouse.inventory.service import InventoryService

CONCURRENCY: Final = 16
WARM_UP_S: Final = 5.0
ROUNDS: Final = 2
"""The house and pgbench take turns, so that a noisy minute falls on both."""


class Measured(NamedTuple):
    """One or more rounds of the house: visits, seconds, CPU seconds by part, and rows that each checkout added."""

    done: list[Done]
    elapsed_s: float
    cpu_s: dict[str, float]
    crowd_cpu_s: float
    rows: dict[str, int]


def measure(house: MeasuredHouse, crowd: Crowd, seconds: float) -> None:
    """Measure for `seconds` the house, and as long pgbench. Raises LimitFailed, EffectDiffers."""
    same = asyncio.run(script(house))
    say(f"checkout: warming up for {WARM_UP_S:.0f} s")
    crowd.follow(plan(house, WARM_UP_S))
    rounds: list[Measured] = []
    limits: list[Limit] = []
    limit_cpu_s = 0.0
    for number in range(1, ROUNDS + 1):
        say(f"checkout: round {number} of {ROUNDS}, {seconds / ROUNDS:.0f} s over HTTP")
        rounds.append(measured(house, crowd, plan(house, seconds / ROUNDS)))
        say(f"checkout: round {number} of {ROUNDS}, {seconds / ROUNDS:.0f} s of pgbench")
        before = house.meter.read()
        limits.append(_run_limit(house, same, seconds / ROUNDS, rounds[-1].rows))
        limit_cpu_s += since(before, house.meter.read())[POSTGRES]
    _require_true_books(house)
    _report(house, together(rounds), same, limits, limit_cpu_s)


def plan(house: MeasuredHouse, seconds: float) -> Plan:
    """Buyers, as many at a time as are measured, for that long."""
    variant_ids = tuple(map(str, house.variants))
    return Plan(house.port, CONCURRENCY, partial(buyers, house.token, variant_ids), seconds=seconds)


def measured(house: MeasuredHouse, crowd: Crowd, plan: Plan) -> Measured:
    """Follow the plan between two readings of the meter, and see that what was sold is what was answered."""
    counts, before = asyncio.run(effect.count(house.admin_url)), house.meter.read()
    visits = crowd.follow(plan)
    cpu_s = since(before, house.meter.read())
    after = asyncio.run(effect.count(house.admin_url))
    rows = effect.of_each(counts, after, len(visits.came_to(BOUGHT)))
    return Measured(visits.done, visits.elapsed_s, cpu_s, visits.cpu_s, rows)


def together(rounds: list[Measured]) -> Measured:
    """Several rounds as one."""
    return Measured(
        [done for each in rounds for done in each.done],
        sum(each.elapsed_s for each in rounds),
        {part: sum(each.cpu_s[part] for each in rounds) for part in rounds[0].cpu_s},
        sum(each.crowd_cpu_s for each in rounds),
        rounds[-1].rows,
    )


async def script(house: MeasuredHouse) -> Script:
    """The statements of the house as it runs, for pgbench."""
    checkouts = await take_down(house.settings, house.token, house.variants[:2])
    return await limit.script_of(house.admin_url, SLICES, checkouts, house.variants)


def _run_limit(house: MeasuredHouse, same: Script, seconds: float, rows: dict[str, int]) -> Limit:
    """Let pgbench do as the house did, and see that each of its iterations added as many rows."""
    counts = asyncio.run(effect.count(house.admin_url))
    found = limit.run(
        house.postgres,
        house.admin_url,
        same,
        house.settings.data_root,
        clients=CONCURRENCY,
        seconds=seconds,
    )
    effect.require(counts, asyncio.run(effect.count(house.admin_url)), found.checkouts, rows)
    return found


def _require_true_books(house: MeasuredHouse) -> None:
    say("checkout: verifying the books of the inventory")

    async def verify() -> None:
        database = await database_of(house.settings, "inventory").open()
        try:
            report = await InventoryService(database).verify()
        finally:
            await database.close()
        assert not report.differences, f"the books of the inventory disagree: {report.differences[:3]}"

    asyncio.run(verify())


def _report(
    house: MeasuredHouse, found: Measured, same: Script, limits: list[Limit], limit_cpu_s: float
) -> None:
    bought = [done for done in found.done if done.outcome == BOUGHT]
    count = len(bought)
    others = Visits(0, 0, found.done).others(BOUGHT)
    per_s = count / found.elapsed_s
    limit_count = sum(each.checkouts for each in limits)
    limit_per_s = sum(each.per_s for each in limits) / len(limits)
    times_s = [done.took_s for done in bought]
    spent = {part: seconds * 1000 / count for part, seconds in found.cpu_s.items()}
    ours = sum(spent[part] for part in OURS)
    p95_ms = percentile(times_s, 95) * 1000
    memory = [memory_mib(pid) for pid in workers_of(house.parts[SERVER])]
    rss_mib = max(rss for rss, _ in memory)
    known_s = found.crowd_cpu_s + sum(found.cpu_s[part] for part in (*OURS, *APART))
    others_cores = (found.cpu_s[EVERYBODY] - known_s) / found.elapsed_s
    rows = [
        ("checkouts answered 201/201", f"{count}", ""),
        ("other outcomes", str(others or "none"), _verdict("none", not others)),
        ("checkouts/s", f"{per_s:.1f}", ""),
        ("core-ms per checkout, ours", f"{ours:.2f}", _verdict("≤ 5", ours <= 5)),
        *((f"– {part}", f"{spent[part]:.2f}", "") for part in OURS),
        *((f"core-ms per checkout, {part}, apart", f"{spent[part]:.2f}", "") for part in APART),
        ("core-ms per checkout, this client, apart", f"{found.crowd_cpu_s * 1000 / count:.2f}", ""),
        (
            "cores taken by other programs / by the host",
            f"{others_cores:.2f} / {found.cpu_s[STOLEN] / found.elapsed_s:.2f}",
            "near 0, or core-ms and times are too high",
        ),
        ("whole checkout, p50 / p95 / p99 ms", percentiles_ms(times_s), _verdict("p95 ≤ 100", p95_ms <= 100)),
        ("– open, p50 / p95 / p99 ms", percentiles_ms([done.steps_s[0] for done in bought]), ""),
        ("– complete, p50 / p95 / p99 ms", percentiles_ms([done.steps_s[1] for done in bought]), ""),
        (
            "RSS / PSS per worker, MiB",
            ", ".join(f"{rss:.0f} / {pss:.0f}" for rss, pss in memory),
            _verdict("RSS < 150", rss_mib < 150),
        ),
        ("rows that each checkout adds", f"{sum(found.rows.values())} in {len(found.rows)} tables", ""),
        (f"pgbench, the same {same.statements} statements and rows: checkouts/s", f"{limit_per_s:.1f}", ""),
        ("– core-ms of PostgreSQL per checkout", f"{limit_cpu_s * 1000 / limit_count:.2f}", ""),
        (
            "of the limit",
            f"{per_s / limit_per_s:.3f}",
            _verdict("≥ 0.25", per_s / limit_per_s >= 0.25),
        ),
    ]
    show(
        f"Whole checkouts, {CONCURRENCY} at a time, {found.elapsed_s:.0f} s", ("figure", "found", "aim"), rows
    )


def _verdict(aim: str, reached: bool) -> str:
    return f"{aim}: {'reached' if reached else 'missed'}"
