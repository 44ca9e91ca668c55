"""Statements about warehouses and what stands in them: movements, listings, and the proof that the books agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from rickhouse.inventory.model import (
    Change,
    CreateWarehouse,
    Difference,
    Entry,
    Movement,
    Report,
    Shelf,
    Warehouse,
)
from rickhouse.kernel.events import Event
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import Id, MovementId, VariantId, WarehouseId
from rickhouse.platform.db import Queries, Row
from rickhouse.platform.events import encode

Value = TypeVar("Value")

OPEN_WAREHOUSE: Final = """
insert into warehouses (warehouse_id, name, region, kind, priority, sells, owner, idem_key, fingerprint)
values ($1, $2, $3, $4::text::warehouse_kind, $5, $6, $7, $8, $9)
on conflict (owner, idem_key) do nothing
returning warehouse_id, name, region, kind::text, priority, sells, created_at
"""

_WAREHOUSES: Final = """
select warehouse_id, name, region, kind::text, priority, sells, created_at, fingerprint from warehouses
"""

FIND_WAREHOUSE: Final = _WAREHOUSES + "where warehouse_id = $1"

FIND_WAREHOUSE_BY_KEY: Final = _WAREHOUSES + "where owner = $1 and idem_key = $2"

LIST_WAREHOUSES: Final = (
    _WAREHOUSES + "where (priority, warehouse_id) > ($1, $2::uuid) order by priority, warehouse_id limit $3"
)

# The request is written down only where every shelf has the bottles that are to leave it. A shelf that was never used
# is made by the first bottles that are put on it.
MOVE: Final = """
with change as materialized (
    select warehouse_id, on_hand_delta, quarantined_delta, event
    from unnest($10::uuid[], $11::bigint[], $12::bigint[], $13::text[])
        as line (warehouse_id, on_hand_delta, quarantined_delta, event)
), locked as materialized (
    select warehouse_id, on_hand - held - quarantined as free, quarantined
    from stock join change using (warehouse_id)
    where variant_id = $3
    order by warehouse_id
    for no key update of stock
), asked as (
    insert into movement_requests (
        movement_id, kind, variant_id, reason, order_id, moved_at, owner, idem_key, fingerprint
    )
    select $1, $2::text::movement_kind, $3, $4, $5, $6, $7, $8, $9
    where not exists (
        select from change left join warehouses using (warehouse_id) left join locked using (warehouse_id)
        where warehouses.warehouse_id is null
            or coalesce(free, 0) + on_hand_delta - quarantined_delta < 0
            or coalesce(quarantined, 0) + quarantined_delta < 0
    )
    on conflict (owner, idem_key) do nothing
    returning movement_id, kind, variant_id, reason, order_id, owner, moved_at
), moved as (
    update stock set on_hand = on_hand + on_hand_delta, quarantined = stock.quarantined + quarantined_delta
    from asked cross join change join locked using (warehouse_id)
    where stock.variant_id = asked.variant_id and stock.warehouse_id = change.warehouse_id
), opened as (
    insert into stock (variant_id, warehouse_id, on_hand, quarantined)
    select variant_id, warehouse_id, on_hand_delta, quarantined_delta
    from asked cross join change
    where warehouse_id not in (select warehouse_id from locked)
    order by warehouse_id
    on conflict (variant_id, warehouse_id) do update
    set on_hand = stock.on_hand + excluded.on_hand, quarantined = stock.quarantined + excluded.quarantined
), entered as (
    insert into movements (
        kind, variant_id, warehouse_id, on_hand_delta, quarantined_delta, order_id, movement_id, actor, reason, at
    )
    select kind, variant_id, warehouse_id, on_hand_delta, quarantined_delta, order_id, movement_id, owner, reason,
        moved_at
    from asked cross join change
    order by warehouse_id
), noted as (
    insert into events (kind, subject, body)
    select 'inventory.stock_received', variant_id, event::jsonb from asked cross join change
    where event is not null
)
select movement_id from asked
"""

_MOVEMENTS: Final = """
select movement_id, request.kind::text, request.variant_id, request.reason, request.order_id,
    owner as actor, moved_at, fingerprint, warehouse_id, on_hand_delta, quarantined_delta
