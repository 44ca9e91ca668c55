"""What compliance offers: a decision about one sale, with reasons and sources, that can be replayed."""

from datetime import date, datetime
from typing import Literal, Protocol

import msgspec

from rickhouse.kernel.errors import Condition, Kind
from rickhouse.kernel.events import Event
from rickhouse.kernel.ids import CustomerId, DecisionId, OrderId, VariantId


class PackInvalid(
    Condition, code="rule_pack_invalid", kind=Kind.CONFLICT, title="The rule pack is not valid"
):
    """A rule pack breaks its format, or is not on file; facts carry `file`, `place`, `rule`."""


class DecisionLine(msgspec.Struct, frozen=True):
    """What is to be shipped, as the law sees it: strength in basis points of ABV, `size_ml` per container."""

    variant_id: VariantId
    spirit_class: str
    abv_bp: int
    size_ml: int
    quantity: int


class Sale(msgspec.Struct, frozen=True):
    """The sale to be decided. Regions are ISO 3166-2.

    `day` is the day of the order in the destination. Where the caller does not know it to the hour, the earlier of two
    days is the right one: it makes nobody older than he is.
    """

    order_id: OrderId
    customer_id: CustomerId
    origins: tuple[str, ...]
    destination: str
    lines: tuple[DecisionLine, ...]
    day: date


Outcome = Literal["allow", "deny", "review"]


class Reason(msgspec.Struct, frozen=True):
    """One rule that spoke. `code` is machine-readable and stable; `sources` are the titles of the pack's citations."""

    code: str
    outcome: Outcome
    detail: str
    sources: tuple[str, ...] = ()


class Decision(msgspec.Struct, frozen=True):
    """A stored decision. What no rule knows is denied.

    `reasons` are those that decided: all that deny or ask for a person's look, or, of an allowed sale, what allows it.
    `minimum_age` is 0 when no age rule was found (and the sale is denied).
    """

    decision_id: DecisionId
    outcome: Outcome
    reasons: tuple[Reason, ...]
    minimum_age: int
    pack_version: str
    day: date
    decided_at: datetime


class SaleDecided(Event, frozen=True):
    """A sale was decided."""

    kind = "compliance.sale_decided"
    decision_id: DecisionId
    order_id: OrderId
    outcome: Outcome
    pack_version: str


class Compliance(Protocol):
    """The law as checkout sees it."""

    async def decide(self, sale: Sale) -> Decision:
        """Decide and store. The same order, day, pack, places, lines and permits give the decision already stored.

        Whether the buyer is of age is asked of the customers' contract only when nothing else denies the sale: whoever
        cannot buy anyway need not be looked at. Raises CustomerForgotten of that contract, PackInvalid (the pack was
        changed and kept its version).
        """
        ...

    async def replay(self, decision_id: DecisionId) -> Decision:
        """Decide the stored inputs again by the stored pack version; for proof that the record stands. Stores nothing.

        Raises NotFound, PackInvalid (that version is not on file).
        """
        ...
