"""Products and bottlings: their shapes, how they change, when they may be sold, and how a shopper's words find them.

Pure functions. Where a bottle may be sent is law of a sale and belongs to compliance; stock never belongs here.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rickhouse.catalog.contract import (
    BottlingFixed,
    NotForSale,
    Offer,
    ProductNotReady,
    StatusRefused,
)
from rickhouse.catalog.labelling import (
    ABV_BP_MIN,
    SpiritClass,
    check_cola_id,
    check_fill,
    check_gtin,
    strength_shortfall,
)
from rickhouse.kernel.errors import CurrencyMismatch, FieldInvalid, JsonFact
from rickhouse.kernel.ids import ProductId, VariantId
from rickhouse.kernel.money import Money
from rickhouse.kernel.units import ABV_BP_MAX, abv_percent

PRICE_MINOR_MAX: Final = 1_000_000_000
"""No bottle has ever sold for ten million dollars; a higher price is a slip of the hand."""

_RELEASE_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_RELEASE_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)

_SKU: Final = re.compile(r"[A-Z0-9][A-Z0-9._-]*")
_TRAILING_WORD: Final = re.compile(r"\w+\Z")
_PREFIX_CHARS_MAX: Final = 40

ProductStatus = Literal["draft", "active", "archived"]
VariantStatus = Literal["active", "archived"]

_MOVES: Final[dict[ProductStatus, tuple[ProductStatus, ...]]] = {
    "draft": ("active", "archived"),
    "active": ("archived",),
    "archived": ("active",),
}

Name = Annotated[str, Meta(min_length=1, max_length=120, description="As on the front label.")]
ClassType = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=120,
        description="Class and type designation of the label (27 CFR part 5 subpart I), such as "
        "'Straight Bourbon Whiskey'.",
    ),
]
AbvBp = Annotated[
    int, Meta(ge=ABV_BP_MIN, le=ABV_BP_MAX, description="Alcohol by volume in basis points: 4500 is 45 %.")
]
Origin = Annotated[
    str, Meta(min_length=1, max_length=80, description="Where it was distilled, as on the label.")
]
Producer = Annotated[str, Meta(min_length=1, max_length=120, description="Who distilled or bottled it.")]
AgeMonths = Annotated[int, Meta(ge=0, le=1_200, description="Age statement (27 CFR 5.74) in months.")]
Description = Annotated[str, Meta(max_length=4_000)]
ColaId = Annotated[
    str,
    Meta(
        min_length=14,
        max_length=14,
        description="TTB ID of the certificate of label approval or of exemption from it (TTB F 5100.31): "
        "two digits of the year, day of the year, three of the receipt method, six of the sequence.",
    ),
]
Sku = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=40,
        description="Letters A to Z, digits, '-', '.' and '_'; unique in the shop.",
    ),
]
SizeMl = Annotated[
    int, Meta(ge=1, le=3_750, description="Net contents in millilitres, a standard of fill (27 CFR 5.203).")
]
Gtin = Annotated[
    str, Meta(min_length=8, max_length=14, description="GTIN-8, -12, -13 or -14 with its check digit.")
]
WeightG = Annotated[int, Meta(ge=1, le=100_000, description="Full and packed for the shelf, in grams.")]
PurchaseLimit = Annotated[
    int, Meta(ge=1, le=10_000, description="Most bottles that one customer may ever hold or buy.")
]
ReleaseTime = Annotated[
    datetime, Meta(tz=True, description="RFC 3339 with an offset, between 2000 and 2100.")
]


class CreateProduct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new product. It starts as a draft, which no buyer sees."""

    name: Name
    spirit_class: SpiritClass
    class_type: ClassType
    abv_bp: AbvBp
    origin: Origin
    producer: Producer
    age_months: AgeMonths | None = None
    description: Description = ""
    cola_id: ColaId | None = None


