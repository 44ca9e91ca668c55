"""The rules of payments: which state may follow which, what may be asked, how a row is shown.

Asking a gateway or a database never belongs here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from hashlib import blake2b
from typing import Final, Literal

import msgspec

from rickhouse.kernel.errors import FieldInvalid
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import OrderId, PaymentId, RefundId
from rickhouse.kernel.money import MINOR_MAX, Money
from rickhouse.payments.contract import (
    ATTEMPTS_MAX,
    AttemptState,
    Payment,
    PaymentNotFound,
    PaymentState,
    Refund,
    RefundState,
)

TRANSITIONS: Final[dict[AttemptState, frozenset[AttemptState]]] = {
    "created": frozenset({"authorised", "requires_action", "declined", "unknown", "voided"}),
    "unknown": frozenset({"authorised", "requires_action", "declined", "voided"}),
    "requires_action": frozenset({"authorised", "declined", "voided"}),
    "authorised": frozenset({"captured", "voided"}),
    "captured": frozenset({"refunded", "partly_refunded"}),
    "partly_refunded": frozenset({"refunded", "partly_refunded"}),
    "declined": frozenset(),
    "voided": frozenset(),
    "refunded": frozenset(),
}
"""From each state to those that may follow it. `partly_refunded` follows itself: one refund after another."""

OPEN: Final[frozenset[AttemptState]] = frozenset({"created", "unknown", "requires_action"})
"""States whose outcome only the gateway knows."""

CLOSED: Final[frozenset[AttemptState]] = frozenset({"declined", "voided", "refunded"})
"""States in which the buyer has paid nothing, for good."""

REFUNDABLE: Final[frozenset[AttemptState]] = frozenset({"captured", "partly_refunded"})

TOKEN_CHARS_MAX: Final = 500
SENDS_MAX: Final = 3
"""How often one authorisation is sent at the most, always under the same key."""

SEND_AGAIN_WITHIN_S: Final = 3600.0
"""Gateways forget keys after a day or more; long before that an attempt is only asked about, not sent again."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One row of attempts. `silent_s` is how long ago the authorisation was last sent, by the database's clock.

    `promised_minor` is what refunds have been asked for, paid or not. `wanted` is what the gateway is being asked to do
    with an authorised attempt, until it has answered. `sealed`: no other attempt of the order may ever begin.
    """

    payment_id: PaymentId
    order_id: OrderId
    attempt: int
    state: AttemptState
    amount: Money
    created_at: datetime
    token: str | None = None
    captured_minor: int = 0
    promised_minor: int = 0
    refunded_minor: int = 0
    reference: str | None = None
    capture_reference: str | None = None
    decline_code: str | None = None
    action_url: str | None = None
    card_brand: str | None = None
    card_last4: str | None = None
    wanted: Literal["capture", "void"] | None = None
    sends: int = 1
    silent_s: float = 0.0
    age_s: float = 0.0
    sealed: bool = False

    def __repr__(self) -> str:
        return f"Attempt({self.payment_id}, {self.state})"

    @property
    def open(self) -> bool:
        """Whether only the gateway knows the outcome."""
        return self.state in OPEN

    @property
    def may_send_again(self) -> bool:
        """Whether the authorisation may be sent once more under its key."""
        return (
            self.state in ("created", "unknown")
            and self.token is not None
            and self.sends < SENDS_MAX
            and self.age_s < SEND_AGAIN_WITHIN_S
        )


class RefundRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of refunds."""

    refund_id: RefundId
    payment_id: PaymentId
    amount: Money
    state: RefundState
    fingerprint: bytes
    created_at: datetime
    reference: str | None = None


class Discrepancy(msgspec.Struct, frozen=True):
    """Two accounts of one thing that differ. `what` names it, `subject` is a payment, a movement or a gateway's key."""

    subject: str
    what: str
    ours: str | None
    theirs: str | None


def written(found: Sequence[Discrepancy]) -> str:
    """The result of `verify` for a terminal: one line for each difference."""
    if not found:
        return "every movement sums to zero, and every payment is what its postings say: the books agree."
    return "\n".join(
        (
            f"{len(found)} differences.",
            *(
                f"{one.subject}: {one.what}: expected {one.ours or 0}, booked {one.theirs or 0}"
                for one in found
            ),
        )
    )


@cache
def sources(target: AttemptState) -> tuple[AttemptState, ...]:
    """The states from which `target` may be reached."""
    return tuple(state for state, targets in TRANSITIONS.items() if target in targets)


def there(attempt: Attempt | None) -> Attempt:
    """The attempt that was asked for. Raises PaymentNotFound."""
    if attempt is None:
        raise PaymentNotFound("There is no such payment.")
    return attempt


def wrong_state(attempt: Attempt) -> PaymentState:
    """What whoever asked for another state is told."""
    return PaymentState(f"The payment is {attempt.state}.", state=attempt.state)


def paid_or_last(attempts: Sequence[Attempt]) -> Attempt:
    """The attempt by which an order was paid, else the last one. Raises PaymentNotFound."""
    paid = (attempt for attempt in attempts if attempt.captured_minor)
    return there(next(paid, attempts[-1] if attempts else None))


def check_request(attempt: int, amount: Money, token: str) -> None:
    """Refuse what can never be authorised. Raises FieldInvalid."""
    if not 1 <= attempt <= ATTEMPTS_MAX:
        raise FieldInvalid(
            f"An order has attempts 1 to {ATTEMPTS_MAX}.", field="attempt", rule=f"1 to {ATTEMPTS_MAX}"
        )
    check_amount(amount)
    if not 1 <= len(token) <= TOKEN_CHARS_MAX or not token.isprintable():
        raise FieldInvalid(
            f"A payment token has 1 to {TOKEN_CHARS_MAX} printable characters.",
            field="token",
            rule=f"1 to {TOKEN_CHARS_MAX} printable characters",
        )


def check_amount(amount: Money) -> None:
    """Money that moves is positive. Raises FieldInvalid."""
    if not 0 < amount.minor <= MINOR_MAX:
        raise FieldInvalid(
            f"The amount must be 1 to {MINOR_MAX} minor units.", field="amount", rule=f"1 to {MINOR_MAX}"
        )


def refund_keyed(owner: str, key: str, amount: Money) -> Keyed:
    """The identity of a refund that did not come over HTTP; `owner` is whose the key is."""
    return Keyed(owner, key, blake2b(str(amount).encode(), digest_size=16).digest())


def rest_keyed(attempt: Attempt) -> Keyed:
    """The identity of giving back all that is left: one refusal of it stands until something else was given back."""
    return refund_keyed("undo", f"{attempt.payment_id} {attempt.promised_minor}", attempt.amount)


def payment_of(attempt: Attempt) -> Payment:
    """The attempt as others see it."""
    currency = attempt.amount.currency
    return Payment(
        payment_id=attempt.payment_id,
        order_id=attempt.order_id,
        attempt=attempt.attempt,
        state=attempt.state,
        amount=attempt.amount,
        captured=Money(attempt.captured_minor, currency),
        refunded=Money(attempt.refunded_minor, currency),
        decline_code=attempt.decline_code,
        action_url=attempt.action_url,
        card_brand=attempt.card_brand,
        card_last4=attempt.card_last4,
    )


def refund_of(row: RefundRow) -> Refund:
    """The refund as others see it."""
    return Refund(refund_id=row.refund_id, payment_id=row.payment_id, amount=row.amount, state=row.state)
