"""Undoing an order: bottles back on sale, money back to the buyer. One path, whoever asks; safe to run again.

Doing stands in `checkout.py`.
"""

from __future__ import annotations

from typing import Final

from rickhouse.inventory.contract import Inventory
from rickhouse.kernel.errors import Condition, KeyReused, NotFound, StillRunning
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import CheckoutId, OrderId
from rickhouse.orders.contract import CheckoutClosed, OrderCancelled, OrderMoved, State, WrongState
from rickhouse.orders.model import ENDED, LEASED, Order, Refusal, ends_as
from rickhouse.orders.sql import moves, reads
from rickhouse.payments.contract import Payments
from rickhouse.platform.db import Database, Queries
from rickhouse.platform.saga import held

_ABANDONABLE: Final[tuple[State, ...]] = ("open", "requires_action", "review")


class CancelService:
    """Cancels orders and checkouts, and finishes cancellations that somebody began."""

    def __init__(self, db: Database, *, inventory: Inventory, payments: Payments, lease_s: float) -> None:
        self._db = db
        self._inventory = inventory
        self._payments = payments
        self._lease_s = lease_s

    async def abandon(self, owner: str, checkout_id: CheckoutId) -> Order:
        """The buyer walks away: the bottles go back. Repeating it changes nothing.

        Raises NotFound, CheckoutClosed (it is an order already), StillRunning.
        """
        order_id = OrderId(checkout_id.uuid)
        order = await reads.find(self._db, order_id)
        if order is None or order.owner != owner:
            raise NotFound("There is no such checkout, or it is not yours.")
        stopped = await self._start(order_id, _ABANDONABLE, "abandoned")
        if stopped is not None:
            return await self.undo(stopped)
        return self._already(await self._get(order_id))

    async def cancel(self, keyed: Keyed, order_id: OrderId, cause: str) -> Order:
        """Cancel a confirmed order before it is fulfilled: void or refund, then release.

        Raises NotFound, WrongState, KeyReused, StillRunning, Unavailable (undoing goes on in the background).
        """
        stopped = await self._start(order_id, ("confirmed",), cause, keyed)
        if stopped is not None:
            return await self.undo(stopped)
        order = await self._get(order_id)
        request = await reads.find_request(self._db, order_id, keyed.key)
        if request is not None and (request.fingerprint != keyed.fingerprint or request.kind != "cancel"):
            raise KeyReused("This Idempotency-Key came before with another request; choose a new key.")
        if order.state == "cancelling":
            raise StillRunning("The order is being cancelled; ask again in a moment.")
        if order.state in ENDED and order.placed_at is not None:
            return order
        raise WrongState(f"The order is {order.state} and cannot be cancelled.", state=order.state)

    async def reject(self, order_id: OrderId, keyed: Keyed, note: str) -> Order | None:
        """A reviewer said no; None when the checkout is not in review (any more)."""
        stopped = await self._start(order_id, ("review",), "rejected", keyed, note)
        return None if stopped is None else await self.undo(stopped)

    async def fail(self, order: Order, refusal: Condition) -> Order:
        """Completing met a refusal for good: keep it as the answer, and undo."""
        stopped = await moves.fail(
            self._db,
            order.order_id,
            order.fence,
            cause=refusal.code,
            lease_s=self._lease_s,
            refusal=Refusal(refusal.code, refusal.detail, refusal.facts),
            event=OrderMoved(order_id=order.order_id, after="cancelling", cause=refusal.code),
        )
        return await self.undo(held(stopped))

    async def interrupt(self, order: Order) -> Order:
        """Opening was cut off by a crash: nobody saw an answer, so the key is free again."""
        refusal = Refusal("interrupted", "Opening the checkout was interrupted; send the request again.")
        await moves.refuse_opening(
            self._db,
            order.order_id,
            order.fence,
            state="cancelling",
            cause="interrupted",
            refusal=refusal,
            keep_key=False,
            event=OrderMoved(order_id=order.order_id, after="cancelling", cause="interrupted"),
        )
        return await self.undo(await self._get(order.order_id))

    async def undo(self, order: Order) -> Order:
        """Release, void, refund, and end the order. Each step may have been done before.

        Raises LeaseLost, and Unavailable when a neighbour is away: the lease then ends and the job goes on.
        """
        await self._inventory.release(order.order_id)
        await self._payments.undo(order.order_id)
        after = ends_as(order.cause, placed=order.placed_at is not None)
        event = OrderCancelled(order_id=order.order_id, after=after, cause=order.cause)
        return held(await moves.end_cancel(self._db, order.order_id, order.fence, after, event))

    async def expire(self, queries: Queries, order_id: OrderId) -> None:
        """Within a subscriber's transaction: the hold ran out, so undoing is due."""
        await moves.expire(
            queries, order_id, OrderMoved(order_id=order_id, after="cancelling", cause="expired")
        )

    async def _start(
        self,
        order_id: OrderId,
        before: tuple[State, ...],
        cause: str,
        keyed: Keyed | None = None,
        note: str = "",
    ) -> Order | None:
        return await moves.start_cancel(
            self._db,
            order_id,
            before=before,
            cause=cause,
            lease_s=self._lease_s,
            event=OrderMoved(order_id=order_id, after="cancelling", cause=cause),
            keyed=keyed,
            note=note,
        )

    async def _get(self, order_id: OrderId) -> Order:
        order = await reads.find(self._db, order_id)
        if order is None:
            raise NotFound("There is no such order.")
        return order

    def _already(self, order: Order) -> Order:
        if order.state in ENDED:
            return order
        if order.state in LEASED:
            raise StillRunning(f"The checkout is {order.state}; ask again in a moment.")
        raise CheckoutClosed("The checkout is an order now; cancel the order instead.", state=order.state)
