"""The main job on one machine: database, simulators, server, worker, and one purchase to show that it works.

Each part is a process that can be run by its own command; what it does belongs there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from rickhouse.apps.buy import Shop
from rickhouse.apps.compose import compose
from rickhouse.apps.databases import EMBEDDED_DATABASE, SLICES, Report, bring_up_to_date, embedded
from rickhouse.apps.house import token_key
from rickhouse.apps.ports import require_free_port
from rickhouse.apps.refusals import Told
from rickhouse.apps.scopes import OFFICE_SCOPES, SHOP_SCOPES
from rickhouse.apps.seed.load import seed
from rickhouse.platform.codec import encode_json
from rickhouse.platform.embedded import claim_data_root
from rickhouse.platform.settings import Settings, load_settings
from rickhouse.platform.telemetry import share_metrics

_READY_WITHIN_S = 60.0
_STOP_WITHIN_S = 20.0


DEMO_PERMITS: Final = {"US-ND": "DEMONSTRATION"}
"""The seeded distillery's own licence; a real one names its permits in `compliance.permits`."""


class StartFailed(Told):
    """A part did not come up; the message says which, and what to do."""


def run(settings: Settings, *, once: bool, say: Report) -> None:
    """Bring everything up, buy a bottle, then keep serving (or stop, with `once`).

    Raises PortTaken, StartFailed, EmbeddedError, PurchaseFailed.
    """
    began = time.perf_counter()
    for url in (settings.payments.bank_url, settings.customers.bureau_url):
        require_free_port(urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 80)
    require_free_port(settings.web.host, settings.web.port)
    claim_data_root(settings.data_root)
    share_metrics(settings.data_root / "metrics")
    with ExitStack() as stack:
        if not settings.database.url:
            say("starting PostgreSQL")
            server = embedded(settings, say)
            if server.started_here:
                stack.callback(server.stop)
            # The parts are processes of their own and find the database by their environment.
            os.environ["RICKHOUSE_DATABASE__URL"] = server.url(EMBEDDED_DATABASE)
        if not settings.compliance.permits and _demonstration(settings):
            say("no permits are configured: the demonstration distillery's own licence is taken for granted")
            os.environ["RICKHOUSE_COMPLIANCE__PERMITS"] = encode_json(DEMO_PERMITS).decode()
        # A line for every request would bury the story; whoever wants them says so.
        os.environ.setdefault("RICKHOUSE_LOG__LEVEL", "warning")
        settings = load_settings()
        say("bringing the database up to date")
        applied = asyncio.run(bring_up_to_date(settings, SLICES, lambda line: say(f"  {line}")))
        say(f"  {applied} migrations applied" if applied else "  nothing to apply")
        asyncio.run(_seed(settings, say))
        base_url = f"http://{settings.web.host}:{settings.web.port}"
        parts = {
            "bank simulator": ("simulate", "bank", *_address_options(settings.payments.bank_url)),
            "age bureau simulator": ("simulate", "bureau", *_address_options(settings.customers.bureau_url)),
            "job worker": ("work",),
            "web server": ("serve",),
        }
        running = {name: stack.enter_context(_part(name, command, say)) for name, command in parts.items()}
        asyncio.run(_wait_ready(base_url, running))
        say(
            f"ready after {time.perf_counter() - began:.1f} s; buying one bottle through {base_url} as a shop would"
        )
        asyncio.run(_buy(settings, base_url, say))
        _tell_addresses(base_url, say)
        if not once:
            say("serving; Ctrl-C stops it")
            _wait_for_end(running, say)


def _demonstration(settings: Settings) -> bool:
    """Whether nothing here is real: our own database and simulated vendors. Anywhere else permits have to be stated."""
    return (
        not settings.database.url
        and settings.payments.gateway == "sandbox"
        and settings.customers.bureau == "sandbox"
    )


async def _seed(settings: Settings, say: Report) -> None:
    house = compose(settings, SLICES)
    await house.open()
    try:
        say("seeding the distillery")
        say(f"  {await seed(house)}")
    finally:
        await house.close()


def _address_options(url: str) -> tuple[str, ...]:
    """Let a simulator listen where the house looks for it."""
    parts = urlsplit(url)
    return "--host", parts.hostname or "127.0.0.1", "--port", str(parts.port or 80)


@contextmanager
def _part(name: str, command: Sequence[str], say: Report) -> Generator[subprocess.Popen[bytes]]:
    say(f"starting the {name}")
    process = subprocess.Popen([sys.executable, "-m", "rickhouse", *command], start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            say(f"stopping the {name}")
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _wait_ready(base_url: str, running: dict[str, subprocess.Popen[bytes]]) -> None:
    ends = time.monotonic() + _READY_WITHIN_S
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while time.monotonic() < ends:
            _require_running(running)
            try:
                async with session.get(f"{base_url}/health/ready") as reply:
                    if reply.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.1)
    raise StartFailed(
        f"The web server did not become ready within {_READY_WITHIN_S:.0f} s; see the lines above."
    )


def _require_running(running: dict[str, subprocess.Popen[bytes]]) -> None:
    for name, process in running.items():
        if process.poll() is not None:
            raise StartFailed(f"The {name} stopped with exit code {process.returncode}; see the lines above.")


async def _buy(settings: Settings, base_url: str, say: Report) -> None:
    key = token_key(settings)
    shop = Shop(
        base_url,
        shop_token=key.issue("demo-shop", SHOP_SCOPES, 600),
        office_token=key.issue("demo-office", OFFICE_SCOPES, 600),
        say=lambda line: say(f"  {line}"),
    )
    await shop.buy()


def _tell_addresses(base_url: str, say: Report) -> None:
    say(f"API reference     {base_url}/docs")
    say(f"OpenAPI 3.1       {base_url}/openapi.json")
    say(f"metrics           {base_url}/metrics")
    say("a shop's token    rickhouse token issue my-shop --role shop")


def _wait_for_end(running: dict[str, subprocess.Popen[bytes]], say: Report) -> None:
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    try:
        while not stopping:
            _require_running(running)
            time.sleep(0.5)
    except KeyboardInterrupt:
        pass
    say("stopping")
