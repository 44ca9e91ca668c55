"""One purchase through the public HTTP API, as a buyer's shop would make it, told in plain words.

It knows nothing of the house but the API.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import aiohttp

from rickhouse.apps.refusals import Told

Say = Callable[[str], None]
Json = dict[str, Any]

GOOD_CARD: Final = "tok_approve"
"""The bank simulator's token of a card that is always good."""

BUYER: Final[Json] = {
    "name": "Ada Example",
    "email": "ada@example.com",
    "phone": "+17015550123",
    "birth_date": "1985-04-12",
    "address": {
        "line1": "1 Main Street",
        "city": "Medora",
        "region": "US-ND",
        "postal_code": "58645",
        "country": "US",
    },
}


class PurchaseFailed(Told):
    """The API refused a step; the message is its own explanation."""


class Shop:
    """A storefront's client, with the shop's token and, for looking at stock and payments, a back office's."""

    def __init__(self, base_url: str, *, shop_token: str, office_token: str, say: Say) -> None:
        self._base_url = base_url
        self._shop_token = shop_token
        self._office_token = office_token
        self._say = say

    async def buy(self, *, sku: str | None = None, payment_token: str = GOOD_CARD) -> Json:
        """Buy one bottle; answers the order. Raises PurchaseFailed."""
        async with aiohttp.ClientSession(self._base_url) as session:
            product, variant = await self._choose(session, sku)
            self._say(
                f"the bottle        {product['name']}, {variant['size_ml']} ml, "
                f"{product['abv_bp'] / 100:g} % ABV, {_money(variant['price'])}  [{variant['sku']}]"
            )
            before = await self._stock(session, variant["variant_id"])
            self._say(f"stock before      {before} bottles can be sold")
            checkout = await self._open(session, variant["variant_id"])
            order = await self._complete(session, checkout, payment_token)
            await self._tell_payment(session, order)
            self._say(f"confirmed         {order['order_id']}, {_money(order['total'])}")
            after = await self._stock(session, variant["variant_id"])
            self._say(f"stock after       {after} bottles can be sold")
            return order

    async def _choose(self, session: aiohttp.ClientSession, sku: str | None) -> tuple[Json, Json]:
        cursor = ""
        while True:
            page = await self._call(session, "GET", f"/v1/products?limit=100{cursor}", self._shop_token)
            for product in page["items"]:
                for variant in product["variants"]:
                    if (
                        sku in (None, variant["sku"])
                        and await self._stock(session, variant["variant_id"]) > 0
                    ):
                        return product, variant
            if page["next_cursor"] is None:
                raise PurchaseFailed(
                    "Nothing on the shelf: run 'rickhouse seed', or name another bottle with --sku."
                )
            cursor = f"&cursor={page['next_cursor']}"

    async def _open(self, session: aiohttp.ClientSession, variant_id: str) -> Json:
        began = time.perf_counter()
        checkout = await self._call(
            session,
            "POST",
            "/v1/checkouts",
            self._shop_token,
            {"lines": [{"variant_id": variant_id, "quantity": 1}], "customer": BUYER},
        )
        took = _took(began)
        self._say(
            f"held              until {checkout['hold_expires_at']} for {checkout['checkout_id']}{took}"
        )
        legal = checkout["legal"]
        self._say(f"legal decision    {legal['outcome']} by rule pack {legal['pack_version']}")
        for reason in legal["reasons"]:
            self._say(f"                  - {reason['code']}: {reason['detail']}")
        return checkout

    async def _complete(self, session: aiohttp.ClientSession, checkout: Json, payment_token: str) -> Json:
        began = time.perf_counter()
        completion = await self._call(
            session,
            "POST",
            f"/v1/checkouts/{checkout['checkout_id']}/complete",
            self._shop_token,
            {"payment_token": payment_token},
        )
        if completion["order"] is None:
            raise PurchaseFailed(
                f"The checkout now waits: {completion['status']}. {completion['action'] or ''}"
            )
        order: Json = completion["order"]
        proof = order["age_proof"]
        self._say(
            f"age proof         {proof['outcome']}: {proof['minimum_age']} or older, "
            f"bureau reference {proof['reference']}{_took(began)}"
        )
        return order

    async def _tell_payment(self, session: aiohttp.ClientSession, order: Json) -> None:
        payment = await self._call(session, "GET", f"/v1/payments/{order['payment_id']}", self._office_token)
        self._say(
            f"payment           {payment['state']} {_money(payment['amount'])} on "
            f"{payment['card_brand']} ending in {payment['card_last4']}"
        )

    async def _stock(self, session: aiohttp.ClientSession, variant_id: str) -> int:
        """Bottles that can be sold: free ones in the warehouses that orders are filled from."""
        houses = await self._call(session, "GET", "/v1/warehouses", self._office_token)
        selling = {house["warehouse_id"] for house in houses["items"] if house["sells"]}
        page = await self._call(session, "GET", f"/v1/stock?variant_id={variant_id}", self._office_token)
        return sum(shelf["free"] for shelf in page["items"] if shelf["warehouse_id"] in selling)

    async def _call(
        self, session: aiohttp.ClientSession, method: str, path: str, token: str, body: Json | None = None
    ) -> Json:
        headers = {"authorization": f"Bearer {token}"}
        if method == "POST":
            headers["idempotency-key"] = uuid4().hex
        try:
            async with session.request(method, path, headers=headers, json=body) as reply:
                answer: Json = await reply.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise PurchaseFailed(
                f"{method} {self._base_url}{path} had no answer of the API: is 'rickhouse run' serving there?"
            ) from error
        if reply.status >= 400:
            raise PurchaseFailed(f"{method} {path}: {reply.status} {answer.get('detail', answer)}")
        return answer


def _money(amount: Json) -> str:
    return f"{amount['minor'] / 100:.2f} {amount['currency']}"


def _took(began: float) -> str:
    return f"  ({(time.perf_counter() - began) * 1000:.0f} ms)"
