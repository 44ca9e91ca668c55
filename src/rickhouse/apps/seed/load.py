"""Put the distillery of `distillery.toml` into the catalogue and on the shelves, through the slices' own services.

Seeding again changes nothing, whatever was sold or edited since: each thing carries an idempotency key of its own.
"""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files

import msgspec

from rickhouse.apps.house import House
from rickhouse.catalog.labelling import SpiritClass
from rickhouse.catalog.model import ChangeProduct, CreateProduct, CreateVariant, ProductStatus
from rickhouse.catalog.service import CatalogService
from rickhouse.inventory.model import CreateWarehouse, Receipt, WarehouseKind
from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.errors import VersionStale
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import ProductId, VariantId, WarehouseId
from rickhouse.kernel.money import Money
from rickhouse.platform.codec import dec_hook


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Producer(Entry, frozen=True):
    """Who made everything, and where."""

    name: str
    origin: str


class WarehouseEntry(Entry, frozen=True):
    """A place for stock; `key` is what bottlings call it."""

    key: str
    name: str
    region: str
    kind: WarehouseKind
    priority: int
    sells: bool


class VariantEntry(Entry, frozen=True, kw_only=True):
    """A bottling; `stock` is how many bottles stand in each warehouse."""

    variant_id: VariantId
    sku: str
    size_ml: int
    price_minor: int
    weight_g: int
    gtin: str
    purchase_limit: int | None = None
    release_from: datetime | None = None
    stock: dict[str, int]


class ProductEntry(Entry, frozen=True, kw_only=True):
    """A spirit and its bottlings."""

    product_id: ProductId
    name: str
    spirit_class: SpiritClass
    class_type: str
    abv_bp: int
    age_months: int | None = None
    cola_id: str | None = None
    description: str
    status: ProductStatus
    variants: tuple[VariantEntry, ...]


class Distillery(Entry, frozen=True):
    """The whole file."""

    producer: Producer
    warehouses: tuple[WarehouseEntry, ...]
    products: tuple[ProductEntry, ...]


def read_distillery() -> Distillery:
    """The distillery that ships with the house."""
    text = files("rickhouse.apps.seed").joinpath("distillery.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(text, type=Distillery, dec_hook=dec_hook)


async def seed(house: House) -> str:
    """Seed the databases of `house`, and say in a sentence what stands there. Raises what the services raise."""
    currency = house.settings.orders.currency
    catalog = CatalogService(house.database("catalog"), currency=currency)
    return await plant(read_distillery(), catalog, InventoryService(house.database("inventory")), currency)


async def plant(
    distillery: Distillery, catalog: CatalogService, inventory: InventoryService, currency: str
) -> str:
    """Put `distillery` into the two slices, priced in `currency`, and say in a sentence what stands there."""
    warehouses = {entry.key: await _open_warehouse(inventory, entry) for entry in distillery.warehouses}
    for product in distillery.products:
        await _add_product(catalog, distillery.producer, product, currency)
        for variant in product.variants:
            await _receive(inventory, variant, warehouses)
    bottlings = [variant for product in distillery.products for variant in product.variants]
    bottles = sum(sum(variant.stock.values()) for variant in bottlings)
    return (
        f"{distillery.producer.name}: {len(distillery.products)} products in {len(bottlings)} bottlings, "
        f"{bottles:,} bottles received in {len(warehouses)} warehouses"
    )


async def _open_warehouse(inventory: InventoryService, entry: WarehouseEntry) -> WarehouseId:
    command = CreateWarehouse(
        name=entry.name, region=entry.region, kind=entry.kind, priority=entry.priority, sells=entry.sells
    )
    return (await inventory.create_warehouse(_keyed(entry.key), command)).warehouse_id


async def _add_product(
    catalog: CatalogService, producer: Producer, entry: ProductEntry, currency: str
) -> None:
    asked = CreateProduct(
        name=entry.name,
        spirit_class=entry.spirit_class,
        class_type=entry.class_type,
        abv_bp=entry.abv_bp,
        origin=producer.origin,
        producer=producer.name,
        age_months=entry.age_months,
        description=entry.description,
        cola_id=entry.cola_id,
    )
    await catalog.create_product(_keyed(str(entry.product_id)), asked, entry.product_id)
    for variant in entry.variants:
        await _add_variant(catalog, entry.product_id, variant, currency)
    if entry.status != "draft":
        await _activate(catalog, entry)


async def _add_variant(
    catalog: CatalogService, product_id: ProductId, entry: VariantEntry, currency: str
) -> None:
    asked = CreateVariant(
        sku=entry.sku,
        size_ml=entry.size_ml,
        price=Money(entry.price_minor, currency),
        weight_g=entry.weight_g,
        gtin=entry.gtin,
        purchase_limit=entry.purchase_limit,
        release_from=entry.release_from,
    )
    await catalog.create_variant(_keyed(str(entry.variant_id)), product_id, asked, entry.variant_id)


async def _activate(catalog: CatalogService, entry: ProductEntry) -> None:
    """Put the product on sale, unless somebody has had a hand in it: each bottling added one to its version."""
    untouched = 1 + len(entry.variants)

    def match(version: int) -> None:
        if version != untouched:
            raise VersionStale("The product was changed since it was seeded.")

    try:
        await catalog.change_product(entry.product_id, ChangeProduct(status=entry.status), match)
    except VersionStale:
        return


async def _receive(
    inventory: InventoryService, entry: VariantEntry, warehouses: dict[str, WarehouseId]
) -> None:
    for key, bottles in entry.stock.items():
        receipt = Receipt(
            variant_id=entry.variant_id,
            warehouse_id=warehouses[key],
            quantity=bottles,
            reason="Opening stock",
        )
        await inventory.move(_keyed(f"{entry.variant_id} {key}"), receipt)


def _keyed(key: str) -> Keyed:
    """The key of one thing of the seed. Its fingerprint never changes, so that a later edition of the file leaves alone
    what an earlier one has made."""
    return Keyed("seed", f"seed {key}", b"seed")
