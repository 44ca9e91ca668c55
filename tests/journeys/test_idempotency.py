"""A request that is sent again, or by twenty clients at once, has its effect once, and everybody gets its answer."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from tests.journeys.books import assert_books
from tests.journeys.stack import Json, Reply, Stack, stranger

CLIENTS = 20


async def test_twenty_openings_under_one_key_are_one_checkout(house: Stack) -> None:
    variant_id = await house.release(50)
    buyer, key = stranger(), uuid4().hex

    replies = await asyncio.gather(
        *(house.open([(variant_id, 2)], buyer=buyer, key=key) for _ in range(CLIENTS))
    )

    assert {reply.status for reply in replies} == {201}
    assert len({reply.raw for reply in replies}) == 1
    assert {reply.headers["location"] for reply in replies} == {
        f"/v1/checkouts/{replies[0].body['checkout_id']}"
    }
    assert await house.free(variant_id) == 48
    assert await orders_of(house, variant_id) == 1
    await assert_books(house)


@pytest.mark.parametrize(
    ("token", "status", "held"),
    [
        ("tok_approve", 201, ["HELD"]),
        ("tok_slow_2", 201, ["HELD"]),
        ("tok_3ds", 202, ["CHALLENGE"]),
        ("tok_decline", 402, ["REFUSED"]),
    ],
)
async def test_twenty_completions_under_one_key_are_one_payment(
    house: Stack, token: str, status: int, held: list[str]
) -> None:
    variant_id = await house.release(5)
    opened = await house.open([(variant_id, 1)], buyer=stranger())
    checkout_id, key = opened.body["checkout_id"], uuid4().hex

    replies = await asyncio.gather(*(house.complete(checkout_id, token, key=key) for _ in range(CLIENTS)))
    late = await house.complete(checkout_id, token, key=key)

    assert {reply.status for reply in (*replies, late)} == {status}
    assert [answer(reply) for reply in (*replies, late)] == [answer(replies[0])] * (CLIENTS + 1)
    assert await house.asked_for(checkout_id) == held
    await assert_books(house)


async def test_a_refused_card_is_not_asked_again_for_the_same_request(house: Stack) -> None:
    variant_id = await house.release(1)
    opened = await house.open([(variant_id, 1)], buyer=stranger())
    checkout_id = opened.body["checkout_id"]

    refused = await house.complete(checkout_id, "tok_decline_insufficient_funds", key="first")
    paid = await house.complete(checkout_id, key="second")
    again = await house.complete(checkout_id, "tok_decline_insufficient_funds", key="first")

    assert (refused.status, refused.body["decline_code"]) == (402, "insufficient_funds")
    assert paid.status == 201
    assert (again.status, answer(again)) == (402, answer(refused))
    assert await house.asked_for(checkout_id) == ["REFUSED", "HELD"]
    await assert_books(house)


async def test_a_sold_out_opening_stays_sold_out_under_its_key(house: Stack) -> None:
    variant_id = await house.release(1)
    buyer, key = stranger(), uuid4().hex

    replies = await asyncio.gather(
        *(house.open([(variant_id, 2)], buyer=buyer, key=key) for _ in range(CLIENTS))
    )
    await house.receive(variant_id, 10)
    late = await house.open([(variant_id, 2)], buyer=buyer, key=key)
    fresh = await house.open([(variant_id, 2)], buyer=buyer)

    assert {(reply.status, reply.body["code"]) for reply in (*replies, late)} == {(409, "sold_out")}
    assert [answer(reply) for reply in (*replies, late)] == [answer(late)] * (CLIENTS + 1)
    assert fresh.status == 201
    assert await house.free(variant_id) == 9
    await assert_books(house)


async def test_another_request_under_a_used_key_is_refused(house: Stack) -> None:
    variant_id = await house.release(10)
    buyer = stranger()
    opened = await house.open([(variant_id, 1)], buyer=buyer, key="used")
    checkout_id = opened.body["checkout_id"]
    await house.complete(checkout_id, key="paid")

    replies = [
        await house.open([(variant_id, 2)], buyer=buyer, key="used"),
        await house.open([(variant_id, 1)], buyer=stranger(), key="used"),
        await house.complete(checkout_id, "tok_decline", key="paid"),
    ]

    assert [(reply.status, reply.body["code"]) for reply in replies] == [(422, "idempotency_key_reused")] * 3
    assert await house.free(variant_id) == 9
    assert await house.asked_for(checkout_id) == ["HELD"]
    await assert_books(house)


async def test_different_openings_at_once_under_one_key_are_one_checkout(house: Stack) -> None:
    variant_id = await house.release(10)
    buyer, key = stranger(), uuid4().hex

    replies = await asyncio.gather(
        *(house.open([(variant_id, 1 + number % 2)], buyer=buyer, key=key) for number in range(CLIENTS))
    )

    assert sorted(reply.status for reply in replies) == [201] * 10 + [422] * 10
    assert await orders_of(house, variant_id) == 1
    await assert_books(house)


async def test_one_checkout_completed_by_twenty_clients_with_keys_of_their_own_is_paid_once(
    house: Stack,
) -> None:
    variant_id = await house.release(1)
    opened = await house.open([(variant_id, 1)], buyer=stranger())
    checkout_id = opened.body["checkout_id"]

    replies = await asyncio.gather(*(house.complete(checkout_id) for _ in range(CLIENTS)))

    assert sorted(reply.status for reply in replies) == [201] + [409] * (CLIENTS - 1)
    assert await house.asked_for(checkout_id) == ["HELD"]
    await assert_books(house)


async def test_twenty_cancellations_under_one_key_give_the_money_back_once(house: Stack) -> None:
    variant_id = await house.release(1)
    bought = await house.buy(variant_id)
    path = f"/v1/orders/{bought.body['order']['order_id']}/cancel"
    body = {"reason": "buyer_asked"}

    replies = await asyncio.gather(*(house.office("POST", path, body, key="back") for _ in range(CLIENTS)))
    late = await house.office("POST", path, body, key="back")

    assert (late.status, late.body["state"]) == (200, "cancelled")
    # A twin that comes while the first is at work is told to ask again.
    assert {reply.status for reply in replies} <= {200, 409}
    assert {reply.raw for reply in replies if reply.status == 200} == {late.raw}
    assert {reply.body["code"] for reply in replies if reply.status == 409} <= {"still_running"}
    assert await house.asked_for(bought.body["order"]["checkout_id"]) == ["FREED"]
    assert await house.free(variant_id) == 1
    await assert_books(house)


def answer(reply: Reply) -> Json:
    """What an answer says; a refusal also carries the id of its own request."""
    return {name: said for name, said in reply.body.items() if name != "request_id"}


async def orders_of(house: Stack, variant_id: str) -> int:
    """How many orders there are of a bottling, in whatever state."""
    rows = await house.sql(
        "select count(*)::int as orders from orders.orders where lines @> $1::jsonb",
        f'[{{"variant_id": "{variant_id}"}}]',
    )
    return int(rows[0]["orders"])
