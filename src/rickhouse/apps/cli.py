"""The `rickhouse` command: names, options and help. What a command does belongs in the module that it calls."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cyclopts import App, Parameter

from rickhouse import __version__
from rickhouse.apps import buy as buying
from rickhouse.apps import doctor as doctoring
from rickhouse.apps import run as running
from rickhouse.apps import work as working
from rickhouse.apps.compose import compose
from rickhouse.apps.databases import (
    EMBEDDED_DATABASE,
    SLICES,
    bring_up_to_date,
    database_of,
    embedded,
    states,
)
from rickhouse.apps.house import token_key
from rickhouse.apps.scopes import OFFICE_SCOPES, ROLES, SHOP_SCOPES
from rickhouse.apps.seed.load import seed as seed_house
from rickhouse.apps.serve import PortTaken
from rickhouse.apps.serve import serve as serve_slices
from rickhouse.apps.simulators import bank, bureau
from rickhouse.inventory.model import written
from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.errors import Condition
from rickhouse.platform.embedded import EmbeddedError
from rickhouse.platform.embedded import reset as reset_root
from rickhouse.platform.logs import configure_logging
from rickhouse.platform.settings import Settings, SettingsError, load_settings

EXPECTED: Final = (
    Condition,
    EmbeddedError,
    SettingsError,
    PortTaken,
    running.StartFailed,
    buying.PurchaseFailed,
)
"""What may go wrong without being a bug: told in one sentence, exit code 1."""

app = App(
    name="rickhouse",
    version=__version__,
    help="Sell craft spirits: never oversell, never lose a payment, never break the law, never leak a name.",
)
db = App(name="db", help="The databases' schemas. Example: rickhouse db status")
token = App(
    name="token", help="Bearer tokens for the API. Example: rickhouse token issue my-shop --role shop"
)
inventory = App(name="inventory", help="Stock. Example: rickhouse inventory verify")
simulate = App(name="simulate", help="Vendors, simulated. Example: rickhouse simulate bank --port 8090")
for sub in (db, token, inventory, simulate):
    app.command(sub)

Config = Annotated[
    Path | None, Parameter(name="--config", help="A settings file other than ./rickhouse.toml.")
]
Slice = Literal["catalog", "inventory", "customers", "compliance", "payments", "orders"]


def say(line: str) -> None:
    """One line of progress for a person."""
    print(line, flush=True)  # the command line talks on standard output


@app.command
def run(*, once: bool = False, config: Config = None) -> None:
    """Bring everything up on this machine, buy one bottle through the API, and keep serving.

    Example: rickhouse run --once

    Parameters
    ----------
    once
        Stop after the purchase, exit code 0.
    """
    running.run(_settings(config), once=once, say=say)


@app.command
def serve(*slices: Slice, config: Config = None) -> None:
    """Serve the HTTP API of every slice that is not remote, or of the named ones.

    Example: RICKHOUSE_WEB__PORT=8101 rickhouse serve inventory
    """
    serve_slices(_for_slices(_database(_settings(config)), slices))


@app.command
def work(*slices: Slice, config: Config = None) -> None:
    """Run what the slices do by themselves: expiring holds, finishing interrupted orders, following events.

    Example: rickhouse work inventory
    """
    settings = _for_slices(_database(_settings(config)), slices)
    configure_logging(level=settings.log.level)
    asyncio.run(working.work(settings))


@app.command
def seed(*, config: Config = None) -> None:
    """Put a believable distillery into the database: spirits, bottlings, warehouses, stock. Running it twice is safe.

    Example: rickhouse seed
    """

    async def plant(settings: Settings) -> None:
        house = compose(settings, SLICES)
        await house.open()
        try:
            say(await seed_house(house))
        finally:
            await house.close()

    asyncio.run(plant(_database(_settings(config))))


@app.command
def buy(
    *,
    url: str = "http://127.0.0.1:8000",
    sku: str | None = None,
    payment_token: str = buying.GOOD_CARD,
    config: Config = None,
) -> None:
    """Buy one bottle through a running API, telling each step.

    Example: rickhouse buy --sku BSB-0750

    Parameters
    ----------
    url
        Where the API listens.
    sku
        Which bottling; the first one in stock otherwise.
    payment_token
        The gateway's token, such as tok_decline or tok_3ds of the bank simulator.
    """
    key = token_key(_settings(config))
    shop = buying.Shop(
        url,
        shop_token=key.issue("demo-shop", SHOP_SCOPES, 600),
        office_token=key.issue("demo-office", OFFICE_SCOPES, 600),
        say=say,
    )
    asyncio.run(shop.buy(sku=sku, payment_token=payment_token))


@app.command
def doctor(*, config: Config = None) -> None:
    """Check this installation: settings, key files, database, migrations, vendors. Exit code 1 when something is wrong.

    Example: rickhouse doctor
    """
    findings = asyncio.run(doctoring.examine(_settings(config)))
    for finding in findings:
        say(f"{'ok ' if finding.fine else 'BAD'}  {finding.what}: {finding.detail}")
    if not all(finding.fine for finding in findings):
        sys.exit(1)


@app.command
def reset(*, config: Config = None) -> None:
    """Stop the embedded PostgreSQL and delete all of its data. Only ever a directory that Rickhouse made.

    Example: rickhouse reset
    """
    root = _settings(config).data_root
    reset_root(root)
    say(f"{root} is empty")


@db.command(name="migrate")
def db_migrate(*slices: Slice, config: Config = None) -> None:
    """Create roles, schemas and tables, and apply what waits. Safe to run twice, and at once.

    Example: rickhouse db migrate
    """
    applied = asyncio.run(bring_up_to_date(_database(_settings(config)), slices or SLICES, say))
    say(f"{applied} migrations applied" if applied else "nothing to apply")


@db.command(name="status")
def db_status(*slices: Slice, config: Config = None) -> None:
    """Show what is applied and what waits; exit code 1 when something waits.

    Example: rickhouse db status
    """
    found = asyncio.run(states(_database(_settings(config)), slices or SLICES))
    for state in found:
        waiting = ", ".join(state.pending) or "nothing"
        say(f"{state.slice:<12} {len(state.applied)} applied, waiting: {waiting}")
    if any(state.pending for state in found):
        sys.exit(1)


@token.command(name="issue")
def token_issue(
    subject: str,
    *,
    role: Literal["shop", "office"] = "shop",
    scope: Annotated[list[str] | None, Parameter(help="Instead of a role: a scope; may be repeated.")] = None,
    ttl_s: int = 3600,
    config: Config = None,
) -> None:
    """Print a signed bearer token.

    Example: rickhouse token issue my-shop --role shop --ttl-s 86400

    Parameters
    ----------
    subject
        Who holds it; owns the checkouts opened with it.
    role
        shop: buy and look. office: everything but buying.
    ttl_s
        Seconds until it expires.
    """
    scopes = frozenset(scope) if scope else ROLES[role]
    say(token_key(_settings(config)).issue(subject, scopes, ttl_s))


@inventory.command(name="verify")
def inventory_verify(*, config: Config = None) -> None:
    """Prove that stock, movements and holds agree; print every difference; exit code 1 when there is one.

    Example: rickhouse inventory verify
    """

    async def verify(settings: Settings) -> bool:
        database = await database_of(settings, "inventory").open()
        try:
            report = await InventoryService(database).verify()
        finally:
            await database.close()
        say(written(report))
        return not report.differences

    if not asyncio.run(verify(_database(_settings(config)))):
        sys.exit(1)


@simulate.command(name="bank")
def simulate_bank(*, host: str = "127.0.0.1", port: int = 8090, ledger: Path | None = None) -> None:
    """A bank with its own ledger and magic tokens, in its own process.

    Example: rickhouse simulate bank --port 8090 --ledger bank.jsonl
    """
    bank.run(host, port, ledger=ledger)


@simulate.command(name="bureau")
def simulate_bureau(*, host: str = "127.0.0.1", port: int = 8091) -> None:
    """An age bureau with magic names, in its own process.

    Example: rickhouse simulate bureau --port 8091
    """
    bureau.run(host, port)


def _settings(config: Path | None) -> Settings:
    if config is not None:
        os.environ["RICKHOUSE_CONFIG"] = str(config)
    return load_settings(config)


def _database(settings: Settings) -> Settings:
    """The settings with the embedded PostgreSQL running, where no other server is named."""
    if settings.database.url:
        return settings
    url = embedded(settings, say).url(EMBEDDED_DATABASE)
    return msgspec.structs.replace(settings, database=msgspec.structs.replace(settings.database, url=url))


def _for_slices(settings: Settings, slices: tuple[str, ...]) -> Settings:
    if not slices:
        return settings
    return msgspec.structs.replace(settings, web=msgspec.structs.replace(settings.web, slices=slices))


def main() -> None:
    """Run the command line; what may go wrong is told in one sentence."""
    try:
        app()
    except EXPECTED as error:
        print(f"rickhouse: {error}", file=sys.stderr)  # the command line talks to a person
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
