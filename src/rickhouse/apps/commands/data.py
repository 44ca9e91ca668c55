"""Commands about what is stored."""

from __future__ import annotations

import asyncio

from rickhouse.apps.compose import compose, gateway_of
from rickhouse.apps.databases import SLICES, bring_up_to_date, opened, states
from rickhouse.apps.refusals import Refused
from rickhouse.apps.seed.load import seed as seed_house
from rickhouse.apps.terminal import Config, Slice, say, settings_of, with_database
from rickhouse.inventory.model import written as stock_written
from rickhouse.inventory.service import InventoryService
from rickhouse.payments.model import written as money_written
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.embedded import reset as reset_root
from rickhouse.platform.settings import Settings


def seed(*, config: Config = None) -> None:
    """Put spirits, bottlings, warehouses and stock into the database. Running it twice is safe."""

    async def plant(settings: Settings) -> None:
        house = compose(settings, SLICES)
        await house.open()
        try:
            say(await seed_house(house))
        finally:
            await house.close()

    asyncio.run(plant(with_database(settings_of(config))))


def reset(*, config: Config = None) -> None:
    """Stop the embedded PostgreSQL and delete all of its data. Only ever a directory that Rickhouse made."""
    root = settings_of(config).data_root
    reset_root(root)
    say(f"{root} and all that was in it is gone")


def db_migrate(*slices: Slice, config: Config = None) -> None:
    """Create roles, schemas and tables, and apply what waits. Safe to run twice, and at once."""
    applied = asyncio.run(bring_up_to_date(with_database(settings_of(config)), slices or SLICES, say))
    say(f"{applied} migrations applied" if applied else "nothing to apply")


def db_status(*slices: Slice, config: Config = None) -> None:
    """Show what is applied and what waits; exit code 1 when something waits."""
    found = asyncio.run(states(with_database(settings_of(config)), slices or SLICES))
    for state in found:
        waiting = ", ".join(state.pending) or "nothing"
        say(f"{state.slice:<12} {len(state.applied)} applied, waiting: {waiting}")
    if any(state.pending for state in found):
        raise Refused


def inventory_verify(*, config: Config = None) -> None:
    """Prove that stock, movements and holds agree; print every difference; exit code 1 when there is one."""

    async def verify(settings: Settings) -> bool:
        async with opened(settings, "inventory") as database:
            report = await InventoryService(database).verify()
        say(stock_written(report))
        return not report.differences

    if not asyncio.run(verify(with_database(settings_of(config)))):
        raise Refused


def payments_verify(*, config: Config = None) -> None:
    """Prove that every movement of money sums to zero, and that every payment is what its postings say.

    Prints every difference; exit code 1 when there is one. Nobody outside is asked.
    """

    async def verify(settings: Settings) -> bool:
        async with opened(settings, "payments") as database:
            found = await PaymentsService(database, gateway=gateway_of(settings)).verify()
        say(money_written(found))
        return not found

    if not asyncio.run(verify(with_database(settings_of(config)))):
        raise Refused
