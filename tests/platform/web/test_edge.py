"""What the edge does to every request before a route sees it, and to every answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import pytest
import structlog
from litestar import Request
from litestar.params import JSONBody

from rickhouse.platform.telemetry import render_metrics
from rickhouse.platform.web import caller, get, post
from tests.platform.web.client import BODY_BYTES_MAX, KEY, Json, asked, told


@get("/who", scope="bar:read", summary="Who asks")
async def who(request: Request[Any, Any, Any]) -> str:
    """The subject of the token."""
    return caller(request).subject


@get("/open", scope=None, summary="Open to all")
async def open_to_all() -> str:
    """The request id that the log has."""
    return str(structlog.contextvars.get_contextvars()["request_id"])


@post("/echo", scope=None, summary="Echo", keyed=False, body_example={"a": 1}, status=200)
async def echo(data: JSONBody[dict[str, str]]) -> dict[str, str]:
    """The body."""
    return data


@get("/crash", scope=None, summary="Crash")
async def crash() -> None:
    """A bug."""
    raise RuntimeError("secret-word in the works")


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    async with asked(who, open_to_all, echo, crash) as client:
        yield client


async def test_a_good_request_id_is_kept_and_any_other_replaced(client: httpx.AsyncClient) -> None:
    kept = await client.get("/open", headers={"x-request-id": "shop-7.A_b"})
    assert (kept.headers["x-request-id"], kept.text) == ("shop-7.A_b", "shop-7.A_b")

    for bad in ("", "x" * 65, "two words", "a\tb", "é"):
        made = await client.get("/open", headers={b"x-request-id": bad.encode()})
        assert made.headers["x-request-id"] == made.text != bad
        assert len(made.text) == 32


async def test_every_answer_says_that_it_is_what_it_says(client: httpx.AsyncClient) -> None:
    for path in ("/open", "/nowhere", "/crash", "/docs", "/openapi.json"):
        reply = await client.get(path)
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"


async def test_the_token_decides_who_asks(client: httpx.AsyncClient) -> None:
    token = KEY.issue("shop", ["bar:read"], 60)

    assert (await client.get("/who", headers={"authorization": f"bearer {token}"})).text == "shop"


async def test_a_bad_token_is_refused_even_where_none_is_needed(client: httpx.AsyncClient) -> None:
    reply = await client.get("/open", headers={"authorization": "Bearer nonsense"})

    assert told(reply) == (401, "token_invalid", [])
    assert reply.headers["www-authenticate"] == 'Bearer realm="rickhouse", error="invalid_token"'


@pytest.mark.parametrize("size", [BODY_BYTES_MAX - 10, BODY_BYTES_MAX - 9])
async def test_a_body_passes_up_to_the_limit_and_no_further(client: httpx.AsyncClient, size: int) -> None:
    body = b'{"a": "' + b"x" * size + b'"}'
    sized = await client.post("/echo", content=body, headers={"content-type": "application/json"})

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    unsized = await client.post("/echo", content=in_pieces(), headers={"content-type": "application/json"})

    for reply in (sized, unsized):
        if len(body) <= BODY_BYTES_MAX:
            assert (reply.status_code, len(reply.json()["a"])) == (200, size)
        else:
            assert told(reply) == (413, "body_too_large", [])
            assert reply.json()["bytes_max"] == BODY_BYTES_MAX


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b'{"a": "\0"}', "no_nul"),
        (b'{"a": "\\u0000"}', "no_nul"),
        (b'{"a": "\\\\\\u0000"}', "no_nul"),
        (b'{"a": "\xff"}', "utf_8"),
        (b'{"a": "\xed\xa0\x80"}', "utf_8"),
        (b"\xff\xfe{\0}\0", "no_nul"),
    ],
)
async def test_bytes_that_are_no_text_are_refused(client: httpx.AsyncClient, body: bytes, rule: str) -> None:
    reply = await client.post("/echo", content=body, headers={"content-type": "application/json"})

    assert told(reply) == (400, "field_invalid", [])
    assert (reply.json()["field"], reply.json()["rule"]) == ("body", rule)


async def test_a_backslash_before_u0000_is_text(client: httpx.AsyncClient) -> None:
    reply = await client.post("/echo", json={"a": "\\u0000 is written so"})

    assert reply.json() == {"a": "\\u0000 is written so"}


async def test_a_nul_in_the_query_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.get("/open?q=%00")

    assert told(reply) == (400, "field_invalid", [])
    assert (reply.json()["field"], reply.json()["rule"]) == ("query", "no_nul")


async def test_head_is_get_without_its_content(client: httpx.AsyncClient) -> None:
    got, head = await client.get("/openapi.json"), await client.head("/openapi.json")

    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == got.headers[name]
    assert (await client.head("/nowhere")).status_code == 404
    assert (await client.head("/echo")).status_code == 405


async def test_a_bug_is_told_by_its_request_id_alone(client: httpx.AsyncClient) -> None:
    reply = await client.get("/crash")

    assert told(reply) == (500, "internal_error", [])
    body: Json = reply.json()
    assert "secret-word" not in reply.text
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id"}


async def test_requests_are_counted_by_route_and_status(client: httpx.AsyncClient) -> None:
    await client.get("/who")
    await client.get("/nowhere/secret-word")

    metrics = render_metrics().decode()
    assert 'route="/who"' in metrics
    assert 'route="unmatched"' in metrics
    assert "secret-word" not in metrics
