"""What holds withstand: many buyers at once, over connections of their own, in every order that chance brings."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rickhouse.inventory.contract import (
    Hold,
    HoldCommitted,
    HoldConflict,
    HoldExpired,
    HoldLapsed,
    HoldReleased,
    LimitReached,
    StockHeld,
    StockShort,
)
from rickhouse.inventory.model import Quarantine
from rickhouse.inventory.service import InventoryService
from rickhouse.inventory.sql import holds
from rickhouse.kernel.errors import Condition
from rickhouse.kernel.ids import CustomerId, OrderId, VariantId, WarehouseId
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.schema import role_of
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


@pytest.fixture(scope="module")
async def second(module_database_url: str) -> AsyncGenerator[InventoryService]:
    """The same inventory, in what might be another process."""
    url = url_for(module_database_url, user=role_of("inventory"))
    database = await Database(url, schema="inventory", pool_max=20).open()
    yield InventoryService(database)
    await database.close()


async def outcomes_of(*calls: Awaitable[object]) -> list[object]:
    """What each call came to, all of them started at once; a refusal is an outcome, an error is not."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Condition):
            raise outcome
    return outcomes


def count_of(kind: type, outcomes: Sequence[object]) -> int:
    """How many outcomes are of this kind."""
    return sum(isinstance(outcome, kind) for outcome in outcomes)


async def deadlocks(db: Database) -> int:
    """How many transactions PostgreSQL ended because they waited in a circle."""
    await db.execute("select pg_stat_clear_snapshot()")
    row = await db.fetchrow("select deadlocks from pg_stat_database where datname = current_database()")
    assert row is not None
    return row["deadlocks"]


@pytest.fixture
async def _no_deadlock(db: Database) -> AsyncGenerator[None]:
    """Fails a test in which transactions waited in a circle, even if each was repeated and came through."""
    before = await deadlocks(db)
    yield
    await asyncio.sleep(1.1)  # a backend reports its numbers once a second at the most
    await db.fetch("select 1")
    assert await deadlocks(db) == before


async def test_no_bottle_is_sold_twice(
    inventory: InventoryService, second: InventoryService, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 7)

    outcomes = await outcomes_of(
        *(held(which, (variant_id, 1)) for which in (inventory, second) for _ in range(25))
    )

    assert (count_of(Hold, outcomes), count_of(StockShort, outcomes)) == (7, 43)
    assert await counts_of(inventory, variant_id) == (7, 7, 0)


async def test_buyers_of_several_bottles_get_whole_orders_or_nothing(
    inventory: InventoryService, second: InventoryService, shop: WarehouseId
) -> None:
    annex = await opened(inventory, priority=20)
    variant_id = await received(inventory, shop, 10)
    await received(inventory, annex, 10, variant_id)

    outcomes = await outcomes_of(
        *(held(which, (variant_id, 3)) for which in (inventory, second) for _ in range(20))
    )

    whole = [outcome for outcome in outcomes if isinstance(outcome, Hold)]
    assert all(sum(a.quantity for a in hold.allocations) == 3 for hold in whole)
    assert (len(whole), count_of(StockShort, outcomes)) == (6, 34)
    assert await counts_of(inventory, variant_id) == (20, 18, 0)


@pytest.mark.usefixtures("_no_deadlock")
async def test_bundles_bought_in_opposite_orders_do_not_wait_in_a_circle(
    inventory: InventoryService, second: InventoryService, shop: WarehouseId
) -> None:
    bundle = [(await received(inventory, shop, 30), 1) for _ in range(3)]
    back = bundle[::-1]

    outcomes = await outcomes_of(
        *(held(which, *lines) for _ in range(10) for which in (inventory, second) for lines in (bundle, back))
    )

    assert (count_of(Hold, outcomes), count_of(StockShort, outcomes)) == (30, 10)
    for variant_id, _ in bundle:
        assert await counts_of(inventory, variant_id) == (30, 30, 0)


