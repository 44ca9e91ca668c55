"""Tasks run once they are committed, until they succeed or are given up; the tables are what the library wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from pgqueuer.adapters.persistence.queries import Queries as QueueQueries

from rickhouse.kernel.errors import NotFound
from rickhouse.platform import jobs, queue
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.jobs import Task, enqueue, list_given_up, try_again
from rickhouse.platform.queue import TaskQueue, queue_settings
from rickhouse.platform.schema import role_of

OpenSlice = Callable[[str], Awaitable[Database]]


@pytest.fixture
async def db(open_slice: OpenSlice) -> Database:
    """The slice that the tasks belong to."""
    return await open_slice("orders")


@asynccontextmanager
async def at_work(db: Database, *tasks: Task) -> AsyncGenerator[asyncio.Event]:
    """A queue that runs, until the block ends or the given event is set."""
    stopping, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(TaskQueue(db, tasks).run(stopping, ready.set))
    await asyncio.wait([running, asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield stopping
    finally:
        stopping.set()
        await running


class Recorder:
    """A task that remembers its payloads, and fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.payloads: list[bytes] = []
        self.failures = failures
        self._came = asyncio.Condition()

    async def __call__(self, payload: bytes) -> None:
        async with self._came:
            self.payloads.append(payload)
            self._came.notify_all()
        if len(self.payloads) <= self.failures:
            raise ValueError("Ada Lovelace")

    async def came(self, count: int) -> list[bytes]:
        """The payloads, once there are `count`."""
        async with asyncio.timeout(10), self._came:
            await self._came.wait_for(lambda: len(self.payloads) >= count)
        return self.payloads


async def left(db: Database) -> int:
    row = await db.fetchrow("select count(*) as left from pgqueuer")
    assert row is not None
    return row["left"]


async def test_task_runs_with_its_payload_and_leaves_the_queue(db: Database) -> None:
    mail = Recorder()
    async with at_work(db, Task("mail", mail)):
        await enqueue(db, "mail", b"one")
        await enqueue(db, "mail")
        assert sorted(await mail.came(2)) == [b"", b"one"]
    assert await left(db) == 0


async def test_task_of_a_transaction_runs_if_it_commits_and_never_otherwise(db: Database) -> None:
    mail = Recorder()
    async with at_work(db, Task("mail", mail)):
        with pytest.raises(ZeroDivisionError):
            await enqueue_and_fail(db)
        async with db.transaction() as queries:
            await enqueue(queries, "mail", b"committed")
            await asyncio.sleep(0.3)
            assert mail.payloads == []
        await mail.came(1)
        await asyncio.sleep(0.3)
    assert mail.payloads == [b"committed"]


async def enqueue_and_fail(db: Database) -> None:
    """Ask for a task in a transaction that does not commit."""
    async with db.transaction() as queries:
        await enqueue(queries, "mail", b"rolled back")
        raise ZeroDivisionError


async def test_delayed_task_waits(db: Database) -> None:
    mail = Recorder()
    async with at_work(db, Task("mail", mail)):
        began = asyncio.get_running_loop().time()
        await enqueue(db, "mail", delay_s=0.5)
        await mail.came(1)
        assert 0.4 < asyncio.get_running_loop().time() - began < 3


async def test_waiting_job_of_the_same_key_is_asked_for_once(db: Database) -> None:
    first = await enqueue(db, "mail", b"one", dedupe_key="k")
    assert first is not None
    assert await enqueue(db, "mail", b"two", dedupe_key="k") is None
    assert await enqueue(db, "mail", b"three", dedupe_key="other") is not None
    mail = Recorder()
    async with at_work(db, Task("mail", mail)):
        assert sorted(await mail.came(2)) == [b"one", b"three"]
    assert await enqueue(db, "mail", dedupe_key="k") is not None


async def test_failing_task_is_tried_again_until_it_succeeds(db: Database) -> None:
    mail = Recorder(failures=2)
    async with at_work(db, Task("mail", mail, retry_s=0.1)):
        await enqueue(db, "mail", b"x")
        assert await mail.came(3) == [b"x"] * 3
    assert await left(db) == 0


