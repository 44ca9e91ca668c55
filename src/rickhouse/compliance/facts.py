"""What a decision rests on beside the rule pack: the sale, the seller's permits, and the buyer's age as yes or no.

It is stored with each decision, so nothing personal belongs here, and a birth date never does.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date
from typing import Final

import msgspec

from rickhouse.compliance.contract import DecisionLine

TRANSIT_DAYS: Final = 7
"""Days that a parcel is expected to take at most. The law must allow the sale on the last of them too."""


class Seller(msgspec.Struct, frozen=True, kw_only=True):
    """What the distillery has on file. Regions are ISO 3166-2.

    `permits` maps a region to the number of the licence under which it ships to consumers there: in its own state the
    distillery's own licence, elsewhere that state's shipper's permit. `outbound_attested` lists the origins of which
    somebody has checked that their law lets spirits out, `products_attested` the destinations of which somebody has
    checked that every product on sale meets their condition (such as being made by the shipper itself).
    """

    permits: Mapping[str, str]
    outbound_attested: AbstractSet[str] = frozenset()
    products_attested: AbstractSet[str] = frozenset()
    transit_days: int = TRANSIT_DAYS


class AgeAnswer(msgspec.Struct, frozen=True):
    """What the customers slice answered: whether the buyer is `minimum_age` or older on the day of the order."""

    minimum_age: int
    of_age: bool


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision rests on beside the pack.

    `permits` and `outbound_attested` are what the seller has for the places of this sale, `products_attested` what he
    has for the destination. No age answer means that nobody was asked.
    """

    origins: tuple[str, ...]
    destination: str
    lines: tuple[DecisionLine, ...]
    day: date
    delivery_day: date
    permits: dict[str, str]
    outbound_attested: tuple[str, ...]
    products_attested: bool
    age_answers: tuple[AgeAnswer, ...] = ()

    @property
    def days(self) -> tuple[date, date]:
        """The days on which the sale must be lawful: of the order, and of the expected delivery."""
        return self.day, self.delivery_day


def facts_of(
    origins: Iterable[str], destination: str, lines: Iterable[DecisionLine], day: date, seller: Seller
) -> Facts:
    """The facts of a sale before anybody was asked for his age. Origins and lines come in an order of their own."""
    places = tuple(sorted(set(origins)))
    permits = {
        region: number
        for region in sorted({*places, destination})
        if (number := seller.permits.get(region, "").strip())
    }
    return Facts(
        origins=places,
        destination=destination,
        lines=tuple(sorted(lines, key=_line_order)),
        day=day,
        delivery_day=delivery_day(day, seller.transit_days),
        permits=permits,
        outbound_attested=tuple([origin for origin in places if origin in seller.outbound_attested]),
        products_attested=destination in seller.products_attested,
    )


def delivery_day(day: date, transit_days: int) -> date:
    """The day by which what is ordered on `day` is expected; no later than the calendar's last."""
    return date.fromordinal(min(day.toordinal() + transit_days, date.max.toordinal()))


def _line_order(line: DecisionLine) -> tuple[bytes, str, int, int, int]:
    return line.variant_id.bytes, line.spirit_class, line.abv_bp, line.size_ml, line.quantity
