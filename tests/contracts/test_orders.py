"""What `Orders` promises, in this process and behind HTTP: the same answers, the same conditions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from rickhouse.kernel.clock import now
from rickhouse.kernel.errors import NotFound
from rickhouse.kernel.ids import OrderId
from rickhouse.kernel.money import Money
from rickhouse.orders.contract import Orders, OrderSummary
from tests.contracts.sides import SIDES, Side, on_side
from tests.orders.samples import Rooms, rooms
from tests.simulators.bank import BankProcess, bank

__all__ = ["bank"]


@pytest.fixture(scope="module", name="rooms")
async def every_room(
    module_database_url: str, bank: BankProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Rooms]:
    """The neighbours of the contract, in this process on either side."""
    async with rooms(module_database_url, bank.url, tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest.fixture(scope="module", params=SIDES)
async def orders(request: pytest.FixtureRequest, rooms: Rooms) -> AsyncGenerator[Orders]:
    """The contract, on either side."""
    side: Side = request.param
    async with on_side(side, Orders, "orders", rooms.orders) as contract:
        yield contract


async def test_a_summary_tells_state_buyer_total_and_when_the_order_was_placed(
    orders: Orders, rooms: Rooms
) -> None:
    opened = await rooms.open(await rooms.bottling(), 2)

    before = await orders.get_summary(opened.order_id)
    bought = await rooms.complete(opened)
    after = await orders.get_summary(opened.order_id)

    # Two bottles at 54.00, 5 % of tax, 9.00 of shipping.
    total = Money(12_240, "USD")
    assert before == OrderSummary(opened.order_id, "open", opened.customer_id, total, None)
    assert after == OrderSummary(opened.order_id, "confirmed", opened.customer_id, total, bought.placed_at)
    assert after.placed_at is not None
    assert after.placed_at.utcoffset() == timedelta()
    assert timedelta() <= now() - after.placed_at < timedelta(minutes=1)


async def test_an_order_that_was_never_opened_is_not_found(orders: Orders) -> None:
    with pytest.raises(NotFound) as refusal:
        await orders.get_summary(OrderId.new())

    assert refusal.value.detail == "There is no such order, or it is not yours."
    assert refusal.value.facts == {}
