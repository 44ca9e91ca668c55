"""Reading orders, their timeline, and the answer of a human to a review."""

from __future__ import annotations

from datetime import datetime

import msgspec

from rickhouse.kernel.errors import FieldInvalid, KeyReused, NotFound
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import CheckoutId, OrderId
from rickhouse.orders.cancel import CancelService
from rickhouse.orders.contract import OrderCancelled, OrderMoved, OrderSummary, State, WrongState
from rickhouse.orders.model import Order, TimelineRow
from rickhouse.orders.sql import moves, reads
from rickhouse.platform.codec import decode_json
from rickhouse.platform.db import Database


class TimelineEntry(msgspec.Struct, frozen=True):
    """The order entered `state` at `at`; `cause` says why where there is something to say."""

    state: State
    cause: str
    at: datetime


class OrdersService:
    """Implements the orders contract, and what the routes read."""

    def __init__(self, db: Database, *, cancel: CancelService) -> None:
        self._db = db
        self._cancel = cancel

    async def get_summary(self, order_id: OrderId) -> OrderSummary:
        """See the contract."""
        order = await self.get(order_id)
        return OrderSummary(order.order_id, order.state, order.customer_id, order.total, order.placed_at)

    async def get(self, order_id: OrderId, owner: str | None = None) -> Order:
        """The order, if `owner` (None: anybody) may see it. Raises NotFound."""
        order = await reads.find(self._db, order_id)
        if order is None or owner not in (None, order.owner):
            raise NotFound("There is no such order, or it is not yours.")
        return order

    async def list_placed(
        self, *, owner: str | None, before: OrderId | None, state: State | None, limit: int
    ) -> list[Order]:
        """Placed orders, newest first, of one owner or of all."""
        return await reads.list_placed(self._db, owner=owner, before=before, state=state, limit=limit)

    async def list_reviews(self, *, before: OrderId | None, limit: int) -> list[Order]:
        """Checkouts that wait for a human, newest first."""
        return await reads.list_reviews(self._db, before=before, limit=limit)

    async def timeline(self, order_id: OrderId, owner: str | None = None) -> tuple[TimelineEntry, ...]:
        """Every state the order entered, first to last. Raises NotFound."""
        order = await self.get(order_id, owner)
        first = TimelineEntry("opening", "", order.created_at)
        rows = await reads.timeline(self._db, order_id)
        return (first, *(_entry(row) for row in rows))

    async def review(self, keyed: Keyed, checkout_id: CheckoutId, *, approve: bool, note: str) -> Order:
        """A human settles a review: the checkout is open again, or ends. Raises NotFound, WrongState, KeyReused."""
        if not note.strip():
            raise FieldInvalid("note is empty: say what was checked.", field="note", rule="not_blank")
        order_id = OrderId(checkout_id.uuid)
        await self.get(order_id)
        event = OrderMoved(order_id=order_id, after="open", cause="approved")
        settled = (
            await moves.clear(self._db, order_id, keyed=keyed, note=note, event=event)
            if approve
            else await self._cancel.reject(order_id, keyed, note)
        )
        return settled or await self._settled_before(order_id, keyed)

    async def _settled_before(self, order_id: OrderId, keyed: Keyed) -> Order:
        """The answer to a repeated review. Raises KeyReused, WrongState."""
        request = await reads.find_request(self._db, order_id, keyed.key)
        order = await self.get(order_id)
        if request is None:
            raise WrongState(f"The checkout is {order.state}, not in review.", state=order.state)
        if request.fingerprint != keyed.fingerprint:
            raise KeyReused("This Idempotency-Key came before with another request; choose a new key.")
        return order


def _entry(row: TimelineRow) -> TimelineEntry:
    match row.kind:
        case "orders.order_moved":
            moved = decode_json(row.body, OrderMoved)
            return TimelineEntry(moved.after, moved.cause, row.at)
        case "orders.order_cancelled":
            ended = decode_json(row.body, OrderCancelled)
            return TimelineEntry(ended.after, ended.cause, row.at)
        case "orders.order_confirmed":
            return TimelineEntry("confirmed", "", row.at)
        case _:
            return TimelineEntry("open", "", row.at)
