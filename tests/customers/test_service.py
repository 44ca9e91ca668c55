"""The vault's promises to the other slices: who is registered, what is shown, who is of age, and how that is proven."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec
import pytest

from rickhouse.customers.contract import (
    AgeOutcome,
    AgeProof,
    CustomerForgotten,
    MaskedCustomer,
    PersonInvalid,
    Registered,
)
from rickhouse.customers.service import CustomersService
from rickhouse.kernel.errors import Unavailable
from rickhouse.kernel.ids import CustomerId, OrderId
from rickhouse.platform.db import Database
from rickhouse.platform.keyfile import KeyFile
from tests.customers.samples import ScriptedBureau, somebody

TABLES: Final = (
    "customers",
    "addresses",
    "registrations",
    "age_proofs",
    "events",
    "customers_keys.data_keys",
)


async def counts(admin: Database) -> dict[str, int]:
    """How many rows each table has."""
    found = {table: await admin.fetchrow(f"select count(*) from {table}") for table in TABLES}  # noqa: S608  constants
    return {table: row[0] for table, row in found.items() if row is not None}


async def added(admin: Database, before: dict[str, int]) -> dict[str, int]:
    """The tables that have grown, and by how much."""
    after = await counts(admin)
    return {table: after[table] - before[table] for table in TABLES if after[table] != before[table]}


async def events_about(admin: Database, customer_id: CustomerId) -> list[tuple[str, dict[str, Any]]]:
    """Kind and body of the customer's events, in order."""
    rows = await admin.fetch(
        "select kind, body::text from events where subject = $1 order by xid, seq", customer_id
    )
    return [(row["kind"], msgspec.json.decode(row["body"])) for row in rows]


# ------------------------------------------------------------------------------------------------ registering


async def test_new_guest_becomes_a_customer(service: CustomersService, admin: Database) -> None:
    before = await counts(admin)
    found = await service.register(OrderId.new(), somebody())
    assert found.region == "US-ND"
    assert await added(admin, before) == {
        "customers": 1,
        "addresses": 1,
        "registrations": 1,
        "events": 1,
        "customers_keys.data_keys": 1,
    }
    assert await events_about(admin, found.customer_id) == [
        ("customers.customer_registered", {"customer_id": str(found.customer_id)})
    ]


async def test_same_order_gets_the_same_answer_whoever_is_named(
    service: CustomersService, admin: Database
) -> None:
    order_id, person = OrderId.new(), somebody()
    first = await service.register(order_id, person)
    before = await counts(admin)
    assert await service.register(order_id, person) == first
    assert await service.register(order_id, somebody(region="US-SD")) == first
    assert await added(admin, before) == {}


async def test_same_person_is_the_same_customer_and_keeps_what_was_given_first(
    service: CustomersService, admin: Database
) -> None:
    person = somebody(email="grace@example.com", phone="+17015550142")
    first = await service.register(OrderId.new(), person)
    before = await counts(admin)
    again = msgspec.structs.replace(
        person, email="GRACE@example.com", name="ada  example", phone="+17015550199"
    )
    assert await service.register(OrderId.new(), again) == first
    assert await added(admin, before) == {"registrations": 1}
    assert (await service.masked(first.customer_id)).phone == "•••• 42"


async def test_known_person_at_another_address_gets_a_second_address(
    service: CustomersService, admin: Database
) -> None:
    person = somebody()
    home = await service.register(OrderId.new(), person)
    away_order = OrderId.new()
    away_person = msgspec.structs.replace(
        person, address=msgspec.structs.replace(person.address, city="Rapid City", region="US-SD")
    )
    before = await counts(admin)
    away = await service.register(away_order, away_person)
    assert await added(admin, before) == {"addresses": 1, "registrations": 1}
    assert (away.customer_id, away.region) == (home.customer_id, "US-SD")
    assert away.address_id != home.address_id
    assert (await service.masked(home.customer_id)).city == "Rapid City"
    assert await service.register(away_order, away_person) == away
    assert await service.register(OrderId.new(), person) == home
    assert await service.register(OrderId.new(), away_person) == away


@pytest.mark.parametrize("changes", [{"name": "Grace Example"}, {"birth_date": date(1985, 4, 13)}])
async def test_somebody_else_with_the_same_mailbox_is_another_customer(
    service: CustomersService, changes: dict[str, Any]
) -> None:
    person = somebody()
    first = await service.register(OrderId.new(), person)
    second = await service.register(OrderId.new(), msgspec.structs.replace(person, **changes))
    assert second.customer_id != first.customer_id
    assert (await service.masked(first.customer_id)).name == "A••• E•••"


