"""What only PostgreSQL can show: search, stable pages, isolation of the role, the last word of the constraints."""

from __future__ import annotations

import asyncio

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rickhouse.catalog import sql
from rickhouse.catalog.labelling import SpiritClass
from rickhouse.catalog.model import After, CreateProduct, Product, ProductFilter, search_words
from rickhouse.catalog.service import CatalogService
from rickhouse.kernel.ids import ProductId
from rickhouse.platform.db import Database
from tests.catalog.samples import RYE, RYE_750, fresh_key, on_sale

EVERYTHING = ProductFilter()


async def found(db: Database, q: str | None = None, wanted: ProductFilter = EVERYTHING) -> list[str]:
    """Names of what a search finds, best first."""
    words = None if q is None else search_words(q)
    listed = await sql.list_products(db, wanted, words, None, 100)
    return [product.name for product, _ in listed]


def spirit(name: str, spirit_class: SpiritClass, class_type: str, description: str = "") -> CreateProduct:
    """A product to be found."""
    return msgspec.structs.replace(
        RYE,
        name=name,
        spirit_class=spirit_class,
        class_type=class_type,
        producer="Example Distillery",
        description=description,
    )


@pytest.fixture
async def shelf(catalog: CatalogService) -> None:
    """Five drafts whose words differ."""
    for asked in (
        spirit("Coulee Bourbon", "whiskey", "Straight Bourbon Whiskey", "Aged in a single barrel of oak."),
        spirit("Red Scoria", "whiskey", "American Single Malt Whisky", "Barley over smoke."),
        spirit("Crème de Cassis", "liqueur", "Black Currant Liqueur", "For a kir. Or a bourbon."),
        spirit("Juniper Butte", "gin", "Distilled Gin", "Barrels of juniper."),
        spirit("Coulee Mule", "ready_to_drink", "Vodka with Natural Flavors", "In a can."),
    ):
        await catalog.create_product(fresh_key(), asked)


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("q", "names"),
    [
        ("bourbon", ["Coulee Bourbon", "Crème de Cassis"]),
        ("BOURB", ["Coulee Bourbon", "Crème de Cassis"]),
        ("coulee mu", ["Coulee Mule"]),
        ("whisky", ["Red Scoria", "Coulee Bourbon"]),
        ("whiskeys", ["Red Scoria", "Coulee Bourbon"]),
        ("whiskies", ["Red Scoria", "Coulee Bourbon"]),
        ("creme cassis", ["Crème de Cassis"]),
        ("CRÈME", ["Crème de Cassis"]),
        ("single-mal", ["Red Scoria"]),
        ("barrel", ["Juniper Butte", "Coulee Bourbon"]),
        ('"single barrel"', ["Coulee Bourbon"]),
        ("coulee -bourbon", ["Coulee Mule"]),
        ("juniper or scoria", ["Red Scoria", "Juniper Butte"]),
        ("ready to drink", ["Coulee Mule"]),
        ("tequila", []),
        ("!&|:*()<->'\\", []),
    ],
)
async def test_a_search_finds_what_a_shopper_means(db: Database, q: str, names: list[str]) -> None:
    assert await found(db, q) == names


@pytest.mark.usefixtures("shelf")
async def test_filters_hold_with_and_without_a_search(db: Database) -> None:
    assert await found(db, wanted=ProductFilter(spirit_class="whiskey")) == ["Red Scoria", "Coulee Bourbon"]
    assert await found(db, "bourbon", ProductFilter(spirit_class="liqueur")) == ["Crème de Cassis"]
    assert await found(db, wanted=ProductFilter(status="active")) == []
    assert await found(db, "bourbon", ProductFilter(status="archived")) == []
    assert len(await found(db, wanted=ProductFilter(status="draft"))) == 5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)
    | st.text("ab '\"-\\:*&|!()<>or½ﷺ⑴", max_size=40)
)
async def test_no_search_is_an_error(db: Database, q: str) -> None:
    await found(db, q)


async def pages(db: Database, q: str | None, limit: int) -> list[list[Product]]:
    """Every page of a listing."""
    words = None if q is None else search_words(q)
    result: list[list[Product]] = []
    after: After | None = None
    while True:
        listed = await sql.list_products(db, EVERYTHING, words, after, limit)
        if not listed:
            return result
        result.append([product for product, _ in listed])
        last, rank = listed[-1]
        after = After(rank, last.product_id)


@pytest.mark.parametrize("q", [None, "coulee"])
async def test_pages_hold_each_product_once_with_all_its_bottlings(
    catalog: CatalogService, db: Database, q: str | None
) -> None:
    for number in range(7):
        asked = msgspec.structs.replace(RYE, name=f"Coulee {'Coulee ' * (number % 3)}{number}")
        sizes = [
            msgspec.structs.replace(RYE_750, sku=f"SKU-{number}-{size}", size_ml=size)
            for size in (750, 375, 50)
        ]
        await on_sale(catalog, asked, *sizes)
    walked = await pages(db, q, 3)
    assert [len(page) for page in walked] == [3, 3, 1]
    products = [product for page in walked for product in page]
    assert len({product.product_id for product in products}) == 7
    assert all([v.size_ml for v in product.variants] == [50, 375, 750] for product in products)
    if q is None:
        assert [product.product_id for product in products] == sorted(
            (product.product_id for product in products), reverse=True
        )


@pytest.mark.parametrize("q", [None, "coulee"])
async def test_a_page_that_began_is_not_disturbed_by_new_products(
    catalog: CatalogService, db: Database, q: str | None
) -> None:
    words = None if q is None else search_words(q)
    before = [
        (
            await catalog.create_product(fresh_key(), msgspec.structs.replace(RYE, name=f"Coulee {n}"))
        ).product_id
        for n in range(4)
    ]
    first = await sql.list_products(db, EVERYTHING, words, None, 2)
    await asyncio.sleep(0.002)  # ids of one millisecond are in no order
    await catalog.create_product(fresh_key(), RYE)
    last, rank = first[-1]
    second = await sql.list_products(db, EVERYTHING, words, After(rank, last.product_id), 2)
    assert [product.product_id for product, _ in (*first, *second)] == sorted(before, reverse=True)


async def test_the_role_owns_nothing_and_reaches_nobody_else(db: Database) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.fetch("select * from inventory.stock")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.execute("drop table variants")


@pytest.mark.parametrize(
    "statement",
    [
        "update variants set price_minor = 0",
        "update variants set size_ml = -1",
        "update variants set purchase_limit = 0",
        "update variants set gtin = '123'",
        "update variants set currency = 'usd'",
        "update variants set release_from = now(), release_until = now()",
        "update products set cola_id = null",
        "update products set cola_id = '123'",
        "update products set abv_bp = 10001",
        "update products set status = 'sold'",
    ],
)
async def test_the_database_has_the_last_word(catalog: CatalogService, db: Database, statement: str) -> None:
    await on_sale(catalog)
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute(statement)


async def test_a_product_that_is_not_there_is_none(db: Database) -> None:
    assert await sql.find_product(db, ProductId.new()) is None
