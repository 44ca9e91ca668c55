"""Events: a slice's log as a feed, and subscribers that turn each event into its effect exactly once.

Delivery is at least once; the effect and the subscriber's position commit in one transaction, which makes the position
the inbox. What an event means never belongs here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import asyncpg
import msgspec
import structlog

from rickhouse.kernel.errors import Condition, Kind, NotFound
from rickhouse.kernel.events import START, Event, Position, Recorded
from rickhouse.platform.codec import decode_json, encode_json
from rickhouse.platform.db import Database, Queries, Row
from rickhouse.platform.logs import describe
from rickhouse.platform.telemetry import count_event_failed, count_event_handled, count_event_parked

BATCH_MAX: Final = 200
ATTEMPTS_MAX: Final = 5
"""An event that fails this often is parked: with the waits below, some seven seconds after its first failure."""

ATTEMPTS_WHILE_AWAY_MAX: Final = 20
"""The same where the database was away or too busy, which is hardly the event's fault: after about a quarter hour."""

_FIRST_RETRY_S: Final = 0.5
_LONGEST_RETRY_S: Final = 60.0
_READ_MAX: Final = 1000
_READ_BYTES_MAX: Final = 512 * 1024
"""Of bodies in one read, so that a batch fits into one reply between processes."""


Handler = Callable[[Queries, Any, Recorded], Awaitable[object]]
"""Keeps the effect of one event in the given transaction: `async def (queries, event, recorded)`."""

_log = structlog.get_logger("rickhouse.events")

# Every transaction below the snapshot's xmin has ended, and what it committed is visible: a number that is skipped
# here can never appear later. Sequence numbers or times would not do, because commits come in another order.
READ_LOG: Final = """
select xid, seq, kind, subject, body::text as body, at
from events
where (xid, seq) > ($1, $2) and xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint + event_offset()
order by xid, seq
limit $3
"""

# Numbers that this server has yet to give out come from another one.
MISSING_OFFSET: Final = """
select max(xid) - pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1 as missing
from events
having max(xid) >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint + event_offset()
"""

RAISE_OFFSET: Final = """
create or replace function event_offset() returns bigint language sql immutable parallel safe return {missing}
"""

FIND_POSITION: Final = """
select xid, seq, coalesce(retry_at > clock_timestamp(), false) as waiting from subscriptions where name = $1
"""

SUBSCRIBE: Final = "insert into subscriptions (name) values ($1) on conflict do nothing"

LOCK_POSITION: Final = """
select attempts from subscriptions where name = $1 and xid = $2 and seq = $3 for update skip locked
"""

MOVE_POSITION: Final = """
update subscriptions
set xid = $4, seq = $5, attempts = 0, retry_at = null, updated_at = clock_timestamp()
where name = $1 and xid = $2 and seq = $3
"""

COUNT_ATTEMPT: Final = """
update subscriptions
set attempts = attempts + 1,
    retry_at = clock_timestamp() + make_interval(secs => least($5::float8, $4::float8 * 2 ^ attempts)),
    updated_at = clock_timestamp()
where name = $1 and xid = $2 and seq = $3
returning attempts
"""

PARK: Final = """
with moved as (
    update subscriptions
    set xid = $4, seq = $5, attempts = 0, retry_at = null, updated_at = clock_timestamp()
    where name = $1 and xid = $2 and seq = $3
    returning name
)
insert into parked_events (subscription, xid, seq, kind, subject, body, at, error)
select name, $4, $5, $6, $7, $8::text::jsonb, $9, $10 from moved
on conflict (subscription, xid, seq) do update set error = excluded.error, parked_at = clock_timestamp()
"""

REPLAY: Final = """
with moved as (
    update subscriptions
    set xid = $2, seq = $3, attempts = 0, retry_at = null, updated_at = clock_timestamp()
    where name = $1
    returning name
), forgotten as (
    delete from parked_events using moved where subscription = name and (xid, seq) > ($2, $3)
)
select name from moved
"""

LIST_PARKED: Final = """
select subscription, xid, seq, kind, subject, body::text as body, at, error, parked_at
from parked_events
where ($1::text is null or subscription = $1) and (subscription, xid, seq) > ($2, $3::bigint, $4::bigint)
order by subscription, xid, seq
limit $5
"""

COUNT_PARKED: Final = "select count(*) as parked from parked_events"

