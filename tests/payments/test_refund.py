"""Giving captured money back: once per key, never more than was captured, whatever breaks."""

from __future__ import annotations

import asyncio

import pytest

from rickhouse.kernel.errors import CurrencyMismatch, FieldInvalid, KeyReused, Unavailable
from rickhouse.kernel.ids import OrderId
from rickhouse.kernel.money import Money
from rickhouse.payments.contract import (
    Payment,
    PaymentNotFound,
    PaymentRefunded,
    PaymentState,
    Refund,
    RefundTooLarge,
)
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.db import Database
from tests.payments.samples import (
    APPROVE,
    PRICE,
    agreed,
    events,
    fresh_key,
    make_due,
    postings,
    statuses,
    usd,
)
from tests.simulators.bank import BankProcess


async def captured(payments: PaymentsService, token: str = APPROVE) -> Payment:
    """An order that is paid for."""
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, token)
    return await payments.capture(order_id)


def returned_minor(bank: BankProcess, payment: Payment) -> int:
    """What the bank gave back, or promised to."""
    return next(line.refunded_minor for line in bank.ledger() if line.key == f"{payment.payment_id}-auth")


async def test_a_refund_gives_part_of_the_money_back(
    payments: PaymentsService, db: Database, bank: BankProcess
) -> None:
    payment = await captured(payments)

    refund = await payments.refund(payment.order_id, usd(2_500), "goodwill")

    assert refund == Refund(refund.refund_id, payment.payment_id, usd(2_500), "refunded")
    known = await payments.get_payment(payment.payment_id)
    assert (known.state, known.captured, known.refunded) == ("partly_refunded", PRICE, usd(2_500))
    assert (await postings(db, payment.payment_id))[-4:] == [
        ("refund_promised", "sales_clearing", 2_500),
        ("refund_promised", "refunds_payable", -2_500),
        ("refund_paid", "refunds_payable", 2_500),
        ("refund_paid", "gateway_receivable", -2_500),
    ]
    assert (await events(db, payment.payment_id))[-1] == PaymentRefunded(
        payment_id=payment.payment_id, order_id=payment.order_id, amount=usd(2_500)
    )
    await agreed(payments, bank, payment)


async def test_refunds_end_with_the_money_that_was_captured(
    payments: PaymentsService, bank: BankProcess
) -> None:
    payment = await captured(payments)
    await payments.refund(payment.order_id, usd(8_000), "first")

    with pytest.raises(RefundTooLarge) as refusal:
        await payments.refund(payment.order_id, usd(901), "second")
    await payments.refund(payment.order_id, usd(900), "third")
    with pytest.raises(RefundTooLarge):
        await payments.refund(payment.order_id, usd(1), "fourth")

    assert refusal.value.facts == {"refundable_minor": 900}
    known = await payments.get_payment(payment.payment_id)
    assert (known.state, known.refunded) == ("refunded", PRICE)
    assert returned_minor(bank, payment) == 8_900


async def test_a_key_gives_back_once(payments: PaymentsService, bank: BankProcess) -> None:
    payment = await captured(payments)

    first = await payments.refund(payment.order_id, usd(1_000), "key")
    again = await payments.refund(payment.order_id, usd(1_000), "key")
    with pytest.raises(KeyReused):
        await payments.refund(payment.order_id, usd(1_001), "key")

    assert again == first
    assert returned_minor(bank, payment) == 1_000


async def test_a_key_over_http_is_for_one_request(payments: PaymentsService, bank: BankProcess) -> None:
    one, other = await captured(payments), await captured(payments)
    key = fresh_key(fingerprint=b"one")

    first = await payments.refund_payment(one.payment_id, usd(100), key)
    again = await payments.refund_payment(one.payment_id, usd(100), key)
    with pytest.raises(KeyReused):
        await payments.refund_payment(other.payment_id, usd(100), type(key)(key.owner, key.key, b"other"))

    assert again == first
    assert (returned_minor(bank, one), returned_minor(bank, other)) == (100, 0)


async def test_the_same_key_at_once_gives_back_once(payments: PaymentsService, bank: BankProcess) -> None:
    payment = await captured(payments)

    answers = await asyncio.gather(*(payments.refund(payment.order_id, usd(700), "key") for _ in range(20)))

    assert set(answers) == {answers[0]}
    assert answers[0].state == "refunded"
    assert returned_minor(bank, payment) == 700


async def test_refunds_at_once_never_give_back_more_than_was_captured(
    payments: PaymentsService, bank: BankProcess
) -> None:
    for _ in range(4):  # the first round opens the connections that the others race on
        payment = await captured(payments)

        answers = await asyncio.gather(
            *(payments.refund(payment.order_id, usd(2_000), f"key-{number}") for number in range(20)),
            return_exceptions=True,
        )

        given = [answer for answer in answers if isinstance(answer, Refund)]
        assert [refund.state for refund in given] == ["refunded"] * 4
        assert sum(isinstance(answer, RefundTooLarge) for answer in answers) == 16
        known = await payments.get_payment(payment.payment_id)
        assert (known.state, known.refunded) == ("partly_refunded", usd(8_000))
        await agreed(payments, bank, payment)


