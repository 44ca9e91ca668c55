"""PostgreSQL: one pool per slice, under the slice's own role, and the rule that nothing slow happens in a transaction.

SQL of a slice never belongs here; it lives in that slice's `sql.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from rickhouse.kernel.errors import Condition, Kind

Row = asyncpg.Record
Result = TypeVar("Result")

_transaction_open: ContextVar[bool] = ContextVar("transaction_open", default=False)

_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver's own confusion when the server dies in the middle of a message
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
)
PROBE: Final = "select 1"
"""The least that shows a connection to be alive. The driver cannot read the answer to an empty statement."""

_REPEATABLE: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_ATTEMPTS_MAX: Final = 5


class DatabaseAway(Condition, code="database_away", kind=Kind.UNAVAILABLE, title="The database is away"):
    """PostgreSQL cannot be reached or did not answer in time; whether a running statement took effect is unknown."""


class TransactionOpen(RuntimeError):
    """Something slow (HTTP, another slice) was about to happen inside a database transaction: a programming error."""


def refuse_in_transaction(what: str) -> None:
    """Raise TransactionOpen when the running task holds a transaction; `what` names the call that must not happen."""
    if _transaction_open.get():
        raise TransactionOpen(f"{what} was called inside a database transaction")


class Queries(Protocol):
    """What `sql.py` functions need: a database (each statement its own commit) or one open transaction."""

    async def fetch(self, query: str, *args: object) -> list[Row]:
        """Every row."""
        ...

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """The first row, or None."""
        ...

    async def execute(self, query: str, *args: object) -> str:
        """The command tag."""
        ...

    async def executemany(self, command: str, args: Iterable[Sequence[object]]) -> None:
        """Run the statement for each tuple of arguments, all or nothing."""
        ...


class Connection(asyncpg.Connection):
    """A connection without session state: nothing to reset when it returns to the pool, so no round trip for it."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        """No statement at all."""
        return ""


class Database:
    """A slice's database: its schema is the search path, its role the user.

    Each method that runs a statement commits it by itself, and repeats it when PostgreSQL asks for that (deadlock,
    serialisation). Raises DatabaseAway.
    """

    def __init__(self, url: str, *, schema: str, pool_max: int = 8, acquire_timeout_s: float = 8.0) -> None:
        self._url = url
        self.schema = schema
        self._pool_max = pool_max
        self._acquire_timeout_s = acquire_timeout_s
        self._pool: asyncpg.Pool[Row] | None = None
        self._resting: list[PoolConnectionProxy[Row]] = []
        self._waiting = 0

    async def open(self) -> Self:
        """Make the pool. The database may be away: connections are made when they are needed."""
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=self._pool_max,
                max_inactive_connection_lifetime=300.0,
                connection_class=Connection,
                command_timeout=10.0,
                timeout=self._acquire_timeout_s,
                server_settings=self._session_settings(),
            )
        return self

    async def connect(self) -> asyncpg.Connection[Row]:
        """A connection beside the pool, for LISTEN and for locks that last as long as a session. Its user closes it.

        Raises DatabaseAway.
        """
        try:
            return await asyncpg.connect(
                self._url,
                timeout=self._acquire_timeout_s,
                command_timeout=10.0,
                server_settings=self._session_settings(),
            )
        except _AWAY as error:
            raise _away(error) from error

    async def close(self) -> None:
        """Let running statements end (at most 5 s), then close every connection."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(5.0):
                    while self._resting:
                        await pool.release(self._resting.pop())
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def answers(self) -> bool:
        """Whether the server takes statements now."""
        try:
            return await self.fetchrow(PROBE) is not None
        except DatabaseAway:
            return False

    async def fetch(self, query: str, *args: object) -> list[Row]:
        """Every row of one statement."""
        return await self._run(lambda connection: connection.fetch(query, *args))

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """The first row of one statement, or None."""
        return await self._run(lambda connection: connection.fetchrow(query, *args))

    async def execute(self, query: str, *args: object) -> str:
        """One statement; answers its command tag (`UPDATE 1`)."""
        return await self._run(lambda connection: connection.execute(query, *args))

    async def executemany(self, command: str, args: Iterable[Sequence[object]]) -> None:
        """One statement for each tuple of arguments, in one implicit transaction."""
        await self._run(lambda connection: connection.executemany(command, args))

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Queries]:
        """Several statements, one commit. Neither HTTP nor another slice can be called inside.

        Raises DatabaseAway, TransactionOpen (transactions do not nest).
        """
        refuse_in_transaction("transaction")
        try:
            async with self._connection() as connection, connection.transaction():
                mark = _transaction_open.set(True)
                try:
                    yield connection
                finally:
                    _transaction_open.reset(mark)
        except _AWAY as error:
            raise _away(error) from error

    async def _run(self, statement: Callable[[PoolConnectionProxy[Row]], Awaitable[Result]]) -> Result:
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            try:
                async with self._connection() as connection:
                    return await statement(connection)
            except _REPEATABLE as error:
                if attempt == _ATTEMPTS_MAX:
                    raise DatabaseAway("The database is too busy; try again in a moment.") from error
                await asyncio.sleep(0.01 * attempt)
            except _AWAY as error:
                raise _away(error) from error
        raise AssertionError("the loop above returns or raises")

    def _session_settings(self) -> dict[str, str]:
        return {
            "application_name": f"rickhouse {self.schema}",
            "search_path": self.schema,
            "timezone": "UTC",
            "jit": "off",
            # Every statement here is prepared and run over and over: planning one anew costs more than running it.
            "plan_cache_mode": "force_generic_plan",
            "statement_timeout": "8s",
            "lock_timeout": "4s",
            "idle_in_transaction_session_timeout": "15s",
        }

    def _connection(self) -> _Lease:
        if self._pool is None:
            raise DatabaseAway("The service is shutting down; try again in a moment.")
        return _Lease(self, self._pool)

    async def take(self, pool: asyncpg.Pool[Row]) -> PoolConnectionProxy[Row]:
        """A connection that rests, or one of the pool's."""
        while self._resting:
            connection = self._resting.pop()
            if _alive(connection):
                return connection
            await pool.release(connection)
        self._waiting += 1
        try:
            return await pool.acquire(timeout=self._acquire_timeout_s)
        finally:
            self._waiting -= 1

    async def give_back(
        self, pool: asyncpg.Pool[Row], connection: PoolConnectionProxy[Row], *, well: bool
    ) -> None:
        """Let a connection rest where nobody waits for it; after a failure the pool looks after it."""
        if well and not self._waiting and pool is self._pool:
            self._resting.append(connection)
        else:
            await pool.release(connection)


