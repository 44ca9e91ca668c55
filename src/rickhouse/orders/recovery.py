"""Taking over from a dead runner.

Every leased order is brought to its next rest by the same functions that serve a live one; none of its own belong here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rickhouse.orders.cancel import CancelService
from rickhouse.orders.checkout import CheckoutService
from rickhouse.orders.model import Order
from rickhouse.orders.sql import moves
from rickhouse.platform.db import Database
from rickhouse.platform.saga import LeaseLost, take_over

_BATCH: Final = 8


class RecoveryService:
    """The job that runs orders whose lease ran out."""

    def __init__(
        self, db: Database, *, checkout: CheckoutService, cancel: CancelService, lease_s: float
    ) -> None:
        self._db = db
        self._checkout = checkout
        self._cancel = cancel
        self._lease_s = lease_s

    async def recover(self) -> int:
        """Run every stuck order to its next rest; answers how many there were."""
        recovered = 0
        while (taken := await take_over(self._claim, self._run)) == _BATCH:
            recovered += taken
        return recovered + taken

    async def _claim(self) -> Sequence[Order]:
        return await moves.claim_stuck(self._db, _BATCH, self._lease_s)

    async def _run(self, order: Order) -> Order:
        match order.state:
            case "opening":
                return await self._cancel.interrupt(order)
            case "completing":
                return await self._checkout.run(order)
            case "cancelling":
                return await self._cancel.undo(order)
            case _:
                raise LeaseLost(f"An order that is {order.state} has no runner to take over from.")
