"""What staff can rely on: every movement is in the ledger once, and no bottle that is spoken for is moved away."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest

from rickhouse.inventory.contract import (
    Availability,
    StockReceived,
    TooFewBottles,
    WarehouseNameTaken,
    WarehouseNotFound,
)
from rickhouse.inventory.model import (
    Adjustment,
    Breakage,
    Change,
    Clearance,
    CreateWarehouse,
    Difference,
    Quarantine,
    Receipt,
    Return,
    Rule,
    Transfer,
)
from rickhouse.inventory.service import InventoryService
from rickhouse.inventory.sql import stock
from rickhouse.kernel.errors import KeyReused, NotFound
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import CustomerId, MovementId, VariantId, WarehouseId
from rickhouse.platform.db import Database
from tests.inventory.samples import (
    administrator,
    counts_of,
    events_of,
    fresh_key,
    held,
    let_lapse,
    opened,
    received,
    until_somebody_waits,
)


async def test_a_warehouse_is_opened_once_under_its_key(inventory: InventoryService) -> None:
    command = CreateWarehouse(name="Rackhouse 1", region="US-ND", kind="bonded", priority=5, sells=False)
    keyed = Keyed("seed", "warehouse:rackhouse-1", b"1")

    warehouses = await asyncio.gather(*(inventory.create_warehouse(keyed, command) for _ in range(20)))

    assert len(set(warehouses)) == 1
    assert await inventory.get_warehouse(warehouses[0].warehouse_id) == warehouses[0]
    with pytest.raises(KeyReused):
        await inventory.create_warehouse(Keyed("seed", "warehouse:rackhouse-1", b"2"), command)
    with pytest.raises(WarehouseNameTaken):
        await inventory.create_warehouse(fresh_key(), command)
    named = [w for w in await inventory.list_warehouses() if w.name == "Rackhouse 1"]
    assert named == [warehouses[0]]


async def test_warehouses_are_listed_in_the_order_in_which_they_fill_orders(
    inventory: InventoryService,
) -> None:
    ids = [await opened(inventory, priority=priority) for priority in (1000, 998, 999, 998)]

    first, second = await inventory.list_warehouses((997, ids[0]), limit=2)
    rest = await inventory.list_warehouses((second.priority, second.warehouse_id))

    listed = [warehouse.warehouse_id for warehouse in (first, second, *rest)]
    assert listed == [*sorted((ids[1], ids[3])), ids[2], ids[0]]


async def test_an_unknown_warehouse_or_movement_is_not_found(inventory: InventoryService) -> None:
    with pytest.raises(NotFound):
        await inventory.get_warehouse(WarehouseId.new())
    with pytest.raises(NotFound):
        await inventory.get_movement(MovementId.new())


async def test_a_receipt_puts_bottles_on_the_shelf_and_tells(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = VariantId.new()
    receipt = Receipt(variant_id=variant_id, warehouse_id=shop, quantity=12, reason="Run 7")

    movement = await inventory.move(fresh_key("ann"), receipt)

    assert (movement.kind, movement.actor, movement.reason) == ("receipt", "ann", "Run 7")
    assert movement.changes == (Change(shop, 12),)
    assert await inventory.get_movement(movement.movement_id) == movement
    assert await counts_of(inventory, variant_id) == (12, 0, 0)
    assert await events_of(db, variant_id) == [
        StockReceived(variant_id=variant_id, warehouse_id=shop, quantity=12)
    ]


async def test_a_movement_is_made_once_under_its_key(inventory: InventoryService, shop: WarehouseId) -> None:
    variant_id = VariantId.new()
    receipt = Receipt(variant_id=variant_id, warehouse_id=shop, quantity=12)
    keyed = fresh_key()

    movements = await asyncio.gather(*(inventory.move(keyed, receipt) for _ in range(20)))

    assert len(set(movements)) == 1
    assert await counts_of(inventory, variant_id) == (12, 0, 0)
    with pytest.raises(KeyReused):
        await inventory.move(Keyed(keyed.owner, keyed.key, b"another"), receipt)
    assert await counts_of(inventory, variant_id) == (12, 0, 0)


async def test_a_key_belongs_to_its_owner(inventory: InventoryService, shop: WarehouseId) -> None:
    variant_id = VariantId.new()
    receipt = Receipt(variant_id=variant_id, warehouse_id=shop, quantity=12)

    await inventory.move(Keyed("ann", "one", b"1"), receipt)
    await inventory.move(Keyed("bob", "one", b"2"), receipt)

    assert await counts_of(inventory, variant_id) == (24, 0, 0)


async def test_an_adjustment_goes_both_ways(inventory: InventoryService, shop: WarehouseId) -> None:
    variant_id = await received(inventory, shop, 10)

    for delta in (-3, 5):
        adjustment = Adjustment(variant_id=variant_id, warehouse_id=shop, delta=delta, reason="Count")
        await inventory.move(fresh_key(), adjustment)

    assert await counts_of(inventory, variant_id) == (12, 0, 0)


async def test_held_and_quarantined_bottles_cannot_be_moved_away(
    inventory: InventoryService, shop: WarehouseId
) -> None:
    elsewhere = await opened(inventory)
    variant_id = await received(inventory, shop, 10)
    await held(inventory, (variant_id, 6))
    aside = Quarantine(variant_id=variant_id, warehouse_id=shop, quantity=1, reason="Torn label")
    await inventory.move(fresh_key(), aside)
    facts = {
        "variant_id": str(variant_id),
        "warehouse_id": str(shop),
        "on_hand": 10,
        "held": 6,
        "quarantined": 1,
        "free": 3,
    }

    for request in (
        Adjustment(variant_id=variant_id, warehouse_id=shop, delta=-4, reason="Count"),
        Breakage(variant_id=variant_id, warehouse_id=shop, quantity=4, reason="Dropped"),
        Quarantine(variant_id=variant_id, warehouse_id=shop, quantity=4, reason="Torn label"),
        Transfer(variant_id=variant_id, from_warehouse_id=shop, to_warehouse_id=elsewhere, quantity=4),
    ):
        with pytest.raises(TooFewBottles) as refused:
            await inventory.move(fresh_key(), request)
        assert refused.value.facts == facts
        assert refused.value.detail == (
            "Only 3 of 10 bottles are free, not 4: 6 are held for orders and 1 are in quarantine."
        )

    assert await counts_of(inventory, variant_id) == (10, 6, 1)
    away = Transfer(variant_id=variant_id, from_warehouse_id=shop, to_warehouse_id=elsewhere, quantity=3)
    await inventory.move(fresh_key(), away)
    assert await counts_of(inventory, variant_id) == (10, 6, 1)


async def test_bottles_that_never_came_cannot_leave(inventory: InventoryService, shop: WarehouseId) -> None:
    variant_id = VariantId.new()

    with pytest.raises(TooFewBottles) as refused:
        await inventory.move(
            fresh_key(), Breakage(variant_id=variant_id, warehouse_id=shop, quantity=1, reason="Dropped")
        )

    assert (refused.value.facts["on_hand"], refused.value.facts["free"]) == (0, 0)
    assert await inventory.list_shelves(variant_id) == ()


async def test_a_refused_key_can_be_used_again(inventory: InventoryService, shop: WarehouseId) -> None:
    variant_id = await received(inventory, shop, 1)
    keyed = fresh_key()
    breakage = Breakage(variant_id=variant_id, warehouse_id=shop, quantity=2, reason="Dropped")
    with pytest.raises(TooFewBottles):
        await inventory.move(keyed, breakage)
    await received(inventory, shop, 1, variant_id)

    await inventory.move(keyed, breakage)

    assert await counts_of(inventory, variant_id) == (0, 0, 0)


async def test_an_unknown_warehouse_is_named(inventory: InventoryService, shop: WarehouseId) -> None:
    nowhere = WarehouseId.new()
    variant_id = await received(inventory, shop, 5)

    for request in (
        Receipt(variant_id=variant_id, warehouse_id=nowhere, quantity=1),
        Breakage(variant_id=variant_id, warehouse_id=nowhere, quantity=1, reason="Dropped"),
        Transfer(variant_id=variant_id, from_warehouse_id=shop, to_warehouse_id=nowhere, quantity=1),
    ):
        with pytest.raises(WarehouseNotFound) as refused:
            await inventory.move(fresh_key(), request)
        assert refused.value.facts == {"warehouse_id": str(nowhere)}

    assert await counts_of(inventory, variant_id) == (5, 0, 0)


async def test_a_transfer_writes_two_rows(inventory: InventoryService, shop: WarehouseId) -> None:
    bonded = await opened(inventory, kind="bonded", sells=False)
    variant_id = await received(inventory, bonded, 10)
    transfer = Transfer(variant_id=variant_id, from_warehouse_id=bonded, to_warehouse_id=shop, quantity=4)

    movement = await inventory.move(fresh_key(), transfer)

    entries = [e for e in await inventory.list_entries(variant_id) if e.kind == "transfer"]
    assert {(e.warehouse_id, e.on_hand_delta) for e in entries} == {(bonded, -4), (shop, 4)}
    assert {e.movement_id for e in entries} == {movement.movement_id}
    assert await inventory.availability((variant_id,)) == (Availability(variant_id, 4),)


async def test_returned_bottles_are_not_for_sale_until_cleared(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 2)
    sale = await held(inventory, (variant_id, 2))
    await inventory.commit(sale.order_id)
    back = Return(
        variant_id=variant_id, warehouse_id=shop, quantity=2, reason="Refused", order_id=sale.order_id
    )

    movement = await inventory.move(fresh_key(), back)

    assert movement.order_id == sale.order_id
    assert await counts_of(inventory, variant_id) == (2, 0, 2)
    assert await inventory.availability((variant_id,)) == (Availability(variant_id, 0),)
    cleared = Clearance(variant_id=variant_id, warehouse_id=shop, quantity=1)
    broken = Breakage(
        variant_id=variant_id, warehouse_id=shop, quantity=1, reason="Seal open", from_quarantine=True
    )
    await inventory.move(fresh_key(), cleared)
    await inventory.move(fresh_key(), broken)
    assert await counts_of(inventory, variant_id) == (1, 0, 0)
    assert await events_of(db, variant_id) == [
        StockReceived(variant_id=variant_id, warehouse_id=shop, quantity=2),
        StockReceived(variant_id=variant_id, warehouse_id=shop, quantity=1),
    ]


async def test_only_what_is_in_quarantine_comes_out_of_it(
    inventory: InventoryService, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 5)

    with pytest.raises(TooFewBottles) as refused:
        await inventory.move(fresh_key(), Clearance(variant_id=variant_id, warehouse_id=shop, quantity=1))

    assert refused.value.detail == "Only 0 bottles are in quarantine, not 1."
    assert await counts_of(inventory, variant_id) == (5, 0, 0)


async def test_the_ledger_tells_the_story_of_a_bottle(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 3)
    sold = await held(inventory, (variant_id, 1))
    await inventory.commit(sold.order_id)
    await inventory.release(sold.order_id)
    left = await held(inventory, (variant_id, 2))
    await let_lapse(db, left.order_id)
    await inventory.expire_holds()

    story = [
        (e.kind, e.on_hand_delta, e.held_delta, e.order_id, e.actor)
        for e in reversed(await inventory.list_entries(variant_id))
    ]

    assert story == [
        ("receipt", 3, 0, None, "test"),
        ("hold", 0, 1, sold.order_id, "checkout"),
        ("commit", -1, -1, sold.order_id, "checkout"),
        ("release", 1, 0, sold.order_id, "checkout"),
        ("hold", 0, 2, left.order_id, "checkout"),
        ("expiry", 0, -2, left.order_id, "clock"),
    ]


async def test_the_ledger_is_read_page_by_page(inventory: InventoryService, shop: WarehouseId) -> None:
    variant_id = await received(inventory, shop, 1)
    other = await received(inventory, shop, 1)
    for _ in range(4):
        await received(inventory, shop, 1, variant_id)

    first = await inventory.list_entries(variant_id, shop, limit=3)
    rest = await inventory.list_entries(variant_id, shop, first[-1].seq, 3)

    assert [e.variant_id for e in (*first, *rest)] == [variant_id] * 5
    assert [e.seq for e in (*first, *rest)] == sorted((e.seq for e in (*first, *rest)), reverse=True)
    assert len(await inventory.list_entries(other)) == 1
    assert len(await inventory.list_entries(warehouse_id=shop)) == 6
    assert await inventory.list_entries(variant_id, WarehouseId.new()) == ()


async def test_stock_is_listed_page_by_page(inventory: InventoryService, shop: WarehouseId) -> None:
    annex = await opened(inventory)
    gin, rum = await received(inventory, shop, 1), await received(inventory, annex, 2)
    await received(inventory, annex, 3, gin)

    first, second = await inventory.list_shelves(gin)
    after_none = (min(gin, rum), WarehouseId(UUID(int=0)))

    assert {(shelf.warehouse_id, shelf.free) for shelf in (first, second)} == {(shop, 1), (annex, 3)}
    assert await inventory.list_shelves(gin, limit=1) == (first,)
    assert await inventory.list_shelves(gin, (gin, first.warehouse_id)) == (second,)
    assert [
        (s.variant_id, s.warehouse_id) for s in await inventory.list_shelves(after=after_none, limit=3)
    ] == (sorted([(gin, shop), (gin, annex), (rum, annex)]))


@pytest.mark.parametrize("downwards", [True, False])
async def test_a_transfer_locks_its_shelves_in_the_order_of_their_keys(
    inventory: InventoryService, db: Database, module_database_url: str, *, downwards: bool
) -> None:
    low, high = sorted([await opened(inventory), await opened(inventory)])
    variant_id = await received(inventory, low, 5)
    await received(inventory, high, 5, variant_id)
    source, target = (high, low) if downwards else (low, high)
    transfer = Transfer(variant_id=variant_id, from_warehouse_id=source, to_warehouse_id=target, quantity=1)
    async with administrator(module_database_url) as other:
        async with other.transaction():
            await other.execute("select from stock where warehouse_id = $1 for update", high)
            moving = asyncio.create_task(inventory.move(fresh_key(), transfer))
            await until_somebody_waits(other)

            unlocked = await db.fetch(
                "select from stock where variant_id = $1 for update skip locked", variant_id
            )

        assert unlocked == []
        await moving


async def test_first_receipts_at_once_share_the_shelf(inventory: InventoryService, shop: WarehouseId) -> None:
    variant_id = VariantId.new()

    await asyncio.gather(*(received(inventory, shop, 3, variant_id) for _ in range(20)))

    assert await counts_of(inventory, variant_id) == (60, 0, 0)


async def test_breakages_at_once_take_no_bottle_twice(inventory: InventoryService, shop: WarehouseId) -> None:
    variant_id = await received(inventory, shop, 10)
    breakage = Breakage(variant_id=variant_id, warehouse_id=shop, quantity=3, reason="Shelf fell")

    outcomes = await asyncio.gather(
        *(inventory.move(fresh_key(), breakage) for _ in range(10)), return_exceptions=True
    )

    assert sum(isinstance(outcome, TooFewBottles) for outcome in outcomes) == 7
    assert await counts_of(inventory, variant_id) == (1, 0, 0)


@pytest.mark.parametrize("statement", ["update movements set on_hand_delta = 1", "delete from movements"])
async def test_the_slice_cannot_rewrite_its_ledger(
    db: Database, inventory: InventoryService, shop: WarehouseId, statement: str
) -> None:
    await received(inventory, shop, 1)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.execute(statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.execute(
            statement.replace("movements", "movement_requests").replace("on_hand_delta = 1", "reason = ''")
        )


async def test_the_database_refuses_what_the_rules_forbid(
    db: Database, inventory: InventoryService, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 1)

    for change in ("held = 2", "held = -1", "quarantined = 2", "quarantined = -1", "on_hand = -1"):
        with pytest.raises(asyncpg.CheckViolationError):
            await db.execute(f"update stock set {change} where variant_id = $1", variant_id)  # noqa: S608  ours
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute("update warehouses set kind = 'bonded' where warehouse_id = $1", shop)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute("delete from warehouses where warehouse_id = $1", shop)


async def test_verify_counts_what_it_compared(inventory: InventoryService, shop: WarehouseId) -> None:
    before = await inventory.verify()
    variant_id = await received(inventory, shop, 5)
    await held(inventory, (variant_id, 1))

    after = await inventory.verify()

    assert (after.shelves - before.shelves, after.movements - before.movements) == (1, 2)
    assert after.live_holds - before.live_holds == 1
    assert after.differences == ()


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (
            "update stock set on_hand = on_hand + 1 where {gin}",
            {"on_hand_is_sum_of_movements": (9, 10)},
        ),
        (
            "update stock set held = held + 1 where {gin}",
            {"held_is_sum_of_movements": (2, 3), "held_is_sum_of_live_holds": (2, 3)},
        ),
        (
            "update stock set quarantined = 0 where {gin}",
            {"quarantined_is_sum_of_movements": (1, 0)},
        ),
        (
            "delete from movements where kind = 'commit' and {gin}",
            {"on_hand_is_sum_of_movements": (10, 9), "held_is_sum_of_movements": (3, 2)},
        ),
        (
            "update allocations set quantity = 3 where quantity = 2 and {gin}",
            {"held_is_sum_of_live_holds": (3, 2), "taken_is_sum_of_limited_holds": (4, 3)},
        ),
        (
            "delete from stock where {gin}",
            {
                "on_hand_is_sum_of_movements": (9, 0),
                "held_is_sum_of_movements": (2, 0),
                "held_is_sum_of_live_holds": (2, 0),
                "quarantined_is_sum_of_movements": (1, 0),
            },
        ),
        (
            "update allowances set taken = 2 where {gin}",
            {"taken_is_sum_of_limited_holds": (3, 2)},
        ),
        (
            "delete from allowances where {gin}",
            {"taken_is_sum_of_limited_holds": (3, 0)},
        ),
        (
            "alter table stock drop constraint stock_adds_up; update stock set held = -1 where {gin}",
            {
                "held_is_sum_of_movements": (2, -1),
                "held_is_sum_of_live_holds": (2, -1),
                "nothing_is_negative": (0, -1),
            },
        ),
        (
            "alter table stock drop constraint stock_adds_up; update stock set on_hand = 1 where {gin}",
            {"on_hand_is_sum_of_movements": (9, 1), "nothing_is_negative": (0, -2)},
        ),
    ],
)
async def test_verify_finds_what_was_spoilt(
    inventory: InventoryService,
    module_database_url: str,
    shop: WarehouseId,
    spoil: str,
    found: dict[Rule, tuple[int, int]],
) -> None:
    buyer = CustomerId.new()
    gin = await received(inventory, shop, 10)
    aside = Quarantine(variant_id=gin, warehouse_id=shop, quantity=1, reason="Torn label")
    await inventory.move(fresh_key(), aside)
    sold = await held(inventory, (gin, 1), customer_id=buyer, limit=3)
    await inventory.commit(sold.order_id)
    await held(inventory, (gin, 2), customer_id=buyer, limit=3)

    async with administrator(module_database_url) as connection:
        undone = connection.transaction()
        await undone.start()
        await connection.execute(spoil.format(gin=f"variant_id = '{gin.uuid}'"))
        report = await stock.verify(connection)
        await undone.rollback()

    allowance = "taken_is_sum_of_limited_holds"
    assert report.differences == tuple(
        Difference(
            rule=rule,
            variant_id=gin,
            warehouse_id=None if rule == allowance else shop,
            customer_id=buyer if rule == allowance else None,
            expected=expected,
            found=actual,
        )
        for rule, (expected, actual) in sorted(found.items())
    )
