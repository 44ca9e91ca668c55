"""Stock: holds for checkout, movements by staff, and the proof that the books agree.

Each public method is one statement, and at most a few more when it has to say why that one did nothing.
"""

from __future__ import annotations

from typing import Final, TypeVar
from uuid import UUID

from rickhouse.inventory.contract import (
    Availability,
    Hold,
    HoldCommitted,
    HoldLine,
    HoldReleased,
    WarehouseNameTaken,
)
from rickhouse.inventory.model import (
    AlreadyKnown,
    CreateWarehouse,
    Entry,
    Movement,
    OverLimit,
    Report,
    Shelf,
    Short,
    StockRequest,
    Warehouse,
    checked_ttl,
    checked_warehouse,
    limit_reached,
    movement_of,
    received,
    repeated,
    require_room,
    sold,
    sold_out,
    together,
)
from rickhouse.inventory.sql import holds, stock
from rickhouse.kernel.clock import Clock, now
from rickhouse.kernel.errors import KeyReused, NotFound, Unavailable
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import CustomerId, MovementId, OrderId, VariantId, WarehouseId
from rickhouse.platform.db import Database

Answer = TypeVar("Answer")

_TRIES_MAX: Final = 8
"""How often a statement that met a faster one is tried. Each time, somebody else's has succeeded."""

_EXPIRE_BATCH: Final = 100

FIRST_WAREHOUSE: Final = (-1, WarehouseId(UUID(int=0)))
"""Before every warehouse, as (priority, id)."""

FIRST_SHELF: Final = (VariantId(UUID(int=0)), WarehouseId(UUID(int=0)))
"""Before all stock."""

NEWEST_ENTRY: Final = 2**63 - 1
"""Before all rows of the ledger, which lists the newest first."""


