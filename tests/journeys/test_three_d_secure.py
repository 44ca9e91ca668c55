"""A card whose bank wants to see its owner first, and cards that are refused: paid once in the end, or not at all."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from rickhouse.payments.contract import ATTEMPTS_MAX
from tests.journeys.books import assert_books
from tests.journeys.stack import Json, Reply, Stack, stranger

CHALLENGED = "tok_3ds"


async def test_a_challenge_that_is_met_confirms_the_order(house: Stack) -> None:
    variant_id = await house.release(1)
    checkout_id = await opened(house, variant_id)

    waiting = await house.complete(checkout_id, CHALLENGED)
    again = await house.complete(checkout_id, CHALLENGED)
    await meet(house, waiting, "pass")
    done = await house.complete(checkout_id, CHALLENGED)

    assert (waiting.status, waiting.body["status"], waiting.body["order"]) == (202, "requires_action", None)
    assert again.raw == waiting.raw
    assert (done.status, done.body["status"], done.body["action"]) == (201, "confirmed", None)
    assert await house.asked_for(checkout_id) == ["HELD"]
    assert await house.free(variant_id) == 0
    await assert_books(house)


async def test_a_challenge_that_is_failed_leaves_the_checkout_open_for_another_card(house: Stack) -> None:
    variant_id = await house.release(1)
    checkout_id = await opened(house, variant_id)
    waiting = await house.complete(checkout_id, CHALLENGED)
    await meet(house, waiting, "fail")

    refused = await house.complete(checkout_id, CHALLENGED)

    assert (refused.status, refused.body["code"]) == (402, "payment_declined")
    assert refused.body["decline_code"] == "challenge_failed"
    assert (await seen(house, checkout_id))["state"] == "open"
    assert await house.free(variant_id) == 0
    paid = await house.complete(checkout_id)
    assert (paid.status, paid.body["status"]) == (201, "confirmed")
    assert await house.asked_for(checkout_id) == ["REFUSED", "HELD"]
    await assert_books(house)


async def test_another_card_takes_the_place_of_one_that_is_still_challenged(house: Stack) -> None:
    variant_id = await house.release(1)
    checkout_id = await opened(house, variant_id)
    waiting = await house.complete(checkout_id, CHALLENGED)

    paid = await house.complete(checkout_id)

    assert (paid.status, paid.body["status"]) == (201, "confirmed")
    # Whoever answers the first bank now pays nothing by it.
    assert await meet(house, waiting, "pass") == 409
    assert await house.asked_for(checkout_id) == ["FREED", "HELD"]
    await assert_books(house)


async def test_the_last_card_that_is_allowed_may_be_challenged(house: Stack) -> None:
    variant_id = await house.release(1)
    checkout_id = await opened(house, variant_id)
    for _ in range(ATTEMPTS_MAX - 1):
        assert (await house.complete(checkout_id, "tok_decline")).status == 402
    waiting = await house.complete(checkout_id, CHALLENGED)
    await meet(house, waiting, "pass")

    done = await house.complete(checkout_id, CHALLENGED)

    assert (done.status, done.body["status"]) == (201, "confirmed")
    await assert_books(house)


async def test_one_card_more_than_allowed_is_refused_unasked(house: Stack) -> None:
    variant_id = await house.release(1)
    checkout_id = await opened(house, variant_id)
    for _ in range(ATTEMPTS_MAX):
        await house.complete(checkout_id, "tok_decline")

    refused = await house.complete(checkout_id)

    assert (refused.status, refused.body["code"]) == (409, "checkout_closed")
    assert await house.asked_for(checkout_id) == ["REFUSED"] * ATTEMPTS_MAX


async def test_a_checkout_given_up_while_challenged_cannot_be_paid_any_more(house: Stack) -> None:
    variant_id = await house.release(1)
    checkout_id = await opened(house, variant_id)
    waiting = await house.complete(checkout_id, CHALLENGED)

    left = await house.call("DELETE", f"/v1/checkouts/{checkout_id}")

    assert (left.status, left.body["state"]) == (200, "cancelled")
    assert await meet(house, waiting, "pass") == 409
    assert await house.asked_for(checkout_id) == ["FREED"]
    assert await house.free(variant_id) == 1
    await assert_books(house)


async def test_a_hold_that_ends_while_challenged_ends_the_checkout(house: Stack) -> None:
    variant_id = await house.release(1)
    checkout_id = await opened(house, variant_id)
    waiting = await house.complete(checkout_id, CHALLENGED)

    await house.end_hold(checkout_id)

    assert await ended(house, checkout_id) == ("expired", "expired")
    assert await meet(house, waiting, "pass") == 409
    assert await house.free(variant_id) == 1
    await assert_books(house)


@pytest.mark.parametrize(
    ("token", "refusal"),
    [("tok_decline", (402, "payment_declined")), (CHALLENGED, (409, "hold_lapsed"))],
)
async def test_a_hold_that_ended_while_the_bank_was_thinking_ends_the_checkout(
    house: Stack, token: str, refusal: tuple[int, str]
) -> None:
    variant_id = await house.release(1)
    checkout_id = await opened(house, variant_id)
    bank = house.processes["bank"]
    bank.send_signal(signal.SIGSTOP)
    try:
        payer = asyncio.create_task(house.complete(checkout_id, token))
        await asyncio.sleep(0.5)
        await house.end_hold(checkout_id)
        # Long enough for everybody to have heard of it before the bank answers.
        await asyncio.sleep(2.5)
    finally:
        bank.send_signal(signal.SIGCONT)

    answer = await payer

    assert (answer.status, answer.body["code"]) == refusal
    assert await ended(house, checkout_id) == ("cancelled", refusal[1])
    assert "HELD" not in await house.asked_for(checkout_id)
    assert await house.free(variant_id) == 1
    await assert_books(house)


async def opened(house: Stack, variant_id: str) -> str:
    """The id of a stranger's checkout."""
    reply = await house.open([(variant_id, 1)], buyer=stranger())
    assert reply.status == 201, reply
    checkout_id: str = reply.body["checkout_id"]
    return checkout_id


async def seen(house: Stack, checkout_id: str) -> Json:
    """The checkout as its buyer sees it."""
    return (await house.call("GET", f"/v1/checkouts/{checkout_id}")).body


async def ended(house: Stack, checkout_id: str, within_s: float = 10.0) -> tuple[str, str]:
    """Wait until a checkout has ended; its state, and why."""
    ends = time.monotonic() + within_s
    while (checkout := await seen(house, checkout_id))["state"] not in ("expired", "cancelled"):
        assert time.monotonic() < ends, checkout
        await asyncio.sleep(0.1)
    return checkout["state"], checkout["cause"]


async def meet(house: Stack, waiting: Reply, answer: str) -> int:
    """What the buyer says to the bank; the bank's status."""
    async with house.session.post(waiting.body["action"]["url"], data={"answer": answer}) as reply:
        return reply.status
