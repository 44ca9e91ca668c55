"""Writing down what stands at the gateway: one conditional statement, whoever found it out.

Whoever loses a race reads what the winner wrote. Money that turns up for an attempt that was given up is let go of.
"""

from __future__ import annotations

import msgspec
import structlog

from rickhouse.payments import sql
from rickhouse.payments.dialogue import authorisation_of, gateway_key, settled
from rickhouse.payments.model import Attempt, there
from rickhouse.payments.port import Gateway, GatewayFailed, Standing
from rickhouse.platform.db import Database

_log = structlog.get_logger("rickhouse.payments")


class Settlement:
    """The attempts' side of the gateway's answers.

    `watch_s` is how long a request may be lost on its way and arrive after all, at a gateway that cannot bar a key.
    """

    def __init__(self, db: Database, gateway: Gateway, *, watch_s: float) -> None:
        self._db = db
        self._gateway = gateway
        self.watch_s = watch_s

    async def again(self, attempt: Attempt) -> Attempt:
        """The attempt as it is stored now."""
        return there(await sql.find_payment(self._db, attempt.payment_id))

    async def synchronise(self, attempt: Attempt) -> Attempt:
        """Ask the gateway and write down its answer. Raises Technical."""
        standing = await self._gateway.find(authorisation_of(attempt))
        return await self.again(attempt) if standing is None else await self.settle(attempt, standing)

    async def settle(self, attempt: Attempt, standing: Standing) -> Attempt:
        """Write down what stands at the gateway; answers the attempt as it is stored then."""
        moved = False
        match standing.status:
            case "pending":
                return await self.unknown(attempt)
            case "authorised":
                moved = await sql.authorised(self._db, attempt, standing)
            case "requires_action":
                moved = await sql.challenged(self._db, attempt, standing)
            case "declined":
                code = standing.decline_code or "card_declined"
                moved = await sql.declined(self._db, attempt, code, standing=standing)
            case "voided":
                await sql.voided(self._db, attempt)
            case "captured":
                await sql.authorised(self._db, attempt, standing)
                taken = standing.captured or attempt.amount
                await sql.captured(self._db, attempt, taken, standing.capture_reference)
        if moved:
            return settled(attempt, standing)
        current = await self.again(attempt)
        if current.state in ("declined", "voided") and standing.status in ("authorised", "requires_action"):
            await self._let_go(current)
        return current

    async def unknown(self, attempt: Attempt) -> Attempt:
        """The gateway was asked, and its answer is not known yet."""
        if await sql.unknown(self._db, attempt):
            return msgspec.structs.replace(attempt, state="unknown")
        return await self.again(attempt)

    async def _let_go(self, attempt: Attempt) -> None:
        _log.warning("authorised_too_late", payment_id=str(attempt.payment_id))
        try:
            await self._gateway.void(authorisation_of(attempt), gateway_key(attempt.payment_id, "late"))
        except GatewayFailed:
            await sql.watch(self._db, attempt, self.watch_s)
