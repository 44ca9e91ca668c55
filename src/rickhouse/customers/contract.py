"""What the vault offers. Only ids, a region, masks and a yes or no of age come out."""

from datetime import date
from typing import Literal, Protocol

import msgspec

from rickhouse.kernel.errors import Condition, Kind
from rickhouse.kernel.events import Event
from rickhouse.kernel.ids import AddressId, CustomerId, OrderId
from rickhouse.kernel.personal import Personal


class PersonInvalid(
    Condition, code="person_invalid", kind=Kind.INVALID, title="A personal field is not valid"
):
    """A field of the person breaks a rule; facts carry `field` and `rule`, never the value."""


class CustomerForgotten(Condition, code="customer_forgotten", kind=Kind.NOT_FOUND, title="No such customer"):
    """The customer does not exist or has been forgotten: the data key is gone."""


class Address(Personal, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a parcel goes. `country` is ISO 3166-1 alpha-2; `region` is ISO 3166-2 (`US-ND`)."""

    line1: str
    line2: str = ""
    city: str
    region: str
    postal_code: str
    country: str


class Person(Personal, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A buyer as the shop's form gives it. `phone` is E.164 or empty.

    What breaks a rule is told by PersonInvalid, in whatever process the vault runs; so no field has bounds here.
    """

    name: str
    email: str
    phone: str = ""
    birth_date: date
    address: Address


class Registered(msgspec.Struct, frozen=True):
    """What the house may know of a person. `region` is the ISO 3166-2 code of the delivery address."""

    customer_id: CustomerId
    address_id: AddressId
    region: str


class MaskedCustomer(msgspec.Struct, frozen=True):
    """A person as staff see it without a reason to see more: `j•••@example.com`, `•••• 42`, year, city and region."""

    customer_id: CustomerId
    name: str
    email: str
    phone: str
    birth_year: int
    city: str
    region: str


AgeOutcome = Literal["proven", "refused", "review"]


class AgeProof(msgspec.Struct, frozen=True):
    """A bureau's answer about one person's age. `reference` is the bureau's, for the record.

    `refused`: the person is not shown to be of age. `review`: a human has to look at a document.
    """

    outcome: AgeOutcome
    minimum_age: int
    reference: str


class AgeProven(Event, frozen=True):
    """A bureau proved the person's age."""

    kind = "customers.age_proven"
    customer_id: CustomerId
    minimum_age: int
    reference: str


class CustomerRegistered(Event, frozen=True):
    """A person became known to the shop."""

    kind = "customers.customer_registered"
    customer_id: CustomerId


class Customers(Protocol):
    """The vault as checkout and compliance see it."""

    async def register(self, order_id: OrderId, person: Person) -> Registered:
        """Keep the person for this order and answer with ids. The same person (e-mail, name and birth date agree)
        is the same customer; asking again for the same order gives the same answer.

        Raises PersonInvalid.
        """
        ...

    async def masked(self, customer_id: CustomerId) -> MaskedCustomer:
        """The person behind masks. Raises CustomerForgotten."""
        ...

    async def is_of_age(self, customer_id: CustomerId, minimum_age: int, on: date) -> bool:
        """Whether the stated birth date makes the person at least `minimum_age` on that day.

        Raises CustomerForgotten.
        """
        ...

    async def prove_age(self, customer_id: CustomerId, minimum_age: int) -> AgeProof:
        """Ask the age bureau, or answer with the proof on file when it covers `minimum_age`. Fails closed.

        Raises CustomerForgotten, Unavailable (the bureau is away: nothing is known).
        """
        ...
