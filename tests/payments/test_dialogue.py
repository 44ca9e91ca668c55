"""Our rows in the port's words: keys that survive a crash, and ledgers that agree or say where they do not."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from rickhouse.kernel.ids import PaymentId, RefundId
from rickhouse.payments.dialogue import (
    Operation,
    authorisation_of,
    compare,
    gateway_key,
    line_of,
    refund_order,
    settled,
)
from rickhouse.payments.model import Discrepancy, RefundRow
from rickhouse.payments.port import KEY_CHARS_MAX, Authorisation, Card, LedgerLine, Standing
from tests.payments.samples import ATTEMPT, PRICE, changed, usd

PAYMENT = PaymentId.parse("pay_01hq3x6k9vf4r8t2m5n7p0s3wz")


@pytest.mark.parametrize("operation", ["auth", "capt", "void", "late"])
def test_a_key_is_made_of_payment_and_operation_alone(operation: Operation) -> None:
    key = gateway_key(PAYMENT, operation)

    assert key == f"pay_01hq3x6k9vf4r8t2m5n7p0s3wz-{operation}"
    assert len(key) <= KEY_CHARS_MAX
    assert len(str(RefundId.new())) <= KEY_CHARS_MAX


def test_an_authorisation_carries_all_that_is_known_and_shows_no_token() -> None:
    attempt = changed(reference="hld_1", capture_reference="tke_1")

    authorisation = authorisation_of(attempt)

    assert authorisation == Authorisation(
        key=f"{ATTEMPT.payment_id}-auth",
        amount=PRICE,
        order_ref=str(ATTEMPT.order_id),
        asked_at=datetime(2026, 1, 2, tzinfo=UTC),
        token="tok_approve",  # noqa: S106  the simulator's
        reference="hld_1",
        capture_reference="tke_1",
    )
    assert "tok_approve" not in repr(authorisation)


def test_a_refund_is_asked_for_under_its_own_id() -> None:
    row = RefundRow(
        refund_id=RefundId.new(),
        payment_id=PAYMENT,
        amount=usd(100),
        state="pending",
        fingerprint=b"",
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        reference="rtn_1",
    )

    order = refund_order(row)

    assert (order.key, order.amount, order.reference) == (str(row.refund_id), usd(100), "rtn_1")


def test_what_stands_is_what_the_attempt_becomes() -> None:
    standing = Standing(status="authorised", reference="hld_1", card=Card("visa", "4242"))

    after = settled(ATTEMPT, standing)

    assert after == changed(
        state="authorised", token=None, reference="hld_1", card_brand="visa", card_last4="4242"
    )
    assert settled(ATTEMPT, Standing(status="pending")) == ATTEMPT


def test_ledgers_agree_about_nothing_moved_even_where_one_has_no_line() -> None:
    declined = line_of(changed(state="declined"))

    assert compare([declined], []) == ()
    assert compare([], [msgspec.structs.replace(declined, key="other")]) == ()


def test_ledgers_differ_where_either_side_moved_money_alone() -> None:
    ours = line_of(changed(state="authorised"))
    theirs = LedgerLine(
        key="stranger", currency="USD", authorised_minor=0, captured_minor=500, refunded_minor=200
    )

    assert compare([ours], [theirs]) == (
        Discrepancy(ours.key, "gateway", "authorised 8900, captured 0, refunded 0 USD", "nothing"),
        Discrepancy("stranger", "gateway", "nothing", "authorised 0, captured 500, refunded 200 USD"),
    )
    assert compare([ours], [ours]) == ()
