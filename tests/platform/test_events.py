"""The log is read whole and in order whatever the order of commits, and each event has its effect exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rickhouse.kernel.errors import NotFound, Unavailable
from rickhouse.kernel.events import START, Event, Position, Recorded
from rickhouse.kernel.ids import OrderId, uuid7
from rickhouse.platform import events
from rickhouse.platform.db import Database, DatabaseAway, Queries, url_for
from rickhouse.platform.embedded import EmbeddedPostgres, reset, start_embedded
from rickhouse.platform.events import (
    ATTEMPTS_MAX,
    LogAhead,
    LogFeed,
    Subscriber,
    Subscription,
    encode,
    list_parked,
    replay,
)
from rickhouse.platform.schema import migrate, role_of
from tests.conftest import FAST, database_maker, make_template

RECORD = "insert into events (kind, subject, body) values ($1, $2, $3::jsonb)"
KEEP = "insert into effects (subject) values ($1)"

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Poured(Event, frozen=True):
    """Something happened."""

    kind = "bar.poured"
    order_id: OrderId
    size_ml: int


class Spilled(Event, frozen=True):
    """Something else happened."""

    kind = "bar.spilled"
    order_id: OrderId


@pytest.fixture(scope="module")
def cluster(new_cluster_root: Callable[[], Path]) -> Iterator[EmbeddedPostgres]:
    """A server of this module's own: a feed stays behind the oldest transaction of the server, other tests' too."""
    root = new_cluster_root()
    try:
        server = start_embedded(root, settings=FAST)
        make_template(server)
        yield server
    finally:
        reset(root)


@pytest.fixture(scope="module")
def new_database(cluster: EmbeddedPostgres) -> Callable[[], str]:
    """Databases on that server."""
    return database_maker(cluster)


@pytest.fixture
async def source(open_slice: Callable[[str], Awaitable[Database]]) -> Database:
    """The slice whose log is read."""
    return await open_slice("inventory")


@pytest.fixture
async def reader(database_url: str, open_slice: Callable[[str], Awaitable[Database]]) -> Database:
    """The slice that reads; its table `effects` holds what its handlers did."""
    admin: Connection = await asyncpg.connect(database_url)
    await admin.execute("create table orders.effects (id bigserial, subject uuid not null)")
    await admin.close()
    return await open_slice("orders")


@pytest.fixture(scope="module")
def shared(module_database_url: str) -> str:
    """A database for tests that never look at what others left in its log."""
    return url_for(module_database_url, user=role_of("inventory")) + "&options=-csearch_path%3Dinventory"


async def record(db: Queries, *made: Event) -> list[UUID]:
    """Append events, each about a subject of its own."""
    subjects = [uuid7() for _ in made]
    for subject, event in zip(subjects, made, strict=True):
        await db.execute(RECORD, event.kind, subject, encode(event))
    return subjects


def poured(size_ml: int = 50) -> Poured:
    return Poured(order_id=OrderId.new(), size_ml=size_ml)


async def effects(db: Database) -> list[UUID]:
    return [row["subject"] for row in await db.fetch("select subject from effects order by id")]


async def keep(queries: Queries, _event: Poured, recorded: Recorded) -> None:
    """The handler of most tests: the effect is a row."""
    await queries.execute(KEEP, recorded.subject)


def subscriber(reader: Database, source: Database, handler: events.Handler = keep) -> Subscriber:
    return Subscriber(reader, Subscription("orders.bar", LogFeed(source), {Poured: handler}))


async def position(db: Database) -> Position:
    row = await db.fetchrow(events.FIND_POSITION, "orders.bar")
    return START if row is None else Position(row["xid"], row["seq"])


async def drain(subscriber: Subscriber) -> None:
    while await subscriber.run_once():
        pass


async def test_feed_gives_events_as_they_were_recorded(source: Database) -> None:
    event = poured()
    subjects = await record(source, event, Spilled(order_id=event.order_id))
    read = await LogFeed(source).read(START, 10)
    assert [(item.kind, item.subject) for item in read] == list(
        zip(["bar.poured", "bar.spilled"], subjects, strict=True)
    )
    assert events.decode_json(read[0].body, Poured) == event
    assert read[0].position < read[1].position
    assert await LogFeed(source).read(read[0].position, 10) == read[1:]
    assert await LogFeed(source).read(START, 1) == read[:1]
    assert await LogFeed(source).read(read[1].position, 10) == ()


async def test_large_events_come_in_smaller_batches_and_none_is_left_out(source: Database) -> None:
    body = '{"note": "%s"}' % ("x" * 300_000)
    subjects = [uuid7() for _ in range(3)]
    for subject in subjects:
        await source.execute(RECORD, "bar.noted", subject, body)
    after, batches = START, list[list[UUID]]()
    while batch := await LogFeed(source).read(after, 10):
        after = batch[-1].position
        batches.append([item.subject for item in batch])
    assert batches == [[subject] for subject in subjects]


async def test_log_is_append_only(source: Database) -> None:
    await record(source, poured())
    for statement in ("update events set kind = 'a.b'", "delete from events", "truncate events"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await source.execute(statement)
    assert len(await LogFeed(source).read(START, 10)) == 1


async def test_event_of_an_older_transaction_that_commits_late_is_not_skipped(source: Database) -> None:
    feed = LogFeed(source)
    async with source.transaction() as late:
        first = await record(late, poured())
        second = await asyncio.create_task(record_alone(source))
        assert await feed.read(START, 10) == ()
    assert [item.subject for item in await feed.read(START, 10)] == [*first, *second]


async def record_alone(source: Database) -> list[UUID]:
    """Append one event and commit it at once."""
    return await record(source, poured())


async def test_log_restored_into_another_server_is_refused_until_it_is_continued(
    source: Database, reader: Database, database_url: str
) -> None:
    old = await record(source, poured(), poured())
    await drain(subscriber(reader, source))
    admin: Connection = await asyncpg.connect(database_url)
    await admin.execute("update inventory.events set xid = xid + 5000000000")
    await admin.execute("update orders.subscriptions set xid = xid + 5000000000")
    await admin.close()
    with pytest.raises(LogAhead, match="inventory was restored into another server"):
        await subscriber(reader, source).run_once()

    reports: list[str] = []
    for _ in range(2):
        await migrate(database_url, ["inventory"], report=reports.append)
    assert reports == ["inventory: new events follow on those of the restored log"]

    feed = LogFeed(source)
    async with source.transaction() as late:
        new = await record(late, poured())
        new += await asyncio.create_task(record_alone(source))
        assert [item.subject for item in await feed.read(START, 10)] == old
    assert [item.subject for item in await feed.read(START, 10)] == [*old, *new]
    await drain(subscriber(reader, source))
    assert await effects(reader) == [*old, *new]


Step = tuple[str, int]
steps = st.lists(
    st.tuples(st.sampled_from(["write", "write", "commit", "rollback", "read"]), st.integers(0, 3)),
    min_size=4,
    max_size=40,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
async def test_no_interleaving_of_commits_hides_or_repeats_an_event(shared: str, plan: list[Step]) -> None:
    lanes: list[Connection] = [await asyncpg.connect(shared) for _ in range(4)]
    source = await Database(url_for(shared, user=role_of("inventory")), schema="inventory").open()
    try:
        start = await end_of(LogFeed(source))
        open_lanes: dict[int, list[UUID]] = {}
        committed: set[UUID] = set()
        seen: list[Recorded] = []
        for step, lane in [*plan, *(("commit", lane) for lane in range(4)), ("read", 0)]:
            if step == "read":
                seen += await LogFeed(source).read(seen[-1].position if seen else start, 1000)
            elif step == "write":
                if lane not in open_lanes:
                    await lanes[lane].execute("begin")
                subject = uuid7()
                await lanes[lane].execute(RECORD, "bar.poured", subject, encode(poured()))
                open_lanes.setdefault(lane, []).append(subject)
            elif lane in open_lanes:
                await lanes[lane].execute(step)
                written = open_lanes.pop(lane)
                committed.update(written if step == "commit" else ())
        assert len(seen) == len({item.subject for item in seen})
        assert {item.subject for item in seen} == committed
        assert seen == sorted(seen, key=lambda item: item.position)
    finally:
        for connection in lanes:
            await connection.close()
        await source.close()


async def end_of(feed: LogFeed) -> Position:
    """The position of the last event."""
    after = START
    while batch := await feed.read(after, 1000):
        after = batch[-1].position
    return after


async def test_concurrent_writers_and_two_runners_give_each_event_one_effect(
    source: Database, reader: Database
) -> None:
    async def write(count: int) -> list[UUID]:
        subjects: list[UUID] = []
        for number in range(count):
            async with source.transaction() as queries:
                subjects += await record(queries, poured(number))
                await asyncio.sleep(0.002 * (number % 5))
        return subjects

    async def run(done: asyncio.Event) -> int:
        runner, kept = subscriber(reader, source), 0
        while not done.is_set():
            kept += await runner.run_once()
            await asyncio.sleep(0.001)
        return kept

    done = asyncio.Event()
    runners = [asyncio.create_task(run(done)) for _ in range(2)]
    written = [subject for part in await asyncio.gather(*(write(25) for _ in range(4))) for subject in part]
    await asyncio.sleep(0.2)
    done.set()
    await asyncio.gather(*runners)
    await drain(subscriber(reader, source))
    kept = await effects(reader)
    assert sorted(kept) == sorted(written)
    assert kept == [item.subject for item in await LogFeed(source).read(START, 1000)]


async def test_second_runner_gets_nothing_while_the_first_is_at_work(
    source: Database, reader: Database
) -> None:
    [subject] = await record(source, poured())
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(queries: Queries, event: Poured, recorded: Recorded) -> None:
        await keep(queries, event, recorded)
        entered.set()
        await leave.wait()

    first = asyncio.create_task(subscriber(reader, source, slow).run_once())
    await entered.wait()
    assert await subscriber(reader, source).run_once() == 0
    leave.set()
    assert await first == 1
    assert await effects(reader) == [subject]


async def test_kinds_without_a_handler_are_passed_in_one_step(source: Database, reader: Database) -> None:
    spilled = [Spilled(order_id=OrderId.new()) for _ in range(3)]
    await record(source, *spilled)
    [subject] = await record(source, poured())
    await record(source, *spilled)
    assert await subscriber(reader, source).run_once() == 7
    assert await effects(reader) == [subject]
    assert await position(reader) == await end_of(LogFeed(source))
    assert await subscriber(reader, source).run_once() == 0


async def test_crash_before_the_commit_keeps_neither_effect_nor_position(
    source: Database, reader: Database
) -> None:
    [subject] = await record(source, poured())

    async def crash(queries: Queries, event: Poured, recorded: Recorded) -> None:
        await keep(queries, event, recorded)
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
            await queries.execute("select pg_terminate_backend(pg_backend_pid())")

    with suppress(DatabaseAway):
        await subscriber(reader, source, crash).run_once()
    assert await effects(reader) == []
    assert await position(reader) == START
    await asyncio.sleep(0.6)
    await drain(subscriber(reader, source))
    assert await effects(reader) == [subject]


async def test_cancelled_runner_keeps_neither_effect_nor_position(source: Database, reader: Database) -> None:
    await record(source, poured())
    entered = asyncio.Event()

    async def hang(queries: Queries, event: Poured, recorded: Recorded) -> None:
        await keep(queries, event, recorded)
        entered.set()
        await asyncio.sleep(60)

    running = asyncio.create_task(subscriber(reader, source, hang).run_once())
    await entered.wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert await effects(reader) == []
    assert await position(reader) == START


async def fail(queries: Queries, event: Poured, recorded: Recorded) -> None:
    """A handler that fails on events of size 13, after it has written."""
    await keep(queries, event, recorded)
    if event.size_ml == 13:
        raise ValueError("Ada Lovelace")


async def test_failing_event_waits_longer_each_time_and_holds_the_others_back(
    source: Database, reader: Database
) -> None:
    await record(source, poured(13), poured())
    runner = subscriber(reader, source, fail)
    waits: list[float] = []
    for _ in range(3):
        await reader.execute("update subscriptions set retry_at = null")
        assert await runner.run_once() == 0
        assert await runner.run_once() == 0
        row = await reader.fetchrow(
            "select extract(epoch from retry_at - clock_timestamp())::float8 as wait_s from subscriptions"
        )
        assert row is not None
        waits.append(row["wait_s"])
    assert [round(wait_s * 2) / 2 for wait_s in waits] == [0.5, 1.0, 2.0]
    assert await effects(reader) == []
    assert await position(reader) == START


async def park(reader: Database, runner: Subscriber) -> None:
    """Run until the attempts are used up, without their waits."""
    for _ in range(ATTEMPTS_MAX):
        await runner.run_once()
        await reader.execute("update subscriptions set retry_at = null")


async def test_poison_is_parked_and_the_rest_go_on(source: Database, reader: Database) -> None:
    before, poison, after = await record(source, poured(), poured(13), poured())
    await park(reader, subscriber(reader, source, fail))
    assert await effects(reader) == [before, after]
    [parked] = await list_parked(reader)
    assert (parked.subscription, parked.recorded.subject) == ("orders.bar", poison)
    assert parked.recorded == (await LogFeed(source).read(START, 10))[1]
    assert parked.error.startswith("ValueError")
    assert "Ada" not in parked.error
    assert await list_parked(reader, "orders.bar") == (parked,)
    assert await list_parked(reader, "orders.other") == ()
    assert await list_parked(reader, after=parked) == ()


async def test_event_that_no_longer_decodes_is_parked(source: Database, reader: Database) -> None:
    await source.execute(RECORD, "bar.poured", uuid7(), '{"size_ml": "many"}')
    [subject] = await record(source, poured())
    await park(reader, subscriber(reader, source))
    assert await effects(reader) == [subject]
    [parked] = await list_parked(reader)
    assert parked.error.startswith("ValidationError at platform/codec.py:")


async def test_dependency_that_is_away_is_waited_for_much_longer(source: Database, reader: Database) -> None:
    await record(source, poured())

    async def away(*_: object) -> None:
        raise Unavailable("Away.")

    runner = subscriber(reader, source, away)
    await park(reader, runner)
    assert await list_parked(reader) == ()
    for _ in range(3):
        await park(reader, runner)
    assert len(await list_parked(reader)) == 1


async def test_retry_of_a_parked_event_keeps_its_effect_once(source: Database, reader: Database) -> None:
    [subject] = await record(source, poured(13))
    runner = subscriber(reader, source, fail)
    await park(reader, runner)
    [parked] = await list_parked(reader)
    with pytest.raises(ValueError, match="Ada"):
        await runner.retry_parked(parked.recorded.position)
    assert [left.recorded for left in await list_parked(reader)] == [parked.recorded]
    assert await effects(reader) == []
    mended = subscriber(reader, source)
    await mended.retry_parked(parked.recorded.position)
    assert await effects(reader) == [subject]
    assert await list_parked(reader) == ()
    with pytest.raises(NotFound):
        await mended.retry_parked(parked.recorded.position)
    assert await effects(reader) == [subject]


async def test_replay_rebuilds_from_any_position(source: Database, reader: Database) -> None:
    subjects = await record(source, poured(), poured(), poured(13))
    runner = subscriber(reader, source, fail)
    await park(reader, runner)
    log = await LogFeed(source).read(START, 10)

    await reader.execute("delete from effects")
    await replay(reader, "orders.bar")
    assert await list_parked(reader) == ()
    mended = subscriber(reader, source)
    await drain(mended)
    assert await effects(reader) == subjects

    await reader.execute("delete from effects")
    await replay(reader, "orders.bar", log[1].position)
    await drain(mended)
    assert await effects(reader) == subjects[2:]


async def test_replay_of_an_unknown_subscription_is_refused(reader: Database) -> None:
    with pytest.raises(NotFound, match=r"orders\.bar"):
        await replay(reader, "orders.bar")
    assert await reader.fetch("select * from subscriptions") == []


async def test_feed_that_is_away_changes_nothing(reader: Database) -> None:
    class Away:
        async def read(self, after: Position, limit: int) -> tuple[Recorded, ...]:
            raise Unavailable(f"Away at {after} {limit}.")

    with pytest.raises(Unavailable):
        await Subscriber(reader, Subscription("orders.bar", Away(), {Poured: keep})).run_once()
    assert await position(reader) == START


def test_two_types_of_one_kind_are_refused() -> None:
    class PouredAgain(Event, frozen=True):
        kind = "bar.poured"

    db = Database("postgresql://nowhere", schema="orders")
    with pytest.raises(TypeError, match="a kind of its own"):
        Subscriber(db, Subscription("orders.bar", LogFeed(db), {Poured: keep, PouredAgain: keep}))


async def test_every_statement_prepares(database_url: str) -> None:
    connection: Connection = await asyncpg.connect(url_for(database_url, user=role_of("orders")))
    await connection.execute("set search_path = orders")
    statements = [value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)]
    assert len(statements) == 15
    for statement in statements:
        if statement != events.RAISE_OFFSET:  # the owner's, with its number put in
            await connection.prepare(statement)
    await connection.close()
