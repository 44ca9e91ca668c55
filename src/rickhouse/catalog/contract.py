"""What the catalogue offers to the other slices. Editing products is HTTP's business and stays out of here."""

from datetime import datetime
from typing import Protocol

import msgspec

from rickhouse.kernel.errors import Condition, Kind
from rickhouse.kernel.events import Event
from rickhouse.kernel.ids import ProductId, VariantId
from rickhouse.kernel.money import Money


class VariantNotFound(Condition, code="variant_not_found", kind=Kind.UNPROCESSABLE, title="No such bottling"):
    """An ordered variant does not exist; facts carry `variant_id`."""


class NotForSale(Condition, code="not_for_sale", kind=Kind.CONFLICT, title="Not for sale"):
    """The variant is a draft, archived, or outside its release window; facts carry `variant_id`, `reason`."""


class SkuTaken(Condition, code="sku_taken", kind=Kind.CONFLICT, title="SKU already used"):
    """Another bottling has this SKU; facts carry `sku`."""


class GtinTaken(Condition, code="gtin_taken", kind=Kind.CONFLICT, title="GTIN already used"):
    """Another bottling has this GTIN; facts carry `gtin`."""


class ProductNotReady(Condition, code="product_not_ready", kind=Kind.CONFLICT, title="Not ready for sale"):
    """The law or the shelf still lacks something before the product may be active; facts carry `missing`."""


class StatusRefused(Condition, code="status_refused", kind=Kind.CONFLICT, title="No way to that status"):
    """A product does not go from its status to the one asked for; facts carry `status`, `allowed`."""


class BottlingFixed(Condition, code="bottling_fixed", kind=Kind.CONFLICT, title="Fixed once on sale"):
    """What identifies a bottling in orders and on shelves cannot change any more; facts carry `field`."""


class Offer(msgspec.Struct, frozen=True):
    """A bottling as it is sold at one moment.

    `spirit_class` is the catalogue's class of the product (`whiskey`, `gin`, `rum`, `brandy`, `vodka`, `liqueur`,
    `ready_to_drink`, ...), which the law decides on. `purchase_limit` is the most bottles one customer may ever hold
    or buy of it, None for no limit.
    """

    variant_id: VariantId
    product_id: ProductId
    sku: str
    title: str
    spirit_class: str
    abv_bp: int
    size_ml: int
    price: Money
    purchase_limit: int | None = None


class ProductChanged(Event, frozen=True):
    """A product or one of its variants was created, changed, activated or archived."""

    kind = "catalog.product_changed"
    product_id: ProductId
    version: int


class Catalog(Protocol):
    """The catalogue as checkout sees it."""

    async def offers(self, variant_ids: tuple[VariantId, ...], at: datetime) -> tuple[Offer, ...]:
        """The current offer of each variant, in the order asked, read from the database and never from a cache.

        Raises VariantNotFound, NotForSale.
        """
        ...
