"""The codec writes what the bank's contract asks for, and reads nothing into an answer that is not there."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from rickhouse.kernel.money import Money
from rickhouse.kernel.wire import HttpReply, HttpRequest
from rickhouse.payments.port import (
    Authorisation,
    Captured,
    Card,
    LedgerLine,
    OutcomeUnknown,
    Refunded,
    RefundOrder,
    Refused,
    Standing,
    Voided,
)
from rickhouse.payments.providers.sandbox import codec

WANTED = Authorisation(
    key="pay_1-auth",
    amount=Money(8_905, "USD"),
    order_ref="ord_1",
    asked_at=datetime(2026, 1, 2, tzinfo=UTC),
    token="tok_approve",  # noqa: S106  the simulator's
    reference="hld_1",
    capture_reference="tke_1",
)
REFUND = RefundOrder(key="rfn_1", amount=Money(2_500, "USD"), asked_at=datetime(2026, 1, 2, tzinfo=UTC))
HOLD = {
    "hold": "hld_1",
    "status": "HELD",
    "key": "pay_1-auth",
    "amount": "89.05",
    "ccy": "usd",
    "order": "ord_1",
    "card": {"scheme": "MC", "tail": "4444"},
    "taken": "0.00",
    "returned": "0.00",
}
CARD = Card("mastercard", "4444")
HEADERS = {"Content-Type": "application/json"}


def reply(status: int, body: object) -> HttpReply:
    """What the bank says."""
    return HttpReply(status, {}, body if isinstance(body, bytes) else msgspec.json.encode(body))


def test_the_requests_are_those_of_the_banks_contract() -> None:
    assert codec.authorise(WANTED) == HttpRequest(
        "POST",
        "/holds",
        {"Idempotency-Key": "pay_1-auth", **HEADERS},
        b'{"instrument":"tok_approve","amount":"89.05","ccy":"usd","order":"ord_1"}',
    )
    assert codec.find(WANTED) == HttpRequest("GET", "/holds?key=pay_1-auth")
    assert codec.capture(WANTED, "k", Money(5, "USD")) == HttpRequest(
        "POST", "/holds/hld_1/take", {"Idempotency-Key": "k", **HEADERS}, b'{"amount":"0.05"}'
    )
    assert codec.void(WANTED, "k") == HttpRequest(
        "POST", "/holds/free?key=pay_1-auth", {"Idempotency-Key": "k", **HEADERS}
    )
    assert codec.refund(WANTED, REFUND) == HttpRequest(
        "POST", "/takes/tke_1/return", {"Idempotency-Key": "rfn_1", **HEADERS}, b'{"amount":"25.00"}'
    )
    assert codec.refund(WANTED, msgspec.structs.replace(REFUND, reference="rtn_1")) == HttpRequest(
        "GET", "/returns/rtn_1"
    )


def test_without_a_reference_nothing_can_be_taken_or_given_back() -> None:
    unknown = msgspec.structs.replace(WANTED, reference=None, capture_reference=None)

    with pytest.raises(Refused):
        codec.capture(unknown, "k", Money(5, "USD"))
    with pytest.raises(Refused):
        codec.refund(unknown, REFUND)


@pytest.mark.parametrize(
    ("status", "changes", "standing"),
    [
        (201, {}, Standing(status="authorised", reference="hld_1", card=CARD)),
        (
            202,
            {"status": "CHALLENGE", "challenge_url": "http://bank/challenges/hld_1"},
            Standing(
                status="requires_action",
                reference="hld_1",
                card=CARD,
                action_url="http://bank/challenges/hld_1",
            ),
        ),
        (
            402,
            {"status": "REFUSED", "reason": "NO_FUNDS"},
            Standing(status="declined", reference="hld_1", card=CARD, decline_code="insufficient_funds"),
        ),
        (
            402,
            {"status": "REFUSED", "reason": "A_NEW_ONE"},
            Standing(status="declined", reference="hld_1", card=CARD, decline_code="card_declined"),
        ),
        (201, {"status": "FREED"}, Standing(status="voided", reference="hld_1", card=CARD)),
        (
            201,
            {"status": "TAKEN", "taken": "80.00", "take": "tke_1"},
            Standing(
                status="captured",
                reference="hld_1",
                card=CARD,
                captured=Money(8_000, "USD"),
                capture_reference="tke_1",
            ),
        ),
    ],
)
def test_every_status_of_a_hold_has_its_standing(
    status: int, changes: dict[str, object], standing: Standing
) -> None:
    body = HOLD | changes

    assert codec.authorised(WANTED, reply(status, body)) == standing
    assert codec.found(WANTED, reply(200, body)) == standing


def test_faults_that_say_what_stands_are_standings() -> None:
    assert codec.authorised(WANTED, reply(409, {"fault": "KEY_BUSY"})) == Standing(status="pending")
    assert codec.authorised(WANTED, reply(410, {"fault": "KEY_BARRED"})) == Standing(status="voided")
    assert codec.found(WANTED, reply(202, {"status": "IN_PROGRESS"})) == Standing(status="pending")
    assert codec.found(WANTED, reply(404, {"fault": "UNKNOWN_KEY"})) is None
    with pytest.raises(Refused):
        codec.authorised(WANTED, reply(400, {"fault": "BAD_REQUEST"}))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"fault": "BROKEN"}),
        (422, {"fault": "KEY_CLASH"}),
        (404, {"fault": "UNKNOWN"}),
        (503, b"<html>"),
        (201, b"{"),
        (201, HOLD | {"status": "WHAT"}),
        (201, HOLD | {"amount": "89.00"}),
        (201, HOLD | {"amount": "8,905"}),
        (201, HOLD | {"ccy": "eur"}),
    ],
)
def test_an_answer_that_is_not_understood_is_an_unknown_outcome(status: int, body: object) -> None:
    with pytest.raises(OutcomeUnknown):
        codec.authorised(WANTED, reply(status, body))
    with pytest.raises(OutcomeUnknown):
        codec.found(WANTED, reply(200 if status == 201 else status, body))


def test_a_take_is_believed_only_for_the_amount_asked_for() -> None:
    taken = HOLD | {"status": "TAKEN", "take": "tke_1", "taken": "89.05"}

    assert codec.captured(WANTED, WANTED.amount, reply(200, taken)) == Captured("tke_1", WANTED.amount)
    with pytest.raises(OutcomeUnknown):
        codec.captured(WANTED, Money(5_000, "USD"), reply(200, taken))
    with pytest.raises(Refused):
        codec.captured(WANTED, WANTED.amount, reply(409, {"fault": "NOT_HELD"}))
    with pytest.raises(OutcomeUnknown):
        codec.captured(WANTED, WANTED.amount, reply(409, {"fault": "KEY_BUSY"}))


def test_a_void_is_final_unless_the_bank_cannot_bar_the_key() -> None:
    assert codec.voided(reply(200, HOLD | {"status": "FREED"})) == Voided(final=True)
    assert codec.voided(reply(200, {"status": "BARRED"})) == Voided(final=True)
    assert codec.voided(reply(404, {"fault": "UNKNOWN_KEY"})) == Voided(final=False)
    with pytest.raises(Refused):
        codec.voided(reply(409, {"fault": "ALREADY_TAKEN"}))
    with pytest.raises(OutcomeUnknown):
        codec.voided(reply(500, {"fault": "BROKEN"}))


@pytest.mark.parametrize(("status", "state"), [("RETURNED", "refunded"), ("QUEUED", "pending")])
def test_a_return_is_paid_or_on_its_way(status: str, state: str) -> None:
    body = {"return": "rtn_1", "status": status, "amount": "25.00", "ccy": "usd"}

    refunded = codec.refunded(REFUND, reply(200, body))

    assert (refunded.reference, refunded.state) == ("rtn_1", state)
    assert isinstance(refunded, Refunded)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        {"return": "rtn_1", "status": "RETURNED", "amount": "24.00", "ccy": "usd"},
        {"return": "rtn_1", "status": "RETURNED", "amount": "25.00", "ccy": "eur"},
    ],
)
def test_a_return_of_something_else_is_an_unknown_outcome(body: object) -> None:
    with pytest.raises(OutcomeUnknown):
        codec.refunded(REFUND, reply(200, body))


def test_the_banks_list_becomes_one_line_per_key() -> None:
    taken = HOLD | {"key": "pay_2-auth", "status": "TAKEN", "taken": "80.00", "returned": "0.50"}

    assert codec.ledger(reply(200, {"holds": [HOLD, taken]})) == (
        LedgerLine(
            key="pay_1-auth", currency="USD", authorised_minor=8_905, captured_minor=0, refunded_minor=0
        ),
        LedgerLine(
            key="pay_2-auth", currency="USD", authorised_minor=0, captured_minor=8_000, refunded_minor=50
        ),
    )
