"""Our rows in the port's words, and the port's answers in ours: keys, authorisations, refunds, ledgers.

Pure. Asking belongs to the services, a vendor's words to its codec.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from rickhouse.kernel.errors import Unavailable
from rickhouse.kernel.ids import PaymentId
from rickhouse.payments.model import Attempt, Discrepancy, RefundRow
from rickhouse.payments.port import Authorisation, LedgerLine, RefundOrder, Standing

Operation = Literal["auth", "capt", "void", "late"]
"""What a key is for; `late` voids what arrived after the attempt had been given up."""


def gateway_key(payment_id: PaymentId, operation: Operation) -> str:
    """The gateway's idempotency key: the same after every crash, another for every operation."""
    return f"{payment_id}-{operation}"


def authorisation_of(attempt: Attempt) -> Authorisation:
    """The attempt as the gateway is asked about it."""
    return Authorisation(
        key=gateway_key(attempt.payment_id, "auth"),
        amount=attempt.amount,
        order_ref=str(attempt.order_id),
        asked_at=attempt.created_at,
        token=attempt.token,
        reference=attempt.reference,
        capture_reference=attempt.capture_reference,
    )


def refund_order(refund: RefundRow) -> RefundOrder:
    """The refund as the gateway is asked for it; its id is its key."""
    return RefundOrder(
        key=str(refund.refund_id),
        amount=refund.amount,
        asked_at=refund.created_at,
        reference=refund.reference,
    )


def settled(attempt: Attempt, standing: Standing) -> Attempt:
    """The attempt once what stands at the gateway has been written down."""
    if standing.status == "pending":
        return attempt
    return msgspec.structs.replace(
        attempt,
        state=standing.status,
        token=None,
        reference=standing.reference or attempt.reference,
        decline_code=standing.decline_code,
        action_url=standing.action_url,
        card_brand=standing.card.brand if standing.card else None,
        card_last4=standing.card.last4 if standing.card else None,
    )


def away() -> Unavailable:
    """What a caller is told when the gateway could not be asked."""
    return Unavailable("The payment gateway gives no clear answer; try again in a few seconds.")


def line_of(attempt: Attempt) -> LedgerLine:
    """What the gateway's own list has to say about the attempt."""
    return LedgerLine(
        key=gateway_key(attempt.payment_id, "auth"),
        currency=attempt.amount.currency,
        authorised_minor=attempt.amount.minor if attempt.state == "authorised" else 0,
        captured_minor=attempt.captured_minor,
        refunded_minor=attempt.refunded_minor,
    )


def compare(ours: Iterable[LedgerLine], theirs: Iterable[LedgerLine]) -> tuple[Discrepancy, ...]:
    """Where two ledgers differ; a key that one of them does not have counts as nothing moved."""
    left = {line.key: line for line in ours}
    right = {line.key: line for line in theirs}
    found: list[Discrepancy] = []
    for key in sorted(left.keys() | right.keys()):
        mine, other = (_moved(ledger.get(key)) for ledger in (left, right))
        if mine != other:
            found.append(Discrepancy(key, "gateway", mine, other))
    return tuple(found)


def _moved(line: LedgerLine | None) -> str:
    if line is None or not (line.authorised_minor or line.captured_minor):
        return "nothing"
    return (
        f"authorised {line.authorised_minor}, captured {line.captured_minor}, "
        f"refunded {line.refunded_minor} {line.currency}"
    )
