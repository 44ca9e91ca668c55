"""The shipped pack, region by region. The tables were written from what the sources say, not from the code."""

from __future__ import annotations

from datetime import date
from typing import Final, cast

import msgspec
import pytest

from rickhouse.compliance.contract import DecisionLine
from rickhouse.compliance.facts import Seller
from rickhouse.compliance.pack import Fact
from rickhouse.kernel.ids import VariantId
from tests.compliance.samples import OWN_LICENCE, PACK, PAPERED, facts, ruled

# A bottle of whiskey (45 % ABV, 750 ml) ordered by an adult on 1 December 2026, from a seller who holds every permit
# and has had everything checked that can be: what still denies is the law, or that nobody knows it.
GOLDEN: Final = """
# to    from North Dakota                     from Kentucky                         from itself
US-AL   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-AK   deny dry_area_list_missing            deny dry_area_list_missing            deny dry_area_list_missing
US-AZ   deny volume_limit_unknown             deny volume_limit_unknown             deny volume_limit_unknown
US-AR   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-CA   allow                                 allow                                 allow
US-CO   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-CT   deny inbound_closed                   deny inbound_closed                   deny in_state_closed
US-DE   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-DC   allow                                 allow                                 deny carrier_not_allowed
US-FL   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-GA   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-HI   deny inbound_closed                   deny inbound_closed                   deny in_state_closed
US-ID   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-IL   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-IN   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-IA   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-KS   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-KY   deny dry_area_list_missing            deny dry_area_list_missing            deny dry_area_list_missing
US-LA   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-ME   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-MD   deny inbound_closed                   deny inbound_closed                   deny carrier_not_allowed
US-MA   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-MI   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-MN   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-MS   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-MO   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-MT   deny inbound_closed                   deny inbound_closed                   deny in_state_closed
US-NE   review fact_unverified question_open  review fact_unverified question_open  deny in_state_unknown
US-NV   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-NH   deny dry_area_list_missing            deny dry_area_list_missing            deny in_state_unknown
US-NJ   deny inbound_closed                   deny inbound_closed                   deny in_state_closed
US-NM   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-NY   review reciprocity_unconfirmed        review reciprocity_unconfirmed        allow
US-NC   deny inbound_closed                   deny inbound_closed                   deny in_state_closed
US-ND   allow                                 allow                                 allow
US-OH   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-OK   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-OR   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-PA   deny inbound_closed                   deny inbound_closed                   deny carrier_not_allowed
US-RI   deny onsite_order_only                deny onsite_order_only                deny in_state_unknown
US-SC   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-SD   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-TN   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-TX   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-UT   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-VT   deny product_class_not_allowed        deny product_class_not_allowed        deny product_class_not_allowed
US-VA   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-WA   deny inbound_closed                   deny inbound_closed                   deny carrier_not_allowed
US-WV   deny retail_outlet_only               deny retail_outlet_only               deny retail_outlet_only
US-WI   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
US-WY   deny inbound_closed                   deny inbound_closed                   deny in_state_unknown
"""

# All that is told of lanes that more than one rule closes.
TOLD: Final = {
    ("US-ND", "US-AZ"): ["volume_limit_unknown", "question_open"],
    ("US-ND", "US-NH"): ["dry_area_list_missing", "question_open"],
    ("US-ND", "US-RI"): ["onsite_order_only", "volume_limit_unknown"],
    ("US-ND", "US-WV"): ["retail_outlet_only", "volume_limit_unknown", "dry_area_list_missing"],
    ("US-MD", "US-MD"): ["carrier_not_allowed", "volume_limit_unknown"],
    ("US-VT", "US-VT"): [
        "dry_area_list_missing",
        "product_class_not_allowed",
        "strength_not_allowed",
        "container_too_large",
    ],
}

ROWS: Final = [line.split("  ") for line in GOLDEN.strip().splitlines()[1:]]
CELLS: Final = [
    (origin or destination, destination, cell.split())
    for destination, *cells in [[part.strip() for part in row if part.strip()] for row in ROWS]
    for origin, cell in zip(("US-ND", "US-KY", ""), cells, strict=True)
]


@pytest.mark.parametrize(("origin", "destination", "expected"), CELLS)
def test_every_lane_is_decided_as_its_sources_say(origin: str, destination: str, expected: list[str]) -> None:
    outcome, codes = ruled(facts(origin, destination))

    assert outcome == expected[0]
    assert set(expected[1:]) <= set(codes)


