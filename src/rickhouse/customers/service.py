"""The vault as the other slices see it: people registered, masked, held against an age, and proven by a bureau.

Which age the law asks for, and when proof is needed, belongs to compliance and the order.
"""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Final

from rickhouse.customers import sql
from rickhouse.customers.contract import AgeProof, CustomerForgotten, MaskedCustomer, Person, Registered
from rickhouse.customers.model import (
    address_key,
    checked,
    checked_email,
    email_key,
    identity_key,
    is_of_age,
    masked_email,
    masked_name,
    masked_phone,
)
from rickhouse.customers.port import AgeBureau, AgeQuestion, BureauAway
from rickhouse.customers.sql import Guest, Known, SealedCustomer
from rickhouse.customers.vault import Vault, open_birth_date, seal_address, seal_person
from rickhouse.kernel.clock import Clock, now
from rickhouse.kernel.errors import Unavailable
from rickhouse.kernel.ids import AddressId, CustomerId, OrderId
from rickhouse.platform.crypto import KeyService
from rickhouse.platform.db import Database

_ATTEMPTS_MAX: Final = 5
"""How often a write that met another one is tried; the second attempt finds what the first one waited for."""

_MATCHES_MAX: Final = 20


class CustomersService:
    """Implements the contract `Customers`.

    A bureau's proof counts for `proof_days`; a refusal or a review stands for `answer_stands_s`, so that a buyer who
    tries again at once does not cost another question.
    """

    def __init__(
        self,
        db: Database,
        *,
        keys: KeyService,
        bureau: AgeBureau,
        proof_days: int = 365,
        answer_stands_s: int = 600,
        clock: Clock = now,
    ) -> None:
        self._db = db
        self._vault = Vault(db, keys)
        self._bureau = bureau
        self._proof_days = proof_days
        self._answer_stands_s = answer_stands_s
        self._clock = clock
        self._asking: dict[tuple[CustomerId, int], asyncio.Task[AgeProof]] = {}

    async def register(self, order_id: OrderId, person: Person) -> Registered:
        """See Customers. A new guest, a repeated request and a known person at a known address cost one statement."""
        person = checked(person, self._clock().date())
        guest = await self._guest(person)
        for _ in range(_ATTEMPTS_MAX):
            found = await sql.register(self._db, order_id, guest)
            if isinstance(found, Known):
                found = await self._add_address(order_id, found, person, guest)
            if found is not None:
                return found
        raise Unavailable("Too many registrations of the same person at once; try again in a moment.")

    async def masked(self, customer_id: CustomerId) -> MaskedCustomer:
        """See Customers."""
        customer = await sql.find_customer(self._db, customer_id)
        if customer is None:
            raise _forgotten()
        return await self._mask(customer)

    async def look_up(self, email: str) -> tuple[MaskedCustomer, ...]:
        """The customers with this e-mail, masked; at most 20. Raises PersonInvalid."""
        key = email_key(checked_email(email))
        digests = (await self._vault.keys()).email.digests(key)
        found = await sql.look_up_by_email(self._db, digests, _MATCHES_MAX)
        return tuple([await self._mask(customer) for customer in found])

    async def is_of_age(self, customer_id: CustomerId, minimum_age: int, on: date) -> bool:
        """See Customers."""
        found = await sql.find_birth_date(self._db, customer_id)
        if found is None:
            raise _forgotten()
        sealed, wrapped = found
        key = await self._vault.data_key(customer_id, wrapped)
        return is_of_age(open_birth_date(key, customer_id, sealed), minimum_age, on)

    async def prove_age(self, customer_id: CustomerId, minimum_age: int) -> AgeProof:
        """See Customers. Calls at once share one question in this process; a second process that asks at the same time
        asks under the same key, and both answer what was stored first.

        Somebody who is too young by the stated birth date is refused without asking, and so is a minimum age below 1.
        """
        if minimum_age < 1:
            return AgeProof("refused", minimum_age, "")
        asked = (customer_id, minimum_age)
        running = self._asking.get(asked)
        if running is None:
            running = self._asking[asked] = asyncio.create_task(self._prove_age(customer_id, minimum_age))
            running.add_done_callback(lambda _: self._asking.pop(asked))
        # A caller that gives up leaves the question to the others.
        return await asyncio.shield(running)

    async def _guest(self, person: Person) -> Guest:
        keys = await self._vault.keys()
        customer_id, address_id = CustomerId.new(), AddressId.new()
        key, wrapped = keys.people.new_data_key(customer_id.uuid)
        identity = identity_key(person)
        return Guest(
            customer_id,
            address_id,
            wrapped,
            seal_person(key, customer_id, person),
            seal_address(key, address_id, person.address),
            keys.identity.digests(identity),
            keys.address.digests(address_key(identity, person.address)),
            keys.email.digest(email_key(person.email)),
        )

    async def _add_address(
        self, order_id: OrderId, known: Known, person: Person, guest: Guest
    ) -> Registered | None:
        """Another address of somebody who is on file; None when the same one was just being added."""
        if known.data_key is None:
            raise Unavailable(
                "This person's key is missing from the key store; an operator has to look at it."
            )
        key = await self._vault.data_key(known.customer_id, known.data_key)
        address = seal_address(key, guest.address_id, person.address)
        added = await sql.add_address(
            self._db, order_id, known.customer_id, guest.address_id, guest.address_digests[0], address
        )
        return Registered(known.customer_id, guest.address_id, address.region) if added else None

    async def _mask(self, customer: SealedCustomer) -> MaskedCustomer:
        person = await self._vault.open_customer(customer)
        return MaskedCustomer(
            customer_id=customer.customer_id,
            name=masked_name(person.name),
            email=masked_email(person.email),
            phone=masked_phone(person.phone),
            birth_year=person.birth_date.year,
            city=person.address.city,
            region=person.address.region,
        )

    async def _prove_age(self, customer_id: CustomerId, minimum_age: int) -> AgeProof:
        for _ in range(_ATTEMPTS_MAX):
            file = await sql.find_proof(
                self._db,
                customer_id,
                minimum_age,
                proof_days=self._proof_days,
                answer_stands_s=self._answer_stands_s,
            )
            if file is None:
                raise _forgotten()
            if file.proof is not None:
                return file.proof
            person = await self._vault.open_customer(file.customer)
            if not is_of_age(person.birth_date, minimum_age, self._clock().date()):
                return AgeProof("refused", minimum_age, "")
            attempt = file.attempts + 1
            proof = await self._ask_bureau(customer_id, minimum_age, attempt, person)
            if await sql.store_proof(self._db, customer_id, attempt, proof, self._bureau.name):
                return proof
        raise Unavailable("Too many age checks of the same person at once; try again in a moment.")

    async def _ask_bureau(
        self, customer_id: CustomerId, minimum_age: int, attempt: int, person: Person
    ) -> AgeProof:
        question = AgeQuestion(
            key=f"{customer_id}.{minimum_age}.{attempt}",
            minimum_age=minimum_age,
            name=person.name,
            birth_date=person.birth_date,
            address=person.address,
        )
        try:
            answer = await self._bureau.ask(question)
        except BureauAway as error:
            raise Unavailable(
                "The age bureau does not answer, so no age is proven; try again shortly."
            ) from error
        return AgeProof(answer.outcome, minimum_age, answer.reference)


def _forgotten() -> CustomerForgotten:
    return CustomerForgotten("There is no such customer, or they have been forgotten.")
