"""A house as a command finds it: settings in the environment, and a database that is up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

Sql = Callable[..., list[asyncpg.Record]]


@pytest.fixture
def sql(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sql:
    """Look into the database that commands are pointed to, as its administrator."""
    monkeypatch.setenv("RICKHOUSE_DATABASE__URL", database_url)
    monkeypatch.setenv("RICKHOUSE_DATA_DIR", str(tmp_path / "home"))

    def run(query: str, *args: object) -> list[asyncpg.Record]:
        async def fetch() -> list[asyncpg.Record]:
            connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database_url)
            try:
                return await connection.fetch(query, *args)
            finally:
                await connection.close()

        return asyncio.run(fetch())

    return run
