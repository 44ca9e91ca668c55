"""Giving captured money back: promised first, asked of the gateway under the refund's own id, written down once.

What was promised cannot be promised again, so that refunds never exceed what was captured, however many ask at once.
Taking money stands in `capture`.
"""

from __future__ import annotations

import msgspec
import structlog

from rickhouse.kernel.errors import CurrencyMismatch, KeyReused, Unavailable
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.money import Money
from rickhouse.payments import sql
from rickhouse.payments.contract import PaymentState, Refund, RefundTooLarge
from rickhouse.payments.dialogue import authorisation_of, refund_order
from rickhouse.payments.model import (
    Attempt,
    RefundRow,
    check_amount,
    refund_keyed,
    refund_of,
    rest_keyed,
    there,
    wrong_state,
)
from rickhouse.payments.port import Gateway, Refused, Technical
from rickhouse.platform.db import Database

_log = structlog.get_logger("rickhouse.payments")


class RefundService:
    """Refunds of captured payments. `ask_after_s`: a refund without an answer is asked for again after that."""

    def __init__(self, db: Database, gateway: Gateway, *, ask_after_s: float) -> None:
        self._db = db
        self._gateway = gateway
        self._ask_after_s = ask_after_s

    async def refund_order(self, attempt: Attempt, amount: Money, key: str) -> Refund:
        """Give back money of an order, once per its key. See `Payments.refund`."""
        return await self.refund(attempt, amount, refund_keyed(str(attempt.order_id), key, amount))

    async def refund(self, attempt: Attempt, amount: Money, keyed: Keyed) -> Refund:
        """Give back money, once per key. Raises what `Payments.refund` raises."""
        check_amount(amount)
        if amount.currency != attempt.amount.currency:
            raise CurrencyMismatch(f"The payment was made in {attempt.amount.currency}.")
        refund = await sql.promise_refund(self._db, attempt, amount, keyed, self._ask_after_s)
        if refund is None:
            refund = await sql.find_refund(self._db, keyed)
            if refund is None:
                raise _not_refundable(there(await sql.find_payment(self._db, attempt.payment_id)))
            if refund.fingerprint != keyed.fingerprint:
                raise KeyReused("This Idempotency-Key came before with another request; choose a new key.")
        if refund.state == "pending":
            try:
                refund = await self.give_back(attempt, refund)
            except Technical as failure:
                # It is promised, so it goes on by itself; the answer says pending.
                _log.warning("refund_unknown", refund_id=str(refund.refund_id), reason=str(failure))
        return refund_of(refund)

    async def refund_rest(self, attempt: Attempt) -> Attempt:
        """Finish what was promised, then give back all that is left; what the gateway took on counts as done.

        Raises Technical, Unavailable (the gateway refuses for good, and somebody has to look).
        """
        for refund in await sql.list_pending_refunds(self._db, attempt):
            await self.give_back(attempt, refund)
        attempt = there(await sql.find_payment(self._db, attempt.payment_id))
        keyed = rest_keyed(attempt)
        rest = await sql.promise_refund(self._db, attempt, None, keyed, self._ask_after_s)
        if rest is not None:
            await self.give_back(attempt, rest)
            attempt = there(await sql.find_payment(self._db, attempt.payment_id))
        if attempt.captured_minor > attempt.promised_minor:
            _log.error("refund_stuck", payment_id=str(attempt.payment_id))
            raise Unavailable(
                f"The gateway refuses to refund {attempt.payment_id}; somebody has to look at it."
            )
        return attempt

    async def give_back(self, attempt: Attempt, refund: RefundRow) -> RefundRow:
        """Ask the gateway for a promised refund, under the same key each time. Raises Technical."""
        try:
            answer = await self._gateway.refund(authorisation_of(attempt), refund_order(refund))
        except Refused as refusal:
            _log.warning("refund_refused", refund_id=str(refund.refund_id), reason=str(refusal))
            return await sql.refund_failed(self._db, refund) or msgspec.structs.replace(
                refund, state="failed"
            )
        match answer.state:
            case "refunded":
                moved = await sql.refund_paid(self._db, attempt, refund, answer.reference)
            case "pending":
                moved = await sql.refund_accepted(self._db, refund, answer.reference)
            case "failed":
                moved = await sql.refund_failed(self._db, refund)
        return moved or msgspec.structs.replace(refund, state=answer.state)


def _not_refundable(attempt: Attempt) -> PaymentState | RefundTooLarge:
    if not attempt.captured_minor:
        return wrong_state(attempt)
    left = Money(attempt.captured_minor - attempt.promised_minor, attempt.amount.currency)
    return RefundTooLarge(f"At most {left} can still be given back.", refundable_minor=left.minor)
