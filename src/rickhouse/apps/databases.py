"""Where each slice's data is, and bringing it up to date. SQL never belongs here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from rickhouse.platform.db import Database, url_for
from rickhouse.platform.embedded import EmbeddedPostgres, start_embedded
from rickhouse.platform.schema import Status, ensure_database, migrate, role_of, role_password, status
from rickhouse.platform.settings import Settings, SettingsError

SLICES: Final = ("catalog", "inventory", "customers", "compliance", "payments", "orders")
EMBEDDED_DATABASE: Final = "rickhouse"

Report = Callable[[str], None]


def admin_urls(settings: Settings, slices: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The administrator's URL of each database, and the slices in it.

    Raises SettingsError when there is neither a URL nor an embedded server to give one.
    """
    grouped: dict[str, tuple[str, ...]] = {}
    for name in slices:
        url = settings.database.urls.get(name, settings.database.url)
        if not url:
            raise SettingsError("database.url is empty: the embedded PostgreSQL has not been started.")
        grouped[url] = (*grouped.get(url, ()), name)
    return grouped


def database_of(settings: Settings, slice_name: str) -> Database:
    """The slice's pool, under the slice's own role; not opened yet."""
    url = settings.database.urls.get(slice_name, settings.database.url)
    password = role_password(settings.database.role_secret, slice_name)
    return Database(
        url_for(url, user=role_of(slice_name), password=password),
        schema=slice_name,
        pool_max=settings.database.pool_max,
    )


@asynccontextmanager
async def opened(settings: Settings, slice_name: str) -> AsyncGenerator[Database]:
    """The slice's pool, open until the block ends."""
    database = await database_of(settings, slice_name).open()
    try:
        yield database
    finally:
        await database.close()


def embedded(settings: Settings, report: Report) -> EmbeddedPostgres:
    """Start the embedded PostgreSQL, or find it running. It outlives this process. Raises EmbeddedError."""
    return start_embedded(settings.data_root, report=report)


async def bring_up_to_date(settings: Settings, slices: Iterable[str], report: Report) -> int:
    """Create what is missing (databases, roles, schemas, tables); answers how many migrations ran."""
    applied = 0
    for url, names in admin_urls(settings, slices).items():
        database = urlsplit(url).path.removeprefix("/")
        if await ensure_database(
            url_for(url, user=_user(url), password=_password(url), database="postgres"), database
        ):
            report(f"created the database {database}")
        applied += await migrate(url, names, role_secret=settings.database.role_secret, report=report)
    return applied


async def states(settings: Settings, slices: Iterable[str]) -> tuple[Status, ...]:
    """What is applied and what waits, per slice."""
    found: list[Status] = []
    for url, names in admin_urls(settings, slices).items():
        found.extend(await status(url, names))
    return tuple(found)


def _user(url: str) -> str:
    return urlsplit(url).username or "postgres"


def _password(url: str) -> str | None:
    return urlsplit(url).password
