"""What arrives late, after its attempt was given up, is refused or let go of."""

from __future__ import annotations

import asyncio

from rickhouse.kernel.ids import OrderId
from rickhouse.payments.providers.sandbox.client import SandboxGateway
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.db import Database
from rickhouse.platform.http import HttpClient
from tests.payments.samples import (
    LATE_AFTER_S,
    PRICE,
    TIMEOUT_S,
    SilentGateway,
    make_due,
    postings,
    row,
    statuses,
)
from tests.simulators.bank import BankProcess


async def test_a_request_that_arrives_after_it_was_given_up_moves_nothing(
    payments: PaymentsService, bank: BankProcess
) -> None:
    order_id = OrderId.new()

    payment = await payments.authorise(order_id, 1, PRICE, "tok_late_2")
    await asyncio.sleep(LATE_AFTER_S)
    given_up = await payments.resolve(order_id, 1)
    await asyncio.sleep(2 - LATE_AFTER_S)

    assert payment.state == "unknown"
    assert (given_up.state, given_up.decline_code) == ("declined", "not_received")
    assert statuses(bank, order_id) == []


async def test_what_arrives_late_where_keys_cannot_be_barred_is_voided(
    db: Database, forgetful_bank: BankProcess
) -> None:
    gateway = SandboxGateway(HttpClient(forgetful_bank.url, name="bank", timeout_s=TIMEOUT_S))
    payments = PaymentsService(db, gateway, late_after_s=LATE_AFTER_S, watch_s=60)
    order_id = OrderId.new()

    payment = await payments.authorise(order_id, 1, PRICE, "tok_late_2")
    await asyncio.sleep(LATE_AFTER_S)
    given_up = await payments.resolve(order_id, 1)
    await asyncio.sleep(2 - LATE_AFTER_S)
    arrived = statuses(forgetful_bank, order_id)
    await make_due(db, order_id)
    await payments.resolve_due()

    assert payment.state == "unknown"
    assert (given_up.state, given_up.decline_code) == ("declined", "not_received")
    assert arrived == ["HELD"]
    assert statuses(forgetful_bank, order_id) == ["FREED"]
    assert await postings(db, payment.payment_id) == []
    assert await payments.verify() == ()


async def test_late_arrivals_are_looked_for_only_so_long(db: Database, forgetful_bank: BankProcess) -> None:
    gateway = SandboxGateway(HttpClient(forgetful_bank.url, name="bank", timeout_s=TIMEOUT_S))
    payments = PaymentsService(db, gateway, late_after_s=0, watch_s=0.2)
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, "tok_error_before")

    watched = await row(db, order_id)
    await asyncio.sleep(0.3)
    await make_due(db, order_id)
    await payments.resolve_due()

    assert (watched["state"], watched["ask_at"] is not None) == ("declined", True)
    assert (await row(db, order_id))["ask_at"] is None


async def test_whoever_comes_back_with_money_for_a_dead_attempt_voids_it(
    db: Database, gateway: SandboxGateway, bank: BankProcess
) -> None:
    """The caller stood still so long that the attempt was given up under it."""
    order_id = OrderId.new()

    async def give_up() -> None:
        stored = await row(db, order_id)
        await db.execute(
            "update attempts set state = 'declined', token = null, ask_at = null where payment_id = $1",
            stored["payment_id"],
        )

    slow_caller = PaymentsService(db, SilentGateway(gateway, give_up))

    payment = await slow_caller.authorise(order_id, 1, PRICE, "tok_approve")

    assert payment.state == "declined"
    assert statuses(bank, order_id) == ["FREED"]