async def test_invalid_person_is_refused_and_nothing_is_kept(
    service: CustomersService, admin: Database
) -> None:
    before = await counts(admin)
    with pytest.raises(PersonInvalid) as refused:
        await service.register(OrderId.new(), somebody(email="nobody"))
    assert refused.value.facts == {"field": "email", "rule": "rfc5321"}
    assert await added(admin, before) == {}


async def test_twenty_registrations_of_one_order_at_once_agree(
    service: CustomersService, admin: Database
) -> None:
    await service.register(OrderId.new(), somebody())  # the keyring is loaded before the race
    order_id, person = OrderId.new(), somebody()
    before = await counts(admin)
    answers = await asyncio.gather(*(service.register(order_id, person) for _ in range(20)))
    assert answers == [answers[0]] * 20
    assert await added(admin, before) == {
        "customers": 1,
        "addresses": 1,
        "registrations": 1,
        "events": 1,
        "customers_keys.data_keys": 1,
    }


async def test_different_people_racing_for_one_order_leave_only_the_first(
    service: CustomersService, admin: Database
) -> None:
    order_id, before = OrderId.new(), await counts(admin)
    answers = await asyncio.gather(*(service.register(order_id, somebody()) for _ in range(20)))
    assert answers == [answers[0]] * 20
    assert (await added(admin, before))["customers"] == 1


async def test_one_person_with_twenty_orders_at_once_is_one_customer(
    service: CustomersService, admin: Database
) -> None:
    person, before = somebody(), await counts(admin)
    answers = await asyncio.gather(*(service.register(OrderId.new(), person) for _ in range(20)))
    assert answers == [answers[0]] * 20
    assert await added(admin, before) == {
        "customers": 1,
        "addresses": 1,
        "registrations": 20,
        "events": 1,
        "customers_keys.data_keys": 1,
    }


async def test_known_person_racing_to_one_new_address_has_it_once(
    service: CustomersService, admin: Database
) -> None:
    person = somebody()
    await service.register(OrderId.new(), person)
    moved = msgspec.structs.replace(person, address=msgspec.structs.replace(person.address, city="Fargo"))
    before = await counts(admin)
    answers = await asyncio.gather(*(service.register(OrderId.new(), moved) for _ in range(20)))
    assert answers == [answers[0]] * 20
    assert await added(admin, before) == {"addresses": 1, "registrations": 20}


# ---------------------------------------------------------------------------------------------- masks and age


async def test_masked_customer_shows_initials_year_city_and_region(service: CustomersService) -> None:
    person = somebody(email="jane@example.com", name="Jane Doe", phone="+17015550142")
    found = await service.register(OrderId.new(), person)
    assert await service.masked(found.customer_id) == MaskedCustomer(
        customer_id=found.customer_id,
        name="J••• D•••",
        email="j•••@example.com",
        phone="•••• 42",
        birth_year=1985,
        city="Medora",
        region="US-ND",
    )


async def test_fields_that_were_left_out_stay_empty(service: CustomersService) -> None:
    person = somebody(phone="", line2="", country="AE", region="AE-DU", postal_code="")
    found = await service.register(OrderId.new(), person)
    masked = await service.masked(found.customer_id)
    assert (masked.phone, masked.region) == ("", "AE-DU")


async def test_look_up_finds_every_customer_of_a_mailbox_in_any_case(service: CustomersService) -> None:
    person = somebody(email="Shared@example.com")
    first = await service.register(OrderId.new(), person)
    second = await service.register(OrderId.new(), msgspec.structs.replace(person, name="Bob Example"))
    found = await service.look_up(" shared@EXAMPLE.com")
    assert [customer.customer_id for customer in found] == [first.customer_id, second.customer_id]
    assert [customer.name for customer in found] == ["A••• E•••", "B••• E•••"]
    assert await service.look_up("nobody@example.com") == ()


async def test_age_is_answered_with_yes_or_no(service: CustomersService) -> None:
    found = await service.register(OrderId.new(), somebody(birth_date=date(2005, 3, 1)))
    assert await service.is_of_age(found.customer_id, 21, date(2026, 3, 1)) is True
    assert await service.is_of_age(found.customer_id, 21, date(2026, 2, 28)) is False


