"""What is wrong is refused with its status, its code and the field by name; nothing of the house comes out, and nothing
in it changes.

What the API's document says of requests in general is held by `test_schemathesis.py`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Any, Final

import asyncpg
import pytest
from joserfc.jwk import OKPKey

from rickhouse.apps.databases import SLICES
from rickhouse.apps.scopes import OFFICE_SCOPES, SHOP_SCOPES
from rickhouse.platform.tokens import TokenKey
from tests.journeys.refusals import Tables, basket, buyer, line, refusal, send
from tests.journeys.stack import Json, Stack, stranger

CHECKOUTS: Final = "/v1/checkouts"
UNKNOWN: Final = "01h455vb4pex5vsknk084sn02q"
"""The end of an id that nothing has."""

CARD: Final = "4242 4242 4242 4242"

REFUSED_ORDER: Final = {"orders.orders": 1, "orders.events": 1}
"""What a refusal after the prices were fixed leaves: an order that was refused, with its one event."""


@pytest.fixture(scope="module")
async def variant_id(house: Stack) -> str:
    """A bottling on sale."""
    products = await house.call("GET", "/v1/products?limit=1")
    found: str = products.body["items"][0]["variants"][0]["variant_id"]
    return found


@pytest.fixture(scope="module")
async def checkout_id(house: Stack, variant_id: str) -> str:
    """An open checkout of the shop's."""
    opened = await house.open([(variant_id, 1)], buyer=stranger())
    assert opened.status == 201
    found: str = opened.body["checkout_id"]
    return found


@pytest.fixture(scope="module")
def keys(house: Stack) -> TokenKey:
    """The keys that sign the house's tokens."""
    return TokenKey.load(house.home / "keys" / "tokens.json")


@pytest.fixture(scope="module")
async def tables(house: Stack) -> AsyncGenerator[Tables]:
    """What must not change."""
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(house.database_url)
    found = await connection.fetch(
        "select schemaname || '.' || tablename as name from pg_tables "
        "where schemaname = any($1) and tablename <> 'subscriptions'",
        [*SLICES],
    )
    yield Tables(connection, [row["name"] for row in found])
    await connection.close()


INVALID: Final = "request_invalid"

MALFORMED: Final[tuple[tuple[str, bytes, int, str, str | None], ...]] = (
    ("empty", b"", 400, INVALID, "body"),
    ("cut short", b'{"lines": [', 400, INVALID, "body"),
    ("followed by more", b"null {}", 400, INVALID, "body"),
    ("not JSON", b"lines=1", 400, INVALID, "body"),
    ("not a number", b'{"lines": NaN}', 400, INVALID, "body"),
    ("null", b"null", 400, INVALID, "body"),
    ("a list", b"[]", 400, INVALID, "body"),
    ("nested lists", b"[" * 100_000, 400, INVALID, "body"),
    ("nested objects", b'{"lines": ' * 20_000, 400, INVALID, "lines"),
    ("not UTF-8", b'{"lines": "\xff"}', 400, "field_invalid", "body"),
    ("UTF-16", '{"lines": []}'.encode("utf-16"), 400, "field_invalid", "body"),
    ("half a surrogate pair", b'{"currency": "\\ud800"}', 400, INVALID, "body"),
    ("a NUL byte", b'{"currency": "\0"}', 400, "field_invalid", "body"),
    ("an escaped NUL", b'{"currency": "\\u0000"}', 400, "field_invalid", "body"),
    (
        "an escaped NUL after an escaped backslash",
        b'{"currency": "\\\\\\u0000"}',
        400,
        "field_invalid",
        "body",
    ),
    ("a mebibyte", b'{"currency": "' + b"x" * 2**20 + b'"}', 413, "body_too_large", None),
)


