"""A contract behind HTTP behaves as the service does: same arguments, same answers, same conditions."""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime
from typing import Any, Protocol, cast

import msgspec
import pytest
import structlog
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from joserfc.jwk import OKPKey

from rickhouse.kernel.errors import Condition, Forbidden, Kind, NotFound, Unavailable
from rickhouse.kernel.events import START, Event, Recorded
from rickhouse.kernel.ids import OrderId, VariantId, uuid7
from rickhouse.kernel.money import Money
from rickhouse.kernel.wire import HttpRequest
from rickhouse.platform.db import Database, Queries, TransactionOpen
from rickhouse.platform.events import Feed, LogFeed, Subscriber, Subscription, encode
from rickhouse.platform.http import HttpClient, close_clients
from rickhouse.platform.rpc import rpc_client, rpc_routes
from rickhouse.platform.telemetry import render_metrics
from rickhouse.platform.tokens import TokenKey
from rickhouse.platform.web.application import build

KEY = TokenKey([OKPKey.generate_key("Ed25519")])
ORDER = OrderId.new()
AT = datetime(2026, 11, 23, 12, 30, 15, 123456, tzinfo=UTC)


class BarClosed(Condition, code="bar_closed", kind=Kind.CONFLICT, title="The bar is closed"):
    """Nobody pours."""


class Drink(msgspec.Struct, frozen=True):
    """An answer with everything that contracts hold."""

    order_id: OrderId
    variant_ids: tuple[VariantId, ...]
    price: Money
    at: datetime
    day: date
    note: str | None = None


class Bar(Protocol):
    """A contract."""

    async def pour(
        self,
        order_id: OrderId,
        variant_ids: tuple[VariantId, ...],
        at: datetime,
        size_ml: int = 50,
        *,
        note: str | None = None,
    ) -> Drink:
        """A drink."""
        ...

    async def clear(self, order_id: OrderId) -> None:
        """Nothing, or a condition."""
        ...

    async def wait(self, seconds: float) -> int:
        """How often it was asked."""
        ...


