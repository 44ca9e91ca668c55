"""Payments: attempts, captures and voids, each moved once however often it is asked for and wherever it breaks.

What is about to be asked of the gateway is committed first; the gateway is asked outside any transaction, under a key
that a crash does not change; what it answered is written down by one conditional statement. Whoever loses a race reads
what the winner wrote. Refunds stand in `refunds`; words of a vendor never belong here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec
import structlog

from rickhouse.kernel.errors import KeyReused, Unavailable
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import OrderId, PaymentId
from rickhouse.kernel.money import Money
from rickhouse.payments import sql
from rickhouse.payments.contract import Payment, PaymentState, Refund, refuse_card_number
from rickhouse.payments.dialogue import authorisation_of, away, compare, gateway_key, line_of, settled
from rickhouse.payments.model import (
    CLOSED,
    REFUNDABLE,
    Attempt,
    Discrepancy,
    check_request,
    paid_or_last,
    payment_of,
    there,
    wrong_state,
)
from rickhouse.payments.port import (
    Gateway,
    GatewayFailed,
    LedgerLine,
    NothingDone,
    OutcomeUnknown,
    Refused,
    Standing,
    Technical,
)
from rickhouse.payments.refunds import RefundService
from rickhouse.platform.db import Database
from rickhouse.platform.saga import await_answer, take_over

_PAUSES_S: Final = (0.1, 0.3)
"""Between tries of what surely had no effect."""

_EVER: Final = datetime(2020, 1, 1, tzinfo=UTC)
"""Before the first payment."""

_UNDO_STEPS_MAX: Final = 5
_SEAL_TRIES_MAX: Final = 3
_BATCH: Final = 16

_log = structlog.get_logger("rickhouse.payments")


class PaymentsService:
    """Payments of one shop through one gateway.

    `late_after_s` is longer than one request to the gateway can take, its tries included: an attempt that has been
    silent for longer has nobody waiting for it. `watch_s` is how long a request may be lost on its way and arrive after
    all, at a gateway that cannot bar a key.
    """

    def __init__(
        self, db: Database, gateway: Gateway, *, late_after_s: float = 12.0, watch_s: float = 86_400.0
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._late_after_s = late_after_s
        self._watch_s = watch_s
        self._refunds = RefundService(db, gateway, ask_after_s=late_after_s)

    async def authorise(self, order_id: OrderId, attempt: int, amount: Money, token: str) -> Payment:
        """See Payments."""
        refuse_card_number(token)
        check_request(attempt, amount, token)
        begun = await sql.begin(self._db, order_id, attempt, amount, token, self._late_after_s)
        if begun is not None:
            return payment_of(await self._send(begun))
        known = await sql.find_attempt(self._db, order_id, attempt)
        if known is None:
            raise await self._in_the_way(order_id)
        if known.amount != amount:
            raise KeyReused(f"Attempt {attempt} of this order is for {known.amount}.")
        if known.open:
            ask = partial(self._ask_again, known.payment_id)
            known = await await_answer(ask, patience_s=self._late_after_s) or await self._again(known)
        return payment_of(known)

    async def resolve(self, order_id: OrderId, attempt: int) -> Payment:
        """See Payments."""
        return payment_of(await self._resolve(there(await sql.find_attempt(self._db, order_id, attempt))))

    async def undo(self, order_id: OrderId, keep_attempt: int = 0) -> tuple[Payment, ...]:
        """See Payments."""
        if not keep_attempt:
            await self._seal(order_id)
        undone: list[Payment] = []
        for attempt in await sql.list_attempts(self._db, order_id):
            kept = attempt.attempt == keep_attempt
            undone.append(payment_of(attempt if kept else await self._undo(attempt)))
        return tuple(undone)

    async def capture(self, order_id: OrderId) -> Payment:
        """See Payments."""
        return payment_of(
            await self._capture(paid_or_last(await sql.list_attempts(self._db, order_id)), None)
        )

    async def capture_payment(self, payment_id: PaymentId, keyed: Keyed) -> Payment:
        """Take the money of one attempt. Raises what `capture` raises, and KeyReused."""
        return payment_of(await self._capture(there(await sql.find_payment(self._db, payment_id)), keyed))

    async def refund(self, order_id: OrderId, amount: Money, key: str) -> Refund:
        """See Payments."""
        return await self._refunds.refund_order(order_id, amount, key)

    async def refund_payment(self, payment_id: PaymentId, amount: Money, keyed: Keyed) -> Refund:
        """Give back money of one attempt. Raises what `refund` raises."""
        return await self._refunds.refund_payment(payment_id, amount, keyed)

    async def attempts_of(self, order_id: OrderId) -> tuple[Payment, ...]:
        """See Payments."""
        return tuple(map(payment_of, await sql.list_attempts(self._db, order_id)))

    async def get_payment(self, payment_id: PaymentId) -> Payment:
        """One attempt. Raises PaymentNotFound."""
        return payment_of(there(await sql.find_payment(self._db, payment_id)))

    async def resolve_due(self) -> int:
        """Go on with every attempt and refund whose outcome has been open for too long; answers how many there were."""
        attempts = await take_over(partial(sql.claim_due, self._db, _BATCH), self._go_on)
        return attempts + await self._refunds.resolve_due()

    async def verify(self) -> tuple[Discrepancy, ...]:
        """Prove that every movement sums to zero and that every state is what its postings say; empty when so."""
        return await sql.verify(self._db)

    async def reconcile(
        self, theirs: Iterable[LedgerLine], since: datetime = _EVER
    ) -> tuple[Discrepancy, ...]:
        """Compare our attempts, begun at `since` or later, with the gateway's own list of the same time."""
        return compare(map(line_of, await sql.list_since(self._db, since)), theirs)

    async def _send(self, attempt: Attempt) -> Attempt:
        """Ask the gateway to set the money aside; where its answer got lost, ask once what became of it."""
        try:
            standing = await self._try_to_send(attempt)
        except Refused:
            standing = Standing(status="declined", decline_code="not_accepted")
        except Technical as failure:
            _log.warning("authorisation_unknown", payment_id=str(attempt.payment_id), reason=str(failure))
            attempt = await self._unknown(attempt)
            return await self._resolve(attempt) if isinstance(failure, OutcomeUnknown) else attempt
        return await self._settle(attempt, standing)

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
            return await self._unknown(attempt)
        if standing is None:
            return await self._send_again(attempt)
        return None if standing.status == "pending" else await self._settle(attempt, standing)

    async def _send_again(self, attempt: Attempt) -> Attempt | None:
        """The gateway has not heard of it: send it again under its key, or give it up after the last sending."""
        if attempt.state == "created" and attempt.silent_s < self._late_after_s:
            return None
        if not attempt.may_send_again:
            return await self._not_received(attempt)
        if not await sql.send_again(self._db, attempt, self._late_after_s):
            return None
        return await self._send(attempt)

    async def _resolve(self, attempt: Attempt) -> Attempt:
        if not attempt.open:
            return attempt
        try:
            standing = await self._gateway.find(authorisation_of(attempt))
        except Technical:
            return attempt
        if standing is None:
            return await self._not_received(attempt)
        return await self._settle(attempt, standing)

    async def _not_received(self, attempt: Attempt) -> Attempt:
        """The gateway never heard of it. Believed only once no request of ours can be under way any more and the key is
        barred against what was lost on its way; where it cannot be barred, what arrives late is looked for."""
        if attempt.silent_s < self._late_after_s:
            return attempt
        try:
            barred = await self._gateway.void(
                authorisation_of(attempt), gateway_key(attempt.payment_id, "void")
            )
        except GatewayFailed:
            return attempt
        watch_s = 0.0 if barred.final else self._watch_s
        await sql.declined(self._db, attempt, "not_received", watch_s=watch_s)
        return await self._again(attempt)

    async def _settle(self, attempt: Attempt, standing: Standing) -> Attempt:
        """Write down what stands at the gateway."""
        moved = False
        match standing.status:
            case "pending":
                return await self._unknown(attempt)
            case "authorised":
                moved = await sql.authorised(self._db, attempt, standing)
            case "requires_action":
                moved = await sql.challenged(self._db, attempt, standing)
            case "declined":
                moved = await sql.declined(
                    self._db, attempt, standing.decline_code or "card_declined", standing=standing
                )
            case "voided":
                await sql.voided(self._db, attempt)
            case "captured":
                await sql.authorised(self._db, attempt, standing)
                taken = standing.captured or attempt.amount
                await sql.captured(self._db, attempt, taken, standing.capture_reference)
        if moved:
            return settled(attempt, standing)
        current = await self._again(attempt)
        if current.state in ("declined", "voided") and standing.status in ("authorised", "requires_action"):
            await self._drop_late(current)
        return current

    async def _drop_late(self, attempt: Attempt) -> None:
        """Void what was set aside for an attempt that had been given up."""
        _log.warning("authorised_too_late", payment_id=str(attempt.payment_id))
        try:
            await self._gateway.void(authorisation_of(attempt), gateway_key(attempt.payment_id, "late"))
        except GatewayFailed:
            await sql.watch(self._db, attempt, self._watch_s)

    async def _unknown(self, attempt: Attempt) -> Attempt:
        if await sql.unknown(self._db, attempt):
            return msgspec.structs.replace(attempt, state="unknown")
        return await self._again(attempt)

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

    async def _capture(self, attempt: Attempt, keyed: Keyed | None) -> Attempt:
        if attempt.state in REFUNDABLE:
            return attempt
        if not await sql.want(self._db, attempt, "capture", self._late_after_s, keyed):
            attempt = await self._again(attempt)
            if attempt.state in REFUNDABLE:
                return attempt
            raise wrong_state(attempt)
        try:
            return await self._take(attempt)
        except Technical as failure:
            raise away() from failure

    async def _take(self, attempt: Attempt) -> Attempt:
        """Raises Technical, PaymentState."""
        key = gateway_key(attempt.payment_id, "capt")
        try:
            taken = await self._gateway.capture(authorisation_of(attempt), key, attempt.amount)
        except Refused as refusal:
            attempt = await self._synchronise(attempt)
            if attempt.state in REFUNDABLE:
                return attempt
            await sql.give_up_capture(self._db, attempt)
            raise wrong_state(attempt) from refusal
        await sql.captured(self._db, attempt, taken.amount, taken.reference)
        return await self._again(attempt)

    async def _undo(self, attempt: Attempt) -> Attempt:
        """Raises Unavailable."""
        try:
            for _ in range(_UNDO_STEPS_MAX):
                if attempt.state in CLOSED:
                    return attempt
                if attempt.state in REFUNDABLE:
                    return await self._refunds.refund_rest(attempt)
                attempt = await (self._undo_open(attempt) if attempt.open else self._void(attempt))
        except Technical as failure:
            raise away() from failure
        raise Unavailable("The payment keeps changing; try again in a moment.")

    async def _undo_open(self, attempt: Attempt) -> Attempt:
        standing = await self._gateway.find(authorisation_of(attempt))
        if standing is None or standing.status in ("pending", "requires_action"):
            return await self._void(attempt)
        return await self._settle(attempt, standing)

    async def _void(self, attempt: Attempt) -> Attempt:
        """Raises Technical, Unavailable."""
        if attempt.state == "authorised" and not await sql.want(
            self._db, attempt, "void", self._late_after_s
        ):
            return await self._again(attempt)
        key = gateway_key(attempt.payment_id, "void")
        try:
            voided = await self._gateway.void(authorisation_of(attempt), key)
        except Refused as refusal:
            attempt = await self._synchronise(attempt)
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
        await sql.voided(self._db, attempt, watch_s=0.0 if voided.final else self._watch_s)
        return await self._again(attempt)

    async def _synchronise(self, attempt: Attempt) -> Attempt:
        """Raises Technical."""
        standing = await self._gateway.find(authorisation_of(attempt))
        return await self._again(attempt) if standing is None else await self._settle(attempt, standing)

    async def _seal(self, order_id: OrderId) -> None:
        for _ in range(_SEAL_TRIES_MAX):
            if await sql.seal(self._db, order_id):
                return
        raise Unavailable("Attempts to pay for this order come and go; try again in a moment.")

    async def _go_on(self, attempt: Attempt) -> None:
        try:
            if attempt.open:
                await self._resolve(attempt)
            elif attempt.wanted == "capture":
                await self._take(attempt)
            elif attempt.wanted == "void":
                await self._void(attempt)
            elif attempt.state in CLOSED:
                await self._synchronise(attempt)
        except Technical as failure:
            raise away() from failure

    async def _again(self, attempt: Attempt) -> Attempt:
        """The attempt as it stands now."""
        return there(await sql.find_payment(self._db, attempt.payment_id))
