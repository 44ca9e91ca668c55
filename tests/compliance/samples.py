"""What the tests of compliance decide on: sales, sellers, the shipped pack and changed copies of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any, Final

import yaml

from rickhouse.compliance.contract import DecisionLine, Sale
from rickhouse.compliance.facts import AgeAnswer, Facts, Seller, facts_of
from rickhouse.compliance.loader import load_pack, parse_pack
from rickhouse.compliance.model import Verdict, decide
from rickhouse.compliance.pack import Pack
from rickhouse.kernel.ids import CustomerId, OrderId, VariantId

PACK: Final = load_pack()
DAY: Final = date(2026, 12, 1)

WHISKEY: Final = DecisionLine(VariantId.new(), "whiskey", 4500, 750, 1)
"""A bottle that no product limit but Vermont's and no container limit speaks against."""

OWN_LICENCE: Final = Seller(permits={"US-ND": "DL-1187"})
"""A distillery in North Dakota that has nothing but its own licence."""

PAPERED: Final = Seller(
    permits={region: f"permit of {region}" for region in PACK.regions},
    outbound_attested=frozenset(PACK.regions),
    products_attested=frozenset(PACK.regions),
)
"""A seller that has every permit and has had everything checked that can be: what still denies is the law."""

ADULT: Final = (AgeAnswer(21, of_age=True),)
MINOR: Final = (AgeAnswer(21, of_age=False),)


def facts(
    origin: str = "US-ND",
    destination: str = "US-ND",
    *lines: DecisionLine,
    day: date = DAY,
    seller: Seller = PAPERED,
    age: tuple[AgeAnswer, ...] = ADULT,
) -> Facts:
    """The facts of a sale of whiskey, to an adult, by a seller who has every paper."""
    found = facts_of((origin,), destination, lines or (WHISKEY,), day, seller)
    return Facts(
        origins=found.origins,
        destination=found.destination,
        lines=found.lines,
        day=found.day,
        delivery_day=found.delivery_day,
        permits=found.permits,
        outbound_attested=found.outbound_attested,
        products_attested=found.products_attested,
        age_answers=age,
    )


def told(verdict: Verdict) -> tuple[str, list[str]]:
    """The outcome and the codes of the reasons."""
    return verdict.outcome, [reason.code for reason in verdict.reasons]


def ruled(asked: Facts, pack: Pack = PACK) -> tuple[str, list[str]]:
    """Outcome and codes that the pack gives for these facts."""
    return told(decide(pack, asked))


def sale(
    origins: tuple[str, ...] = ("US-ND",),
    destination: str = "US-ND",
    lines: tuple[DecisionLine, ...] = (WHISKEY,),
    day: date = DAY,
    order_id: OrderId | None = None,
    customer_id: CustomerId | None = None,
) -> Sale:
    """A sale of an order and a customer of their own."""
    return Sale(order_id or OrderId.new(), customer_id or CustomerId.new(), origins, destination, lines, day)


def pack_tree() -> dict[str, Any]:
    """The shipped pack as plain lists, dicts, numbers and text, to be changed."""
    return json.loads(json.dumps(yaml.load(PACK.text, yaml.CSafeLoader), default=str))


def changed_pack(change: Callable[[dict[str, Any]], object], file: str = "changed.yaml") -> Pack:
    """The shipped pack after `change`; JSON is YAML too."""
    tree = pack_tree()
    change(tree)
    return parse_pack(json.dumps(tree), file)


def row_of(tree: dict[str, Any], section: str, region: str) -> dict[str, Any]:
    """The row of a section that speaks of the region, made its own: other regions of it move to a copy."""
    for row in tree[section]:
        if region in row["regions"]:
            others = [other for other in row["regions"] if other != region]
            if others:
                tree[section].append(row | {"regions": others})
                row["regions"] = [region]
            return row
    raise LookupError(f"{section} does not speak of {region}")
