"""Statements that keep bottles aside for an order, sell them, and put them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from rickhouse.inventory.contract import Allocation, Availability, Hold, HoldExpired, HoldLine, HoldState
from rickhouse.inventory.model import AlreadyKnown, OverLimit, Short, StoredHold
from rickhouse.kernel.events import Event
from rickhouse.kernel.ids import CustomerId, OrderId, VariantId, WarehouseId
from rickhouse.platform.db import Queries, Row
from rickhouse.platform.events import encode

# Plans from a snapshot, without waiting for anybody: what is sold out is refused before a single row is locked.
# Then it locks the rows of its plan alone, and only where the bottles still stand there.
#
# `fills` counts the lines that a warehouse could fill: one that fills them all goes before the others, whatever its
# priority, so that the order leaves in one parcel; without such a one, priority alone decides.
HOLD: Final = """
with asked as materialized (
    select variant_id, quantity, ceiling
    from unnest($3::uuid[], $4::bigint[], $5::bigint[]) as line (variant_id, quantity, ceiling)
), known as materialized (
    select from holds where order_id = $1
), over_limit as materialized (
    select variant_id, ceiling from asked
    where ceiling is not null and quantity + coalesce((
        select taken from allowances where customer_id = $2 and allowances.variant_id = asked.variant_id
    ), 0) > ceiling
), shelf as materialized (
    select variant_id, warehouse_id, region, priority, quantity as wanted, on_hand - held - quarantined as free,
        count(*) filter (where on_hand - held - quarantined >= quantity) over (partition by warehouse_id) as fills
    from asked join stock using (variant_id) join warehouses using (warehouse_id)
    where sells and not exists (table known)
), queue as (
    select *, sum(free) over (
        partition by variant_id order by fills = cardinality($3) desc, priority, warehouse_id
    ) - free as before
    from shelf
), plan as materialized (
    select variant_id, warehouse_id, region, least(free, wanted - before)::bigint as quantity
    from queue
    where free > 0 and before < wanted
), locked as materialized (
    select variant_id, warehouse_id, region, quantity
    from stock join plan using (variant_id, warehouse_id)
    where on_hand - held - quarantined >= quantity and not exists (table over_limit)
        and (select sum(quantity) from plan) = (select sum(quantity) from asked)
    order by variant_id, warehouse_id
    for no key update of stock
), placed as (
    insert into holds (order_id, customer_id, state, expires_at)
    select $1, $2, 'held', now() + make_interval(secs => $6)
    where (select sum(quantity) from locked) = (select sum(quantity) from asked)
    on conflict (order_id) do nothing
    returning order_id, customer_id, expires_at
), kept as (
    update stock set held = held + locked.quantity
    from placed cross join locked
    where stock.variant_id = locked.variant_id and stock.warehouse_id = locked.warehouse_id
), allocated as (
    insert into allocations (order_id, variant_id, warehouse_id, quantity, limited)
    select order_id, variant_id, warehouse_id, locked.quantity, ceiling is not null
    from placed cross join locked join asked using (variant_id)
), counted as (
    insert into allowances as allowance (customer_id, variant_id, taken, ceiling)
    select customer_id, variant_id, quantity, ceiling
    from placed cross join asked
    where ceiling is not null
    order by variant_id
    on conflict (customer_id, variant_id) do update
    set taken = allowance.taken + excluded.taken, ceiling = excluded.ceiling
), entered as (
    insert into movements (kind, variant_id, warehouse_id, held_delta, order_id, actor)
    select 'hold', variant_id, warehouse_id, quantity, order_id, 'checkout' from placed cross join locked
), noted as (
    insert into events (kind, subject, body)
    select 'inventory.stock_held', order_id, jsonb_build_object('order_id', $7::text, 'expires_at', expires_at)
    from placed
)
select 'held' as verdict, variant_id, warehouse_id, region, quantity, expires_at from placed cross join locked
union all
select 'known', null, null, null, null, null from known
union all
select 'over_limit', variant_id, null, null, ceiling, null from over_limit
union all
select 'short', variant_id, null, null, null, null from asked
where not exists (table placed)
    and quantity > (select coalesce(sum(free), 0) from shelf where shelf.variant_id = asked.variant_id)
"""

FIND_HOLD: Final = """
select customer_id, state::text, expires_at, expires_at <= now() as lapsed,
    variant_id, warehouse_id, region, quantity
