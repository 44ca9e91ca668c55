"""The HTTP client against servers that misbehave on purpose: raw sockets on the loopback interface."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from rickhouse.kernel.wire import HttpReply, HttpRequest
from rickhouse.platform import db
from rickhouse.platform.http import HttpClient, NoReply, NotSent, close_clients

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Answer: yes\r\n\r\nhi"
ASK = HttpRequest(method="POST", path="/charges?email=ada%40example.com", body=b"{}")


@asynccontextmanager
async def vendor(behave: Behaviour) -> AsyncGenerator[str]:
    """A server whose every connection is handled by `behave`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await behave(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await close_clients()
        server.close()
        await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Head and body of one request with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + (await reader.readexactly(int(lengths[0].split(b":")[1])) if lengths else b"")


def answering(*chunks: bytes, then: float = 0.0) -> tuple[Behaviour, list[bytes]]:
    """Answer each request with `chunks`, wait `then` seconds before the next one; the requests are collected."""
    seen: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await read_request(reader))
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            await asyncio.sleep(then)

    return behave, seen


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_send_returns_status_lower_case_headers_and_body() -> None:
    behave, seen = answering(b"HTTP/1.1 402 No\r\nContent-Length: 2\r\nX-Answer: yes\r\n\r\nhi")
    async with vendor(behave) as url:
        reply = await HttpClient(f"{url}/v1/", name="bank", timeout_s=2).send(
            HttpRequest(
                method="POST", path="/charges?a=%2F", headers={"Idempotency-Key": "k1"}, body=b'{"a":1}'
            )
        )
    assert reply == HttpReply(status=402, headers={"content-length": "2", "x-answer": "yes"}, body=b"hi")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/charges?a=%2F HTTP/1.1\r\n")
    assert b"Idempotency-Key: k1" in head
    assert b"accept-encoding" not in head.lower()
    assert body == b'{"a":1}'


async def test_connection_is_kept_alive_and_shared_by_every_client() -> None:
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_request(reader)
            writer.write(OK)

    async with vendor(behave) as url:
        for name in ("bank", "bureau", "bank"):
            assert (await HttpClient(url, name=name, timeout_s=2).send(ASK)).status == 200
    assert connections == 1


async def test_redirect_is_a_reply_and_is_not_followed() -> None:
    behave, seen = answering(
        b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.invalid/\r\nContent-Length: 0\r\n\r\n"
    )
    async with vendor(behave) as url:
        reply = await HttpClient(url, name="bank", timeout_s=2).send(ASK)
    assert (reply.status, reply.headers["location"]) == (302, "http://elsewhere.invalid/")
    assert len(seen) == 1


async def test_cookies_of_a_vendor_are_not_sent_back() -> None:
    behave, seen = answering(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
    async with vendor(behave) as url:
        client = HttpClient(url, name="bank", timeout_s=2)
        await client.send(ASK)
        await client.send(ASK)
    assert len(seen) == 2
    assert b"cookie" not in seen[1].lower()


async def test_refused_connection_is_not_sent_and_tells_no_address() -> None:
    client = HttpClient(f"http://127.0.0.1:{closed_port()}", name="bank", timeout_s=2)
    with pytest.raises(NotSent) as refused:
        await client.send(ASK)
    await close_clients()
    assert refused.value.vendor == "bank"
    assert str(refused.value) == "bank: no connection (ClientConnectorError)"
    assert refused.value.__suppress_context__


async def test_unknown_host_is_not_sent() -> None:
    with pytest.raises(NotSent):
        await HttpClient("http://bank.invalid", name="bank", timeout_s=2).send(ASK)
    await close_clients()


async def test_slow_answer_is_no_reply_and_leaves_in_time() -> None:
    behave, seen = answering(then=5)
    async with vendor(behave) as url:
        began = asyncio.get_running_loop().time()
        with pytest.raises(NoReply) as silent:
            await HttpClient(url, name="bank", timeout_s=0.2).send(ASK)
        took_s = asyncio.get_running_loop().time() - began
    assert str(silent.value) == "bank: no whole reply (TimeoutError)"
    assert 0.15 < took_s < 1.0
    assert len(seen) == 1


async def test_reset_after_the_request_is_no_reply() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.transport.abort()

    async with vendor(behave) as url:
        with pytest.raises(NoReply):
            await HttpClient(url, name="bank", timeout_s=2, retries=3).send(ASK)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"SSH-2.0-OpenSSH_9.0\r\n\r\n",
    ],
    ids=["short body", "missing last chunk", "half a head", "not HTTP"],
)
async def test_truncated_reply_is_no_reply(reply: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(reply)
        await writer.drain()

    async with vendor(behave) as url:
        with pytest.raises(NoReply):
            await HttpClient(url, name="bank", timeout_s=2).send(ASK)


async def test_chunked_reply_is_whole() -> None:
    behave, _ = answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"3\r\nand\r\n",
        b"4\r\nhalf\r\n0\r\n\r\n",
    )
    async with vendor(behave) as url:
        reply = await HttpClient(url, name="bank", timeout_s=2).send(ASK)
    assert reply.body == b"halfandhalf"


