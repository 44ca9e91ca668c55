"""What the HTTP API takes and gives for checkouts and orders, and examples of it. Rules belong in `model.py`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from rickhouse.compliance.contract import Reason
from rickhouse.customers.contract import Address, AgeProof, Person
from rickhouse.kernel.ids import CheckoutId, CustomerId, DecisionId, OrderId, PaymentId, VariantId
from rickhouse.kernel.money import Money
from rickhouse.orders.contract import LineRequest, OrderLine, State
from rickhouse.orders.model import Legal, Order
from rickhouse.orders.service import TimelineEntry

Line = Annotated[str, Meta(max_length=200)]
Code = Annotated[str, Meta(max_length=20)]


class Destination(Address, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the parcel goes. `country` is ISO 3166-1 alpha-2; `region` is ISO 3166-2 (`US-ND`)."""

    line1: Line
    line2: Line = ""
    city: Line
    region: Code
    postal_code: Code
    country: Code


class Buyer(Person, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who buys. `phone` is E.164 or empty."""

    name: Line
    email: Annotated[str, Meta(max_length=254)]
    phone: Code = ""
    address: Destination


class OpenCheckout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A basket and its buyer. `currency`, where given, must be the shop's."""

    lines: Annotated[tuple[LineRequest, ...], Meta(min_length=1, max_length=50)]
    customer: Buyer
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")] | None = None


class CompleteCheckout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The gateway's token of the buyer's card; never a card number."""

    payment_token: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[!-~]+\Z")]


class ReviewCheckout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A human's answer, with a note of what was checked."""

    approve: bool
    note: Annotated[str, Meta(min_length=1, max_length=1000)]


CancelReason = Literal[
    "buyer_asked", "out_of_stock", "cannot_deliver", "suspected_fraud", "entered_by_mistake", "other"
]
"""Why an order is cancelled: chosen, not written, because the timeline is kept for ever and must name nobody."""


class CancelOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why the order is cancelled; shown in its timeline."""

    reason: CancelReason


class Action(msgspec.Struct, frozen=True):
    """What the buyer has to do: open `url` (3-D Secure), then complete again with the same token."""

    type: str
    url: str


class Checkout(msgspec.Struct, frozen=True):
    """A checkout. `hold_expires_at` is when unsold bottles go back on sale; `order_id` is set once it is confirmed."""

    checkout_id: CheckoutId
    state: State
    cause: str
    lines: tuple[OrderLine, ...]
    subtotal: Money
    tax: Money
    shipping: Money
    total: Money
    destination: str
    hold_expires_at: datetime | None
    legal: Legal | None
    action: Action | None
    order_id: OrderId | None
    created_at: datetime


class OrderResource(msgspec.Struct, frozen=True):
    """An order. `placed_at` is when it was confirmed."""

    order_id: OrderId
    checkout_id: CheckoutId
    state: State
    cause: str
    customer_id: CustomerId | None
    lines: tuple[OrderLine, ...]
    subtotal: Money
    tax: Money
    shipping: Money
    total: Money
    destination: str
    age_proof: AgeProof | None
    payment_id: PaymentId | None
    created_at: datetime
    placed_at: datetime | None


class Completion(msgspec.Struct, frozen=True):
    """How completing came out: `confirmed` with the order, or what is awaited (`requires_action`, `review`,
    `completing`: the bank has not answered yet)."""

    status: State
    order: OrderResource | None
    action: Action | None


class Timeline(msgspec.Struct, frozen=True):
    """Every state that the order entered, first to last."""

    entries: tuple[TimelineEntry, ...]


def checkout_of(order: Order) -> Checkout:
    """The row as its buyer sees it while buying."""
    return Checkout(
        checkout_id=CheckoutId(order.order_id.uuid),
        state=order.state,
        cause=order.cause,
        lines=order.lines,
        subtotal=order.subtotal,
        tax=order.tax,
        shipping=order.shipping,
        total=order.total,
        destination=order.destination,
        hold_expires_at=order.hold_expires_at,
        legal=order.legal,
        action=_action(order),
        order_id=order.order_id if order.placed_at is not None else None,
        created_at=order.created_at,
    )


def order_of(order: Order) -> OrderResource:
    """The row once it is placed."""
    return OrderResource(
        order_id=order.order_id,
        checkout_id=CheckoutId(order.order_id.uuid),
        state=order.state,
        cause=order.cause,
        customer_id=order.customer_id,
        lines=order.lines,
        subtotal=order.subtotal,
        tax=order.tax,
        shipping=order.shipping,
        total=order.total,
        destination=order.destination,
        age_proof=order.age_proof,
        payment_id=order.payment_id,
        created_at=order.created_at,
        placed_at=order.placed_at,
    )


def completion_of(order: Order) -> Completion:
    """The answer to completing."""
    return Completion(
        status=order.state,
        order=order_of(order) if order.placed_at is not None else None,
        action=_action(order),
    )


def _action(order: Order) -> Action | None:
    return None if order.action_url is None else Action("redirect", order.action_url)


_ID: Final = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
_MOMENT: Final = datetime(2026, 11, 23, 17, 30, tzinfo=UTC)
_LINE: Final = OrderLine(
    variant_id=VariantId(_ID),
    sku="BSB-0750",
    title="Badlands Straight Bourbon, 750 ml",
    spirit_class="whiskey",
    abv_bp=4_600,
    size_ml=750,
    quantity=1,
    unit_price=Money(8_900, "USD"),
    subtotal=Money(8_900, "USD"),
    tax=Money(0, "USD"),
    total=Money(8_900, "USD"),
)
_EXAMPLE: Final = Order(
    order_id=OrderId(_ID),
    owner="shop",
    fingerprint=b"",
    state="open",
    cause="",
    refusal=None,
    customer_id=CustomerId(_ID),
    address_id=None,
    destination="US-ND",
    origins=("US-ND",),
    lines=(_LINE,),
    subtotal=_LINE.subtotal,
    tax=_LINE.tax,
    shipping=Money(0, "USD"),
    total=_LINE.total,
    hold_expires_at=datetime(2026, 11, 23, 17, 45, tzinfo=UTC),
    legal=Legal(
        DecisionId(_ID),
        "allow",
        date(2026, 11, 23),
        21,
        "2026.11.23",
        (Reason("in_state_shipping_allowed", "allow", "North Dakota lets its distilleries ship.", ()),),
    ),
    age_proof=None,
    cleared=frozenset(),
    attempt=0,
    payment_token=None,
    payment_id=None,
    action_url=None,
    lease_until=None,
    fence=1,
    created_at=_MOMENT,
    placed_at=None,
)
_PLACED: Final = msgspec.structs.replace(
    _EXAMPLE,
    state="confirmed",
    age_proof=AgeProof("proven", 21, "bur_4c1d"),
    payment_id=PaymentId(_ID),
    placed_at=_MOMENT,
)

CHECKOUT_EXAMPLE: Final = checkout_of(_EXAMPLE)
ORDER_EXAMPLE: Final = order_of(_PLACED)
COMPLETION_EXAMPLE: Final = completion_of(_PLACED)
AWAITING_EXAMPLE: Final = completion_of(
    msgspec.structs.replace(_EXAMPLE, state="requires_action", action_url="https://bank.example/3ds/1")
)
OPEN_EXAMPLE: Final = OpenCheckout(
    lines=(LineRequest(VariantId(_ID), 1),),
    customer=Buyer(
        name="Ada Example",
        email="ada@example.com",
        phone="+17015550123",
        birth_date=date(1985, 4, 12),
        address=Destination(
            line1="1 Main Street", city="Medora", region="US-ND", postal_code="58645", country="US"
        ),
    ),
)
TIMELINE_EXAMPLE: Final = Timeline(
    (TimelineEntry("opening", "", _MOMENT), TimelineEntry("open", "", _MOMENT))
)
COMPLETE_EXAMPLE: Final = CompleteCheckout(payment_token="tok_approve")  # noqa: S106  # a simulator's public token