class InventoryService:
    """Implements the contract `Inventory` on the slice's own database."""

    def __init__(self, db: Database, clock: Clock = now) -> None:
        self._db = db
        self._clock = clock

    async def hold(
        self, order_id: OrderId, customer_id: CustomerId, lines: tuple[HoldLine, ...], ttl_s: int
    ) -> Hold:
        """See Inventory. Raises StockShort, LimitReached, HoldConflict, FieldInvalid, DatabaseAway."""
        wanted, ttl_s = together(lines), checked_ttl(ttl_s)
        for _ in range(_TRIES_MAX):
            match await holds.hold(self._db, order_id, customer_id, wanted, ttl_s):
                case Hold() as hold:
                    return hold
                case Short(variant_ids):
                    raise sold_out(variant_ids)
                case OverLimit() as over:
                    raise limit_reached(over)
                case AlreadyKnown():
                    same = await self._same_hold(order_id, customer_id, wanted)
                    if same is not None:
                        return same
                case None:
                    pass
        raise sold_out(line.variant_id for line in wanted)

    async def _same_hold(
        self, order_id: OrderId, customer_id: CustomerId, wanted: tuple[HoldLine, ...]
    ) -> Hold | None:
        """The hold that the order has; None once it has none, so that one can be placed. Raises HoldConflict."""
        stored = await holds.find_hold(self._db, order_id)
        if stored is None:
            return None
        same = repeated(stored, customer_id, wanted)
        if same is None:
            await holds.expire(self._db, (order_id,))
        return same

    async def extend(self, order_id: OrderId, ttl_s: int) -> Hold:
        """See Inventory. Raises HoldLapsed, FieldInvalid, DatabaseAway."""
        extended = await holds.extend(self._db, order_id, checked_ttl(ttl_s))
        return extended or sold(await holds.find_hold(self._db, order_id))

    async def commit(self, order_id: OrderId) -> Hold:
        """See Inventory. Raises HoldLapsed, DatabaseAway."""
        committed = await holds.commit(self._db, order_id, HoldCommitted(order_id=order_id))
        return committed or sold(await holds.find_hold(self._db, order_id))

    async def release(self, order_id: OrderId) -> None:
        """See Inventory. Raises Unavailable, DatabaseAway."""
        event = HoldReleased(order_id=order_id)
        for _ in range(_TRIES_MAX):
            if await holds.release(self._db, order_id, event):
                return
        raise _too_busy()

    async def availability(self, variant_ids: tuple[VariantId, ...]) -> tuple[Availability, ...]:
        """See Inventory. Raises DatabaseAway."""
        return await holds.availability(self._db, variant_ids)

    async def expire_holds(self) -> int:
        """Put the bottles of every lapsed hold back on sale; answers how many holds were ended. Raises DatabaseAway."""
        ended = 0
        while lapsed := await holds.find_lapsed(self._db, _EXPIRE_BATCH):
            expired = await holds.expire(self._db, lapsed)
            ended += expired
            if expired == 0:
                break
        return ended

    async def create_warehouse(self, keyed: Keyed, command: CreateWarehouse) -> Warehouse:
        """Open a warehouse; the same request gives the same warehouse.

        Raises FieldInvalid, WarehouseNameTaken, KeyReused, DatabaseAway.
        """
        command = checked_warehouse(command)
        opened = await stock.open_warehouse(self._db, WarehouseId.new(), command, keyed)
        if opened is not None:
            return opened
        earlier = await stock.find_warehouse_by_key(self._db, keyed)
        if earlier is None:
            raise WarehouseNameTaken(f"There is a warehouse {command.name!r} already.", name=command.name)
        return _same_request(earlier, keyed)

    async def get_warehouse(self, warehouse_id: WarehouseId) -> Warehouse:
        """The warehouse. Raises NotFound, DatabaseAway."""
        warehouse = await stock.find_warehouse(self._db, warehouse_id)
        if warehouse is None:
            raise NotFound(f"There is no warehouse {warehouse_id}.")
        return warehouse

    async def list_warehouses(
        self, after: tuple[int, WarehouseId] = FIRST_WAREHOUSE, limit: int = 100
    ) -> tuple[Warehouse, ...]:
        """Warehouses after (priority, id), in that order, at most `limit`. Raises DatabaseAway."""
        return await stock.list_warehouses(self._db, after, limit)

    async def move(self, keyed: Keyed, request: StockRequest) -> Movement:
        """Do what staff ask and write it into the ledger; the same request gives the same movement.

        Raises FieldInvalid, WarehouseNotFound, TooFewBottles, KeyReused, Unavailable, DatabaseAway.
        """
        movement = movement_of(MovementId.new(), request, keyed.owner, self._clock())
        events = [received(movement.variant_id, change) for change in movement.changes]
        warehouse_ids = [change.warehouse_id for change in movement.changes]
        for _ in range(_TRIES_MAX):
            if await stock.move(self._db, movement, keyed, events):
                return movement
            earlier = await stock.find_movement_by_key(self._db, keyed)
            if earlier is not None:
                return _same_request(earlier, keyed)
            shelves = await stock.find_shelves(self._db, movement.variant_id, warehouse_ids)
            require_room(movement.changes, shelves)
        raise _too_busy()

    async def get_movement(self, movement_id: MovementId) -> Movement:
        """What staff moved. Raises NotFound, DatabaseAway."""
        movement = await stock.find_movement(self._db, movement_id)
        if movement is None:
            raise NotFound(f"There is no movement {movement_id}.")
        return movement

    async def list_shelves(
        self,
        variant_id: VariantId | None = None,
        after: tuple[VariantId, WarehouseId] = FIRST_SHELF,
        limit: int = 100,
    ) -> tuple[Shelf, ...]:
        """Stock of one variant or of all, after (variant, warehouse), in that order, at most `limit`.

        Raises DatabaseAway.
        """
        return await stock.list_shelves(self._db, variant_id, after, limit)

    async def list_entries(
        self,
        variant_id: VariantId | None = None,
        warehouse_id: WarehouseId | None = None,
        after: int = NEWEST_ENTRY,
        limit: int = 100,
    ) -> tuple[Entry, ...]:
        """The ledger, the newest row first, after row `after` in that order, at most `limit`. Raises DatabaseAway."""
        return await stock.list_entries(self._db, variant_id, warehouse_id, after, limit)

    async def verify(self) -> Report:
        """Prove that on hand and held are what the ledger, the holds and the allowances add up to.

        Reads everything in one statement, so it can run during sales. Raises DatabaseAway.
        """
        return await stock.verify(self._db)


def _too_busy() -> Unavailable:
    return Unavailable("This stock changes faster than it can be read; try again in a moment.")


def _same_request(earlier: tuple[Answer, bytes], keyed: Keyed) -> Answer:
    """What the key gave before, if it came with the same request. Raises KeyReused."""
    answer, fingerprint = earlier
    if fingerprint != keyed.fingerprint:
        raise KeyReused(
            "This Idempotency-Key came before with another request; choose a new key for a new request."
        )
    return answer
