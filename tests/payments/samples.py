"""What the tests of payments pay with, and how they look at the books from outside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec

from rickhouse.kernel.events import Event
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import OrderId, PaymentId
from rickhouse.kernel.money import Money
from rickhouse.payments.contract import (
    Payment,
    PaymentAuthorised,
    PaymentCaptured,
    PaymentRefunded,
    PaymentVoided,
)
from rickhouse.payments.model import Attempt
from rickhouse.payments.port import (
    Authorisation,
    Captured,
    Gateway,
    Refunded,
    RefundOrder,
    Standing,
    Voided,
)
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.codec import decode_json
from rickhouse.platform.db import Database
from tests.simulators.bank import BankProcess

PRICE = Money(8_900, "USD")
APPROVE = "tok_approve"
TIMEOUT_S = 0.7
"""How long the tests' gateway waits for an answer."""

LATE_AFTER_S = 1.0
"""More than one request to the tests' gateway takes."""

ATTEMPT = Attempt(
    payment_id=PaymentId.new(),
    order_id=OrderId.new(),
    attempt=1,
    state="created",
    amount=PRICE,
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
    token="tok_approve",  # noqa: S106  the simulator's
)


def changed(**fields: object) -> Attempt:
    """The attempt with other fields."""
    return msgspec.structs.replace(ATTEMPT, **fields)


SET_ASIDE = [
    ("authorised", "customer_funds_authorised", 8_900),
    ("authorised", "authorisations_outstanding", -8_900),
]
RELEASED = [
    ("released", "authorisations_outstanding", 8_900),
    ("released", "customer_funds_authorised", -8_900),
]

_EVENTS = {
    event.kind: event for event in (PaymentAuthorised, PaymentVoided, PaymentCaptured, PaymentRefunded)
}
_numbers = count(1)


def usd(minor: int) -> Money:
    """So many cents."""
    return Money(minor, "USD")


def fresh_key(owner: str = "office", fingerprint: bytes = b"fingerprint") -> Keyed:
    """An idempotency key that no other request has."""
    return Keyed(owner, f"key-{next(_numbers)}", fingerprint)


def statuses(bank: BankProcess, order_id: OrderId) -> list[str]:
    """What became of each hold that the bank made for an order."""
    return [hold["status"] for hold in bank.lines_of(str(order_id))]


async def agreed(payments: PaymentsService, bank: BankProcess, payment: Payment) -> None:
    """Our books and the bank's say the same about a payment."""
    key = f"{payment.payment_id}-auth"
    lines = [line for line in bank.ledger() if line.key == key]
    differences = [found for found in await payments.reconcile(lines) if found.subject == key]
    assert differences == []


async def row(db: Database, order_id: OrderId, attempt: int = 1) -> dict[str, Any]:
    """An attempt as it is stored."""
    found = await db.fetchrow(
        "select * from attempts where order_id = $1 and attempt = $2", order_id, attempt
    )
    assert found is not None
    return dict(found)


async def postings(db: Database, payment_id: PaymentId) -> list[tuple[str, str, int]]:
    """Step, account and amount of every posting of a payment, oldest first."""
    rows = await db.fetch(
        "select step, account, amount_minor from postings where payment_id = $1 order by at, step, amount_minor desc",
        payment_id,
    )
    return [(found["step"], found["account"], found["amount_minor"]) for found in rows]


async def events(db: Database, payment_id: PaymentId) -> list[Event]:
    """What was told of a payment, oldest first."""
    rows = await db.fetch(
        "select kind, body::text as body from events where subject = $1 order by xid, seq", payment_id
    )
    return [decode_json(found["body"], _EVENTS[found["kind"]]) for found in rows]


async def make_due(db: Database, order_id: OrderId) -> None:
    """Let the time come at which the gateway is asked about an order's attempts and refunds."""
    due = "update {} set ask_at = now() - interval '1 second' where ask_at is not null and payment_id in ("
    due += "select payment_id from attempts where order_id = $1)"
    await db.execute(due.format("attempts"), order_id)
    await db.execute(due.format("refunds"), order_id)


class Killed(BaseException):
    """The process ends here."""


class GatewayOf:
    """A gateway that passes everything on; tests change one method."""

    def __init__(self, inner: Gateway) -> None:
        self._inner = inner

    async def authorise(self, authorisation: Authorisation) -> Standing:
        """See Gateway."""
        return await self._inner.authorise(authorisation)

    async def find(self, authorisation: Authorisation) -> Standing | None:
        """See Gateway."""
        return await self._inner.find(authorisation)

    async def capture(self, authorisation: Authorisation, key: str, amount: Money) -> Captured:
        """See Gateway."""
        return await self._inner.capture(authorisation, key, amount)

    async def void(self, authorisation: Authorisation, key: str) -> Voided:
        """See Gateway."""
        return await self._inner.void(authorisation, key)

    async def refund(self, authorisation: Authorisation, refund: RefundOrder) -> Refunded:
        """See Gateway."""
        return await self._inner.refund(authorisation, refund)


class CrashingGateway(GatewayOf):
    """The process dies just before or just after the gateway does `operation`."""

    def __init__(self, inner: Gateway, operation: str, moment: str) -> None:
        super().__init__(inner)
        asked = getattr(inner, operation)

        async def dying(*args: object) -> None:
            if moment == "after":
                await asked(*args)
            raise Killed

        setattr(self, operation, dying)


class SilentGateway(GatewayOf):
    """Something happens between the gateway's answer to an authorisation and its arrival here."""

    def __init__(self, inner: Gateway, happens: Callable[[], Awaitable[None]]) -> None:
        super().__init__(inner)
        self._happens = happens

    async def authorise(self, authorisation: Authorisation) -> Standing:
        """See Gateway."""
        standing = await super().authorise(authorisation)
        await self._happens()
        return standing
