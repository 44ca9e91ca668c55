"""The `rickhouse` command: its names. What a command does belongs in `commands`, and is loaded when it is asked for."""

from __future__ import annotations

import sys
from typing import Final

from cyclopts import App

from rickhouse import __version__
from rickhouse.apps.refusals import Refused, Told
from rickhouse.kernel.errors import Condition
from rickhouse.platform.embedded import EmbeddedError
from rickhouse.platform.settings import SettingsError

EXPECTED: Final = (Condition, EmbeddedError, SettingsError, Told)
"""What may go wrong without being a bug: told in one sentence, exit code 1."""

_COMMANDS: Final = "rickhouse.apps.commands"

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
payments = App(name="payments", help="Money. Example: rickhouse payments verify")
events = App(name="events", help="Events that could not be handled. Example: rickhouse events parked")
jobs = App(name="jobs", help="Jobs that failed too often. Example: rickhouse jobs given-up")
simulate = App(name="simulate", help="Vendors, simulated. Example: rickhouse simulate bank --port 8090")
for group in (db, token, inventory, payments, events, jobs, simulate):
    app.command(group)

COMMANDS: Final[tuple[tuple[App, str, str, str, str], ...]] = (
    (
        app,
        "run",
        "run:run",
        "Bring everything up, buy one bottle through the API, keep serving.",
        "rickhouse run --once",
    ),
    (
        app,
        "serve",
        "serve:serve",
        "Serve the HTTP API of all slices, or of the named ones.",
        "RICKHOUSE_WEB__PORT=8101 rickhouse serve inventory",
    ),
    (app, "work", "work:work", "Run what the slices do by themselves.", "rickhouse work inventory"),
    (app, "seed", "data:seed", "Put a believable distillery into the database.", "rickhouse seed"),
    (
        app,
        "buy",
        "shop:buy",
        "Buy one bottle through a running API, telling each step.",
        "rickhouse buy --sku BSB-0750",
    ),
    (app, "doctor", "checks:doctor", "Check this installation.", "rickhouse doctor"),
    (
        app,
        "reset",
        "data:reset",
        "Stop the embedded PostgreSQL and delete all of its data.",
        "rickhouse reset",
    ),
    (
        db,
        "migrate",
        "data:db_migrate",
        "Create roles, schemas and tables, and apply what waits.",
        "rickhouse db migrate",
    ),
    (db, "status", "data:db_status", "Show what is applied and what waits.", "rickhouse db status"),
    (
        token,
        "issue",
        "shop:token_issue",
        "Print a signed bearer token.",
        "rickhouse token issue my-shop --role shop --ttl-s 86400",
    ),
    (
        inventory,
        "verify",
        "data:inventory_verify",
        "Prove that stock, movements and holds agree.",
        "rickhouse inventory verify",
    ),
    (
        payments,
        "verify",
        "data:payments_verify",
        "Prove that postings and payments agree.",
        "rickhouse payments verify",
    ),
    (
        events,
        "parked",
        "events:events_parked",
        "Show the events that slices failed to handle.",
        "rickhouse events parked orders",
    ),
    (
        events,
        "retry",
        "events:events_retry",
        "Handle one parked event now.",
        "rickhouse events retry orders.hold_expired 812-7",
    ),
    (
        events,
        "replay",
        "events:events_replay",
        "Let a subscription handle its events once more.",
        "rickhouse events replay orders.hold_expired --after 812-7",
    ),
    (
        jobs,
        "given-up",
        "jobs:jobs_given_up",
        "Show the jobs that failed too often.",
        "rickhouse jobs given-up payments",
    ),
    (
        jobs,
        "try-again",
        "jobs:jobs_try_again",
        "Put a job that was given up back into its queue.",
        "rickhouse jobs try-again payments 17",
    ),
    (
        simulate,
        "bank",
        "simulate:simulate_bank",
        "A bank with its own ledger and magic tokens.",
        "rickhouse simulate bank --port 8090 --ledger bank.jsonl",
    ),
    (
        simulate,
        "bureau",
        "simulate:simulate_bureau",
        "An age bureau with magic names.",
        "rickhouse simulate bureau --port 8091",
    ),
)
"""Where each command stands, its name, the function that does it, its line in the list, and an example."""

for group, name, function, line, example in COMMANDS:
    group.command(f"{_COMMANDS}.{function}", name=name, help=f"{line}\n\nExample: {example}")


def main() -> None:
    """Run the command line; what may go wrong is told in one sentence."""
    try:
        app()
    except Refused:
        sys.exit(1)
    except EXPECTED as error:
        print(f"rickhouse: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