async def test_the_same_hold_from_many_clients_is_one_hold(
    inventory: InventoryService, second: InventoryService, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 1)
    order_id, customer_id = OrderId.new(), CustomerId.new()

    outcomes = await outcomes_of(
        *(
            held(which, (variant_id, 1), order_id=order_id, customer_id=customer_id)
            for which in (inventory, second)
            for _ in range(10)
        )
    )

    assert len(set(outcomes)) == 1
    assert isinstance(outcomes[0], Hold)
    assert await counts_of(inventory, variant_id) == (1, 1, 0)


async def test_orders_of_one_customer_cannot_race_past_the_limit(
    inventory: InventoryService, second: InventoryService, shop: WarehouseId
) -> None:
    gin, rum = await received(inventory, shop, 100), await received(inventory, shop, 100)
    customer_id = CustomerId.new()

    outcomes = await outcomes_of(
        *(
            held(which, (gin, 1), (rum, 1), customer_id=customer_id, limit=3)
            for which in (inventory, second)
            for _ in range(15)
        )
    )

    assert (count_of(Hold, outcomes), count_of(LimitReached, outcomes)) == (3, 27)
    assert await counts_of(inventory, gin) == (100, 3, 0)
    assert await counts_of(inventory, rum) == (100, 3, 0)


@pytest.mark.parametrize("left", [0, 1])
async def test_a_short_variant_is_refused_without_waiting_for_a_lock(
    inventory: InventoryService, module_database_url: str, shop: WarehouseId, left: int
) -> None:
    variant_id = await received(inventory, shop, 1 + left)
    await held(inventory, (variant_id, 1))
    async with administrator(module_database_url) as other, other.transaction():
        await other.execute("select from stock where variant_id = $1 for update", variant_id)

        with pytest.raises(StockShort):
            await asyncio.wait_for(held(inventory, (variant_id, 2)), 1.0)


async def test_a_buyer_who_waited_in_vain_is_told_sold_out(
    inventory: InventoryService, module_database_url: str, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 1)
    async with administrator(module_database_url) as other:
        async with other.transaction():
            await other.execute("update stock set quarantined = 1 where variant_id = $1", variant_id)
            waiting = asyncio.create_task(held(inventory, (variant_id, 1)))
            await until_somebody_waits(other)
        with pytest.raises(StockShort):
            await waiting
        await other.execute("update stock set quarantined = 0 where variant_id = $1", variant_id)
    assert await counts_of(inventory, variant_id) == (1, 0, 0)


async def test_a_buyer_whose_first_warehouse_empties_is_served_from_the_next(
    inventory: InventoryService, module_database_url: str, shop: WarehouseId
) -> None:
    annex = await opened(inventory, priority=20)
    variant_id = await received(inventory, shop, 1)
    await received(inventory, annex, 1, variant_id)
    async with administrator(module_database_url) as other:
        async with other.transaction():
            await other.execute("update stock set quarantined = 1 where warehouse_id = $1", shop)
            waiting = asyncio.create_task(held(inventory, (variant_id, 1)))
            await until_somebody_waits(other)
        hold = await waiting
        await other.execute("update stock set quarantined = 0 where warehouse_id = $1", shop)
    assert [a.warehouse_id for a in hold.allocations] == [annex]


@pytest.mark.parametrize("verb", ["hold", "commit", "release", "expire"])
async def test_stock_is_locked_in_the_order_of_its_keys(
    inventory: InventoryService, db: Database, module_database_url: str, shop: WarehouseId, verb: str
) -> None:
    bundle = [(await received(inventory, shop, 2), 1) for _ in range(6)]
    order_id = (await held(inventory, *bundle)).order_id
    if verb == "expire":
        await let_lapse(db, order_id)
    last = max(variant_id for variant_id, _ in bundle)
    async with administrator(module_database_url) as other:
        async with other.transaction():
            await other.execute("select from stock where variant_id = $1 for update", last)
            acting = asyncio.create_task(acts(inventory, verb, order_id, bundle))
            await until_somebody_waits(other)

            unlocked = await db.fetch(
                "select from stock where warehouse_id = $1 for update skip locked", shop
            )

        assert unlocked == []
        await acting


