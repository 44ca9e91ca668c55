"""Sales that a person looks at, and sales that the law forbids: nothing is sold or paid before it may be."""

from __future__ import annotations

import pytest

from tests.journeys.books import assert_books
from tests.journeys.stack import BUYER, Json, Reply, Stack, stranger


async def test_a_doubtful_age_waits_for_a_person_who_may_say_yes(house: Stack) -> None:
    variant_id = await house.release(1)
    checkout_id = await opened(house, variant_id, stranger(name="Ann Review"))

    waiting = await house.complete(checkout_id)
    early = await house.complete(checkout_id)

    assert (waiting.status, waiting.body["status"], waiting.body["order"]) == (202, "review", None)
    assert (early.status, early.body["code"], early.body["state"]) == (409, "checkout_closed", "review")
    assert await house.free(variant_id) == 0
    assert await house.asked_for(checkout_id) == []
    cleared = await review(house, checkout_id, approve=True)
    assert (cleared.status, cleared.body["state"]) == (200, "open")
    done = await house.complete(checkout_id)
    assert (done.status, done.body["status"]) == (201, "confirmed")
    assert await house.asked_for(checkout_id) == ["HELD"]
    await assert_books(house)


async def test_a_person_who_says_no_gives_the_bottles_back(house: Stack) -> None:
    variant_id = await house.release(1)
    checkout_id = await opened(house, variant_id, stranger(name="Ann Review"))
    await house.complete(checkout_id)

    rejected = await review(house, checkout_id, approve=False)

    assert (rejected.status, rejected.body["state"], rejected.body["cause"]) == (200, "cancelled", "rejected")
    assert await house.free(variant_id) == 1
    late = await house.complete(checkout_id)
    assert (late.status, late.body["code"]) == (409, "checkout_closed")
    assert await house.asked_for(checkout_id) == []
    await assert_books(house)


async def test_a_review_is_settled_once(house: Stack) -> None:
    variant_id = await house.release(1)
    checkout_id = await opened(house, variant_id, stranger(name="Ann Review"))
    await house.complete(checkout_id)

    first = await review(house, checkout_id, approve=False, key="settled")
    same = await review(house, checkout_id, approve=False, key="settled")
    other = await review(house, checkout_id, approve=True)

    assert same.raw == first.raw
    assert (other.status, other.body["code"], other.body["state"]) == (409, "order_state", "cancelled")


async def test_whose_age_the_bureau_refuses_buys_nothing(house: Stack) -> None:
    variant_id = await house.release(1)
    checkout_id = await opened(house, variant_id, stranger(name="Ray Refuse"))

    refused = await house.complete(checkout_id)

    assert (refused.status, refused.body["code"]) == (403, "age_not_proven")
    assert refused.body["minimum_age"] == 21
    assert await house.free(variant_id) == 1
    assert await house.asked_for(checkout_id) == []
    await assert_books(house)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"birth_date": "2010-01-01"}, "under_age"),
        ({"address": {**BUYER["address"], "region": "US-UT", "postal_code": "84101"}}, "inbound_closed"),
    ],
)
async def test_whom_the_law_forbids_to_buy_is_told_why(house: Stack, told: Json, reason: str) -> None:
    variant_id = await house.release(1)
    asked = len((await house.ledger())["holds"])

    refused = await house.open([(variant_id, 1)], buyer=stranger(**told))

    assert (refused.status, refused.body["code"]) == (403, "sale_forbidden")
    assert reason in [found["code"] for found in refused.body["reasons"]]
    assert await house.free(variant_id) == 1
    assert len((await house.ledger())["holds"]) == asked
    await assert_books(house)


async def opened(house: Stack, variant_id: str, buyer: Json) -> str:
    """The id of the buyer's checkout."""
    reply = await house.open([(variant_id, 1)], buyer=buyer)
    assert reply.status == 201, reply
    checkout_id: str = reply.body["checkout_id"]
    return checkout_id


async def review(house: Stack, checkout_id: str, *, approve: bool, key: str | None = None) -> Reply:
    """A person of the back office settles a review."""
    path = f"/v1/checkouts/{checkout_id}/review"
    return await house.office("POST", path, {"approve": approve, "note": "Saw the papers."}, key=key)