def test_the_table_speaks_of_fifty_states_and_the_district() -> None:
    assert len(CELLS) == 3 * 51
    assert {destination for _, destination, _ in CELLS} == set(PACK.regions)


@pytest.mark.parametrize(("lane", "codes"), TOLD.items())
def test_a_lane_tells_everything_that_speaks_against_it(lane: tuple[str, str], codes: list[str]) -> None:
    assert ruled(facts(*lane)) == ("deny", codes)


def test_with_its_own_licence_alone_a_distillery_sells_in_its_own_state_alone() -> None:
    outcomes = {region: ruled(facts("US-ND", region, seller=OWN_LICENCE))[0] for region in PACK.regions}

    assert [region for region, outcome in outcomes.items() if outcome != "deny"] == ["US-ND"]
    assert ruled(facts("US-ND", "US-ND", seller=OWN_LICENCE)) == ("allow", ["in_state_open", "of_age"])


def test_without_a_licence_nothing_is_sold_anywhere() -> None:
    nothing = Seller(permits={})

    for origin in PACK.regions:
        for destination in PACK.regions:
            assert ruled(facts(origin, destination, seller=nothing))[0] == "deny"


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 12, 24), ("allow", ["inbound_open", "outbound_attested", "of_age"])),
        (date(2026, 12, 25), ("deny", ["no_rule_on_delivery_day"])),
        (date(2026, 12, 31), ("deny", ["no_rule_on_delivery_day"])),
        (date(2027, 1, 1), ("deny", ["no_rule_on_order_day", "no_rule_on_delivery_day"])),
    ],
)
def test_california_closes_for_parcels_that_would_arrive_after_2026(
    day: date, expected: tuple[str, list[str]]
) -> None:
    assert ruled(facts("US-ND", "US-CA", day=day)) == expected


def test_california_closes_for_its_own_distilleries_on_the_same_day() -> None:
    assert ruled(facts("US-CA", "US-CA", day=date(2026, 12, 24)))[0] == "allow"
    assert ruled(facts("US-CA", "US-CA", day=date(2026, 12, 25))) == ("deny", ["no_rule_on_delivery_day"])


def test_a_slower_parcel_meets_the_end_of_californias_rule_sooner() -> None:
    slow = msgspec.structs.replace(PAPERED, transit_days=8)

    assert ruled(facts("US-ND", "US-CA", day=date(2026, 12, 23), seller=slow))[0] == "allow"
    assert ruled(facts("US-ND", "US-CA", day=date(2026, 12, 24), seller=slow))[0] == "deny"


def test_the_pack_decides_only_in_its_time() -> None:
    in_time = [date(2026, 11, 23), date(2027, 6, 23)]
    too_early, too_late = date(2026, 11, 22), date(2027, 6, 24)

    assert [ruled(facts(day=day))[0] for day in in_time] == ["allow", "allow"]
    assert "pack_not_in_force" in ruled(facts(day=too_early))[1]
    assert ruled(facts(day=too_late)) == ("deny", ["pack_not_in_force"])


def test_new_york_is_closed_to_places_that_are_closed_to_it() -> None:
    assert ruled(facts("US-AL", "US-NY")) == ("deny", ["reciprocity_refused"])
    assert ruled(facts("US-AZ", "US-NY")) == ("review", ["reciprocity_unconfirmed"])


def test_north_carolina_lets_spirits_out_except_to_states_that_ask_for_reciprocity() -> None:
    unattested = msgspec.structs.replace(PAPERED, outbound_attested=frozenset())

    assert ruled(facts("US-NC", "US-CA", seller=unattested)) == (
        "allow",
        ["inbound_open", "outbound_open", "of_age"],
    )
    assert ruled(facts("US-NC", "US-NY", seller=unattested)) == (
        "deny",
        ["reciprocity_refused", "reciprocity_excluded"],
    )


def test_who_may_ship_out_of_his_state_by_licence_needs_that_licence_too() -> None:
    permits = {"US-CA": "94-1"}
    without_home = msgspec.structs.replace(PAPERED, permits=permits)

    for home in ("US-NC", "US-WV"):
        assert ruled(facts(home, "US-CA", seller=without_home)) == ("deny", ["permit_missing"])
        with_home = msgspec.structs.replace(PAPERED, permits=permits | {home: "own"})
        assert ruled(facts(home, "US-CA", seller=with_home))[0] == "allow"


def test_nobodys_word_lets_spirits_out_of_hawaii() -> None:
    assert ruled(facts("US-HI", "US-CA")) == ("deny", ["outbound_closed"])