from movement_requests as request join movements using (movement_id)
"""

FIND_MOVEMENT: Final = _MOVEMENTS + "where movement_id = $1 order by warehouse_id"

FIND_MOVEMENT_BY_KEY: Final = _MOVEMENTS + "where owner = $1 and idem_key = $2 order by warehouse_id"

FIND_SHELVES: Final = """
select $1 as variant_id, warehouses.warehouse_id, coalesce(on_hand, 0) as on_hand, coalesce(held, 0) as held,
    coalesce(quarantined, 0) as quarantined, coalesce(on_hand - held - quarantined, 0) as free
from warehouses left join stock on stock.warehouse_id = warehouses.warehouse_id and variant_id = $1::uuid
where warehouses.warehouse_id = any($2::uuid[])
"""

LIST_SHELVES: Final = """
select variant_id, warehouse_id, on_hand, held, quarantined, on_hand - held - quarantined as free
from stock
where ($1::uuid is null or variant_id = $1) and (variant_id, warehouse_id) > ($2::uuid, $3::uuid)
order by variant_id, warehouse_id
limit $4
"""

LIST_ENTRIES: Final = """
select seq, kind::text, variant_id, warehouse_id, on_hand_delta, held_delta, quarantined_delta, order_id, movement_id,
    actor, reason, at
from movements
where ($1::uuid is null or variant_id = $1) and ($2::uuid is null or warehouse_id = $2) and seq < $3
order by seq desc
limit $4
"""

# One statement, so that every figure is of the same moment.
VERIFY: Final = """
with ledger as (
    select variant_id, warehouse_id, count(*) as movements, sum(on_hand_delta) as on_hand, sum(held_delta) as held,
        sum(quarantined_delta) as quarantined
    from movements
    group by variant_id, warehouse_id
), live as (
    select variant_id, warehouse_id, sum(quantity) as held
    from holds join allocations using (order_id)
    where state = 'held'
    group by variant_id, warehouse_id
), shelf as (
    select variant_id, warehouse_id, coalesce(stock.on_hand, 0) as on_hand, coalesce(stock.held, 0) as held,
        coalesce(stock.quarantined, 0) as quarantined, coalesce(ledger.on_hand, 0) as on_hand_moved,
        coalesce(ledger.held, 0) as held_moved, coalesce(ledger.quarantined, 0) as quarantined_moved,
        coalesce(live.held, 0) as held_live
    from stock full join ledger using (variant_id, warehouse_id) full join live using (variant_id, warehouse_id)
), limited as (
    select customer_id, variant_id, sum(quantity) as taken
    from holds join allocations using (order_id)
    where limited
    group by customer_id, variant_id
), figure as (
    select rule, variant_id, warehouse_id, null::uuid as customer_id, expected, found
    from shelf cross join lateral (
        values
            ('on_hand_is_sum_of_movements', on_hand_moved, on_hand),
            ('held_is_sum_of_movements', held_moved, held),
            ('quarantined_is_sum_of_movements', quarantined_moved, quarantined),
            ('held_is_sum_of_live_holds', held_live, held),
            ('nothing_is_negative', 0, least(0, on_hand, held, quarantined, on_hand - held - quarantined))
    ) as figure (rule, expected, found)
    union all
    select 'taken_is_sum_of_limited_holds', variant_id, null, customer_id,
        coalesce(limited.taken, 0), coalesce(allowances.taken, 0)
    from allowances full join limited using (customer_id, variant_id)
), compared as (
    select (select count(*) from shelf) as shelves,
        (select coalesce(sum(movements), 0)::bigint from ledger) as movements,
        (select count(*) from holds where state = 'held') as live_holds
)
select shelves, movements, live_holds, rule, variant_id, warehouse_id, customer_id,
    expected::bigint as expected, found::bigint as found
