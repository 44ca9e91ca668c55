"""What follows from a rule pack for one sale: reasons, and the worst of them as the outcome. Unknown means deny.

Pure: the day, the age answers and the seller's papers are given. A birth date never comes here.
"""

from collections.abc import Iterator
from datetime import date
from typing import Final

import msgspec

from rickhouse.compliance.contract import Decision, DecisionLine, Outcome, Reason
from rickhouse.compliance.facts import AgeAnswer, Facts, Seller, facts_of
from rickhouse.compliance.pack import (
    LaneRule,
    Mode,
    OutboundRule,
    Pack,
    Permit,
    Products,
    Row,
    in_force,
)
from rickhouse.kernel.ids import CustomerId, OrderId
from rickhouse.kernel.units import ABV_BP_MAX, abv_percent

CODES: Final[dict[str, Outcome]] = {
    "pack_not_in_force": "deny",
    "destination_unknown": "deny",
    "origin_unknown": "deny",
    "origins_missing": "deny",
    "lines_missing": "deny",
    "line_invalid": "deny",
    "product_class_unknown": "deny",
    "no_rule_on_order_day": "deny",
    "no_rule_on_delivery_day": "deny",
    "inbound_closed": "deny",
    "inbound_unknown": "deny",
    "in_state_closed": "deny",
    "in_state_unknown": "deny",
    "outbound_closed": "deny",
    "outbound_unknown": "deny",
    "carrier_not_allowed": "deny",
    "retail_outlet_only": "deny",
    "onsite_order_only": "deny",
    "permit_missing": "deny",
    "permit_unknown": "deny",
    "volume_limit_unknown": "deny",
    "dry_area_list_missing": "deny",
    "product_class_not_allowed": "deny",
    "strength_not_allowed": "deny",
    "container_too_large": "deny",
    "reciprocity_excluded": "deny",
    "reciprocity_refused": "deny",
    "minimum_age_unknown": "deny",
    "age_unknown": "deny",
    "under_age": "deny",
    "product_needs_check": "review",
    "product_condition_unchecked": "review",
    "reciprocity_unconfirmed": "review",
    "question_open": "review",
    "fact_unverified": "review",
    "in_state_open": "allow",
    "inbound_open": "allow",
    "outbound_open": "allow",
    "outbound_attested": "allow",
    "of_age": "allow",
}
"""Every reason and its outcome. A code keeps its meaning for ever; `docs/reference/compliance-reasons.md` has it."""

_MODES: Final[dict[Mode, tuple[str, str]]] = {
    "licensee_delivery": ("carrier_not_allowed", "the distillery itself has to deliver; a carrier may not"),
    "own_employee_delivery": (
        "carrier_not_allowed",
        "an employee of the distillery has to deliver; a carrier may not",
    ),
    "licensee_or_licensed_transporter": (
        "carrier_not_allowed",
        "the distillery itself or a transporter licensed for it has to deliver; a common carrier may not",
    ),
    "retail_outlet_only": (
        "retail_outlet_only",
        "a parcel may go to a retail liquor outlet only, never to a home",
    ),
    "onsite_order_only": (
        "onsite_order_only",
        "only what the buyer ordered in person at the distillery may be shipped; a web order may not",
    ),
}
"""How a lane may be used that a web shop with a common carrier cannot use."""


class Verdict(msgspec.Struct, frozen=True):
    """What was decided, why, and the age that the destination asks (0 where no rule for it was found)."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    minimum_age: int


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as it is kept, with all that it rests on. `pack_digest` is the SHA-256 of the pack's text."""

    decision: Decision
    order_id: OrderId
    customer_id: CustomerId
    pack_digest: str
    inputs: Facts


class Lane(msgspec.Struct, frozen=True):
    """Whether an adult in the region `destination` could be sent a bottle, and why."""

    destination: str
    name: str
    outcome: Outcome
    minimum_age: int
    reasons: tuple[Reason, ...]


def decide(pack: Pack, facts: Facts) -> Verdict:
    """The verdict of `pack` on a sale. The same pack and facts always give the same."""
    return conclude(pack, examine(pack, facts), facts)


