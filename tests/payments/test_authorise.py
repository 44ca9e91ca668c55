"""Setting money aside, against a real bank process, through every way it can go wrong."""

from __future__ import annotations

import asyncio

import pytest

from rickhouse.kernel.errors import FieldInvalid, KeyReused
from rickhouse.kernel.ids import OrderId
from rickhouse.kernel.money import Money
from rickhouse.payments import sql
from rickhouse.payments.contract import (
    CardNumberRefused,
    Payment,
    PaymentAuthorised,
    PaymentState,
)
from rickhouse.payments.providers.sandbox.client import SandboxGateway
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.db import Database
from rickhouse.platform.http import HttpClient
from tests.payments.samples import (
    LATE_AFTER_S,
    PRICE,
    SET_ASIDE,
    CrashingGateway,
    Killed,
    agreed,
    events,
    postings,
    row,
    statuses,
    usd,
)
from tests.simulators.bank import BankProcess


async def test_an_approved_card_has_the_money_set_aside(
    payments: PaymentsService, db: Database, bank: BankProcess
) -> None:
    order_id = OrderId.new()

    payment = await payments.authorise(order_id, 1, PRICE, "tok_approve")

    assert payment == Payment(
        payment_id=payment.payment_id,
        order_id=order_id,
        attempt=1,
        state="authorised",
        amount=PRICE,
        captured=usd(0),
        refunded=usd(0),
        card_brand="visa",
        card_last4="4242",
    )
    assert await payments.attempts_of(order_id) == (payment,)
    assert await postings(db, payment.payment_id) == SET_ASIDE
    assert await events(db, payment.payment_id) == [
        PaymentAuthorised(payment_id=payment.payment_id, order_id=order_id, amount=PRICE)
    ]
    assert statuses(bank, order_id) == ["HELD"]
    await agreed(payments, bank, payment)


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("tok_decline", "card_declined"),
        ("tok_decline_insufficient_funds", "insufficient_funds"),
        ("tok_insufficient_funds", "insufficient_funds"),
        ("tok_decline_stolen", "card_stolen"),
        ("tok_stolen", "card_stolen"),
        ("tok_decline_expired", "card_expired"),
        ("tok_nobody_gave_this", "token_invalid"),
    ],
)
async def test_a_refused_card_is_declined_with_our_word_for_it(
    payments: PaymentsService, db: Database, bank: BankProcess, token: str, code: str
) -> None:
    order_id = OrderId.new()

    payment = await payments.authorise(order_id, 1, PRICE, token)

    assert (payment.state, payment.decline_code) == ("declined", code)
    assert await payments.authorise(order_id, 1, PRICE, token) == payment
    assert await payments.attempts_of(order_id) == (payment,)
    assert await postings(db, payment.payment_id) == []
    assert await events(db, payment.payment_id) == []
    assert statuses(bank, order_id) == ["REFUSED"]


async def test_after_a_decline_another_card_may_pay(payments: PaymentsService, bank: BankProcess) -> None:
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, "tok_decline")

    payment = await payments.authorise(order_id, 2, PRICE, "tok_approve")

    assert (payment.attempt, payment.state) == (2, "authorised")
    assert [known.state for known in await payments.attempts_of(order_id)] == ["declined", "authorised"]
    assert statuses(bank, order_id) == ["REFUSED", "HELD"]


@pytest.mark.parametrize("token", ["tok_error_after", "tok_drop_after", "tok_timeout_after"])
async def test_an_answer_lost_after_the_money_moved_is_found_by_asking(
    payments: PaymentsService, db: Database, bank: BankProcess, token: str
) -> None:
    order_id = OrderId.new()

    payment = await payments.authorise(order_id, 1, PRICE, token)

    assert payment.state == "authorised"
    assert await postings(db, payment.payment_id) == SET_ASIDE
    assert statuses(bank, order_id) == ["HELD"]


@pytest.mark.parametrize("token", ["tok_error_before", "tok_drop_before", "tok_timeout_before"])
async def test_a_failure_before_the_money_moved_is_unknown_and_only_later_not_received(
    payments: PaymentsService, db: Database, bank: BankProcess, token: str
) -> None:
    order_id = OrderId.new()

    payment = await payments.authorise(order_id, 1, PRICE, token)
    at_once = await payments.resolve(order_id, 1)
    await asyncio.sleep(LATE_AFTER_S)
    later = await payments.resolve(order_id, 1)

    assert payment.state == at_once.state == "unknown"
    assert (later.state, later.decline_code) == ("declined", "not_received")
    assert await postings(db, payment.payment_id) == []
    assert statuses(bank, order_id) == []
    assert f"{payment.payment_id}-auth" in bank.books()["barred"]
    stored = await row(db, order_id)
    assert (stored["token"], stored["ask_at"], stored["watch_until"]) == (None, None, None)


