"""What the tests of the catalogue put into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import count

from rickhouse.catalog.model import ChangeProduct, CreateProduct, CreateVariant, Product
from rickhouse.catalog.service import CatalogService
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.money import Money
from rickhouse.platform.db import Database

_keys = count(1)

RYE = CreateProduct(
    name="Coulee Rye",
    spirit_class="whiskey",
    class_type="Straight Rye Whiskey",
    abv_bp=4_750,
    origin="North Dakota, United States",
    producer="Painted Coulee Distilling Co.",
    age_months=36,
    description="Pepper, orchard honey, dry oak.",
    cola_id="24018001000412",
)
RYE_750 = CreateVariant(sku="RYE-750", size_ml=750, price=Money(5_400, "USD"), weight_g=1_380)


def fresh_key(owner: str = "test", fingerprint: bytes = b"fingerprint") -> Keyed:
    """An idempotency key that no other request has."""
    return Keyed(owner, f"key-{next(_keys)}", fingerprint)


def any_version(_version: int) -> None:
    """Let a change of whatever version pass."""


async def until(true: Callable[[], bool]) -> None:
    """Wait for it, at most ten seconds."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(db: Database) -> AsyncGenerator[CatalogService]:
    """A catalogue in US dollars with a memory of its own, from when it can trust it."""
    catalog = CatalogService(db, currency="USD")
    await catalog.open()
    try:
        await until(lambda: catalog.keeps)
        yield catalog
    finally:
        await catalog.close()


async def on_sale(catalog: CatalogService, asked: CreateProduct = RYE, *bottlings: CreateVariant) -> Product:
    """An active product; with one bottling of 750 ml where none are given."""
    product = await catalog.create_product(fresh_key(), asked)
    for bottling in bottlings or (RYE_750,):
        await catalog.create_variant(fresh_key(), product.product_id, bottling)
    return await catalog.change_product(product.product_id, ChangeProduct(status="active"), any_version)