class ChangeProduct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change (RFC 7396): a field that is absent stays, null empties an optional one."""

    name: Name | UnsetType = UNSET
    spirit_class: SpiritClass | UnsetType = UNSET
    class_type: ClassType | UnsetType = UNSET
    abv_bp: AbvBp | UnsetType = UNSET
    origin: Origin | UnsetType = UNSET
    producer: Producer | UnsetType = UNSET
    age_months: AgeMonths | UnsetType | None = UNSET
    description: Description | UnsetType = UNSET
    cola_id: ColaId | UnsetType | None = UNSET
    status: ProductStatus | UnsetType = UNSET


class CreateVariant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new bottling of a product."""

    sku: Sku
    size_ml: SizeMl
    price: Money
    weight_g: WeightG
    gtin: Gtin | None = None
    purchase_limit: PurchaseLimit | None = None
    release_from: ReleaseTime | None = None
    release_until: ReleaseTime | None = None


class ChangeVariant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change (RFC 7396): a field that is absent stays, null empties an optional one.

    `sku` and `size_ml` change only while the product is a draft: orders and shelves know the bottling by them.
    """

    sku: Sku | UnsetType = UNSET
    size_ml: SizeMl | UnsetType = UNSET
    price: Money | UnsetType = UNSET
    weight_g: WeightG | UnsetType = UNSET
    gtin: Gtin | UnsetType | None = UNSET
    purchase_limit: PurchaseLimit | UnsetType | None = UNSET
    release_from: ReleaseTime | UnsetType | None = UNSET
    release_until: ReleaseTime | UnsetType | None = UNSET
    status: VariantStatus | UnsetType = UNSET


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A bottling. It is sold from `release_from` until just before `release_until`, where these are given."""

    variant_id: VariantId
    product_id: ProductId
    sku: str
    size_ml: int
    price: Money
    weight_g: int
    gtin: str | None
    purchase_limit: int | None
    release_from: datetime | None
    release_until: datetime | None
    status: VariantStatus
    version: int


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A spirit and its bottlings. `version` grows with every change of either."""

    product_id: ProductId
    name: str
    spirit_class: SpiritClass
    class_type: str
    abv_bp: int
    origin: str
    producer: str
    age_months: int | None
    description: str
    cola_id: str | None
    status: ProductStatus
    variants: tuple[Variant, ...]
    version: int
    created_at: datetime
    updated_at: datetime


class ProductFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which products to list. `q` is a shopper's search; None does not filter."""

    status: ProductStatus | None = None
    spirit_class: SpiritClass | None = None
    q: str | None = None


class After(msgspec.Struct, frozen=True):
    """The last product of a page: pages go down by rank (0 where nothing is searched), then by id, newest first."""

    rank: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    product_id: ProductId


class Shelved(msgspec.Struct, frozen=True):
    """An offer, and what decides whether it stands."""

    offer: Offer
    product_status: ProductStatus
    variant_status: VariantStatus
    release_from: datetime | None
    release_until: datetime | None


class SearchWords(msgspec.Struct, frozen=True):
    """A shopper's words. `whole` is the search as typed; `prefix` its last word where that may be half typed, and
    `rest` what stands before it."""

    whole: str
    rest: str
    prefix: str


def draft(product_id: ProductId, asked: CreateProduct, created_at: datetime) -> Product:
    """The product as it stands right after it was created."""
    return Product(
        product_id=product_id,
        name=asked.name,
        spirit_class=asked.spirit_class,
        class_type=asked.class_type,
        abv_bp=asked.abv_bp,
        origin=asked.origin,
        producer=asked.producer,
        age_months=asked.age_months,
        description=asked.description,
        cola_id=asked.cola_id,
        status="draft",
        variants=(),
        version=1,
        created_at=created_at,
        updated_at=created_at,
    )


def bottling(variant_id: VariantId, product_id: ProductId, asked: CreateVariant) -> Variant:
    """The bottling as it stands right after it was added."""
    return Variant(
        variant_id=variant_id,
        product_id=product_id,
        sku=asked.sku,
        size_ml=asked.size_ml,
        price=asked.price,
        weight_g=asked.weight_g,
        gtin=asked.gtin,
        purchase_limit=asked.purchase_limit,
        release_from=asked.release_from,
        release_until=asked.release_until,
        status="active",
        version=1,
    )


