"""The database pool: what it refuses, what it repeats, and how it comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from rickhouse.kernel.errors import Kind
from rickhouse.kernel.ids import OrderId
from rickhouse.platform.db import (
    Database,
    DatabaseAway,
    TransactionOpen,
    refuse_in_transaction,
    socket_url,
    url_for,
)
from rickhouse.platform.embedded import EmbeddedPostgres, start_embedded

OpenSlice = Callable[[str], Awaitable[Database]]


async def test_nothing_slow_happens_in_a_transaction(open_slice: OpenSlice) -> None:
    database = await open_slice("orders")
    refuse_in_transaction("a call")
    async with database.transaction():
        with pytest.raises(TransactionOpen, match="a call was called inside a database transaction"):
            refuse_in_transaction("a call")
    refuse_in_transaction("a call")


async def test_transactions_do_not_nest(open_slice: OpenSlice) -> None:
    database = await open_slice("orders")
    async with database.transaction():
        with pytest.raises(TransactionOpen):
            async with database.transaction():
                pass


async def test_a_transaction_of_another_task_is_not_ours(open_slice: OpenSlice) -> None:
    database = await open_slice("orders")
    began, end = asyncio.Event(), asyncio.Event()

    async def other() -> None:
        async with database.transaction():
            began.set()
            await end.wait()

    task = asyncio.create_task(other())
    await began.wait()
    refuse_in_transaction("a call")
    end.set()
    await task


async def test_a_failed_transaction_leaves_nothing(open_slice: OpenSlice) -> None:
    database = await open_slice("orders")

    async def fail_half_way() -> None:
        async with database.transaction() as queries:
            await queries.execute("insert into subscriptions (name) values ('half')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_half_way()
    assert await database.fetch("select name from subscriptions") == []


async def test_a_typed_id_is_a_parameter(open_slice: OpenSlice) -> None:
    database = await open_slice("orders")
    order_id = OrderId.new()
    row = await database.fetchrow("select $1::uuid as one, $2::uuid[] as many", order_id, [order_id])
    assert row is not None
    assert OrderId(row["one"]) == order_id
    assert [OrderId(uuid) for uuid in row["many"]] == [order_id]


async def test_a_deadlocked_statement_is_repeated(open_slice: OpenSlice) -> None:
    database = await open_slice("orders")
    await database.execute("insert into subscriptions (name) values ('a'), ('b')")
    first_locked = asyncio.Event()

    async def hold_a_then_b() -> None:
        async with database.transaction() as queries:
            await queries.execute("update subscriptions set seq = seq + 1 where name = 'a'")
            first_locked.set()
            await asyncio.sleep(0.3)
            await queries.execute("update subscriptions set seq = seq + 1 where name = 'b'")

    async def b_then_a() -> None:
        await first_locked.wait()
        # One statement that locks `b`, waits, then wants `a`.
        await database.execute(
            """
            with b as (select name from subscriptions where name = 'b' for update),
                waited as (select pg_sleep(0.6) from b)
            update subscriptions set seq = seq + 1 from waited where name = 'a'
            """
        )

    outcomes = await asyncio.gather(hold_a_then_b(), b_then_a(), return_exceptions=True)
    # PostgreSQL ends one of the two; if it is the single statement, the pool repeats it.
    assert outcomes[1] is None
    row = await database.fetchrow("select seq from subscriptions where name = 'a'")
    assert row is not None
    assert row["seq"] == (2 if outcomes[0] is None else 1)


async def test_the_database_goes_away_and_comes_back(private_cluster: EmbeddedPostgres) -> None:
    database = await Database(private_cluster.url(), schema="public", acquire_timeout_s=2.0).open()
    try:
        assert (await database.fetchrow("select 1 as one")) is not None
        pid = private_cluster.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(DatabaseAway) as away:
            await _ask_for_ever(database)
        assert away.value.kind is Kind.UNAVAILABLE
        await asyncio.to_thread(_start_again, private_cluster)
        row = await database.fetchrow("select 1 as one")
        assert row is not None
        assert row["one"] == 1
    finally:
        await database.close()


async def _ask_for_ever(database: Database) -> None:
    while True:
        await database.fetchrow("select 1 as one")


def _start_again(cluster: EmbeddedPostgres) -> None:
    start_embedded(cluster.data_dir.parent)


async def test_a_closed_pool_says_so(open_slice: OpenSlice) -> None:
    database = await open_slice("orders")
    await database.close()
    with pytest.raises(DatabaseAway, match="shutting down"):
        await database.fetch("select 1")


def test_a_url_with_another_user() -> None:
    url = "postgresql://postgres:old@db.example:5433/rickhouse?sslmode=verify-full"
    assert (
        url_for(url, user="rickhouse_orders", password="p/w")  # noqa: S106  # a made-up one
        == "postgresql://rickhouse_orders:p%2Fw@db.example:5433/rickhouse?sslmode=verify-full"
    )
    assert url_for(url, user="a", database="b") == "postgresql://a@db.example:5433/b?sslmode=verify-full"


def test_a_url_for_a_socket() -> None:
    assert socket_url("/run/x", user="a", database="b") == "postgresql://a@/b?host=%2Frun%2Fx"