LOCK_PARKED: Final = """
select xid, seq, kind, subject, body::text as body, at
from parked_events
where subscription = $1 and xid = $2 and seq = $3
for update
"""

UNPARK: Final = "delete from parked_events where subscription = $1 and xid = $2 and seq = $3"

EXPLAIN_PARKED: Final = """
update parked_events set error = $4, parked_at = clock_timestamp() where subscription = $1 and xid = $2 and seq = $3
"""


class LogAhead(Condition, code="event_log_ahead", kind=Kind.UNAVAILABLE, title="The event log was restored"):
    """The log holds transaction numbers that this server has yet to reach, so that new events would be overlooked."""


class Feed(Protocol):
    """A slice's log as another slice reads it, in this process or through `rpc`."""

    async def read(self, after: Position, limit: int) -> tuple[Recorded, ...]:
        """At most `limit` events that follow `after`, in order and none left out: fewer where they are many or large,
        none only at the end."""
        ...


class Parked(msgspec.Struct, frozen=True):
    """An event that failed too often. `error` tells type and place, nothing of the event's contents."""

    subscription: str
    recorded: Recorded
    error: str
    parked_at: datetime


class Subscription(msgspec.Struct, frozen=True):
    """What one reader does about one log. `name` (`orders.inventory`) is kept with the position, so it never changes.

    Events of a kind without a handler are passed over.
    """

    name: str
    feed: Feed
    handlers: Mapping[type[Event], Handler]


def encode(event: Event) -> str:
    """The event's body as JSON text, for a `jsonb` parameter; its kind and subject are columns of their own."""
    return encode_json(event).decode()


