"""Setting money aside: the attempt is committed, the gateway asked under its key, the answer written down.

A call that comes again asks the gateway what became of the first one before it sends anything. Letting go stands in
`undo`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import structlog

from rickhouse.kernel.errors import KeyReused
from rickhouse.kernel.ids import OrderId, PaymentId
from rickhouse.kernel.money import Money
from rickhouse.payments import sql
from rickhouse.payments.contract import PaymentState, refuse_card_number
from rickhouse.payments.dialogue import authorisation_of, gateway_key
from rickhouse.payments.model import Attempt, check_request, there
from rickhouse.payments.port import (
    Gateway,
    GatewayFailed,
    NothingDone,
    OutcomeUnknown,
    Refused,
    Standing,
    Technical,
)
from rickhouse.payments.settle import Settlement
from rickhouse.platform.db import Database
from rickhouse.platform.saga import await_answer

_PAUSES_S: Final = (0.1, 0.3)
"""Between tries of what surely had no effect."""

_PATIENCE_MORE_S: Final = 1.0
"""A repeated call waits this much longer than whoever came first can take, so that it can still go on in his place."""

_log = structlog.get_logger("rickhouse.payments")


class AuthoriseService:
    """Begins attempts, and finds out what became of those whose outcome is open."""

    def __init__(
        self, db: Database, gateway: Gateway, settlement: Settlement, *, late_after_s: float
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._settlement = settlement
        self._late_after_s = late_after_s

    async def authorise(self, order_id: OrderId, number: int, amount: Money, token: str) -> Attempt:
        """See `Payments.authorise`."""
        refuse_card_number(token)
        check_request(number, amount, token)
        begun = await sql.begin(self._db, order_id, number, amount, token, self._late_after_s)
        if begun is not None:
            return await self._send(begun)
        known = await sql.find_attempt(self._db, order_id, number)
        if known is None:
            raise await self._in_the_way(order_id)
        if known.amount != amount:
            raise KeyReused(f"Attempt {number} of this order is for {known.amount}.")
        if not known.open:
            return known
        patience_s = self._late_after_s + _PATIENCE_MORE_S
        answer = await await_answer(partial(self._ask_again, known.payment_id), patience_s=patience_s)
        return answer or await self._settlement.again(known)

    async def resolve(self, attempt: Attempt, silent_for_s: float | None = None) -> Attempt:
        """Ask the gateway what became of an open attempt; any other is answered as it stands.

        One that the gateway never heard of is given up when it has been silent for so long (`late_after_s` if unsaid).
        """
        if not attempt.open:
            return attempt
        try:
            standing = await self._gateway.find(authorisation_of(attempt))
        except Technical:
            return attempt
        if standing is None:
            return await self._not_received(attempt, silent_for_s or self._late_after_s)
        return await self._settlement.settle(attempt, standing)

    async def _send(self, attempt: Attempt) -> Attempt:
        """Ask the gateway to set the money aside; where its answer got lost, ask once what became of it."""
        try:
            standing = await self._try_to_send(attempt)
        except Refused:
            standing = Standing(status="declined", decline_code="not_accepted")
        except Technical as failure:
            _log.warning("authorisation_unknown", payment_id=str(attempt.payment_id), reason=str(failure))
            attempt = await self._settlement.unknown(attempt)
            return await self.resolve(attempt) if isinstance(failure, OutcomeUnknown) else attempt
        return await self._settlement.settle(attempt, standing)

    async def _try_to_send(self, attempt: Attempt) -> Standing:
        authorisation = authorisation_of(attempt)
        for pause_s in _PAUSES_S:
            try:
                return await self._gateway.authorise(authorisation)
            except NothingDone:
                await asyncio.sleep(pause_s)
        return await self._gateway.authorise(authorisation)

    async def _ask_again(self, payment_id: PaymentId) -> Attempt | None:
        """What a repeated call answers; None while whoever came first may still be waiting for the gateway."""
        attempt = there(await sql.find_payment(self._db, payment_id))
        if not attempt.open:
            return attempt
        try:
            standing = await self._gateway.find(authorisation_of(attempt))
        except Technical:
            return await self._settlement.unknown(attempt)
        if standing is None:
            return await self._send_again(attempt)
        return None if standing.status == "pending" else await self._settlement.settle(attempt, standing)

    async def _send_again(self, attempt: Attempt) -> Attempt | None:
        """The gateway has not heard of it: send it again under its key, or give it up after the last sending."""
        if attempt.state == "created" and attempt.silent_s < self._late_after_s:
            return None
        if not attempt.may_send_again:
            return await self._not_received(attempt, self._late_after_s)
        if not await sql.send_again(self._db, attempt, self._late_after_s):
            return None
        return await self._send(attempt)

    async def _not_received(self, attempt: Attempt, silent_for_s: float) -> Attempt:
        """The gateway never heard of it. Believed only once no request of ours can be under way any more and the key is
        barred against what was lost on its way; where it cannot be barred, what arrives late is looked for."""
        if attempt.silent_s < silent_for_s:
            return attempt
        key = gateway_key(attempt.payment_id, "void")
        try:
            barred = await self._gateway.void(authorisation_of(attempt), key)
        except GatewayFailed:
            return attempt
        watch_s = 0.0 if barred.final else self._settlement.watch_s
        await sql.declined(self._db, attempt, "not_received", watch_s=watch_s)
        return await self._settlement.again(attempt)

    async def _in_the_way(self, order_id: OrderId) -> PaymentState:
        live = await sql.find_live(self._db, order_id)
        if live is None:
            return PaymentState("Another attempt to pay has just ended; ask again.", state="declined")
        if live.sealed:
            return PaymentState("The order was undone and takes no payment any more.", state=live.state)
        return PaymentState(
            f"Attempt {live.attempt} of this order is {live.state}; resolve or undo it first.",
            state=live.state,
        )
