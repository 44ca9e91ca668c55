"""What orders offer: a checkout that becomes an order. The two shapes of a line: what was asked, what was agreed."""

from datetime import datetime
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from rickhouse.kernel.errors import Condition, Kind
from rickhouse.kernel.events import Event
from rickhouse.kernel.ids import CustomerId, OrderId, PaymentId, VariantId
from rickhouse.kernel.money import Money


class SaleForbidden(Condition, code="sale_forbidden", kind=Kind.FORBIDDEN, title="The law forbids this sale"):
    """The legal decision is deny; facts carry `decision_id` and `reasons`."""


class AgeNotProven(Condition, code="age_not_proven", kind=Kind.FORBIDDEN, title="Age not proven"):
    """The buyer is not shown to be of age. No money moved."""


class PaymentDeclined(Condition, code="payment_declined", kind=Kind.DECLINED, title="Payment declined"):
    """The gateway declined; facts carry `decline_code`. The checkout is open for another card until its hold ends."""


class CheckoutClosed(Condition, code="checkout_closed", kind=Kind.CONFLICT, title="The checkout is closed"):
    """The checkout is confirmed, cancelled or expired; facts carry `state`."""


class WrongState(Condition, code="order_state", kind=Kind.CONFLICT, title="The order is in another state"):
    """The order's state does not allow this; facts carry `state`."""


State = Literal[
    "opening",
    "open",
    "completing",
    "requires_action",
    "review",
    "confirmed",
    "cancelling",
    "cancelled",
    "expired",
    "refused",
]


class LineRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the buyer asked for."""

    variant_id: VariantId
    quantity: Annotated[int, Meta(ge=1, le=1_000)]


class OrderLine(msgspec.Struct, frozen=True):
    """What was agreed: price and tax as they stood when the checkout was opened."""

    variant_id: VariantId
    sku: str
    title: str
    spirit_class: str
    abv_bp: int
    size_ml: int
    quantity: int
    unit_price: Money
    subtotal: Money
    tax: Money
    total: Money


class OrderOpened(Event, frozen=True):
    """A buyer began to check out."""

    kind = "orders.order_opened"
    order_id: OrderId


class OrderMoved(Event, frozen=True):
    """The order entered another state; an order's events, in sequence, are its timeline."""

    kind = "orders.order_moved"
    order_id: OrderId
    after: State
    cause: str


class OrderConfirmed(Event, frozen=True):
    """The order is paid for and the bottles are the buyer's."""

    kind = "orders.order_confirmed"
    order_id: OrderId
    customer_id: CustomerId
    payment_id: PaymentId
    lines: tuple[OrderLine, ...]
    total: Money


class OrderCancelled(Event, frozen=True):
    """The order will not be fulfilled: the bottles are back and the buyer has paid nothing."""

    kind = "orders.order_cancelled"
    order_id: OrderId
    after: State
    cause: str


class OrderSummary(msgspec.Struct, frozen=True):
    """An order as another slice needs it."""

    order_id: OrderId
    state: State
    customer_id: CustomerId | None
    total: Money
    placed_at: datetime | None


class Orders(Protocol):
    """Orders as other slices see them."""

    async def get_summary(self, order_id: OrderId) -> OrderSummary:
        """The order's state and total. Raises NotFound."""
        ...
