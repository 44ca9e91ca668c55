"""A cache that is never behind: regions forgotten as a whole, and a listener that says when a region must be forgotten.

Over `cashews`, in this process's memory or in Redis. What is cached, and what changes it, belongs to the slice.
"""

from __future__ import annotations

import asyncio
import secrets
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Final

import asyncpg
import structlog
from cashews import Cache as Backend
from cashews.exceptions import CacheError
from cashews.picklers import PicklerType

from rickhouse.platform.db import PROBE, Database, DatabaseAway, Row
from rickhouse.platform.logs import describe

_ENTRIES_MAX: Final = 2000
_AWAY_S: Final = 5.0
"""A Redis that failed is left alone this long, so that its time-outs do not become ours."""

_CHECK_S: Final = 1.0
_CHECK_TIMEOUT_S: Final = 1.5

_log = structlog.get_logger("rickhouse.cache")


def _always() -> bool:
    return True


class Cache:
    """Where regions keep their entries: `mem://`, or `redis://…` to share them with other processes."""

    def __init__(self, url: str = "mem://") -> None:
        # `check_repr` would write out each entry as text when it is read, only to see whether that fails: of a page of
        # products, that is more work than everything else together.
        self._backend = Backend()
        if url.startswith("mem:"):
            # Without a check interval nothing walks over the entries; those too many or too old go as others come.
            self._backend.setup(
                "mem://", size=_ENTRIES_MAX, check_interval=0, pickle_type=PicklerType.NULL, check_repr=False
            )
        else:
            # Entries are bytes: what comes out of a shared store is never unpickled.
            self._backend.setup(url, suppress=False, pickle_type=PicklerType.NULL, check_repr=False)

    def region(self, name: str, ttl_s: float, healthy: Callable[[], bool] = _always) -> Region:
        """A part of the cache that is forgotten as a whole. Nothing is taken from it while `healthy()` is false."""
        return Region(self._backend, name, ttl_s, healthy)

    async def close(self) -> None:
        """Let go of the connections; the memory is forgotten with the process."""
        with suppress(CacheError, OSError), warnings.catch_warnings():
            # cashews 7.6 calls the Redis client's `close` by its old name.
            warnings.simplefilter("ignore", DeprecationWarning)
            await self._backend.close()


class Region:
    """Entries under one generation: a random name that is replaced when the region is forgotten.

    An entry is kept under the generation that was read before it was made. So what was made of old rows while the
    region was being forgotten lands where nobody looks, however late it comes.
    """

    def __init__(self, backend: Backend, name: str, ttl_s: float, healthy: Callable[[], bool]) -> None:
        self._backend = backend
        self._name = name
        self._ttl_s = ttl_s
        self._healthy = healthy
        self._changes = 0
        self._changes_kept = 0
        self._away_until = 0.0

    async def get_or_make(self, key: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The entry, made and kept for at most `ttl_s` when there is none. A cache that fails is passed by."""
        place = await self._place_of(key)
        if place is not None:
            found = await self._read(place)
            if found is not None:
                return found
        made = await make()
        if place is not None:
            await self._try(self._backend.set(place, made, expire=self._ttl_s))
        return made

    async def forget(self) -> None:
        """Let no entry made before this call be found, from the moment it is called.

        While that cannot be written down (Redis is away), this process passes the region by.
        """
        self._changes += 1
        await self._write_generation()

    async def _place_of(self, key: str) -> str | None:
        """Where the entry stands, or None while the region cannot be trusted."""
        if not self._healthy() or monotonic() < self._away_until:
            return None
        if self._changes_kept != self._changes and not await self._write_generation():
            return None
        generation = await self._read(f"{self._name}:generation")
        if generation is None:
            # Evicted or never there. Of two that write it, the first wins.
            await self._try(self._backend.set(f"{self._name}:generation", _new_generation(), exist=False))
            generation = await self._read(f"{self._name}:generation")
        return None if generation is None else f"{self._name}:{generation.decode()}:{key}"

    async def _write_generation(self) -> bool:
        changes = self._changes
        if not await self._try(self._backend.set(f"{self._name}:generation", _new_generation())):
            return False
        self._changes_kept = max(self._changes_kept, changes)
        return True

    async def _read(self, place: str) -> bytes | None:
        try:
            found = await self._backend.get(place)
        except (CacheError, OSError) as error:
            self._fail(error)
            return None
        return found if isinstance(found, bytes) else None

    async def _try(self, writing: Awaitable[object]) -> bool:
        try:
            await writing
        except (CacheError, OSError) as error:
            self._fail(error)
            return False
        return True

    def _fail(self, error: Exception) -> None:
        self._away_until = monotonic() + _AWAY_S
        _log.warning("cache_away", region=self._name, error=describe(error))


class ChangeListener:
    """Hears PostgreSQL's NOTIFY on one channel and calls `on_change` with each payload, one after the other.

    `on_change(None)` means that anything may have changed: it is called whenever listening begins, before `healthy`.
    """

    def __init__(
        self, db: Database, channel: str, on_change: Callable[[str | None], Awaitable[object]]
    ) -> None:
        self._db = db
        self._channel = channel
        self._on_change = on_change
        self._unheard = 0
        self._heard_at = float("-inf")
        self._running: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> bool:
        """Whether everything that changed so far has been heard and dealt with.

        A connection that breaks is noticed at once; one that falls silent without breaking, within three seconds.
        """
        return self._unheard == 0 and monotonic() - self._heard_at < _CHECK_S + _CHECK_TIMEOUT_S + 0.5

    def start(self) -> None:
        """Begin, in a task of the running event loop."""
        self._running = asyncio.create_task(self._listen_always())

    async def stop(self) -> None:
        """Hear nothing more."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
        self._heard_at = float("-inf")

    async def _listen_always(self) -> None:
        while True:
            connection: asyncpg.Connection[Row] | None = None
            try:
                connection = await self._db.connect()
                await self._listen(connection)
            except (
                DatabaseAway,
                OSError,
                TimeoutError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
            ) as error:
                _log.warning("listener_lost", channel=self._channel, error=describe(error))
            except Exception as error:  # noqa: BLE001  what `on_change` raises must not end the listening
                _log.error("listener_failed", channel=self._channel, exc_info=error)
            finally:
                self._lose()
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(_CHECK_S)

    async def _listen(self, connection: asyncpg.Connection[Row]) -> None:
        lost = asyncio.Event()

        changes: asyncio.Queue[str] = asyncio.Queue()
        self._unheard = 0

        def heard(_connection: object, _pid: object, _channel: object, payload: object) -> None:
            self._unheard += 1
            self._heard_at = monotonic()
            changes.put_nowait(str(payload))

        def broke(_connection: object) -> None:
            self._lose()
            lost.set()

        connection.add_termination_listener(broke)
        await connection.add_listener(self._channel, heard)
        await self._on_change(None)
        self._heard_at = monotonic()
        while not lost.is_set():
            try:
                async with asyncio.timeout(_CHECK_S):
                    payload = await changes.get()
            except TimeoutError:
                await connection.execute(PROBE, timeout=_CHECK_TIMEOUT_S)
                self._heard_at = monotonic()
            else:
                await self._on_change(payload)
                self._unheard -= 1

    def _lose(self) -> None:
        self._heard_at = float("-inf")


def _new_generation() -> bytes:
    return secrets.token_hex(8).encode()
