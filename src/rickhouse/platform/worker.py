"""The worker of one slice: its periodics, its subscribers, and its queue of tasks.

Of all workers of a slice one leads (a lock that lasts as long as its session) and runs periodics and subscribers; tasks
are shared out by the queue. Nothing is lost by a kill: what was under way is begun again. What a job does never belongs
here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final

import asyncpg
import structlog

from rickhouse.kernel.errors import Condition, Kind
from rickhouse.platform.db import Database, DatabaseAway, Row
from rickhouse.platform.events import Subscriber
from rickhouse.platform.jobs import Periodic, Task
from rickhouse.platform.logs import describe
from rickhouse.platform.queue import TaskQueue
from rickhouse.platform.telemetry import count_job_failed

_IDLE_S: Final = 0.25
_CHECK_S: Final = 1.0
_BACKOFF_MAX_S: Final = 2.0

TAKE_LEAD: Final = "select pg_try_advisory_lock(hashtextextended('rickhouse worker ' || $1, 0)) as taken"

_log = structlog.get_logger("rickhouse.worker")


class Worker:
    """Runs everything of one slice that no request waits for, until `stop`.

    A failing job is logged when it begins to fail and when it is well again, and counted each time; the others go on.
    A database that goes away is waited for.
    """

    def __init__(
        self,
        db: Database,
        *,
        periodics: Sequence[Periodic] = (),
        tasks: Sequence[Task] = (),
        subscribers: Sequence[Subscriber] = (),
    ) -> None:
        self._db = db
        self._periodics = tuple(periodics)
        self._subscribers = tuple(subscribers)
        self._queue = TaskQueue(db, tasks) if tasks else None
        self._leading = asyncio.Event()
        self._stopping = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    @property
    def leading(self) -> bool:
        """Whether this worker runs the slice's periodics and subscribers."""
        return self._leading.is_set()

    def start(self) -> None:
        """Begin, in tasks of the running event loop."""
        loops: list[Coroutine[None, None, None]] = []
        if self._periodics or self._subscribers:
            loops.append(self._lead())
        loops += [self._repeat(periodic) for periodic in self._periodics]
        loops += [self._follow(subscriber) for subscriber in self._subscribers]
        if self._queue is not None:
            loops.append(self._work_off(self._queue))
        self._running = [asyncio.create_task(loop) for loop in loops]

    async def run(self) -> None:
        """Begin, and return once stopped, even where there is nothing to do."""
        self.start()
        await asyncio.gather(self._stopping.wait(), *self._running)

    async def stop(self, grace_s: float = 20.0) -> None:
        """Begin nothing more, and let what runs finish; after `grace_s` seconds it is cancelled, to be begun again."""
        self._stopping.set()
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=grace_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _lead(self) -> None:
        """Hold the slice's lead, or wait for whoever holds it to end."""
        health = _Health(f"{self._db.schema}.lead")
        while not self._stopping.is_set():
            try:
                await self._hold_lead(health)
            except (DatabaseAway, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                health.ill(error)
            finally:
                self._leading.clear()
            await self._pause(_CHECK_S)

    async def _hold_lead(self, health: _Health) -> None:
        connection = await self._db.connect()
        try:
            while not self._stopping.is_set():
                if self._leading.is_set():
                    await connection.execute("select 1")
                elif await connection.fetchval(TAKE_LEAD, self._db.schema):
                    self._leading.set()
                health.well()
                await self._pause(_CHECK_S)
            # What runs under the lead finishes before another worker may begin the same.
            await asyncio.wait([task for task in self._running if task is not asyncio.current_task()])
        finally:
            await _close(connection)

    async def _repeat(self, periodic: Periodic) -> None:
        health = _Health(periodic.name)
        while await self._may_begin():
            began = monotonic()
            try:
                async with asyncio.timeout(periodic.timeout_s):
                    await periodic.run()
            except Exception as error:  # noqa: BLE001  one failing job must not end the others
                health.ill(error)
            else:
                health.well()
            await self._pause(periodic.every_s - (monotonic() - began))

    async def _follow(self, subscriber: Subscriber) -> None:
        health = _Health(subscriber.name)
        pause_s = 0.0
        while await self._may_begin():
            try:
                passed = await subscriber.run_once()
            except Exception as error:  # noqa: BLE001  one failing subscription must not end the others
                health.ill(error)
                pause_s = min(_BACKOFF_MAX_S, max(_IDLE_S, pause_s * 2))
            else:
                health.well()
                pause_s = 0.0 if passed else _IDLE_S
            await self._pause(pause_s)

    async def _work_off(self, queue: TaskQueue) -> None:
        health = _Health(f"{self._db.schema}.tasks")
        while not self._stopping.is_set():
            try:
                await queue.run(self._stopping, health.well)
            except Exception as error:  # noqa: BLE001  whatever ends the queue's loop, it is begun again
                health.ill(error)
            await self._pause(_CHECK_S)

    async def _may_begin(self) -> bool:
        """Wait until this worker leads; False once it stops."""
        if not self._leading.is_set():
            await _first_of(self._leading.wait, self._stopping.wait)
        return not self._stopping.is_set()

    async def _pause(self, seconds: float) -> None:
        """Wait that long, or until the worker stops; always gives the others a turn."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


class _Health:
    """Says once that something began to fail, once that its failure changed, and once that it is well."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._failure = ""

    def ill(self, error: Exception) -> None:
        """Count a failure; log it unless it is the one known already."""
        away = isinstance(error, Condition) and error.kind is Kind.UNAVAILABLE
        if not away:
            count_job_failed(self._job)
        failure = describe(error)
        if failure == self._failure:
            return
        self._failure = failure
        if away:
            _log.warning("job_waits", job=self._job, error=failure)
        else:
            _log.error("job_failed", job=self._job, exc_info=error)

    def well(self) -> None:
        """Log that a failure is over."""
        if self._failure:
            _log.info("job_recovered", job=self._job)
            self._failure = ""


async def _first_of(*waits: Callable[[], Awaitable[object]]) -> None:
    tasks = [asyncio.ensure_future(wait()) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _close(connection: asyncpg.Connection[Row]) -> None:
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await connection.close(timeout=2.0)