async def acts(
    inventory: InventoryService, verb: str, order_id: OrderId, bundle: list[tuple[VariantId, int]]
) -> None:
    """Do one thing that changes the stock of a bundle."""
    match verb:
        case "hold":
            await held(inventory, *bundle)
        case "commit":
            await inventory.commit(order_id)
        case "release":
            await inventory.release(order_id)
        case _:
            assert await inventory.expire_holds() == 1


async def test_a_hold_that_another_runner_ends_is_left_to_it(
    inventory: InventoryService, db: Database, module_database_url: str, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 5)
    theirs, ours = [(await held(inventory, (variant_id, 1))).order_id for _ in range(2)]
    await let_lapse(db, theirs, ours)
    async with administrator(module_database_url) as other, other.transaction():
        await other.execute("select from holds where order_id = $1 for update", theirs)

        assert await asyncio.wait_for(inventory.expire_holds(), 1.0) == 1

    assert await counts_of(inventory, variant_id) == (5, 1, 0)


async def test_a_hold_that_was_extended_since_it_was_found_lapsed_lives_on(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 5)
    order_id = (await held(inventory, (variant_id, 1))).order_id

    assert await holds.expire(db, (order_id,)) == 0

    assert await counts_of(inventory, variant_id) == (5, 1, 0)
    assert (await inventory.commit(order_id)).state == "committed"


@pytest.mark.usefixtures("_no_deadlock")
async def test_commit_release_expiry_and_a_new_hold_race_to_one_end(
    inventory: InventoryService, second: InventoryService, db: Database, shop: WarehouseId
) -> None:
    gin, rum = await received(inventory, shop, 99), await received(inventory, shop, 99)
    customer_id = CustomerId.new()
    for round_number in range(12):
        orders = [
            (await held(inventory, (gin, 1), (rum, 2), customer_id=customer_id, limit=99)).order_id
            for _ in range(8)
        ]
        await let_lapse(db, *orders[::2])
        calls = [
            call
            for order_id in orders
            for call in (
                inventory.commit(order_id),
                second.commit(order_id),
                inventory.release(order_id),
                second.extend(order_id, 600),
                held(inventory, (rum, 2), (gin, 1), order_id=order_id, customer_id=customer_id, limit=99),
                held(second, (gin, 1), (rum, 2), order_id=order_id, customer_id=customer_id, limit=99),
            )
        ]
        calls += [inventory.expire_holds(), second.expire_holds()]
        random.Random(round_number).shuffle(calls)  # noqa: S311  an order that is the same in every run

        outcomes = await outcomes_of(*calls)

        refusals = {type(outcome) for outcome in outcomes if isinstance(outcome, Condition)}
        assert refusals <= {HoldLapsed, HoldConflict}
        for order_id in orders:
            kinds = Counter(map(type, await events_of(db, order_id)))
            ended = kinds[HoldExpired] + kinds[HoldReleased]
            assert kinds[StockHeld] == ended
            assert kinds[HoldCommitted] <= kinds[HoldReleased] <= 1
    assert await counts_of(inventory, gin) == (99, 0, 0)
    assert await counts_of(inventory, rum) == (99, 0, 0)


async def test_a_hold_at_its_last_moment_is_sold_or_ended_and_never_both(
    inventory: InventoryService, second: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 60)
    orders = [(await held(inventory, (variant_id, 1))).order_id for _ in range(60)]
    await db.execute(
        "update holds set expires_at = now() + random() * interval '80 ms' where order_id = any($1::uuid[])",
        orders,
    )

    async def expire() -> None:
        for _ in range(30):
            await second.expire_holds()
            await asyncio.sleep(0.005)

    outcomes = await outcomes_of(*(inventory.commit(order_id) for order_id in orders), expire())

    sold = count_of(Hold, outcomes)
    assert sold + count_of(HoldLapsed, outcomes) == 60
    assert await counts_of(inventory, variant_id) == (60 - sold, 0, 0)


