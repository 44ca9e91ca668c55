"""Undoing what an order paid: let go of what is set aside, give back what was taken, keep every later attempt out.

Doing stands in `authorise` and `capture`. Every step may have been done before.
"""

from __future__ import annotations

from typing import Final

import structlog

from rickhouse.kernel.errors import Unavailable
from rickhouse.kernel.ids import OrderId
from rickhouse.payments import sql
from rickhouse.payments.contract import ATTEMPTS_MAX
from rickhouse.payments.dialogue import authorisation_of, away, gateway_key
from rickhouse.payments.model import CLOSED, REFUNDABLE, Attempt
from rickhouse.payments.port import Gateway, Refused, Technical
from rickhouse.payments.refund import RefundService
from rickhouse.payments.settle import Settlement
from rickhouse.platform.db import Database

_STEPS_MAX: Final = 5
_SEAL_TRIES_MAX: Final = 3

_log = structlog.get_logger("rickhouse.payments")


class UndoService:
    """Brings attempts to where the buyer has paid nothing."""

    def __init__(
        self,
        db: Database,
        gateway: Gateway,
        settlement: Settlement,
        refunds: RefundService,
        *,
        late_after_s: float,
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._settlement = settlement
        self._refunds = refunds
        self._late_after_s = late_after_s

    async def undo(self, order_id: OrderId, before_attempt: int) -> tuple[Attempt, ...]:
        """See `Payments.undo`."""
        if not before_attempt:
            await self._seal(order_id)
        below = before_attempt or ATTEMPTS_MAX + 1
        attempts = await sql.list_attempts(self._db, order_id)
        return tuple(
            [await self._undo(attempt) if attempt.attempt < below else attempt for attempt in attempts]
        )

    async def void(self, attempt: Attempt) -> Attempt:
        """Let go of what is, or may be, set aside. Raises Technical, Unavailable."""
        wanted = attempt.state != "authorised" or await sql.want(
            self._db, attempt, "void", self._late_after_s
        )
        if not wanted:
            return await self._settlement.again(attempt)
        key = gateway_key(attempt.payment_id, "void")
        try:
            voided = await self._gateway.void(authorisation_of(attempt), key)
        except Refused as refusal:
            attempt = await self._settlement.synchronise(attempt)
            if attempt.state in ("authorised", "requires_action"):
                _log.error("void_stuck", payment_id=str(attempt.payment_id), reason=str(refusal))
                raise Unavailable(
                    f"The gateway refuses to void {attempt.payment_id}; somebody has to look at it."
                ) from refusal
            return attempt
        if not voided.final and attempt.silent_s < self._late_after_s:
            raise Unavailable(
                "The payment may still be on its way to the gateway; try again in a few seconds."
            )
        await sql.voided(self._db, attempt, watch_s=0.0 if voided.final else self._settlement.watch_s)
        return await self._settlement.again(attempt)

    async def _seal(self, order_id: OrderId) -> None:
        for _ in range(_SEAL_TRIES_MAX):
            if await sql.seal(self._db, order_id):
                return
        raise Unavailable("Attempts to pay for this order come and go; try again in a moment.")

    async def _undo(self, attempt: Attempt) -> Attempt:
        """Raises Unavailable."""
        try:
            for _ in range(_STEPS_MAX):
                if attempt.state in CLOSED:
                    return attempt
                if attempt.state in REFUNDABLE:
                    return await self._refunds.refund_rest(attempt)
                attempt = await (self._undo_open(attempt) if attempt.open else self.void(attempt))
        except Technical as failure:
            raise away() from failure
        raise Unavailable("The payment keeps changing; try again in a moment.")

    async def _undo_open(self, attempt: Attempt) -> Attempt:
        standing = await self._gateway.find(authorisation_of(attempt))
        if standing is None or standing.status in ("pending", "requires_action"):
            return await self.void(attempt)
        return await self._settlement.settle(attempt, standing)
