"""The invariants that hold when a house is at rest: bottles, money, holds, and the bank's own books agree with ours."""

from __future__ import annotations

import asyncio
import time

from rickhouse.kernel.ids import OrderId, VariantId
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
    stack.start("verify", "inventory", "verify")
    assert stack.wait("verify") == 0
    sold = await stack.sql(
        """
        select line.variant_id, sum(line.quantity)::int as quantity
        from orders.orders, jsonb_to_recordset(lines) as line (variant_id text, quantity int)
        where state = 'confirmed' group by 1
        """
    )
    committed = await stack.sql(
        """
        select allocations.variant_id, sum(quantity)::int as quantity
        from inventory.allocations join inventory.holds using (order_id)
        where state = 'committed' group by 1
        """
    )
    assert {row["variant_id"]: row["quantity"] for row in sold} == {
        str(VariantId(row["variant_id"])): row["quantity"] for row in committed
    }
    stray = await stack.sql(
        """
        select hold.order_id, hold.state::text as hold, placed.state as placed
        from inventory.holds hold left join orders.orders placed on placed.id = hold.order_id
        where (hold.state = 'committed') is distinct from (placed.state = 'confirmed')
            or (hold.state = 'held' and placed.state not in ('open', 'review', 'requires_action'))
        """
    )
    assert [dict(row) for row in stray] == []


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
