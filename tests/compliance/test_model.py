"""Unknown means deny, whatever is unknown; nothing that is added makes a sale more lawful; age is never forgotten."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rickhouse.compliance.contract import DecisionLine, Outcome
from rickhouse.compliance.facts import AgeAnswer, Facts
from rickhouse.compliance.model import CODES, Verdict, conclude, decide, examine, lanes
from rickhouse.compliance.pack import Pack
from rickhouse.kernel.ids import VariantId
from tests.compliance import strategies
from tests.compliance.samples import (
    ADULT,
    DAY,
    MINOR,
    OWN_LICENCE,
    PACK,
    PAPERED,
    WHISKEY,
    changed_pack,
    facts,
    row_of,
    ruled,
)

REFERENCE: Final = Path(__file__).parents[2] / "docs" / "reference" / "compliance-reasons.md"
SEVERITY: Final[dict[Outcome, int]] = {"allow": 0, "review": 1, "deny": 2}
Change = Callable[[dict[str, Any]], object]


def with_row(section: str, region: str, **values: object) -> Pack:
    """The pack with fields of one row set; None takes a field out."""

    def change(tree: dict[str, Any]) -> None:
        row = row_of(tree, section, region)
        row.update(values)
        for name in [name for name, value in values.items() if value is None]:
            del row[name]

    return changed_pack(change)


def with_part(section: str, region: str, part: str, **values: object) -> Pack:
    """The pack with fields of a part of one row set."""

    def change(tree: dict[str, Any]) -> None:
        row = row_of(tree, section, region)
        row[part] = row[part] | values

    return changed_pack(change)


def without_rows(section: str, region: str) -> Pack:
    """The pack without any row of a section about the region, as no pack that is loaded can be."""
    table = {name: rows for name, rows in getattr(PACK, section).items() if name != region}
    return msgspec.structs.replace(PACK, **{section: table})


def severity(verdict: Verdict) -> int:
    """How bad the outcome is."""
    return SEVERITY[verdict.outcome]


CLOSED: Final = {"status": "unknown", "because": "Nobody knows."}
RECALLED: Final = {"confidence": "recalled-unverified"}

# What one thing that nobody knows does to a lane that is open otherwise: from North Dakota to itself, or to California.
UNKNOWN: Final = [
    (with_row("in_state", "US-ND", **CLOSED), "US-ND", "in_state_unknown"),
    (with_row("inbound", "US-CA", **CLOSED), "US-CA", "inbound_unknown"),
    (with_row("in_state", "US-ND", effective="unknown"), "US-ND", "no_rule_on_order_day"),
    (with_row("minimum_age", "US-ND", effective="unknown"), "US-ND", "minimum_age_unknown"),
    (with_row("outbound", "US-ND", effective="unknown"), "US-CA", "no_rule_on_order_day"),
    (with_part("in_state", "US-ND", "permit", status="unknown"), "US-ND", "permit_unknown"),
    (with_part("in_state", "US-ND", "volume_limit", amount="unknown"), "US-ND", "volume_limit_unknown"),
    (without_rows("in_state", "US-ND"), "US-ND", "no_rule_on_order_day"),
    (without_rows("inbound", "US-CA"), "US-CA", "no_rule_on_order_day"),
    (without_rows("outbound", "US-ND"), "US-CA", "no_rule_on_order_day"),
    (without_rows("minimum_age", "US-CA"), "US-CA", "minimum_age_unknown"),
]

# A fact that opens a door and that nobody has read waits for a person.
UNREAD: Final = [
    (with_row("in_state", "US-ND", **RECALLED), "US-ND"),
    (with_row("inbound", "US-CA", **RECALLED), "US-CA"),
    (with_part("inbound", "US-CA", "permit", **RECALLED), "US-CA"),
    (
        with_row(
            "outbound",
            "US-ND",
            status="open",
            because=None,
            permit={"status": "none", "confidence": "source-read", "sources": ["nd-50116"]},
            **RECALLED,
        ),
        "US-CA",
    ),
]


@pytest.mark.parametrize(("pack", "destination", "code"), UNKNOWN)
def test_what_the_pack_does_not_know_is_denied(pack: Pack, destination: str, code: str) -> None:
    assert ruled(facts("US-ND", destination))[0] == "allow"

    outcome, codes = ruled(facts("US-ND", destination), pack)

    assert outcome == "deny"
    assert code in codes


@pytest.mark.parametrize(("pack", "destination"), UNREAD)
def test_what_nobody_has_read_waits_for_a_person(pack: Pack, destination: str) -> None:
    assert ruled(facts("US-ND", destination), pack) == ("review", ["fact_unverified"])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"destination": "US-PR"}, "destination_unknown"),
        ({"destination": ""}, "destination_unknown"),
        ({"origins": ("US-ND", "US-PR")}, "origin_unknown"),
        ({"origins": ("",)}, "origin_unknown"),
        ({"origins": ()}, "origins_missing"),
        ({"lines": ()}, "lines_missing"),
        ({"lines": (msgspec.structs.replace(WHISKEY, spirit_class="moonshine"),)}, "product_class_unknown"),
        ({"lines": (msgspec.structs.replace(WHISKEY, abv_bp=0),)}, "line_invalid"),
        ({"lines": (msgspec.structs.replace(WHISKEY, abv_bp=10_001),)}, "line_invalid"),
        ({"lines": (msgspec.structs.replace(WHISKEY, size_ml=0),)}, "line_invalid"),
        ({"lines": (WHISKEY, msgspec.structs.replace(WHISKEY, quantity=0))}, "line_invalid"),
        ({"day": date(2026, 11, 22)}, "pack_not_in_force"),
        ({"delivery_day": date(2027, 7, 1)}, "pack_not_in_force"),
        ({"permits": {}}, "permit_missing"),
        ({"permits": {"US-ND": ""}}, "permit_missing"),
        ({"permits": {"US-CA": "94-1"}}, "permit_missing"),
        ({"age_answers": ()}, "age_unknown"),
        ({"age_answers": (AgeAnswer(18, of_age=True),)}, "age_unknown"),
    ],
)
def test_what_the_sale_does_not_tell_is_denied(change: dict[str, Any], code: str) -> None:
    outcome, codes = ruled(msgspec.structs.replace(facts(), **change))

    assert outcome == "deny"
    assert code in codes


def test_an_open_lane_without_a_mode_or_a_limit_is_denied() -> None:
    rule = PACK.in_state["US-ND"][0]
    for missing, code in (
        ("mode", "carrier_not_allowed"),
        ("permit", "permit_unknown"),
        ("volume_limit", "volume_limit_unknown"),
    ):
        table = {"US-ND": (msgspec.structs.replace(rule, **{missing: None}),)}
        assert ruled(facts(), msgspec.structs.replace(PACK, in_state=table)) == ("deny", [code])


def test_every_origin_must_be_allowed() -> None:
    one = facts("US-ND", "US-CA")

    assert ruled(
        msgspec.structs.replace(one, origins=("US-KY", "US-ND"), outbound_attested=("US-KY", "US-ND"))
    )[0] == ("allow")
    assert ruled(msgspec.structs.replace(one, origins=("US-HI", "US-ND"))) == ("deny", ["outbound_closed"])


def test_a_rule_that_changes_before_the_parcel_arrives_is_held_against_the_sale() -> None:
    def close_on_friday(tree: dict[str, Any]) -> None:
        row = row_of(tree, "in_state", "US-ND")
        row["effective"] = {"from": "2026-11-23", "until": "2026-12-03"}
        after = {
            "effective": {"from": "2026-12-04", "until": "open"},
            "status": "closed",
            "because": "It closed.",
        }
        kept = {name: row[name] for name in ("regions", "confidence", "sources")}
        tree["in_state"].append(kept | after)

    pack = changed_pack(close_on_friday)

    assert ruled(facts(day=date(2026, 11, 26)), pack)[0] == "allow"
    assert ruled(facts(day=date(2026, 11, 27)), pack) == ("deny", ["in_state_closed"])
    assert ruled(facts(day=date(2026, 12, 4)), pack) == ("deny", ["in_state_closed"])


def test_the_higher_age_of_two_days_is_asked() -> None:
    def raise_age(tree: dict[str, Any]) -> None:
        row = row_of(tree, "minimum_age", "US-ND")
        row["effective"] = {"from": "2026-11-23", "until": "2026-12-03"}
        later = {"years": 23, "effective": {"from": "2026-12-04", "until": "open"}}
        tree["minimum_age"].append(row | later)

    pack = changed_pack(raise_age)

    assert decide(pack, facts(day=date(2026, 11, 26))).minimum_age == 21
    assert decide(pack, facts(day=date(2026, 11, 27))).minimum_age == 23
    assert ruled(facts(day=date(2026, 11, 27), age=ADULT), pack) == ("deny", ["age_unknown"])


def test_a_minor_is_denied_whatever_else_is_in_order() -> None:
    assert ruled(facts(age=MINOR)) == ("deny", ["under_age"])
    assert ruled(facts("US-ND", "US-NE", age=MINOR))[1][0] == "under_age"
    assert set(ruled(facts("US-ND", "US-HI", age=MINOR))[1]) == {"under_age", "inbound_closed"}


def test_two_answers_that_disagree_are_a_no() -> None:
    both = (AgeAnswer(21, of_age=True), AgeAnswer(21, of_age=False))

    assert ruled(facts(age=both)) == ("deny", ["under_age"])


def test_an_age_that_nobody_asked_for_is_not_held_against_a_sale_that_is_denied_anyway() -> None:
    assert ruled(facts("US-ND", "US-HI", age=())) == ("deny", ["inbound_closed"])


def test_what_denies_is_told_first_and_what_allows_only_alone() -> None:
    verdict = decide(PACK, facts("US-ND", "US-NE", seller=OWN_LICENCE))

    assert [reason.outcome for reason in verdict.reasons] == ["deny", "deny", "review", "review", "review"]


def test_a_refusal_says_what_to_do() -> None:
    (permit, outbound, _) = decide(PACK, facts("US-ND", "US-CA", seller=OWN_LICENCE)).reasons

    assert permit.detail == (
        "California asks for the Distilled Spirits Direct Shipper Permit (Type 94), given by California ABC; put its "
        "number under compliance.permits as US-CA."
    )
    assert permit.sources == (
        "California ABC industry advisory: Craft Distiller Direct Shipper Permit (Type 94)",
        "Sovos on AB 1246 (fees)",
        "alcohol.law summary of AB 1246",
    )
    assert outbound.detail == (
        "Whether North Dakota lets its distilleries ship to other states is not known; have it checked, and then list "
        "US-ND under compliance.outbound_attested."
    )


def test_lanes_suppose_an_adult_and_name_every_region() -> None:
    found = lanes(PACK, PAPERED, "US-ND", WHISKEY, DAY)

    assert [lane.destination for lane in found] == list(PACK.regions)
    assert [lane.destination for lane in found if lane.outcome == "allow"] == ["US-CA", "US-DC", "US-ND"]
    assert [lane.destination for lane in found if lane.outcome == "review"] == ["US-NE", "US-NY"]
    assert {lane.outcome for lane in lanes(PACK, PAPERED, "CA-ON", WHISKEY, DAY)} == {"deny"}
    assert {lane.outcome for lane in lanes(PACK, PAPERED, "US-ND", WHISKEY, date.max)} == {"deny"}


@given(strategies.facts())
def test_the_outcome_is_the_worst_of_the_reasons(asked: Facts) -> None:
    verdict = decide(PACK, asked)

    assert verdict.reasons
    assert severity(verdict) == max(SEVERITY[reason.outcome] for reason in verdict.reasons)
    assert all(CODES[reason.code] == reason.outcome for reason in verdict.reasons)
    assert len(set(verdict.reasons)) == len(verdict.reasons)
    titles = {source.title for source in PACK.sources.values()}
    assert all(set(reason.sources) <= titles and reason.detail for reason in verdict.reasons)
    assert verdict.outcome == "deny" or verdict.minimum_age > 0


@given(strategies.facts())
def test_the_same_facts_give_the_same_verdict(asked: Facts) -> None:
    assert decide(PACK, asked) == decide(PACK, asked) == conclude(PACK, examine(PACK, asked), asked)


@given(strategies.facts())
def test_nobody_under_age_is_ever_sold_to(asked: Facts) -> None:
    minor = msgspec.structs.replace(asked, age_answers=MINOR)

    assert decide(PACK, minor).outcome == "deny"


@given(strategies.facts())
def test_whose_age_is_unknown_is_never_sold_to(asked: Facts) -> None:
    assert decide(PACK, msgspec.structs.replace(asked, age_answers=())).outcome == "deny"


@given(strategies.facts(), st.text(max_size=8).filter(lambda text: text not in PACK.regions))
def test_an_unknown_place_is_never_allowed(asked: Facts, place: str) -> None:
    anywhere = msgspec.structs.replace(asked, destination=place)
    from_anywhere = msgspec.structs.replace(asked, origins=(*asked.origins, place))

    assert decide(PACK, anywhere).outcome == "deny"
    assert decide(PACK, from_anywhere).outcome == "deny"


@given(strategies.facts(), st.text(max_size=8).filter(lambda text: text not in PACK.classes))
def test_an_unknown_class_is_never_allowed(asked: Facts, name: str) -> None:
    unknown = DecisionLine(VariantId.new(), name, 4500, 750, 1)

    assert decide(PACK, msgspec.structs.replace(asked, lines=(*asked.lines, unknown))).outcome == "deny"


@given(strategies.facts(), st.dates())
def test_a_day_outside_the_pack_is_never_allowed(asked: Facts, day: date) -> None:
    verdict = decide(PACK, msgspec.structs.replace(asked, day=day, delivery_day=max(day, asked.delivery_day)))

    assert PACK.effective.covers(day) or verdict.outcome == "deny"


@given(strategies.facts(), strategies.places, strategies.lines)
def test_nothing_that_is_added_to_a_sale_makes_it_more_lawful(
    asked: Facts, origin: str, line: DecisionLine
) -> None:
    bigger = msgspec.structs.replace(asked, origins=(*asked.origins, origin), lines=(*asked.lines, line))
    if asked.origins and asked.lines:
        assert severity(decide(PACK, bigger)) >= severity(decide(PACK, asked))


@given(strategies.facts())
def test_nothing_that_the_seller_lacks_makes_a_sale_more_lawful(asked: Facts) -> None:
    bare = msgspec.structs.replace(asked, permits={}, outbound_attested=(), products_attested=False)

    assert severity(decide(PACK, bare)) >= severity(decide(PACK, asked))


def test_every_reason_is_explained_and_nothing_else_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)

    assert dict(rows) == cast("dict[str, str]", CODES)
    assert len(rows) == len(CODES)


def test_every_code_can_be_met() -> None:
    packs = [(pack, destination) for pack, destination, _ in UNKNOWN] + UNREAD
    met = {code for pack, destination in packs for code in ruled(facts("US-ND", destination), pack)[1]}
    for destination in PACK.regions:
        for origin in ("US-ND", "US-NC", "US-HI", "US-AL", destination):
            for seller in (PAPERED, OWN_LICENCE):
                for age in (ADULT, MINOR, ()):
                    met |= set(ruled(facts(origin, destination, seller=seller, age=age))[1])
    odd = facts("US-PR", "US-ND", msgspec.structs.replace(WHISKEY, spirit_class="x", abv_bp=0))
    met |= set(ruled(odd)[1]) | set(ruled(msgspec.structs.replace(odd, origins=(), lines=()))[1])
    met |= set(ruled(facts("US-ND", "CA-ON"))[1]) | set(
        ruled(facts("US-ND", "US-CA", day=date(2028, 1, 1)))[1]
    )
    met |= set(ruled(facts("US-ND", "US-ND", msgspec.structs.replace(WHISKEY, spirit_class="specialty")))[1])

    assert met == set(CODES)
