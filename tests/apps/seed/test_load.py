"""The seed: a distillery that obeys its own house's rules, planted once however often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from rickhouse.apps.seed.load import plant, read_distillery
from rickhouse.catalog.labelling import STANDARDS_OF_FILL_ML, check_cola_id, check_gtin
from rickhouse.catalog.model import ChangeProduct, ChangeVariant
from rickhouse.catalog.service import CatalogService
from rickhouse.inventory.model import Breakage
from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.clock import now
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.money import Money
from rickhouse.platform.db import Database

DISTILLERY = read_distillery()
BOTTLINGS = [variant for product in DISTILLERY.products for variant in product.variants]


@pytest.fixture
async def catalog_db(open_slice: Callable[[str], Awaitable[Database]]) -> Database:
    """The catalogue's database, empty."""
    return await open_slice("catalog")


@pytest.fixture
async def inventory_db(open_slice: Callable[[str], Awaitable[Database]]) -> Database:
    """The inventory's database, empty."""
    return await open_slice("inventory")


async def rows(db: Database, *tables: str) -> list[str]:
    """Every row of the tables as text."""
    return [
        row["t"]
        for table in tables
        for row in await db.fetch(f"select t::text as t from {table} t order by 1")  # noqa: S608  names from here
    ]


def test_the_distillery_is_broad_and_its_ids_and_skus_are_its_own() -> None:
    assert len(DISTILLERY.products) >= 12
    assert len(BOTTLINGS) >= 20
    assert {product.spirit_class for product in DISTILLERY.products} >= {
        *("whiskey", "gin", "rum", "brandy", "vodka", "liqueur", "ready_to_drink")
    }
    assert {warehouse.kind for warehouse in DISTILLERY.warehouses} == {"bonded", "tax_paid", "tasting_room"}
    assert {warehouse.region for warehouse in DISTILLERY.warehouses} == {"US-ND"}
    assert len({product.product_id for product in DISTILLERY.products}) == len(DISTILLERY.products)
    for field in ("variant_id", "sku", "gtin"):
        assert len({getattr(variant, field) for variant in BOTTLINGS}) == len(BOTTLINGS)


def test_every_label_is_legal_and_no_number_is_a_real_companys() -> None:
    for product in DISTILLERY.products:
        if product.cola_id is not None:
            check_cola_id(product.cola_id)
    for variant in BOTTLINGS:
        check_gtin(variant.gtin)
        assert variant.gtin.startswith("952"), "GS1 keeps 952 for demonstrations"
        assert variant.size_ml in STANDARDS_OF_FILL_ML


def test_the_limited_release_is_two_hundred_bottles_two_to_a_customer() -> None:
    (barrel,) = (product for product in DISTILLERY.products if product.name.endswith("Single Barrel No. 27"))
    (variant,) = barrel.variants
    assert variant.purchase_limit == 2
    assert variant.stock == {"tax_paid": 200}
    assert variant.release_from is not None
    assert variant.release_from < now()


async def test_everything_stands_after_seeding_and_can_be_bought(
    catalog_db: Database, inventory_db: Database
) -> None:
    catalog, inventory = CatalogService(catalog_db, currency="USD"), InventoryService(inventory_db)
    said = await plant(DISTILLERY, catalog, inventory, "USD")
    assert said.startswith("Painted Coulee Distilling Co.: 20 products in 34 bottlings, ")
    sold = [
        variant
        for product in DISTILLERY.products
        if product.status == "active"
        for variant in product.variants
    ]
    offers = await catalog.offers(tuple(variant.variant_id for variant in sold), now())
    assert [offer.price for offer in offers] == [Money(variant.price_minor, "USD") for variant in sold]
    available = await inventory.availability(tuple(variant.variant_id for variant in sold))
    assert [one.available for one in available] == [
        sum(bottles for key, bottles in variant.stock.items() if key != "bonded") for variant in sold
    ]
    assert min(one.available for one in available) > 0
    assert (await inventory.verify()).differences == ()


async def test_seeding_again_changes_nothing_whatever_happened_since(
    catalog_db: Database, inventory_db: Database
) -> None:
    catalog, inventory = CatalogService(catalog_db, currency="USD"), InventoryService(inventory_db)
    said = await plant(DISTILLERY, catalog, inventory, "USD")
    first, other = DISTILLERY.products[0], DISTILLERY.products[1]

    def any_version(_version: int) -> None:
        """Let a change of whatever version pass."""

    await catalog.change_variant(
        first.variants[0].variant_id, ChangeVariant(price=Money(1, "USD")), any_version
    )
    await catalog.change_product(other.product_id, ChangeProduct(status="archived"), any_version)
    shelf = (await inventory.list_shelves(first.variants[0].variant_id))[0]
    await inventory.move(
        Keyed("test", "dropped", b"dropped"),
        Breakage(
            variant_id=shelf.variant_id,
            warehouse_id=shelf.warehouse_id,
            quantity=1,
            reason="Dropped.",
        ),
    )
    catalog_before = await rows(catalog_db, "products", "variants", "events")
    inventory_before = await rows(inventory_db, "warehouses", "stock", "movements", "events")

    assert await plant(DISTILLERY, catalog, inventory, "USD") == said

    assert await rows(catalog_db, "products", "variants", "events") == catalog_before
    assert await rows(inventory_db, "warehouses", "stock", "movements", "events") == inventory_before
