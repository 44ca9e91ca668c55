"""What payments needs from a gateway, in no vendor's words: set money aside, take it, let go of it, give it back, ask.

How a vendor says these things belongs in its codec; what they mean for an order belongs in the service.

Gateways differ, so every call names the authorisation by all that is known of it, and a provider uses what its vendor
understands: our key, the vendor's reference, the token, the time since when to look. Amounts in replies are checked by
the codec: an answer about another amount or currency is no answer, and a partial approval is voided and `declined`.

GatewayFailed
├── Technical               says nothing about the money
│   ├── NothingDone         surely without effect: the same request can be sent again
│   └── OutcomeUnknown      it may have had its effect: ask with `find`
└── Refused                 logical: the gateway understood, and will not; asking again changes nothing
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

import msgspec

from rickhouse.kernel.money import Money

KEY_CHARS_MAX = 38
"""Longest idempotency key handed to a gateway; the shortest limit among the vendors that were looked at."""

DeclineCode = Literal[
    "card_declined",
    "insufficient_funds",
    "card_stolen",
    "card_expired",
    "challenge_failed",
    "token_invalid",
    "not_accepted",
    "not_received",
]
"""Why no money was set aside. `not_accepted`: the gateway would not take the request; `not_received`: it never came."""


class GatewayFailed(Exception):
    """The gateway did not do what was asked. The message names the vendor and its word for it, and no card or token."""


class Technical(GatewayFailed):
    """Something broke on the way or at the gateway."""


class NothingDone(Technical):
    """Surely without effect: never sent, or turned away before it was looked at."""


class OutcomeUnknown(Technical):
    """No answer, or none that can be understood: the money may have moved."""


class Refused(GatewayFailed):
    """The gateway refused for good, mostly because the authorisation or capture is in another state than believed."""


class Card(msgspec.Struct, frozen=True):
    """What may be shown of a card."""

    brand: str
    last4: str


class Authorisation(msgspec.Struct, frozen=True, kw_only=True):
    """Names one authorisation to the gateway.

    `key` is our idempotency key for it, at most KEY_CHARS_MAX visible ASCII characters. `asked_at` is when it was first
    asked for, so that a vendor without look-up by key knows since when to search. `order_ref` is what the vendor shows
    beside the payment. `token` is None once the attempt is settled, the references are None until they are known.
    """

    key: str
    amount: Money
    order_ref: str
    asked_at: datetime
    token: str | None = None
    reference: str | None = None
    capture_reference: str | None = None

    def __repr__(self) -> str:
        return f"Authorisation(key={self.key!r}, amount={self.amount!r}, reference={self.reference!r})"


class RefundOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One refund. A repeat carries the same `key` and `asked_at`, and `reference` once the vendor has given one, so
    that a provider looks up what a repeat could not tell: keys expire, or a repeat replays the first answer."""

    key: str
    amount: Money
    asked_at: datetime
    reference: str | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What stands at the gateway under one key.

    `pending`: it is still at work. `authorised`: the whole amount is set aside. `requires_action`: the buyer has to go
    to `action_url`. `captured` may be less than the amount; refunds do not change the status. `voided`: let go of, or
    barred, or expired: nothing is set aside and nothing will be. `decline_code` goes with `declined` alone.
    """

    status: Literal["pending", "requires_action", "authorised", "declined", "captured", "voided"]
    reference: str | None = None
    card: Card | None = None
    decline_code: DeclineCode | None = None
    action_url: str | None = None
    captured: Money | None = None
    capture_reference: str | None = None


class Captured(msgspec.Struct, frozen=True):
    """Money was taken. `reference` is what refunds are asked of."""

    reference: str
    amount: Money


class Voided(msgspec.Struct, frozen=True):
    """Nothing is set aside now. `final`: nor can a late request under the key set anything aside any more; where the
    vendor cannot promise that, the caller goes on asking for a while."""

    final: bool


class Refunded(msgspec.Struct, frozen=True):
    """How a refund stands. `pending` is accepted and not paid yet; `failed` gave nothing back."""

    reference: str
    state: Literal["pending", "refunded", "failed"]


class Gateway(Protocol):
    """A payment gateway. Every method can be repeated with the same key and then has its effect once.

    Every method raises Technical. None may be called inside a database transaction.
    """

    async def authorise(self, authorisation: Authorisation) -> Standing:
        """Set the whole amount aside on the token. A decline is an answer. Raises Refused when the request itself is
        not taken; nothing was set aside then."""
        ...

    async def find(self, authorisation: Authorisation) -> Standing | None:
        """What stands under the key; None when the gateway has never heard of it, which a request still under way may
        change. Never causes anything."""
        ...

    async def capture(self, authorisation: Authorisation, key: str, amount: Money) -> Captured:
        """Take `amount`, and let go of the rest. Raises Refused when there is nothing to take, or not so much."""
        ...

    async def void(self, authorisation: Authorisation, key: str) -> Voided:
        """Let go of whatever stands under the authorisation's key, a waiting challenge too.

        Where nothing stands and the vendor can bar the key against late arrivals, it does. Void, declined or expired
        already is Voided. Raises Refused when the money is taken.
        """
        ...

    async def refund(self, authorisation: Authorisation, refund: RefundOrder) -> Refunded:
        """Give part or all of the captured money back. Raises Refused when the vendor will not, for good."""
        ...


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway's own list says about one key, in minor units; `authorised_minor` is what is set aside now."""

    key: str
    currency: str
    authorised_minor: int
    captured_minor: int
    refunded_minor: int
