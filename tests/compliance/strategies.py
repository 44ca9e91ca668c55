"""Random sales, sellers and facts for properties: known and unknown places, classes, days and papers."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from hypothesis import strategies as st

from rickhouse.compliance.contract import DecisionLine, Sale
from rickhouse.compliance.facts import AgeAnswer, Facts, Seller, facts_of
from rickhouse.kernel.ids import CustomerId, OrderId, VariantId
from tests.compliance.samples import PACK

OPEN_REGIONS = ("US-ND", "US-CA", "US-DC", "US-NY", "US-NE", "US-VT", "US-KY", "US-NC", "US-HI")
"""Where something interesting happens; other regions are closed in the same way."""

regions = st.sampled_from(OPEN_REGIONS) | st.sampled_from(sorted(PACK.regions))
places = regions | st.sampled_from(("US-PR", "CA-ON", "", "us-nd", "ND"))
days = st.dates(date(2026, 12, 1), date(2027, 6, 1)) | st.dates(date(2025, 1, 1), date(2028, 12, 31))
uuids = st.uuids(version=4).map(lambda found: UUID(int=found.int))

lines = st.builds(
    DecisionLine,
    uuids.map(VariantId),
    st.sampled_from((*sorted(PACK.classes), "whiskey", "gin", "moonshine", "")),
    st.sampled_from((4500, 1200, 800, 100, 1)) | st.integers(-1, 10_001),
    st.sampled_from((50, 355, 710, 750, 1000, 1750)) | st.integers(-1, 4000),
    st.integers(0, 12),
)

sellers = st.builds(
    Seller,
    permits=st.just(dict.fromkeys(PACK.regions, "1"))
    | st.dictionaries(regions, st.sampled_from(("DL-1", " ", "")), max_size=4),
    outbound_attested=st.just(frozenset(PACK.regions)) | st.frozensets(regions, max_size=3),
    products_attested=st.just(frozenset(PACK.regions)) | st.frozensets(regions, max_size=3),
    transit_days=st.integers(1, 30),
)

sales = st.builds(
    Sale,
    uuids.map(OrderId),
    uuids.map(CustomerId),
    st.lists(places, max_size=3).map(tuple),
    places,
    st.lists(lines, max_size=3).map(tuple),
    days,
)

answers = st.lists(
    st.builds(AgeAnswer, st.sampled_from((18, 21)), st.booleans()),
    max_size=2,
    unique_by=lambda a: a.minimum_age,
).map(tuple)


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    """The facts of a random sale by a random seller, with whatever was answered about the age."""
    sale, seller = draw(sales), draw(sellers)
    found = facts_of(sale.origins, sale.destination, sale.lines, sale.day, seller)
    return Facts(
        origins=found.origins,
        destination=found.destination,
        lines=found.lines,
        day=found.day,
        delivery_day=found.delivery_day,
        permits=found.permits,
        outbound_attested=found.outbound_attested,
        products_attested=found.products_attested,
        age_answers=draw(answers),
    )