def check_product(product: CreateProduct | Product) -> None:
    """Hold the fields of a product to their rules. Raises FieldInvalid."""
    for field in ("name", "class_type", "origin", "producer"):
        _check_line(field, getattr(product, field))
    if product.cola_id is not None:
        check_cola_id(product.cola_id)


def check_variant(variant: CreateVariant | Variant, currency: str) -> None:
    """Hold the fields of a bottling to their rules; prices are in the shop's `currency`.

    Raises FieldInvalid, CurrencyMismatch.
    """
    if _SKU.fullmatch(variant.sku) is None:
        raise FieldInvalid(
            "sku takes the letters A to Z, digits, '-', '.' and '_', and begins with a letter or digit.",
            field="sku",
            rule="characters",
        )
    check_fill(variant.size_ml)
    if variant.price.currency != currency:
        raise CurrencyMismatch(
            f"This shop sells in {currency}; send the price in it.", field="price.currency"
        )
    if not 1 <= variant.price.minor <= PRICE_MINOR_MAX:
        raise FieldInvalid(
            f"price.minor is between 1 and {PRICE_MINOR_MAX} minor units; a bottle is never free.",
            field="price.minor",
            rule="range",
        )
    if variant.gtin is not None:
        check_gtin(variant.gtin)
    _check_release(variant.release_from, variant.release_until)


def change_product(product: Product, change: ChangeProduct) -> Product:
    """The product after the change; `product` itself where nothing differs. Its version is not touched.

    Raises FieldInvalid, StatusRefused, ProductNotReady.
    """
    changed = msgspec.structs.replace(product, **_given(change))
    if changed == product:
        return product
    check_product(changed)
    if changed.status != product.status and changed.status not in _MOVES[product.status]:
        allowed = list(_MOVES[product.status])
        raise StatusRefused(
            f"A product goes from {product.status} to {' or '.join(allowed)}, not to {changed.status}.",
            status=product.status,
            allowed=list[JsonFact](_MOVES[product.status]),
        )
    _require_ready(changed)
    return changed


def change_variant(product: Product, variant: Variant, change: ChangeVariant, currency: str) -> Variant:
    """A bottling of `product` after the change; `variant` itself where nothing differs. Its version is not touched.

    Raises FieldInvalid, CurrencyMismatch, BottlingFixed, ProductNotReady.
    """
    changed = msgspec.structs.replace(variant, **_given(change))
    if changed == variant:
        return variant
    check_variant(changed, currency)
    for field in ("sku", "size_ml"):
        if product.status != "draft" and getattr(changed, field) != getattr(variant, field):
            raise BottlingFixed(
                f"{field} is fixed since the product left draft, because orders and shelves know the bottling by it; "
                "archive this bottling and add another.",
                field=field,
            )
    others = tuple(other for other in product.variants if other.variant_id != variant.variant_id)
    _require_ready(msgspec.structs.replace(product, variants=(*others, changed)))
    return changed


def find_variant(product: Product, variant_id: VariantId) -> Variant | None:
    """That bottling of the product."""
    return next((variant for variant in product.variants if variant.variant_id == variant_id), None)


def for_buyers(product: Product) -> Product | None:
    """The product as buyers see it, without archived bottlings; None where they must not see it at all."""
    if product.status != "active":
        return None
    shown = tuple(variant for variant in product.variants if variant.status == "active")
    return msgspec.structs.replace(product, variants=shown)


def title_of(name: str, size_ml: int) -> str:
    """What an order line calls a bottling: `Coulee Rye, 750 ml`."""
    return f"{name}, {size_ml} ml"


