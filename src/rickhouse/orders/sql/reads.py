"""Reading orders, and the row that every statement of the slice answers."""

from __future__ import annotations

from typing import Any, Final

from rickhouse.customers.contract import AgeProof
from rickhouse.kernel.ids import AddressId, CustomerId, OrderId, PaymentId
from rickhouse.kernel.money import Money
from rickhouse.orders.contract import OrderLine, State
from rickhouse.orders.model import Legal, Order, Refusal, Request, TimelineRow
from rickhouse.platform.codec import decode_json
from rickhouse.platform.db import Queries, Row

FIND: Final = "select * from orders where id = $1"

FIND_BY_KEY: Final = "select * from orders where owner = $1 and idem_key = $2"

FIND_REQUEST: Final = """
select kind, fingerprint, attempt, refusal from requests where order_id = $1 and idem_key = $2
"""

LIST: Final = """
select * from orders
where placed_at is not null and ($1::text is null or owner = $1) and ($2::uuid is null or id < $2)
    and ($3::text is null or state = $3)
order by id desc
limit $4
"""

LIST_REVIEWS: Final = """
select * from orders where state = 'review' and ($1::uuid is null or id < $1) order by id desc limit $2
"""

TIMELINE: Final = "select seq, kind, body, at from events where subject = $1 order by seq limit 1000"


async def find(q: Queries, order_id: OrderId) -> Order | None:
    """The order."""
    return found(await q.fetchrow(FIND, order_id))


async def find_by_key(q: Queries, owner: str, key: str) -> Order | None:
    """The order that this owner opened under this key."""
    return found(await q.fetchrow(FIND_BY_KEY, owner, key))


async def find_request(q: Queries, order_id: OrderId, key: str) -> Request | None:
    """What an existing order was asked under this key."""
    row = await q.fetchrow(FIND_REQUEST, order_id, key)
    if row is None:
        return None
    return Request(row["kind"], row["fingerprint"], row["attempt"], _refusal(row["refusal"]))


async def list_placed(
    q: Queries, *, owner: str | None, before: OrderId | None, state: State | None, limit: int
) -> list[Order]:
    """Orders that were placed, newest first."""
    rows = await q.fetch(LIST, owner, before, state, limit)
    return [order_of(row) for row in rows]


async def list_reviews(q: Queries, *, before: OrderId | None, limit: int) -> list[Order]:
    """Checkouts that wait for a human, newest first."""
    rows = await q.fetch(LIST_REVIEWS, before, limit)
    return [order_of(row) for row in rows]


async def timeline(q: Queries, order_id: OrderId) -> list[TimelineRow]:
    """The order's events, first to last."""
    rows = await q.fetch(TIMELINE, order_id)
    return [TimelineRow(row["kind"], row["body"], row["at"]) for row in rows]


def _refusal(text: str | None) -> Refusal | None:
    return None if text is None else decode_json(text, Refusal)


def found(row: Row | None) -> Order | None:
    """The order in a row, if there is one."""
    return None if row is None else order_of(row)


def order_of(row: Row) -> Order:
    """The order in a row of its table."""
    values: dict[str, Any] = dict(row.items())
    currency: str = values["currency"]
    return Order(
        order_id=OrderId(values["id"]),
        owner=values["owner"],
        fingerprint=values["fingerprint"],
        state=values["state"],
        cause=values["cause"],
        refusal=_refusal(values["refusal"]),
        customer_id=values["customer_id"] and CustomerId(values["customer_id"]),
        address_id=values["address_id"] and AddressId(values["address_id"]),
        destination=values["destination"],
        origins=tuple(values["origins"]),
        lines=decode_json(values["lines"], tuple[OrderLine, ...]),
        subtotal=Money(values["subtotal_minor"], currency),
        tax=Money(values["tax_minor"], currency),
        shipping=Money(values["shipping_minor"], currency),
        total=Money(values["total_minor"], currency),
        hold_expires_at=values["hold_expires_at"],
        legal=values["decision"] and decode_json(values["decision"], Legal),
        age_proof=values["age_proof"] and decode_json(values["age_proof"], AgeProof),
        cleared=frozenset(values["cleared"]),
        attempt=values["attempt"],
        payment_token=values["payment_token"],
        payment_id=values["payment_id"] and PaymentId(values["payment_id"]),
        action_url=values["action_url"],
        lease_until=values["lease_until"],
        fence=values["fence"],
        created_at=values["created_at"],
        placed_at=values["placed_at"],
    )