def examine(pack: Pack, facts: Facts) -> Verdict:
    """The verdict on everything but the buyer's age, with which `conclude` must go on."""
    found = list(_pack_reasons(pack, facts))
    if facts.destination not in pack.regions:
        where = "an unnamed place" if not facts.destination else facts.destination
        found.append(
            _reason(
                "destination_unknown", f"The rule pack knows nothing of {where}, so nothing is sent there."
            )
        )
        return _worst(found, 0)
    if not facts.origins:
        found.append(_reason("origins_missing", "No warehouse is named that the bottles would come from."))
    for origin in facts.origins:
        found += _lane_reasons(pack, facts, origin)
    found += _line_reasons(pack, facts.lines)
    minimum_age = 0
    ages, missing = _on_days(pack, pack.minimum_age.get(facts.destination, ()), facts, "the age of buyers")
    if missing:
        name = pack.regions[facts.destination]
        found += missing
        found.append(_reason("minimum_age_unknown", f"No rule says how old a buyer in {name} must be."))
    else:
        minimum_age = max(rule.years for rule in ages)
    return _worst(found, minimum_age)


def conclude(pack: Pack, examined: Verdict, facts: Facts) -> Verdict:
    """Add what the age answers say. A sale that is denied anyway needs none."""
    minimum_age = examined.minimum_age
    answers = [answer.of_age for answer in facts.age_answers if answer.minimum_age == minimum_age]
    if minimum_age == 0 or (examined.outcome == "deny" and not answers):
        return examined
    sources = pack.cite(*pack.minimum_age[facts.destination])
    if not answers:
        reason = _reason("age_unknown", "Nobody was asked whether the buyer is of age.", sources)
    elif not all(answers):
        reason = _reason(
            "under_age",
            f"The buyer is not {minimum_age} or older on {facts.day}, the day of the order; nothing can be sold.",
            sources,
        )
    else:
        reason = _reason("of_age", f"The buyer states an age of {minimum_age} or more.", sources)
    return _worst([*examined.reasons, reason], minimum_age)


def lanes(pack: Pack, seller: Seller, origin: str, line: DecisionLine, day: date) -> tuple[Lane, ...]:
    """The verdict for an adult in each region of the pack on one bottle from `origin`, ordered on `day`."""
    return tuple([_lane(pack, seller, origin, line, day, destination) for destination in pack.regions])


def _lane(pack: Pack, seller: Seller, origin: str, line: DecisionLine, day: date, destination: str) -> Lane:
    facts = facts_of((origin,), destination, (line,), day, seller)
    examined = examine(pack, facts)
    adult = msgspec.structs.replace(facts, age_answers=(AgeAnswer(examined.minimum_age, of_age=True),))
    verdict = conclude(pack, examined, adult)
    return Lane(destination, pack.regions[destination], verdict.outcome, verdict.minimum_age, verdict.reasons)


def _worst(found: list[Reason], minimum_age: int) -> Verdict:
    """The outcome, and the reasons that decided it: what allows is worth telling only where nothing speaks against."""
    denying = [reason for reason in found if reason.outcome == "deny"]
    reviewing = [reason for reason in found if reason.outcome == "review"]
    outcome: Outcome = "deny" if denying else "review" if reviewing else "allow"
    return Verdict(outcome, tuple(dict.fromkeys([*denying, *reviewing] or found)), minimum_age)


def _reason(code: str, detail: str, sources: tuple[str, ...] = ()) -> Reason:
    return Reason(code, CODES[code], detail, sources)


def _pack_reasons(pack: Pack, facts: Facts) -> Iterator[Reason]:
    for day in dict.fromkeys(facts.days):
        if not pack.effective.covers(day):
            yield _reason(
                "pack_not_in_force",
                f"The rule pack {pack.full_version} speaks of {pack.effective.since} to {pack.effective.until}, "
                f"not of {day}; load the pack of that time.",
            )
            return


def _line_reasons(pack: Pack, lines: tuple[DecisionLine, ...]) -> Iterator[Reason]:
    if not lines:
        yield _reason("lines_missing", "Nothing is named that would be shipped.")
    for line in lines:
        if not (0 < line.abv_bp <= ABV_BP_MAX and line.size_ml > 0 and line.quantity > 0):
            yield _reason("line_invalid", "A line has no possible strength, size or quantity.")
        known = pack.classes.get(line.spirit_class)
        if known is None:
            yield _reason(
                "product_class_unknown",
                f"The rule pack does not know the class '{line.spirit_class}'; give the product one that it knows.",
            )
        elif known.check == "manual":
            yield _reason(
                "product_needs_check",
                f"A person has to look at a product of the class '{line.spirit_class}' first. {known.because}",
                pack.cite(known),
            )


