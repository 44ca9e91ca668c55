"""The rules of an order: which state may follow which, and what a checkout costs.

Nothing here waits, looks at a clock, or knows where anything is stored.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any, Final

import msgspec

from rickhouse.catalog.contract import Offer
from rickhouse.compliance.contract import Decision, DecisionLine, Reason, Sale
from rickhouse.customers.contract import AgeProof
from rickhouse.kernel.errors import (
    Condition,
    CurrencyMismatch,
    FieldInvalid,
    KeyReused,
    Kind,
    StillRunning,
    condition_of,
)
from rickhouse.kernel.ids import AddressId, CustomerId, DecisionId, OrderId, PaymentId
from rickhouse.kernel.money import Money, allocate, total
from rickhouse.orders.contract import (
    CheckoutClosed,
    LineRequest,
    OrderLine,
    SaleForbidden,
    State,
    WrongState,
)

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    "opening": frozenset(("open", "refused", "cancelling")),
    "open": frozenset(("completing", "cancelling")),
    "completing": frozenset(("open", "requires_action", "review", "confirmed", "cancelling")),
    "requires_action": frozenset(("completing", "cancelling")),
    "review": frozenset(("open", "cancelling")),
    "confirmed": frozenset(("cancelling",)),
    "cancelling": frozenset(("cancelled", "expired", "refused")),
    "cancelled": frozenset(),
    "expired": frozenset(),
    "refused": frozenset(),
}
"""What may follow each state; a trigger of the table refuses anything else. Everything that undoes goes through
`cancelling`, so that undoing has one path."""

ENDED: Final[frozenset[State]] = frozenset(("cancelled", "expired", "refused"))
LEASED: Final[frozenset[State]] = frozenset(("opening", "completing", "cancelling"))
"""States in which a runner is at work, or has died at it."""

LATEST_DAY: Final = timezone(timedelta(hours=-10))
"""Hawaii: when the day has begun there, it has begun in every state, so nobody is taken for of age a day early."""

_KEY_STAYS: Final = frozenset((Kind.CONFLICT, Kind.FORBIDDEN))


class Legal(msgspec.Struct, frozen=True):
    """What the legal decision said, as far as the order needs it."""

    decision_id: DecisionId
    outcome: str
    day: date
    minimum_age: int
    pack_version: str
    reasons: tuple[Reason, ...] = ()


class Refusal(msgspec.Struct, frozen=True):
    """A condition as it is stored, to be raised again for the same request; `facts` are plain JSON."""

    code: str
    detail: str
    facts: dict[str, Any] = {}


class Quote(msgspec.Struct, frozen=True):
    """What the checkout costs. `total` is subtotal + tax + shipping, and each is the sum of its lines, to the cent."""

    lines: tuple[OrderLine, ...]
    subtotal: Money
    tax: Money
    shipping: Money
    total: Money


class Order(msgspec.Struct, frozen=True):
    """The row."""

    order_id: OrderId
    owner: str
    fingerprint: bytes
    state: State
    cause: str
    refusal: Refusal | None
    customer_id: CustomerId | None
    address_id: AddressId | None
    destination: str
    origins: tuple[str, ...]
    lines: tuple[OrderLine, ...]
    subtotal: Money
    tax: Money
    shipping: Money
    total: Money
    hold_expires_at: datetime | None
    legal: Legal | None
    age_proof: AgeProof | None
    cleared: frozenset[str]
    attempt: int
    payment_token: str | None
    payment_id: PaymentId | None
    action_url: str | None
    lease_until: datetime | None
    fence: int
    created_at: datetime
    placed_at: datetime | None


class Request(msgspec.Struct, frozen=True):
    """A request under a key, as it is stored."""

    kind: str
    fingerprint: bytes
    attempt: int
    refusal: Refusal | None


class TimelineRow(msgspec.Struct, frozen=True):
    """One event of an order."""

    kind: str
    body: str
    at: datetime


def key_stays(kind: Kind) -> bool:
    """Whether a refusal of this kind is the answer for good. After bad input or an outage nothing was created, and
    the same key may be used again."""
    return kind in _KEY_STAYS


def sale_day(moment: datetime) -> date:
    """The day on which the law looks at a sale: the date in the last American time zone to reach it."""
    return moment.astimezone(LATEST_DAY).date()


def quote(
    requests: tuple[LineRequest, ...],
    offers: tuple[Offer, ...],
    *,
    currency: str,
    tax_bp: int,
    shipping: Money,
) -> Quote:
    """Prices of the lines in the order asked, with tax at `tax_bp` basis points of the subtotal.

    The tax is computed once on the whole, rounded half up, and spread over the lines by their subtotals, so that the
    lines add up to the order. Raises CurrencyMismatch, FieldInvalid (no lines).
    """
    if not requests:
        raise FieldInvalid("lines is empty: order at least one bottle.", field="lines", rule="at_least_one")
    for offer in offers:
        if offer.price.currency != currency:
            raise CurrencyMismatch(
                f"{offer.sku} is priced in {offer.price.currency}; this checkout is in {currency}."
            )
    subtotals = tuple(offer.price * request.quantity for request, offer in zip(requests, offers, strict=True))
    subtotal = total(subtotals, currency)
    tax = Money((subtotal.minor * tax_bp + 5_000) // 10_000, currency)
    taxes = allocate(tax, tuple(line.minor for line in subtotals))
    lines = tuple(
        OrderLine(
            variant_id=offer.variant_id,
            sku=offer.sku,
            title=offer.title,
            spirit_class=offer.spirit_class,
            abv_bp=offer.abv_bp,
            size_ml=offer.size_ml,
            quantity=request.quantity,
            unit_price=offer.price,
            subtotal=line_subtotal,
            tax=line_tax,
            total=line_subtotal + line_tax,
        )
        for request, offer, line_subtotal, line_tax in zip(requests, offers, subtotals, taxes, strict=True)
    )
    return Quote(lines, subtotal, tax, shipping, subtotal + tax + shipping)


def sale_of(
    order_id: OrderId,
    customer_id: CustomerId,
    origins: tuple[str, ...],
    destination: str,
    lines: tuple[OrderLine, ...],
    day: date,
) -> Sale:
    """The sale as the law sees it: what, from where, to where, when; the buyer by id alone."""
    return Sale(
        order_id=order_id,
        customer_id=customer_id,
        origins=origins,
        destination=destination,
        lines=tuple(
            DecisionLine(line.variant_id, line.spirit_class, line.abv_bp, line.size_ml, line.quantity)
            for line in lines
        ),
        day=day,
    )


def legal_of(decision: Decision) -> Legal:
    """The part of a decision that the order keeps."""
    return Legal(
        decision_id=decision.decision_id,
        outcome=decision.outcome,
        day=decision.day,
        minimum_age=decision.minimum_age,
        pack_version=decision.pack_version,
        reasons=decision.reasons,
    )


def same_grounds(one: Legal | None, other: Legal) -> bool:
    """Whether two decisions ask a human the same: the same rules spoke, of the same pack."""
    if one is None or one.pack_version != other.pack_version:
        return False
    return {reason.code for reason in one.reasons} == {reason.code for reason in other.reasons}


def ends_as(cause: str, *, placed: bool) -> State:
    """What an undone order is called in the end. The cause of one that was `placed` is in a person's own words."""
    if placed:
        return "cancelled"
    if cause == "expired":
        return "expired"
    return "refused" if cause == "refused" else "cancelled"


