"""What goes on by itself, and the books that prove it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rickhouse.kernel.errors import Unavailable
from rickhouse.kernel.ids import OrderId, PaymentId
from rickhouse.payments import sql
from rickhouse.payments.contract import (
    PaymentNotFound,
)
from rickhouse.payments.model import Discrepancy
from rickhouse.payments.providers.sandbox.client import SandboxGateway
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.db import Database
from rickhouse.platform.http import HttpClient
from tests.payments.samples import (
    LATE_AFTER_S,
    PRICE,
    TIMEOUT_S,
    make_due,
    statuses,
)
from tests.simulators.bank import BankProcess, simulated_bank


async def test_an_attempt_that_nobody_came_back_for_is_given_up_by_itself(
    db: Database, gateway: SandboxGateway, payments: PaymentsService, bank: BankProcess
) -> None:
    order_id = OrderId.new()
    await sql.begin(db, order_id, 1, PRICE, "tok_approve", LATE_AFTER_S)
    patient = PaymentsService(db, gateway, late_after_s=LATE_AFTER_S, abandon_after_s=60)

    too_early = await payments.resolve_due()
    await asyncio.sleep(LATE_AFTER_S)
    left_alone = await patient.resolve_due()
    between = (await payments.attempts_of(order_id))[0]
    await make_due(db, order_id)
    due = await payments.resolve_due()

    payment = (await payments.attempts_of(order_id))[0]
    assert (too_early, left_alone, due) == (0, 1, 1)
    assert between.state == "created"
    assert (payment.state, payment.decline_code) == ("declined", "not_received")
    assert statuses(bank, order_id) == []


async def test_a_bank_that_is_away_leaves_unknown_and_is_asked_when_it_is_back(
    db: Database, tmp_path: Path
) -> None:
    with simulated_bank(tmp_path / "bank.jsonl") as bank:
        gateway = SandboxGateway(HttpClient(bank.url, name="bank", timeout_s=TIMEOUT_S, failures_max=0))
        payments = PaymentsService(db, gateway, late_after_s=LATE_AFTER_S)
        paid, waiting = OrderId.new(), OrderId.new()
        await payments.authorise(paid, 1, PRICE, "tok_approve")
        bank.kill()

        unknown = await payments.authorise(waiting, 1, PRICE, "tok_approve")
        with pytest.raises(Unavailable):
            await payments.capture(paid)
        with pytest.raises(Unavailable):
            await payments.undo(waiting)
        still = await payments.resolve(waiting, 1)
        bank.start()

        assert (unknown.state, still.state) == ("unknown", "unknown")
        assert (await payments.capture(paid)).state == "captured"
        assert [payment.state for payment in await payments.undo(waiting)] == ["voided"]
        assert statuses(bank, paid) == ["TAKEN"]
        assert statuses(bank, waiting) == []


async def test_resolve_knows_no_attempt_that_never_began(payments: PaymentsService) -> None:
    with pytest.raises(PaymentNotFound):
        await payments.resolve(OrderId.new(), 1)
    with pytest.raises(PaymentNotFound):
        await payments.get_payment(PaymentId.new())


async def test_everything_that_is_due_is_gone_on_with(payments: PaymentsService, db: Database) -> None:
    orders = [OrderId.new() for _ in range(40)]
    for order_id in orders:
        await payments.authorise(order_id, 1, PRICE, "tok_3ds")
        await make_due(db, order_id)

    assert await payments.resolve_due() == 40
    assert await payments.resolve_due() == 0


async def test_verify_finds_a_state_that_its_postings_do_not_bear_out(
    payments: PaymentsService, admin: Database
) -> None:
    payment = await payments.authorise(OrderId.new(), 1, PRICE, "tok_approve")
    subject = str(payment.payment_id.uuid)

    await admin.execute("update attempts set state = 'voided' where payment_id = $1", payment.payment_id)
    found = await payments.verify()
    await admin.execute("update attempts set state = 'authorised' where payment_id = $1", payment.payment_id)

    assert found == (
        Discrepancy(subject, "authorisations_outstanding", "0", "-8900"),
        Discrepancy(subject, "customer_funds_authorised", "0", "8900"),
    )
    assert await payments.verify() == ()


async def test_reconcile_finds_what_only_one_side_knows(payments: PaymentsService, bank: BankProcess) -> None:
    payment = await payments.authorise(OrderId.new(), 1, PRICE, "tok_approve")
    key = f"{payment.payment_id}-auth"
    everything = bank.ledger()

    without = await payments.reconcile(line for line in everything if line.key != key)

    assert [found for found in await payments.reconcile(everything) if found.subject == key] == []
    assert [found for found in without if found.subject == key] == [
        Discrepancy(key, "gateway", "authorised 8900, captured 0, refunded 0 USD", "nothing")
    ]
