"""A route is open to those whose token carries its scope, and closed where it says nothing."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Request

from rickhouse.platform.web import Caller, caller, get
from tests.platform.web.client import asked, told


@get("/scoped", scope="bar:read", summary="Scoped")
async def scoped(request: Request[Any, Any, Any]) -> str:
    """The caller."""
    return caller(request).subject


@get("/public", scope=None, summary="Public")
async def public() -> str:
    """Anybody."""
    return "anybody"


@get("/careless", scope=None, summary="Careless")
async def careless(request: Request[Any, Any, Any]) -> str:
    """Asks for the caller without a scope."""
    return caller(request).subject


@pytest.mark.parametrize(
    ("scopes", "answer"),
    [
        (("bar:read",), (200, "tester")),
        (("bar:read", "bar:write"), (200, "tester")),
        (("bar:write",), (403, "forbidden")),
        (("bar",), (403, "forbidden")),
        (("bar:read_all",), (403, "forbidden")),
        ((), (401, "unauthenticated")),
    ],
)
async def test_the_scope_opens_the_route(scopes: tuple[str, ...], answer: tuple[int, str]) -> None:
    async with asked(scoped, public, scopes=scopes) as client:
        reply = await client.get("/scoped")
        found = reply.text if reply.status_code == 200 else told(reply)[1]

        assert (reply.status_code, found) == answer
        assert (await client.get("/public")).text == "anybody"


async def test_a_public_route_has_no_caller() -> None:
    async with asked(careless) as client:
        assert told(await client.get("/careless")) == (401, "unauthenticated", [])


def test_a_caller_may_what_the_token_says() -> None:
    who = Caller("shop", frozenset({"orders:read"}))

    assert who.may("orders:read")
    assert not who.may("orders:read_all")
