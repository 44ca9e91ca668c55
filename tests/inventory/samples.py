"""What the tests of inventory put into it, and how they look at it from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import asyncpg

from rickhouse.inventory.contract import (
    Hold,
    HoldCommitted,
    HoldExpired,
    HoldLine,
    HoldReleased,
    StockHeld,
    StockReceived,
)
from rickhouse.inventory.model import CreateWarehouse, Receipt, WarehouseKind
from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.events import Event
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import CustomerId, OrderId, VariantId, WarehouseId
from rickhouse.platform.codec import decode_json
from rickhouse.platform.db import Database

TTL_S = 900
_EVENTS = {
    event.kind: event for event in (StockReceived, StockHeld, HoldCommitted, HoldReleased, HoldExpired)
}
_numbers = count(1)


def fresh_key(owner: str = "test", fingerprint: bytes = b"fingerprint") -> Keyed:
    """An idempotency key that no other request has."""
    return Keyed(owner, f"key-{next(_numbers)}", fingerprint)


async def opened(
    inventory: InventoryService,
    *,
    priority: int = 10,
    kind: WarehouseKind = "tax_paid",
    sells: bool = True,
    region: str = "US-ND",
) -> WarehouseId:
    """A warehouse."""
    command = CreateWarehouse(
        name=f"Warehouse {next(_numbers)}", region=region, kind=kind, priority=priority, sells=sells
    )
    return (await inventory.create_warehouse(fresh_key(), command)).warehouse_id


async def received(
    inventory: InventoryService, warehouse_id: WarehouseId, quantity: int, variant_id: VariantId | None = None
) -> VariantId:
    """Bottles of a variant, of a new one where none is given."""
    variant_id = variant_id or VariantId.new()
    receipt = Receipt(variant_id=variant_id, warehouse_id=warehouse_id, quantity=quantity)
    await inventory.move(fresh_key(), receipt)
    return variant_id


async def held(
    inventory: InventoryService,
    *lines: tuple[VariantId, int],
    order_id: OrderId | None = None,
    customer_id: CustomerId | None = None,
    limit: int | None = None,
) -> Hold:
    """A hold of (variant, quantity) for an order and a customer that are new where none is given."""
    return await inventory.hold(
        order_id or OrderId.new(),
        customer_id or CustomerId.new(),
        tuple(HoldLine(variant_id, quantity, limit) for variant_id, quantity in lines),
        TTL_S,
    )


async def counts_of(inventory: InventoryService, variant_id: VariantId) -> tuple[int, int, int]:
    """On hand, held and quarantined, over all warehouses."""
    shelves = await inventory.list_shelves(variant_id)
    return (
        sum(shelf.on_hand for shelf in shelves),
        sum(shelf.held for shelf in shelves),
        sum(shelf.quarantined for shelf in shelves),
    )


async def let_lapse(db: Database, *order_ids: OrderId) -> None:
    """Turn the clock of these holds past their end."""
    await db.execute(
        "update holds set expires_at = now() - interval '1 second' where order_id = any($1::uuid[])",
        order_ids,
    )


async def events_of(db: Database, subject: OrderId | VariantId) -> list[Event]:
    """What was told about it, in order, as a subscriber reads it."""
    rows: list[Any] = await db.fetch(
        "select kind, body::text from events where subject = $1 order by xid, seq", subject
    )
    return [decode_json(row["body"], _EVENTS[row["kind"]]) for row in rows]


@asynccontextmanager
async def administrator(url: str) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    """A connection that may do what no slice may."""
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
        url, server_settings={"search_path": "inventory"}
    )
    try:
        yield connection
    finally:
        await connection.close()


async def until_somebody_waits(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Return once a transaction of this database waits for a lock."""
    async with asyncio.timeout(5):
        while not await connection.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.01)
            await connection.execute("select pg_stat_clear_snapshot()")
