"""Payments over HTTP: shown without token or reference, captured and refunded once per key, by nobody without scope."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest

from rickhouse.kernel.ids import OrderId, PaymentId
from rickhouse.payments.contract import Payment
from rickhouse.payments.routes import routes
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.db import Database
from rickhouse.platform.tokens import TokenKey
from rickhouse.platform.web.application import build
from tests.payments.samples import PRICE, row, statuses
from tests.simulators.bank import BankProcess


@pytest.fixture
def key(tmp_path: Path) -> TokenKey:
    """Who signs tokens."""
    return TokenKey.load(tmp_path / "tokens.json")


@pytest.fixture
async def client(payments: PaymentsService, key: TokenKey) -> AsyncGenerator[httpx.AsyncClient]:
    """A back office that may see and move money."""
    app = build(routes(payments), verifier=key, probes={}, body_bytes_max=262_144)
    transport = httpx.ASGITransport(app=app)  # pyright: ignore[reportArgumentType]  # ASGI by two names
    token = key.issue("office", ["payments:read", "payments:write"], 60)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers={"authorization": f"Bearer {token}"}
    ) as client:
        yield client


async def paid(payments: PaymentsService) -> Payment:
    """An order whose money is set aside."""
    return await payments.authorise(OrderId.new(), 1, PRICE, "tok_approve")


def key_header(key: str) -> dict[str, str]:
    """The header of a request that may come twice."""
    return {"idempotency-key": key}


async def test_a_payment_is_shown_with_brand_and_last_four_and_nothing_else_of_the_card(
    client: httpx.AsyncClient, payments: PaymentsService
) -> None:
    payment = await paid(payments)
    shown = {
        "payment_id": str(payment.payment_id),
        "order_id": str(payment.order_id),
        "attempt": 1,
        "state": "authorised",
        "amount": {"minor": 8_900, "currency": "USD"},
        "captured": {"minor": 0, "currency": "USD"},
        "refunded": {"minor": 0, "currency": "USD"},
        "decline_code": None,
        "action_url": None,
        "card_brand": "visa",
        "card_last4": "4242",
    }

    one = await client.get(f"/v1/payments/{payment.payment_id}")
    all_of_order = await client.get(f"/v1/orders/{payment.order_id}/payments")

    assert (one.status_code, one.json()) == (200, shown)
    assert (all_of_order.status_code, all_of_order.json()) == (200, {"items": [shown], "next_cursor": None})


async def test_an_order_without_attempts_has_an_empty_page(client: httpx.AsyncClient) -> None:
    reply = await client.get(f"/v1/orders/{OrderId.new()}/payments")

    assert (reply.status_code, reply.json()) == (200, {"items": [], "next_cursor": None})


async def test_capturing_twice_takes_the_money_once(
    client: httpx.AsyncClient, payments: PaymentsService, bank: BankProcess
) -> None:
    payment = await paid(payments)
    path = f"/v1/payments/{payment.payment_id}/capture"

    first = await client.post(path, headers=key_header("c1"))
    again = await client.post(path, headers=key_header("c1"))

    assert (first.status_code, first.json()["state"]) == (200, "captured")
    assert (again.status_code, again.json()) == (200, first.json())
    assert statuses(bank, payment.order_id) == ["TAKEN"]


async def test_a_refund_is_made_once_per_key_and_never_too_large(
    client: httpx.AsyncClient, payments: PaymentsService
) -> None:
    payment = await paid(payments)
    await payments.capture(payment.order_id)
    path = f"/v1/payments/{payment.payment_id}/refunds"
    part = {"amount": {"minor": 2_500, "currency": "USD"}}

    first = await client.post(path, headers=key_header("r1"), json=part)
    again = await client.post(path, headers=key_header("r1"), json=part)
    other = await client.post(
        path, headers=key_header("r1"), json={"amount": {"minor": 1, "currency": "USD"}}
    )
    much = await client.post(
        path, headers=key_header("r2"), json={"amount": {"minor": 6_401, "currency": "USD"}}
    )
    euros = await client.post(
        path, headers=key_header("r3"), json={"amount": {"minor": 1, "currency": "EUR"}}
    )

    assert (first.status_code, first.headers["location"]) == (201, f"/v1/payments/{payment.payment_id}")
    assert first.json() | part == first.json()
    assert (first.json()["state"], first.json()["payment_id"]) == ("refunded", str(payment.payment_id))
    assert again.json() == first.json()
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (much.status_code, much.json()["code"], much.json()["refundable_minor"]) == (
        422,
        "refund_too_large",
        6_400,
    )
    assert (euros.status_code, euros.json()["code"]) == (422, "currency_mismatch")
    assert (await payments.get_payment(payment.payment_id)).refunded.minor == 2_500


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"amount": {"minor": 0, "currency": "USD"}},
        {"amount": {"minor": -1, "currency": "USD"}},
        {"amount": {"minor": 10**16, "currency": "USD"}},
        {"amount": {"minor": 1.5, "currency": "USD"}},
        {"amount": {"minor": 1, "currency": "DOLLARS"}},
        {"amount": {"minor": 1, "currency": "USD"}, "reason": "unknown field"},
    ],
)
async def test_a_refund_that_is_no_amount_is_refused(
    client: httpx.AsyncClient, payments: PaymentsService, body: object
) -> None:
    payment = await paid(payments)
    await payments.capture(payment.order_id)

    reply = await client.post(
        f"/v1/payments/{payment.payment_id}/refunds", headers=key_header("bad"), json=body
    )

    assert reply.status_code == 400
    assert (await payments.get_payment(payment.payment_id)).refunded.minor == 0


async def test_money_moves_only_under_a_key(
    client: httpx.AsyncClient, payments: PaymentsService, db: Database
) -> None:
    payment = await paid(payments)

    capture = await client.post(f"/v1/payments/{payment.payment_id}/capture")
    refund = await client.post(
        f"/v1/payments/{payment.payment_id}/refunds", json={"amount": {"minor": 1, "currency": "USD"}}
    )

    assert (capture.status_code, refund.status_code) == (400, 400)
    assert (await row(db, payment.order_id))["state"] == "authorised"


async def test_a_payment_in_another_state_is_a_conflict(
    client: httpx.AsyncClient, payments: PaymentsService
) -> None:
    payment = await paid(payments)
    await payments.undo(payment.order_id)

    reply = await client.post(f"/v1/payments/{payment.payment_id}/capture", headers=key_header("late"))

    assert (reply.status_code, reply.json()["code"], reply.json()["state"]) == (
        409,
        "payment_state",
        "voided",
    )


@pytest.mark.parametrize("what", ["", "/capture", "/refunds"])
async def test_a_payment_that_does_not_exist_is_not_found(client: httpx.AsyncClient, what: str) -> None:
    path = f"/v1/payments/{PaymentId.new()}{what}"
    body = {"amount": {"minor": 1, "currency": "USD"}} if what == "/refunds" else None

    reply = await (client.post(path, headers=key_header("k"), json=body) if what else client.get(path))

    assert (reply.status_code, reply.json()["code"]) == (404, "payment_not_found")


async def test_nobody_moves_money_with_a_scope_that_only_reads(
    client: httpx.AsyncClient, key: TokenKey, payments: PaymentsService
) -> None:
    payment = await paid(payments)
    reader = {"authorization": f"Bearer {key.issue('reader', ['payments:read'], 60)}"}
    writer = {"authorization": f"Bearer {key.issue('writer', ['payments:write'], 60)}"}
    path = f"/v1/payments/{payment.payment_id}"

    answers = [
        await client.get(path, headers=reader),
        await client.get(path, headers=writer),
        await client.get(f"/v1/orders/{payment.order_id}/payments", headers=writer),
        await client.post(f"{path}/capture", headers=reader | key_header("k")),
        await client.post(
            f"{path}/refunds",
            headers=reader | key_header("k"),
            json={"amount": {"minor": 1, "currency": "USD"}},
        ),
    ]

    assert [reply.status_code for reply in answers] == [200, 403, 403, 403, 403]
    assert await payments.get_payment(payment.payment_id) == payment