from holds left join allocations using (order_id) left join warehouses using (warehouse_id)
where order_id = $1
order by variant_id, warehouse_id
"""

EXTEND: Final = """
with extended as (
    update holds set expires_at = greatest(expires_at, now() + make_interval(secs => $2))
    where order_id = $1 and state = 'held' and expires_at > now()
    returning order_id, expires_at
)
select variant_id, warehouse_id, region, quantity, expires_at
from extended join allocations using (order_id) join warehouses using (warehouse_id)
order by variant_id, warehouse_id
"""

COMMIT: Final = """
with sold as (
    update holds set state = 'committed'
    where order_id = $1 and state = 'held' and expires_at > now()
    returning order_id, expires_at
), locked as materialized (
    select order_id, expires_at, variant_id, warehouse_id, region, quantity
    from sold join allocations using (order_id) join stock using (variant_id, warehouse_id)
    join warehouses using (warehouse_id)
    order by variant_id, warehouse_id
    for no key update of stock
), left_over as (
    update stock set on_hand = on_hand - quantity, held = held - quantity
    from locked
    where stock.variant_id = locked.variant_id and stock.warehouse_id = locked.warehouse_id
), entered as (
    insert into movements (kind, variant_id, warehouse_id, on_hand_delta, held_delta, order_id, actor)
    select 'commit', variant_id, warehouse_id, -quantity, -quantity, order_id, 'checkout' from locked
), noted as (
    insert into events (kind, subject, body)
    select 'inventory.hold_committed', order_id, $2::jsonb from sold
)
select variant_id, warehouse_id, region, quantity, expires_at from locked
"""

# Puts back what `ended` orders kept: (order_id, customer_id, was, cause, actor, event, body). What was held is held no
# more; what was sold stands on hand again. Answers the orders that are `settled`.
_GIVE_BACK: Final = """
, freed as materialized (
    select order_id, customer_id, variant_id, warehouse_id, quantity, limited, cause, actor,
        case was when 'committed' then quantity else 0 end as on_hand_delta,
        case was when 'committed' then 0 else -quantity end as held_delta
    from ended join allocations using (order_id)
), gone as (
    delete from allocations using ended where allocations.order_id = ended.order_id
), back as (
    select variant_id, warehouse_id, sum(on_hand_delta)::bigint as on_hand_delta, sum(held_delta)::bigint as held_delta
    from freed
    group by variant_id, warehouse_id
), locked as materialized (
    select variant_id, warehouse_id, on_hand_delta, held_delta
    from stock join back using (variant_id, warehouse_id)
    order by variant_id, warehouse_id
    for no key update of stock
), shelved as (
    update stock set on_hand = on_hand + on_hand_delta, held = held + held_delta
    from locked
    where stock.variant_id = locked.variant_id and stock.warehouse_id = locked.warehouse_id
    returning stock.variant_id, stock.warehouse_id
), owed as (
    select customer_id, variant_id, sum(quantity)::bigint as quantity
    from freed join shelved using (variant_id, warehouse_id)
    where limited
    group by customer_id, variant_id
), locked_allowances as materialized (
    select customer_id, variant_id, quantity
    from allowances join owed using (customer_id, variant_id)
    order by customer_id, variant_id
    for no key update of allowances
), allowed as (
    update allowances set taken = taken - quantity
    from locked_allowances as owing
    where allowances.customer_id = owing.customer_id and allowances.variant_id = owing.variant_id
), entered as (
    insert into movements (kind, variant_id, warehouse_id, on_hand_delta, held_delta, order_id, actor)
    select cause::movement_kind, variant_id, warehouse_id, on_hand_delta, held_delta, order_id, actor
    from freed
    order by order_id, variant_id, warehouse_id
), noted as (
    insert into events (kind, subject, body) select event, order_id, body from ended
)
select order_id from settled
"""

# Where no hold is known yet, the row that is left here stands in its way later.
_RELEASED: Final = """
with before as materialized (
    select order_id, customer_id, state from holds where order_id = $1 for no key update
), barred as (
    insert into holds (order_id, state, expires_at)
    select $1, 'released', now() where not exists (table before)
    on conflict (order_id) do nothing
    returning order_id
), settled as (
    select order_id from before union all select order_id from barred
), ended as (
    update holds set state = 'released'
    from before
    where holds.order_id = before.order_id and before.state <> 'released'
    returning holds.order_id, holds.customer_id, before.state as was,
        'release' as cause, 'checkout' as actor, 'inventory.hold_released' as event, $2::jsonb as body
)
"""

RELEASE: Final = _RELEASED + _GIVE_BACK

FIND_LAPSED: Final = """
select order_id from holds where state = 'held' and expires_at <= now() order by expires_at limit $1
"""

# Another runner's orders are left to it; one that was extended or ended since it was listed is left alone.
_LAPSED: Final = """
with due as materialized (
    select order_id, customer_id, body
    from holds join unnest($1::uuid[], $2::text[]) as lapsed (order_id, body) using (order_id)
    where state = 'held' and expires_at <= now()
    order by order_id
    for no key update of holds skip locked
), ended as (
    select order_id, customer_id, 'held'::hold_state as was,
        'expiry' as cause, 'clock' as actor, 'inventory.hold_expired' as event, body::jsonb as body
    from due
), forgotten as (
    delete from holds using due where holds.order_id = due.order_id
    returning holds.order_id
), settled as (
    select order_id from forgotten
)
"""

EXPIRE: Final = _LAPSED + _GIVE_BACK

AVAILABILITY: Final = """
select asked.variant_id, coalesce(sum(on_hand - held - quarantined) filter (where sells), 0)::bigint as available
from unnest($1::uuid[]) with ordinality as asked (variant_id, place)
    left join stock on stock.variant_id = asked.variant_id
    left join warehouses on warehouses.warehouse_id = stock.warehouse_id
