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
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from rickhouse.apps.buy import Shop
from rickhouse.apps.compose import compose
from rickhouse.apps.databases import EMBEDDED_DATABASE, SLICES, Report, bring_up_to_date, embedded
from rickhouse.apps.house import token_key
from rickhouse.apps.ports import BANK_URL, BUREAU_URL, WEB_PORT, require_free_port
from rickhouse.apps.refusals import Told
from rickhouse.apps.scopes import OFFICE_SCOPES, SHOP_SCOPES
from rickhouse.apps.seed.load import seed
from rickhouse.apps.terminal import program
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

    SIGTERM, SIGHUP and SIGINT end it at any moment, with all that it started: quietly once it serves, with the exit
    code of that signal before. Raises PortTaken, StartFailed, EmbeddedError, PurchaseFailed, SystemExit.
    """
    _require_free_ports(settings)
    claim_data_root(settings.data_root)
    share_metrics(settings.metrics_dir)
    asyncio.run(_until_told(partial(_run, settings, once, say), say))


def _require_free_ports(settings: Settings) -> None:
    vendors = ((settings.payments.bank_url, BANK_URL), (settings.customers.bureau_url, BUREAU_URL))
    for url, setting in vendors:
        require_free_port(urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 80, setting)
    require_free_port(settings.web.host, settings.web.port, WEB_PORT)


async def _until_told(story: Callable[[asyncio.Event], Coroutine[None, None, None]], say: Report) -> None:
    """Run the story to its end, or until a signal says so.

    A signal arrives where the story awaits something, never between starting a process and noting that it was started,
    nor while what was started is being stopped. The event is the story's to set: from then on it has nothing to lose.
    """
    serving, told = asyncio.Event(), list[signal.Signals]()
    running = asyncio.create_task(story(serving))

    def end(number: signal.Signals) -> None:
        told.append(number)
        running.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        # Whoever started this under nohup wants it to outlive his terminal.
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        await running
    except asyncio.CancelledError:
        if not serving.is_set():
            _say_last(say, f"ended by {told[0].name} before everything was up")
            raise SystemExit(128 + told[0]) from None


async def _run(settings: Settings, once: bool, say: Report, serving: asyncio.Event) -> None:
    began = time.perf_counter()
    with ExitStack() as stack:
        settings = _with_database(settings, stack, say)
        say("bringing the database up to date")
        applied = await bring_up_to_date(settings, SLICES, lambda line: say(f"  {line}"))
        say(f"  {applied} migrations applied" if applied else "  nothing to apply")
        await _seed(settings, say)
        base_url = f"http://{settings.web.host}:{settings.web.port}"
        parts = {
            "bank simulator": ("simulate", "bank", *_address_options(settings.payments.bank_url)),
            "age bureau simulator": ("simulate", "bureau", *_address_options(settings.customers.bureau_url)),
            "job worker": ("work",),
            "web server": ("serve",),
        }
        running = {name: stack.enter_context(_part(name, command, say)) for name, command in parts.items()}
        await _wait_ready(base_url, running)
        say(
            f"ready after {time.perf_counter() - began:.1f} s; buying one bottle through {base_url} as a shop would"
        )
        await _buy(settings, base_url, say)
        _tell_addresses(base_url, say)
        if not once:
            say("serving; Ctrl-C stops it")
            serving.set()
            await _serve_on(running)


def _with_database(settings: Settings, stack: ExitStack, say: Report) -> Settings:
    """The settings of every part, PostgreSQL running; `stack` stops it again if it was started here.

    The parts are processes of their own, and find these settings in their environment.
    """
    if not settings.compliance.permits and _demonstration(settings):
        say("no permits are configured: the demonstration distillery's own licence is taken for granted")
        os.environ["RICKHOUSE_COMPLIANCE__PERMITS"] = encode_json(DEMO_PERMITS).decode()
    if not settings.database.url:
        say("starting PostgreSQL")
        server = embedded(settings, say)
        if server.started_here:
            stack.callback(server.stop)
        os.environ["RICKHOUSE_DATABASE__URL"] = server.url(EMBEDDED_DATABASE)
    # A line for every request would bury the story; whoever wants them says so.
    os.environ.setdefault("RICKHOUSE_LOG__LEVEL", "warning")
    return load_settings()


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
            process.send_signal(signal.SIGTERM)
            _say_last(say, f"stopping the {name}")
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                # Its group, for it may have children of its own.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _say_last(say: Report, line: str) -> None:
    """Say it if anybody still listens: what ends us may be that the terminal is gone."""
    with suppress(OSError):
        say(line)


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
    say(f"a shop's token    {program()} token issue my-shop --role shop")


async def _serve_on(running: dict[str, subprocess.Popen[bytes]]) -> None:
    while True:
        _require_running(running)
        await asyncio.sleep(0.5)
