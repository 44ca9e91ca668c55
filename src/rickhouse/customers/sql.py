"""Every SQL statement of the customers slice. They handle sealed fields and digests; keys and clear text stay out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec

from rickhouse.customers.contract import AgeProof, AgeProven, CustomerRegistered, Registered
from rickhouse.customers.model import SealedAddress, SealedPerson
from rickhouse.kernel.ids import AddressId, CustomerId, OrderId
from rickhouse.platform.crypto import Wrapped, WrappedDataKey
from rickhouse.platform.db import Queries, Row
from rickhouse.platform.events import encode as encode_event


class KeyringKey(msgspec.Struct, frozen=True):
    """One key of the keyring, as the key service wrapped it."""

    purpose: str
    version: int
    wrapped: Wrapped


class Known(msgspec.Struct, frozen=True):
    """A person who is on file already, at another address than this. `data_key` is None where it has been destroyed."""

    customer_id: CustomerId
    data_key: WrappedDataKey | None


class Guest(msgspec.Struct, frozen=True):
    """Everything that a new customer's rows are made of."""

    customer_id: CustomerId
    address_id: AddressId
    data_key: WrappedDataKey
    person: SealedPerson
    address: SealedAddress
    identity_digests: Sequence[bytes]
    address_digests: Sequence[bytes]
    email_digest: bytes


class SealedCustomer(msgspec.Struct, frozen=True):
    """A customer with the newest address, and what opens them."""

    customer_id: CustomerId
    address_id: AddressId
    data_key: WrappedDataKey
    person: SealedPerson
    address: SealedAddress


class ProofFile(msgspec.Struct, frozen=True):
    """What is on file about a customer's age: the answer that still stands, or how many were given before."""

    customer: SealedCustomer
    proof: AgeProof | None
    attempts: int


LOAD_KEYRING: Final = "select purpose, version, key_id, wrapped from customers_keys.keyring"

ADD_TO_KEYRING: Final = """
insert into customers_keys.keyring (purpose, version, key_id, wrapped)
select * from unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[])
on conflict do nothing
"""

ARE_KEYS_LOST: Final = """
select exists (select from customers) and not exists (select from customers_keys.keyring) as lost
"""

# A new guest, a repeated request and a known person at a known address are settled here in one statement. The digests
# come as arrays, newest key first: a search covers every version, a row is written with the newest. Rows that somebody
# else adds meanwhile break a unique constraint, and the whole statement with it, so that nothing half is left.
REGISTER: Final = """
with answered as (
    select customer_id, address_id, region
    from registrations join addresses using (customer_id, address_id) where order_id = $1
), person as (
    select customer_id from customers where identity_digest = any($4::bytea[]) and not exists (select from answered)
), place as (
    select customer_id, address_id, region
    from person join addresses using (customer_id) where digest = any($5::bytea[])
    order by address_id limit 1
), made as (
    insert into customers (customer_id, identity_digest, email_digest, name, email, phone, birth_date)
    select $2, ($4::bytea[])[1], $6, $7, $8, $9, $10
    where not exists (select from answered) and not exists (select from person)
    returning customer_id
), keyed as (
    insert into customers_keys.data_keys (customer_id, generation, keyring_version, wrapped)
    select customer_id, $11, $12, $13 from made
), placed as (
    insert into addresses (address_id, customer_id, digest, region, line1, line2, city, postal_code)
    select $3, customer_id, ($5::bytea[])[1], $14, $15, $16, $17, $18 from made
    returning customer_id, address_id, region
), noted as (
    insert into events (kind, subject, body)
    select 'customers.customer_registered', customer_id, $19::text::jsonb from made
), settled as (
    select * from placed union all select * from place
), registered as (
    insert into registrations (order_id, customer_id, address_id) select $1, customer_id, address_id from settled
)
select customer_id, address_id, region, null as generation, null as keyring_version, null as wrapped
from (select * from answered union all select * from settled) as known
union all
select customer_id, null, null, generation, keyring_version, wrapped
from person left join customers_keys.data_keys using (customer_id) where not exists (select from place)
"""

