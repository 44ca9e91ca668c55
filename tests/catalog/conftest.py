"""A catalogue on a database of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from rickhouse.catalog.service import CatalogService
from rickhouse.platform.db import Database
from tests.catalog.samples import listening


@pytest.fixture
async def db(open_slice: Callable[[str], Awaitable[Database]]) -> Database:
    """The slice's database, empty."""
    return await open_slice("catalog")


@pytest.fixture
async def catalog(db: Database) -> AsyncGenerator[CatalogService]:
    """A catalogue that sells in US dollars, listens, and keeps what is read."""
    async with listening(db) as catalog:
        yield catalog


@pytest.fixture
async def neighbour(db: Database) -> AsyncGenerator[CatalogService]:
    """The same catalogue in what would be another process: it has a memory of its own."""
    async with listening(db) as catalog:
        yield catalog
