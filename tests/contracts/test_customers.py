"""What `Customers` promises, in this process and behind HTTP: the same answers, the same conditions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import date
from typing import Any

import pytest

from rickhouse.customers.contract import (
    AgeOutcome,
    AgeProof,
    CustomerForgotten,
    Customers,
    MaskedCustomer,
    PersonInvalid,
)
from rickhouse.customers.service import CustomersService
from rickhouse.kernel.errors import Unavailable
from rickhouse.kernel.ids import CustomerId, OrderId
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.keyfile import KeyFile
from rickhouse.platform.schema import role_of
from tests.contracts.sides import SIDES, Side, on_side
from tests.customers.samples import ScriptedBureau, somebody


@pytest.fixture(scope="module")
async def db(module_database_url: str) -> AsyncGenerator[Database]:
    """The slice's database under the slice's role."""
    url = url_for(module_database_url, user=role_of("customers"))
    database = await Database(url, schema="customers").open()
    yield database
    await database.close()


@pytest.fixture(scope="module")
def script() -> ScriptedBureau:
    """The bureau behind the contract."""
    return ScriptedBureau()


@pytest.fixture
def bureau(script: ScriptedBureau) -> ScriptedBureau:
    """A bureau that was asked nothing yet and proves every age until told otherwise."""
    script.outcome = "proven"
    script.asked.clear()
    return script


@pytest.fixture(scope="module", params=SIDES)
async def customers(
    request: pytest.FixtureRequest,
    db: Database,
    script: ScriptedBureau,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[Customers]:
    """The contract, on either side, on a vault that both have the key of."""
    side: Side = request.param
    keys = KeyFile.load(tmp_path_factory.getbasetemp() / "contract-keys" / "customers.json")
    async with on_side(
        side, Customers, "customers", CustomersService(db, keys=keys, bureau=script)
    ) as contract:
        yield contract


async def test_the_same_person_is_the_same_customer_and_the_same_order_the_same_answer(
    customers: Customers,
) -> None:
    person = somebody(name="Zoë Ångström", line2="Straße 3", phone="")
    order_id = OrderId.new()

    first = await customers.register(order_id, person)
    repeated = await customers.register(order_id, person)
    next_order = await customers.register(OrderId.new(), person)
    somebody_else = await customers.register(OrderId.new(), somebody())

    assert first == repeated == next_order
    assert first.region == "US-ND"
    assert somebody_else.customer_id != first.customer_id
    assert await customers.masked(first.customer_id) == MaskedCustomer(
        customer_id=first.customer_id,
        name="Z••• Å•••",
        email=f"{person.email[0]}•••@example.com",
        phone="",
        birth_year=1985,
        city="Medora",
        region="US-ND",
    )


@pytest.mark.parametrize(
    ("changes", "field", "rule"),
    [
        ({"name": "   "}, "name", "required"),
        ({"name": "A" * 201}, "name", "max_length"),
        ({"name": "A\0da"}, "name", "characters"),
        ({"name": "A" * 100_000}, "name", "max_length"),
        ({"email": "nobody"}, "email", "rfc5321"),
        ({"email": f"{'a' * 250}@example.com"}, "email", "rfc5321"),
        ({"phone": "0701 555"}, "phone", "e164"),
        ({"phone": "+" + "1" * 40}, "phone", "e164"),
        ({"birth_date": date(1899, 12, 31)}, "birth_date", "range"),
        ({"birth_date": date(2999, 1, 1)}, "birth_date", "range"),
        ({"country": "USA"}, "address.country", "iso_3166_1"),
        ({"region": "US-XX"}, "address.region", "iso_3166_2"),
        ({"region": "US-" + "N" * 30}, "address.region", "iso_3166_2"),
        ({"postal_code": "123"}, "address.postal_code", "us_zip"),
        ({"postal_code": "1" * 30}, "address.postal_code", "us_zip"),
        ({"line1": "x" * 201}, "address.line1", "max_length"),
        ({"line2": "x" * 201}, "address.line2", "max_length"),
        ({"city": ""}, "address.city", "required"),
    ],
)
async def test_a_field_that_breaks_a_rule_is_named_and_its_value_is_not(
    customers: Customers, db: Database, changes: dict[str, Any], field: str, rule: str
) -> None:
    known = await _customers_on_file(db)

    with pytest.raises(PersonInvalid) as refusal:
        await customers.register(OrderId.new(), somebody(**changes))

    assert refusal.value.facts == {"field": field, "rule": rule}
    (value,) = changes.values()
    assert str(value).strip() == "" or str(value) not in refusal.value.detail
    assert await _customers_on_file(db) == known


async def test_the_stated_birth_date_decides_on_the_day(customers: Customers) -> None:
    known = await customers.register(OrderId.new(), somebody(birth_date=date(2005, 12, 1)))

    assert await customers.is_of_age(known.customer_id, 21, date(2026, 11, 30)) is False
    assert await customers.is_of_age(known.customer_id, 21, date(2026, 12, 1)) is True


@pytest.mark.parametrize("outcome", ["proven", "refused", "review"])
async def test_an_age_is_proven_by_the_bureau_and_the_answer_stands(
    customers: Customers, bureau: ScriptedBureau, outcome: AgeOutcome
) -> None:
    bureau.outcome = outcome
    known = await customers.register(OrderId.new(), somebody())

    first = await customers.prove_age(known.customer_id, 21)
    again = await customers.prove_age(known.customer_id, 21)

    assert first == again == AgeProof(outcome, 21, "ref-1")
    assert [question.minimum_age for question in bureau.asked] == [21]


async def test_a_minor_by_the_stated_birth_date_is_refused_and_the_bureau_is_not_asked(
    customers: Customers, bureau: ScriptedBureau
) -> None:
    known = await customers.register(OrderId.new(), somebody(birth_date=date(2015, 1, 1)))

    assert await customers.prove_age(known.customer_id, 21) == AgeProof("refused", 21, "")
    assert await customers.prove_age(known.customer_id, 0) == AgeProof("refused", 0, "")
    assert bureau.asked == []


async def test_nothing_is_proven_while_the_bureau_is_away(
    customers: Customers, bureau: ScriptedBureau
) -> None:
    known = await customers.register(OrderId.new(), somebody())
    bureau.outcome = None

    with pytest.raises(Unavailable) as refusal:
        await customers.prove_age(known.customer_id, 21)

    assert refusal.value.detail == "The age bureau does not answer, so no age is proven; try again shortly."
    bureau.outcome = "proven"
    assert (await customers.prove_age(known.customer_id, 21)).outcome == "proven"


async def test_somebody_who_is_not_on_file_is_forgotten(customers: Customers, bureau: ScriptedBureau) -> None:
    nobody = CustomerId.new()

    with pytest.raises(CustomerForgotten) as masked:
        await customers.masked(nobody)
    with pytest.raises(CustomerForgotten) as of_age:
        await customers.is_of_age(nobody, 21, date(2026, 12, 1))
    with pytest.raises(CustomerForgotten) as proven:
        await customers.prove_age(nobody, 21)

    for refusal in (masked, of_age, proven):
        assert refusal.value.detail == "There is no such customer, or they have been forgotten."
    assert bureau.asked == []


async def _customers_on_file(db: Database) -> int:
    row = await db.fetchrow("select count(*)::int as customers from customers")
    assert row is not None
    return row["customers"]
