"""What checkout and staff can rely on: nothing is sold twice, nothing is lost, and a repeat changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rickhouse.inventory.contract import (
    Allocation,
    Availability,
    Hold,
    HoldCommitted,
    HoldConflict,
    HoldExpired,
    HoldLapsed,
    HoldLine,
    HoldReleased,
    LimitReached,
    StockHeld,
    StockShort,
)
from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.errors import FieldInvalid
from rickhouse.kernel.ids import CustomerId, OrderId, VariantId, WarehouseId
from rickhouse.platform.db import Database
from tests.inventory.samples import (
    TTL_S,
    counts_of,
    events_of,
    held,
    let_lapse,
    opened,
    received,
)


async def test_hold_keeps_bottles_aside_until_its_end(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 10)
    order_id = OrderId.new()

    hold = await held(inventory, (variant_id, 4), order_id=order_id)

    assert hold == Hold(order_id, "held", hold.expires_at, (Allocation(variant_id, shop, "US-ND", 4),))
    assert abs(hold.expires_at - datetime.now(UTC) - timedelta(seconds=TTL_S)) < timedelta(seconds=30)
    assert await counts_of(inventory, variant_id) == (10, 4, 0)
    assert await inventory.availability((variant_id,)) == (Availability(variant_id, 6),)
    assert await events_of(db, order_id) == [StockHeld(order_id=order_id, expires_at=hold.expires_at)]


async def test_hold_refuses_all_lines_when_one_is_short(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    plenty, scarce = await received(inventory, shop, 10), await received(inventory, shop, 1)
    order_id = OrderId.new()

    with pytest.raises(StockShort) as refused:
        await held(inventory, (plenty, 1), (scarce, 2), order_id=order_id)

    assert refused.value.facts == {"variant_ids": [str(scarce)]}
    assert await counts_of(inventory, plenty) == (10, 0, 0)
    assert await counts_of(inventory, scarce) == (1, 0, 0)
    assert await events_of(db, order_id) == []


async def test_hold_refuses_a_variant_that_was_never_received(inventory: InventoryService) -> None:
    unknown = VariantId.new()

    with pytest.raises(StockShort) as refused:
        await held(inventory, (unknown, 1))

    assert refused.value.facts == {"variant_ids": [str(unknown)]}
    assert await inventory.availability((unknown,)) == (Availability(unknown, 0),)


async def test_lines_of_one_variant_count_together(inventory: InventoryService, shop: WarehouseId) -> None:
    variant_id = await received(inventory, shop, 5)

    with pytest.raises(StockShort):
        await held(inventory, (variant_id, 3), (variant_id, 3))
    hold = await held(inventory, (variant_id, 3), (variant_id, 2))

    assert hold.allocations == (Allocation(variant_id, shop, "US-ND", 5),)


@pytest.mark.parametrize("quantity", [0, -1, 1_000_001, 2**63])
async def test_hold_refuses_an_impossible_quantity(
    inventory: InventoryService, shop: WarehouseId, quantity: int
) -> None:
    variant_id = await received(inventory, shop, 5)

    with pytest.raises(FieldInvalid):
        await held(inventory, (variant_id, quantity))

    assert await counts_of(inventory, variant_id) == (5, 0, 0)


async def test_only_selling_warehouses_fill_orders(inventory: InventoryService, shop: WarehouseId) -> None:
    bonded = await opened(inventory, kind="bonded", sells=False, priority=0)
    reserve = await opened(inventory, sells=False, priority=0)
    variant_id = await received(inventory, bonded, 100)
    await received(inventory, reserve, 100, variant_id)
    await received(inventory, shop, 1, variant_id)

    with pytest.raises(StockShort):
        await held(inventory, (variant_id, 2))

    assert (await held(inventory, (variant_id, 1))).allocations == (Allocation(variant_id, shop, "US-ND", 1),)
    assert await inventory.availability((variant_id,)) == (Availability(variant_id, 0),)


async def test_one_warehouse_fills_the_order_if_one_can(inventory: InventoryService) -> None:
    first = await opened(inventory, priority=1)
    second = await opened(inventory, priority=2, region="US-MT")
    gin, rum = await received(inventory, first, 5), await received(inventory, first, 1)
    await received(inventory, second, 5, gin)
    await received(inventory, second, 5, rum)

    assert {a.warehouse_id for a in (await held(inventory, (gin, 2), (rum, 2))).allocations} == {second}
    assert {a.warehouse_id for a in (await held(inventory, (gin, 2), (rum, 1))).allocations} == {first}


async def test_an_order_that_no_warehouse_can_fill_is_split_by_priority(inventory: InventoryService) -> None:
    last = await opened(inventory, priority=3)
    first = await opened(inventory, priority=1)
    second = await opened(inventory, priority=2, region="US-MT")
    variant_id = await received(inventory, first, 2)
    await received(inventory, second, 2, variant_id)
    await received(inventory, last, 2, variant_id)

    hold = await held(inventory, (variant_id, 3))

    taken = {a.warehouse_id: (a.region, a.quantity) for a in hold.allocations}
    assert taken == {first: ("US-ND", 2), second: ("US-MT", 1)}


async def test_the_same_hold_again_gives_the_same_bottles_and_expiry(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 1)
    order_id, customer_id = OrderId.new(), CustomerId.new()
    first = await held(inventory, (variant_id, 1), order_id=order_id, customer_id=customer_id)

    again = await held(inventory, (variant_id, 1), order_id=order_id, customer_id=customer_id)

    assert again == first
    assert await counts_of(inventory, variant_id) == (1, 1, 0)
    assert len(await events_of(db, order_id)) == 1


async def test_other_lines_or_another_customer_conflict_with_the_hold(
    inventory: InventoryService, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 9)
    order_id, customer_id = OrderId.new(), CustomerId.new()
    await held(inventory, (variant_id, 2), order_id=order_id, customer_id=customer_id)

    with pytest.raises(HoldConflict):
        await held(inventory, (variant_id, 3), order_id=order_id, customer_id=customer_id)
    with pytest.raises(HoldConflict):
        await held(inventory, (variant_id, 2), order_id=order_id)

    assert await counts_of(inventory, variant_id) == (9, 2, 0)


async def test_commit_takes_the_bottles_off_the_books(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 10)
    hold = await held(inventory, (variant_id, 4))

    sold = await inventory.commit(hold.order_id)

    assert sold == Hold(hold.order_id, "committed", hold.expires_at, hold.allocations)
    assert await counts_of(inventory, variant_id) == (6, 0, 0)
    assert (await events_of(db, hold.order_id))[1:] == [HoldCommitted(order_id=hold.order_id)]


async def test_commit_again_and_extend_after_commit_change_nothing(
    inventory: InventoryService, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 10)
    hold = await held(inventory, (variant_id, 4))
    sold = await inventory.commit(hold.order_id)

    assert await inventory.commit(hold.order_id) == sold
    assert await inventory.extend(hold.order_id, 3600) == sold

    assert await counts_of(inventory, variant_id) == (6, 0, 0)


async def test_a_committed_order_cannot_hold_again(inventory: InventoryService, shop: WarehouseId) -> None:
    variant_id = await received(inventory, shop, 10)
    order_id, customer_id = OrderId.new(), CustomerId.new()
    await held(inventory, (variant_id, 4), order_id=order_id, customer_id=customer_id)
    await inventory.commit(order_id)

    with pytest.raises(HoldConflict):
        await held(inventory, (variant_id, 4), order_id=order_id, customer_id=customer_id)

    assert await counts_of(inventory, variant_id) == (6, 0, 0)


async def test_a_lapsed_hold_cannot_be_committed_or_extended_though_nobody_has_ended_it(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 10)
    hold = await held(inventory, (variant_id, 4))
    await let_lapse(db, hold.order_id)

    with pytest.raises(HoldLapsed):
        await inventory.commit(hold.order_id)
    with pytest.raises(HoldLapsed):
        await inventory.extend(hold.order_id, 60)

    assert await counts_of(inventory, variant_id) == (10, 4, 0)


async def test_an_unknown_order_has_nothing_to_commit_or_extend(inventory: InventoryService) -> None:
    with pytest.raises(HoldLapsed):
        await inventory.commit(OrderId.new())
    with pytest.raises(HoldLapsed):
        await inventory.extend(OrderId.new(), 60)


async def test_extend_moves_the_end_later_and_never_earlier(
    inventory: InventoryService, shop: WarehouseId
) -> None:
    hold = await held(inventory, (await received(inventory, shop, 1), 1))

    longer = await inventory.extend(hold.order_id, 2 * TTL_S)
    same = await inventory.extend(hold.order_id, 1)

    assert longer.expires_at - hold.expires_at > timedelta(seconds=TTL_S - 30)
    assert same == longer
    assert longer.allocations == hold.allocations


@pytest.mark.parametrize("ttl_s", [0, -1, 30 * 24 * 3600 + 1])
async def test_an_impossible_time_to_live_is_refused(
    inventory: InventoryService, shop: WarehouseId, ttl_s: int
) -> None:
    variant_id = await received(inventory, shop, 1)

    with pytest.raises(FieldInvalid):
        await inventory.hold(OrderId.new(), CustomerId.new(), (HoldLine(variant_id, 1),), ttl_s)
    with pytest.raises(FieldInvalid):
        await inventory.extend(OrderId.new(), ttl_s)

    assert await counts_of(inventory, variant_id) == (1, 0, 0)


@pytest.mark.parametrize("sold", [False, True])
async def test_release_puts_held_and_sold_bottles_back_once(
    inventory: InventoryService, db: Database, shop: WarehouseId, *, sold: bool
) -> None:
    variant_id = await received(inventory, shop, 10)
    hold = await held(inventory, (variant_id, 4))
    if sold:
        await inventory.commit(hold.order_id)

    await inventory.release(hold.order_id)
    await inventory.release(hold.order_id)

    assert await counts_of(inventory, variant_id) == (10, 0, 0)
    assert (await events_of(db, hold.order_id)).count(HoldReleased(order_id=hold.order_id)) == 1
    with pytest.raises(HoldLapsed):
        await inventory.commit(hold.order_id)


async def test_a_released_order_cannot_hold_again(inventory: InventoryService, shop: WarehouseId) -> None:
    variant_id = await received(inventory, shop, 10)
    order_id, customer_id = OrderId.new(), CustomerId.new()
    await held(inventory, (variant_id, 4), order_id=order_id, customer_id=customer_id)
    await inventory.release(order_id)

    with pytest.raises(HoldConflict):
        await held(inventory, (variant_id, 4), order_id=order_id, customer_id=customer_id)

    assert await counts_of(inventory, variant_id) == (10, 0, 0)


async def test_a_release_before_the_hold_stands_in_its_way(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 10)
    order_id = OrderId.new()
    await inventory.release(order_id)

    with pytest.raises(HoldConflict):
        await held(inventory, (variant_id, 4), order_id=order_id)

    assert await counts_of(inventory, variant_id) == (10, 0, 0)
    assert await events_of(db, order_id) == []


async def test_a_release_after_the_expiry_stands_in_the_way_of_a_new_hold(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 10)
    hold = await held(inventory, (variant_id, 4))
    await let_lapse(db, hold.order_id)
    await inventory.expire_holds()
    await inventory.release(hold.order_id)

    with pytest.raises(HoldConflict):
        await held(inventory, (variant_id, 4), order_id=hold.order_id)

    assert await counts_of(inventory, variant_id) == (10, 0, 0)


async def test_expire_puts_lapsed_bottles_back_and_tells(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    gin, rum = await received(inventory, shop, 10), await received(inventory, shop, 10)
    lapsed = [await held(inventory, (gin, 1), (rum, 2)) for _ in range(3)]
    live = await held(inventory, (gin, 4))
    await let_lapse(db, *[hold.order_id for hold in lapsed])

    assert await inventory.expire_holds() == 3
    assert await inventory.expire_holds() == 0

    assert await counts_of(inventory, gin) == (10, 4, 0)
    assert await counts_of(inventory, rum) == (10, 0, 0)
    for hold in lapsed:
        assert (await events_of(db, hold.order_id))[1:] == [HoldExpired(order_id=hold.order_id)]
        with pytest.raises(HoldLapsed):
            await inventory.commit(hold.order_id)
    assert (await inventory.commit(live.order_id)).state == "committed"


async def test_expire_ends_more_holds_than_one_batch(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 250)
    orders = [(await held(inventory, (variant_id, 1))).order_id for _ in range(250)]
    await let_lapse(db, *orders)

    assert await inventory.expire_holds() == 250

    assert await counts_of(inventory, variant_id) == (250, 0, 0)


@pytest.mark.parametrize("ended", [False, True])
async def test_a_lapsed_hold_is_placed_anew_even_with_other_lines(
    inventory: InventoryService, db: Database, shop: WarehouseId, *, ended: bool
) -> None:
    variant_id = await received(inventory, shop, 10)
    order_id, customer_id = OrderId.new(), CustomerId.new()
    first = await held(inventory, (variant_id, 4), order_id=order_id, customer_id=customer_id)
    await let_lapse(db, order_id)
    if ended:
        await inventory.expire_holds()

    anew = await held(inventory, (variant_id, 5), order_id=order_id, customer_id=customer_id)

    assert anew.expires_at > first.expires_at
    assert anew.allocations == (Allocation(variant_id, shop, "US-ND", 5),)
    assert await counts_of(inventory, variant_id) == (10, 5, 0)
    assert await events_of(db, order_id) == [
        StockHeld(order_id=order_id, expires_at=first.expires_at),
        HoldExpired(order_id=order_id),
        StockHeld(order_id=order_id, expires_at=anew.expires_at),
    ]


async def test_a_lapsed_hold_finds_its_bottles_gone(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 1)
    hold = await held(inventory, (variant_id, 1))
    await let_lapse(db, hold.order_id)
    await inventory.expire_holds()
    await held(inventory, (variant_id, 1))

    with pytest.raises(StockShort):
        await held(inventory, (variant_id, 1), order_id=hold.order_id)

    assert await counts_of(inventory, variant_id) == (1, 1, 0)


async def test_one_customer_gets_no_more_than_the_limit_over_all_orders(
    inventory: InventoryService, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 10)
    customer_id = CustomerId.new()
    first = await held(inventory, (variant_id, 2), customer_id=customer_id, limit=3)
    await inventory.commit(first.order_id)

    with pytest.raises(LimitReached) as refused:
        await held(inventory, (variant_id, 2), customer_id=customer_id, limit=3)
    await held(inventory, (variant_id, 1), customer_id=customer_id, limit=3)
    await held(inventory, (variant_id, 3), limit=3)

    assert refused.value.facts == {"variant_id": str(variant_id), "limit": 3}
    assert await counts_of(inventory, variant_id) == (8, 4, 0)


async def test_two_lines_share_one_limit(inventory: InventoryService, shop: WarehouseId) -> None:
    variant_id = await received(inventory, shop, 10)

    with pytest.raises(LimitReached):
        await held(inventory, (variant_id, 2), (variant_id, 2), limit=3)

    assert await counts_of(inventory, variant_id) == (10, 0, 0)


@pytest.mark.parametrize("how", ["release", "release_sold", "expire"])
async def test_the_limit_counts_again_what_was_given_back(
    inventory: InventoryService, db: Database, shop: WarehouseId, how: str
) -> None:
    variant_id = await received(inventory, shop, 10)
    customer_id = CustomerId.new()
    hold = await held(inventory, (variant_id, 3), customer_id=customer_id, limit=3)
    if how == "release_sold":
        await inventory.commit(hold.order_id)
    if how == "expire":
        await let_lapse(db, hold.order_id)
        await inventory.expire_holds()
    else:
        await inventory.release(hold.order_id)

    await held(inventory, (variant_id, 3), customer_id=customer_id, limit=3)

    assert await counts_of(inventory, variant_id) == (10, 3, 0)


async def test_a_limit_that_falls_binds_the_next_hold_and_spoils_no_release(
    inventory: InventoryService, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 10)
    customer_id = CustomerId.new()
    first = await held(inventory, (variant_id, 3), customer_id=customer_id, limit=5)

    with pytest.raises(LimitReached):
        await held(inventory, (variant_id, 1), customer_id=customer_id, limit=2)
    await inventory.release(first.order_id)
    await held(inventory, (variant_id, 2), customer_id=customer_id, limit=2)

    assert await counts_of(inventory, variant_id) == (10, 2, 0)


async def test_availability_answers_in_the_order_asked_and_twice_if_asked_twice(
    inventory: InventoryService, shop: WarehouseId
) -> None:
    gin, rum = await received(inventory, shop, 3), await received(inventory, shop, 4)

    assert await inventory.availability((rum, gin, rum)) == (
        Availability(rum, 4),
        Availability(gin, 3),
        Availability(rum, 4),
    )
    assert await inventory.availability(()) == ()
