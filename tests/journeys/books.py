"""The invariants that hold when a house is at rest: bottles, money, holds, and the bank's own books agree with ours."""

from __future__ import annotations

import asyncio
import time

from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.ids import OrderId, VariantId
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.schema import role_of
from tests.journeys.stack import Stack

RESTING = ("open", "review", "requires_action", "confirmed", "cancelled", "expired", "refused")


async def at_rest(stack: Stack, within_s: float = 30.0) -> dict[str, int]:
    """Wait until no runner is at work on any order; answers how many orders are in each state."""
    ends = time.monotonic() + within_s
    while True:
        rows = await stack.sql("select state, count(*)::int as orders from orders.orders group by state")
        found = {row["state"]: row["orders"] for row in rows}
        if all(state in RESTING for state in found):
            return found
        assert time.monotonic() < ends, f"orders are still on their way after {within_s} s: {found}"
        await asyncio.sleep(0.1)


async def assert_books(stack: Stack) -> None:
    """Nothing is oversold, nothing is lost or doubled, and every book agrees with every other."""
    await _assert_stock(stack)
    await _assert_money(stack)


async def _assert_stock(stack: Stack) -> None:
    """Stock, movements and holds agree in themselves; what is kept aside or sold is what the orders say."""
    url = url_for(stack.url_of("inventory"), user=role_of("inventory"))
    inventory = await Database(url, schema="inventory").open()
    try:
        assert (await InventoryService(inventory).verify()).differences == ()
    finally:
        await inventory.close()
    kept = await stack.sql(
        """
        select order_id, state::text, variant_id, sum(quantity)::int as quantity
        from inventory.holds left join inventory.allocations using (order_id)
        where state in ('held', 'committed') group by 1, 2, 3
        """,
        of="inventory",
    )
    placed = await stack.sql(
        """
        select id, state, line.variant_id, sum(line.quantity)::int as quantity
        from orders.orders, jsonb_to_recordset(lines) as line (variant_id text, quantity int) group by 1, 2, 3
        """
    )
    orders = {row["id"]: row["state"] for row in placed}
    sold = {(row["id"], row["variant_id"]): row["quantity"] for row in placed if row["state"] == "confirmed"}
    assert sold == {
        (row["order_id"], str(VariantId(row["variant_id"]))): row["quantity"]
        for row in kept
        if row["state"] == "committed"
    }
    stray = {row["order_id"]: orders.get(row["order_id"]) for row in kept if row["state"] == "held"}
    assert set(stray.values()) <= {"open", "review", "requires_action"}, stray


async def _assert_money(stack: Stack) -> None:
    """The bank keeps aside exactly what our confirmed orders cost, order by order."""
    ledger = await stack.ledger()
    theirs: dict[str, int] = {}
    for hold in ledger["holds"]:
        if hold["status"] in ("HELD", "TAKEN"):
            theirs[hold["order"]] = theirs.get(hold["order"], 0) + minor(hold["amount"])
    ours = await stack.sql("select id, total_minor from orders.orders where state = 'confirmed'")
    assert theirs == {str(OrderId(row["id"])): row["total_minor"] for row in ours}
    authorised = await stack.sql(
        "select order_id, sum(amount_minor)::bigint as minor from payments.attempts "
        "where state in ('authorised', 'captured') group by 1"
    )
    assert theirs == {str(OrderId(row["order_id"])): row["minor"] for row in authorised}
    for accounts in ledger["balances"].values():
        assert sum(accounts.values()) == 0


def minor(amount: str) -> int:
    """`89.00` as 8900."""
    return int(amount.replace(".", ""))
