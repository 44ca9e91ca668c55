"""The catalogue at work on PostgreSQL: creating, changing against races, offering."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from uuid import UUID

import asyncpg
import msgspec
import pytest

from rickhouse.catalog.contract import (
    GtinTaken,
    NotForSale,
    Offer,
    ProductChanged,
    ProductNotReady,
    SkuTaken,
    VariantNotFound,
)
from rickhouse.catalog.model import ChangeProduct, ChangeVariant, Product, ProductFilter, Variant
from rickhouse.catalog.service import CatalogService, Match
from rickhouse.kernel.errors import CurrencyMismatch, FieldInvalid, KeyReused, NotFound, VersionStale
from rickhouse.kernel.ids import ProductId, VariantId
from rickhouse.kernel.money import Money
from rickhouse.platform.codec import decode_json
from rickhouse.platform.db import Database, DatabaseAway
from rickhouse.platform.web import Page
from tests.catalog.samples import RYE, RYE_750, any_version, fresh_key, on_sale, until

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def only(version: int) -> Match:
    """What a route does with If-Match."""

    def match(current: int) -> None:
        if current != version:
            raise VersionStale("Read it again.")

    return match


async def changes(db: Database) -> list[ProductChanged]:
    """The events of the slice, oldest first."""
    rows = await db.fetch("select kind, subject, body::text as body from events order by xid, seq")
    events = [decode_json(row["body"], ProductChanged) for row in rows]
    assert all(row["kind"] == ProductChanged.kind for row in rows)
    assert [UUID(str(row["subject"])) for row in rows] == [event.product_id.uuid for event in events]
    return events


async def stored(db: Database) -> list[tuple[object, ...]]:
    """Every product, bottling and event, to show that nothing changed."""
    rows = [
        *await db.fetch("select p::text from products p order by product_id"),
        *await db.fetch("select v::text from variants v order by variant_id"),
        *await db.fetch("select e::text from events e order by xid, seq"),
    ]
    return [tuple(row) for row in rows]


async def test_a_new_product_is_a_draft_of_version_one(catalog: CatalogService, db: Database) -> None:
    product = await catalog.create_product(fresh_key(), RYE)
    assert (product.status, product.version, product.variants) == ("draft", 1, ())
    assert product.name == "Coulee Rye"
    assert await changes(db) == [ProductChanged(product_id=product.product_id, version=1)]


async def test_each_change_of_a_product_or_bottling_is_one_event(
    catalog: CatalogService, db: Database
) -> None:
    active = await on_sale(catalog)
    variant_id = active.variants[0].variant_id
    variant = await catalog.change_variant(variant_id, ChangeVariant(price=Money(5_900, "USD")), any_version)
    assert (variant.price, variant.version) == (Money(5_900, "USD"), 2)
    assert await changes(db) == [
        ProductChanged(product_id=active.product_id, version=version) for version in (1, 2, 3, 4)
    ]


async def test_the_same_creation_again_gets_the_same_answer(catalog: CatalogService, db: Database) -> None:
    key = fresh_key()
    first = await catalog.create_product(key, RYE)
    await catalog.change_product(first.product_id, ChangeProduct(name="Other"), any_version)
    before = await stored(db)
    assert await catalog.create_product(key, RYE) == first

    variant_key = fresh_key()
    variant = await catalog.create_variant(variant_key, first.product_id, RYE_750)
    await catalog.change_variant(variant.variant_id, ChangeVariant(weight_g=1_400), any_version)
    assert await catalog.create_variant(variant_key, first.product_id, RYE_750) == variant
    assert len(await stored(db)) == len(before) + 3


async def test_one_key_at_once_from_many_makes_one_product_and_one_bottling(
    catalog: CatalogService, db: Database
) -> None:
    key, variant_key = fresh_key(), fresh_key()
    products = await asyncio.gather(*(catalog.create_product(key, RYE) for _ in range(20)))
    assert set(products) == {products[0]}
    product_id = products[0].product_id
    variants = await asyncio.gather(
        *(catalog.create_variant(variant_key, product_id, RYE_750) for _ in range(20))
    )
    assert set(variants) == {variants[0]}
    assert len(await stored(db)) == 4
    assert [event.version for event in await changes(db)] == [1, 2]


async def test_a_key_with_another_request_is_refused(catalog: CatalogService, db: Database) -> None:
    key = fresh_key()
    other = msgspec.structs.replace(key, fingerprint=b"another")
    product = await catalog.create_product(key, RYE)
    await catalog.create_variant(key, product.product_id, RYE_750)
    before = await stored(db)
    with pytest.raises(KeyReused):
        await catalog.create_product(other, msgspec.structs.replace(RYE, name="Other"))
    with pytest.raises(KeyReused):
        await catalog.create_variant(other, product.product_id, msgspec.structs.replace(RYE_750, sku="OTHER"))
    assert await stored(db) == before


async def test_a_sku_or_gtin_belongs_to_one_bottling(catalog: CatalogService, db: Database) -> None:
    product = await catalog.create_product(fresh_key(), RYE)
    with_gtin = msgspec.structs.replace(RYE_750, gtin="614141123452")
    await catalog.create_variant(fresh_key(), product.product_id, with_gtin)
    other = await catalog.create_variant(
        fresh_key(), product.product_id, msgspec.structs.replace(RYE_750, sku="OTHER")
    )
    before = await stored(db)
    with pytest.raises(SkuTaken) as sku:
        await catalog.create_variant(fresh_key(), product.product_id, RYE_750)
    assert sku.value.facts == {"sku": "RYE-750"}
    # The same number, written as a GTIN-13.
    again = msgspec.structs.replace(RYE_750, sku="AGAIN", gtin="0614141123452")
    with pytest.raises(GtinTaken) as gtin:
        await catalog.create_variant(fresh_key(), product.product_id, again)
    assert gtin.value.facts == {"gtin": "0614141123452"}
    with pytest.raises(SkuTaken):
        await catalog.change_variant(other.variant_id, ChangeVariant(sku="RYE-750"), any_version)
    with pytest.raises(GtinTaken):
        await catalog.change_variant(other.variant_id, ChangeVariant(gtin="614141123452"), any_version)
    assert await stored(db) == before


async def test_what_breaks_a_rule_leaves_no_trace(catalog: CatalogService, db: Database) -> None:
    active = await on_sale(catalog)
    variant_id = active.variants[0].variant_id
    before = await stored(db)
    with pytest.raises(FieldInvalid):
        await catalog.create_product(fresh_key(), msgspec.structs.replace(RYE, cola_id="24367001000412"))
    with pytest.raises(FieldInvalid):
        await catalog.create_variant(
            fresh_key(), active.product_id, msgspec.structs.replace(RYE_750, size_ml=740)
        )
    with pytest.raises(CurrencyMismatch):
        await catalog.change_variant(variant_id, ChangeVariant(price=Money(100, "EUR")), any_version)
    with pytest.raises(ProductNotReady):
        await catalog.change_product(active.product_id, ChangeProduct(cola_id=None), any_version)
    with pytest.raises(ProductNotReady):
        await catalog.change_variant(variant_id, ChangeVariant(status="archived"), any_version)
    assert await stored(db) == before


async def test_what_does_not_exist_is_not_found(catalog: CatalogService, db: Database) -> None:
    with pytest.raises(NotFound):
        await catalog.create_variant(fresh_key(), ProductId.new(), RYE_750)
    with pytest.raises(NotFound):
        await catalog.change_product(ProductId.new(), ChangeProduct(name="x"), any_version)
    with pytest.raises(NotFound):
        await catalog.change_variant(VariantId.new(), ChangeVariant(weight_g=1), any_version)
    assert await stored(db) == []


async def test_of_two_changes_on_one_version_exactly_one_is_made(
    catalog: CatalogService, db: Database
) -> None:
    product = await catalog.create_product(fresh_key(), RYE)
    names = [f"Rye {number}" for number in range(12)]
    outcomes = await asyncio.gather(
        *(catalog.change_product(product.product_id, ChangeProduct(name=name), only(1)) for name in names),
        return_exceptions=True,
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, Product)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, VersionStale)]
    assert (len(won), len(lost)) == (1, 11)
    row = await db.fetchrow("select name, version from products")
    assert row is not None
    assert (row["name"], row["version"]) == (won[0].name, 2)


async def test_a_stale_change_of_a_bottling_is_refused(catalog: CatalogService, db: Database) -> None:
    active = await on_sale(catalog)
    variant_id = active.variants[0].variant_id
    prices = range(100, 112)
    outcomes = await asyncio.gather(
        *(
            catalog.change_variant(variant_id, ChangeVariant(price=Money(price, "USD")), only(1))
            for price in prices
        ),
        return_exceptions=True,
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, Variant)]
    assert len(won) == 1
    assert sum(isinstance(outcome, VersionStale) for outcome in outcomes) == 11
    row = await db.fetchrow("select price_minor, version from variants")
    assert row is not None
    assert (row["price_minor"], row["version"]) == (won[0].price.minor, 2)


async def test_changes_of_different_bottlings_do_not_refuse_each_other(catalog: CatalogService) -> None:
    half = msgspec.structs.replace(RYE_750, sku="RYE-375", size_ml=375)
    active = await on_sale(catalog, RYE, half, RYE_750)
    page = await catalog.change_product(active.product_id, ChangeProduct(), any_version)
    changed = await asyncio.gather(
        *(
            catalog.change_variant(variant.variant_id, ChangeVariant(weight_g=999), only(1))
            for variant in page.variants
        )
    )
    assert [variant.weight_g for variant in changed] == [999, 999]


async def test_an_active_product_keeps_one_bottling_when_all_are_archived_at_once(
    catalog: CatalogService, db: Database
) -> None:
    half = msgspec.structs.replace(RYE_750, sku="RYE-375", size_ml=375)
    active = await on_sale(catalog, RYE, half, RYE_750)
    outcomes = await asyncio.gather(
        *(
            catalog.change_variant(variant.variant_id, ChangeVariant(status="archived"), any_version)
            for variant in active.variants
        ),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ProductNotReady", "Variant"]
    rows = await db.fetch("select status from variants order by status")
    assert [row["status"] for row in rows] == ["active", "archived"]


async def test_offers_come_in_the_order_asked(catalog: CatalogService) -> None:
    half = msgspec.structs.replace(RYE_750, sku="RYE-375", size_ml=375, purchase_limit=2)
    active = await on_sale(catalog, RYE, half, RYE_750)
    small, large = active.variants
    offers = await catalog.offers((large.variant_id, small.variant_id, large.variant_id), NOON)
    assert [offer.variant_id for offer in offers] == [large.variant_id, small.variant_id, large.variant_id]
    assert offers[1] == Offer(
        small.variant_id,
        active.product_id,
        "RYE-375",
        "Coulee Rye, 375 ml",
        "whiskey",
        4_750,
        375,
        Money(5_400, "USD"),
        2,
    )


async def test_an_offer_follows_price_and_release(catalog: CatalogService) -> None:
    later = NOON + timedelta(days=1)
    drop = msgspec.structs.replace(RYE_750, release_from=later)
    active = await on_sale(catalog, RYE, drop)
    variant_id = active.variants[0].variant_id
    with pytest.raises(NotForSale) as refused:
        await catalog.offers((variant_id,), NOON)
    assert refused.value.facts == {"variant_id": str(variant_id), "reason": "not_released"}
    await catalog.change_variant(variant_id, ChangeVariant(price=Money(9_900, "USD")), any_version)
    (offer,) = await catalog.offers((variant_id,), later)
    assert offer.price == Money(9_900, "USD")


async def test_a_draft_and_an_unknown_bottling_are_not_offered(catalog: CatalogService) -> None:
    product = await catalog.create_product(fresh_key(), RYE)
    variant = await catalog.create_variant(fresh_key(), product.product_id, RYE_750)
    with pytest.raises(NotForSale) as refused:
        await catalog.offers((variant.variant_id,), NOON)
    assert refused.value.facts["reason"] == "draft"
    unknown = VariantId.new()
    with pytest.raises(VariantNotFound) as missing:
        await catalog.offers((unknown,), NOON)
    assert missing.value.facts == {"variant_id": str(unknown)}


async def price_shown(catalog: CatalogService, active: Product) -> int:
    """The price in minor units as each of the three reads shows it to buyers."""
    variant_id = active.variants[0].variant_id
    everything = ProductFilter()
    product = decode_json((await catalog.read_product(active.product_id, staff=False)).body, Product)
    variant = decode_json((await catalog.read_variant(variant_id, staff=False)).body, Variant)
    page = decode_json((await catalog.list_products(everything, None, 24, staff=False)).body, Page[Product])
    found = decode_json(
        (await catalog.list_products(ProductFilter(q="rye"), None, 24, staff=False)).body, Page[Product]
    )
    prices = {
        variant.price.minor,
        product.variants[0].price.minor,
        page.items[0].variants[0].price.minor,
        found.items[0].variants[0].price.minor,
    }
    assert len(prices) == 1
    return prices.pop()


async def test_reads_are_kept_and_cost_no_statement(catalog: CatalogService, db: Database) -> None:
    active = await on_sale(catalog)
    assert await price_shown(catalog, active) == 5_400
    await until(lambda: catalog.keeps)
    assert await price_shown(catalog, active) == 5_400
    first = await catalog.list_products(ProductFilter(), None, 24, staff=False)
    # Behind the back of the catalogue, so that nobody is told: what was kept is what is answered.
    await db.execute("update variants set price_minor = 1")
    assert await catalog.list_products(ProductFilter(), None, 24, staff=False) == first
    assert await price_shown(catalog, active) == 5_400


async def test_a_price_change_shows_at_once_where_it_was_made(catalog: CatalogService) -> None:
    active = await on_sale(catalog)
    variant_id = active.variants[0].variant_id
    for price in range(100, 120):
        await price_shown(catalog, active)
        await catalog.change_variant(variant_id, ChangeVariant(price=Money(price, "USD")), any_version)
        assert await price_shown(catalog, active) == price


async def test_a_price_change_shows_at_once_in_every_other_process(
    catalog: CatalogService, neighbour: CatalogService
) -> None:
    active = await on_sale(catalog)
    variant_id = active.variants[0].variant_id

    async def shown() -> int:
        await asyncio.sleep(0)  # as a server's loop does between two requests
        page = await neighbour.list_products(ProductFilter(), None, 24, staff=False)
        return decode_json(page.body, Page[Product]).items[0].variants[0].price.minor

    for price in range(100, 120):
        await until(lambda: neighbour.keeps)
        await price_shown(neighbour, active)
        await catalog.change_variant(variant_id, ChangeVariant(price=Money(price, "USD")), any_version)
        began = monotonic()
        while await shown() != price:
            assert monotonic() - began < 2.0, "the neighbour still shows the old price"


async def test_nothing_old_is_served_while_the_listener_is_lost(
    catalog: CatalogService, neighbour: CatalogService, database_url: str
) -> None:
    active = await on_sale(catalog)
    await price_shown(neighbour, active)
    await until(lambda: neighbour.keeps)
    await price_shown(neighbour, active)
    administrator = await asyncpg.connect(database_url)
    try:
        # Every connection of the slice, the listeners' among them, and no NOTIFY that anybody could hear.
        await administrator.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'rickhouse_catalog'"
        )
        await administrator.execute("update catalog.variants set price_minor = 1")
    finally:
        await administrator.close()
    await until(lambda: not neighbour.keeps)
    with suppress(DatabaseAway):  # a connection may learn only now that its server has gone
        await price_shown(neighbour, active)
    assert await price_shown(neighbour, active) == 1
    await until(lambda: neighbour.keeps)
    assert await price_shown(neighbour, active) == 1


async def test_without_a_listener_every_read_is_made_anew(db: Database) -> None:
    deaf = CatalogService(db, currency="USD")
    active = await on_sale(deaf)
    assert await price_shown(deaf, active) == 5_400
    await db.execute("update variants set price_minor = 1")
    assert not deaf.keeps
    assert await price_shown(deaf, active) == 1


async def test_buyers_and_staff_are_never_given_each_others_answers(catalog: CatalogService) -> None:
    product = await catalog.create_product(fresh_key(), RYE)
    everything = ProductFilter()
    for _ in range(2):
        staffs = await catalog.list_products(everything, None, 24, staff=True)
        buyers = await catalog.list_products(everything, None, 24, staff=False)
        assert len(decode_json(staffs.body, Page[Product]).items) == 1
        assert decode_json(buyers.body, Page[Product]).items == ()
        assert (await catalog.read_product(product.product_id, staff=True)).etag == '"1"'
        with pytest.raises(NotFound):
            await catalog.read_product(product.product_id, staff=False)
