"""What `Payments` promises, in this process and behind HTTP: the same answers, the same conditions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import pytest

from rickhouse.kernel.errors import KeyReused, Unavailable
from rickhouse.kernel.ids import OrderId
from rickhouse.payments.contract import (
    CardNumberRefused,
    PaymentNotFound,
    Payments,
    PaymentState,
    RefundTooLarge,
)
from rickhouse.payments.providers.sandbox.client import SandboxGateway
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.http import HttpClient, close_clients
from rickhouse.platform.schema import role_of
from tests.contracts.sides import SIDES, Side, on_side
from tests.payments.samples import PRICE, usd
from tests.simulators.bank import BankProcess, simulated_bank


@pytest.fixture(scope="module")
def bank() -> Iterator[BankProcess]:
    """The bank of this module."""
    with simulated_bank() as process:
        yield process


@pytest.fixture(scope="module", params=SIDES)
async def payments(
    request: pytest.FixtureRequest, module_database_url: str, bank: BankProcess
) -> AsyncGenerator[Payments]:
    """The contract, on either side."""
    side: Side = request.param
    url = url_for(module_database_url, user=role_of("payments"))
    database = await Database(url, schema="payments").open()
    service = PaymentsService(database, SandboxGateway(HttpClient(bank.url, name="bank")))
    try:
        async with on_side(side, Payments, "payments", service) as contract:
            yield contract
        assert await service.verify() == ()
        assert await service.reconcile(bank.ledger()) == ()
    finally:
        await close_clients()
        await database.close()


async def test_a_payment_is_authorised_once_captured_and_given_back(payments: Payments) -> None:
    order_id = OrderId.new()

    authorised = await payments.authorise(order_id, 1, PRICE, "tok_approve")
    again = await payments.authorise(order_id, 1, PRICE, "tok_approve")
    resolved = await payments.resolve(order_id, 1)
    captured = await payments.capture(order_id)
    refund = await payments.refund(order_id, usd(900), "goodwill")
    undone = await payments.undo(order_id)

    assert (authorised.state, authorised.amount, authorised.card_last4) == ("authorised", PRICE, "4242")
    assert authorised == again == resolved
    assert (captured.state, captured.captured) == ("captured", PRICE)
    assert (refund.payment_id, refund.amount, refund.state) == (authorised.payment_id, usd(900), "refunded")
    assert [(payment.state, payment.refunded) for payment in undone] == [("refunded", PRICE)]
    assert await payments.attempts_of(order_id) == undone


async def test_a_decline_leaves_room_for_another_attempt_and_a_challenge_can_be_left(
    payments: Payments,
) -> None:
    order_id = OrderId.new()

    declined = await payments.authorise(order_id, 1, PRICE, "tok_decline_stolen")
    challenged = await payments.authorise(order_id, 2, PRICE, "tok_3ds")
    left = await payments.undo(order_id, before_attempt=3)
    paid = await payments.authorise(order_id, 3, PRICE, "tok_approve")
    kept = await payments.undo(order_id, before_attempt=3)

    assert (declined.state, declined.decline_code) == ("declined", "card_stolen")
    assert challenged.state == "requires_action"
    assert challenged.action_url is not None
    assert [payment.state for payment in left] == ["declined", "voided"]
    assert [payment.state for payment in kept] == ["declined", "voided", "authorised"]
    assert kept[2] == paid


async def test_a_lost_answer_is_unknown_or_known_and_never_declined(payments: Payments) -> None:
    lost, never = OrderId.new(), OrderId.new()

    found = await payments.authorise(lost, 1, PRICE, "tok_drop_after")
    unknown = await payments.authorise(never, 1, PRICE, "tok_error_before")

    assert found.state == "authorised"
    assert unknown.state == "unknown"
    assert (await payments.resolve(never, 1)).state == "unknown"
    assert [payment.state for payment in await payments.undo(never)] == ["voided"]


async def test_refusals_are_told_by_their_conditions(payments: Payments) -> None:
    order_id, other = OrderId.new(), OrderId.new()
    await payments.authorise(order_id, 1, PRICE, "tok_approve")

    with pytest.raises(CardNumberRefused):
        await payments.authorise(other, 1, PRICE, "4242424242424242")
    with pytest.raises(KeyReused):
        await payments.authorise(order_id, 1, usd(1), "tok_approve")
    with pytest.raises(PaymentState) as in_the_way:
        await payments.authorise(order_id, 2, PRICE, "tok_approve")
    with pytest.raises(PaymentState):
        await payments.refund(order_id, usd(1), "early")
    for nothing in (payments.resolve(other, 1), payments.capture(other), payments.refund(other, usd(1), "k")):
        with pytest.raises(PaymentNotFound):
            await nothing
    await payments.capture(order_id)
    with pytest.raises(RefundTooLarge) as too_large:
        await payments.refund(order_id, usd(8_901), "much")

    assert in_the_way.value.facts == {"state": "authorised"}
    assert too_large.value.facts == {"refundable_minor": 8_900}
    assert await payments.attempts_of(other) == ()


async def test_an_undone_order_takes_no_payment_any_more(payments: Payments) -> None:
    order_id = OrderId.new()

    assert await payments.undo(order_id) == ()
    with pytest.raises(PaymentState):
        await payments.authorise(order_id, 1, PRICE, "tok_approve")

    assert await payments.attempts_of(order_id) == ()


async def test_what_cannot_be_undone_now_can_be_undone_later(payments: Payments) -> None:
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, "tok_void_error_before_1")

    with pytest.raises(Unavailable):
        await payments.undo(order_id)

    assert [payment.state for payment in await payments.undo(order_id)] == ["voided"]