ADD_ADDRESS: Final = """
with placed as (
    insert into addresses (address_id, customer_id, digest, region, line1, line2, city, postal_code)
    values ($3, $2, $4, $5, $6, $7, $8, $9)
    returning customer_id, address_id
)
insert into registrations (order_id, customer_id, address_id) select $1, customer_id, address_id from placed
"""

_CUSTOMER: Final = """
select c.customer_id, c.name, c.email, c.phone, c.birth_date, k.generation, k.keyring_version, k.wrapped,
    a.address_id, a.region, a.line1, a.line2, a.city, a.postal_code
from customers as c
join customers_keys.data_keys as k using (customer_id)
join lateral (
    select * from addresses where customer_id = c.customer_id order by created_at desc, address_id desc limit 1
) as a on true
"""

FIND_CUSTOMER: Final = f"{_CUSTOMER} where c.customer_id = $1"

LOOK_UP_BY_EMAIL: Final = f"""
{_CUSTOMER} where c.email_digest = any($1::bytea[]) order by c.customer_id limit $2
"""

FIND_BIRTH_DATE: Final = """
select birth_date, generation, keyring_version, wrapped
from customers join customers_keys.data_keys using (customer_id) where customer_id = $1
"""

# A proof stands for days and for every lower age; a refusal or a review only for seconds, against asking again at each
# click, and for that very age.
FIND_PROOF: Final = f"""
with person as ({_CUSTOMER} where c.customer_id = $1)
select person.*, p.outcome, p.minimum_age, p.reference,
    (select count(*) from age_proofs where customer_id = $1 and minimum_age = $2) as attempts
from person left join lateral (
    select * from age_proofs
    where customer_id = $1 and (
        outcome = 'proven' and minimum_age >= $2 and answered_at > now() - $3 * interval '1 day'
        or outcome <> 'proven' and minimum_age = $2 and answered_at > now() - $4 * interval '1 second'
    )
    order by answered_at desc limit 1
) as p on true
"""  # noqa: S608  both parts are constants

STORE_PROOF: Final = """
with stored as (
    insert into age_proofs (customer_id, minimum_age, attempt, outcome, bureau, reference)
    select customer_id, $2, $3, $4, $5, $6 from customers_keys.data_keys where customer_id = $1
    on conflict do nothing
    returning customer_id
), noted as (
    insert into events (kind, subject, body)
    select 'customers.age_proven', customer_id, $7::text::jsonb from stored where $4 = 'proven'
)
select customer_id from stored
"""


async def load_keyring(q: Queries) -> list[KeyringKey]:
    """Every key of the keyring, of every purpose and version."""
    rows = await q.fetch(LOAD_KEYRING)
    return [
        KeyringKey(row["purpose"], row["version"], Wrapped(row["key_id"], row["wrapped"])) for row in rows
    ]


async def add_to_keyring(q: Queries, keys: Sequence[KeyringKey]) -> None:
    """Add the keys whose purpose and version nobody has added yet."""
    await q.execute(
        ADD_TO_KEYRING,
        [key.purpose for key in keys],
        [key.version for key in keys],
        [key.wrapped.key_id for key in keys],
        [key.wrapped.ciphertext for key in keys],
    )


async def are_keys_lost(q: Queries) -> bool:
    """Whether there are people on file and no keyring."""
    row = await q.fetchrow(ARE_KEYS_LOST)
    return row is not None and bool(row["lost"])