async def test_unknown_customer_is_forgotten_everywhere(
    service: CustomersService, bureau: ScriptedBureau
) -> None:
    nobody = CustomerId.new()
    with pytest.raises(CustomerForgotten):
        await service.masked(nobody)
    with pytest.raises(CustomerForgotten):
        await service.is_of_age(nobody, 21, date(2026, 1, 1))
    with pytest.raises(CustomerForgotten):
        await service.prove_age(nobody, 21)
    assert bureau.asked == []


async def test_customer_whose_key_is_destroyed_is_forgotten(
    service: CustomersService, db: Database, bureau: ScriptedBureau
) -> None:
    person = somebody()
    found = await service.register(OrderId.new(), person)
    await db.execute("delete from customers_keys.data_keys where customer_id = $1", found.customer_id)
    with pytest.raises(CustomerForgotten):
        await service.masked(found.customer_id)
    with pytest.raises(CustomerForgotten):
        await service.is_of_age(found.customer_id, 21, date(2026, 1, 1))
    with pytest.raises(CustomerForgotten):
        await service.prove_age(found.customer_id, 21)
    assert await service.look_up(person.email) == ()
    assert bureau.asked == []


# ------------------------------------------------------------------------------------------------- age proof


async def registered(service: CustomersService, **changes: Any) -> Registered:  # noqa: ANN401  a field of any type
    """A new customer with these fields."""
    return await service.register(OrderId.new(), somebody(**changes))


async def age_proofs(admin: Database, customer_id: CustomerId) -> list[tuple[Any, ...]]:
    """Minimum age, attempt, outcome, bureau and reference of every answer on file."""
    rows = await admin.fetch(
        "select minimum_age, attempt, outcome, bureau, reference from age_proofs where customer_id = $1 "
        "order by answered_at",
        customer_id,
    )
    return [tuple(row) for row in rows]


async def test_bureau_proves_the_age_and_the_proof_is_kept_with_its_event(
    service: CustomersService, bureau: ScriptedBureau, admin: Database
) -> None:
    customer_id = (await registered(service, name="Jane Doe")).customer_id
    assert await service.prove_age(customer_id, 21) == AgeProof("proven", 21, "ref-1")
    (question,) = bureau.asked
    assert (question.key, question.minimum_age, question.name) == (f"{customer_id}.21.1", 21, "Jane Doe")
    assert (question.birth_date, question.address) == (date(1985, 4, 12), somebody().address)
    assert await age_proofs(admin, customer_id) == [(21, 1, "proven", "scripted", "ref-1")]
    assert (await events_about(admin, customer_id))[1:] == [
        (
            "customers.age_proven",
            {"customer_id": str(customer_id), "minimum_age": 21, "reference": "ref-1"},
        )
    ]


async def test_proof_on_file_covers_the_same_and_every_lower_age(
    service: CustomersService, bureau: ScriptedBureau
) -> None:
    customer_id = (await registered(service)).customer_id
    await service.prove_age(customer_id, 21)
    assert await service.prove_age(customer_id, 21) == AgeProof("proven", 21, "ref-1")
    assert await service.prove_age(customer_id, 18) == AgeProof("proven", 21, "ref-1")
    assert len(bureau.asked) == 1
    assert await service.prove_age(customer_id, 25) == AgeProof("proven", 25, "ref-2")


async def test_proof_that_is_too_old_is_asked_for_anew(
    service: CustomersService, bureau: ScriptedBureau, admin: Database
) -> None:
    customer_id = (await registered(service)).customer_id
    await service.prove_age(customer_id, 21)
    for days, asked in ((364, 1), (366, 2)):
        await admin.execute(
            "update age_proofs set answered_at = now() - $2 * interval '1 day' where customer_id = $1",
            customer_id,
            days,
        )
        assert await service.prove_age(customer_id, 21) == AgeProof("proven", 21, f"ref-{asked}")
        assert len(bureau.asked) == asked
    assert [question.key[-5:] for question in bureau.asked] == [".21.1", ".21.2"]