from compared left join figure on expected <> found
order by rule, variant_id, warehouse_id, customer_id
"""


async def open_warehouse(
    q: Queries, warehouse_id: WarehouseId, command: CreateWarehouse, keyed: Keyed
) -> Warehouse | None:
    """Write a warehouse down; None where its key or its name is taken."""
    try:
        row = await q.fetchrow(
            OPEN_WAREHOUSE,
            warehouse_id,
            command.name,
            command.region,
            command.kind,
            command.priority,
            command.sells,
            keyed.owner,
            keyed.key,
            keyed.fingerprint,
        )
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "warehouses_name":
            raise
        return None
    return None if row is None else _read(Warehouse, row)


async def find_warehouse(q: Queries, warehouse_id: WarehouseId) -> Warehouse | None:
    """The warehouse."""
    row = await q.fetchrow(FIND_WAREHOUSE, warehouse_id)
    return None if row is None else _read(Warehouse, row)


async def find_warehouse_by_key(q: Queries, keyed: Keyed) -> tuple[Warehouse, bytes] | None:
    """The warehouse that was made under this key, and the fingerprint of that request."""
    row = await q.fetchrow(FIND_WAREHOUSE_BY_KEY, keyed.owner, keyed.key)
    return None if row is None else (_read(Warehouse, row), row["fingerprint"])


async def list_warehouses(q: Queries, after: tuple[int, WarehouseId], limit: int) -> tuple[Warehouse, ...]:
    """Warehouses after (priority, id), in that order."""
    rows = await q.fetch(LIST_WAREHOUSES, *after, limit)
    return tuple([_read(Warehouse, row) for row in rows])


async def move(q: Queries, movement: Movement, keyed: Keyed, events: Sequence[Event | None]) -> bool:
    """Make the movement's changes and write them into the ledger, with an event or none for each change.

    False where its key is taken, a warehouse is unknown, or bottles are missing: then nothing has changed.
    """
    row = await q.fetchrow(
        MOVE,
        movement.movement_id,
        movement.kind,
        movement.variant_id,
        movement.reason,
        movement.order_id,
        movement.moved_at,
        keyed.owner,
        keyed.key,
        keyed.fingerprint,
        [change.warehouse_id for change in movement.changes],
        [change.on_hand_delta for change in movement.changes],
        [change.quarantined_delta for change in movement.changes],
        [None if event is None else encode(event) for event in events],
    )
    return row is not None


async def find_movement(q: Queries, movement_id: MovementId) -> Movement | None:
    """What staff moved."""
    rows = await q.fetch(FIND_MOVEMENT, movement_id)
    return _movement(rows) if rows else None


async def find_movement_by_key(q: Queries, keyed: Keyed) -> tuple[Movement, bytes] | None:
    """What was moved under this key, and the fingerprint of that request."""
    rows = await q.fetch(FIND_MOVEMENT_BY_KEY, keyed.owner, keyed.key)
    return (_movement(rows), rows[0]["fingerprint"]) if rows else None


async def find_shelves(
    q: Queries, variant_id: VariantId, warehouse_ids: Sequence[WarehouseId]
) -> dict[WarehouseId, Shelf]:
    """The variant in each of these warehouses that exists, empty where it never stood."""
    rows = await q.fetch(FIND_SHELVES, variant_id, warehouse_ids)
    shelves = [_read(Shelf, row) for row in rows]
    return {shelf.warehouse_id: shelf for shelf in shelves}


async def list_shelves(
    q: Queries, variant_id: VariantId | None, after: tuple[VariantId, WarehouseId], limit: int
) -> tuple[Shelf, ...]:
    """Stock of one variant or of all, after (variant, warehouse), in that order."""
    rows = await q.fetch(LIST_SHELVES, variant_id, *after, limit)
    return tuple([_read(Shelf, row) for row in rows])


async def list_entries(
    q: Queries, variant_id: VariantId | None, warehouse_id: WarehouseId | None, after: int, limit: int
) -> tuple[Entry, ...]:
    """The ledger, the newest row first, after row `after` in that order."""
    return tuple(
        [_read(Entry, row) for row in await q.fetch(LIST_ENTRIES, variant_id, warehouse_id, after, limit)]
    )


async def verify(q: Queries) -> Report:
    """Compare every figure with what it is the sum of."""
    rows = await q.fetch(VERIFY)
    first = rows[0]
    differences = tuple([_read(Difference, row) for row in rows if row["rule"] is not None])
    return Report(first["shelves"], first["movements"], first["live_holds"], differences)


def _movement(rows: Sequence[Row]) -> Movement:
    """A request with the ledger's rows that are its effect."""
    return _read(Movement, rows[0], changes=tuple([_read(Change, row) for row in rows]))


def _read(kind: type[Value], row: Row, **more: object) -> Value:
    """The struct whose fields the columns are named after."""
    return msgspec.convert({**row, **more}, kind, dec_hook=_typed)


def _typed(kind: type, value: object) -> object:
    """The typed id around a UUID."""
    if issubclass(kind, Id) and isinstance(value, UUID):
        return kind(value)
    raise NotImplementedError(f"a row holds no {kind.__name__}")
