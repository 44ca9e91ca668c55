"""The table of states, what may be asked at all, and how a row is shown."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from rickhouse.kernel.errors import FieldInvalid
from rickhouse.kernel.money import MINOR_MAX
from rickhouse.payments.contract import AttemptState, Payment, PaymentNotFound
from rickhouse.payments.model import (
    CLOSED,
    OPEN,
    REFUNDABLE,
    TRANSITIONS,
    check_amount,
    check_request,
    paid_or_last,
    payment_of,
    refund_keyed,
    rest_keyed,
    sources,
)
from tests.payments.samples import ATTEMPT, PRICE, changed, usd

STATES: tuple[AttemptState, ...] = get_args(AttemptState)


def test_the_table_knows_every_state_and_no_other() -> None:
    assert set(TRANSITIONS) == set(STATES)
    assert set().union(*TRANSITIONS.values()) <= set(STATES)
    assert {*OPEN, *CLOSED, *REFUNDABLE, "authorised"} == set(STATES)


@pytest.mark.parametrize(("before", "after"), list(product(STATES, STATES)))
def test_a_state_follows_only_where_the_table_says_so(before: AttemptState, after: AttemptState) -> None:
    assert (before in sources(after)) == (after in TRANSITIONS[before])


def test_nothing_follows_a_closed_state_and_nothing_leads_back_to_created() -> None:
    assert [state for state in CLOSED if TRANSITIONS[state]] == []
    assert sources("created") == ()


def test_every_open_state_can_end_in_every_way() -> None:
    for state in OPEN:
        assert {"authorised", "declined", "voided"} <= TRANSITIONS[state]


@pytest.mark.parametrize(
    ("changes", "may"),
    [
        ({}, True),
        ({"state": "unknown", "sends": 2}, True),
        ({"sends": 3}, False),
        ({"token": None}, False),
        ({"age_s": 3_601.0}, False),
        ({"state": "requires_action"}, False),
        ({"state": "authorised"}, False),
    ],
)
def test_an_authorisation_is_sent_again_a_few_times_and_not_for_ever(
    changes: dict[str, object], may: bool
) -> None:
    assert changed(**changes).may_send_again is may


@pytest.mark.parametrize(
    ("attempt", "minor", "token", "field"),
    [
        (0, 1, "t", "attempt"),
        (21, 1, "t", "attempt"),
        (1, 0, "t", "amount"),
        (1, MINOR_MAX + 1, "t", "amount"),
        (1, 1, "", "token"),
        (1, 1, "t" * 501, "token"),
        (1, 1, "t\n", "token"),
    ],
)
def test_a_request_out_of_bounds_is_refused_by_its_field(
    attempt: int, minor: int, token: str, field: str
) -> None:
    with pytest.raises(FieldInvalid) as refusal:
        check_request(attempt, usd(minor), token)

    assert refusal.value.facts["field"] == field


def test_a_request_at_its_bounds_is_taken() -> None:
    check_request(1, usd(1), "t")
    check_request(20, usd(MINOR_MAX), "t" * 500)
    check_amount(usd(MINOR_MAX))


def test_a_payment_shows_nothing_of_token_and_references() -> None:
    attempt = changed(
        state="partly_refunded",
        captured_minor=8_900,
        promised_minor=500,
        refunded_minor=100,
        reference="hld_1",
        card_brand="visa",
        card_last4="4242",
    )

    assert payment_of(attempt) == Payment(
        payment_id=ATTEMPT.payment_id,
        order_id=ATTEMPT.order_id,
        attempt=1,
        state="partly_refunded",
        amount=PRICE,
        captured=usd(8_900),
        refunded=usd(100),
        card_brand="visa",
        card_last4="4242",
    )
    assert "tok_approve" not in repr(attempt)


def test_the_attempt_that_paid_stands_for_the_order_else_the_last_one() -> None:
    first, paid, last = changed(attempt=1), changed(attempt=2, captured_minor=1), changed(attempt=3)

    assert paid_or_last((first, paid, last)) == paid
    assert paid_or_last((first, last)) == last
    with pytest.raises(PaymentNotFound):
        paid_or_last(())


def test_the_identity_of_a_refund_is_owner_key_and_amount() -> None:
    one = refund_keyed("ord", "key", usd(100))

    assert (one.owner, one.key, len(one.fingerprint)) == ("ord", "key", 16)
    assert one == refund_keyed("ord", "key", usd(100))
    assert one.fingerprint != refund_keyed("ord", "key", usd(101)).fingerprint


def test_giving_back_the_rest_is_another_request_once_something_else_was_promised() -> None:
    assert rest_keyed(ATTEMPT) == rest_keyed(ATTEMPT)
    assert rest_keyed(ATTEMPT).key != rest_keyed(changed(promised_minor=100)).key