@pytest.mark.parametrize("length", [1000, 1001])
async def test_reply_larger_than_the_cap_is_no_reply(length: int) -> None:
    behave, _ = answering(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length, b"x" * 500, b"x" * (length - 500)
    )
    async with vendor(behave) as url:
        client = HttpClient(url, name="bank", timeout_s=2, reply_bytes_max=1000)
        if length <= 1000:
            assert len((await client.send(ASK)).body) == 1000
        else:
            with pytest.raises(NoReply, match="larger than 1000 bytes"):
                await client.send(ASK)


async def test_retries_repeat_what_was_not_sent_until_the_vendor_is_back() -> None:
    port = closed_port()
    behave, seen = answering(OK)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await behave(reader, writer)
        writer.close()

    client = HttpClient(f"http://127.0.0.1:{port}", name="bank", timeout_s=5, retries=6)
    asking = asyncio.create_task(client.send(ASK))
    await asyncio.sleep(0.2)
    server = await asyncio.start_server(handle, "127.0.0.1", port)
    assert (await asking).status == 200
    assert len(seen) == 1
    await close_clients()
    server.close()
    await server.wait_closed()


async def test_retries_never_repeat_what_may_have_been_received() -> None:
    received = 0

    async def behave(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await read_request(reader)
        received += 1

    async with vendor(behave) as url:
        with pytest.raises(NoReply):
            await HttpClient(url, name="bank", timeout_s=2, retries=5).send(ASK)
    assert received == 1


async def test_breaker_pauses_after_failures_in_a_row_and_recovers() -> None:
    received, healthy = 0, False

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await read_request(reader)
        received += 1
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") if healthy else b"")
        await writer.drain()

    async with vendor(behave) as url:
        client = HttpClient(url, name="bank", timeout_s=2, failures_max=3, pause_s=0.2)
        for _ in range(3):
            with pytest.raises(NoReply):
                await client.send(ASK)
        with pytest.raises(NotSent, match="failed too often"):
            await client.send(ASK)
        assert received == 3
        healthy = True
        await asyncio.sleep(0.25)
        assert (await client.send(ASK)).status == 200
        assert (await client.send(ASK)).status == 200


async def test_caller_that_gives_up_is_not_counted_against_the_vendor() -> None:
    behave, _ = answering(then=5)
    async with vendor(behave) as url:
        client = HttpClient(url, name="bank", timeout_s=5, failures_max=1, pause_s=60)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.send(ASK), 0.05)
        asking = asyncio.create_task(client.send(ASK))
        await asyncio.sleep(0.05)
        assert not asking.done()
        asking.cancel()


async def test_send_refuses_inside_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    behave, seen = answering(OK)

    def inside(what: str) -> None:
        raise db.TransactionOpen(what)

    monkeypatch.setattr("rickhouse.platform.http.refuse_in_transaction", inside)
    async with vendor(behave) as url:
        with pytest.raises(db.TransactionOpen, match="bank"):
            await HttpClient(url, name="bank", timeout_s=2).send(ASK)
    assert seen == []


@pytest.mark.parametrize("url", ["bank.example", "ftp://bank.example", "http://"])
def test_base_url_that_is_not_http_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="bank: the base URL"):
        HttpClient(url, name="bank")


async def test_path_without_a_slash_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with a slash"):
        await HttpClient("http://bank.example", name="bank").send(HttpRequest("GET", "@evil.example/"))
