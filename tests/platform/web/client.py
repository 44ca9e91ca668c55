"""A small application of the tests' own routes, asked in this process. What a route should do belongs to the tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
from joserfc.jwk import OKPKey
from litestar.handlers import HTTPRouteHandler

from rickhouse.platform.tokens import TokenKey
from rickhouse.platform.web.application import build

Json = dict[str, Any]

KEY: Final = TokenKey([OKPKey.generate_key("Ed25519")])
BODY_BYTES_MAX: Final = 1_000


@asynccontextmanager
async def asked(*routes: HTTPRouteHandler, scopes: Sequence[str] = ()) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of an application with these routes, whose token carries `scopes` if there are any."""
    app = build(routes, verifier=KEY, probes={}, body_bytes_max=BODY_BYTES_MAX)
    # A crash is to be answered, not raised in the test.
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]  # ASGI by two names
    headers = {"authorization": f"Bearer {KEY.issue('tester', scopes, 60)}"} if scopes else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


def told(reply: httpx.Response) -> tuple[int, str, list[Json]]:
    """Status, code and errors of a refusal."""
    body: Json = reply.json()
    assert reply.headers["content-type"] == "application/problem+json"
    assert (body["status"], body["type"]) == (reply.status_code, f"urn:rickhouse:problem:{body['code']}")
    assert body["request_id"] == reply.headers["x-request-id"]
    return reply.status_code, body["code"], body.get("errors", [])