async def test_what_the_gateway_never_heard_of_is_sent_again_under_the_same_key(
    payments: PaymentsService, bank: BankProcess
) -> None:
    order_id = OrderId.new()

    first = await payments.authorise(order_id, 1, PRICE, "tok_error_before_1")
    second = await payments.authorise(order_id, 1, PRICE, "tok_error_before_1")

    assert (first.state, second.state) == ("unknown", "authorised")
    assert first.payment_id == second.payment_id
    assert [hold["key"] for hold in bank.lines_of(str(order_id))] == [f"{first.payment_id}-auth"]


async def test_sending_again_ends_after_the_third_time(payments: PaymentsService, db: Database) -> None:
    order_id = OrderId.new()

    states = [(await payments.authorise(order_id, 1, PRICE, "tok_error_before")).state for _ in range(4)]
    sends = (await row(db, order_id))["sends"]
    await asyncio.sleep(LATE_AFTER_S)
    last = await payments.authorise(order_id, 1, PRICE, "tok_error_before")

    assert (states, sends) == (["unknown"] * 4, 3)
    assert (last.state, last.decline_code) == ("declined", "not_received")


async def test_a_slow_answer_is_waited_for(db: Database, bank: BankProcess) -> None:
    patient = SandboxGateway(HttpClient(bank.url, name="bank", timeout_s=5))
    payments = PaymentsService(db, patient, late_after_s=6)
    order_id = OrderId.new()

    payment = await payments.authorise(order_id, 1, PRICE, "tok_slow_1")

    assert payment.state == "authorised"
    assert statuses(bank, order_id) == ["HELD"]


async def test_an_answer_slower_than_our_patience_is_unknown_until_it_is_there(
    payments: PaymentsService, bank: BankProcess
) -> None:
    order_id = OrderId.new()

    payment = await payments.authorise(order_id, 1, PRICE, "tok_slow_2")
    while_at_work = await payments.resolve(order_id, 1)
    await asyncio.sleep(2)
    later = await payments.resolve(order_id, 1)

    assert (payment.state, while_at_work.state, later.state) == ("unknown", "unknown", "authorised")
    assert statuses(bank, order_id) == ["HELD"]


@pytest.mark.parametrize(
    ("answer", "state", "code", "hold"),
    [("pass", "authorised", None, "HELD"), ("fail", "declined", "challenge_failed", "REFUSED")],
)
async def test_a_challenge_decides_about_the_payment(
    payments: PaymentsService,
    db: Database,
    bank: BankProcess,
    answer: str,
    state: str,
    code: str | None,
    hold: str,
) -> None:
    order_id = OrderId.new()

    asked = await payments.authorise(order_id, 1, PRICE, "tok_3ds")
    meanwhile = await payments.authorise(order_id, 1, PRICE, "tok_3ds")
    assert asked.action_url is not None
    assert bank.meet_challenge(asked.action_url, answer) == 200
    decided = await payments.authorise(order_id, 1, PRICE, "tok_3ds")

    assert asked.state == "requires_action"
    assert asked.action_url.startswith(bank.url)
    assert meanwhile == asked
    assert (decided.state, decided.decline_code, decided.action_url) == (state, code, None)
    assert (decided.card_brand, decided.card_last4) == ("mastercard", "3220")
    assert statuses(bank, order_id) == [hold]
    assert await postings(db, asked.payment_id) == (SET_ASIDE if answer == "pass" else [])


@pytest.mark.parametrize(
    ("token", "kept"),
    [
        ("tok_approve", None),
        ("tok_decline", None),
        ("tok_3ds", None),
        ("tok_error_before", "tok_error_before"),
    ],
)
async def test_the_token_is_kept_only_while_it_may_have_to_be_sent_again(
    payments: PaymentsService, db: Database, token: str, kept: str | None
) -> None:
    order_id = OrderId.new()

    await payments.authorise(order_id, 1, PRICE, token)

    assert (await row(db, order_id))["token"] == kept


@pytest.mark.parametrize("number", ["4242424242424242", "4242 4242 4242 4242", "3782-822463-10005"])
async def test_a_card_number_is_not_taken_and_nowhere_kept(
    payments: PaymentsService, bank: BankProcess, number: str
) -> None:
    order_id = OrderId.new()

    with pytest.raises(CardNumberRefused) as refusal:
        await payments.authorise(order_id, 1, PRICE, number)

    assert number not in str(refusal.value)
    assert await payments.attempts_of(order_id) == ()
    assert statuses(bank, order_id) == []


@pytest.mark.parametrize(
    ("attempt", "amount", "token"),
    [
        (0, PRICE, "tok_approve"),
        (21, PRICE, "tok_approve"),
        (1, usd(0), "tok_approve"),
        (1, usd(-1), "tok_approve"),
        (1, PRICE, ""),
        (1, PRICE, "t" * 501),
        (1, PRICE, "tok\0"),
    ],
)
async def test_what_can_never_be_authorised_is_refused_at_once(
    payments: PaymentsService, attempt: int, amount: Money, token: str
) -> None:
    order_id = OrderId.new()

    with pytest.raises(FieldInvalid):
        await payments.authorise(order_id, attempt, amount, token)

    assert await payments.attempts_of(order_id) == ()