@pytest.mark.parametrize(
    ("body", "status", "code", "field"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
async def test_a_body_that_is_no_request_is_refused(
    house: Stack, tables: Tables, body: bytes, status: int, code: str, field: str | None
) -> None:
    async with tables.unchanged():
        reply = await send(house, "POST", CHECKOUTS, body)

    assert refusal(reply) == (status, code, field)


@pytest.mark.parametrize("quantity", [-1, 0, 1_001, 2**31, 2**63, 10**30, 1.5, 1.0, "1", True, None, [1], {}])
async def test_a_quantity_that_is_none_is_refused(
    house: Stack, tables: Tables, variant_id: str, quantity: object
) -> None:
    async with tables.unchanged():
        reply = await send(house, "POST", CHECKOUTS, line(variant_id, quantity))

    assert refusal(reply) == (400, INVALID, "lines[0].quantity")


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"lines": []}, 400, INVALID, "lines"),
        ({"lines": None}, 400, INVALID, "lines"),
        ({"lines": [{"variant_id": f"var_{UNKNOWN}", "quantity": 1}] * 51}, 400, INVALID, "lines"),
        ({"lines": [{"quantity": 1}]}, 400, INVALID, "lines[0].variant_id"),
        ({"lines": [{"variant_id": "1", "quantity": 1}]}, 400, INVALID, "lines[0].variant_id"),
        ({"lines": [{"variant_id": f"ord_{UNKNOWN}", "quantity": 1}]}, 400, INVALID, "lines[0].variant_id"),
        ({"lines": [{"variant_id": f"var_{UNKNOWN}", "quantity": 1}]}, 422, "variant_not_found", None),
        ({"currency": "EUR"}, 422, "currency_mismatch", None),
        ({"currency": "usd"}, 400, INVALID, "currency"),
        ({"currency": "USD\n"}, 400, INVALID, "currency"),
        ({"currency": ""}, 400, INVALID, "currency"),
        ({"discount": 100}, 400, INVALID, "discount"),
        ({"total": {"minor": 1, "currency": "USD"}}, 400, INVALID, "total"),
    ],
)
async def test_a_basket_that_cannot_be_sold_is_refused(
    house: Stack, tables: Tables, variant_id: str, changes: Json, status: int, code: str, field: str | None
) -> None:
    async with tables.unchanged():
        reply = await send(house, "POST", CHECKOUTS, basket(variant_id, **changes))

    assert refusal(reply) == (status, code, field)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"birth_date": "1985-02-30"}, "customer.birth_date"),
        ({"birth_date": "1985-4-1"}, "customer.birth_date"),
        ({"birth_date": "1985-04-12T00:00:00Z"}, "customer.birth_date"),
        ({"birth_date": 482112000}, "customer.birth_date"),
        ({"birth_date": None}, "customer.birth_date"),
        ({"name": "A" * 201}, "customer.name"),
        ({"email": "a" * 255}, "customer.email"),
        ({"phone": 17015550123}, "customer.phone"),
        ({"line1": ["1 Main Street"]}, "customer.address.line1"),
        ({"region": "US-" + "N" * 20}, "customer.address.region"),
        ({"ssn": "078-05-1120"}, "customer.ssn"),
    ],
)
async def test_a_buyer_of_another_shape_is_refused(
    house: Stack, tables: Tables, variant_id: str, changes: Json, field: str
) -> None:
    async with tables.unchanged():
        reply = await send(house, "POST", CHECKOUTS, buyer(variant_id, **changes))

    assert refusal(reply) == (400, INVALID, field)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"birth_date": "2999-01-01"}, "birth_date"),
        ({"birth_date": "1899-12-31"}, "birth_date"),
        ({"name": " \t "}, "name"),
        ({"name": "Ada\x1b[31m"}, "name"),
        ({"email": "nobody"}, "email"),
        ({"phone": "call me"}, "phone"),
        ({"country": "us"}, "address.country"),
        ({"region": "US-XX"}, "address.region"),
        ({"postal_code": "0"}, "address.postal_code"),
    ],
)
async def test_a_person_who_cannot_be_is_refused_and_not_kept(
    house: Stack, tables: Tables, variant_id: str, changes: Json, field: str
) -> None:
    free = await house.free(variant_id)
    async with tables.unchanged(but=REFUSED_ORDER):
        reply = await send(house, "POST", CHECKOUTS, buyer(variant_id, **changes))

    assert refusal(reply) == (400, "person_invalid", field)
    (value,) = changes.values()
    assert len(value.strip()) < 3 or value not in reply.raw.decode()
    assert await house.free(variant_id) == free


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        (None, "Required"),
        ("", "Expected `str` of length >= 1"),
        ("k" * 201, "Expected `str` of length <= 200"),
        ("two words", r"Expected `str` matching regex '^[!-~]+\\Z'"),
        ("schlüssel", r"Expected `str` matching regex '^[!-~]+\\Z'"),
    ],
)
async def test_an_idempotency_key_that_is_none_is_refused(
    house: Stack, tables: Tables, variant_id: str, key: str | None, rule: str
) -> None:
    async with tables.unchanged():
        reply = await send(house, "POST", CHECKOUTS, basket(variant_id), headers={"idempotency-key": key})

    assert refusal(reply) == (400, INVALID, "Idempotency-Key")
    assert reply.body["errors"] == [{"field": "Idempotency-Key", "rule": rule, "where": "header"}]


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", ";"],
)
async def test_a_body_that_is_not_declared_as_json_is_refused(
    house: Stack, tables: Tables, variant_id: str, content_type: str | None
) -> None:
    async with tables.unchanged():
        reply = await send(
            house, "POST", CHECKOUTS, basket(variant_id), headers={"content-type": content_type}
        )

    assert refusal(reply) == (415, "unsupported_media_type", None)


