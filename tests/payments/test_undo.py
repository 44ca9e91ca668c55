"""Undoing leaves the buyer with nothing paid, whatever state it finds."""

from __future__ import annotations

import asyncio

import pytest

from rickhouse.kernel.errors import Unavailable
from rickhouse.kernel.ids import OrderId
from rickhouse.payments.contract import (
    PaymentRefunded,
    PaymentState,
    PaymentVoided,
)
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.db import Database
from tests.payments.samples import (
    PRICE,
    RELEASED,
    SET_ASIDE,
    agreed,
    events,
    make_due,
    postings,
    statuses,
    usd,
)
from tests.simulators.bank import BankProcess


async def test_undoing_lets_go_of_authorised_money(
    payments: PaymentsService, db: Database, bank: BankProcess
) -> None:
    order_id = OrderId.new()
    payment = await payments.authorise(order_id, 1, PRICE, "tok_approve")

    first = await payments.undo(order_id)
    again = await payments.undo(order_id)

    assert [undone.state for undone in first] == ["voided"]
    assert again == first
    assert await postings(db, payment.payment_id) == [*SET_ASIDE, *RELEASED]
    assert (await events(db, payment.payment_id))[1:] == [
        PaymentVoided(payment_id=payment.payment_id, order_id=order_id)
    ]
    assert statuses(bank, order_id) == ["FREED"]


async def test_undoing_gives_captured_money_back(
    payments: PaymentsService, db: Database, bank: BankProcess
) -> None:
    order_id = OrderId.new()
    payment = await payments.authorise(order_id, 1, PRICE, "tok_approve")
    await payments.capture(order_id)
    await payments.refund(order_id, usd(900), "part")

    undone = await payments.undo(order_id)

    assert [(known.state, known.refunded) for known in undone] == [("refunded", PRICE)]
    assert await payments.undo(order_id) == undone
    told = [event for event in await events(db, payment.payment_id) if isinstance(event, PaymentRefunded)]
    assert [event.amount for event in told] == [usd(900), usd(8_000)]
    assert [line.refunded_minor for line in bank.ledger() if line.key == f"{payment.payment_id}-auth"] == [
        8_900
    ]


@pytest.mark.parametrize(
    ("token", "state", "holds", "arrives_after_s"),
    [
        ("tok_3ds", "voided", ["FREED"], 0),
        ("tok_error_before", "voided", [], 0),
        ("tok_slow_2", "voided", [], 1.8),
        ("tok_late_2", "voided", [], 1.8),
        ("tok_timeout_after", "voided", ["FREED"], 0),
        ("tok_decline", "declined", ["REFUSED"], 0),
    ],
)
async def test_undoing_ends_an_open_attempt_for_good(
    payments: PaymentsService,
    bank: BankProcess,
    token: str,
    state: str,
    holds: list[str],
    arrives_after_s: float,
) -> None:
    order_id = OrderId.new()
    payment = await payments.authorise(order_id, 1, PRICE, token)

    undone = await payments.undo(order_id)
    await asyncio.sleep(arrives_after_s)

    assert [known.state for known in undone] == [state]
    assert await payments.attempts_of(order_id) == undone
    assert statuses(bank, order_id) == holds
    await agreed(payments, bank, payment)


async def test_an_order_that_was_undone_takes_no_payment_any_more(
    payments: PaymentsService, bank: BankProcess
) -> None:
    paid, untouched = OrderId.new(), OrderId.new()
    await payments.authorise(paid, 1, PRICE, "tok_approve")
    undone = await payments.undo(paid)
    assert await payments.undo(untouched) == ()

    for order_id in (paid, untouched):
        with pytest.raises(PaymentState):
            await payments.authorise(order_id, 2, PRICE, "tok_approve")

    assert await payments.attempts_of(paid) == undone
    assert await payments.attempts_of(untouched) == ()
    assert statuses(bank, untouched) == []


async def test_undoing_races_with_paying_and_leaves_nothing_behind(
    payments: PaymentsService, bank: BankProcess
) -> None:
    orders = [OrderId.new() for _ in range(12)]

    await asyncio.gather(
        *(payments.authorise(order_id, 1, PRICE, "tok_approve") for order_id in orders),
        *(payments.undo(order_id) for order_id in orders),
        return_exceptions=True,
    )

    for order_id in orders:
        await payments.undo(order_id)
        assert all(payment.state == "voided" for payment in await payments.attempts_of(order_id))
        assert set(statuses(bank, order_id)) <= {"FREED"}
        with pytest.raises(PaymentState):
            await payments.authorise(order_id, 2, PRICE, "tok_approve")