async def register(q: Queries, order_id: OrderId, guest: Guest) -> Registered | Known | None:
    """Keep the guest, or find the order's first registration, or find the same person.

    None when somebody else was just writing the same: nothing was kept; ask again.
    """
    person, address, key = guest.person, guest.address, guest.data_key
    event = CustomerRegistered(customer_id=guest.customer_id)
    try:
        row = await q.fetchrow(
            REGISTER,
            order_id,
            guest.customer_id,
            guest.address_id,
            guest.identity_digests,
            guest.address_digests,
            guest.email_digest,
            person.name,
            person.email,
            person.phone,
            person.birth_date,
            key.generation,
            key.keyring_version,
            key.ciphertext,
            address.region,
            address.line1,
            address.line2,
            address.city,
            address.postal_code,
            encode_event(event),
        )
    except asyncpg.UniqueViolationError:
        return None
    if row is None:
        return None
    customer_id = CustomerId(row["customer_id"])
    if row["address_id"] is None:
        return Known(customer_id, None if row["wrapped"] is None else _data_key(row))
    return Registered(customer_id, AddressId(row["address_id"]), row["region"])


async def add_address(
    q: Queries,
    order_id: OrderId,
    customer_id: CustomerId,
    address_id: AddressId,
    digest: bytes,
    address: SealedAddress,
) -> bool:
    """Give a known customer another address, for this order. False when somebody else was just writing the same."""
    try:
        await q.execute(
            ADD_ADDRESS,
            order_id,
            customer_id,
            address_id,
            digest,
            address.region,
            address.line1,
            address.line2,
            address.city,
            address.postal_code,
        )
    except asyncpg.UniqueViolationError:
        return False
    return True


async def find_customer(q: Queries, customer_id: CustomerId) -> SealedCustomer | None:
    """The customer, unless forgotten."""
    row = await q.fetchrow(FIND_CUSTOMER, customer_id)
    return None if row is None else _customer(row)


async def look_up_by_email(q: Queries, digests: Sequence[bytes], limit: int) -> list[SealedCustomer]:
    """The first customers with that e-mail."""
    return [_customer(row) for row in await q.fetch(LOOK_UP_BY_EMAIL, digests, limit)]


async def find_birth_date(q: Queries, customer_id: CustomerId) -> tuple[bytes, WrappedDataKey] | None:
    """The sealed birth date and what opens it."""
    row = await q.fetchrow(FIND_BIRTH_DATE, customer_id)
    return None if row is None else (row["birth_date"], _data_key(row))


async def find_proof(
    q: Queries, customer_id: CustomerId, minimum_age: int, *, proof_days: int, answer_stands_s: int
) -> ProofFile | None:
    """What is on file about the customer's age; None for nobody."""
    row = await q.fetchrow(FIND_PROOF, customer_id, minimum_age, proof_days, answer_stands_s)
    if row is None:
        return None
    proof = AgeProof(row["outcome"], row["minimum_age"], row["reference"]) if row["outcome"] else None
    return ProofFile(_customer(row), proof, row["attempts"])


async def store_proof(
    q: Queries, customer_id: CustomerId, attempt: int, proof: AgeProof, bureau: str
) -> bool:
    """Keep a bureau's answer. False when this attempt has been answered already, or the customer is forgotten."""
    event = AgeProven(customer_id=customer_id, minimum_age=proof.minimum_age, reference=proof.reference)
    row = await q.fetchrow(
        STORE_PROOF,
        customer_id,
        proof.minimum_age,
        attempt,
        proof.outcome,
        bureau,
        proof.reference,
        encode_event(event),
    )
    return row is not None


def _customer(row: Row) -> SealedCustomer:
    values: Any = row
    return SealedCustomer(
        CustomerId(values["customer_id"]),
        AddressId(values["address_id"]),
        _data_key(row),
        SealedPerson(values["name"], values["email"], values["phone"], values["birth_date"]),
        SealedAddress(
            values["region"], values["line1"], values["line2"], values["city"], values["postal_code"]
        ),
    )


def _data_key(row: Row) -> WrappedDataKey:
    return WrappedDataKey(row["generation"], row["keyring_version"], row["wrapped"])