class _Lease:
    """One connection for one statement or transaction.

    The pool's own way takes 20 µs of a statement's 30, a quarter of a millisecond in every checkout; so a connection
    that nobody waits for rests with us between two statements. Making, limiting, waiting and closing stay the pool's.
    """

    __slots__ = ("_connection", "_database", "_pool")

    def __init__(self, database: Database, pool: asyncpg.Pool[Row]) -> None:
        self._database = database
        self._pool = pool

    async def __aenter__(self) -> PoolConnectionProxy[Row]:
        self._connection = await self._database.take(self._pool)
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._database.give_back(self._pool, self._connection, well=kind is None)


def _alive(connection: PoolConnectionProxy[Row]) -> bool:
    """Whether a resting connection can be used; the pool takes one away whose server has gone."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False


def _away(error: BaseException) -> BaseException:
    if isinstance(error, asyncpg.InterfaceError) and not _lost_connection(error):
        return error
    return DatabaseAway("The database cannot be reached; try again in a few seconds.")


def _lost_connection(error: asyncpg.InterfaceError) -> bool:
    """`InterfaceError` is also raised for programming errors, which must stay visible."""
    return any(word in str(error) for word in ("closed", "closing", "terminated", "lost"))


def url_for(url: str, *, user: str, password: str | None = None, database: str | None = None) -> str:
    """`url` with another user, and another password or database if given; host, port and options stay."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    path = f"/{database}" if database else parts.path
    return urlunsplit((parts.scheme, f"{login}@{host}", path, parts.query, ""))


def socket_url(socket_dir: str, *, user: str, database: str) -> str:
    """A URL for a server that listens on a Unix socket in `socket_dir`."""
    return f"postgresql://{quote(user)}@/{database}?{urlencode({'host': socket_dir})}"
