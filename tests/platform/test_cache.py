"""What is taken from the cache is never older than the last change; a cache or listener that fails is passed by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic

import asyncpg
import pytest

from rickhouse.platform import cache as cache_module
from rickhouse.platform.cache import Cache, ChangeListener, Region
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.embedded import EmbeddedPostgres, start_embedded
from rickhouse.platform.schema import migrate, role_of


class Source:
    """What a region caches: a value, and how often it was asked for."""

    def __init__(self) -> None:
        self.value = b"old"
        self.asked = 0

    async def __call__(self) -> bytes:
        self.asked += 1
        return self.value


class FakeRedis:
    """As much of Redis as the cache speaks, over a socket that can be closed."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.expiries_ms: dict[bytes, int] = {}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while head := await reader.readline():
                words: list[bytes] = []
                for _ in range(int(head[1:])):
                    length = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(length + 2))[:-2])
                writer.write(self._answer(*words))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, command: bytes, *words: bytes) -> bytes:
        match command.upper():
            case b"GET":
                found = self.data.get(words[0])
                return b"$-1\r\n" if found is None else b"$%d\r\n%s\r\n" % (len(found), found)
            case b"SET":
                if b"NX" in words and words[0] in self.data:
                    return b"$-1\r\n"
                self.data[words[0]] = words[1]
                if b"PX" in words:
                    self.expiries_ms[words[0]] = int(words[words.index(b"PX") + 1])
                return b"+OK\r\n"
            case b"PING":
                return b"+PONG\r\n"
            case b"CLIENT" | b"SELECT":
                return b"+OK\r\n"
            case _:
                return b"-ERR unknown command\r\n"


@pytest.fixture
async def redis() -> AsyncGenerator[FakeRedis]:
    server = FakeRedis()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(params=["mem", "redis"])
async def cache(request: pytest.FixtureRequest, redis: FakeRedis) -> AsyncGenerator[Cache]:
    made = Cache("mem://" if request.param == "mem" else redis.url + "?protocol=2")
    yield made
    await made.close()


@pytest.fixture
def region(cache: Cache) -> Region:
    return cache.region("catalog", ttl_s=60)


async def test_entry_is_made_once(region: Region) -> None:
    source = Source()
    assert [await region.get_or_make("k", source) for _ in range(3)] == [b"old"] * 3
    assert source.asked == 1


async def test_keys_and_regions_are_apart(cache: Cache, region: Region) -> None:
    one, other, elsewhere = Source(), Source(), Source()
    other.value, elsewhere.value = b"other", b"elsewhere"
    assert await region.get_or_make("k", one) == b"old"
    assert await region.get_or_make("k2", other) == b"other"
    assert await cache.region("orders", ttl_s=60).get_or_make("k", elsewhere) == b"elsewhere"
    assert await region.get_or_make("k", one) == b"old"
    assert one.asked == 1


@pytest.mark.parametrize("value", [b"", b"123", b"bytes:x", bytes(range(256)), b"x" * 100_000])
async def test_bytes_come_back_as_they_were(region: Region, value: bytes) -> None:
    source = Source()
    source.value = value
    assert [await region.get_or_make("k", source) for _ in range(2)] == [value] * 2


async def test_forgotten_region_is_made_anew_and_others_are_kept(cache: Cache, region: Region) -> None:
    source, kept = Source(), Source()
    orders = cache.region("orders", ttl_s=60)
    await region.get_or_make("k", source)
    await orders.get_or_make("k", kept)
    source.value = b"new"
    await region.forget()
    assert await region.get_or_make("k", source) == b"new"
    await orders.get_or_make("k", kept)
    assert kept.asked == 1


async def test_entry_made_of_old_rows_is_not_kept_when_the_region_was_forgotten_meanwhile(
    region: Region,
) -> None:
    source = Source()
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> bytes:
        value = await source()
        reading.set()
        await go_on.wait()
        return value

    late = asyncio.create_task(region.get_or_make("k", slow))
    await reading.wait()
    source.value = b"new"
    await region.forget()
    go_on.set()
    assert await late == b"old"
    assert await region.get_or_make("k", source) == b"new"


async def test_entry_is_not_used_beyond_its_time(cache: Cache, redis: FakeRedis) -> None:
    region, source = cache.region("catalog", ttl_s=0.05), Source()
    await region.get_or_make("k", source)
    if redis.data:
        assert list(redis.expiries_ms.values()) == [50]
        return
    await asyncio.sleep(0.1)
    await region.get_or_make("k", source)
    assert source.asked == 2


async def test_nothing_is_taken_while_the_listener_is_not_healthy(cache: Cache) -> None:
    healthy = True
    region, source = cache.region("catalog", ttl_s=60, healthy=lambda: healthy), Source()
    await region.get_or_make("k", source)
    healthy = False
    source.value = b"new"
    assert await region.get_or_make("k", source) == b"new"
    assert source.asked == 2


async def test_failing_maker_leaves_nothing_behind(region: Region) -> None:
    async def fail() -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await region.get_or_make("k", fail)
    assert await region.get_or_make("k", Source()) == b"old"


async def test_processes_share_redis_and_forget_for_each_other(redis: FakeRedis) -> None:
    source = Source()
    caches = [Cache(redis.url + "?protocol=2") for _ in range(2)]
    ours, theirs = (cache.region("catalog", ttl_s=60) for cache in caches)
    await ours.get_or_make("k", source)
    await theirs.get_or_make("k", source)
    assert source.asked == 1
    source.value = b"new"
    await ours.forget()
    assert await theirs.get_or_make("k", source) == b"new"
    for cache in caches:
        await cache.close()