def test_an_unknown_outbound_rule_closes_the_lane_until_somebody_answers_for_it() -> None:
    unattested = msgspec.structs.replace(PAPERED, outbound_attested=frozenset({"US-KY"}))

    assert ruled(facts("US-ND", "US-CA", seller=unattested)) == ("deny", ["outbound_unknown"])
    assert ruled(facts("US-KY", "US-CA", seller=unattested))[0] == "allow"


def test_a_condition_on_products_waits_for_a_person_until_somebody_answers_for_it() -> None:
    unchecked = msgspec.structs.replace(PAPERED, products_attested=frozenset({"US-CA"}))

    assert ruled(facts("US-KY", "US-ND", seller=unchecked)) == ("review", ["product_condition_unchecked"])
    assert ruled(facts("US-KY", "US-CA", seller=unchecked))[0] == "allow"


@pytest.mark.parametrize(
    ("abv_bp", "size_ml", "codes"),
    [
        (1200, 355, set[str]()),
        (101, 355, set[str]()),
        (1201, 355, {"strength_not_allowed"}),
        (100, 355, {"strength_not_allowed"}),
        (1200, 700, set[str]()),
        (1200, 710, {"container_too_large"}),
    ],
)
def test_vermont_takes_ready_to_drink_up_to_12_percent_in_cans_of_24_ounces(
    abv_bp: int, size_ml: int, codes: set[str]
) -> None:
    can = DecisionLine(VariantId.new(), "ready_to_drink", abv_bp, size_ml, 4)

    outcome, found = ruled(facts("US-ND", "US-VT", can))

    assert outcome == "deny"
    assert set(found) == {"dry_area_list_missing", *codes}


def test_one_bottle_among_cans_is_enough_for_vermont_to_refuse() -> None:
    can = DecisionLine(VariantId.new(), "ready_to_drink", 800, 355, 4)
    liqueur = DecisionLine(VariantId.new(), "liqueur", 1000, 500, 1)

    assert "product_class_not_allowed" in ruled(facts("US-ND", "US-VT", can, liqueur))[1]


def test_new_hampshire_takes_containers_of_a_litre_at_most() -> None:
    for size_ml, refused in ((1000, False), (1500, True)):
        bottle = DecisionLine(VariantId.new(), "gin", 4500, size_ml, 1)
        assert ("container_too_large" in ruled(facts("US-ND", "US-NH", bottle))[1]) is refused


def test_a_specialty_waits_for_a_person() -> None:
    specialty = DecisionLine(VariantId.new(), "specialty", 3000, 750, 1)

    assert ruled(facts("US-ND", "US-ND", specialty)) == ("review", ["product_needs_check"])


def test_every_region_asks_for_21_years() -> None:
    assert {rule.years for rows in PACK.minimum_age.values() for rule in rows} == {21}


def test_every_source_is_cited_and_says_where_it_is() -> None:
    cited = {source for fact in _facts(PACK) for source in fact.sources}
    cited |= {
        source
        for rows in (*PACK.inbound.values(), *PACK.in_state.values())
        for rule in rows
        for question in rule.open_questions
        for source in question.sources
    }

    assert cited == set(PACK.sources)
    assert all(source.url.startswith("http") or source.kind == "recall" for source in PACK.sources.values())


def test_what_opens_a_lane_was_read_or_waits_for_a_person() -> None:
    recalled = {
        (fact.regions, fact.permit.name)
        for rows in (*PACK.inbound.values(), *PACK.in_state.values(), *PACK.outbound.values())
        for fact in rows
        if fact.status == "open" and fact.permit is not None and not fact.permit.verified
    }
    opened = [
        rule
        for rows in (*PACK.inbound.values(), *PACK.in_state.values(), *PACK.outbound.values())
        for rule in rows
        if rule.status == "open"
    ]

    assert recalled == {(("US-NE",), "Shipping License (direct sales, class S1)")}
    assert all(rule.verified for rule in opened)


def _facts(found: object) -> list[Fact]:
    """Every fact inside a value."""
    inner: list[object] = []
    if isinstance(found, dict):
        inner = list(cast("dict[str, object]", found).values())
    elif isinstance(found, tuple):
        inner = list(cast("tuple[object, ...]", found))
    elif isinstance(found, msgspec.Struct):
        inner = [getattr(found, name) for name in found.__struct_fields__]
    facts_inside = [fact for one in inner for fact in _facts(one)]
    return [found, *facts_inside] if isinstance(found, Fact) else facts_inside