class LogFeed:
    """The feed of the log in a slice's own database.

    It stays behind every transaction that still runs, so a transaction left open anywhere on the server holds it up.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._continues = False

    async def read(self, after: Position, limit: int) -> tuple[Recorded, ...]:
        """See Feed. Raises DatabaseAway, LogAhead."""
        if not self._continues:
            if await self._db.fetchrow(MISSING_OFFSET) is not None:
                raise LogAhead(
                    f"The log of {self._db.schema} was restored into another server: run 'rickhouse db migrate'."
                )
            self._continues = True
        rows = await self._db.fetch(READ_LOG, after.xid, after.seq, min(limit, _READ_MAX))
        read: list[Recorded] = []
        size_bytes = 0
        for row in rows:
            recorded = _recorded(row)
            size_bytes += len(recorded.body)
            if read and size_bytes > _READ_BYTES_MAX:
                break
            read.append(recorded)
        return tuple(read)


class Subscriber:
    """Runs one subscription in the database where its effects are kept. Any number may run; one moves at a time."""

    def __init__(self, db: Database, subscription: Subscription) -> None:
        self._db = db
        self._feed = subscription.feed
        self._handlers = {kind.kind: (kind, handler) for kind, handler in subscription.handlers.items()}
        self.name = subscription.name
        if "" in self._handlers or len(self._handlers) != len(subscription.handlers):
            raise TypeError(f"{self.name}: each event type handled needs a kind of its own")

    async def run_once(self) -> int:
        """Read one batch and keep the effect of each event; answers how many were passed, 0 when nothing can be done.

        An event whose handler fails is tried again after 0.5, 1, 2 and 4 s; then it is parked and the rest go on.
        Raises DatabaseAway, and Unavailable when the feed cannot be read: then call again.
        """
        row = await self._db.fetchrow(FIND_POSITION, self.name)
        if row is None:
            await self._db.execute(SUBSCRIBE, self.name)
        elif row["waiting"]:
            return 0
        kept = START if row is None else Position(row["xid"], row["seq"])
        batch = await self._feed.read(kept, BATCH_MAX)
        for passed, recorded in enumerate(batch):
            if recorded.kind not in self._handlers:
                continue
            try:
                moved = await self._keep_effect(kept, recorded)
            except Exception as error:  # noqa: BLE001  whatever a handler raises is the event's failure
                moved = await self._count_failure(kept, recorded, error)
            if not moved:
                return passed
            kept = recorded.position
        if batch and batch[-1].position != kept:
            await self._db.execute(MOVE_POSITION, *self._step(kept, batch[-1].position))
        return len(batch)

    async def retry_parked(self, position: Position) -> None:
        """Keep the effect of one parked event now. What its handler raises is noted with it and raised.

        Raises NotFound, DatabaseAway.
        """
        key = (self.name, position.xid, position.seq)
        try:
            found = await self._keep_parked_effect(key)
        except Exception as error:
            await self._db.execute(EXPLAIN_PARKED, *key, describe(error))
            raise
        if not found:
            raise NotFound(f"{self.name} has no such parked event.")
        count_event_handled(self.name)

    async def _keep_effect(self, kept: Position, recorded: Recorded) -> bool:
        """Effect and position in one transaction; False when another runner has the subscription."""
        async with self._db.transaction() as queries:
            if await queries.fetchrow(LOCK_POSITION, self.name, kept.xid, kept.seq) is None:
                return False
            await self._handle(queries, recorded)
            await queries.execute(MOVE_POSITION, *self._step(kept, recorded.position))
        count_event_handled(self.name)
        return True

    async def _keep_parked_effect(self, key: tuple[str, int, int]) -> bool:
        async with self._db.transaction() as queries:
            row = await queries.fetchrow(LOCK_PARKED, *key)
            if row is None:
                return False
            await self._handle(queries, _recorded(row))
            await queries.execute(UNPARK, *key)
        return True

    async def _handle(self, queries: Queries, recorded: Recorded) -> None:
        event_type, handler = self._handlers[recorded.kind]
        await handler(queries, decode_json(recorded.body, event_type), recorded)

    async def _count_failure(self, kept: Position, recorded: Recorded, error: Exception) -> bool:
        """Whether the event was parked, so that the next one may go on."""
        waits = (_FIRST_RETRY_S, _LONGEST_RETRY_S)
        row = await self._db.fetchrow(COUNT_ATTEMPT, self.name, kept.xid, kept.seq, *waits)
        if row is None:
            return False
        count_event_failed(self.name)
        attempts: int = row["attempts"]
        about = {"subscription": self.name, "kind": recorded.kind, "subject": recorded.subject}
        _log.warning("event_failed", attempts=attempts, exc_info=error, **about)
        away = isinstance(error, Condition) and error.kind is Kind.UNAVAILABLE
        if attempts < (ATTEMPTS_WHILE_AWAY_MAX if away else ATTEMPTS_MAX):
            return False
        step = self._step(kept, recorded.position)
        body = recorded.body.decode()
        await self._db.execute(
            PARK, *step, recorded.kind, recorded.subject, body, recorded.at, describe(error)
        )
        count_event_parked(self.name)
        _log.error("event_parked", **about)
        return True

    def _step(self, kept: Position, reached: Position) -> tuple[str, int, int, int, int]:
        return self.name, kept.xid, kept.seq, reached.xid, reached.seq


async def continue_log(connection: asyncpg.Connection[Row]) -> bool:
    """Let new events follow on those of a log that was restored into another server; answers whether that was needed.

    `connection` owns the schema that is its search path. Done before anything is written there.
    """
    missing = await connection.fetchval(MISSING_OFFSET)
    if missing is None:
        return False
    await connection.execute(RAISE_OFFSET.format(missing=int(missing)))
    return True


async def replay(db: Database, name: str, from_position: Position = START) -> None:
    """Let a subscription read again everything after `from_position`; what it had parked of that is forgotten.

    Its handlers must be repeatable, or its tables emptied first. Raises NotFound, DatabaseAway.
    """
    row = await db.fetchrow(REPLAY, name, from_position.xid, from_position.seq)
    if row is None:
        raise NotFound(f"There is no subscription {name!r} here.")


async def list_parked(
    db: Database, name: str | None = None, *, after: Parked | None = None, limit: int = 100
) -> tuple[Parked, ...]:
    """The parked events of one subscription, or of all in this database; `after` is the last one of the page before."""
    cursor = ("", 0, 0)
    if after is not None:
        cursor = (after.subscription, after.recorded.position.xid, after.recorded.position.seq)
    rows = await db.fetch(LIST_PARKED, name, *cursor, limit)
    return tuple(Parked(row["subscription"], _recorded(row), row["error"], row["parked_at"]) for row in rows)


async def count_parked(db: Database) -> int:
    """How many events are parked in this database."""
    row = await db.fetchrow(COUNT_PARKED)
    return 0 if row is None else row["parked"]


def _recorded(row: Row) -> Recorded:
    body: str = row["body"]
    subject: UUID = row["subject"]
    return Recorded(Position(row["xid"], row["seq"]), row["kind"], subject, body.encode(), row["at"])
