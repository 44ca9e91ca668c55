"""Killed with SIGKILL at every step, the house loses nothing and doubles nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import aiohttp
import pytest

from rickhouse.kernel.ids import OrderId, VariantId
from tests.journeys.books import assert_books, at_rest
from tests.journeys.stack import Stack, stranger

OPENING = (
    "rickhouse.catalog.service:CatalogService.offers",
    "rickhouse.orders.sql.moves:open_order",
    "rickhouse.customers.service:CustomersService.register",
    "rickhouse.inventory.service:InventoryService.hold",
    "rickhouse.compliance.service:ComplianceService.decide",
    "rickhouse.orders.sql.moves:opened",
)
COMPLETING = (
    "rickhouse.orders.sql.moves:claim",
    "rickhouse.customers.providers.sandbox.client:SandboxBureau.ask",
    "rickhouse.customers.service:CustomersService.prove_age",
    "rickhouse.payments.sql:begin",
    "rickhouse.payments.providers.sandbox.client:SandboxGateway.authorise",
    "rickhouse.payments.sql:authorised",
    "rickhouse.inventory.service:InventoryService.commit",
    "rickhouse.orders.sql.moves:confirm",
)
CANCELLING = (
    "rickhouse.orders.sql.moves:start_cancel",
    "rickhouse.inventory.service:InventoryService.release",
    "rickhouse.payments.providers.sandbox.client:SandboxGateway.void",
    "rickhouse.payments.service:PaymentsService.undo",
    "rickhouse.orders.sql.moves:end_cancel",
)
SIDES = ("before", "after")


@pytest.fixture(scope="module")
async def house(
    new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Stack]:
    """A seeded house with a healthy server and worker; each test adds a second server, which dies."""
    home: Path = tmp_path_factory.mktemp("house")
    quick = {
        "RICKHOUSE_ORDERS__LEASE_S": "3",
        "RICKHOUSE_PAYMENTS__GATEWAY_TIMEOUT_S": "1.9",
        "RICKHOUSE_CUSTOMERS__BUREAU_TIMEOUT_S": "1",
    }
    async with Stack(new_database(), home, **quick) as stack:
        stack.start("seed", "seed")
        assert stack.wait("seed") == 0
        stack.start("work", "work")
        await stack.serve()
        yield stack


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("place", OPENING)
async def test_killed_while_opening(house: Stack, place: str, side: str) -> None:
    variant_id = await a_bottling(house)
    free = await house.free(variant_id)
    known = await orders(house)
    async with house.crashing(f"{place}:{side}") as dying:
        with pytest.raises(aiohttp.ClientError):
            await dying.open([(variant_id, 2)], buyer=stranger(), key=f"{place}{side}")
    await at_rest(house)
    left = {order: state for order, state in (await orders(house)).items() if order not in known}
    assert list(left.values()) in ([], ["cancelled"], ["open"]), left
    # The shop never saw an answer and asks again with the same key: it finds its checkout, or gets a new one,
    # and either way the bottles are kept aside once.
    again = await house.open([(variant_id, 2)], buyer=stranger(), key=f"{place}{side}")
    if "open" in left.values():
        assert again.status == 422  # another buyer under the same key is another request
    else:
        assert again.status == 201
    assert await house.free(variant_id) == free - 2
    await assert_books(house)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("place", COMPLETING)
async def test_killed_while_completing(house: Stack, place: str, side: str) -> None:
    variant_id = await a_bottling(house)
    free = await house.free(variant_id)
    opened = await house.open([(variant_id, 2)], buyer=stranger())
    assert opened.status == 201
    checkout_id = opened.body["checkout_id"]
    async with house.crashing(f"{place}:{side}") as dying:
        with pytest.raises(aiohttp.ClientError):
            await dying.complete(checkout_id, key="once")
    await at_rest(house)
    # Before the claim has committed nothing was asked of us; after it the purchase goes through without the shop.
    unclaimed = place.endswith(":claim") and side == "before"
    assert (await orders(house))[checkout_id] == ("open" if unclaimed else "confirmed")
    await assert_books(house)
    answer = await house.complete(checkout_id, key="once")
    assert answer.status == 201
    assert answer.body["status"] == "confirmed"
    assert await house.free(variant_id) == free - 2
    await assert_books(house)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("place", CANCELLING)
async def test_killed_while_cancelling(house: Stack, place: str, side: str) -> None:
    variant_id = await a_bottling(house)
    free = await house.free(variant_id)
    bought = await house.buy(variant_id, quantity=2)
    assert bought.status == 201
    order_id = bought.body["order"]["order_id"]
    path, body = f"/v1/orders/{order_id}/cancel", {"reason": "buyer_asked"}
    async with house.crashing(f"{place}:{side}") as dying:
        with pytest.raises(aiohttp.ClientError):
            await dying.office("POST", path, body, key="once")
    await at_rest(house)
    answer = await house.office("POST", path, body, key="once")
    assert answer.status == 200
    assert answer.body["state"] == "cancelled"
    assert await house.free(variant_id) == free
    await assert_books(house)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("place", "token", "state"),
    [
        ("rickhouse.orders.sql.moves:reopen", "tok_decline", "open"),
        ("rickhouse.orders.sql.moves:pause", "tok_3ds", "requires_action"),
    ],
)
async def test_killed_while_coming_to_rest(
    house: Stack, place: str, token: str, state: str, side: str
) -> None:
    variant_id = await a_bottling(house)
    free = await house.free(variant_id)
    opened = await house.open([(variant_id, 2)], buyer=stranger())
    checkout_id = opened.body["checkout_id"]
    async with house.crashing(f"{place}:{side}") as dying:
        with pytest.raises(aiohttp.ClientError):
            await dying.complete(checkout_id, token, key="once")
    await at_rest(house)
    assert (await orders(house))[checkout_id] == state
    assert await house.free(variant_id) == free - 2
    await assert_books(house)
    paid = await house.complete(checkout_id)
    assert paid.status == 201
    await assert_books(house)


async def a_bottling(stack: Stack) -> str:
    """A bottling that nothing limits, well in stock."""
    rows = await stack.sql(
        """
        select variant_id from inventory.stock join inventory.warehouses using (warehouse_id)
        where sells group by variant_id having sum(on_hand - held) > 200 order by variant_id limit 1
        """
    )
    return str(VariantId(rows[0]["variant_id"]))


async def orders(stack: Stack) -> dict[str, str]:
    """The state of every order, by the id of its checkout."""
    rows = await stack.sql("select id, state from orders.orders")
    return {f"chk_{str(OrderId(row['id'])).removeprefix('ord_')}": row["state"] for row in rows}
