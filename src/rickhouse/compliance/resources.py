"""What the routes of compliance show, and an example of each for the API reference."""

from datetime import UTC, date, datetime

import msgspec

from rickhouse.compliance.contract import Decision, DecisionLine, Reason
from rickhouse.compliance.facts import AgeAnswer, Facts
from rickhouse.compliance.model import DecisionRecord, Lane
from rickhouse.compliance.pack import Pack, Timed
from rickhouse.kernel.ids import CustomerId, DecisionId, OrderId, VariantId


class Replay(msgspec.Struct, frozen=True):
    """A decision as it was stored, and as the same pack decides the same inputs now."""

    stored: Decision
    replayed: Decision
    agrees: bool


class PackResource(msgspec.Struct, frozen=True):
    """The rule pack in use. `digest` is the SHA-256 of its text; the counts are rows of facts by their confidence."""

    version: str
    compiled_on: date
    effective_from: date
    effective_until: date | None
    digest: str
    regions: int
    sources: int
    facts_read: int
    facts_recalled: int


class Lanes(msgspec.Struct, frozen=True):
    """Where one bottle from one place may go when an adult orders it on `day`: one lane for each region of the pack."""

    origin: str
    day: date
    spirit_class: str
    abv_bp: int
    size_ml: int
    pack_version: str
    lanes: tuple[Lane, ...]


def replay_of(stored: Decision, replayed: Decision) -> Replay:
    """The two side by side. They agree when outcome, reasons and minimum age are the same."""
    return Replay(stored, replayed, stored == replayed)


def pack_of(pack: Pack) -> PackResource:
    """What the pack says of itself."""
    tables = (pack.minimum_age, pack.inbound, pack.in_state, pack.outbound)
    rows: list[Timed] = [row for table in tables for its in table.values() for row in its]
    read = sum(row.verified for row in rows)
    return PackResource(
        version=pack.full_version,
        compiled_on=pack.compiled_on,
        effective_from=pack.effective.since,
        effective_until=pack.effective.until,
        digest=pack.digest,
        regions=len(pack.regions),
        sources=len(pack.sources),
        facts_read=read,
        facts_recalled=len(rows) - read,
    )


_DAY = date(2026, 12, 1)
_VERSION = "us-spirits-2026-11-23"

DECISION_EXAMPLE = DecisionRecord(
    decision=Decision(
        decision_id=DecisionId.parse("dec_01h455vb4pex5vsknk084sn02q"),
        outcome="allow",
        reasons=(
            Reason(
                "in_state_open",
                "allow",
                "North Dakota lets its own distilleries ship to consumers.",
                ("N.D.C.C. 5-01-19 / 5-01-19.2 domestic and manufacturing distillery",),
            ),
            Reason("of_age", "allow", "The buyer states an age of 21 or more."),
        ),
        minimum_age=21,
        pack_version=_VERSION,
        day=_DAY,
        decided_at=datetime(2026, 12, 1, 17, 30, 12, tzinfo=UTC),
    ),
    order_id=OrderId.parse("ord_01h455vb4pex5vsknk084sn02q"),
    customer_id=CustomerId.parse("cus_01h455vb4pex5vsknk084sn02q"),
    pack_digest="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    inputs=Facts(
        origins=("US-ND",),
        destination="US-ND",
        lines=(DecisionLine(VariantId.parse("var_01h455vb4pex5vsknk084sn02q"), "whiskey", 4500, 750, 1),),
        day=_DAY,
        delivery_day=date(2026, 12, 8),
        permits={"US-ND": "DL-1187"},
        outbound_attested=(),
        products_attested=False,
        age_answers=(AgeAnswer(21, of_age=True),),
    ),
)

REPLAY_EXAMPLE = replay_of(DECISION_EXAMPLE.decision, DECISION_EXAMPLE.decision)

PACK_EXAMPLE = PackResource(
    version=_VERSION,
    compiled_on=date(2026, 11, 23),
    effective_from=date(2026, 11, 23),
    effective_until=date(2027, 6, 30),
    digest=DECISION_EXAMPLE.pack_digest,
    regions=51,
    sources=57,
    facts_read=73,
    facts_recalled=131,
)

LANES_EXAMPLE = Lanes(
    origin="US-ND",
    day=_DAY,
    spirit_class="whiskey",
    abv_bp=4500,
    size_ml=750,
    pack_version=_VERSION,
    lanes=(
        Lane("US-ND", "North Dakota", "allow", 21, DECISION_EXAMPLE.decision.reasons),
        Lane(
            "US-HI",
            "Hawaii",
            "deny",
            21,
            (
                Reason(
                    "inbound_closed",
                    "deny",
                    "Hawaii does not let out-of-state distilleries ship to consumers.",
                ),
            ),
        ),
    ),
)
