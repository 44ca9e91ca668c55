"""What payments offers: one attempt after another to pay for an order, each moved at most once."""

from typing import Literal, Protocol

import msgspec

from rickhouse.kernel.errors import Condition, Kind
from rickhouse.kernel.events import Event
from rickhouse.kernel.ids import OrderId, PaymentId, RefundId
from rickhouse.kernel.money import Money


class PaymentNotFound(Condition, code="payment_not_found", kind=Kind.NOT_FOUND, title="No such payment"):
    """The order has no such payment attempt."""


class PaymentState(
    Condition, code="payment_state", kind=Kind.CONFLICT, title="The payment is in another state"
):
    """The attempt is not in a state that allows this; facts carry `state`."""


class RefundTooLarge(Condition, code="refund_too_large", kind=Kind.UNPROCESSABLE, title="Refund too large"):
    """More would be given back than was captured; facts carry `refundable_minor`."""


AttemptState = Literal[
    "created",
    "authorised",
    "requires_action",
    "declined",
    "unknown",
    "captured",
    "voided",
    "refunded",
    "partly_refunded",
]


class Payment(msgspec.Struct, frozen=True):
    """One attempt. `decline_code` is ours, not a vendor's; `action_url` is where the buyer proves himself (3-D Secure)."""

    payment_id: PaymentId
    order_id: OrderId
    attempt: int
    state: AttemptState
    amount: Money
    captured: Money
    refunded: Money
    decline_code: str | None = None
    action_url: str | None = None
    card_brand: str | None = None
    card_last4: str | None = None


class Refund(msgspec.Struct, frozen=True):
    """Money given back, once per key."""

    refund_id: RefundId
    payment_id: PaymentId
    amount: Money
    state: Literal["pending", "refunded", "failed"]


class PaymentAuthorised(Event, frozen=True):
    """A gateway set the money aside."""

    kind = "payments.payment_authorised"
    payment_id: PaymentId
    order_id: OrderId
    amount: Money


class PaymentVoided(Event, frozen=True):
    """Money that was set aside is free again."""

    kind = "payments.payment_voided"
    payment_id: PaymentId
    order_id: OrderId


class PaymentCaptured(Event, frozen=True):
    """Money was taken."""

    kind = "payments.payment_captured"
    payment_id: PaymentId
    order_id: OrderId
    amount: Money


class PaymentRefunded(Event, frozen=True):
    """Money was given back."""

    kind = "payments.payment_refunded"
    payment_id: PaymentId
    order_id: OrderId
    amount: Money


class Payments(Protocol):
    """Payments as the order sees them. Every method can be repeated; money moves once per order and attempt."""

    async def authorise(self, order_id: OrderId, attempt: int, amount: Money, token: str) -> Payment:
        """Set `amount` aside on the gateway's payment `token`.

        The attempt row is stored before the gateway is asked. A repeated call never authorises twice: it answers with
        the state of the attempt, after asking the gateway if that state is `created`, `unknown` or `requires_action`.
        A technical failure leaves `unknown`, never `declined`.
        """
        ...

    async def resolve(self, order_id: OrderId, attempt: int) -> Payment:
        """Ask the gateway what became of an attempt whose outcome is open; others are answered as they stand.

        An attempt that the gateway has never heard of becomes `declined` (`not_received`), and a late arrival
        under the same key is refused by voiding it. Raises PaymentNotFound.
        """
        ...

    async def undo(self, order_id: OrderId) -> tuple[Payment, ...]:
        """Void what is authorised and refund what is captured, of every attempt of the order, so that the buyer has
        paid nothing. Attempts still open are resolved first. Raises Unavailable when the gateway cannot be asked;
        then call again."""
        ...

    async def capture(self, order_id: OrderId) -> Payment:
        """Take the authorised money. Raises PaymentNotFound, PaymentState, Unavailable."""
        ...

    async def refund(self, order_id: OrderId, amount: Money, key: str) -> Refund:
        """Give captured money back, once per `key`. Raises PaymentNotFound, PaymentState, RefundTooLarge, Unavailable."""
        ...

    async def list_attempts(self, order_id: OrderId) -> tuple[Payment, ...]:
        """Every attempt of the order, first to last (few: an order allows at most 20)."""
        ...
