"""What payments offers: one attempt after another to pay for an order, each moved at most once."""

from typing import Literal, Protocol

import msgspec

from rickhouse.kernel.errors import Condition, Kind
from rickhouse.kernel.events import Event
from rickhouse.kernel.ids import OrderId, PaymentId, RefundId
from rickhouse.kernel.money import Money

ATTEMPTS_MAX = 20
"""Most attempts to pay that one order is allowed."""

CARD_DIGITS_MIN, CARD_DIGITS_MAX = 13, 19
"""Lengths of a primary account number that cards of today carry (ISO/IEC 7812 allows 8 to 19 digits)."""


class PaymentNotFound(Condition, code="payment_not_found", kind=Kind.NOT_FOUND, title="No such payment"):
    """The order has no such payment attempt."""


class PaymentState(
    Condition, code="payment_state", kind=Kind.CONFLICT, title="The payment is in another state"
):
    """The attempt is not in a state that allows this; facts carry `state`."""


class RefundTooLarge(Condition, code="refund_too_large", kind=Kind.UNPROCESSABLE, title="Refund too large"):
    """More would be given back than was captured; facts carry `refundable_minor`."""


class CardNumberRefused(
    Condition, code="card_number_refused", kind=Kind.INVALID, title="Card numbers are not taken here"
):
    """A card number came where a gateway's token belongs. It was not kept."""


def refuse_card_number(token: str) -> None:
    """Whoever takes a payment token calls this before keeping it anywhere. Raises CardNumberRefused.

    A card number is 13 to 19 digits whose last is the Luhn check digit (ISO/IEC 7812-1, annex B), however grouped.
    """
    digits = token.replace(" ", "").replace("-", "")
    if not (CARD_DIGITS_MIN <= len(digits) <= CARD_DIGITS_MAX and digits.isascii() and digits.isdigit()):
        return
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    if (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0:
        raise CardNumberRefused(
            "This looks like a card number. Send the token that the payment gateway gave for the card instead."
        )


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
"""`created` and `unknown` both mean that the outcome is open: ask again, and do nothing that rests on it."""


class Payment(msgspec.Struct, frozen=True):
    """One attempt. `decline_code` is ours, not a vendor's; `action_url` is where 3-D Secure sends the buyer."""

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


RefundState = Literal["pending", "refunded", "failed"]


class Refund(msgspec.Struct, frozen=True):
    """Money given back, once per key. `pending` is asked for and goes on by itself; `failed` gave nothing back."""

    refund_id: RefundId
    payment_id: PaymentId
    amount: Money
    state: RefundState


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
        the state of the attempt, after asking the gateway if that state is `created`, `unknown` or `requires_action`;
        what the gateway never heard of is sent again under the same key, a few times at most, with the first `token`.
        A technical failure leaves `unknown`, never `declined`.

        An order has at most one attempt that is open or paid, and none after `undo`. Raises CardNumberRefused,
        FieldInvalid, KeyReused (the attempt was for another amount), PaymentState (another attempt is in the way, or
        the order was undone).
        """
        ...

    async def resolve(self, order_id: OrderId, attempt: int) -> Payment:
        """Ask the gateway what became of an attempt whose outcome is open; others are answered as they stand.

        An attempt that the gateway has never heard of becomes `declined` (`not_received`), once a request still under
        way would have been answered or given up; a late arrival under the same key is refused or voided. Until then,
        and while the gateway cannot be asked, the attempt is answered as it stands. Raises PaymentNotFound.
        """
        ...

    async def undo(self, order_id: OrderId, before_attempt: int = 0) -> tuple[Payment, ...]:
        """Void what is authorised and refund what is captured, so that the buyer has paid nothing: by any attempt of
        the order, or by those before `before_attempt`. A later one is never touched, however late this comes.
        Attempts still open are resolved first. Answers every attempt.

        Without `before_attempt` it is final: a later `authorise` of the order is refused. Raises Unavailable when the
        gateway cannot be asked; then call again.
        """
        ...

    async def capture(self, order_id: OrderId) -> Payment:
        """Take the authorised money; taken already, it is answered as it stands. Raises PaymentNotFound, PaymentState,
        Unavailable (taking goes on by itself; call again to learn how it came out)."""
        ...

    async def refund(self, order_id: OrderId, amount: Money, key: str) -> Refund:
        """Give captured money back, once per `key` of the order.

        Never more than was captured, however many ask at once. Raises PaymentNotFound, PaymentState, RefundTooLarge,
        CurrencyMismatch, FieldInvalid, KeyReused (the key came with another amount).
        """
        ...

    async def attempts_of(self, order_id: OrderId) -> tuple[Payment, ...]:
        """Every attempt of the order, first to last (few: an order allows at most 20)."""
        ...
