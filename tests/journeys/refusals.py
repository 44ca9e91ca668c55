"""Requests as they are, what a refusal says, and whether a table has changed. Which request is refused how belongs in
the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Final

import asyncpg

from tests.journeys.stack import BUYER, Json, Reply, Stack, stranger

_INSIDES: Final = re.compile(
    r"Traceback|File \"|\.py\b|asyncpg|msgspec|litestar|\bselect\b|\binsert into\b", re.IGNORECASE
)


def basket(variant_id: str, **changes: object) -> Json:
    """A good request for one bottle, with these members changed."""
    return {"lines": [{"variant_id": variant_id, "quantity": 1}], "customer": stranger(), **changes}


def line(variant_id: str, quantity: object) -> Json:
    """A good request but for the quantity."""
    return basket(variant_id, lines=[{"variant_id": variant_id, "quantity": quantity}])


def buyer(variant_id: str, **changes: object) -> Json:
    """A good request but for the buyer; the address's fields are given like the person's."""
    address = {name: changes.pop(name) for name in list(changes) if name in BUYER["address"]}
    person = {**stranger(), **changes, "address": {**BUYER["address"], **address}}
    return basket(variant_id, customer=person)


async def send(
    house: Stack,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str | None = None,
    headers: Mapping[str, str | None] | None = None,
) -> Reply:
    """One request as it is: bytes as bytes, all else as JSON; a header that is None is left out."""
    wanted: dict[str, str | None] = {
        "authorization": f"Bearer {token or house.shop_token}",
        "content-type": None if body is None else "application/json",
        "idempotency-key": "k" if method == "POST" else None,
        **(headers or {}),
    }
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    data = None if raw is None else BytesIO(raw)
    sent = {name: value for name, value in wanted.items() if value is not None}
    skipped = ["content-type"] if wanted["content-type"] is None else []
    async with house.session.request(
        method, house.base_url + path, data=data, headers=sent, skip_auto_headers=skipped
    ) as reply:
        came = {name.lower(): value for name, value in reply.headers.items()}
        return Reply(reply.status, came, await reply.read())


def refusal(reply: Reply) -> tuple[int, str, str | None]:
    """Status, code and the field that is named, after a look at what every refusal has."""
    body = reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    assert (body["status"], body["type"]) == (reply.status, f"urn:rickhouse:problem:{body['code']}")
    assert body["request_id"] == reply.headers["x-request-id"]
    assert body["title"]
    assert body["detail"]
    assert _INSIDES.search(reply.raw.decode()) is None
    errors: list[Json] = body.get("errors", [])
    return reply.status, body["code"], errors[0]["field"] if errors else body.get("field")


class Tables:
    """Every table of every slice, but for the places where the worker's subscribers are."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], names: list[str]) -> None:
        self._connection = connection
        self._counted = " union all ".join(
            f"select '{name}' as name, count(*)::int as count from {name}"  # noqa: S608  our own tables
            for name in names
        )

    @asynccontextmanager
    async def unchanged(self, but: Mapping[str, int] | None = None) -> AsyncGenerator[None]:
        """Each has as many rows after as before, save that those in `but` have gained so many."""
        before = await self._rows()
        yield
        gained = {name: count - before[name] for name, count in (await self._rows()).items()}
        assert {name: count for name, count in gained.items() if count} == dict(but or {})

    async def _rows(self) -> dict[str, int]:
        return {row["name"]: row["count"] for row in await self._connection.fetch(self._counted)}