async def test_a_token_that_is_not_ours_or_over_opens_nothing(
    house: Stack, tables: Tables, variant_id: str, keys: TokenKey
) -> None:
    strangers = TokenKey([OKPKey.generate_key("Ed25519")])
    head, payload, signature = house.shop_token.split(".")
    expired = keys.issue("shop", SHOP_SCOPES, 1)
    forged = {
        "another's signature": strangers.issue("shop", SHOP_SCOPES, 60),
        "another payload": ".".join((head, house.office_token.split(".")[1], signature)),
        "no signature": f"{head}.{payload}.",
        "no algorithm": f"eyJhbGciOiJub25lIn0.{payload}.",
        "another audience": keys.issue("shop", SHOP_SCOPES, 60, audience="elsewhere"),
        "nothing": "",
        "too long": "x" * 5_000,
    }
    await asyncio.sleep(1.1)

    async with tables.unchanged():
        for token in forged.values():
            authorization = {"authorization": f"Bearer {token}"}
            reply = await send(house, "POST", CHECKOUTS, basket(variant_id), headers=authorization)
            assert refusal(reply) == (401, "token_invalid", None)
            assert reply.headers["www-authenticate"] == 'Bearer realm="rickhouse", error="invalid_token"'
        over = await send(house, "POST", CHECKOUTS, basket(variant_id), token=expired)
        none = await send(house, "POST", CHECKOUTS, basket(variant_id), headers={"authorization": None})

    assert refusal(over) == (401, "token_expired", None)
    assert refusal(none) == (401, "unauthenticated", None)
    assert none.headers["www-authenticate"] == 'Bearer realm="rickhouse"'


async def test_a_token_opens_its_scopes_and_no_others(
    house: Stack, tables: Tables, variant_id: str, checkout_id: str
) -> None:
    warehouse: Json = {"name": "x", "region": "US-ND", "kind": "tax_paid", "priority": 1, "sells": True}
    settled: Json = {"approve": True, "note": "x"}
    async with tables.unchanged():
        by_shop = await send(house, "POST", "/v1/warehouses", warehouse)
        reviewed = await send(house, "POST", f"{CHECKOUTS}/{checkout_id}/review", settled)
        by_office = await send(house, "POST", CHECKOUTS, basket(variant_id), token=house.office_token)

    for reply, scope in (
        (by_shop, "inventory:write"),
        (reviewed, "checkouts:review"),
        (by_office, "checkouts:buy"),
    ):
        assert refusal(reply) == (403, "forbidden", None)
        assert reply.body["scope"] == scope


async def test_another_shops_checkout_is_not_there(
    house: Stack, tables: Tables, checkout_id: str, keys: TokenKey
) -> None:
    other = keys.issue("other-shop", SHOP_SCOPES, 60)
    one = f"{CHECKOUTS}/{checkout_id}"
    order = f"/v1/orders/{checkout_id.replace('chk_', 'ord_')}"
    payment = {"payment_token": "tok_approve"}

    async with tables.unchanged():
        replies = [
            await send(house, "GET", one, token=other),
            await send(house, "POST", f"{one}/complete", payment, token=other),
            await send(house, "DELETE", one, token=other),
            await send(house, "GET", order, token=other),
            await send(house, "GET", f"{order}/timeline", token=other),
        ]

    assert [refusal(reply) for reply in replies] == [(404, "not_found", None)] * 5
    assert (await house.call("GET", one)).body["state"] == "open"


