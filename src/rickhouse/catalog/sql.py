"""Every SQL statement of the catalogue. Each writing one appends its event and tells the other processes in the same
statement, so that neither can be forgotten or come without the fact.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import Final

import asyncpg
import msgspec

from rickhouse.catalog.contract import GtinTaken, Offer, SkuTaken
from rickhouse.catalog.model import (
    After,
    CreateProduct,
    Product,
    ProductFilter,
    SearchWords,
    Shelved,
    Variant,
    title_of,
)
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import ProductId, VariantId
from rickhouse.kernel.money import Money
from rickhouse.platform.db import Queries, Row

CREATE_PRODUCT: Final = """
with made as (
    insert into products (
        product_id, name, spirit_class, class_type, abv_bp, origin, producer, age_months, description, cola_id,
        owner, idem_key, fingerprint
    )
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    on conflict do nothing
    returning product_id, version, created_at
),
logged as (
    insert into events (kind, subject, body)
    select 'catalog.product_changed', product_id, jsonb_build_object('product_id', $14::text, 'version', version)
    from made
)
select created_at, pg_notify('catalog', $14::text) from made
"""

FIND_KEYED_PRODUCT: Final = """
select product_id, fingerprint, created_at from products where owner = $1 and idem_key = $2
"""

CREATE_VARIANT: Final = """
with made as (
    insert into variants (
        variant_id, product_id, sku, size_ml, price_minor, currency, weight_g, gtin, purchase_limit,
        release_from, release_until, owner, idem_key, fingerprint
    )
    select $1, product_id, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
    from products where product_id = $2
    on conflict do nothing
    returning product_id
),
grown as (
    update products set version = products.version + 1, updated_at = now()
    from made where products.product_id = made.product_id
    returning products.product_id, products.version
),
logged as (
    insert into events (kind, subject, body)
    select 'catalog.product_changed', product_id, jsonb_build_object('product_id', $15::text, 'version', version)
    from grown
)
select version, pg_notify('catalog', $15::text) from grown
"""

FIND_VARIANT_CLASHES: Final = """
select variant_id, fingerprint, owner = $1 and idem_key = $2 as same_key, sku = $3 as same_sku
from variants
where (owner = $1 and idem_key = $2) or sku = $3 or lpad(gtin, 14, '0') = lpad($4, 14, '0')
"""

CHANGE_PRODUCT: Final = """
with changed as (
    update products
    set name = $3, spirit_class = $4, class_type = $5, abv_bp = $6, origin = $7, producer = $8, age_months = $9,
        description = $10, cola_id = $11, status = $12, version = version + 1, updated_at = now()
    where product_id = $1 and version = $2
    returning product_id, version, updated_at
),
logged as (
    insert into events (kind, subject, body)
    select 'catalog.product_changed', product_id, jsonb_build_object('product_id', $13::text, 'version', version)
    from changed
)
select version, updated_at, pg_notify('catalog', $13::text) from changed
"""

CHANGE_VARIANT: Final = """
with grown as (
    update products set version = version + 1, updated_at = now()
    where product_id = $1 and version = $2
    returning product_id, version
),
changed as (
    update variants
    set sku = $4, size_ml = $5, price_minor = $6, currency = $7, weight_g = $8, gtin = $9, purchase_limit = $10,
        release_from = $11, release_until = $12, status = $13, version = variants.version + 1
    from grown where variants.variant_id = $3 and variants.product_id = grown.product_id
    returning variants.version
),
logged as (
    insert into events (kind, subject, body)
    select 'catalog.product_changed', product_id, jsonb_build_object('product_id', $14::text, 'version', version)
    from grown
)
select version, pg_notify('catalog', $14::text) from changed
"""

GET_PRODUCT: Final = """
select 0 as rank, listings.* from listings where product_id = $1 order by size_ml, variant_id
"""

GET_PRODUCT_OF_VARIANT: Final = """
select 0 as rank, listings.* from listings
where product_id = (select product_id from variants where variant_id = $1)
order by size_ml, variant_id
"""

LIST_PRODUCTS: Final = """
with page as (
    select product_id from products
    where ($1::text is null or status = $1) and ($2::text is null or spirit_class = $2)
        and ($3::uuid is null or product_id < $3)
    order by product_id desc limit $4
)
select 0 as rank, listings.* from page join listings using (product_id)
order by product_id desc, size_ml, variant_id
"""

# The rank is an exact integer, so that a cursor can stand between two pages of it.
SEARCH_PRODUCTS: Final = """
with asked as (
    select websearch_to_tsquery('pg_catalog.english', folded($5))
        || (websearch_to_tsquery('pg_catalog.english', folded($6))
            && coalesce((quote_literal(folded(nullif($7, ''))) || ':*')::tsquery, ''::tsquery)) as query
),
found as (
    select product_id, (ts_rank(search, query) * 1000000)::integer as rank
    from products, asked
    where search @@ query and ($1::text is null or status = $1) and ($2::text is null or spirit_class = $2)
),
page as (
    select product_id, rank from found
    where $3::uuid is null or (rank, product_id) < ($8::integer, $3)
    order by rank desc, product_id desc limit $4
)
select page.rank, listings.* from page join listings using (product_id)
order by rank desc, product_id desc, size_ml, variant_id
"""

OFFERS: Final = """
select v.variant_id, v.product_id, v.sku, v.size_ml, v.price_minor, v.currency, v.purchase_limit, v.release_from,
    v.release_until, v.status as variant_status, p.name, p.spirit_class, p.abv_bp, p.status as product_status