async def test_undoing_earlier_attempts_never_touches_a_later_one(
    payments: PaymentsService, bank: BankProcess
) -> None:
    """A runner that wakes up late lets go of what came before its own attempt, not of what has been paid since."""
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, "tok_decline")
    await payments.authorise(order_id, 2, PRICE, "tok_decline")
    await payments.authorise(order_id, 3, PRICE, "tok_approve")

    left = await payments.undo(order_id, before_attempt=2)

    assert [payment.state for payment in left] == ["declined", "declined", "authorised"]
    assert statuses(bank, order_id).count("HELD") == 1


async def test_undoing_may_spare_the_attempts_from_one_on(
    payments: PaymentsService, bank: BankProcess
) -> None:
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, "tok_3ds")

    undone = await payments.undo(order_id, before_attempt=2)
    payment = await payments.authorise(order_id, 2, PRICE, "tok_approve")
    spared = await payments.undo(order_id, before_attempt=2)
    by_one_left_behind = await payments.undo(order_id, before_attempt=1)

    assert [known.state for known in undone] == ["voided"]
    assert payment.state == "authorised"
    assert [known.state for known in spared] == ["voided", "authorised"]
    assert by_one_left_behind == spared
    assert statuses(bank, order_id) == ["FREED", "HELD"]


@pytest.mark.parametrize("token", ["tok_void_error_before_1", "tok_void_error_after", "tok_void_drop_after"])
@pytest.mark.parametrize("who", ["caller", "by itself"])
async def test_a_void_without_an_answer_is_carried_to_its_end(
    payments: PaymentsService, db: Database, bank: BankProcess, token: str, who: str
) -> None:
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, token)

    with pytest.raises(Unavailable):
        await payments.undo(order_id)
    if who == "caller":
        await payments.undo(order_id)
    else:
        await make_due(db, order_id)
        assert await payments.resolve_due() == 1

    assert [payment.state for payment in await payments.attempts_of(order_id)] == ["voided"]
    assert statuses(bank, order_id) == ["FREED"]


async def test_nothing_is_captured_once_letting_go_has_begun(
    payments: PaymentsService, bank: BankProcess
) -> None:
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, "tok_void_error_before_1")
    with pytest.raises(Unavailable):
        await payments.undo(order_id)

    with pytest.raises(PaymentState):
        await payments.capture(order_id)

    assert statuses(bank, order_id) == ["HELD"]


async def test_a_void_that_the_bank_refuses_is_told_and_changes_nothing(
    payments: PaymentsService, bank: BankProcess
) -> None:
    order_id = OrderId.new()
    payment = await payments.authorise(order_id, 1, PRICE, "tok_void_decline")

    with pytest.raises(Unavailable, match="somebody has to look"):
        await payments.undo(order_id)

    assert await payments.attempts_of(order_id) == (payment,)
    assert statuses(bank, order_id) == ["HELD"]


async def test_capturing_and_undoing_at_once_ends_with_nothing_paid(
    payments: PaymentsService, bank: BankProcess
) -> None:
    orders = [OrderId.new() for _ in range(8)]
    paid = [await payments.authorise(order_id, 1, PRICE, "tok_approve") for order_id in orders]

    await asyncio.gather(
        *(payments.capture(order_id) for order_id in orders),
        *(payments.undo(order_id) for order_id in orders),
        return_exceptions=True,
    )
    for order_id in orders:
        await payments.undo(order_id)

    for payment in paid:
        ended = await payments.get_payment(payment.payment_id)
        assert ended.state in ("voided", "refunded")
        assert ended.captured == ended.refunded
        await agreed(payments, bank, ended)


async def test_money_taken_behind_our_back_is_given_back_by_undoing(
    payments: PaymentsService, bank: BankProcess
) -> None:
    """A capture was answered by nobody, and its caller died before the answer was asked for."""
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, "tok_capture_error_after")
    with pytest.raises(Unavailable):
        await payments.capture(order_id)

    undone = await payments.undo(order_id)

    assert [(payment.state, payment.refunded) for payment in undone] == [("refunded", PRICE)]
    await agreed(payments, bank, undone[0])
