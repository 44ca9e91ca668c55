"""The keyring: made once, found again, refused where it does not fit; and fields that open in their own place alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import permutations
from pathlib import Path
from typing import Final

import pytest

from rickhouse.customers.service import CustomersService
from rickhouse.kernel.errors import Condition
from rickhouse.kernel.ids import CustomerId, OrderId
from rickhouse.platform.crypto import (
    KeyDescription,
    KeyRefused,
    KeyService,
    KeyServiceAway,
    KeyVersionUnknown,
    SealBroken,
    Wrapped,
    new_key,
)
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.keyfile import KeyFile
from rickhouse.platform.schema import role_of
from tests.customers.samples import ScriptedBureau, somebody

PURPOSES: Final = ["address", "email", "identity", "people"]
SEALED: Final = {
    "customers": ("name", "email", "phone", "birth_date"),
    "addresses": ("line1", "line2", "city", "postal_code"),
}
"""The sealed columns of each table."""


class LeavingService:
    """A key service that can go away and come back."""

    def __init__(self, keys: KeyService) -> None:
        self._keys = keys
        self.away = False

    async def wrap(self, key: bytes, context: str) -> Wrapped:
        """See KeyService."""
        return await self._reached().wrap(key, context)

    async def unwrap(self, wrapped: Wrapped, context: str) -> bytes:
        """See KeyService."""
        return await self._reached().unwrap(wrapped, context)

    async def describe(self) -> KeyDescription:
        """See KeyService."""
        return await self._reached().describe()

    def _reached(self) -> KeyService:
        if self.away:
            raise KeyServiceAway("Nobody answers.")
        return self._keys


def a_service(db: Database, keys: KeyService) -> CustomersService:
    """A vault of a process that has just started."""
    return CustomersService(db, keys=keys, bureau=ScriptedBureau())


async def keyring(admin: Database) -> list[tuple[str, int]]:
    """Purpose and version of every key on file."""
    rows = await admin.fetch("select purpose, version from customers_keys.keyring order by purpose, version")
    return [(row["purpose"], row["version"]) for row in rows]


async def test_processes_that_start_at_once_agree_on_one_keyring(
    open_slice: Callable[[str], Awaitable[Database]], keys: KeyFile
) -> None:
    db = await open_slice("customers")
    order_id, person = OrderId.new(), somebody()
    answers = await asyncio.gather(*(a_service(db, keys).register(order_id, person) for _ in range(8)))
    assert answers == [answers[0]] * 8
    assert await keyring(db) == [(purpose, 1) for purpose in PURPOSES]


async def test_process_started_later_opens_what_an_earlier_one_sealed(db: Database, keys: KeyFile) -> None:
    person = somebody()
    found = await a_service(db, keys).register(OrderId.new(), person)
    assert await a_service(db, keys).register(OrderId.new(), person) == found
    assert (await a_service(db, keys).masked(found.customer_id)).city == "Medora"


async def test_another_key_file_is_refused_and_opens_nothing(
    db: Database, keys: KeyFile, tmp_path: Path
) -> None:
    found = await a_service(db, keys).register(OrderId.new(), somebody())
    stranger = a_service(db, KeyFile.load(tmp_path / "other.json"))
    before = await keyring(db)
    for attempt in (stranger.masked(found.customer_id), stranger.register(OrderId.new(), somebody())):
        with pytest.raises(KeyRefused):
            await attempt
    assert await keyring(db) == before


async def test_vault_recovers_by_itself_when_the_key_service_is_back(db: Database, keys: KeyFile) -> None:
    leaving = LeavingService(keys)
    service = a_service(db, leaving)
    person = somebody()
    leaving.away = True
    with pytest.raises(KeyServiceAway):
        await service.register(OrderId.new(), person)
    leaving.away = False
    found = await service.register(OrderId.new(), person)
    leaving.away = True
    # The keyring is in memory now.
    assert (await service.masked(found.customer_id)).city == "Medora"


async def test_lost_key_store_is_refused_and_no_new_keys_are_made(
    open_slice: Callable[[str], Awaitable[Database]], database_url: str, keys: KeyFile
) -> None:
    db = await open_slice("customers")
    await a_service(db, keys).register(OrderId.new(), somebody())
    admin = await Database(database_url, schema="customers").open()
    try:
        await admin.execute("delete from customers_keys.keyring")
    finally:
        await admin.close()
    with pytest.raises(KeyRefused, match="restore the schema customers_keys from its backup"):
        await a_service(db, keys).register(OrderId.new(), somebody())
    assert await keyring(db) == []


async def test_version_that_another_process_added_is_fetched(
    open_slice: Callable[[str], Awaitable[Database]], keys: KeyFile
) -> None:
    db = await open_slice("customers")
    old = a_service(db, keys)
    person = somebody()
    first = await old.register(OrderId.new(), person)
    for purpose in PURPOSES:
        wrapped = await keys.wrap(new_key(), f"customers/{purpose}/2")
        await db.execute(
            "insert into customers_keys.keyring (purpose, version, key_id, wrapped) values ($1, 2, $2, $3)",
            purpose,
            wrapped.key_id,
            wrapped.ciphertext,
        )
    rotated = a_service(db, keys)
    second = await rotated.register(OrderId.new(), somebody())
    versions = await db.fetch("select keyring_version from customers_keys.data_keys order by created_at")
    assert [row["keyring_version"] for row in versions] == [1, 2]
    # The process with the old keyring opens what the new version sealed; the new one still finds by the old digests.
    assert (await old.masked(second.customer_id)).city == "Medora"
    assert await rotated.register(OrderId.new(), person) == first
    assert len(await rotated.look_up(person.email)) == 1


async def test_missing_version_is_a_named_error(db: Database, keys: KeyFile) -> None:
    service = a_service(db, keys)
    found = await service.register(OrderId.new(), somebody())
    await db.execute(
        "update customers_keys.data_keys set keyring_version = 9 where customer_id = $1", found.customer_id
    )
    with pytest.raises(KeyVersionUnknown, match="no version 9"):
        await service.masked(found.customer_id)


@pytest.mark.parametrize("table", SEALED)
async def test_field_moved_to_another_column_does_not_open(db: Database, keys: KeyFile, table: str) -> None:
    service = a_service(db, keys)
    for source, target in permutations(SEALED[table], 2):
        found = await service.register(OrderId.new(), somebody())
        await db.execute(
            f"update {table} set {target} = {source} where customer_id = $1",  # noqa: S608  constants
            found.customer_id,
        )
        assert await refusal(service, found.customer_id), f"{source} opened as {target}"


@pytest.mark.parametrize("table", SEALED)
async def test_field_moved_to_another_row_does_not_open(db: Database, keys: KeyFile, table: str) -> None:
    service = a_service(db, keys)
    for column in SEALED[table]:
        one = await service.register(OrderId.new(), somebody())
        other = await service.register(OrderId.new(), somebody())
        await db.execute(
            f"update {table} as one set {column} = other.{column} from {table} as other "  # noqa: S608  constants
            "where one.customer_id = $1 and other.customer_id = $2",
            one.customer_id,
            other.customer_id,
        )
        assert await refusal(service, one.customer_id), f"{column} opened in another row"


@pytest.mark.parametrize("column", SEALED["addresses"])
async def test_field_moved_between_addresses_of_one_person_does_not_open(
    db: Database, keys: KeyFile, column: str
) -> None:
    service = a_service(db, keys)
    person = somebody()
    await service.register(OrderId.new(), person)
    moved = somebody(email=person.email, city="Fargo")
    found = await service.register(OrderId.new(), moved)
    await db.execute(
        f"update addresses as one set {column} = other.{column} from addresses as other "  # noqa: S608  constants
        "where one.address_id = $1 and other.customer_id = one.customer_id and other.address_id <> $1",
        found.address_id,
    )
    assert await refusal(service, found.customer_id)


async def test_data_key_of_another_person_does_not_open(db: Database, keys: KeyFile) -> None:
    service = a_service(db, keys)
    one = await service.register(OrderId.new(), somebody())
    other = await service.register(OrderId.new(), somebody())
    await db.execute(
        "update customers_keys.data_keys as one set wrapped = other.wrapped from customers_keys.data_keys as other "
        "where one.customer_id = $1 and other.customer_id = $2",
        one.customer_id,
        other.customer_id,
    )
    assert await refusal(service, one.customer_id)


async def test_shortened_field_does_not_open(db: Database, keys: KeyFile) -> None:
    service = a_service(db, keys)
    found = await service.register(OrderId.new(), somebody())
    await db.execute(
        "update customers set name = substring(name for 20) where customer_id = $1", found.customer_id
    )
    assert await refusal(service, found.customer_id)


async def refusal(service: CustomersService, customer_id: CustomerId) -> bool:
    """Whether the customer does not open, which is a mistake of ours and no answer of the contract."""
    try:
        await service.prove_age(customer_id, 21)
    except SealBroken as broken:
        return not isinstance(broken, Condition)
    return False


async def test_slice_role_reaches_its_key_store_and_no_other_role_does(
    module_database_url: str, db: Database
) -> None:
    assert await db.fetchrow("select count(*) from customers_keys.data_keys") is not None
    for slice_name in ("orders", "inventory"):
        other = Database(url_for(module_database_url, user=role_of(slice_name)), schema=slice_name)
        await other.open()
        try:
            with pytest.raises(Exception, match="permission denied for schema customers_keys"):
                await other.fetchrow("select count(*) from customers_keys.data_keys")
        finally:
            await other.close()