def forbidden(legal: Legal) -> SaleForbidden:
    """The refusal of a sale that the law denies, with every reason against it."""
    against = [reason for reason in legal.reasons if reason.outcome == "deny"]
    return SaleForbidden(
        "This sale is not lawful: " + " ".join(reason.detail for reason in against),
        decision_id=str(legal.decision_id),
        reasons=[{"code": reason.code, "detail": reason.detail} for reason in against],
    )


def again(refusal: Refusal) -> Condition:
    """The stored refusal, as it was first raised."""
    condition = condition_of(refusal.code, refusal.detail, refusal.facts)
    return condition or WrongState(refusal.detail, state="refused")


def key_reused() -> KeyReused:
    """The refusal of a key that came before with another request."""
    return KeyReused(
        "This Idempotency-Key came before with another request; choose a new key for a new request."
    )


def not_completable(order: Order) -> Condition:
    """Why an order in this state cannot be completed."""
    if order.state in ("opening", "completing", "cancelling"):
        return StillRunning(f"The checkout is {order.state}; ask again in a moment.")
    if order.state == "open":
        return CheckoutClosed("Too many payment attempts; open a new checkout.", state=order.state)
    if order.state == "review":
        return CheckoutClosed(
            "A person has to look at this order first; ask for it later.", state=order.state
        )
    return CheckoutClosed(f"The checkout is {order.state}.", state=order.state)
