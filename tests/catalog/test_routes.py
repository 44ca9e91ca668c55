"""Products over HTTP: who sees what, conditional requests, pages, refusals that say what to do."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from rickhouse.catalog.routes import routes
from rickhouse.catalog.service import CatalogService
from rickhouse.kernel.ids import ProductId, VariantId
from rickhouse.platform.codec import to_builtins
from rickhouse.platform.db import Database
from rickhouse.platform.tokens import TokenKey
from rickhouse.platform.web.application import build
from tests.catalog.samples import RYE, RYE_750

Json = dict[str, Any]
PRODUCT = cast("Json", to_builtins(RYE))
VARIANT = cast("Json", to_builtins(RYE_750))


class Api:
    """The routes of a catalogue as one caller meets them."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self._client = client
        self._token = token
        self._keys = 0

    async def __call__(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """One request; a POST gets a fresh idempotency key where none is given."""
        sent = {"authorization": f"Bearer {self._token}"}
        if method == "POST":
            self._keys += 1
            sent["idempotency-key"] = f"key-{self._keys}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            return await self._client.request(method, path, headers=sent, content=body)
        return await self._client.request(method, path, headers=sent, json=body)

    async def made(self, method: str, path: str, body: object, **headers: str) -> Json:
        """What a request made that must succeed."""
        reply = await self(method, path, body, **headers)
        assert reply.status_code in (200, 201), reply.text
        return reply.json()

    async def on_sale(self, **fields: object) -> Json:
        """An active product with one bottling."""
        sku = str(fields.pop("sku", VARIANT["sku"]))
        product = await self.made("POST", "/v1/products", PRODUCT | fields)
        path = f"/v1/products/{product['product_id']}"
        await self.made("POST", f"{path}/variants", VARIANT | {"sku": sku})
        await self.made("PATCH", path, {"status": "active"}, if_match='"2"')
        return (await self("GET", path)).json()


@pytest.fixture
def key(tmp_path: Path) -> TokenKey:
    """Who signs tokens."""
    return TokenKey.load(tmp_path / "tokens.json")


@pytest.fixture
async def client(catalog: CatalogService, key: TokenKey) -> AsyncGenerator[httpx.AsyncClient]:
    """The application over a catalogue that keeps what is read."""
    app = build(routes(catalog), verifier=key, probes={}, body_bytes_max=262_144)
    transport = httpx.ASGITransport(app=app)  # pyright: ignore[reportArgumentType]  # ASGI by two names
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
def staff(client: httpx.AsyncClient, key: TokenKey) -> Api:
    """Who keeps the catalogue."""
    return Api(client, key.issue("office", ["catalog:read", "catalog:write"], 60))


@pytest.fixture
def shop(client: httpx.AsyncClient, key: TokenKey) -> Api:
    """A storefront, which may only read."""
    return Api(client, key.issue("shop", ["catalog:read"], 60))


async def test_a_product_is_made_shown_and_sold(staff: Api, shop: Api) -> None:
    made = await staff("POST", "/v1/products", PRODUCT)
    assert made.status_code == 201
    product = made.json()
    path = f"/v1/products/{product['product_id']}"
    assert (made.headers["location"], made.headers["etag"]) == (path, '"1"')
    assert product | PRODUCT == product
    assert (product["status"], product["version"], product["variants"]) == ("draft", 1, [])

    added = await staff("POST", f"{path}/variants", VARIANT)
    assert added.status_code == 201
    variant = added.json()
    assert added.headers["location"] == f"/v1/variants/{variant['variant_id']}"
    assert variant["price"] == {"minor": 5400, "currency": "USD"}

    changed = await staff("PATCH", path, {"status": "active"}, if_match='"2"')
    assert (changed.status_code, changed.headers["etag"]) == (200, '"3"')
    seen = (await shop("GET", path)).json()
    assert seen == changed.json()
    assert seen["variants"] == [variant]
    assert (await shop("GET", f"/v1/variants/{variant['variant_id']}")).json() == variant


async def test_buyers_see_neither_drafts_nor_archived_products_and_bottlings(staff: Api, shop: Api) -> None:
    draft = await staff.made("POST", "/v1/products", PRODUCT)
    path = f"/v1/products/{draft['product_id']}"
    kept = await staff.made("POST", f"{path}/variants", VARIANT)
    gone = await staff.made("POST", f"{path}/variants", VARIANT | {"sku": "GONE"})
    paths = (path, f"/v1/variants/{kept['variant_id']}", f"/v1/variants/{gone['variant_id']}")

    assert [(await shop("GET", one)).status_code for one in paths] == [404, 404, 404]
    assert [(await staff("GET", one)).status_code for one in paths] == [200, 200, 200]
    assert (await shop("GET", "/v1/products")).json() == {"items": [], "next_cursor": None}
    assert len((await staff("GET", "/v1/products")).json()["items"]) == 1

    await staff.made("PATCH", paths[2], {"status": "archived"}, if_match='"1"')
    await staff.made("PATCH", path, {"status": "active"}, if_match='"4"')
    assert [(await shop("GET", one)).status_code for one in paths] == [200, 200, 404]
    (listed,) = (await shop("GET", "/v1/products")).json()["items"]
    assert [one["sku"] for one in listed["variants"]] == [VARIANT["sku"]]
    assert len((await staff("GET", path)).json()["variants"]) == 2

    await staff.made("PATCH", path, {"status": "archived"}, if_match='"5"')
    assert [(await shop("GET", one)).status_code for one in paths] == [404, 404, 404]
    assert (await shop("GET", "/v1/products?q=rye")).json()["items"] == []


async def test_only_staff_ask_for_other_statuses_or_change_anything(
    staff: Api, shop: Api, db: Database
) -> None:
    product = await staff.on_sale()
    path = f"/v1/products/{product['product_id']}"
    before = await db.fetch("select * from events")
    assert (await shop("GET", "/v1/products?status=active")).status_code == 200
    for reply in (
        await shop("GET", "/v1/products?status=draft"),
        await shop("POST", "/v1/products", PRODUCT),
        await shop("PATCH", path, {"name": "Mine"}, if_match="*"),
        await shop("POST", f"{path}/variants", VARIANT | {"sku": "X"}),
        await shop("PATCH", f"/v1/variants/{product['variants'][0]['variant_id']}", {}, if_match="*"),
    ):
        assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    assert await db.fetch("select * from events") == before


async def test_a_change_needs_the_version_that_was_read(staff: Api, db: Database) -> None:
    product = await staff.on_sale()
    variant = product["variants"][0]
    for path, version in (
        (f"/v1/products/{product['product_id']}", product["version"]),
        (f"/v1/variants/{variant['variant_id']}", variant["version"]),
    ):
        field = "description" if "products" in path else "weight_g"
        new: object = "New." if field == "description" else 999
        missing = await staff("PATCH", path, {field: new})
        assert (missing.status_code, missing.json()["code"]) == (428, "if_match_required")
        stale = await staff("PATCH", path, {field: new}, if_match=f'"{version - 1}"')
        assert (stale.status_code, stale.json()["code"]) == (412, "version_stale")
        assert (await staff("GET", path)).json()[field] != new
        done = await staff("PATCH", path, {field: new}, if_match=f'"{version}"')
        assert (done.status_code, done.json()[field], done.json()["version"]) == (200, new, version + 1)
        again = await staff("PATCH", path, {field: new}, if_match=f'"{version}"')
        assert again.status_code == 412
    row = await db.fetchrow("select count(*) as n from events")
    assert row is not None
    assert row["n"] == 5


async def test_reads_answer_304_until_something_changed(staff: Api, shop: Api) -> None:
    product = await staff.on_sale()
    variant = product["variants"][0]
    variant_path = f"/v1/variants/{variant['variant_id']}"
    for path in ("/v1/products", "/v1/products?q=rye", f"/v1/products/{product['product_id']}", variant_path):
        for caller in (staff, shop):
            first = await caller("GET", path)
            tag = first.headers["etag"]
            assert first.headers["cache-control"] == "private, no-cache"
            assert first.headers["vary"] == "authorization"
            same = await caller("GET", path, if_none_match=f'"other", W/{tag}')
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
            await staff.made("PATCH", variant_path, {"weight_g": 900 + len(path)}, if_match="*")
            other = await caller("GET", path, if_none_match=tag)
            assert (other.status_code, other.headers["etag"] != tag) == (200, True)
            await staff.made("PATCH", variant_path, {"weight_g": 800}, if_match="*")


async def test_pages_follow_each_other_by_cursor(staff: Api, shop: Api) -> None:
    made = [(await staff.on_sale(name=f"Rye {n}", sku=f"SKU-{n}"))["product_id"] for n in range(5)]
    seen: list[str] = []
    query = "?limit=2"
    sizes: list[int] = []
    while True:
        page = (await shop("GET", f"/v1/products{query}")).json()
        sizes.append(len(page["items"]))
        seen += [item["product_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert sizes == [2, 2, 1]
    assert seen == sorted(made, reverse=True)


BROKEN_QUERIES = (
    ("cursor=nonsense", "field_invalid"),
    ("cursor=eyJyYW5rIjotMSwicHJvZHVjdF9pZCI6IngifQ", "field_invalid"),
    ("cursor=" + "A" * 501, "request_invalid"),
    ("limit=0", "request_invalid"),
    ("limit=101", "request_invalid"),
    ("limit=many", "request_invalid"),
    ("spirit_class=beer", "request_invalid"),
    ("status=sold", "request_invalid"),
    ("q=" + "x" * 201, "request_invalid"),
    ("q=a%00b", "field_invalid"),
)


async def test_a_query_that_breaks_a_rule_is_refused(staff: Api) -> None:
    for query, code in BROKEN_QUERIES:
        reply = await staff("GET", f"/v1/products?{query}")
        assert (reply.status_code, reply.json()["code"]) == (400, code), query


async def test_any_other_search_is_answered(staff: Api) -> None:
    for q in ("", "%20%20", "%FF%FE", "%ED%A0%80", "'%22-!%26|:*()", "%5C"):
        assert (await staff("GET", f"/v1/products?q={q}")).status_code == 200, q


BROKEN_PRODUCTS: tuple[tuple[Json, str], ...] = (
    ({"name": ""}, "request_invalid"),
    ({"name": "x" * 121}, "request_invalid"),
    ({"name": "   "}, "field_invalid"),
    ({"name": "a\u0000b"}, "field_invalid"),
    ({"name": None}, "request_invalid"),
    ({"description": "x" * 4_001}, "request_invalid"),
    ({"abv_bp": 49}, "request_invalid"),
    ({"abv_bp": 10_001}, "request_invalid"),
    ({"abv_bp": 46.5}, "request_invalid"),
    ({"abv_bp": 10**30}, "request_invalid"),
    ({"age_months": -1}, "request_invalid"),
    ({"spirit_class": "beer"}, "request_invalid"),
    ({"cola_id": "24366001000412x"}, "request_invalid"),
    ({"cola_id": "23366001000412"}, "field_invalid"),
    ({"status": "active"}, "request_invalid"),
    ({"colour": "amber"}, "request_invalid"),
)


async def test_a_product_that_breaks_a_rule_is_refused_by_field(staff: Api, db: Database) -> None:
    for fields, code in BROKEN_PRODUCTS:
        reply = await staff("POST", "/v1/products", PRODUCT | fields)
        assert (reply.status_code, reply.json()["code"]) == (400, code), fields
        assert next(iter(fields)) in reply.text or "NUL" in reply.text
    assert await db.fetch("select 1 from products") == []


BROKEN_VARIANTS: tuple[tuple[Json, int, str], ...] = (
    ({"size_ml": 740}, 400, "field_invalid"),
    ({"size_ml": 3_751}, 400, "request_invalid"),
    ({"price": {"minor": 0, "currency": "USD"}}, 400, "field_invalid"),
    ({"price": {"minor": -5, "currency": "USD"}}, 400, "field_invalid"),
    ({"price": {"minor": 10**40, "currency": "USD"}}, 400, "field_invalid"),
    ({"price": {"minor": 1, "currency": "EUR"}}, 422, "currency_mismatch"),
    ({"price": {"minor": 1, "currency": "USD", "tax": 1}}, 400, "request_invalid"),
    ({"price": {"minor": 54.5, "currency": "USD"}}, 400, "request_invalid"),
    ({"gtin": "9521234543214"}, 400, "field_invalid"),
    ({"weight_g": 0}, 400, "request_invalid"),
    ({"purchase_limit": 0}, 400, "request_invalid"),
    ({"release_from": "2026-05-01T12:00:00"}, 400, "request_invalid"),
    ({"release_from": "2026-02-30T12:00:00Z"}, 400, "request_invalid"),
    ({"release_from": "0001-01-01T00:00:00+14:00"}, 400, "field_invalid"),
    ({"release_from": "9999-12-31T23:59:59-14:00"}, 400, "field_invalid"),
)


async def test_a_bottling_that_breaks_a_rule_is_refused(staff: Api, db: Database) -> None:
    product = await staff.made("POST", "/v1/products", PRODUCT)
    for fields, status, code in BROKEN_VARIANTS:
        reply = await staff("POST", f"/v1/products/{product['product_id']}/variants", VARIANT | fields)
        assert (reply.status_code, reply.json()["code"]) == (status, code), fields
    assert await db.fetch("select 1 from variants") == []


async def test_conflicts_say_what_to_do(staff: Api) -> None:
    product = await staff.made("POST", "/v1/products", PRODUCT | {"cola_id": None})
    path = f"/v1/products/{product['product_id']}"
    early = await staff("PATCH", path, {"status": "active"}, if_match='"1"')
    assert (early.status_code, early.json()["code"]) == (409, "product_not_ready")
    assert early.json()["missing"] == ["cola_id", "variant"]
    assert "27 CFR 5.21" in early.json()["detail"]
    await staff.made("POST", f"{path}/variants", VARIANT)
    taken = await staff("POST", f"{path}/variants", VARIANT)
    assert (taken.status_code, taken.json()["code"], taken.json()["sku"]) == (
        409,
        "sku_taken",
        VARIANT["sku"],
    )
    await staff.made("PATCH", path, {"status": "archived"}, if_match="*")
    back = await staff("PATCH", path, {"status": "draft"}, if_match="*")
    assert (back.status_code, back.json()["code"], back.json()["allowed"]) == (
        409,
        "status_refused",
        ["active"],
    )


async def test_a_repeated_creation_answers_the_same_and_another_body_is_refused(staff: Api) -> None:
    first = await staff("POST", "/v1/products", PRODUCT, idempotency_key="once")
    again = await staff("POST", "/v1/products", PRODUCT, idempotency_key="once")
    assert (again.status_code, again.content, again.headers["location"]) == (
        201,
        first.content,
        first.headers["location"],
    )
    other = await staff("POST", "/v1/products", PRODUCT | {"name": "Other"}, idempotency_key="once")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len((await staff("GET", "/v1/products")).json()["items"]) == 1


async def test_what_is_not_there_is_404_whatever_the_id_looks_like(staff: Api) -> None:
    for path in (
        f"/v1/products/{ProductId.new()}",
        f"/v1/variants/{VariantId.new()}",
        f"/v1/products/{VariantId.new()}",
        "/v1/products/1",
        "/v1/variants/%00",
    ):
        assert (await staff("GET", path)).status_code == 404
        assert (await staff("PATCH", path, {}, if_match="*")).status_code == 404


async def test_a_body_that_is_no_product_is_refused(staff: Api) -> None:
    for body in (b"", b"{", b"[]", b"null", b'{"name":"\\ud800"}'):
        reply = await staff("POST", "/v1/products", body, content_type="application/json")
        assert (reply.status_code, reply.json()["code"]) == (400, "request_invalid"), body
    reply = await staff("POST", "/v1/products", b'{"name":"\xed\xa0\x80"}', content_type="application/json")
    assert (reply.status_code, reply.json()["code"], reply.json()["rule"]) == (400, "field_invalid", "utf_8")