@pytest.mark.parametrize(
    ("token", "code", "field"),
    [
        (CARD, INVALID, "payment_token"),
        (CARD.replace(" ", ""), "card_number_refused", None),
        (CARD.replace(" ", "-"), "card_number_refused", None),
        ("", INVALID, "payment_token"),
        ("t" * 256, INVALID, "payment_token"),
        ("tok\n", INVALID, "payment_token"),
        (None, INVALID, "payment_token"),
    ],
)
async def test_a_card_number_is_not_taken_for_a_token_nor_kept(
    house: Stack, tables: Tables, checkout_id: str, token: str | None, code: str, field: str | None
) -> None:
    async with tables.unchanged():
        reply = await send(house, "POST", f"{CHECKOUTS}/{checkout_id}/complete", {"payment_token": token})

    assert refusal(reply) == (400, code, field)
    assert re.sub(r"\D", "", CARD) not in re.sub(r"\D", "", reply.body["detail"])
    assert (await house.call("GET", f"{CHECKOUTS}/{checkout_id}")).body["state"] == "open"


@pytest.mark.parametrize(
    ("path", "status", "code", "field"),
    [
        ("/v1/checkouts/1", 404, "not_found", None),
        (f"/v1/checkouts/ord_{UNKNOWN}", 404, "not_found", None),
        (f"/v1/checkouts/chk_{UNKNOWN}", 404, "not_found", None),
        (f"/v1/checkouts/chk_{UNKNOWN.upper()}", 404, "not_found", None),
        ("/v1/checkouts/chk_%00", 404, "not_found", None),
        ("/v1/checkouts/..%2F..%2Fetc%2Fpasswd", 404, "not_found", None),
        ("/v1/bottles", 404, "not_found", None),
        ("/v1/products?limit=0", 400, INVALID, "limit"),
        ("/v1/products?limit=101", 400, INVALID, "limit"),
        ("/v1/products?limit=many", 400, INVALID, "limit"),
        (f"/v1/products?limit={10**30}", 400, INVALID, "limit"),
        ("/v1/products?status=sold", 400, INVALID, "status"),
        ("/v1/products?q=%00", 400, "field_invalid", "query"),
        ("/v1/products?cursor=1", 400, "field_invalid", "cursor"),
        ("/v1/products?cursor=bnVsbA", 400, "field_invalid", "cursor"),
        ("/v1/products?cursor=%F0%9F%A5%83", 400, "field_invalid", "cursor"),
        ("/v1/products?cursor=" + "A" * 501, 400, INVALID, "cursor"),
        ("/v1/orders?state=lost", 400, INVALID, "state"),
        ("/v1/orders?cursor=Im9yZF8i", 400, "field_invalid", "cursor"),
        (f"/v1/stock?variant_id=prd_{UNKNOWN}", 400, INVALID, "variant_id"),
        ("/v1/compliance/lanes", 400, INVALID, "origin"),
        ("/v1/compliance/lanes?origin=US-ND&day=2026-02-30", 400, INVALID, "day"),
    ],
)
async def test_an_address_that_leads_nowhere_is_refused(
    house: Stack, tables: Tables, keys: TokenKey, path: str, status: int, code: str, field: str | None
) -> None:
    everything = keys.issue("shop", SHOP_SCOPES | OFFICE_SCOPES, 60)
    async with tables.unchanged():
        reply = await send(house, "GET", path, token=everything)

    assert refusal(reply) == (status, code, field)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "BREW"])