def _lane_reasons(pack: Pack, facts: Facts, origin: str) -> Iterator[Reason]:
    """From one origin to the destination: inside one state, or out of one and into another."""
    name = pack.regions[facts.destination]
    if origin not in pack.regions:
        yield _reason(
            "origin_unknown", f"The rule pack knows nothing of {origin or 'an unnamed place'} as origin."
        )
        return
    in_state = origin == facts.destination
    table = pack.in_state if in_state else pack.inbound
    about = f"spirits sent inside {name}" if in_state else f"spirits sent to {name} from another state"
    rules, missing = _on_days(pack, table.get(facts.destination, ()), facts, about)
    yield from missing
    for rule in rules:
        yield from _lane_rule_reasons(pack, facts, rule, origin)
    if not in_state:
        yield from _outbound_reasons(pack, facts, origin, rules)


def _lane_rule_reasons(pack: Pack, facts: Facts, rule: LaneRule, origin: str) -> Iterator[Reason]:
    name = pack.regions[facts.destination]
    in_state = origin == facts.destination
    lane = "in_state" if in_state else "inbound"
    whose = "its own" if in_state else "out-of-state"
    if rule.status != "open":
        known = "does not let" if rule.status == "closed" else "is not known to let"
        yield _reason(
            f"{lane}_{rule.status}",
            f"{name} {known} {whose} distilleries ship to consumers. {rule.because}",
            pack.cite(rule),
        )
        return
    yield _reason(f"{lane}_open", f"{name} lets {whose} distilleries ship to consumers.", pack.cite(rule))
    yield from _unverified(pack, rule, f"whether {whose} distilleries may ship to consumers in {name}")
    if rule.mode != "common_carrier":
        code, why = (
            ("carrier_not_allowed", "no way of delivery is known") if rule.mode is None else _MODES[rule.mode]
        )
        yield _reason(code, f"In {name} {why}.", pack.cite(rule))
    yield from _permit_reasons(pack, facts, rule.permit, facts.destination)
    if rule.volume_limit is None or rule.volume_limit.amount == "unknown":
        yield _reason(
            "volume_limit_unknown",
            f"How much may be sent to one consumer in {name} is not known, which does not mean without limit.",
            pack.cite(rule if rule.volume_limit is None else rule.volume_limit),
        )
    if rule.dry_areas is not None:
        listed = rule.dry_areas.list.replace("_", " ").replace("zip", "ZIP")
        yield _reason(
            "dry_area_list_missing",
            f"{name} has dry areas, and no list of them is on file; without the {listed} nothing is sent there.",
            pack.cite(rule.dry_areas),
        )
    if rule.products is not None:
        yield from _product_reasons(pack, facts, rule.products, name)
    if rule.reciprocity is not None and not in_state:
        yield from _reciprocity_reasons(pack, facts, rule, origin)
    for asked in rule.open_questions:
        yield _reason(
            "question_open", f"A person has to find out for {name}: {asked.question}", pack.cite(asked)
        )


def _permit_reasons(pack: Pack, facts: Facts, permit: Permit | None, region: str) -> Iterator[Reason]:
    name = pack.regions[region]
    if permit is None or permit.status == "unknown":
        yield _reason("permit_unknown", f"Which permit {name} asks of the shipper is not known.")
    elif permit.status == "required":
        if not facts.permits.get(region):
            yield _reason(
                "permit_missing",
                f"{name} asks for the {permit.name}, given by {permit.authority}; put its number under "
                f"compliance.permits as {region}.",
                pack.cite(permit),
            )
        yield from _unverified(pack, permit, f"whether {name} asks for the {permit.name}")


def _product_reasons(pack: Pack, facts: Facts, products: Products, name: str) -> Iterator[Reason]:
    sources = pack.cite(products)
    for line in facts.lines:
        if products.classes is not None and line.spirit_class not in products.classes:
            allowed = ", ".join(products.classes)
            yield _reason(
                "product_class_not_allowed",
                f"{name} takes {allowed} only, and not '{line.spirit_class}'.",
                sources,
            )
        too_weak = products.abv_over_bp is not None and line.abv_bp <= products.abv_over_bp
        too_strong = products.abv_max_bp is not None and line.abv_bp > products.abv_max_bp
        if too_weak or too_strong:
            yield _reason(
                "strength_not_allowed",
                f"{name} takes spirits over {abv_percent(products.abv_over_bp or 0)} % and up to "
                f"{abv_percent(products.abv_max_bp or ABV_BP_MAX)} % ABV; this has {abv_percent(line.abv_bp)} %.",
                sources,
            )
        if products.size_max_ml is not None and line.size_ml > products.size_max_ml:
            yield _reason(
                "container_too_large",
                f"{name} takes containers of at most {products.size_max_ml} ml; this has {line.size_ml} ml.",
                sources,
            )
    if products.condition is not None and not facts.products_attested:
        yield _reason(
            "product_condition_unchecked",
            f"A person has to see that what goes to {name} is {products.condition}.",
            sources,
        )