from variants v join products p on p.product_id = v.product_id
where v.variant_id = any($1::uuid[])
"""


class KeyedProduct(msgspec.Struct, frozen=True):
    """What an idempotency key has made."""

    product_id: ProductId
    fingerprint: bytes
    created_at: datetime


class VariantClash(msgspec.Struct, frozen=True):
    """A bottling that stands in the way of a new one: it was made by the same key, or has the same SKU or GTIN."""

    variant_id: VariantId
    fingerprint: bytes
    same_key: bool
    same_sku: bool


async def create_product(
    q: Queries, product_id: ProductId, asked: CreateProduct, keyed: Keyed
) -> datetime | None:
    """Add a draft and answer when; None where the key or the id is taken."""
    row = await q.fetchrow(
        CREATE_PRODUCT,
        product_id,
        asked.name,
        asked.spirit_class,
        asked.class_type,
        asked.abv_bp,
        asked.origin,
        asked.producer,
        asked.age_months,
        asked.description,
        asked.cola_id,
        keyed.owner,
        keyed.key,
        keyed.fingerprint,
        str(product_id),
    )
    return None if row is None else row["created_at"]


async def find_keyed_product(q: Queries, keyed: Keyed) -> KeyedProduct | None:
    """The product that this key has made."""
    row = await q.fetchrow(FIND_KEYED_PRODUCT, keyed.owner, keyed.key)
    if row is None:
        return None
    return KeyedProduct(ProductId(row["product_id"]), row["fingerprint"], row["created_at"])


async def create_variant(q: Queries, variant: Variant, keyed: Keyed) -> bool:
    """Add a bottling; False where its product does not exist or something clashes, and then nothing changed."""
    row = await q.fetchrow(
        CREATE_VARIANT,
        variant.variant_id,
        variant.product_id,
        variant.sku,
        variant.size_ml,
        variant.price.minor,
        variant.price.currency,
        variant.weight_g,
        variant.gtin,
        variant.purchase_limit,
        variant.release_from,
        variant.release_until,
        keyed.owner,
        keyed.key,
        keyed.fingerprint,
        str(variant.product_id),
    )
    return row is not None


async def find_variant_clashes(q: Queries, variant: Variant, keyed: Keyed) -> tuple[VariantClash, ...]:
    """The bottlings that keep this one out."""
    rows = await q.fetch(FIND_VARIANT_CLASHES, keyed.owner, keyed.key, variant.sku, variant.gtin)
    return tuple(
        VariantClash(VariantId(row["variant_id"]), row["fingerprint"], row["same_key"], row["same_sku"])
        for row in rows
    )


async def change_product(q: Queries, product: Product) -> Product | None:
    """Write the product over its version and answer it as it stands now; None where the version has moved on."""
    row = await q.fetchrow(
        CHANGE_PRODUCT,
        product.product_id,
        product.version,
        product.name,
        product.spirit_class,
        product.class_type,
        product.abv_bp,
        product.origin,
        product.producer,
        product.age_months,
        product.description,
        product.cola_id,
        product.status,
        str(product.product_id),
    )
    if row is None:
        return None
    return msgspec.structs.replace(product, version=row["version"], updated_at=row["updated_at"])


async def change_variant(q: Queries, product_version: int, variant: Variant) -> Variant | None:
    """Write the bottling if its product still has this version, and answer it as it stands now; else None.

    Every change of a bottling moves its product's version, so that rules over all bottlings of a product hold.
    Raises SkuTaken, GtinTaken.
    """
    try:
        row = await q.fetchrow(
            CHANGE_VARIANT,
            variant.product_id,
            product_version,
            variant.variant_id,
            variant.sku,
            variant.size_ml,
            variant.price.minor,
            variant.price.currency,
            variant.weight_g,
            variant.gtin,
            variant.purchase_limit,
            variant.release_from,
            variant.release_until,
            variant.status,
            str(variant.product_id),
        )
    except asyncpg.UniqueViolationError as error:
        raise clash(variant, same_sku=error.constraint_name == "variants_sku") from error
    return None if row is None else msgspec.structs.replace(variant, version=row["version"])


def clash(variant: Variant, *, same_sku: bool) -> SkuTaken | GtinTaken:
    """What to tell somebody whose bottling is already there under another id."""
    if same_sku:
        return SkuTaken(f"Another bottling has the SKU {variant.sku}; choose another.", sku=variant.sku)
    return GtinTaken(
        f"Another bottling has the GTIN {variant.gtin}; each bottling needs its own.", gtin=variant.gtin
    )


async def find_product(q: Queries, product_id: ProductId) -> Product | None:
    """The product with all its bottlings."""
    return next(iter(_products(await q.fetch(GET_PRODUCT, product_id))), (None, 0))[0]


async def find_product_of(q: Queries, variant_id: VariantId) -> Product | None:
    """The product that a bottling belongs to, with all its bottlings."""
    return next(iter(_products(await q.fetch(GET_PRODUCT_OF_VARIANT, variant_id))), (None, 0))[0]


async def list_products(
    q: Queries, wanted: ProductFilter, words: SearchWords | None, after: After | None, limit: int
) -> list[tuple[Product, int]]:
    """At most `limit` products with their ranks, best first and then newest first, beginning behind `after`."""
    after_id = None if after is None else after.product_id
    if words is None:
        rows = await q.fetch(LIST_PRODUCTS, wanted.status, wanted.spirit_class, after_id, limit)
    else:
        rank = None if after is None else after.rank
        rows = await q.fetch(
            SEARCH_PRODUCTS,
            wanted.status,
            wanted.spirit_class,
            after_id,
            limit,
            words.whole,
            words.rest,
            words.prefix,
            rank,
        )
    return list(_products(rows))


async def offers(q: Queries, variant_ids: tuple[VariantId, ...]) -> dict[VariantId, Shelved]:
    """The bottlings that exist among `variant_ids`, each with what decides whether it is on sale."""
    return {VariantId(row["variant_id"]): _shelved(row) for row in await q.fetch(OFFERS, variant_ids)}


def _products(rows: Iterable[Row]) -> Iterable[tuple[Product, int]]:
    """Products with their ranks from rows that hold one bottling each, the rows of a product side by side."""
    for _, group in groupby(rows, key=lambda row: row["product_id"]):
        bottlings = list(group)
        yield _product(bottlings), bottlings[0]["rank"]


def _product(rows: list[Row]) -> Product:
    row = rows[0]
    product_id = ProductId(row["product_id"])
    return Product(
        product_id=product_id,
        name=row["name"],
        spirit_class=row["spirit_class"],
        class_type=row["class_type"],
        abv_bp=row["abv_bp"],
        origin=row["origin"],
        producer=row["producer"],
        age_months=row["age_months"],
        description=row["description"],
        cola_id=row["cola_id"],
        status=row["status"],
        variants=tuple(_variant(product_id, each) for each in rows if each["variant_id"] is not None),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _variant(product_id: ProductId, row: Row) -> Variant:
    return Variant(
        variant_id=VariantId(row["variant_id"]),
        product_id=product_id,
        sku=row["sku"],
        size_ml=row["size_ml"],
        price=Money(row["price_minor"], row["currency"]),
        weight_g=row["weight_g"],
        gtin=row["gtin"],
        purchase_limit=row["purchase_limit"],
        release_from=row["release_from"],
        release_until=row["release_until"],
        status=row["variant_status"],
        version=row["variant_version"],
    )


def _shelved(row: Row) -> Shelved:
    size_ml: int = row["size_ml"]
    offer = Offer(
        VariantId(row["variant_id"]),
        ProductId(row["product_id"]),
        row["sku"],
        title_of(row["name"], size_ml),
        row["spirit_class"],
        row["abv_bp"],
        size_ml,
        Money(row["price_minor"], row["currency"]),
        row["purchase_limit"],
    )
    return Shelved(
        offer, row["product_status"], row["variant_status"], row["release_from"], row["release_until"]
    )
