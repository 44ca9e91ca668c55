"""What `Inventory` promises, in this process and behind HTTP: the same answers, the same conditions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta

import pytest

from rickhouse.inventory.contract import (
    Allocation,
    Availability,
    HoldConflict,
    HoldLapsed,
    HoldLine,
    Inventory,
    LimitReached,
    StockShort,
)
from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.clock import now
from rickhouse.kernel.errors import FieldInvalid
from rickhouse.kernel.ids import CustomerId, OrderId, VariantId, WarehouseId
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.schema import role_of
from tests.contracts.sides import SIDES, Side, on_side
from tests.inventory.samples import TTL_S, counts_of, let_lapse, opened, received


@pytest.fixture(scope="module")
async def db(module_database_url: str) -> AsyncGenerator[Database]:
    """The slice's database under the slice's role."""
    url = url_for(module_database_url, user=role_of("inventory"))
    database = await Database(url, schema="inventory").open()
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def stock(db: Database) -> AsyncGenerator[InventoryService]:
    """The service, on whichever side its contract is."""
    service = InventoryService(db)
    yield service
    await service.expire_holds()
    assert (await service.verify()).differences == ()


@pytest.fixture(scope="module")
async def shop(stock: InventoryService) -> WarehouseId:
    """The only warehouse that sells."""
    return await opened(stock)


@pytest.fixture(scope="module", params=SIDES)
async def inventory(request: pytest.FixtureRequest, stock: InventoryService) -> AsyncGenerator[Inventory]:
    """The contract, on either side."""
    side: Side = request.param
    async with on_side(side, Inventory, "inventory", stock) as contract:
        yield contract


async def test_a_hold_keeps_bottles_aside_until_it_is_sold_and_given_back(
    inventory: Inventory, stock: InventoryService, shop: WarehouseId
) -> None:
    variant_id = await received(stock, shop, 5)
    order_id, customer_id = OrderId.new(), CustomerId.new()
    lines = (HoldLine(variant_id, 1), HoldLine(variant_id, 2, limit_per_customer=3))

    held = await inventory.hold(order_id, customer_id, lines, TTL_S)
    again = await inventory.hold(order_id, customer_id, lines, 10)
    while_held = await inventory.availability((variant_id,))
    sold = await inventory.commit(order_id)
    sold_again = await inventory.commit(order_id)
    without_end = await inventory.extend(order_id, TTL_S)

    assert (held.order_id, held.state) == (order_id, "held")
    assert held.allocations == (Allocation(variant_id, shop, "US-ND", 3),)
    assert _seconds_from_now(held.expires_at) == pytest.approx(TTL_S, abs=30)
    assert again == held
    assert while_held == (Availability(variant_id, 2),)
    assert (sold.state, sold.allocations) == ("committed", held.allocations)
    assert sold == sold_again == without_end
    assert await counts_of(stock, variant_id) == (2, 0, 0)

    await inventory.release(order_id)
    await inventory.release(order_id)

    assert await inventory.availability((variant_id,)) == (Availability(variant_id, 5),)
    assert await counts_of(stock, variant_id) == (5, 0, 0)


async def test_a_live_hold_can_be_extended_and_is_never_shortened(
    inventory: Inventory, stock: InventoryService, shop: WarehouseId
) -> None:
    order_id = OrderId.new()
    variant_id = await received(stock, shop, 1)
    held = await inventory.hold(order_id, CustomerId.new(), (HoldLine(variant_id, 1),), 60)

    longer = await inventory.extend(order_id, 600)
    not_shorter = await inventory.extend(order_id, 1)

    assert longer.expires_at > held.expires_at
    assert _seconds_from_now(longer.expires_at) == pytest.approx(600, abs=30)
    assert not_shorter == longer


async def test_what_is_short_is_named_and_nothing_is_held(
    inventory: Inventory, stock: InventoryService, shop: WarehouseId
) -> None:
    plenty, short = await received(stock, shop, 9), await received(stock, shop, 1)
    order_id = OrderId.new()

    with pytest.raises(StockShort) as refusal:
        await inventory.hold(order_id, CustomerId.new(), (HoldLine(plenty, 1), HoldLine(short, 2)), TTL_S)

    assert refusal.value.facts == {"variant_ids": [str(short)]}
    assert await counts_of(stock, plenty) == (9, 0, 0)
    assert await counts_of(stock, short) == (1, 0, 0)
    with pytest.raises(HoldLapsed):
        await inventory.commit(order_id)


async def test_one_customer_gets_no_more_than_the_limit(
    inventory: Inventory, stock: InventoryService, shop: WarehouseId
) -> None:
    variant_id, customer_id = await received(stock, shop, 9), CustomerId.new()
    await inventory.hold(OrderId.new(), customer_id, (HoldLine(variant_id, 2, 2),), TTL_S)

    with pytest.raises(LimitReached) as refusal:
        await inventory.hold(OrderId.new(), customer_id, (HoldLine(variant_id, 1, 2),), TTL_S)

    assert refusal.value.facts == {"variant_id": str(variant_id), "limit": 2}
    assert await counts_of(stock, variant_id) == (9, 2, 0)


async def test_an_order_is_held_one_way_and_not_after_its_release(
    inventory: Inventory, stock: InventoryService, shop: WarehouseId
) -> None:
    variant_id, customer_id = await received(stock, shop, 9), CustomerId.new()
    held, ended, never = OrderId.new(), OrderId.new(), OrderId.new()
    for order_id in (held, ended):
        await inventory.hold(order_id, customer_id, (HoldLine(variant_id, 1),), TTL_S)
    for order_id in (ended, never):
        await inventory.release(order_id)

    for order_id, quantity in ((held, 2), (ended, 1), (never, 1)):
        with pytest.raises(HoldConflict):
            await inventory.hold(order_id, customer_id, (HoldLine(variant_id, quantity),), TTL_S)

    assert await counts_of(stock, variant_id) == (9, 1, 0)


async def test_a_lapsed_hold_is_neither_sold_nor_extended_but_placed_anew(
    inventory: Inventory, stock: InventoryService, shop: WarehouseId, db: Database
) -> None:
    variant_id, order_id, customer_id = await received(stock, shop, 2), OrderId.new(), CustomerId.new()
    lapsed = await inventory.hold(order_id, customer_id, (HoldLine(variant_id, 2),), TTL_S)
    await let_lapse(db, order_id)

    with pytest.raises(HoldLapsed):
        await inventory.commit(order_id)
    with pytest.raises(HoldLapsed):
        await inventory.extend(order_id, TTL_S)
    anew = await inventory.hold(order_id, customer_id, (HoldLine(variant_id, 2),), TTL_S)

    assert anew.allocations == lapsed.allocations
    assert anew.expires_at > lapsed.expires_at
    assert await counts_of(stock, variant_id) == (2, 2, 0)


@pytest.mark.parametrize("quantity", [0, -1, 1_000_001, 2**62])
async def test_a_quantity_that_is_none_is_refused(
    inventory: Inventory, stock: InventoryService, shop: WarehouseId, quantity: int
) -> None:
    variant_id = await received(stock, shop, 1)

    with pytest.raises(FieldInvalid) as refusal:
        await inventory.hold(OrderId.new(), CustomerId.new(), (HoldLine(variant_id, quantity),), TTL_S)

    assert refusal.value.facts == {"field": "quantity", "rule": "between"}
    assert await counts_of(stock, variant_id) == (1, 0, 0)


async def test_nothing_to_hold_and_no_time_to_hold_it_are_refused(inventory: Inventory) -> None:
    line = HoldLine(VariantId.new(), 1)
    with pytest.raises(FieldInvalid) as no_lines:
        await inventory.hold(OrderId.new(), CustomerId.new(), (), TTL_S)
    with pytest.raises(FieldInvalid) as no_time:
        await inventory.hold(OrderId.new(), CustomerId.new(), (line,), 0)
    with pytest.raises(FieldInvalid) as too_long:
        await inventory.extend(OrderId.new(), 2**40)

    assert no_lines.value.facts == {"field": "lines", "rule": "not_empty"}
    assert no_time.value.facts == too_long.value.facts == {"field": "ttl_s", "rule": "between"}


async def test_availability_comes_in_the_order_asked_and_is_zero_for_the_unknown(
    inventory: Inventory, stock: InventoryService, shop: WarehouseId
) -> None:
    known, unknown = await received(stock, shop, 4), VariantId.new()

    assert await inventory.availability((unknown, known, unknown)) == (
        Availability(unknown, 0),
        Availability(known, 4),
        Availability(unknown, 0),
    )
    assert await inventory.availability(()) == ()


def _seconds_from_now(moment: datetime) -> float:
    assert moment.utcoffset() == timedelta()
    return (moment - now()).total_seconds()
