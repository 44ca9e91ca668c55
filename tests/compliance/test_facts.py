"""Facts of a sale: in an order of their own, with the seller's papers for the places of the sale and no other."""

from __future__ import annotations

from datetime import date

from rickhouse.compliance.contract import DecisionLine
from rickhouse.compliance.facts import TRANSIT_DAYS, Seller, delivery_day, facts_of
from rickhouse.kernel.ids import VariantId
from tests.compliance.samples import DAY, WHISKEY

GIN = DecisionLine(VariantId.new(), "gin", 4300, 700, 2)
SELLER = Seller(
    permits={"US-ND": " DL-1187 ", "US-CA": "94-1", "US-KY": "  "},
    outbound_attested=frozenset({"US-KY", "US-WA"}),
    products_attested=frozenset({"US-CA"}),
)


def test_the_order_of_origins_and_lines_makes_no_other_facts() -> None:
    one = facts_of(("US-ND", "US-KY", "US-ND"), "US-CA", (WHISKEY, GIN), DAY, SELLER)
    other = facts_of(("US-KY", "US-ND"), "US-CA", (GIN, WHISKEY), DAY, SELLER)

    assert one == other
    assert one.origins == ("US-KY", "US-ND")


def test_the_papers_are_those_of_the_places_of_the_sale() -> None:
    found = facts_of(("US-KY", "US-ND"), "US-CA", (WHISKEY,), DAY, SELLER)

    assert found.permits == {"US-CA": "94-1", "US-ND": "DL-1187"}
    assert found.outbound_attested == ("US-KY",)
    assert found.products_attested is True
    assert facts_of(("US-KY",), "US-ND", (WHISKEY,), DAY, SELLER).products_attested is False


def test_a_blank_permit_is_none() -> None:
    assert facts_of(("US-KY",), "US-KY", (WHISKEY,), DAY, SELLER).permits == {}


def test_nobody_has_been_asked_for_his_age_yet() -> None:
    assert facts_of(("US-ND",), "US-ND", (WHISKEY,), DAY, SELLER).age_answers == ()


def test_a_parcel_is_expected_within_a_week() -> None:
    found = facts_of(("US-ND",), "US-CA", (WHISKEY,), date(2026, 12, 25), SELLER)

    assert TRANSIT_DAYS == 7
    assert found.days == (date(2026, 12, 25), date(2027, 1, 1))


def test_the_calendar_has_a_last_day() -> None:
    assert delivery_day(date.max, 7) == date.max
