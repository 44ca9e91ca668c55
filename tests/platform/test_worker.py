"""One worker leads, jobs fail without stopping the others, and a database that went away is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
import structlog

from rickhouse.kernel.events import Recorded
from rickhouse.kernel.ids import OrderId
from rickhouse.platform import worker as worker_module
from rickhouse.platform.db import Database, Queries, url_for
from rickhouse.platform.embedded import EmbeddedPostgres, start_embedded
from rickhouse.platform.events import Event, LogFeed, Subscriber, Subscription, encode
from rickhouse.platform.jobs import Periodic, Task, enqueue
from rickhouse.platform.schema import migrate, role_of
from rickhouse.platform.telemetry import render_metrics
from rickhouse.platform.worker import Worker

OpenSlice = Callable[[str], Awaitable[Database]]


class Poured(Event, frozen=True):
    """Something happened."""

    kind = "bar.poured"
    order_id: OrderId


class Ticker:
    """A periodic's `run` that counts, and notices when it is run twice at once."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.runs = 0
        self.overlaps = 0
        self._takes_s = takes_s
        self._inside = False

    async def __call__(self) -> None:
        self.overlaps += self._inside
        self._inside = True
        self.runs += 1
        try:
            await asyncio.sleep(self._takes_s)
        finally:
            self._inside = False


@pytest.fixture
async def db(open_slice: OpenSlice) -> Database:
    """The slice that the worker works for."""
    return await open_slice("orders")


@asynccontextmanager
async def at_work(*workers: Worker) -> AsyncGenerator[None]:
    """Workers that run until the block ends."""
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        await asyncio.gather(*(worker.stop(grace_s=5) for worker in workers))


async def until(reached: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(within_s):
        while not reached():  # noqa: ASYNC110  what is waited for happens in the code under test
            await asyncio.sleep(0.01)


async def test_periodic_runs_every_so_often_from_start_to_start(db: Database) -> None:
    ticker = Ticker(takes_s=0.05)
    async with at_work(Worker(db, periodics=[Periodic("t", 0.1, ticker)])):
        await until(lambda: ticker.runs == 1)
        await asyncio.sleep(1.05)
        assert 9 <= ticker.runs <= 12


async def test_periodic_that_takes_longer_than_its_time_never_runs_twice_at_once(db: Database) -> None:
    ticker = Ticker(takes_s=0.1)
    async with at_work(Worker(db, periodics=[Periodic("t", 0.01, ticker)])):
        await until(lambda: ticker.runs >= 5)
    assert ticker.overlaps == 0


async def test_failing_periodic_is_counted_logged_once_and_goes_on(db: Database) -> None:
    runs = 0

    async def fail_thrice() -> None:
        nonlocal runs
        runs += 1
        if runs <= 3:
            raise ValueError

    well = Ticker()
    with structlog.testing.capture_logs() as logs:
        async with at_work(
            Worker(db, periodics=[Periodic("ill", 0.02, fail_thrice), Periodic("well", 0.02, well)])
        ):
            await until(lambda: runs >= 6 and well.runs >= 6)
    assert [(line["event"], line["log_level"]) for line in logs if line.get("job") == "ill"] == [
        ("job_failed", "error"),
        ("job_recovered", "info"),
    ]
    assert b'rickhouse_jobs_failed_total{job="ill"} 3.0' in render_metrics()


async def test_periodic_that_hangs_is_cancelled_and_begun_again(db: Database) -> None:
    ticker = Ticker(takes_s=60)
    async with at_work(Worker(db, periodics=[Periodic("hangs", 0.02, ticker, timeout_s=0.1)])):
        await until(lambda: ticker.runs >= 3)
    assert ticker.overlaps == 0


async def test_one_of_two_workers_leads_and_the_other_takes_over_when_it_stops(db: Database) -> None:
    tickers = Ticker(), Ticker()
    first, second = (Worker(db, periodics=[Periodic("t", 0.02, ticker)]) for ticker in tickers)
    async with at_work(first):
        await until(lambda: tickers[0].runs > 0)
        async with at_work(second):
            await asyncio.sleep(1.5)
            assert (first.leading, second.leading) == (True, False)
            assert tickers[1].runs == 0
            await first.stop()
            stopped_at = tickers[0].runs
            await until(lambda: tickers[1].runs > 0, within_s=4)
            assert tickers[0].runs == stopped_at


async def test_leader_that_loses_its_connection_is_replaced(db: Database, database_url: str) -> None:
    tickers = Ticker(), Ticker()
    workers = [Worker(db, periodics=[Periodic("t", 0.02, ticker)]) for ticker in tickers]
    admin: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database_url)
    async with at_work(*workers):
        await until(lambda: any(worker.leading for worker in workers))
        killed = await admin.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_locks where locktype = 'advisory' and granted"
            " and database = (select oid from pg_database where datname = current_database())"
        )
        assert killed == 1
        before = sum(ticker.runs for ticker in tickers)
        await asyncio.sleep(1.2)
        await until(lambda: sum(ticker.runs for ticker in tickers) > before + 20, within_s=5)
        await until(lambda: sum(worker.leading for worker in workers) == 1)
    await admin.close()