async def test_an_attempt_is_for_one_amount(payments: PaymentsService, bank: BankProcess) -> None:
    order_id = OrderId.new()
    payment = await payments.authorise(order_id, 1, PRICE, "tok_approve")

    with pytest.raises(KeyReused):
        await payments.authorise(order_id, 1, usd(9_000), "tok_approve")

    assert await payments.attempts_of(order_id) == (payment,)
    assert statuses(bank, order_id) == ["HELD"]


@pytest.mark.parametrize(
    ("token", "state"),
    [
        ("tok_approve", "authorised"),
        ("tok_3ds", "requires_action"),
        ("tok_error_before", "unknown"),
    ],
)
async def test_a_second_attempt_is_refused_while_another_is_open_or_paid(
    payments: PaymentsService, bank: BankProcess, token: str, state: str
) -> None:
    order_id = OrderId.new()
    payment = await payments.authorise(order_id, 1, PRICE, token)
    before = statuses(bank, order_id)

    with pytest.raises(PaymentState) as refusal:
        await payments.authorise(order_id, 2, PRICE, "tok_approve")

    assert refusal.value.facts == {"state": state}
    assert await payments.attempts_of(order_id) == (payment,)
    assert statuses(bank, order_id) == before


@pytest.mark.parametrize("token", ["tok_approve", "tok_decline", "tok_3ds", "tok_error_after"])
async def test_twenty_equal_calls_at_once_are_one_authorisation_and_one_answer(
    payments: PaymentsService, db: Database, bank: BankProcess, token: str
) -> None:
    order_id = OrderId.new()

    answers = await asyncio.gather(*(payments.authorise(order_id, 1, PRICE, token) for _ in range(20)))

    assert set(answers) == {answers[0]}
    assert len(statuses(bank, order_id)) == 1
    moved = answers[0].state == "authorised"
    assert await postings(db, answers[0].payment_id) == (SET_ASIDE if moved else [])
    assert len(await events(db, answers[0].payment_id)) == (1 if moved else 0)
    await agreed(payments, bank, answers[0])


async def test_twenty_calls_wait_for_a_slow_bank_together(db: Database, bank: BankProcess) -> None:
    patient = SandboxGateway(HttpClient(bank.url, name="bank", timeout_s=5))
    payments = PaymentsService(db, patient, late_after_s=6)
    order_id = OrderId.new()

    answers = await asyncio.gather(*(payments.authorise(order_id, 1, PRICE, "tok_slow_1") for _ in range(20)))

    assert set(answers) == {answers[0]}
    assert answers[0].state == "authorised"
    assert statuses(bank, order_id) == ["HELD"]


async def test_of_many_attempts_at_once_one_pays(payments: PaymentsService, bank: BankProcess) -> None:
    order_id = OrderId.new()

    answers = await asyncio.gather(
        *(payments.authorise(order_id, number, PRICE, "tok_approve") for number in range(1, 11)),
        return_exceptions=True,
    )

    paid = [answer for answer in answers if isinstance(answer, Payment)]
    assert [payment.state for payment in paid] == ["authorised"]
    assert sum(isinstance(answer, PaymentState) for answer in answers) == 9
    assert await payments.attempts_of(order_id) == tuple(paid)
    assert statuses(bank, order_id) == ["HELD"]


async def test_a_crash_before_the_gateway_was_asked_leaves_an_attempt_that_can_be_gone_on_with(
    payments: PaymentsService, db: Database, bank: BankProcess
) -> None:
    order_id = OrderId.new()
    begun = await sql.begin(db, order_id, 1, PRICE, "tok_approve", LATE_AFTER_S)

    at_once = await payments.resolve(order_id, 1)
    payment = await payments.authorise(order_id, 1, PRICE, "tok_approve")

    assert begun is not None
    assert at_once.state == "created"
    assert (payment.payment_id, payment.state) == (begun.payment_id, "authorised")
    assert statuses(bank, order_id) == ["HELD"]


@pytest.mark.parametrize("token", ["tok_approve", "tok_decline", "tok_3ds"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_crash_around_the_gateway_call_doubles_nothing(
    payments: PaymentsService,
    db: Database,
    gateway: SandboxGateway,
    bank: BankProcess,
    token: str,
    moment: str,
) -> None:
    order_id = OrderId.new()
    doomed = PaymentsService(db, CrashingGateway(gateway, "authorise", moment))

    with pytest.raises(Killed):
        await doomed.authorise(order_id, 1, PRICE, token)
    between = (await payments.attempts_of(order_id))[0]
    payment = await payments.authorise(order_id, 1, PRICE, token)

    assert between.state == "created"
    assert between.payment_id == payment.payment_id
    assert (
        payment.state
        == {
            "tok_approve": "authorised",
            "tok_decline": "declined",
            "tok_3ds": "requires_action",
        }[token]
    )
    assert len(statuses(bank, order_id)) == 1
    await agreed(payments, bank, payment)