@pytest.mark.parametrize("outcome", ["refused", "review"])
async def test_refusal_and_review_are_kept_without_event_and_stand_for_a_while(
    service: CustomersService, bureau: ScriptedBureau, admin: Database, outcome: AgeOutcome
) -> None:
    customer_id = (await registered(service)).customer_id
    bureau.outcome = outcome
    assert await service.prove_age(customer_id, 21) == AgeProof(outcome, 21, "ref-1")
    assert await age_proofs(admin, customer_id) == [(21, 1, outcome, "scripted", "ref-1")]
    assert [kind for kind, _ in await events_about(admin, customer_id)] == ["customers.customer_registered"]
    bureau.outcome = "proven"
    assert await service.prove_age(customer_id, 21) == AgeProof(outcome, 21, "ref-1")
    assert len(bureau.asked) == 1
    await admin.execute(
        "update age_proofs set answered_at = now() - interval '601 seconds' where customer_id = $1",
        customer_id,
    )
    assert await service.prove_age(customer_id, 21) == AgeProof("proven", 21, "ref-2")


async def test_bureau_that_is_away_proves_nothing_and_is_asked_again_under_the_same_key(
    service: CustomersService, bureau: ScriptedBureau, admin: Database
) -> None:
    customer_id = (await registered(service)).customer_id
    bureau.outcome = None
    with pytest.raises(Unavailable):
        await service.prove_age(customer_id, 21)
    assert await age_proofs(admin, customer_id) == []
    bureau.outcome = "proven"
    assert (await service.prove_age(customer_id, 21)).outcome == "proven"
    assert bureau.asked[0].key == bureau.asked[1].key


async def test_too_young_by_the_stated_birth_date_is_refused_without_asking_anybody(
    db: Database, keys: KeyFile, bureau: ScriptedBureau, admin: Database
) -> None:
    day = [datetime(2026, 2, 28, 23, tzinfo=UTC)]
    service = CustomersService(db, keys=keys, bureau=bureau, clock=lambda: day[0])
    customer_id = (await registered(service, birth_date=date(2005, 3, 1))).customer_id
    assert await service.prove_age(customer_id, 21) == AgeProof("refused", 21, "")
    assert (bureau.asked, await age_proofs(admin, customer_id)) == ([], [])
    day[0] = datetime(2026, 3, 1, tzinfo=UTC)
    assert (await service.prove_age(customer_id, 21)).outcome == "proven"


@pytest.mark.parametrize("minimum_age", [0, -1])
async def test_no_age_at_all_is_never_proven(
    service: CustomersService, bureau: ScriptedBureau, minimum_age: int
) -> None:
    customer_id = (await registered(service)).customer_id
    assert (await service.prove_age(customer_id, minimum_age)).outcome == "refused"
    assert bureau.asked == []


async def test_twenty_callers_at_once_share_one_question(
    service: CustomersService, bureau: ScriptedBureau, admin: Database
) -> None:
    customer_id = (await registered(service)).customer_id
    bureau.delay_s = 0.05
    proofs = await asyncio.gather(*(service.prove_age(customer_id, 21) for _ in range(20)))
    assert proofs == [AgeProof("proven", 21, "ref-1")] * 20
    assert len(bureau.asked) == 1
    assert len(await age_proofs(admin, customer_id)) == 1


async def test_callers_in_two_processes_ask_under_one_key_and_answer_what_was_stored_first(
    db: Database, keys: KeyFile, service: CustomersService, admin: Database
) -> None:
    customer_id = (await registered(service)).customer_id
    slow, quick = ScriptedBureau("proven", delay_s=0.2), ScriptedBureau("refused")
    answers = await asyncio.gather(
        CustomersService(db, keys=keys, bureau=slow).prove_age(customer_id, 21),
        CustomersService(db, keys=keys, bureau=quick).prove_age(customer_id, 21),
    )
    # An honest bureau answers one key once; this pair does not, so that it shows whose answer counts.
    assert answers == [AgeProof("refused", 21, "ref-1")] * 2
    assert [question.key for question in slow.asked] == [question.key for question in quick.asked]
    assert await age_proofs(admin, customer_id) == [(21, 1, "refused", "scripted", "ref-1")]
    assert [kind for kind, _ in await events_about(admin, customer_id)] == ["customers.customer_registered"]


async def test_caller_that_gives_up_leaves_the_question_to_the_others(
    service: CustomersService, bureau: ScriptedBureau
) -> None:
    customer_id = (await registered(service)).customer_id
    bureau.delay_s = 0.05
    impatient = asyncio.create_task(service.prove_age(customer_id, 21))
    patient = asyncio.create_task(service.prove_age(customer_id, 21))
    await asyncio.sleep(0.01)
    impatient.cancel()
    assert (await patient).outcome == "proven"
    assert len(bureau.asked) == 1
