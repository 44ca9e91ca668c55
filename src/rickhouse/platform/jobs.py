"""What to do later: periodics, which run over and over, and tasks, which are asked for and tried until they succeed.

Running them belongs in `worker`; the tables are `pgqueuer`'s (migration 0002). What a job does never belongs here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import msgspec

from rickhouse.kernel.errors import NotFound
from rickhouse.platform.db import Queries

# The queue's library does this too, but weighs 15 MB, which the processes that only ask for work need not carry.
ENQUEUE: Final = """
with added as (
    insert into pgqueuer (priority, entrypoint, payload, execute_after, dedupe_key, status)
    values (0, $1, $2, now() + make_interval(secs => $3::float8), $4, 'queued')
    on conflict (dedupe_key) where status in ('queued', 'picked') and dedupe_key is not null do nothing
    returning id, entrypoint, priority
), logged as (
    insert into pgqueuer_log (job_id, status, entrypoint, priority)
    select id, 'queued', entrypoint, priority from added
)
select id from added
"""

LIST_GIVEN_UP: Final = """
select job.id, job.entrypoint, job.attempts, job.updated, failure.error
from pgqueuer job
left join lateral (
    select traceback ->> 'exception_message' as error from pgqueuer_log
    where job_id = job.id and traceback is not null order by created desc, id desc limit 1
) failure on true
where job.status = 'failed' and job.id > $1
order by job.id
limit $2
"""

COUNT_GIVEN_UP: Final = "select count(*) as given_up from pgqueuer where status = 'failed'"

TRY_AGAIN: Final = """
with requeued as (
    update pgqueuer
    set status = 'queued', execute_after = now(), updated = now(), attempts = 0, queue_manager_id = null
    where id = $1 and status = 'failed'
    returning id, entrypoint, priority
), logged as (
    insert into pgqueuer_log (job_id, status, entrypoint, priority)
    select id, 'queued', entrypoint, priority from requeued
)
select id from requeued
"""


class Periodic(msgspec.Struct, frozen=True):
    """`run` is started every `every_s` seconds, in one process at a time and never twice at once.

    It must stand being run twice all the same: a process that was cut off from the database may still be at it.
    A run that takes longer than `timeout_s` is cancelled.
    """

    name: str
    every_s: float
    run: Callable[[], Awaitable[object]]
    timeout_s: float = 120.0


class Task(msgspec.Struct, frozen=True):
    """`run` receives the payload of each job that was enqueued under `name`, at least once.

    After a failure it is tried again in `retry_s`, then twice that and so on (an hour at most); after `attempts_max`
    failures the job is given up, kept, and shown by `list_given_up`.
    """

    name: str
    run: Callable[[bytes], Awaitable[object]]
    attempts_max: int = 8
    retry_s: float = 1.0


class GivenUp(msgspec.Struct, frozen=True):
    """A job that failed too often. `error` tells type and place of the last failure, nothing of the contents."""

    job_id: int
    task: str
    attempts: int
    error: str
    failed_at: datetime


async def enqueue(
    queries: Queries, name: str, payload: bytes = b"", *, delay_s: float = 0.0, dedupe_key: str | None = None
) -> int | None:
    """Ask for one run of the task `name`, in the caller's transaction if that is what `queries` is.

    Answers the job's number, or None where a job of the same `dedupe_key` already waits or runs. The payload is kept in
    the clear: ids, never personal data.
    """
    row = await queries.fetchrow(ENQUEUE, name, payload, delay_s, dedupe_key)
    return None if row is None else row["id"]


async def list_given_up(queries: Queries, *, after: int = 0, limit: int = 100) -> tuple[GivenUp, ...]:
    """The jobs that failed too often, oldest first; `after` is the number of the last one of the page before."""
    rows = await queries.fetch(LIST_GIVEN_UP, after, limit)
    return tuple(
        GivenUp(row["id"], row["entrypoint"], row["attempts"] + 1, row["error"] or "", row["updated"])
        for row in rows
    )


async def count_given_up(queries: Queries) -> int:
    """How many jobs failed too often."""
    row = await queries.fetchrow(COUNT_GIVEN_UP)
    return 0 if row is None else row["given_up"]


async def try_again(queries: Queries, job_id: int) -> None:
    """Put a job that was given up back into the queue, with all its attempts. Raises NotFound."""
    if await queries.fetchrow(TRY_AGAIN, job_id) is None:
        raise NotFound(f"No job {job_id} was given up here.")
