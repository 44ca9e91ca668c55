"""What `Compliance` promises, in this process and behind HTTP: the same answers, the same conditions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import cast

import msgspec
import pytest

from rickhouse.compliance.contract import Compliance, PackInvalid
from rickhouse.compliance.pack import Pack
from rickhouse.compliance.service import ComplianceService
from rickhouse.customers.contract import CustomerForgotten, Customers
from rickhouse.kernel.errors import NotFound
from rickhouse.kernel.ids import CustomerId, DecisionId, VariantId
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.schema import role_of
from tests.compliance.conftest import NOON, Ages
from tests.compliance.samples import DAY, OWN_LICENCE, PACK, WHISKEY, changed_pack, sale
from tests.contracts.sides import SIDES, Side, on_side


@pytest.fixture(scope="module")
async def db(module_database_url: str) -> AsyncGenerator[Database]:
    """The slice's database under the slice's role."""
    url = url_for(module_database_url, user=role_of("compliance"))
    database = await Database(url, schema="compliance").open()
    yield database
    await database.close()


@pytest.fixture(scope="module")
def ages() -> Ages:
    """The buyers: a neighbour of the service on either side."""
    return Ages()


@pytest.fixture(scope="module", params=SIDES)
async def compliance(request: pytest.FixtureRequest, db: Database, ages: Ages) -> AsyncGenerator[Compliance]:
    """The contract, on either side, for a distillery in North Dakota with its own licence."""
    side: Side = request.param
    async with on_side(side, Compliance, "compliance", _law(db, ages)) as contract:
        yield contract


async def test_a_lawful_sale_is_allowed_decided_once_and_replayed_alike(
    compliance: Compliance, db: Database
) -> None:
    asked = sale()

    decision = await compliance.decide(asked)
    again = await compliance.decide(asked)
    replayed = await compliance.replay(decision.decision_id)

    assert decision.outcome == "allow"
    assert [reason.code for reason in decision.reasons] == ["in_state_open", "of_age"]
    assert all(reason.sources for reason in decision.reasons if reason.code == "in_state_open")
    assert (decision.minimum_age, decision.day, decision.decided_at) == (21, DAY, NOON)
    assert decision.pack_version == PACK.full_version
    assert decision == again == replayed
    stored = await db.fetch("select decision_id from decisions where order_id = $1", asked.order_id)
    assert [row["decision_id"] for row in stored] == [decision.decision_id.uuid]


async def test_what_no_rule_knows_is_denied_and_nobody_is_asked_for_an_age(
    compliance: Compliance, ages: Ages
) -> None:
    line = msgspec.structs.replace(WHISKEY, variant_id=VariantId.new(), spirit_class="moon juice")
    questions = len(ages.asked)

    unknown_class = await compliance.decide(sale(lines=(line,)))
    unknown_place = await compliance.decide(sale(destination="FR-75C"))
    no_lines = await compliance.decide(sale(lines=()))

    for decision in (unknown_class, unknown_place, no_lines):
        assert decision.outcome == "deny"
        assert decision.reasons != ()
    assert len(ages.asked) == questions


async def test_a_minor_is_denied(compliance: Compliance, ages: Ages) -> None:
    asked = sale()
    ages.minors.add(asked.customer_id)

    decision = await compliance.decide(asked)

    assert decision.outcome == "deny"
    assert [reason.code for reason in decision.reasons] == ["under_age"]


async def test_a_forgotten_buyer_is_told_by_the_condition_of_the_customers_contract(
    compliance: Compliance, ages: Ages, db: Database
) -> None:
    nobody = CustomerId.new()
    ages.forgotten.add(nobody)
    asked = sale(customer_id=nobody)

    with pytest.raises(CustomerForgotten):
        await compliance.decide(asked)

    assert await db.fetch("select from decisions where order_id = $1", asked.order_id) == []


async def test_a_decision_that_was_never_made_is_not_found(compliance: Compliance) -> None:
    with pytest.raises(NotFound) as refusal:
        await compliance.replay(DecisionId.new())

    assert refusal.value.detail == "There is no such decision."


@pytest.mark.parametrize("side", SIDES)
async def test_a_pack_that_changed_under_its_version_decides_nothing(
    side: Side, compliance: Compliance, db: Database, ages: Ages
) -> None:
    await compliance.decide(sale())
    changed = changed_pack(lambda tree: tree["sources"]["ca-abc94"].update(title="Another book"))
    assert changed.full_version == PACK.full_version
    asked = sale()

    async with on_side(side, Compliance, "compliance", _law(db, ages, changed)) as changed_law:
        with pytest.raises(PackInvalid) as refusal:
            await changed_law.decide(asked)

    assert refusal.value.facts == {
        "file": PACK.full_version,
        "place": "version",
        "rule": "a version stands for one text",
    }
    assert await db.fetch("select from decisions where order_id = $1", asked.order_id) == []


def _law(db: Database, ages: Ages, pack: Pack = PACK) -> ComplianceService:
    return ComplianceService(
        db,
        customers=cast("Customers", ages),
        pack=pack,
        permits=OWN_LICENCE.permits,
        clock=lambda: NOON,
    )