async def test_the_same_bottles_are_not_put_back_twice_by_two_runners(
    inventory: InventoryService, second: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 120)
    orders = [(await held(inventory, (variant_id, 1))).order_id for _ in range(120)]
    await let_lapse(db, *orders)

    ended = await asyncio.gather(*(which.expire_holds() for which in (inventory, second) for _ in range(4)))

    assert sum(ended) == 120
    assert await counts_of(inventory, variant_id) == (120, 0, 0)


class Place(NamedTuple):
    """A warehouse of an example, and how many bottles of each variant stand free in it."""

    priority: int
    sells: bool
    free: tuple[int, ...]


VARIANTS = 3
PLACES = st.lists(
    st.builds(
        Place,
        priority=st.integers(0, 3),
        sells=st.sampled_from([True, True, True, False]),
        free=st.tuples(*[st.integers(0, 5)] * VARIANTS),
    ),
    min_size=1,
    max_size=4,
)
WANTED = st.dictionaries(st.integers(0, VARIANTS - 1), st.integers(1, 7), min_size=1)


def allocated(places: dict[WarehouseId, Place], wanted: dict[int, int]) -> dict[tuple[int, WarehouseId], int]:
    """What the rule gives: one warehouse if one can fill the order, else by priority; nothing where it is short."""
    selling = sorted(
        (warehouse_id for warehouse_id, place in places.items() if place.sells),
        key=lambda warehouse_id: (places[warehouse_id].priority, warehouse_id),
    )
    for warehouse_id in selling:
        if all(places[warehouse_id].free[index] >= quantity for index, quantity in wanted.items()):
            return {(index, warehouse_id): quantity for index, quantity in wanted.items()}
    taken: dict[tuple[int, WarehouseId], int] = {}
    for index, quantity in wanted.items():
        left = quantity
        for warehouse_id in selling:
            share = min(left, places[warehouse_id].free[index])
            if share:
                taken[index, warehouse_id] = share
            left -= share
        if left:
            return {}
    return taken


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(places=PLACES, wanted=WANTED)
async def test_an_order_is_filled_by_one_warehouse_or_by_priority(
    inventory: InventoryService, places: list[Place], wanted: dict[int, int]
) -> None:
    variants = [VariantId.new() for _ in range(VARIANTS)]
    stands: dict[WarehouseId, Place] = {}
    for place in places:
        warehouse_id = await opened(inventory, priority=place.priority, sells=place.sells)
        stands[warehouse_id] = place
        for variant_id, free in zip(variants, place.free, strict=True):
            # One more is put aside, so that only what is free may count.
            await received(inventory, warehouse_id, free + 1, variant_id)
            aside = Quarantine(variant_id=variant_id, warehouse_id=warehouse_id, quantity=1, reason="Test")
            await inventory.move(fresh_key(), aside)
    expected = allocated(stands, wanted)
    lines = [(variants[index], quantity) for index, quantity in wanted.items()]

    if not expected:
        with pytest.raises(StockShort) as refused:
            await held(inventory, *lines)
        available = dict(zip(variants, await inventory.availability(tuple(variants)), strict=True))
        assert refused.value.facts["variant_ids"] == [
            str(variant_id)
            for variant_id, quantity in sorted(lines)
            if available[variant_id].available < quantity
        ]
        return
    hold = await held(inventory, *lines)

    assert {(a.variant_id, a.warehouse_id): a.quantity for a in hold.allocations} == {
        (variants[index], warehouse_id): quantity for (index, warehouse_id), quantity in expected.items()
    }
