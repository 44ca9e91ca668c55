"""What payments does by itself, and how often."""

from __future__ import annotations

from rickhouse.kernel.ids import OrderId
from rickhouse.payments.handlers import periodics
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.db import Database
from tests.payments.samples import PRICE, make_due


async def test_what_is_open_is_asked_about_every_second(payments: PaymentsService, db: Database) -> None:
    order_id = OrderId.new()
    await payments.authorise(order_id, 1, PRICE, "tok_capture_error_after")
    (periodic,) = periodics(payments)

    assert (periodic.name, periodic.every_s) == ("payments.resolve_due", 1.0)
    assert await periodic.run() == 0
    await db.execute("update attempts set wanted = 'capture', ask_at = now() where order_id = $1", order_id)
    assert await periodic.run() == 1
    assert [payment.state for payment in await payments.attempts_of(order_id)] == ["authorised"]
    await make_due(db, order_id)
    assert await periodic.run() == 1
    assert [payment.state for payment in await payments.attempts_of(order_id)] == ["captured"]