async def test_task_that_fails_too_often_is_given_up_kept_and_can_be_tried_again(db: Database) -> None:
    mail, other = Recorder(failures=3), Recorder()
    async with at_work(db, Task("mail", mail, attempts_max=3, retry_s=0.05), Task("other", other)):
        job_id = await enqueue(db, "mail", b"x")
        assert job_id is not None
        await mail.came(3)
        await enqueue(db, "other")
        await other.came(1)
    [given_up] = await list_given_up(db)
    assert (given_up.job_id, given_up.task, given_up.attempts) == (job_id, "mail", 3)
    assert given_up.error.startswith("ValueError at platform/queue.py:")
    assert mail.payloads == [b"x"] * 3

    await try_again(db, job_id)
    async with at_work(db, Task("mail", mail)):
        await mail.came(4)
    assert await list_given_up(db) == ()
    assert await left(db) == 0
    with pytest.raises(NotFound):
        await try_again(db, job_id)


async def test_what_a_failure_said_is_not_kept(db: Database) -> None:
    mail = Recorder(failures=2)
    async with at_work(db, Task("mail", mail, attempts_max=2, retry_s=0.05)):
        await enqueue(db, "mail")
        await mail.came(2)
    rows = await db.fetch("select traceback::text as kept from pgqueuer_log where traceback is not null")
    assert len(rows) == 2
    assert not any("Ada" in row["kept"] for row in rows)


async def test_job_of_a_killed_process_is_begun_again(db: Database) -> None:
    await enqueue(db, "mail", b"x")
    await db.execute(
        """
        update pgqueuer
        set status = 'picked', queue_manager_id = gen_random_uuid(), heartbeat = now() - interval '16 s'
        """
    )
    mail = Recorder()
    async with at_work(db, Task("mail", mail)):
        assert await mail.came(1) == [b"x"]


async def test_stopping_lets_a_running_task_finish(db: Database) -> None:
    entered, leave, finished = asyncio.Event(), asyncio.Event(), False

    async def slow(_payload: bytes) -> None:
        nonlocal finished
        entered.set()
        await leave.wait()
        finished = True

    async with at_work(db, Task("slow", slow)) as stopping:
        await enqueue(db, "slow")
        await entered.wait()
        stopping.set()
        await asyncio.sleep(0.2)
        leave.set()
    assert finished
    assert await left(db) == 0


async def test_lost_listener_ends_the_run_so_that_it_is_begun_again(db: Database, database_url: str) -> None:
    stopping, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(TaskQueue(db, [Task("mail", Recorder())]).run(stopping, ready.set))
    await ready.wait()
    admin: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database_url)
    await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'")
    await admin.close()
    with pytest.raises(queue.ListenerLost):
        await asyncio.wait_for(running, 5)


async def test_slices_of_one_database_do_not_see_each_others_jobs(open_slice: OpenSlice) -> None:
    orders, payments = await open_slice("orders"), await open_slice("payments")
    ours, theirs = Recorder(), Recorder()
    async with at_work(orders, Task("mail", ours)), at_work(payments, Task("mail", theirs)):
        await enqueue(orders, "mail", b"orders")
        await enqueue(payments, "mail", b"payments")
        assert (await ours.came(1), await theirs.came(1)) == ([b"orders"], [b"payments"])


async def test_migrated_tables_are_what_the_library_wants(database_url: str) -> None:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database_url)
    try:
        await connection.execute("set search_path = orders")
        driver = AsyncpgDriver(connection)
        plan = await QueueQueries(driver, QueryBuilderEnvironment(queue_settings("orders"))).plan_upgrade()
    finally:
        await connection.close()
    [own_channel] = [statement for statement in plan.statements if not statement.startswith("DROP TRIGGER")]
    assert own_channel.startswith("CREATE OR REPLACE FUNCTION fn_pgqueuer_changed()")


async def test_every_statement_prepares(database_url: str) -> None:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
        url_for(database_url, user=role_of("orders"))
    )
    await connection.execute("set search_path = orders")
    for module in (jobs, queue):
        for name, value in vars(module).items():
            if name.isupper() and isinstance(value, str):
                await connection.prepare(value)
    await connection.close()