@pytest.mark.parametrize(
    "token",
    [
        "tok_refund_error_before_1",
        "tok_refund_error_after",
        "tok_refund_drop_after",
        "tok_refund_timeout_after",
    ],
)
@pytest.mark.parametrize("who", ["caller", "by itself"])
async def test_a_refund_without_an_answer_is_pending_and_carried_to_its_end(
    payments: PaymentsService, db: Database, bank: BankProcess, token: str, who: str
) -> None:
    payment = await captured(payments, token)

    first = await payments.refund(payment.order_id, usd(3_000), "key")
    with pytest.raises(RefundTooLarge):
        await payments.refund(payment.order_id, usd(6_000), "too much beside what is promised")
    if who == "by itself":
        await make_due(db, payment.order_id)
        assert await payments.resolve_due() == 1
    last = await payments.refund(payment.order_id, usd(3_000), "key")

    assert (first.state, last.state) == ("pending", "refunded")
    assert last.refund_id == first.refund_id
    assert returned_minor(bank, payment) == 3_000
    await agreed(payments, bank, payment)


async def test_a_refund_that_the_bank_pays_later_is_pending_until_it_is_paid(
    payments: PaymentsService, db: Database, bank: BankProcess
) -> None:
    payment = await captured(payments, "tok_refund_pending")

    first = await payments.refund(payment.order_id, usd(3_000), "key")
    before = await payments.get_payment(payment.payment_id)
    await make_due(db, payment.order_id)
    await payments.resolve_due()
    after = await payments.get_payment(payment.payment_id)

    assert first.state == "pending"
    assert (before.state, before.refunded) == ("captured", usd(0))
    assert (after.state, after.refunded) == ("partly_refunded", usd(3_000))
    await agreed(payments, bank, payment)


async def test_a_refund_that_the_bank_refuses_has_failed_and_can_be_promised_again(
    payments: PaymentsService, db: Database, bank: BankProcess
) -> None:
    payment = await captured(payments, "tok_refund_decline")

    first = await payments.refund(payment.order_id, PRICE, "key")
    again = await payments.refund(payment.order_id, PRICE, "key")
    other = await payments.refund(payment.order_id, PRICE, "another key")

    assert (first.state, again, other.state) == ("failed", first, "failed")
    known = await payments.get_payment(payment.payment_id)
    assert (known.state, known.refunded) == ("captured", usd(0))
    assert (
        sum(
            minor
            for _, account, minor in await postings(db, payment.payment_id)
            if account == "refunds_payable"
        )
        == 0
    )
    assert returned_minor(bank, payment) == 0


async def test_undoing_what_the_bank_will_not_give_back_asks_once_and_calls_for_somebody(
    payments: PaymentsService, db: Database
) -> None:
    payment = await captured(payments, "tok_refund_decline")

    for _ in range(3):
        with pytest.raises(Unavailable, match="somebody has to look"):
            await payments.undo(payment.order_id)

    asked = await db.fetch("select state from refunds where payment_id = $1", payment.payment_id)
    assert [row["state"] for row in asked] == ["failed"]
    assert (await payments.get_payment(payment.payment_id)).state == "captured"


async def test_undoing_counts_a_refund_on_its_way_as_done(payments: PaymentsService, db: Database) -> None:
    payment = await captured(payments, "tok_refund_pending")

    undone = await payments.undo(payment.order_id)
    with pytest.raises(PaymentState):
        await payments.authorise(payment.order_id, 2, PRICE, "tok_approve")
    await make_due(db, payment.order_id)
    await payments.resolve_due()

    assert [known.state for known in undone] == ["captured"]
    assert (await payments.get_payment(payment.payment_id)).state == "refunded"
    with pytest.raises(PaymentState):
        await payments.authorise(payment.order_id, 2, PRICE, "tok_approve")


@pytest.mark.parametrize("amount", [usd(0), usd(-5)])
async def test_a_refund_is_of_something(payments: PaymentsService, amount: Money) -> None:
    payment = await captured(payments)

    with pytest.raises(FieldInvalid):
        await payments.refund(payment.order_id, amount, "key")

    assert await payments.get_payment(payment.payment_id) == payment


async def test_a_refund_is_in_the_currency_of_the_payment(payments: PaymentsService) -> None:
    payment = await captured(payments)

    with pytest.raises(CurrencyMismatch):
        await payments.refund(payment.order_id, Money(100, "EUR"), "key")

    assert await payments.get_payment(payment.payment_id) == payment


async def test_only_captured_money_is_given_back(payments: PaymentsService, bank: BankProcess) -> None:
    order_id = OrderId.new()
    payment = await payments.authorise(order_id, 1, PRICE, "tok_approve")

    with pytest.raises(PaymentState) as refusal:
        await payments.refund(order_id, usd(100), "key")
    with pytest.raises(PaymentNotFound):
        await payments.refund(OrderId.new(), usd(100), "key")

    assert refusal.value.facts == {"state": "authorised"}
    assert await payments.attempts_of(order_id) == (payment,)
    assert statuses(bank, order_id) == ["HELD"]
