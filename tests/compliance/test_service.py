"""Decisions in the database: one row and one event each, the same answer for the same question, proof by replay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any, Final, cast

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from rickhouse.compliance import sql
from rickhouse.compliance.contract import DecisionLine, PackInvalid, Sale
from rickhouse.compliance.facts import AgeAnswer, Seller
from rickhouse.compliance.pack import Pack
from rickhouse.compliance.service import ComplianceService
from rickhouse.customers.contract import CustomerForgotten, Customers
from rickhouse.kernel.errors import NotFound
from rickhouse.kernel.ids import CustomerId, DecisionId, VariantId
from rickhouse.platform.codec import decode_json
from rickhouse.platform.db import Database, Row, url_for
from rickhouse.platform.schema import role_of
from tests.compliance.conftest import NOON, Ages
from tests.compliance.samples import DAY, OWN_LICENCE, PACK, PAPERED, WHISKEY, changed_pack, row_of, sale
from tests.compliance.strategies import sales, sellers

READ_DECISIONS: Final = "select decision_id from decisions where order_id = $1"
COUNT_DECISIONS: Final = "select count(*) from decisions"
READ_EVENTS: Final = "select kind, body from events where subject = $1 order by seq"


class Counted(Database):
    """Counts the statements that it runs."""

    statements = 0

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """See Database."""
        self.statements += 1
        return await super().fetchrow(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        """See Database."""
        self.statements += 1
        return await super().execute(query, *args)


async def stored(db: Database, asked: Sale) -> int:
    """How many decisions of this order are stored."""
    return len(await db.fetch(READ_DECISIONS, asked.order_id))


async def told(db: Database, asked: Sale) -> list[tuple[str, dict[str, str]]]:
    """Kind and body of every event about this order."""
    found = await db.fetch(READ_EVENTS, asked.order_id)
    return [(event["kind"], decode_json(event["body"], dict[str, str])) for event in found]


def lawyer(db: Database, ages: Ages, pack: Pack = PACK, seller: Seller = PAPERED) -> ComplianceService:
    """The law for a seller who has every paper, or those of `seller`."""
    return ComplianceService(
        db,
        customers=cast("Customers", ages),
        pack=pack,
        permits=seller.permits,
        outbound_attested=seller.outbound_attested,
        products_attested=seller.products_attested,
        transit_days=seller.transit_days,
        clock=lambda: NOON,
    )


def newer_pack(version: str = "2026-11-24") -> Pack:
    """A later pack in which North Dakota is closed to everybody."""

    def change(tree: dict[str, Any]) -> None:
        tree["version"] = version
        for section in ("inbound", "in_state"):
            row_of(tree, section, "US-ND").update(status="closed", because="It closed.")

    return changed_pack(change)


async def test_an_allowed_sale_is_stored_with_all_that_it_rests_on(
    law: ComplianceService, ages: Ages, db: Database
) -> None:
    asked = sale()

    decision = await law.decide(asked)

    assert decision.outcome == "allow"
    assert [reason.code for reason in decision.reasons] == ["in_state_open", "of_age"]
    assert decision.reasons[0].sources == (
        "N.D.C.C. 5-01-19 / 5-01-19.2 domestic and manufacturing distillery",
    )
    assert (decision.minimum_age, decision.pack_version) == (21, "us-spirits-2026-11-23")
    assert (decision.day, decision.decided_at) == (DAY, NOON)
    assert ages.asked == [(asked.customer_id, 21, DAY)]
    record = await law.get_decision(decision.decision_id)
    assert record.decision == decision
    assert (record.order_id, record.customer_id) == (asked.order_id, asked.customer_id)
    assert record.pack_digest == PACK.digest
    assert record.inputs.lines == (WHISKEY,)
    assert record.inputs.permits == OWN_LICENCE.permits
    assert record.inputs.age_answers == (AgeAnswer(21, of_age=True),)
    assert await stored(db, asked) == 1


async def test_each_decision_is_told_once_as_an_event(law: ComplianceService, db: Database) -> None:
    asked = sale()

    decision = await law.decide(asked)
    await law.decide(asked)

    assert await told(db, asked) == [
        (
            "compliance.sale_decided",
            {
                "decision_id": str(decision.decision_id),
                "order_id": str(asked.order_id),
                "outcome": "allow",
                "pack_version": "us-spirits-2026-11-23",
            },
        )
    ]


async def test_a_denied_sale_is_stored_too_and_nobody_is_asked_for_his_age(
    law: ComplianceService, ages: Ages, db: Database
) -> None:
    asked = sale(destination="US-HI")

    decision = await law.decide(asked)

    assert (decision.outcome, decision.minimum_age) == ("deny", 21)
    assert ages.asked == []
    assert (await law.get_decision(decision.decision_id)).inputs.age_answers == ()
    assert await stored(db, asked) == 1


async def test_an_unknown_destination_has_no_age(law: ComplianceService, ages: Ages) -> None:
    decision = await law.decide(sale(destination="CA-ON"))

    assert (decision.outcome, decision.minimum_age) == ("deny", 0)
    assert [reason.code for reason in decision.reasons] == ["destination_unknown"]
    assert ages.asked == []


async def test_a_minor_is_refused_and_the_record_holds_a_no_and_no_date(
    law: ComplianceService, ages: Ages
) -> None:
    asked = sale()
    ages.minors.add(asked.customer_id)

    decision = await law.decide(asked)

    assert (decision.outcome, [reason.code for reason in decision.reasons]) == ("deny", ["under_age"])
    record = await law.get_decision(decision.decision_id)
    assert record.inputs.age_answers == (AgeAnswer(21, of_age=False),)


async def test_a_forgotten_customer_is_told_of_and_nothing_is_stored(
    law: ComplianceService, ages: Ages, db: Database
) -> None:
    asked = sale()
    ages.forgotten.add(asked.customer_id)

    with pytest.raises(CustomerForgotten):
        await law.decide(asked)

    assert await stored(db, asked) == 0
    assert await told(db, asked) == []


async def test_the_same_question_gets_the_stored_answer(
    law: ComplianceService, ages: Ages, db: Database
) -> None:
    asked = sale(lines=(WHISKEY, DecisionLine(VariantId.new(), "gin", 4300, 700, 2)))
    first = await law.decide(asked)
    ages.minors.add(asked.customer_id)

    again = await law.decide(msgspec.structs.replace(asked, lines=asked.lines[::-1]))

    assert again == first
    assert await stored(db, asked) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"day": DAY + timedelta(days=1)},
        {"destination": "US-CA"},
        {"origins": ("US-ND", "US-KY")},
        {"lines": (msgspec.structs.replace(WHISKEY, quantity=2),)},
        {"customer_id": CustomerId.new()},
    ],
)
async def test_another_question_about_the_same_order_is_decided_anew(
    law: ComplianceService, db: Database, change: dict[str, Any]
) -> None:
    asked = sale()
    first = await law.decide(asked)

    other = await law.decide(msgspec.structs.replace(asked, **change))

    assert other.decision_id != first.decision_id
    assert await stored(db, asked) == 2


async def test_another_pack_or_a_new_permit_decides_anew(db: Database, ages: Ages) -> None:
    asked = sale()
    without = await lawyer(db, ages, seller=Seller(permits={})).decide(asked)
    with_licence = await lawyer(db, ages).decide(asked)
    newer = await lawyer(db, ages, newer_pack()).decide(asked)

    assert [without.outcome, with_licence.outcome, newer.outcome] == ["deny", "allow", "deny"]
    assert newer.pack_version == "us-spirits-2026-11-24"
    assert await stored(db, asked) == 3


async def test_many_who_ask_at_once_get_one_decision(law: ComplianceService, db: Database) -> None:
    asked = sale()

    decisions = await asyncio.gather(*(law.decide(asked) for _ in range(20)))

    assert len({decision.decision_id for decision in decisions}) == 1
    assert len({decision.reasons for decision in decisions}) == 1
    assert await stored(db, asked) == 1
    assert len(await told(db, asked)) == 1


async def test_a_decision_costs_one_statement_and_so_does_its_repeat(
    module_database_url: str, ages: Ages
) -> None:
    counted = Counted(url_for(module_database_url, user=role_of("compliance")), schema="compliance")
    await counted.open()
    try:
        law = lawyer(counted, ages)
        await law.file_pack()
        asked = sale()
        for _ in range(3):
            counted.statements = 0
            await law.decide(asked)
            assert counted.statements == 1
    finally:
        await counted.close()


async def test_nothing_that_was_decided_can_be_changed_or_deleted(
    law: ComplianceService, db: Database
) -> None:
    asked = sale()
    await law.decide(asked)

    for statement in (
        "update decisions set outcome = 'allow'",
        "update packs set text = ''",
        "delete from decisions",
        "delete from packs",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute(statement)
    assert await stored(db, asked) == 1


def test_the_lanes_are_those_of_the_seller(law: ComplianceService) -> None:
    lanes = law.lanes("US-ND", WHISKEY, DAY)

    assert [lane.destination for lane in lanes if lane.outcome != "deny"] == ["US-ND"]
    assert len(lanes) == 51


async def test_lanes_store_nothing(law: ComplianceService, db: Database) -> None:
    before = await db.fetch(COUNT_DECISIONS)

    law.lanes("US-ND", WHISKEY, law.today())

    assert law.today() == date(2026, 12, 1)
    assert await db.fetch(COUNT_DECISIONS) == before


def test_a_parcel_does_not_arrive_before_it_is_sent(ages: Ages) -> None:
    with pytest.raises(ValueError, match="a parcel takes a day at the least, not 0"):
        ComplianceService(
            Database("postgresql://nowhere/", schema="compliance"),
            customers=cast("Customers", ages),
            pack=PACK,
            permits={},
            transit_days=0,
        )


async def test_a_replay_agrees_and_stores_nothing(law: ComplianceService, db: Database) -> None:
    asked = sale()
    decision = await law.decide(asked)

    assert await law.replay(decision.decision_id) == decision
    assert await stored(db, asked) == 1


async def test_a_replay_uses_the_pack_that_decided(db: Database, ages: Ages) -> None:
    decision = await lawyer(db, ages).decide(sale())
    later = lawyer(db, ages, newer_pack())

    replayed = await later.replay(decision.decision_id)

    assert replayed == decision
    assert (await later.decide(sale())).outcome == "deny"


async def test_a_replay_asks_nobody_for_an_age(law: ComplianceService, ages: Ages) -> None:
    asked = sale()
    decision = await law.decide(asked)
    ages.forgotten.add(asked.customer_id)

    assert await law.replay(decision.decision_id) == decision


async def test_what_was_never_decided_cannot_be_replayed(law: ComplianceService) -> None:
    with pytest.raises(NotFound):
        await law.replay(DecisionId.new())
    with pytest.raises(NotFound):
        await law.get_decision(DecisionId.new())


async def test_a_decision_whose_pack_is_gone_cannot_be_replayed(
    open_slice: Callable[[str], Awaitable[Database]], database_url: str, ages: Ages
) -> None:
    db = await open_slice("compliance")
    decision = await lawyer(db, ages).decide(sale())
    await as_administrator(database_url, "delete from compliance.packs")

    with pytest.raises(PackInvalid, match="us-spirits-2026-11-23 that decided this is not on file"):
        await lawyer(db, ages, newer_pack()).replay(decision.decision_id)


async def test_a_pack_whose_text_was_touched_is_not_the_one_that_decided(
    open_slice: Callable[[str], Awaitable[Database]], database_url: str, ages: Ages
) -> None:
    db = await open_slice("compliance")
    decision = await lawyer(db, ages).decide(sale())
    await as_administrator(database_url, "update compliance.packs set text = text || '# touched'")

    with pytest.raises(PackInvalid, match="not on file as it was"):
        await lawyer(db, ages, newer_pack()).replay(decision.decision_id)


async def test_a_changed_pack_needs_a_new_version(db: Database, ages: Ages) -> None:
    await lawyer(db, ages).decide(sale())
    asked = sale()

    with pytest.raises(PackInvalid, match="give the changed text a new version"):
        await lawyer(db, ages, newer_pack(PACK.version)).decide(asked)

    assert await stored(db, asked) == 0


async def test_filing_a_pack_twice_changes_nothing(db: Database, ages: Ages) -> None:
    await lawyer(db, ages).file_pack()
    await lawyer(db, ages).file_pack()

    assert await sql.find_pack_text(db, PACK.digest) == PACK.text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=sales, seller=sellers)
async def test_every_stored_decision_replays_to_itself(
    db: Database, ages: Ages, asked: Sale, seller: Seller
) -> None:
    law = lawyer(db, ages, seller=seller)
    if asked.customer_id.uuid.int % 2:
        ages.minors.add(asked.customer_id)

    decision = await law.decide(asked)

    assert await lawyer(db, ages, newer_pack()).replay(decision.decision_id) == decision
    assert await law.decide(asked) == decision


async def as_administrator(url: str, statement: str) -> None:
    """What the slice's role may not do."""
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
