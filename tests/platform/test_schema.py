"""Roles, schemas and migrations on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from rickhouse.platform import schema
from rickhouse.platform.db import Database
from rickhouse.platform.embedded import EmbeddedPostgres
from rickhouse.platform.schema import MigrationRefused, role_of, role_password
from tests.conftest import SLICES

OpenSlice = Callable[[str], Awaitable[Database]]


async def test_migrations_run_on_an_empty_database_and_again_on_a_filled_one(
    private_cluster: EmbeddedPostgres,
) -> None:
    url = private_cluster.url()
    first = await schema.migrate(url, SLICES)
    assert first == sum(len(schema.migrations_of(name)) for name in SLICES)
    assert await schema.migrate(url, SLICES) == 0
    assert all(state.pending == () for state in await schema.status(url, SLICES))


async def test_two_that_migrate_at_once_apply_each_file_once(private_cluster: EmbeddedPostgres) -> None:
    url = private_cluster.url()
    applied = await asyncio.gather(*(schema.migrate(url, SLICES) for _ in range(3)))
    assert sum(applied) == sum(len(schema.migrations_of(name)) for name in SLICES)


async def test_a_changed_migration_is_refused(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("update orders.migrations set digest = 'other' where name like 'orders/%'")
    await connection.close()
    with pytest.raises(MigrationRefused, match=r"orders/0001_\w+\.sql was changed after it had been applied"):
        await schema.migrate(database_url, ["orders"])


async def test_a_newer_database_is_refused(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "insert into orders.migrations (name, digest) values ('orders/9999_later.sql', '')"
    )
    await connection.close()
    with pytest.raises(MigrationRefused, match="run the newer version"):
        await schema.status(database_url, ["orders"])


@pytest.mark.parametrize("slice_name", SLICES)
async def test_a_slice_reaches_its_own_schema_and_no_other(open_slice: OpenSlice, slice_name: str) -> None:
    database = await open_slice(slice_name)
    assert await database.fetch("select * from events") == []
    for other in SLICES:
        if other == slice_name:
            continue
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"permission denied for schema {other}"):
            await database.fetch(f"select * from {other}.events")  # noqa: S608  # our own names


@pytest.mark.parametrize("slice_name", SLICES)
async def test_a_slice_changes_rows_and_never_tables(open_slice: OpenSlice, slice_name: str) -> None:
    database = await open_slice(slice_name)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.execute("alter table events add column extra text")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.execute("create table mine (id int)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.execute("update migrations set digest = ''")


def test_a_role_has_a_password_only_where_there_is_a_secret() -> None:
    assert role_password("", "orders") is None
    password = role_password("secret", "orders")
    assert password is not None
    assert password != role_password("secret", "payments")
    assert role_of("orders") == "rickhouse_orders"


async def test_an_existing_database_is_left_alone(private_cluster: EmbeddedPostgres) -> None:
    made = await asyncio.gather(*(schema.ensure_database(private_cluster.url(), "shop") for _ in range(2)))
    assert sorted(made) == [False, True]
    assert await schema.ensure_database(private_cluster.url(), "shop") is False


async def test_a_name_that_cannot_stand_in_sql_is_refused(private_cluster: EmbeddedPostgres) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a schema"):
        await schema.migrate(private_cluster.url(), ['orders"; drop schema orders; --'])
