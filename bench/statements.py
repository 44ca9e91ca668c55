"""Every SQL statement of one checkout, taken down while the house itself carries it out. What is done with them is not
decided here.

The routes are called without a network, so that each slice's statements are seen with the arguments it really gives.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, NamedTuple, cast
from unittest.mock import patch
from uuid import uuid4

from litestar.types import ASGIApp, HTTPScope, Receive, Send

from bench.shop import opening_body, payment_body
from rickhouse.apps.compose import compose
from rickhouse.apps.databases import SLICES
from rickhouse.kernel.ids import VariantId
from rickhouse.platform.db import Database, Queries, Row
from rickhouse.platform.settings import Settings
from rickhouse.platform.web.application import build


class Statement(NamedTuple):
    """One statement as a slice ran it, with its arguments."""

    schema: str
    query: str
    args: tuple[object, ...]


class Checkout(NamedTuple):
    """The statements of one whole checkout, in order, by its two requests."""

    opening: tuple[Statement, ...]
    completing: tuple[Statement, ...]


async def take_down(settings: Settings, token: str, variants: Sequence[VariantId]) -> tuple[Checkout, ...]:
    """Buy one bottle of each of `variants` from a house in this process, and answer what each checkout ran.

    One more is bought first, and not taken down: it fills what the house keeps in memory.
    """
    house = compose(settings, SLICES)
    app = build(
        house.handlers,
        verifier=house.tokens,
        probes={},
        body_bytes_max=settings.web.body_bytes_max,
    )
    await house.open()
    try:
        with _taken_down() as taken:
            return tuple(
                [await _buy(app, token, variant_id, taken) for variant_id in (variants[0], *variants)][1:]
            )
    finally:
        await house.close()


async def _buy(app: ASGIApp, token: str, variant_id: VariantId, taken: list[Statement]) -> Checkout:
    taken.clear()
    opened = await _post(app, "/v1/checkouts", token, opening_body(str(variant_id), uuid4().hex))
    opening = tuple(taken)
    taken.clear()
    path = f"/v1/checkouts/{opened['checkout_id']}/complete"
    await _post(app, path, token, payment_body())
    return Checkout(opening, tuple(taken))


async def _post(app: ASGIApp, path: str, token: str, body: bytes) -> dict[str, Any]:
    """One request, as an ASGI server would hand it over. The answer is 201, or the measurement ends."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = _scope(path, token)
    await app(scope, cast("Receive", receive), cast("Send", send))
    answer = b"".join(message.get("body", b"") for message in sent)
    assert sent[0]["status"] == 201, f"POST {path}: {sent[0]['status']} {answer.decode()}"
    return json.loads(answer)


def _scope(path: str, token: str) -> HTTPScope:
    return cast(
        "HTTPScope",
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"host", b"127.0.0.1"),
                (b"authorization", f"Bearer {token}".encode()),
                (b"content-type", b"application/json"),
                (b"idempotency-key", uuid4().hex.encode()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
            "extensions": {},
        },
    )


class _Noted:
    """Queries that are taken down before they run."""

    def __init__(self, queries: Queries, note: Callable[..., None]) -> None:
        self._queries = queries
        self._note = note

    async def fetch(self, query: str, *args: object) -> list[Row]:
        self._note(query, args)
        return await self._queries.fetch(query, *args)

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        self._note(query, args)
        return await self._queries.fetchrow(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        self._note(query, args)
        return await self._queries.execute(query, *args)

    async def executemany(self, command: str, args: Iterable[Sequence[object]]) -> None:
        every = [tuple(one) for one in args]
        for one in every:
            self._note(command, one)
        await self._queries.executemany(command, every)


@contextmanager
def _taken_down() -> Generator[list[Statement]]:
    """Every statement of every database of this process, as it runs."""
    taken: list[Statement] = []

    def noted(name: str) -> Callable[..., Any]:
        original = getattr(Database, name)

        async def run(database: Database, query: str, *args: object) -> object:
            taken.append(Statement(database.schema, query, args))
            return await original(database, query, *args)

        return run

    original_transaction = Database.transaction

    @asynccontextmanager
    async def transaction(database: Database) -> AsyncGenerator[Queries]:
        def note(query: str, args: tuple[object, ...]) -> None:
            taken.append(Statement(database.schema, query, args))

        async with original_transaction(database) as queries:
            yield _Noted(queries, note)

    with ExitStack() as stack:
        for name in ("fetch", "fetchrow", "execute"):
            stack.enter_context(patch.object(Database, name, noted(name)))
        stack.enter_context(patch.object(Database, "transaction", transaction))
        yield taken