async def test_redis_that_is_away_is_passed_by_and_what_was_forgotten_meanwhile_stays_so(
    redis: FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_AWAY_S", 0.2)
    source, cache = Source(), Cache(redis.url + "?protocol=2")
    region = cache.region("catalog", ttl_s=60)
    await region.get_or_make("k", source)
    await redis.stop()
    source.value = b"new"
    await region.forget()
    for _ in range(3):
        assert await region.get_or_make("k", source) == b"new"
    await redis.start()
    await asyncio.sleep(0.3)
    asked = source.asked
    for _ in range(3):
        assert await region.get_or_make("k", source) == b"new"
    assert source.asked == asked + 1
    await cache.close()


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_ENTRIES_MAX", 10)
    cache, source = Cache(), Source()
    region = cache.region("catalog", ttl_s=60)
    for number in range(100):
        await region.get_or_make(str(number), source)
    await region.get_or_make("0", source)
    assert source.asked == 101


@asynccontextmanager
async def listening(
    db: Database, on_change: Callable[[str | None], Awaitable[object]]
) -> AsyncGenerator[ChangeListener]:
    """A listener, from when it is healthy."""
    listener = ChangeListener(db, "catalog_changed", on_change)
    assert not listener.healthy
    listener.start()
    await until(lambda: listener.healthy)
    try:
        yield listener
    finally:
        await listener.stop()
        assert not listener.healthy


async def until(reached: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not reached():  # noqa: ASYNC110  what is waited for happens in the code under test
            await asyncio.sleep(0.005)


@pytest.fixture
async def db(open_slice: Callable[[str], Awaitable[Database]]) -> Database:
    """The slice that listens."""
    return await open_slice("catalog")


async def test_listener_hears_committed_changes_in_order(db: Database) -> None:
    heard: list[str | None] = []

    async def hear(payload: str | None) -> None:
        heard.append(payload)

    async with listening(db, hear):
        assert heard == [None]
        async with db.transaction() as queries:
            await queries.execute("select pg_notify('catalog_changed', 'a')")
            await queries.execute("select pg_notify('catalog_changed', 'b')")
            await asyncio.sleep(0.05)
            assert heard == [None]
        await until(lambda: heard == [None, "a", "b"])


async def test_listener_is_not_healthy_while_a_change_is_being_dealt_with(db: Database) -> None:
    dealing, done = asyncio.Event(), asyncio.Event()

    async def hear(payload: str | None) -> None:
        if payload is not None:
            dealing.set()
            await done.wait()

    async with listening(db, hear) as listener:
        await db.execute("select pg_notify('catalog_changed', 'a')")
        await dealing.wait()
        assert not listener.healthy
        done.set()
        await until(lambda: listener.healthy)


async def test_broken_connection_is_noticed_and_everything_forgotten_before_it_is_trusted_again(
    db: Database, database_url: str
) -> None:
    heard: list[tuple[str | None, bool]] = []

    async def hear(payload: str | None) -> None:
        heard.append((payload, listener.healthy))

    listener = ChangeListener(db, "catalog_changed", hear)
    listener.start()
    await until(lambda: listener.healthy)
    admin: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database_url)
    await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'")
    await admin.close()
    await until(lambda: not listener.healthy, within_s=0.5)
    await until(lambda: listener.healthy)
    assert heard[:2] == [(None, False), (None, False)]
    await listener.stop()


async def test_failing_reaction_counts_as_not_heard(db: Database) -> None:
    heard: list[str | None] = []

    async def hear(payload: str | None) -> None:
        heard.append(payload)
        if payload == "poison":
            raise ValueError

    async with listening(db, hear) as listener:
        await db.execute("select pg_notify('catalog_changed', 'poison')")
        await until(lambda: len(heard) == 3)
        await until(lambda: listener.healthy)
    assert heard[:3] == [None, "poison", None]


async def test_silence_keeps_the_listener_healthy_and_its_connection(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_CHECK_S", 0.05)
    heard: list[str | None] = []

    async def hear(payload: str | None) -> None:
        heard.append(payload)

    async with listening(db, hear) as listener:
        await asyncio.sleep(0.5)
        assert listener.healthy
    assert heard == [None]


async def test_steady_changes_keep_the_listener_healthy(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_CHECK_S", 0.3)
    monkeypatch.setattr(cache_module, "_CHECK_TIMEOUT_S", 0.1)
    heard = 0

    async def hear(_payload: str | None) -> None:
        nonlocal heard
        heard += 1

    async with listening(db, hear) as listener:
        began = monotonic()
        while monotonic() - began < 1.5:
            await db.execute("select pg_notify('catalog_changed', 'a')")
            await asyncio.sleep(0.05)
        assert heard > 10
        await until(lambda: listener.healthy, within_s=0.1)


async def test_no_stale_read_through_a_server_that_goes_away_and_comes_back(
    private_cluster: EmbeddedPostgres,
) -> None:
    await migrate(private_cluster.url(), ["catalog"])
    db = await Database(
        url_for(private_cluster.url(), user=role_of("catalog")), schema="catalog", acquire_timeout_s=1
    ).open()
    cache, source = Cache(), Source()
    region = cache.region("catalog", ttl_s=60, healthy=lambda: listener.healthy)
    listener = ChangeListener(db, "catalog_changed", lambda _payload: region.forget())
    listener.start()
    await until(lambda: listener.healthy)
    await region.get_or_make("k", source)
    await asyncio.to_thread(private_cluster.stop)
    source.value = b"new"
    assert await region.get_or_make("k", source) == b"new"
    await asyncio.to_thread(start_embedded, private_cluster.data_dir.parent)
    await until(lambda: listener.healthy, within_s=15)
    asked = source.asked
    for _ in range(3):
        assert await region.get_or_make("k", source) == b"new"
    assert source.asked == asked + 1
    await listener.stop()
    await db.close()
