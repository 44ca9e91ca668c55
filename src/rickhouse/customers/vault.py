"""The vault's keys and what is done with them: people and addresses sealed, opened, and found by blind index.

Which field is bound to which row is settled here and nowhere else. Rules about people belong in `model`.
"""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Final

import msgspec

from rickhouse.customers import sql
from rickhouse.customers.contract import Address, Person
from rickhouse.customers.model import SealedAddress, SealedPerson
from rickhouse.customers.sql import KeyringKey, SealedCustomer
from rickhouse.kernel.ids import AddressId, CustomerId
from rickhouse.platform.crypto import (
    BlindIndex,
    DataKey,
    KeyRefused,
    Keyring,
    KeyService,
    KeyVersionUnknown,
    WrappedDataKey,
    new_key,
)
from rickhouse.platform.db import Database

_PURPOSES: Final = ("people", "identity", "email", "address")
"""`people` wraps data keys; the others are of one blind index each."""


class Keys(msgspec.Struct, frozen=True):
    """The keyring, unwrapped: held in memory for as long as the process runs."""

    people: Keyring
    identity: BlindIndex
    email: BlindIndex
    address: BlindIndex


class Vault:
    """Opens the keyring once, by the key service, and again when another process has added a version."""

    def __init__(self, db: Database, service: KeyService) -> None:
        self._db = db
        self._service = service
        self._keys: Keys | None = None
        self._loading = asyncio.Lock()

    async def keys(self) -> Keys:
        """The keyring, made now where the database has none and nobody on file.

        Raises KeyServiceAway, KeyRefused, DatabaseAway.
        """
        if self._keys is None:
            async with self._loading:
                if self._keys is None:
                    self._keys = await self._load()
        return self._keys

    async def data_key(self, customer_id: CustomerId, wrapped: WrappedDataKey) -> DataKey:
        """The person's data key. Raises SealBroken, KeyVersionUnknown and what `keys` raises."""
        keys = await self.keys()
        try:
            return keys.people.open(customer_id.uuid, wrapped)
        except KeyVersionUnknown:
            self._keys = keys = await self._load()
            return keys.people.open(customer_id.uuid, wrapped)

    async def open_customer(self, customer: SealedCustomer) -> Person:
        """The person in clear, at the newest address. Raises as `data_key` does."""
        key = await self.data_key(customer.customer_id, customer.data_key)
        return open_person(key, customer)

    async def _load(self) -> Keys:
        found = await sql.load_keyring(self._db)
        missing = set(_PURPOSES) - {key.purpose for key in found}
        if missing:
            if await sql.are_keys_lost(self._db):
                raise KeyRefused(
                    "There are customers on file and no keys: restore the schema customers_keys from its backup."
                )
            await sql.add_to_keyring(self._db, [await self._new(purpose) for purpose in sorted(missing)])
            # Another process may have added its own keys first: what stands in the database counts.
            found = await sql.load_keyring(self._db)
        keys: dict[str, dict[int, bytes]] = {purpose: {} for purpose in _PURPOSES}
        for key in found:
            keys[key.purpose][key.version] = await self._service.unwrap(
                key.wrapped, _context(key.purpose, key.version)
            )
        return Keys(
            people=Keyring(keys["people"]),
            identity=BlindIndex(keys["identity"]),
            email=BlindIndex(keys["email"]),
            address=BlindIndex(keys["address"]),
        )

    async def _new(self, purpose: str) -> KeyringKey:
        return KeyringKey(purpose, 1, await self._service.wrap(new_key(), _context(purpose, 1)))


def _context(purpose: str, version: int) -> str:
    return f"customers/{purpose}/{version}"


def seal_person(key: DataKey, customer_id: CustomerId, person: Person) -> SealedPerson:
    """Each field of the person, sealed for its place in the customer's row."""
    row = customer_id.uuid
    return SealedPerson(
        name=key.seal(row, "name", person.name),
        email=key.seal(row, "email", person.email),
        phone=key.seal(row, "phone", person.phone) if person.phone else None,
        birth_date=key.seal(row, "birth_date", person.birth_date.isoformat()),
    )


def seal_address(key: DataKey, address_id: AddressId, address: Address) -> SealedAddress:
    """Each field of the address, sealed for its place in the address's row."""
    row = address_id.uuid
    return SealedAddress(
        region=address.region,
        line1=key.seal(row, "line1", address.line1),
        line2=key.seal(row, "line2", address.line2) if address.line2 else None,
        city=key.seal(row, "city", address.city),
        postal_code=key.seal(row, "postal_code", address.postal_code) if address.postal_code else None,
    )


def open_birth_date(key: DataKey, customer_id: CustomerId, sealed: bytes) -> date:
    """The birth date in clear. Raises SealBroken."""
    return date.fromisoformat(key.open(customer_id.uuid, "birth_date", sealed))


def open_person(key: DataKey, customer: SealedCustomer) -> Person:
    """Person and newest address in clear. Raises SealBroken."""
    row, person = customer.customer_id.uuid, customer.person
    return Person(
        name=key.open(row, "name", person.name),
        email=key.open(row, "email", person.email),
        phone="" if person.phone is None else key.open(row, "phone", person.phone),
        birth_date=open_birth_date(key, customer.customer_id, person.birth_date),
        address=_open_address(key, customer),
    )


def _open_address(key: DataKey, customer: SealedCustomer) -> Address:
    row, address = customer.address_id.uuid, customer.address
    return Address(
        line1=key.open(row, "line1", address.line1),
        line2="" if address.line2 is None else key.open(row, "line2", address.line2),
        city=key.open(row, "city", address.city),
        region=address.region,
        postal_code="" if address.postal_code is None else key.open(row, "postal_code", address.postal_code),
        country=address.region[:2],
    )
