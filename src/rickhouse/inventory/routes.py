"""Warehouses, stock and its ledger over HTTP: decode, authorise, call the service, encode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from rickhouse.inventory.contract import TooFewBottles, WarehouseNameTaken, WarehouseNotFound
from rickhouse.inventory.model import (
    Adjustment,
    Breakage,
    Clearance,
    CreateWarehouse,
    Entry,
    Movement,
    Quarantine,
    Receipt,
    Return,
    Shelf,
    StockRequest,
    Transfer,
    Warehouse,
    movement_of,
)
from rickhouse.inventory.service import FIRST_SHELF, FIRST_WAREHOUSE, NEWEST_ENTRY, InventoryService
from rickhouse.kernel.ids import MovementId, OrderId, VariantId, WarehouseId
from rickhouse.platform.web import (
    Cursor,
    IdempotencyKey,
    Limit,
    Page,
    created,
    decode_cursor,
    encode_cursor,
    get,
    keyed,
    post,
)

Item = TypeVar("Item")

READ: Final = "inventory:read"
WRITE: Final = "inventory:write"

OfVariant = Annotated[
    VariantId | None, QueryParameter(name="variant_id", description="Only stock of this bottling.")
]
InWarehouse = Annotated[
    WarehouseId | None, QueryParameter(name="warehouse_id", description="Only stock in this warehouse.")
]
Seq = Annotated[int, Meta(ge=0, le=NEWEST_ENTRY)]
Priority = Annotated[int, Meta(ge=0, le=1_000)]

_VARIANT_ID: Final = VariantId.parse("var_01jwe0r0w1e9p8j6s0000000v1")
_WAREHOUSE_ID: Final = WarehouseId.parse("whs_01jwe0r0w1e9p8j6s0000000w1")
_BONDED_ID: Final = WarehouseId.parse("whs_01jwe0r0w1e9p8j6s0000000b1")
_MOVEMENT_ID: Final = MovementId.parse("mov_01jwe0r0w1e9p8j6s0000000m1")
_ORDER_ID: Final = OrderId.parse("ord_01jwe0r0w1e9p8j6s000000001")
_AT: Final = datetime(2026, 3, 2, 15, 4, 5, tzinfo=UTC)

_CREATE: Final = CreateWarehouse(
    name="Shipping warehouse", region="US-ND", kind="tax_paid", priority=10, sells=True
)
_WAREHOUSE: Final = Warehouse(
    warehouse_id=_WAREHOUSE_ID,
    name=_CREATE.name,
    region=_CREATE.region,
    kind=_CREATE.kind,
    priority=_CREATE.priority,
    sells=_CREATE.sells,
    created_at=_AT,
)
_SHELF: Final = Shelf(
    variant_id=_VARIANT_ID, warehouse_id=_WAREHOUSE_ID, on_hand=240, held=18, quarantined=2, free=220
)
_ENTRY: Final = Entry(
    seq=4211,
    kind="hold",
    variant_id=_VARIANT_ID,
    warehouse_id=_WAREHOUSE_ID,
    on_hand_delta=0,
    held_delta=2,
    quarantined_delta=0,
    order_id=_ORDER_ID,
    movement_id=None,
    actor="checkout",
    reason="",
    at=_AT,
)

_RECEIPT: Final = Receipt(
    variant_id=_VARIANT_ID, warehouse_id=_BONDED_ID, quantity=240, reason="Bottling run 2026-03"
)
_ADJUSTMENT: Final = Adjustment(
    variant_id=_VARIANT_ID, warehouse_id=_WAREHOUSE_ID, delta=-2, reason="Yearly stocktaking"
)
_TRANSFER: Final = Transfer(
    variant_id=_VARIANT_ID, from_warehouse_id=_BONDED_ID, to_warehouse_id=_WAREHOUSE_ID, quantity=60
)
_BREAKAGE: Final = Breakage(
    variant_id=_VARIANT_ID, warehouse_id=_WAREHOUSE_ID, quantity=1, reason="Dropped at packing"
)
_RETURN: Final = Return(
    variant_id=_VARIANT_ID,
    warehouse_id=_WAREHOUSE_ID,
    quantity=1,
    reason="Refused at the door",
    order_id=_ORDER_ID,
)
_QUARANTINE: Final = Quarantine(
    variant_id=_VARIANT_ID, warehouse_id=_WAREHOUSE_ID, quantity=12, reason="Label misprint, to check"
)
_CLEARANCE: Final = Clearance(
    variant_id=_VARIANT_ID, warehouse_id=_WAREHOUSE_ID, quantity=12, reason="Label is as approved"
)


def routes(service: InventoryService) -> list[HTTPRouteHandler]:
    """Every route of the slice."""
    return [
        *_warehouse_routes(service),
        *_counting_routes(service),
        *_moving_routes(service),
        *_quarantine_routes(service),
        *_reading_routes(service),
    ]


def _warehouse_routes(service: InventoryService) -> list[HTTPRouteHandler]:
    @post(
        "/v1/warehouses",
        scope=WRITE,
        summary="Open a warehouse",
        description="Only one that `sells` fills orders, the lowest `priority` first; a bonded one never sells.",
        errors=(WarehouseNameTaken,),
        example=_WAREHOUSE,
        body_example=_CREATE,
    )
    async def create_warehouse(
        request: Request[Any, Any, Any], data: JSONBody[CreateWarehouse], idempotency_key: IdempotencyKey
    ) -> Response[Warehouse]:
        warehouse = await service.create_warehouse(keyed(request, idempotency_key, data), data)
        return created(warehouse, f"/v1/warehouses/{warehouse.warehouse_id}")

    @get("/v1/warehouses/{warehouse_id:str}", scope=READ, summary="Look at a warehouse", example=_WAREHOUSE)
    async def get_warehouse(warehouse_id: FromPath[WarehouseId]) -> Warehouse:
        return await service.get_warehouse(warehouse_id)

    @get(
        "/v1/warehouses",
        scope=READ,
        summary="List warehouses",
        description="In the order in which they fill orders.",
        example=Page((_WAREHOUSE,)),
    )
    async def list_warehouses(cursor: Cursor = None, limit: Limit = 24) -> Page[Warehouse]:
        after = FIRST_WAREHOUSE if cursor is None else decode_cursor(cursor, tuple[Priority, WarehouseId])
        found = await service.list_warehouses(after, limit + 1)
        return _page(found, limit, lambda last: (last.priority, last.warehouse_id))

    return [create_warehouse, get_warehouse, list_warehouses]


def _counting_routes(service: InventoryService) -> list[HTTPRouteHandler]:
    @post(
        "/v1/stock/receipts",
        scope=WRITE,
        summary="Receive bottles",
        description="They are free at once.",
        errors=(WarehouseNotFound,),
        example=_moved(_RECEIPT),
        body_example=_RECEIPT,
    )
    async def create_receipt(
        request: Request[Any, Any, Any], data: JSONBody[Receipt], idempotency_key: IdempotencyKey
    ) -> Response[Movement]:
        return _created(await service.move(keyed(request, idempotency_key, data), data))

    @post(
        "/v1/stock/adjustments",
        scope=WRITE,
        summary="Correct the books after a count",
        description="Bottles that are held for orders or in quarantine cannot be counted away: the refusal tells how "
        "many there are.",
        errors=(WarehouseNotFound, TooFewBottles),
        example=_moved(_ADJUSTMENT),
        body_example=_ADJUSTMENT,
    )
    async def create_adjustment(
        request: Request[Any, Any, Any], data: JSONBody[Adjustment], idempotency_key: IdempotencyKey
    ) -> Response[Movement]:
        return _created(await service.move(keyed(request, idempotency_key, data), data))

    @post(
        "/v1/stock/breakages",
        scope=WRITE,
        summary="Write off broken bottles",
        description="Free ones, or with `from_quarantine` those in quarantine.",
        errors=(WarehouseNotFound, TooFewBottles),
        example=_moved(_BREAKAGE),
        body_example=_BREAKAGE,
    )
    async def create_breakage(
        request: Request[Any, Any, Any], data: JSONBody[Breakage], idempotency_key: IdempotencyKey
    ) -> Response[Movement]:
        return _created(await service.move(keyed(request, idempotency_key, data), data))

    return [create_receipt, create_adjustment, create_breakage]


def _moving_routes(service: InventoryService) -> list[HTTPRouteHandler]:
    @post(
        "/v1/stock/transfers",
        scope=WRITE,
        summary="Move free bottles to another warehouse",
        description="Out of a bonded warehouse, this is the removal at which the tax is determined.",
        errors=(WarehouseNotFound, TooFewBottles),
        example=_moved(_TRANSFER),
        body_example=_TRANSFER,
    )
    async def create_transfer(
        request: Request[Any, Any, Any], data: JSONBody[Transfer], idempotency_key: IdempotencyKey
    ) -> Response[Movement]:
        return _created(await service.move(keyed(request, idempotency_key, data), data))

    @post(
        "/v1/stock/returns",
        scope=WRITE,
        summary="Take sold bottles back",
        description="They stay in quarantine until a clearance or a breakage says what becomes of them.",
        errors=(WarehouseNotFound,),
        example=_moved(_RETURN),
        body_example=_RETURN,
    )
    async def create_return(
        request: Request[Any, Any, Any], data: JSONBody[Return], idempotency_key: IdempotencyKey
    ) -> Response[Movement]:
        return _created(await service.move(keyed(request, idempotency_key, data), data))

    return [create_transfer, create_return]


def _quarantine_routes(service: InventoryService) -> list[HTTPRouteHandler]:
    @post(
        "/v1/stock/quarantines",
        scope=WRITE,
        summary="Put free bottles aside",
        description="They are on hand, and not for sale.",
        errors=(WarehouseNotFound, TooFewBottles),
        example=_moved(_QUARANTINE),
        body_example=_QUARANTINE,
    )
    async def create_quarantine(
        request: Request[Any, Any, Any], data: JSONBody[Quarantine], idempotency_key: IdempotencyKey
    ) -> Response[Movement]:
        return _created(await service.move(keyed(request, idempotency_key, data), data))

    @post(
        "/v1/stock/clearances",
        scope=WRITE,
        summary="Free bottles from quarantine",
        description="They are for sale again.",
        errors=(WarehouseNotFound, TooFewBottles),
        example=_moved(_CLEARANCE),
        body_example=_CLEARANCE,
    )
    async def create_clearance(
        request: Request[Any, Any, Any], data: JSONBody[Clearance], idempotency_key: IdempotencyKey
    ) -> Response[Movement]:
        return _created(await service.move(keyed(request, idempotency_key, data), data))

    return [create_quarantine, create_clearance]


def _reading_routes(service: InventoryService) -> list[HTTPRouteHandler]:
    @get(
        "/v1/stock",
        scope=READ,
        summary="List stock",
        description="A row for each bottling in each warehouse where it ever stood.",
        example=Page((_SHELF,)),
    )
    async def list_stock(
        cursor: Cursor = None, limit: Limit = 24, variant_id: OfVariant = None
    ) -> Page[Shelf]:
        after = FIRST_SHELF if cursor is None else decode_cursor(cursor, tuple[VariantId, WarehouseId])
        found = await service.list_shelves(variant_id, after, limit + 1)
        return _page(found, limit, lambda last: (last.variant_id, last.warehouse_id))

    @get(
        "/v1/stock/movements",
        scope=READ,
        summary="Read the ledger",
        description="Every change of stock, the newest first: what orders did, and what staff did.",
        example=Page((_ENTRY,)),
    )
    async def list_entries(
        cursor: Cursor = None,
        limit: Limit = 24,
        variant_id: OfVariant = None,
        warehouse_id: InWarehouse = None,
    ) -> Page[Entry]:
        (after,) = (NEWEST_ENTRY,) if cursor is None else decode_cursor(cursor, tuple[Seq])
        found = await service.list_entries(variant_id, warehouse_id, after, limit + 1)
        return _page(found, limit, lambda last: (last.seq,))

    @get(
        "/v1/stock/movements/{movement_id:str}",
        scope=READ,
        summary="Look at a movement",
        description="What staff moved, with its effect in each warehouse.",
        example=_moved(_TRANSFER),
    )
    async def get_movement(movement_id: FromPath[MovementId]) -> Movement:
        return await service.get_movement(movement_id)

    return [list_stock, list_entries, get_movement]


def _moved(request: StockRequest) -> Movement:
    """The answer to an example."""
    return movement_of(_MOVEMENT_ID, request, "office", _AT)


def _created(movement: Movement) -> Response[Movement]:
    return created(movement, f"/v1/stock/movements/{movement.movement_id}")


def _page(found: Sequence[Item], limit: int, key_of: Callable[[Item], object]) -> Page[Item]:
    """The first `limit` of what was found, and the cursor to the rest if there is one."""
    shown = tuple(found[:limit])
    return Page(shown, encode_cursor(key_of(shown[-1])) if len(found) > limit else None)
