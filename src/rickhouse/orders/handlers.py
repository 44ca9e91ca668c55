"""Events in, and what the orders slice does by itself from time to time."""

from __future__ import annotations

from rickhouse.inventory.contract import HoldExpired
from rickhouse.kernel.events import Recorded
from rickhouse.orders.cancel import CancelService
from rickhouse.orders.recovery import RecoveryService
from rickhouse.platform.db import Queries
from rickhouse.platform.events import Feed, Subscription
from rickhouse.platform.jobs import Periodic

RECOVER_EVERY_S = 1.0


def subscriptions(cancel: CancelService, inventory_events: Feed) -> tuple[Subscription, ...]:
    """A hold that ran out ends its checkout."""

    async def on_hold_expired(queries: Queries, event: HoldExpired, _recorded: Recorded) -> None:
        await cancel.expire(queries, event.order_id)

    return (Subscription("orders.hold_expired", inventory_events, {HoldExpired: on_hold_expired}),)


def periodics(recovery: RecoveryService) -> tuple[Periodic, ...]:
    """Orders whose runner died are brought to rest."""
    return (Periodic("orders.recover", RECOVER_EVERY_S, recovery.recover),)