def offer_at(shelved: Shelved, at: datetime) -> Offer:
    """The offer, if the bottling is on sale at that moment. Raises NotForSale."""
    if shelved.product_status != "active":
        reason, detail = shelved.product_status, f"belongs to a product that is {shelved.product_status}"
    elif shelved.variant_status != "active":
        reason, detail = shelved.variant_status, f"is {shelved.variant_status}"
    elif shelved.release_from is not None and at < shelved.release_from:
        reason, detail = "not_released", f"is sold from {shelved.release_from.isoformat()}"
    elif shelved.release_until is not None and at >= shelved.release_until:
        reason, detail = "release_over", f"was sold until {shelved.release_until.isoformat()}"
    else:
        return shelved.offer
    raise NotForSale(
        f"{shelved.offer.title} {detail}; take it out of the order.",
        variant_id=str(shelved.offer.variant_id),
        reason=reason,
    )


def settled_filter(wanted: ProductFilter, *, staff: bool) -> ProductFilter:
    """The filter as it is applied: buyers get what is active, and a blank search is none. Raises FieldInvalid."""
    q = (wanted.q or "").strip()
    if "\0" in q:
        raise FieldInvalid("q holds a NUL character, which no text has.", field="q", rule="no_nul")
    return ProductFilter(
        status=wanted.status if staff else "active", spirit_class=wanted.spirit_class, q=q or None
    )


def search_words(q: str) -> SearchWords:
    """Split a search so that its last word may be half typed. A word that is quoted, excluded by a minus, the `or` of a
    choice, or longer than any word of a label is taken as it is."""
    word = _TRAILING_WORD.search(q)
    if (
        word is None
        or len(word[0]) > _PREFIX_CHARS_MAX
        or q.rsplit(maxsplit=1)[-1].startswith("-")
        or q.count('"') % 2
        or word[0].lower() == "or"
    ):
        return SearchWords(q, "", "")
    return SearchWords(q, q[: word.start()], word[0])


def _given(change: ChangeProduct | ChangeVariant) -> dict[str, Any]:
    """The fields that a change names, with their new values."""
    fields = {name: getattr(change, name) for name in change.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not UNSET}


def _check_line(field: str, text: str) -> None:
    if not text.strip() or not text.isprintable():
        raise FieldInvalid(
            f"{field} is one line of text with something to read in it.", field=field, rule="one_line"
        )


def _check_release(release_from: datetime | None, release_until: datetime | None) -> None:
    for field, at in (("release_from", release_from), ("release_until", release_until)):
        if at is not None and not _RELEASE_EARLIEST <= at < _RELEASE_LATEST:
            raise FieldInvalid(f"{field} lies between 2000 and 2100.", field=field, rule="range")
    if release_from is not None and release_until is not None and release_from >= release_until:
        raise FieldInvalid(
            "release_until comes after release_from; move one of them or send null for no limit.",
            field="release_until",
            rule="after_release_from",
        )


def _require_ready(product: Product) -> None:
    """Hold an active product to what the law and the shelf need. Raises ProductNotReady.

    A label needs approval, or exemption from it, before spirits are removed for sale (27 CFR 5.21 to 5.23); a class
    has its least strength (27 CFR 5.142 to 5.151); and without a bottling there is nothing to sell.
    """
    if product.status != "active":
        return
    missing: dict[str, str] = {}
    if product.cola_id is None:
        missing["cola_id"] = "set cola_id, the TTB ID of its label approval (27 CFR 5.21)"
    if not any(variant.status == "active" for variant in product.variants):
        missing["variant"] = "add a bottling that is not archived, or archive the product"
    shortfall = strength_shortfall(product.spirit_class, product.class_type, product.abv_bp)
    if shortfall is not None:
        floor_bp, source = shortfall
        missing["strength"] = (
            f"{product.spirit_class} is bottled at {abv_percent(floor_bp)} % or more ({source}); correct abv_bp, "
            "or call it diluted in class_type (27 CFR 5.153)"
        )
    if missing:
        raise ProductNotReady(
            f"An active product lacks: {'; '.join(missing.values())}.", missing=list(missing)
        )
