"""Customers over HTTP, behind masks: decode, authorise, call the service, encode."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from rickhouse.customers.contract import CustomerForgotten, MaskedCustomer, PersonInvalid
from rickhouse.customers.service import CustomersService
from rickhouse.kernel.ids import CustomerId
from rickhouse.kernel.personal import Personal
from rickhouse.platform.web import get, post


class LookUp(Personal, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to find."""

    email: Annotated[str, Meta(min_length=1, max_length=254)]


class Matches(msgspec.Struct, frozen=True):
    """Who was found, oldest first; at most 20."""

    customers: tuple[MaskedCustomer, ...]


_CUSTOMER_EXAMPLE: Final = MaskedCustomer(
    customer_id=CustomerId(UUID("01932d2e-7c00-7000-8000-00000000ada1")),
    name="A••• E•••",
    email="a•••@example.com",
    phone="•••• 23",
    birth_year=1985,
    city="Medora",
    region="US-ND",
)


def routes(service: CustomersService) -> list[HTTPRouteHandler]:
    """Every route of the slice."""

    @get(
        "/v1/customers/{customer_id:str}",
        scope="customers:read",
        summary="A customer, masked",
        description="What staff see without a reason to see more: masks, the birth year, city and region.",
        errors=(CustomerForgotten,),
        example=_CUSTOMER_EXAMPLE,
    )
    async def get_customer(customer_id: FromPath[CustomerId]) -> MaskedCustomer:
        return await service.masked(customer_id)

    @post(
        "/v1/customers/lookup",
        scope="customers:read",
        summary="Find customers by e-mail, masked",
        description="A POST, so that no address stands in a log of paths. It changes nothing.",
        errors=(PersonInvalid,),
        example=Matches(customers=(_CUSTOMER_EXAMPLE,)),
        body_example=LookUp(email="ada@example.com"),
        status=200,
        keyed=False,
    )
    async def look_up_customers(data: JSONBody[LookUp]) -> Matches:
        return Matches(customers=await service.look_up(data.email))

    return [get_customer, look_up_customers]