class Barkeeper:
    """The service behind the contract."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.fails: Exception | None = None
        self.request_ids: list[str] = []

    async def pour(
        self,
        order_id: OrderId,
        variant_ids: tuple[VariantId, ...],
        at: datetime,
        size_ml: int = 50,
        *,
        note: str | None = None,
    ) -> Drink:
        self.asked.append((order_id, variant_ids, at, size_ml, note))
        return Drink(order_id, variant_ids, Money(size_ml, "USD"), at, at.date(), note)

    async def clear(self, order_id: OrderId) -> None:
        self.asked.append((order_id,))
        self.request_ids.append(structlog.contextvars.get_contextvars()["request_id"])
        if self.fails is not None:
            raise self.fails

    async def wait(self, seconds: float) -> int:
        self.asked.append((seconds,))
        await asyncio.sleep(seconds)
        return len(self.asked)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def served(*handlers: Any) -> AsyncGenerator[str]:  # noqa: ANN401
    """A web server with these routes; its address."""
    app = build(handlers, verifier=KEY, probes={}, body_bytes_max=262_144)
    port = free_port()
    server = Server(
        app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_level=LogLevels.critical
    )
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        await close_clients()
        server.stop()
        await serving


def client_of(url: str, *scopes: str, name: str = "bar") -> Bar:
    token = KEY.issue("rickhouse", scopes or ("rpc:bar",), 60)
    return rpc_client(Bar, name, HttpClient(url, name=name, timeout_s=5), lambda: token)


@pytest.fixture
def keeper() -> Barkeeper:
    return Barkeeper()


@pytest.fixture
async def url(keeper: Barkeeper) -> AsyncGenerator[str]:
    async with served(*rpc_routes(Bar, "bar", keeper)) as address:
        yield address


async def test_arguments_and_answer_are_the_same_on_both_sides(url: str, keeper: Barkeeper) -> None:
    bar = client_of(url)
    variants = (VariantId.new(), VariantId.new())
    for here in (bar, Barkeeper()):
        assert await here.pour(ORDER, variants, AT) == Drink(
            ORDER, variants, Money(50, "USD"), AT, date(2026, 11, 23), None
        )
    await bar.pour(ORDER, variant_ids=(), at=AT, size_ml=0, note="nul \0 byte")
    assert keeper.asked == [(ORDER, variants, AT, 50, None), (ORDER, (), AT, 0, "nul \0 byte")]
    assert isinstance(keeper.asked[0][0], OrderId)


async def test_nothing_comes_back_as_none(url: str) -> None:
    result: object = await cast("Any", client_of(url)).clear(ORDER)
    assert result is None


@pytest.mark.parametrize(
    "condition",
    [
        BarClosed("Come back tomorrow.", opens=[8, 9], because={"why": None}),
        NotFound("There is no such order."),
        Forbidden("Not you."),
        Unavailable("Out of ice."),
    ],
)
async def test_conditions_of_the_contract_come_back_as_their_class(
    url: str, keeper: Barkeeper, condition: Condition
) -> None:
    keeper.fails = condition
    with pytest.raises(type(condition)) as raised:
        await client_of(url).clear(ORDER)
    assert type(raised.value) is type(condition)
    assert (raised.value.detail, raised.value.facts) == (condition.detail, condition.facts)
    assert len(keeper.asked) == 1


async def test_bug_on_the_other_side_is_unavailable_and_tells_nothing(url: str, keeper: Barkeeper) -> None:
    keeper.fails = ValueError("Ada Lovelace")
    with pytest.raises(Unavailable) as raised:
        await client_of(url).clear(ORDER)
    assert raised.value.detail == "The service 'bar' does not answer; try again in a few seconds."
    assert len(keeper.asked) == 1


@pytest.mark.parametrize("scope", ["rpc:other", "bar:write"])
async def test_token_without_the_scope_is_a_fault_between_us_and_not_the_buyers(
    url: str, keeper: Barkeeper, scope: str
) -> None:
    with pytest.raises(Unavailable):
        await client_of(url, scope).clear(ORDER)
    assert keeper.asked == []


async def test_call_without_a_token_is_refused(url: str, keeper: Barkeeper) -> None:
    reply = await HttpClient(url, name="bar").send(HttpRequest("POST", "/rpc/bar/clear", body=b"\x80"))
    assert (reply.status, json.loads(reply.body)["code"]) == (401, "unauthenticated")
    assert keeper.asked == []


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x80", msgspec.msgpack.encode({"order_id": "ord_1"}), b'{"a": 1}']
)
async def test_other_arguments_are_refused_and_do_nothing(url: str, keeper: Barkeeper, body: bytes) -> None:
    token = KEY.issue("rickhouse", ["rpc:bar"], 60)
    reply = await HttpClient(url, name="bar").send(
        HttpRequest("POST", "/rpc/bar/clear", {"authorization": f"Bearer {token}"}, body)
    )
    assert (reply.status, json.loads(reply.body)["code"]) == (400, "call_malformed")
    assert "x-rickhouse-condition" not in reply.headers
    assert keeper.asked == []


async def test_routes_stay_out_of_the_public_reference(url: str) -> None:
    reply = await HttpClient(url, name="bar").send(HttpRequest("GET", "/openapi.json"))
    assert "/rpc/" not in reply.body.decode()


async def test_request_id_travels_along(url: str, keeper: Barkeeper) -> None:
    with structlog.contextvars.bound_contextvars(request_id="req-7"):
        await client_of(url).clear(ORDER)
    assert keeper.request_ids == ["req-7"]


async def test_process_that_is_away_is_unavailable_and_counted() -> None:
    with pytest.raises(Unavailable):
        await client_of(f"http://127.0.0.1:{free_port()}", name="gone").clear(ORDER)
    await close_clients()
    assert b'rickhouse_rpc_failures_total{call="gone.clear"} 1.0' in render_metrics()


@asynccontextmanager
async def unsteady(failures: int) -> AsyncGenerator[tuple[str, list[int]]]:
    """A server that reads whole requests, and answers only after so many were lost."""
    received: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        await reader.readexactly(length)
        received.append(length)
        if len(received) > failures:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n\xc0")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", received
    finally:
        await close_clients()
        server.close()
        await server.wait_closed()


async def test_lost_answer_is_asked_for_again_because_contracts_can_be_repeated() -> None:
    async with unsteady(failures=2) as (address, received):
        await client_of(address).clear(ORDER)
    assert len(received) == 3


async def test_repeating_ends_after_three_attempts() -> None:
    async with unsteady(failures=99) as (address, received):
        with pytest.raises(Unavailable):
            await client_of(address).clear(ORDER)
    assert len(received) == 3


async def test_answer_of_another_type_is_unavailable() -> None:
    async with unsteady(failures=0) as (address, _):
        with pytest.raises(Unavailable):
            await client_of(address).wait(0)


async def test_all_attempts_together_have_a_time_limit(
    url: str, keeper: Barkeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rickhouse.platform.rpc._LIMIT_S", 0.3)
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await client_of(url).wait(2)
    assert 0.25 < asyncio.get_running_loop().time() - began < 1
    assert keeper.asked == [(2,)]


async def test_call_inside_a_transaction_is_refused(
    url: str, keeper: Barkeeper, open_slice: Callable[[str], Awaitable[Database]]
) -> None:
    db, bar = await open_slice("orders"), client_of(url)
    async with db.transaction():
        with pytest.raises(TransactionOpen, match=r"bar\.clear"):
            await bar.clear(ORDER)
    assert keeper.asked == []
    await bar.clear(ORDER)


class Untyped(Protocol):
    """A parameter without a type."""

    async def pour(self, order_id) -> None: ...  # noqa: ANN001  # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]


class Blocking(Protocol):
    """A method that is not async."""

    def pour(self, order_id: OrderId) -> None: ...


class Answerless(Protocol):
    """A method without a return type."""

    async def pour(self, order_id: OrderId): ...  # noqa: ANN201


class Many(Protocol):
    """A method with any number of parameters."""

    async def pour(self, *order_ids: OrderId) -> None: ...


class Nothing(Protocol):
    """No method at all."""


@pytest.mark.parametrize(
    ("contract", "why"),
    [
        (Untyped, "order_id needs a type"),
        (Blocking, "async def"),
        (Answerless, "needs a return type"),
        (Many, "order_ids must be a plain parameter"),
        (Nothing, "has no methods"),
        (Barkeeper, "not a Protocol"),
    ],
)
def test_contract_that_cannot_be_called_remotely_is_refused_at_start(contract: type[Any], why: str) -> None:
    with pytest.raises(TypeError, match=why):
        rpc_client(contract, "bar", HttpClient("http://bar", name="bar"), str)
    with pytest.raises(TypeError, match=why):
        rpc_routes(contract, "bar", Barkeeper())


def test_implementation_that_lacks_a_method_is_refused_at_start() -> None:
    with pytest.raises(TypeError, match="no method pour"):
        rpc_routes(Bar, "bar", cast("Any", object()))


@pytest.mark.parametrize(
    "slice_name", ["catalog", "inventory", "customers", "orders", "payments", "compliance"]
)
def test_every_slice_s_contract_can_be_called_remotely(slice_name: str) -> None:
    module = importlib.import_module(f"rickhouse.{slice_name}.contract")
    contract = cast("type[Any]", getattr(module, slice_name.capitalize()))
    remote = rpc_client(contract, slice_name, HttpClient("http://there", name=slice_name), str)
    offered = {name for name in vars(contract) if not name.startswith("_")}
    assert offered == {name for name in dir(remote) if not name.startswith("_")}
    assert offered


class Poured(Event, frozen=True):
    """Something happened."""

    kind = "bar.poured"
    order_id: OrderId


async def test_events_of_another_process_are_subscribed_to_like_those_of_this_one(
    open_slice: Callable[[str], Awaitable[Database]],
) -> None:
    source, reader = await open_slice("inventory"), await open_slice("orders")
    subjects = [uuid7() for _ in range(3)]
    for subject in subjects:
        await source.execute(
            "insert into events (kind, subject, body) values ($1, $2, $3::jsonb)",
            Poured.kind,
            subject,
            encode(Poured(order_id=ORDER)),
        )
    seen: list[tuple[Poured, Recorded]] = []

    async def see(_queries: Queries, event: Poured, recorded: Recorded) -> None:
        seen.append((event, recorded))

    token = KEY.issue("rickhouse", ["rpc:inventory_events"], 60)
    async with served(*rpc_routes(Feed, "inventory_events", LogFeed(source))) as address:
        feed = rpc_client(Feed, "inventory_events", HttpClient(address, name="inventory"), lambda: token)
        assert await feed.read(START, 10) == await LogFeed(source).read(START, 10)
        assert await Subscriber(reader, Subscription("orders.bar", feed, {Poured: see})).run_once() == 3
    assert [recorded.subject for _, recorded in seen] == subjects
    assert {event.order_id for event, _ in seen} == {ORDER}
