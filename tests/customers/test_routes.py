"""Customers over HTTP: masks and nothing else, to nobody without the scope."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import httpx
import pytest

from rickhouse.customers.routes import routes
from rickhouse.customers.service import CustomersService
from rickhouse.kernel.ids import CustomerId, OrderId
from rickhouse.platform.tokens import TokenKey
from rickhouse.platform.web.application import build
from tests.customers.samples import somebody

CLEAR: Final = ("Ada", "Example", "+1701", "Main Street", "58645", "1985-04-12")
"""What stands in every test person and in no answer."""


@pytest.fixture
async def client(service: CustomersService, tmp_path: Path) -> AsyncGenerator[httpx.AsyncClient]:
    """A client that may read customers."""
    key = TokenKey.load(tmp_path / "tokens.json")
    app = build(routes(service), verifier=key, probes={}, body_bytes_max=262_144)
    token = key.issue("office", ["customers:read"], 60)
    transport = httpx.ASGITransport(app=app)  # pyright: ignore[reportArgumentType]  # ASGI by two names
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers={"authorization": f"Bearer {token}"}
    ) as client:
        yield client


def is_closed(reply: httpx.Response) -> bool:
    """Whether nothing of a person is in the answer."""
    return not any(word in f"{reply.text} {reply.headers}" for word in CLEAR)


async def test_customer_is_shown_masked(client: httpx.AsyncClient, service: CustomersService) -> None:
    person = somebody(email="quinn@example.com")
    customer_id = (await service.register(OrderId.new(), person)).customer_id
    reply = await client.get(f"/v1/customers/{customer_id}")
    assert (reply.status_code, reply.json()) == (
        200,
        {
            "customer_id": str(customer_id),
            "name": "A••• E•••",
            "email": "q•••@example.com",
            "phone": "•••• 23",
            "birth_year": 1985,
            "city": "Medora",
            "region": "US-ND",
        },
    )
    assert is_closed(reply)


async def test_unknown_customer_is_not_found(client: httpx.AsyncClient) -> None:
    reply = await client.get(f"/v1/customers/{CustomerId.new()}")
    assert (reply.status_code, reply.json()["code"]) == (404, "customer_forgotten")


async def test_look_up_finds_by_mailbox_and_shows_masks(
    client: httpx.AsyncClient, service: CustomersService
) -> None:
    customer_id = (await service.register(OrderId.new(), somebody(email="Robin@example.com"))).customer_id
    reply = await client.post("/v1/customers/lookup", json={"email": "robin@EXAMPLE.com"})
    assert reply.status_code == 200
    assert [found["customer_id"] for found in reply.json()["customers"]] == [str(customer_id)]
    assert is_closed(reply)
    nobody = await client.post("/v1/customers/lookup", json={"email": "nobody@example.com"})
    assert (nobody.status_code, nobody.json()) == (200, {"customers": []})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"email": "secret-word"}, "person_invalid"),
        ({"email": ""}, "request_invalid"),
        ({"email": "secret-word@" + "x" * 250}, "request_invalid"),
        ({"email": ["secret-word"]}, "request_invalid"),
        ({"email": "a@example.com", "name": "secret-word"}, "request_invalid"),
        ({}, "request_invalid"),
    ],
)
async def test_refused_look_up_does_not_repeat_what_was_sent(
    client: httpx.AsyncClient, body: dict[str, object], code: str
) -> None:
    reply = await client.post("/v1/customers/lookup", json=body)
    assert (reply.status_code, reply.json()["code"]) == (400, code)
    assert "secret-word" not in reply.text


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/customers/x"), ("POST", "/v1/customers/lookup")])
async def test_nobody_reads_without_the_scope(
    client: httpx.AsyncClient, tmp_path: Path, method: str, path: str
) -> None:
    path = path.replace("/x", f"/{CustomerId.new()}")
    other = TokenKey.load(tmp_path / "tokens.json").issue("shop", ["checkouts:buy"], 60)
    body = {"email": "ada@example.com"} if method == "POST" else None
    refused = await client.request(method, path, json=body, headers={"authorization": f"Bearer {other}"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    del client.headers["authorization"]
    assert (await client.request(method, path, json=body)).status_code == 401
