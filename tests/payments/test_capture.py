"""Taking authorised money once, whoever asks and whatever breaks."""

from __future__ import annotations

import asyncio

import pytest

from rickhouse.kernel.errors import KeyReused, Unavailable
from rickhouse.kernel.ids import OrderId
from rickhouse.payments.contract import (
    PaymentCaptured,
    PaymentNotFound,
    PaymentState,
)
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.db import Database
from tests.payments.samples import (
    PRICE,
    RELEASED,
    SET_ASIDE,
    agreed,
    events,
    fresh_key,
    make_due,
    postings,
    row,
    statuses,
)
from tests.simulators.bank import BankProcess


async def test_capturing_takes_the_money_once(
    payments: PaymentsService, db: Database, bank: BankProcess
) -> None:
    order_id = OrderId.new()
    payment = await payments.authorise(order_id, 1, PRICE, "tok_approve")

    first = await payments.capture(order_id)
    again = await payments.capture(order_id)

    assert (first.state, first.captured) == ("captured", PRICE)
    assert again == first
    assert await postings(db, payment.payment_id) == [
        *SET_ASIDE,
        ("captured", "gateway_receivable", 8_900),
        ("captured", "sales_clearing", -8_900),
        *RELEASED,
    ]
    assert (await events(db, payment.payment_id))[1:] == [
        PaymentCaptured(payment_id=payment.payment_id, order_id=order_id, amount=PRICE)
    ]
    assert statuses(bank, order_id) == ["TAKEN"]
    await agreed(payments, bank, first)


async def test_capturing_at_once_takes_the_money_once(payments: PaymentsService, bank: BankProcess) -> None:
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, "tok_approve")

    answers = await asyncio.gather(*(payments.capture(order_id) for _ in range(10)))

    assert {(answer.state, answer.captured.minor) for answer in answers} == {("captured", 8_900)}
    await agreed(payments, bank, answers[0])


@pytest.mark.parametrize(
    "token",
    [
        "tok_capture_error_before_1",
        "tok_capture_error_after",
        "tok_capture_drop_after",
        "tok_capture_timeout_after",
    ],
)
@pytest.mark.parametrize("who", ["caller", "by itself"])
async def test_a_capture_without_an_answer_is_carried_to_its_end(
    payments: PaymentsService, db: Database, bank: BankProcess, token: str, who: str
) -> None:
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, token)

    with pytest.raises(Unavailable):
        await payments.capture(order_id)
    if who == "caller":
        await payments.capture(order_id)
    else:
        await make_due(db, order_id)
        assert await payments.resolve_due() == 1

    payment = (await payments.attempts_of(order_id))[0]
    assert (payment.state, payment.captured) == ("captured", PRICE)
    assert statuses(bank, order_id) == ["TAKEN"]
    await agreed(payments, bank, payment)


async def test_a_capture_that_the_bank_refuses_leaves_the_money_set_aside(
    payments: PaymentsService, db: Database, bank: BankProcess
) -> None:
    order_id = OrderId.new()
    payment = await payments.authorise(order_id, 1, PRICE, "tok_capture_decline")

    with pytest.raises(PaymentState) as refusal:
        await payments.capture(order_id)

    assert refusal.value.facts == {"state": "authorised"}
    assert await payments.attempts_of(order_id) == (payment,)
    stored = await row(db, order_id)
    assert (stored["wanted"], stored["ask_at"]) == (None, None)
    assert statuses(bank, order_id) == ["HELD"]


@pytest.mark.parametrize(("token", "state"), [("tok_decline", "declined"), ("tok_3ds", "requires_action")])
async def test_only_authorised_money_is_captured(payments: PaymentsService, token: str, state: str) -> None:
    order_id = OrderId.new()
    payment = await payments.authorise(order_id, 1, PRICE, token)

    with pytest.raises(PaymentState) as refusal:
        await payments.capture(order_id)

    assert refusal.value.facts == {"state": state}
    assert await payments.attempts_of(order_id) == (payment,)


async def test_there_is_nothing_to_capture_before_an_attempt(payments: PaymentsService) -> None:
    with pytest.raises(PaymentNotFound):
        await payments.capture(OrderId.new())


async def test_a_hold_that_the_bank_let_expire_is_found_out_when_it_is_captured(
    payments: PaymentsService, bank: BankProcess
) -> None:
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, "tok_approve")
    hold = bank.lines_of(str(order_id))[0]["hold"]
    assert bank.ask("POST", f"/holds/{hold}/free", headers={"Idempotency-Key": hold}).status == 200

    with pytest.raises(PaymentState) as refusal:
        await payments.capture(order_id)

    assert refusal.value.facts == {"state": "voided"}


async def test_a_capture_key_is_for_one_payment(payments: PaymentsService, bank: BankProcess) -> None:
    orders = [OrderId.new(), OrderId.new()]
    first, second = [await payments.authorise(order_id, 1, PRICE, "tok_approve") for order_id in orders]
    key = fresh_key()

    captured = await payments.capture_payment(first.payment_id, key)
    with pytest.raises(KeyReused):
        await payments.capture_payment(second.payment_id, key)

    assert captured == await payments.capture_payment(first.payment_id, key)
    assert [statuses(bank, order_id) for order_id in orders] == [["TAKEN"], ["HELD"]]
