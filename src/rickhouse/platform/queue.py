"""The queue of tasks: `pgqueuer` over a slice's database. Asking for a task belongs in `jobs`, keeping on in `worker`.

Its schedules are not used: a schedule whose process was killed waits half a minute there, longer than a hold may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, Self

import asyncpg
import structlog
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.core.tm import TaskManager
from pgqueuer.domain.settings import DBSettings
from pgqueuer.errors import RetryRequested
from pgqueuer.models import Job
from pgqueuer.ports.driver import Driver, NotifyCallback
from pgqueuer.types import Channel

from rickhouse.platform.db import Database, Row
from rickhouse.platform.jobs import Task
from rickhouse.platform.logs import describe
from rickhouse.platform.telemetry import count_job_failed

_POLL: Final = timedelta(seconds=2)
"""New jobs are announced, but the library does not announce retries: this late one may begin."""

_HEARTBEAT: Final = timedelta(seconds=15)
"""A job whose process was killed is begun again this long afterwards."""

_BATCH: Final = 10
_AT_ONCE_MAX: Final = 20
_RETRY_S_MAX: Final = 3600.0
_LOG_DAYS: Final = 30

TRIM_LOG: Final = "delete from pgqueuer_log where created < now() - make_interval(days => $1)"
TRIM_STATISTICS: Final = "delete from pgqueuer_statistics where created < now() - make_interval(days => $1)"

_log = structlog.get_logger("rickhouse.queue")


class TaskGivenUp(Exception):
    """A job failed for the last time. The message is the description of its failure."""


class ListenerLost(Exception):
    """The connection that is told of new jobs broke."""


class TaskQueue:
    """Takes jobs from a slice's queue and runs their tasks."""

    def __init__(self, db: Database, tasks: Sequence[Task]) -> None:
        self._db = db
        self._tasks = tuple(tasks)

    async def run(self, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        """Run jobs until `stopping`, then finish those that run. `ready` is called once new jobs are heard of.

        Raises when the queue cannot be reached, or no longer; then call again.
        """
        await self._trim()
        driver = _SliceDriver(self._db, ready)
        settings = queue_settings(self._db.schema)
        queries = Queries(
            driver,
            QueryBuilderEnvironment(settings),
            QueryQueueBuilder(settings),
            QuerySchedulerBuilder(settings),
        )
        manager = QueueManager(queries, Channel(settings.channel))
        for task in self._tasks:
            manager.entrypoint(task.name, on_failure="hold", accepts_context=False)(_entrypoint(task))
        driver.on_lost = manager.shutdown.set
        ending = asyncio.create_task(_forward(stopping, manager.shutdown))
        try:
            await manager.run(
                dequeue_timeout=_POLL,
                batch_size=_BATCH,
                max_concurrent_tasks=_AT_ONCE_MAX,
                shutdown_on_listener_failure=True,
                heartbeat_timeout=_HEARTBEAT,
            )
        finally:
            ending.cancel()
            await driver.close()
        if not stopping.is_set():
            raise ListenerLost

    async def _trim(self) -> None:
        """Forget what became of jobs long ago; each start of a worker is often enough."""
        await self._db.execute(TRIM_LOG, _LOG_DAYS)
        await self._db.execute(TRIM_STATISTICS, _LOG_DAYS)


def queue_settings(schema: str) -> DBSettings:
    """The names that the migration gave, whatever the environment says."""
    return DBSettings(
        prefix="",
        db_schema=None,
        channel=Channel(f"jobs_{schema}"),
        function="fn_pgqueuer_changed",
        statistics_table="pgqueuer_statistics",
        queue_status_type="pgqueuer_status",
        queue_table="pgqueuer",
        queue_table_log="pgqueuer_log",
        trigger="tg_pgqueuer_changed",
        schedules_table="pgqueuer_schedules",
    )


def _entrypoint(task: Task) -> Callable[[Job], Awaitable[None]]:
    """The task as the library calls it. The library keeps the message of what is raised, so it is made safe here."""

    async def run(job: Job) -> None:
        try:
            await task.run(job.payload or b"")
        except Exception as error:  # noqa: BLE001  whatever a task raises is its failure
            why, attempts = describe(error), job.attempts + 1
            count_job_failed(task.name)
            _log.warning("task_failed", task=task.name, job=job.id, attempts=attempts, exc_info=error)
        else:
            return
        if attempts >= task.attempts_max:
            _log.error("task_given_up", task=task.name, job=job.id)
            raise TaskGivenUp(why)
        delay_s = min(_RETRY_S_MAX, task.retry_s * 2**job.attempts)
        raise RetryRequested(timedelta(seconds=delay_s), why)

    return run


async def _forward(source: asyncio.Event, target: asyncio.Event) -> None:
    await source.wait()
    target.set()


class _SliceDriver(Driver):
    """The library's driver over a slice's pool, and one connection beside it to listen on."""

    def __init__(self, db: Database, ready: Callable[[], None]) -> None:
        self._db = db
        self._ready = ready
        self._listener: asyncpg.Connection[Row] | None = None
        self._shutdown = asyncio.Event()
        self._tasks = TaskManager()
        self.on_lost: Callable[[], None] = self._shutdown.set

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        return [dict(row) for row in await self._db.fetch(query, *args)]

    async def execute(self, query: str, *args: object) -> str:
        return await self._db.execute(query, *args)

    async def notify(self, channel: str, payload: str) -> None:
        await self._db.execute("select pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        self._listener = await self._db.connect()
        self._listener.add_termination_listener(lambda _connection: self.on_lost())
        await self._listener.add_listener(
            channel, lambda _connection, _pid, _channel, payload: callback(str(payload))
        )
        self._ready()

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None and not self._listener.is_closed():
            await self._listener.close(timeout=2.0)

    @property
    def shutdown(self) -> asyncio.Event:
        return self._shutdown

    @property
    def tm(self) -> TaskManager:
        return self._tasks

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """The queue closes the listener itself, after the last job has ended."""