async def test_slices_lead_for_themselves(open_slice: OpenSlice) -> None:
    workers = [
        Worker(await open_slice(name), periodics=[Periodic("t", 1, Ticker())])
        for name in ("orders", "payments")
    ]
    async with at_work(*workers):
        await until(lambda: all(worker.leading for worker in workers))


async def test_stop_lets_what_runs_finish_and_begins_nothing_more(db: Database) -> None:
    ticker = Ticker(takes_s=0.3)
    done = 0

    async def run() -> None:
        nonlocal done
        await ticker()
        done += 1

    worker = Worker(db, periodics=[Periodic("t", 0.01, run)])
    worker.start()
    await until(lambda: ticker.runs == 1)
    await worker.stop()
    assert (ticker.runs, done) == (1, 1)
    await asyncio.sleep(0.1)
    assert ticker.runs == 1


async def test_stop_cancels_what_outlasts_the_grace(db: Database) -> None:
    ticker = Ticker(takes_s=60)
    worker = Worker(db, periodics=[Periodic("t", 0.01, ticker)])
    worker.start()
    await until(lambda: ticker.runs == 1)
    async with asyncio.timeout(3):
        await worker.stop(grace_s=0.2)


async def test_worker_without_anything_to_do_runs_until_stopped(db: Database) -> None:
    worker = Worker(db)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.1)
    assert not running.done()
    await worker.stop()
    await asyncio.wait_for(running, 1)


async def pour(db: Database) -> None:
    """Append one event."""
    event = Poured(order_id=OrderId.new())
    await db.execute(
        "insert into events (kind, subject, body) values ($1, $2, $3::jsonb)",
        event.kind,
        event.order_id,
        encode(event),
    )


async def test_events_and_tasks_are_worked_off(db: Database, open_slice: OpenSlice) -> None:
    source = await open_slice("inventory")
    poured: list[Recorded] = []
    mailed: list[bytes] = []

    async def ask_for_mail(queries: Queries, _event: Poured, recorded: Recorded) -> None:
        poured.append(recorded)
        await enqueue(queries, "mail", recorded.subject.bytes)

    async def mail(payload: bytes) -> None:
        mailed.append(payload)

    subscriber = Subscriber(db, Subscription("orders.bar", LogFeed(source), {Poured: ask_for_mail}))
    async with at_work(Worker(db, subscribers=[subscriber], tasks=[Task("mail", mail)])):
        for _ in range(3):
            await pour(source)
        await until(lambda: len(mailed) == 3)
    assert sorted(mailed) == sorted(recorded.subject.bytes for recorded in poured)


async def test_database_away_and_back_is_survived_without_a_restart(
    private_cluster: EmbeddedPostgres,
) -> None:
    await migrate(private_cluster.url(), ["orders"])
    url = url_for(private_cluster.url(), user=role_of("orders"))
    db = await Database(url, schema="orders", acquire_timeout_s=1).open()
    read, written, mailed = 0, 0, 0

    async def look() -> None:
        nonlocal read
        await db.fetch("select 1")
        read += 1

    async def keep(_queries: Queries, _event: Poured, _recorded: Recorded) -> None:
        nonlocal written
        written += 1

    async def mail(_payload: bytes) -> None:
        nonlocal mailed
        mailed += 1

    subscriber = Subscriber(db, Subscription("orders.bar", LogFeed(db), {Poured: keep}))
    worker = Worker(
        db, periodics=[Periodic("look", 0.05, look)], subscribers=[subscriber], tasks=[Task("mail", mail)]
    )
    async with at_work(worker):
        await pour(db)
        await enqueue(db, "mail")
        await until(lambda: read > 0 and written == 1 and mailed == 1)
        with structlog.testing.capture_logs() as logs:
            await asyncio.to_thread(private_cluster.stop)
            await until(lambda: not worker.leading)
            await asyncio.sleep(1)
            before = read
            await asyncio.to_thread(start_embedded, private_cluster.data_dir.parent)
            await until(lambda: read > before + 3 and worker.leading, within_s=15)
            await pour(db)
            await enqueue(db, "mail")
            await until(lambda: written == 2 and mailed == 2, within_s=15)
        assert {line["job"] for line in logs if line["event"] == "job_recovered"} >= {"look", "orders.lead"}
    await db.close()


async def test_every_statement_prepares(database_url: str) -> None:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
        url_for(database_url, user=role_of("orders"))
    )
    await connection.prepare(worker_module.TAKE_LEAD)
    await connection.close()
