"""Whether this installation is sound: each thing looked at, what was found, and what to do about it."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from rickhouse.apps.databases import SLICES, admin_urls, opened, states
from rickhouse.kernel.errors import Condition
from rickhouse.platform.embedded import EmbeddedError, find_embedded
from rickhouse.platform.events import count_parked
from rickhouse.platform.jobs import count_given_up
from rickhouse.platform.schema import server_facts
from rickhouse.platform.settings import Settings, SettingsError

_OLDEST_POSTGRES: Final = 16


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    fine: bool
    detail: str


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything; nothing is changed or started."""
    findings = [
        _key_file("token key", settings.token_key_file),
        _key_file("customer key", settings.customer_key_file),
    ]
    settings, server = _server(settings)
    findings.append(server)
    if server.fine:
        findings += [await _guarded(look, settings) for look in (_version, _migrations)]
        if findings[-1].fine:
            findings.append(await _guarded(_set_aside, settings))
    findings.append(await _reachable("bank", settings.payments.bank_url))
    findings.append(await _reachable("age bureau", settings.customers.bureau_url))
    remotes = settings.remotes.items()
    return [*findings, *[await _reachable(f"slice {name}", url) for name, url in remotes]]


def _key_file(what: str, path: Path) -> Finding:
    if not path.exists():
        return Finding(what, fine=True, detail=f"{path} will be made at the first start; back it up then")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Finding(what, fine=False, detail=f"others can read {path}: run 'chmod 600 {path}'")
    return Finding(what, fine=True, detail=f"{path} is its owner's alone")


def _server(settings: Settings) -> tuple[Settings, Finding]:
    what = "PostgreSQL"
    if settings.database.url:
        host = urlsplit(settings.database.url).hostname or "a Unix socket"
        return settings, Finding(what, fine=True, detail=f"the server at {host}, by database.url")
    try:
        running = find_embedded(settings.data_root)
    except EmbeddedError as error:
        return settings, Finding(what, fine=False, detail=str(error))
    if running is None:
        return settings, Finding(
            what, fine=False, detail="the embedded server is not running: start 'rickhouse run'"
        )
    database = msgspec.structs.replace(settings.database, url=running.url(database="rickhouse"))
    detail = f"embedded, in {running.data_dir}"
    return msgspec.structs.replace(settings, database=database), Finding(what, fine=True, detail=detail)


async def _guarded(look: Callable[[Settings], Awaitable[Finding]], settings: Settings) -> Finding:
    try:
        return await look(settings)
    except (Condition, SettingsError) as error:
        return Finding("database", fine=False, detail=str(error))


async def _version(settings: Settings) -> Finding:
    found = [await server_facts(url) for url in admin_urls(settings, SLICES)]
    fine = all(server.durable and server.version >= _OLDEST_POSTGRES for server in found)
    told = [
        f"PostgreSQL {server.version}, {'durable' if server.durable else 'NOT durable: turn fsync on'}"
        for server in found
    ]
    return Finding("database server", fine=fine, detail="; ".join(told))


async def _migrations(settings: Settings) -> Finding:
    waiting = [state.slice for state in await states(settings, SLICES) if state.pending]
    if waiting:
        return Finding(
            "migrations", fine=False, detail=f"wait in {', '.join(waiting)}: run 'rickhouse db migrate'"
        )
    return Finding("migrations", fine=True, detail="nothing waits")


async def _set_aside(settings: Settings) -> Finding:
    """What failed too often and waits for somebody, in every slice."""
    parked = given_up = 0
    for name in SLICES:
        async with opened(settings, name) as database:
            parked += await count_parked(database)
            given_up += await count_given_up(database)
    counted = f"{parked} parked events, {given_up} jobs given up"
    if parked or given_up:
        counted += ": see 'rickhouse events parked' and 'rickhouse jobs given-up'"
    return Finding("failures", fine=not parked and not given_up, detail=counted)


async def _reachable(what: str, url: str) -> Finding:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(3):
            _, writer = await asyncio.open_connection(parts.hostname, port)
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        return Finding(what, fine=False, detail=f"nothing listens at {url}")
    return Finding(what, fine=True, detail=f"listens at {url}")