def _reciprocity_reasons(pack: Pack, facts: Facts, rule: LaneRule, origin: str) -> Iterator[Reason]:
    """The destination takes spirits only from places that take its own; its authority says from which."""
    name, home = pack.regions[facts.destination], pack.regions[origin]
    there = [in_force(pack.inbound.get(origin, ()), day) for day in facts.days]
    sources = pack.cite(*([] if rule.reciprocity is None else [rule.reciprocity]))
    if all(found is not None and found.status == "open" for found in there):
        yield _reason(
            "reciprocity_unconfirmed",
            f"{name} takes spirits only from states that take its own; a person has to ask its authority whether "
            f"{home} is one of them.",
            sources,
        )
    else:
        yield _reason(
            "reciprocity_refused",
            f"{name} takes spirits only from states that take its own, and {home} does not.",
            sources,
        )


def _outbound_reasons(
    pack: Pack, facts: Facts, origin: str, inbound: tuple[LaneRule, ...]
) -> Iterator[Reason]:
    home = pack.regions[origin]
    rules, missing = _on_days(pack, pack.outbound.get(origin, ()), facts, f"spirits sent out of {home}")
    yield from missing
    for rule in rules:
        if rule.status == "closed":
            yield _reason(
                "outbound_closed",
                f"{home} does not let its distilleries ship to other states. {rule.because}",
                pack.cite(rule),
            )
        elif rule.status == "unknown":
            yield _unknown_outbound(pack, facts, rule, origin)
        else:
            yield _reason(
                "outbound_open", f"{home} lets its distilleries ship to other states.", pack.cite(rule)
            )
            yield from _unverified(pack, rule, f"whether {home} lets its distilleries ship to other states")
            yield from _permit_reasons(pack, facts, rule.permit, origin)
            if rule.except_reciprocity and any(lane.reciprocity is not None for lane in inbound):
                yield _reason(
                    "reciprocity_excluded",
                    f"{home} does not let its distilleries ship to states that ask for reciprocity, such as "
                    f"{pack.regions[facts.destination]}.",
                    pack.cite(rule),
                )


def _unknown_outbound(pack: Pack, facts: Facts, rule: OutboundRule, origin: str) -> Reason:
    home = pack.regions[origin]
    if origin in facts.outbound_attested:
        return _reason(
            "outbound_attested", f"The seller answers for it that {home} lets spirits out to other states."
        )
    return _reason(
        "outbound_unknown",
        f"Whether {home} lets its distilleries ship to other states is not known; have it checked, and then list "
        f"{origin} under compliance.outbound_attested.",
        pack.cite(rule),
    )


def _unverified(pack: Pack, fact: LaneRule | OutboundRule | Permit, what: str) -> Iterator[Reason]:
    """A fact that opens a door and that nobody has read needs a person's look."""
    if not fact.verified:
        yield _reason("fact_unverified", f"No source was read for {what}; a person has to.", pack.cite(fact))


def _on_days(
    pack: Pack, rows: tuple[Row, ...], facts: Facts, about: str
) -> tuple[tuple[Row, ...], list[Reason]]:
    """The rows in force on the day of the order and of the delivery (one, if it is the same), and what is missing."""
    found: dict[int, Row] = {}
    missing: list[Reason] = []
    for day, code, what in zip(
        facts.days,
        ("no_rule_on_order_day", "no_rule_on_delivery_day"),
        ("the day of the order", "the expected day of delivery"),
        strict=True,
    ):
        row = in_force(rows, day)
        if row is None:
            missing.append(
                _reason(code, f"No rule about {about} holds on {day}, {what}.", pack.cite(*rows[-1:]))
            )
        else:
            found[id(row)] = row
    return tuple(found.values()), missing
