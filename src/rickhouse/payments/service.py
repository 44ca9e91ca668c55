"""Payments: what the contract offers, put together from one service per verb, and the books that prove it.

What is about to be asked of the gateway is committed first; the gateway is asked outside any transaction, under a key
that a crash does not change; what it answered is written down by one conditional statement. Words of a vendor never
belong in this slice outside its provider.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import OrderId, PaymentId
from rickhouse.kernel.money import Money
from rickhouse.payments import sql
from rickhouse.payments.authorise import AuthoriseService
from rickhouse.payments.capture import CaptureService
from rickhouse.payments.contract import Payment, Refund
from rickhouse.payments.dialogue import away, compare, line_of
from rickhouse.payments.model import Attempt, Discrepancy, RefundRow, paid_or_last, payment_of, there
from rickhouse.payments.port import Gateway, LedgerLine, Technical
from rickhouse.payments.refund import RefundService
from rickhouse.payments.settle import Settlement
from rickhouse.payments.undo import UndoService
from rickhouse.platform.db import Database
from rickhouse.platform.saga import take_over

_BATCH: Final = 16
_EVER: Final = datetime(2020, 1, 1, tzinfo=UTC)
"""Before the first payment."""


class PaymentsService:
    """Payments of one shop through one gateway.

    `late_after_s` is longer than asking the gateway for an authorisation can take, its tries included (with time limits
    of 1 s to connect and 5 s in all, 7.4 s): an attempt that has been silent for longer has nobody waiting for it.
    `abandon_after_s` is how long the job leaves what the gateway never heard of to whoever began it, who may send it
    again after a crash. `watch_s` is how long a request may be lost on its way and arrive after all, at a gateway that
    cannot bar a key.
    """

    def __init__(
        self,
        db: Database,
        gateway: Gateway,
        *,
        late_after_s: float = 8.0,
        abandon_after_s: float = 30.0,
        watch_s: float = 86_400.0,
    ) -> None:
        self._db = db
        self._abandon_after_s = max(late_after_s, abandon_after_s)
        settlement = Settlement(db, gateway, watch_s=watch_s)
        self._settlement = settlement
        self._refunds = RefundService(db, gateway, ask_after_s=late_after_s)
        self._authorise = AuthoriseService(db, gateway, settlement, late_after_s=late_after_s)
        self._captures = CaptureService(db, gateway, settlement, ask_after_s=late_after_s)
        self._undo = UndoService(db, gateway, settlement, self._refunds, late_after_s=late_after_s)

    async def authorise(self, order_id: OrderId, attempt: int, amount: Money, token: str) -> Payment:
        """See Payments."""
        return payment_of(await self._authorise.authorise(order_id, attempt, amount, token))

    async def resolve(self, order_id: OrderId, attempt: int) -> Payment:
        """See Payments."""
        known = there(await sql.find_attempt(self._db, order_id, attempt))
        return payment_of(await self._authorise.resolve(known))

    async def undo(self, order_id: OrderId, before_attempt: int = 0) -> tuple[Payment, ...]:
        """See Payments."""
        return tuple(map(payment_of, await self._undo.undo(order_id, before_attempt)))

    async def capture(self, order_id: OrderId) -> Payment:
        """See Payments."""
        attempt = paid_or_last(await sql.list_attempts(self._db, order_id))
        return payment_of(await self._captures.capture(attempt))

    async def capture_payment(self, payment_id: PaymentId, keyed: Keyed) -> Payment:
        """Take the money of one attempt. Raises what `capture` raises, and KeyReused."""
        return payment_of(await self._captures.capture(await self._get(payment_id), keyed))

    async def refund(self, order_id: OrderId, amount: Money, key: str) -> Refund:
        """See Payments."""
        attempt = paid_or_last(await sql.list_attempts(self._db, order_id))
        return await self._refunds.refund_order(attempt, amount, key)

    async def refund_payment(self, payment_id: PaymentId, amount: Money, keyed: Keyed) -> Refund:
        """Give back money of one attempt. Raises what `refund` raises."""
        return await self._refunds.refund(await self._get(payment_id), amount, keyed)

    async def attempts_of(self, order_id: OrderId) -> tuple[Payment, ...]:
        """See Payments."""
        return tuple(map(payment_of, await sql.list_attempts(self._db, order_id)))

    async def get_payment(self, payment_id: PaymentId) -> Payment:
        """One attempt. Raises PaymentNotFound."""
        return payment_of(await self._get(payment_id))

    async def resolve_due(self) -> int:
        """Go on with every attempt and refund whose outcome has been open for too long; answers how many there were.

        What fails is tried again later, ever more slowly, five minutes apart at the most.
        """
        found = 0
        while (taken := await take_over(partial(sql.claim_due, self._db, _BATCH), self._go_on)) == _BATCH:
            found += taken
        found += taken
        due_refunds = partial(sql.claim_due_refunds, self._db, _BATCH)
        while (taken := await take_over(due_refunds, self._go_on_refunding)) == _BATCH:
            found += taken
        return found + taken

    async def verify(self) -> tuple[Discrepancy, ...]:
        """Prove that every movement sums to zero and that every state is what its postings say; empty when so."""
        return await sql.verify(self._db)

    async def reconcile(
        self, theirs: Iterable[LedgerLine], since: datetime = _EVER
    ) -> tuple[Discrepancy, ...]:
        """Compare our attempts, begun at `since` or later, with the gateway's own list of the same time."""
        return compare(map(line_of, await sql.list_since(self._db, since)), theirs)

    async def _get(self, payment_id: PaymentId) -> Attempt:
        return there(await sql.find_payment(self._db, payment_id))

    async def _go_on(self, attempt: Attempt) -> None:
        try:
            if attempt.open:
                await self._authorise.resolve(attempt, self._abandon_after_s)
            elif attempt.wanted == "capture":
                await self._captures.take(attempt)
            elif attempt.wanted == "void":
                await self._undo.void(attempt)
            else:
                await self._settlement.synchronise(attempt)
        except Technical as failure:
            raise away() from failure

    async def _go_on_refunding(self, refund: RefundRow) -> None:
        try:
            await self._refunds.give_back(await self._get(refund.payment_id), refund)
        except Technical as failure:
            raise away() from failure
