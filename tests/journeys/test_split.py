"""Inventory in processes and a database of its own: the checkout is the same, and outlives inventory's death."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

import pytest

from rickhouse.platform.codec import encode_json
from tests.journeys.books import assert_books, at_rest
from tests.journeys.stack import Stack, free_port, stranger
from tests.journeys.traffic import assert_promises_kept, assert_told_to_wait, shopping


class DividedStack(Stack):
    """Two servers behind what looks like one, as a gateway would make it."""

    inventory_url: str

    def server_of(self, path: str) -> str:
        """Inventory's own resources are at inventory's server."""
        inside = path.startswith(("/v1/stock", "/v1/warehouses"))
        return self.inventory_url if inside else self.base_url

    async def serve_inventory(self) -> None:
        """Start inventory's server and wait until it is ready."""
        port = self.inventory_url.rpartition(":")[2]
        self.start("inventory", "serve", "inventory", RICKHOUSE_WEB__PORT=port)
        await self.wait_for(f"{self.inventory_url}/health/ready")


@pytest.fixture(scope="module")
async def house(
    new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[DividedStack]:
    """A seeded house in two halves, each with its job worker; neither half's tables are in the other's database."""
    rest, apart = new_database(), new_database()
    url = f"http://127.0.0.1:{free_port()}"
    async with DividedStack(
        rest,
        tmp_path_factory.mktemp("house"),
        RICKHOUSE_DATABASE__URLS=encode_json({"inventory": apart}).decode(),
        RICKHOUSE_REMOTES=encode_json({"inventory": url}).decode(),
    ) as stack:
        stack.inventory_url = url
        await stack.sql("drop schema inventory cascade")
        for slice_name in ("catalog", "customers", "compliance", "payments", "orders"):
            await stack.sql(f"drop schema {slice_name} cascade", of="inventory")
        stack.start("seed", "seed")
        assert stack.wait("seed") == 0
        stack.start("work", "work")
        stack.start("work inventory", "work", "inventory")
        await stack.serve_inventory()
        await stack.serve()
        yield stack


async def test_a_bottle_is_bought_and_the_order_cancelled(house: DividedStack) -> None:
    variant_id = await house.release(3)

    bought = await house.buy(variant_id, quantity=2)

    assert (bought.status, bought.body["status"]) == (201, "confirmed")
    assert await house.free(variant_id) == 1
    await assert_books(house)
    order_id = bought.body["order"]["order_id"]
    cancelled = await house.office("POST", f"/v1/orders/{order_id}/cancel", {"reason": "buyer_asked"})
    assert (cancelled.status, cancelled.body.get("state")) == (200, "cancelled"), cancelled
    assert await house.free(variant_id) == 3
    await assert_books(house)


async def test_what_inventory_refuses_is_told_to_the_buyer(house: DividedStack) -> None:
    scarce_id, limited_id = await house.release(1), await house.release(5, limit=1)

    short = await house.open([(scarce_id, 2)], buyer=stranger())
    over = await house.open([(limited_id, 2)], buyer=stranger())

    assert (short.status, short.body["code"], short.body["variant_ids"]) == (409, "sold_out", [scarce_id])
    assert (over.status, over.body["code"]) == (409, "purchase_limit_reached")
    assert (over.body["variant_id"], over.body["limit"]) == (limited_id, 1)
    assert [await house.free(scarce_id), await house.free(limited_id)] == [1, 5]
    await assert_books(house)


async def test_twenty_buyers_race_for_ten_bottles(house: DividedStack) -> None:
    variant_id = await house.release(10)

    answers = await asyncio.gather(*(house.buy(variant_id) for _ in range(20)))

    assert sorted(answer.status for answer in answers) == [201] * 10 + [409] * 10
    assert await house.free(variant_id) == 0
    await assert_books(house)


async def test_a_refused_card_leaves_the_bottle_aside_for_another(house: DividedStack) -> None:
    variant_id = await house.release(1)
    opened = await house.open([(variant_id, 1)], buyer=stranger())
    checkout_id = opened.body["checkout_id"]

    refused = await house.complete(checkout_id, "tok_decline")

    assert (refused.status, refused.body["code"]) == (402, "payment_declined")
    assert await house.free(variant_id) == 0
    assert (await house.complete(checkout_id)).status == 201
    await assert_books(house)


async def test_orders_hear_that_a_hold_has_ended(house: DividedStack) -> None:
    variant_id = await house.release(1)
    opened = await house.open([(variant_id, 1)], buyer=stranger())
    path = f"/v1/checkouts/{opened.body['checkout_id']}"

    await house.end_hold(opened.body["checkout_id"])

    ends = time.monotonic() + 10
    while (await house.call("GET", path)).body["state"] != "expired":
        assert time.monotonic() < ends
        await asyncio.sleep(0.1)
    assert await house.free(variant_id) == 1
    await assert_books(house)


async def test_traffic_survives_the_death_of_inventory(house: DividedStack) -> None:
    async with shopping(house) as traffic:
        await traffic.go_on()
        house.kill("inventory")
        house.kill("work inventory")
        await asyncio.sleep(4)
        house.start("work inventory", "work", "inventory")
        await house.serve_inventory()
        await traffic.go_on()

    assert_told_to_wait(traffic.answers, "unavailable")
    # Nobody else was started again.
    assert [house.processes[name].poll() for name in ("serve", "work")] == [None, None]
    await at_rest(house)
    await assert_promises_kept(house, traffic)
    await assert_books(house)