group by asked.variant_id, place
order by place
"""


async def hold(
    q: Queries, order_id: OrderId, customer_id: CustomerId, lines: Sequence[HoldLine], ttl_s: int
) -> Hold | AlreadyKnown | OverLimit | Short | None:
    """Keep `lines` (one for each variant, in their order) aside, all or nothing, or say why not.

    None where another buyer was faster: ask again.
    """
    try:
        rows = await q.fetch(
            HOLD,
            order_id,
            customer_id,
            [line.variant_id for line in lines],
            [line.quantity for line in lines],
            [line.limit_per_customer for line in lines],
            ttl_s,
            str(order_id),
        )
    except asyncpg.CheckViolationError as error:
        if error.constraint_name != "allowances_within_limit":
            raise
        return None
    if not rows:
        return None
    match rows[0]["verdict"]:
        case "held":
            return _hold(order_id, "held", rows)
        case "known":
            return AlreadyKnown()
        case "over_limit":
            return OverLimit(VariantId(rows[0]["variant_id"]), rows[0]["quantity"])
        case _:
            return Short(tuple([VariantId(row["variant_id"]) for row in rows]))


async def find_hold(q: Queries, order_id: OrderId) -> StoredHold | None:
    """The order's row, with its bottles while it keeps some."""
    rows = await q.fetch(FIND_HOLD, order_id)
    if not rows:
        return None
    first = rows[0]
    return StoredHold(
        order_id,
        first["customer_id"] and CustomerId(first["customer_id"]),
        first["state"],
        first["expires_at"],
        first["lapsed"],
        _allocations(rows) if first["variant_id"] else (),
    )


async def extend(q: Queries, order_id: OrderId, ttl_s: int) -> Hold | None:
    """Move the end of a live hold; None where there is none."""
    rows = await q.fetch(EXTEND, order_id, ttl_s)
    return _hold(order_id, "held", rows) if rows else None


async def commit(q: Queries, order_id: OrderId, event: Event) -> Hold | None:
    """Sell what a live hold keeps; None where there is none."""
    rows = await q.fetch(COMMIT, order_id, encode(event))
    return _hold(order_id, "committed", rows) if rows else None


async def release(q: Queries, order_id: OrderId, event: Event) -> bool:
    """Put back what the order keeps, and bar it from holding; False where a hold is just being placed: ask again."""
    return await q.fetchrow(RELEASE, order_id, encode(event)) is not None


async def find_lapsed(q: Queries, limit: int) -> list[OrderId]:
    """Orders whose hold is over and whose bottles are not back yet, the longest first."""
    return [OrderId(row["order_id"]) for row in await q.fetch(FIND_LAPSED, limit)]


async def expire(q: Queries, order_ids: Sequence[OrderId]) -> int:
    """Put back what lapsed orders keep, and forget their holds; answers how many were still to be ended."""
    bodies = [encode(HoldExpired(order_id=order_id)) for order_id in order_ids]
    return len(await q.fetch(EXPIRE, order_ids, bodies))


async def availability(q: Queries, variant_ids: Sequence[VariantId]) -> tuple[Availability, ...]:
    """What can be held of each, in the order asked."""
    rows = await q.fetch(AVAILABILITY, variant_ids)
    return tuple([Availability(VariantId(row["variant_id"]), row["available"]) for row in rows])


def _hold(order_id: OrderId, state: HoldState, rows: Sequence[Row]) -> Hold:
    return Hold(order_id, state, rows[0]["expires_at"], _allocations(rows))


def _allocations(rows: Sequence[Row]) -> tuple[Allocation, ...]:
    return tuple(
        [
            Allocation(
                VariantId(row["variant_id"]), WarehouseId(row["warehouse_id"]), row["region"], row["quantity"]
            )
            for row in rows
        ]
    )
