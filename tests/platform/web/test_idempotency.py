"""A key identifies one request of one caller."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Request
from litestar.params import JSONBody

from rickhouse.platform.web import IdempotencyKey, keyed, post
from tests.platform.web.client import KEY, Json, asked, told


class Wish(msgspec.Struct, frozen=True):
    """What somebody wants."""

    bottles: int
    note: str = ""


class Seen(msgspec.Struct, frozen=True):
    """The identity of a request, its fingerprint in hexadecimal."""

    owner: str
    key: str
    fingerprint: str


@post("/{place:str}", scope="bar:wish", summary="Wish", body_example=Wish(1), status=200)
async def wish(
    request: Request[Any, Any, Any], data: JSONBody[Wish], idempotency_key: IdempotencyKey
) -> Seen:
    """How the request is known."""
    found = keyed(request, idempotency_key, data)
    return Seen(found.owner, found.key, found.fingerprint.hex())


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    async with asked(wish) as client:
        yield client


async def seen(
    client: httpx.AsyncClient, path: str, body: bytes, *, key: str = "k", owner: str = "shop"
) -> Json:
    headers = {
        "authorization": f"Bearer {KEY.issue(owner, ['bar:wish'], 60)}",
        "idempotency-key": key,
        "content-type": "application/json",
    }
    reply = await client.post(path, content=body, headers=headers)
    assert reply.status_code == 200, reply.text
    found: Json = reply.json()
    return found


async def test_white_space_order_and_defaults_do_not_make_another_request(client: httpx.AsyncClient) -> None:
    first = await seen(client, "/a", b'{"bottles": 1, "note": ""}')

    assert (first["owner"], first["key"]) == ("shop", "k")
    assert len(first["fingerprint"]) == 32
    for same in (b'{"note":"","bottles":1}', b'  {"bottles":1}  ', b'{"bottles": 1, "unknown": [2]}'):
        assert await seen(client, "/a", same) == first


async def test_another_body_or_path_is_another_request(client: httpx.AsyncClient) -> None:
    first = await seen(client, "/a", b'{"bottles": 1}')

    for path, body in (
        ("/a", b'{"bottles": 2}'),
        ("/a", b'{"bottles": 1, "note": "x"}'),
        ("/b", b'{"bottles": 1}'),
    ):
        assert (await seen(client, path, body))["fingerprint"] != first["fingerprint"]
    assert (await seen(client, "/a", b'{"bottles": 1}', owner="other"))["owner"] == "other"


@pytest.mark.parametrize("key", ["k", "!", "~" * 200, "7f3c-Ax_.:/+="])
async def test_visible_ascii_is_a_key(client: httpx.AsyncClient, key: str) -> None:
    assert (await seen(client, "/a", b'{"bottles": 1}', key=key))["key"] == key


@pytest.mark.parametrize("key", [None, b"", b"two words", b"\xe9", b"~" * 201])
async def test_anything_else_is_refused_by_its_name(client: httpx.AsyncClient, key: bytes | None) -> None:
    token = KEY.issue("shop", ["bar:wish"], 60)
    headers = {b"authorization": f"Bearer {token}".encode()}
    if key is not None:
        headers[b"idempotency-key"] = key
    reply = await client.post("/a", json={"bottles": 1}, headers=headers)

    status, code, errors = told(reply)
    assert (status, code) == (400, "request_invalid")
    assert [(error["field"], error["where"]) for error in errors] == [("Idempotency-Key", "header")]
