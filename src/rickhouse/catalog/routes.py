"""Products and bottlings over HTTP: decode, authorise, call the service, encode."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter

from rickhouse.catalog.contract import BottlingFixed, GtinTaken, ProductNotReady, SkuTaken, StatusRefused
from rickhouse.catalog.labelling import SpiritClass
from rickhouse.catalog.model import (
    ChangeProduct,
    ChangeVariant,
    CreateProduct,
    CreateVariant,
    Product,
    ProductFilter,
    ProductStatus,
    Variant,
    bottling,
    draft,
)
from rickhouse.catalog.service import Answer, CatalogService
from rickhouse.kernel.errors import CurrencyMismatch, Forbidden
from rickhouse.kernel.ids import ProductId, VariantId
from rickhouse.kernel.money import Money
from rickhouse.platform.web import (
    Cursor,
    IdempotencyKey,
    IfMatch,
    IfNoneMatch,
    Limit,
    Page,
    caller,
    created,
    etag,
    get,
    keyed,
    not_modified,
    patch,
    post,
    require_match,
)

READ: Final = "catalog:read"
WRITE: Final = "catalog:write"

Status = Annotated[
    ProductStatus | None,
    QueryParameter(
        name="status",
        description=f"Only products in this status. Without the scope `{WRITE}`, active ones are all there are.",
    ),
]
Class = Annotated[
    SpiritClass | None, QueryParameter(name="spirit_class", description="Only products of this class.")
]
Search = Annotated[
    str | None,
    QueryParameter(
        name="q",
        max_length=200,
        description="Words to find in name, class, producer, origin and description; the last one may be half typed. "
        '`"…"` finds a phrase, `or` one of two words, `-` excludes a word.',
    ),
]

_CREATE: Final = CreateProduct(
    name="Coulee Rye",
    spirit_class="whiskey",
    class_type="Straight Rye Whiskey",
    abv_bp=4_750,
    origin="North Dakota, United States",
    producer="Painted Coulee Distilling Co.",
    age_months=36,
    description="Two winters of hard frost and one of wind: pepper, orchard honey, dry oak.",
    cola_id="24018001000412",
)
_ADD: Final = CreateVariant(
    sku="PC-RYE-750",
    size_ml=750,
    price=Money(5_400, "USD"),
    weight_g=1_380,
    gtin="9521234543213",
    purchase_limit=6,
)
_VARIANT: Final = bottling(
    VariantId.parse("var_01jwe0r0w1e9p8j6s0000000v1"), ProductId.parse("prd_01jwe0r0w1e9p8j6s0000000p1"), _ADD
)
_DRAFT: Final = draft(_VARIANT.product_id, _CREATE, datetime(2026, 3, 2, 15, 4, 5, tzinfo=UTC))
_PRODUCT: Final = msgspec.structs.replace(_DRAFT, status="active", variants=(_VARIANT,), version=3)


def routes(service: CatalogService) -> list[HTTPRouteHandler]:
    """Every route of the slice."""
    return [*_product_routes(service), *_variant_routes(service), *_reading_routes(service)]


def _product_routes(service: CatalogService) -> list[HTTPRouteHandler]:
    @post(
        "/v1/products",
        scope=WRITE,
        summary="Create a product",
        description="It starts as a draft, which buyers do not see; add a bottling, then set `status` to `active`.",
        example=_DRAFT,
        body_example=_CREATE,
    )
    async def create_product(
        request: Request[Any, Any, Any], data: JSONBody[CreateProduct], idempotency_key: IdempotencyKey
    ) -> Response[Product]:
        product = await service.create_product(keyed(request, idempotency_key, data), data)
        return created(product, f"/v1/products/{product.product_id}", etag=etag(product.version))

    @patch(
        "/v1/products/{product_id:str}",
        scope=WRITE,
        summary="Change a product",
        description="An absent field stays, null empties an optional one. To be active, a product needs its label "
        "approval, a bottling, and the strength of its class.",
        errors=(StatusRefused, ProductNotReady),
        example=_PRODUCT,
        body_example=ChangeProduct(status="active"),
    )
    async def change_product(
        product_id: FromPath[ProductId], data: JSONBody[ChangeProduct], if_match: IfMatch = None
    ) -> Response[Product]:
        product = await service.change_product(product_id, data, partial(require_match, if_match))
        return Response(product, headers={"etag": etag(product.version)})

    return [create_product, change_product]


def _variant_routes(service: CatalogService) -> list[HTTPRouteHandler]:
    @post(
        "/v1/products/{product_id:str}/variants",
        scope=WRITE,
        summary="Add a bottling",
        errors=(CurrencyMismatch, SkuTaken, GtinTaken),
        example=_VARIANT,
        body_example=_ADD,
    )
    async def create_variant(
        request: Request[Any, Any, Any],
        product_id: FromPath[ProductId],
        data: JSONBody[CreateVariant],
        idempotency_key: IdempotencyKey,
    ) -> Response[Variant]:
        variant = await service.create_variant(keyed(request, idempotency_key, data), product_id, data)
        return created(variant, f"/v1/variants/{variant.variant_id}", etag=etag(variant.version))

    @patch(
        "/v1/variants/{variant_id:str}",
        scope=WRITE,
        summary="Change a bottling",
        description="An absent field stays, null empties an optional one. `sku` and `size_ml` change only while the "
        "product is a draft.",
        errors=(CurrencyMismatch, SkuTaken, GtinTaken, BottlingFixed, ProductNotReady),
        example=_VARIANT,
        body_example=ChangeVariant(price=Money(5_900, "USD")),
    )
    async def change_variant(
        variant_id: FromPath[VariantId], data: JSONBody[ChangeVariant], if_match: IfMatch = None
    ) -> Response[Variant]:
        variant = await service.change_variant(variant_id, data, partial(require_match, if_match))
        return Response(variant, headers={"etag": etag(variant.version)})

    return [create_variant, change_variant]


def _reading_routes(service: CatalogService) -> list[HTTPRouteHandler]:
    @get(
        "/v1/products",
        scope=READ,
        summary="List products",
        description="Newest first; with `q`, best match first.",
        example=Page((_PRODUCT,)),
        also={304: None},
    )
    async def list_products(
        request: Request[Any, Any, Any],
        cursor: Cursor = None,
        limit: Limit = 24,
        status: Status = None,
        spirit_class: Class = None,
        q: Search = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response[Page[Product]]:
        staff = caller(request).may(WRITE)
        if not staff and status not in (None, "active"):
            raise Forbidden(
                f"Products that are {status} are shown to tokens with the scope '{WRITE}'.", scope=WRITE
            )
        wanted = ProductFilter(status=status, spirit_class=spirit_class, q=q)
        return _reply(await service.list_products(wanted, cursor, limit, staff=staff), if_none_match)

    @get(
        "/v1/products/{product_id:str}",
        scope=READ,
        summary="Look at a product",
        example=_PRODUCT,
        also={304: None},
    )
    async def get_product(
        request: Request[Any, Any, Any], product_id: FromPath[ProductId], if_none_match: IfNoneMatch = None
    ) -> Response[Product]:
        staff = caller(request).may(WRITE)
        return _reply(await service.read_product(product_id, staff=staff), if_none_match)

    @get(
        "/v1/variants/{variant_id:str}",
        scope=READ,
        summary="Look at a bottling",
        example=_VARIANT,
        also={304: None},
    )
    async def get_variant(
        request: Request[Any, Any, Any], variant_id: FromPath[VariantId], if_none_match: IfNoneMatch = None
    ) -> Response[Variant]:
        staff = caller(request).may(WRITE)
        return _reply(await service.read_variant(variant_id, staff=staff), if_none_match)

    return [list_products, get_product, get_variant]


def _reply(answer: Answer, if_none_match: str | None) -> Response[Any]:
    """The answer as it was encoded once, or 304. Whoever keeps a copy has to ask whether it still holds, because a new
    price shows at once; and the token decides what is shown."""
    headers = {"etag": answer.etag, "cache-control": "private, no-cache", "vary": "authorization"}
    if not_modified(if_none_match, answer.etag):
        return Response(None, status_code=304, headers=headers)
    return Response(answer.body, headers=headers, media_type="application/json")
