"""Checkout: from a basket to a confirmed order. `_run` is the saga; it reads top to bottom and can be run again.

Every step is keyed by the order and idempotent in the slice that owns it. Undoing stands in `cancel.py`.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final, NamedTuple

import msgspec

from rickhouse.catalog.contract import Catalog, Offer
from rickhouse.compliance.contract import Compliance
from rickhouse.customers.contract import AgeProof, Customers, Person, Registered
from rickhouse.inventory.contract import Hold, HoldLapsed, HoldLine, Inventory
from rickhouse.kernel.clock import Clock, now
from rickhouse.kernel.errors import (
    Condition,
    CurrencyMismatch,
    Kind,
    NotFound,
    StillRunning,
)
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import CheckoutId, CustomerId, OrderId
from rickhouse.kernel.money import Money
from rickhouse.orders.cancel import CancelService
from rickhouse.orders.contract import (
    AgeNotProven,
    LineRequest,
    OrderConfirmed,
    OrderMoved,
    OrderOpened,
    PaymentDeclined,
    State,
    WrongState,
)
from rickhouse.orders.model import (
    ENDED,
    Legal,
    Order,
    Quote,
    Refusal,
    again,
    forbidden,
    key_reused,
    key_stays,
    legal_of,
    not_completable,
    quote,
    sale_day,
    sale_of,
    same_grounds,
)
from rickhouse.orders.sql import moves, reads
from rickhouse.payments.contract import ATTEMPTS_MAX, Payment, Payments, refuse_card_number
from rickhouse.platform.db import Database
from rickhouse.platform.saga import LeaseLost, await_answer, held

_RESOLVE_AGAIN_S: Final = 2.0
_RETRYABLE: Final = (Kind.UNAVAILABLE,)

LEGAL_REVIEW: Final = "legal_review"
AGE_REVIEW: Final = "age_review"
"""Why an order waits for a human; settling one does not settle the other."""


class Terms(msgspec.Struct, frozen=True):
    """How this shop checks out.

    `tax_bp` maps an ISO 3166-2 region to basis points of the subtotal; a region without an entry pays no tax.
    """

    currency: str = "USD"
    hold_ttl_s: int = 900
    review_hold_s: int = 86_400
    lease_s: float = 15.0
    payment_window_s: int = 30
    patience_s: float = 8.0
    shipping_minor: int = 0
    tax_bp: dict[str, int] = {}


class Neighbours(NamedTuple):
    """The slices that a checkout needs, each behind its contract."""

    catalog: Catalog
    inventory: Inventory
    customers: Customers
    compliance: Compliance
    payments: Payments


class _Pause(Exception):
    """Completing cannot go on by itself; the order rests in `state` until somebody acts."""

    def __init__(self, state: State, cause: str, *, action_url: str | None = None) -> None:
        super().__init__(cause)
        self.state: State = state
        self.cause = cause
        self.action_url = action_url


class CheckoutService:
    """Opens checkouts and completes them."""

    def __init__(
        self,
        db: Database,
        *,
        neighbours: Neighbours,
        cancel: CancelService,
        terms: Terms,
        clock: Clock = now,
    ) -> None:
        self._db = db
        self._catalog = neighbours.catalog
        self._inventory = neighbours.inventory
        self._customers = neighbours.customers
        self._compliance = neighbours.compliance
        self._payments = neighbours.payments
        self._cancel = cancel
        self._terms = terms
        self._clock = clock

    async def open(
        self, keyed: Keyed, lines: tuple[LineRequest, ...], person: Person, currency: str | None = None
    ) -> Order:
        """Fix the prices, keep the bottles aside, ask the law; the checkout is then `open`.

        The same key and body give the same order, also at once. Raises VariantNotFound, NotForSale, CurrencyMismatch,
        FieldInvalid, PersonInvalid, StockShort, LimitReached, SaleForbidden, KeyReused, StillRunning, Unavailable.
        """
        if currency not in (None, self._terms.currency):
            raise CurrencyMismatch(
                f"This shop sells in {self._terms.currency}.", currency=self._terms.currency
            )
        try:
            offers = await self._catalog.offers(tuple(line.variant_id for line in lines), self._clock())
        except Condition:
            # A repeat gets its first answer even when the bottle has left the shelf since.
            if await reads.find_by_key(self._db, keyed.owner, keyed.key) is None:
                raise
            return await self._same_opening(keyed)
        order_id = OrderId.new()
        destination = person.address.region
        agreed = self._quote(lines, offers, destination)
        fresh = await moves.open_order(
            self._db,
            order_id,
            keyed=keyed,
            destination=destination,
            quote=agreed,
            lease_s=self._terms.lease_s,
        )
        if not fresh:
            return await self._same_opening(keyed)
        try:
            registered = await self._customers.register(order_id, person)
        except Condition as refusal:
            await self._refuse_opening(order_id, refusal, None)
            raise
        return await self._hold(order_id, registered, _hold_lines(lines, offers), agreed)

    async def _hold(
        self, order_id: OrderId, registered: Registered, lines: tuple[HoldLine, ...], agreed: Quote
    ) -> Order:
        """Keep the bottles aside and ask the law; the checkout is then open."""
        hold: Hold | None = None
        try:
            hold = await self._inventory.hold(order_id, registered.customer_id, lines, self._terms.hold_ttl_s)
            origins = _origins(hold)
            sale = sale_of(
                order_id, registered.customer_id, origins, registered.region, agreed.lines, self._today()
            )
            legal = legal_of(await self._compliance.decide(sale))
            if legal.outcome == "deny":
                raise forbidden(legal)
            return held(
                await moves.opened(
                    self._db,
                    order_id,
                    1,
                    registered=registered,
                    origins=origins,
                    hold_expires_at=hold.expires_at,
                    legal=legal,
                    event=OrderOpened(order_id=order_id),
                )
            )
        except LeaseLost:
            raise
        except Condition as refusal:
            await self._refuse_opening(order_id, refusal, hold)
            raise

    async def complete(self, keyed: Keyed, checkout_id: CheckoutId, token: str) -> Order:
        """Run the saga with the gateway's payment `token`.

        Answers the order: `confirmed`, or resting in `requires_action`, `review` or (the bank has not answered yet)
        `completing`. Raises NotFound, PaymentDeclined (still open for another card), SaleForbidden, AgeNotProven,
        HoldLapsed, CheckoutClosed, CardNumberRefused, KeyReused, StillRunning, Unavailable.
        """
        refuse_card_number(token)
        order_id = OrderId(checkout_id.uuid)
        claimed = await moves.claim(
            self._db,
            order_id,
            keyed=keyed,
            token=token,
            lease_s=self._terms.lease_s,
            event=OrderMoved(order_id=order_id, after="completing", cause=""),
            attempts_max=ATTEMPTS_MAX,
        )
        if claimed is None:
            return await self._same_completion(keyed, order_id)
        try:
            await self._keep_hold(claimed)
        except HoldLapsed as lapsed:
            await self._cancel.fail(claimed, lapsed)
            raise
        return await self.run(claimed)

    async def run(self, order: Order) -> Order:
        """Take a leased order through the saga to its next rest, and write down how it came out."""
        try:
            try:
                return await self._run(order)
            except _Pause as pause:
                return await self._rest(order, pause)
        except LeaseLost:
            raise
        except PaymentDeclined as declined:
            await self._reopen(order, declined)
            raise
        except Condition as refusal:
            if refusal.kind in _RETRYABLE:
                await moves.retry_at(self._db, order.order_id, order.fence, _RESOLVE_AGAIN_S)
                raise
            await self._cancel.fail(order, refusal)
            raise

    async def _run(self, order: Order) -> Order:
        """Hold → legal decision → age proof → authorise → commit → confirm."""
        await self._require_hold(order)
        legal = await self._decide(order)
        proof = await self._prove_age(order, legal.minimum_age)
        payment = await self._authorise(order)
        await self._renew_lease(order)
        await self._inventory.commit(order.order_id)
        return await self._confirm(order, proof, payment)

    async def _keep_hold(self, order: Order) -> None:
        """Let the bottles stay aside while the bank thinks: once for each request, so that an order which cannot go on
        does not keep them for ever."""
        if self._remaining(order) > timedelta(seconds=self._terms.payment_window_s):
            return
        hold = await self._inventory.extend(order.order_id, self._terms.payment_window_s)
        await moves.keep_hold(self._db, order.order_id, order.fence, hold.expires_at)

    async def _require_hold(self, order: Order) -> None:
        """An order whose time is over ends here, unless its bottles are sold already. Raises HoldLapsed."""
        if self._remaining(order) <= timedelta(0):
            await self._inventory.extend(order.order_id, self._terms.payment_window_s)

    async def _renew_lease(self, order: Order) -> None:
        """Before money or bottles move: whoever has slept through half of the lease asks whether it is still his.
        Raises LeaseLost."""
        half = timedelta(seconds=self._terms.lease_s / 2)
        if order.lease_until is None or order.lease_until - self._clock() < half:
            held(await moves.renew_lease(self._db, order.order_id, order.fence, self._terms.lease_s))

    def _remaining(self, order: Order) -> timedelta:
        return timedelta(0) if order.hold_expires_at is None else order.hold_expires_at - self._clock()

    async def _decide(self, order: Order) -> Legal:
        """The decision of the opening stands for its day; after that the law is asked again, and what a human has
        settled counts only while it rests on the same grounds."""
        legal = order.legal
        if legal is None or legal.day != self._today():
            decision = await self._compliance.decide(
                sale_of(
                    order.order_id,
                    _customer(order),
                    order.origins,
                    order.destination,
                    order.lines,
                    self._today(),
                )
            )
            legal, asked_before = legal_of(decision), order.legal
            if not same_grounds(asked_before, legal):
                order = msgspec.structs.replace(order, cleared=order.cleared - {LEGAL_REVIEW})
            await moves.decided(self._db, order.order_id, order.fence, legal, order.cleared)
        if legal.outcome == "deny":
            raise forbidden(legal)
        if legal.outcome == "review" and LEGAL_REVIEW not in order.cleared:
            raise _Pause("review", LEGAL_REVIEW)
        return legal

    async def _prove_age(self, order: Order, minimum_age: int) -> AgeProof:
        proof = await self._customers.prove_age(_customer(order), minimum_age)
        if proof.outcome == "refused":
            raise AgeNotProven(
                f"The buyer is not shown to be {minimum_age} or older; the bottles went back on sale.",
                minimum_age=minimum_age,
            )
        if proof.outcome == "review" and AGE_REVIEW not in order.cleared:
            raise _Pause("review", AGE_REVIEW)
        return proof

    async def _authorise(self, order: Order) -> Payment:
        if order.payment_token is None:
            raise WrongState("No payment is under way.", state=order.state)
        await self._renew_lease(order)
        if order.attempt > 1:
            await self._payments.undo(order.order_id, before_attempt=order.attempt)
        payment = await self._payments.authorise(
            order.order_id, order.attempt, order.total, order.payment_token
        )
        match payment.state:
            case "authorised" | "captured":
                return payment
            case "requires_action":
                raise _Pause("requires_action", "payment_action", action_url=payment.action_url)
            case "created" | "unknown":
                raise _Pause("completing", "payment_unknown")
            case "declined" | "voided" | "refunded" | "partly_refunded":
                raise PaymentDeclined(
                    "The bank declined; pay with another card before the hold ends.",
                    decline_code=payment.decline_code or payment.state,
                )

    async def _confirm(self, order: Order, proof: AgeProof, payment: Payment) -> Order:
        event = OrderConfirmed(
            order_id=order.order_id,
            customer_id=_customer(order),
            payment_id=payment.payment_id,
            lines=order.lines,
            total=order.total,
        )
        return held(
            await moves.confirm(
                self._db,
                order.order_id,
                order.fence,
                payment_id=payment.payment_id,
                age_proof=proof,
                event=event,
            )
        )

    async def _rest(self, order: Order, pause: _Pause) -> Order:
        if pause.state == "completing":
            await moves.retry_at(self._db, order.order_id, order.fence, _RESOLVE_AGAIN_S)
            return order
        hold_expires_at = None
        if pause.state == "review":
            hold = await self._inventory.extend(order.order_id, self._terms.review_hold_s)
            hold_expires_at = hold.expires_at
        rested = await moves.pause(
            self._db,
            order.order_id,
            order.fence,
            state=pause.state,
            cause=pause.cause,
            action_url=pause.action_url,
            hold_expires_at=hold_expires_at,
            event=OrderMoved(order_id=order.order_id, after=pause.state, cause=pause.cause),
        )
        if rested is None:
            raise HoldLapsed(
                "The bottles went back on sale before the payment could go on; open a new checkout."
            )
        return rested

    async def _reopen(self, order: Order, declined: PaymentDeclined) -> None:
        refusal = Refusal(declined.code, declined.detail, declined.facts)
        event = OrderMoved(order_id=order.order_id, after="open", cause=declined.code)
        reopened = await moves.reopen(self._db, order.order_id, order.fence, refusal=refusal, event=event)
        if reopened is None:
            await self._cancel.fail(order, declined)

    async def _refuse_opening(self, order_id: OrderId, refusal: Condition, hold: Hold | None) -> None:
        """Leave nothing aside, and the answer on file where it is the answer for good."""
        interrupted = refusal.kind in _RETRYABLE
        if hold is not None and not interrupted:
            await self._inventory.release(order_id)
        state: State = "cancelling" if interrupted else "refused"
        cause = "interrupted" if interrupted else "refused"
        await moves.refuse_opening(
            self._db,
            order_id,
            1,
            state=state,
            cause=cause,
            refusal=Refusal(refusal.code, refusal.detail, refusal.facts),
            keep_key=key_stays(refusal.kind),
            event=OrderMoved(order_id=order_id, after=state, cause=refusal.code),
        )

    async def _same_opening(self, keyed: Keyed) -> Order:
        """The answer of the request that came first with this key."""

        async def ask() -> Order | None:
            order = await reads.find_by_key(self._db, keyed.owner, keyed.key)
            if order is not None and order.fingerprint != keyed.fingerprint:
                raise key_reused()
            return None if order is None or order.state == "opening" else order

        order = await await_answer(ask, patience_s=self._terms.patience_s)
        if order is None:
            raise StillRunning("The first request with this key is still running; ask again in a moment.")
        if order.refusal is not None and order.state == "refused":
            raise again(order.refusal)
        return order

    async def _same_completion(self, keyed: Keyed, order_id: OrderId) -> Order:
        """The answer of the request that came first with this key, or why the order cannot be completed."""
        order = await reads.find(self._db, order_id)
        if order is None or order.owner != keyed.owner:
            raise NotFound("There is no such checkout, or it is not yours.")
        request = await reads.find_request(self._db, order_id, keyed.key)
        if request is None:
            raise not_completable(order)
        if request.fingerprint != keyed.fingerprint or request.kind != "complete":
            raise key_reused()

        async def ask() -> Order | None:
            # The order first: a refusal is written together with the rest that it leads to, so it is seen too.
            found = await reads.find(self._db, order_id)
            asked = await reads.find_request(self._db, order_id, keyed.key)
            if asked is not None and asked.refusal is not None:
                raise again(asked.refusal)
            return None if found is None or found.state in ("completing", "cancelling") else found

        answer = await await_answer(ask, patience_s=self._terms.patience_s)
        if answer is None:
            raise StillRunning("The first request with this key is still running; ask again in a moment.")
        if answer.state in ENDED and answer.placed_at is None:
            raise not_completable(answer)
        return answer

    def _today(self) -> date:
        return sale_day(self._clock())

    def _quote(self, lines: tuple[LineRequest, ...], offers: tuple[Offer, ...], destination: str) -> Quote:
        return quote(
            lines,
            offers,
            currency=self._terms.currency,
            tax_bp=self._terms.tax_bp.get(destination, 0),
            shipping=Money(self._terms.shipping_minor, self._terms.currency),
        )


def _customer(order: Order) -> CustomerId:
    if order.customer_id is None:
        raise WrongState("The checkout was never opened.", state=order.state)
    return order.customer_id


def _hold_lines(lines: tuple[LineRequest, ...], offers: tuple[Offer, ...]) -> tuple[HoldLine, ...]:
    return tuple(
        HoldLine(line.variant_id, line.quantity, offer.purchase_limit)
        for line, offer in zip(lines, offers, strict=True)
    )


def _origins(hold: Hold) -> tuple[str, ...]:
    return tuple(sorted({allocation.region for allocation in hold.allocations}))
