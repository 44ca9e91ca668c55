"""Taking authorised money: noted as wanted, asked of the gateway under one key, written down once.

What was noted is carried to its end by whoever finds it, so a caller that died takes nothing with him.
"""

from __future__ import annotations

from rickhouse.kernel.idempotency import Keyed
from rickhouse.payments import sql
from rickhouse.payments.dialogue import authorisation_of, away, gateway_key
from rickhouse.payments.model import REFUNDABLE, Attempt, wrong_state
from rickhouse.payments.port import Gateway, Refused, Technical
from rickhouse.payments.settle import Settlement
from rickhouse.platform.db import Database


class CaptureService:
    """Captures attempts, each whole."""

    def __init__(self, db: Database, gateway: Gateway, settlement: Settlement, *, ask_after_s: float) -> None:
        self._db = db
        self._gateway = gateway
        self._settlement = settlement
        self._ask_after_s = ask_after_s

    async def capture(self, attempt: Attempt, keyed: Keyed | None = None) -> Attempt:
        """Take the money. Raises PaymentState, KeyReused, Unavailable."""
        if attempt.state in REFUNDABLE:
            return attempt
        if not await sql.want(self._db, attempt, "capture", self._ask_after_s, keyed):
            attempt = await self._settlement.again(attempt)
            if attempt.state in REFUNDABLE:
                return attempt
            raise wrong_state(attempt)
        try:
            return await self.take(attempt)
        except Technical as failure:
            raise away() from failure

    async def take(self, attempt: Attempt) -> Attempt:
        """Go on with a capture that was noted as wanted. Raises Technical, PaymentState."""
        key = gateway_key(attempt.payment_id, "capt")
        try:
            taken = await self._gateway.capture(authorisation_of(attempt), key, attempt.amount)
        except Refused as refusal:
            attempt = await self._settlement.synchronise(attempt)
            if attempt.state in REFUNDABLE:
                return attempt
            await sql.give_up_capture(self._db, attempt)
            raise wrong_state(attempt) from refusal
        await sql.captured(self._db, attempt, taken.amount, taken.reference)
        return await self._settlement.again(attempt)