async def test_a_method_that_a_path_does_not_take_is_refused(
    house: Stack, tables: Tables, method: str
) -> None:
    async with tables.unchanged():
        reply = await send(house, method, CHECKOUTS)

    assert refusal(reply) == (405, "method_not_allowed", None)
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize(
    ("path", "changes", "status", "code", "field"),
    [
        ("receipts", {"quantity": 0}, 400, INVALID, "quantity"),
        ("receipts", {"quantity": -5}, 400, INVALID, "quantity"),
        ("receipts", {"quantity": 2**63}, 400, INVALID, "quantity"),
        ("receipts", {"quantity": 1, "warehouse_id": f"whs_{UNKNOWN}"}, 422, "warehouse_not_found", None),
        ("breakages", {"quantity": 10**6, "reason": "x"}, 409, "too_few_bottles", None),
        ("adjustments", {"delta": 0, "reason": "x"}, 400, "field_invalid", "delta"),
        ("adjustments", {"delta": -(2**63), "reason": "x"}, 400, INVALID, "delta"),
        ("adjustments", {"delta": -(10**6), "reason": "x"}, 409, "too_few_bottles", None),
    ],
)
async def test_stock_that_is_not_there_does_not_move(
    house: Stack,
    tables: Tables,
    variant_id: str,
    path: str,
    changes: Json,
    status: int,
    code: str,
    field: str | None,
) -> None:
    warehouses = await house.office("GET", "/v1/warehouses")
    body: dict[str, Any] = {
        "variant_id": variant_id,
        "warehouse_id": warehouses.body["items"][0]["warehouse_id"],
        **changes,
    }

    async with tables.unchanged():
        reply = await send(house, "POST", f"/v1/stock/{path}", body, token=house.office_token)

    assert refusal(reply) == (status, code, field)


@pytest.mark.parametrize(
    ("amount", "status", "code", "field"),
    [
        ({"minor": 0, "currency": "USD"}, 400, INVALID, "amount.minor"),
        ({"minor": -1, "currency": "USD"}, 400, INVALID, "amount.minor"),
        ({"minor": 10**15 + 1, "currency": "USD"}, 400, INVALID, "amount.minor"),
        ({"minor": 89.0, "currency": "USD"}, 400, INVALID, "amount.minor"),
        ({"minor": 100, "currency": "DOLLAR"}, 400, INVALID, "amount.currency"),
        ({"minor": 100, "currency": "EUR"}, 422, "currency_mismatch", None),
        ({"minor": 10**15, "currency": "USD"}, 422, "refund_too_large", None),
    ],
)
async def test_money_that_was_not_taken_is_not_given_back(
    house: Stack, tables: Tables, captured: str, amount: Json, status: int, code: str, field: str | None
) -> None:
    path = f"/v1/payments/{captured}/refunds"
    async with tables.unchanged():
        reply = await send(house, "POST", path, {"amount": amount}, token=house.office_token)

    assert refusal(reply) == (status, code, field)


@pytest.fixture(scope="module")
async def captured(house: Stack, variant_id: str) -> str:
    """A payment whose money was taken."""
    bought = await house.buy(variant_id)
    assert bought.status == 201
    payment_id: str = bought.body["order"]["payment_id"]
    taken = await house.office("POST", f"/v1/payments/{payment_id}/capture")
    assert taken.status == 200
    return payment_id


async def test_a_price_in_another_currency_or_below_nothing_is_refused(house: Stack, tables: Tables) -> None:
    products = await house.office("GET", "/v1/products?status=active&limit=1")
    path = f"/v1/variants/{products.body['items'][0]['variants'][0]['variant_id']}"
    version = {"if-match": (await house.office("GET", path)).headers["etag"]}

    async with tables.unchanged():
        for price, expected in (
            ({"minor": 100, "currency": "EUR"}, (422, "currency_mismatch", "price.currency")),
            ({"minor": -100, "currency": "USD"}, (400, "field_invalid", "price.minor")),
            ({"minor": 2**70, "currency": "USD"}, (400, "field_invalid", "price.minor")),
            ({"minor": "100", "currency": "USD"}, (400, INVALID, "price.minor")),
            ({"minor": 100}, (400, INVALID, "price.currency")),
        ):
            change = {"price": price}
            reply = await send(house, "PATCH", path, change, token=house.office_token, headers=version)
            assert refusal(reply) == expected
        unread = await send(house, "PATCH", path, {"weight_g": 1}, token=house.office_token)

    assert refusal(unread) == (428, "if_match_required", None)
