"""Moving orders from state to state. Deciding which statement to run belongs to the services."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from rickhouse.customers.contract import AgeProof, Registered
from rickhouse.kernel.events import Event
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import OrderId, PaymentId
from rickhouse.orders.contract import State
from rickhouse.orders.model import Legal, Order, Quote, Refusal
from rickhouse.orders.sql.reads import found, order_of
from rickhouse.platform.codec import encode_json
from rickhouse.platform.db import Queries, Row
from rickhouse.platform.events import encode as encode_event

OPEN: Final = """
insert into orders (
    id, owner, idem_key, fingerprint, state, destination, lines, currency,
    subtotal_minor, tax_minor, shipping_minor, total_minor, lease_until, fence
) values ($1, $2, $3, $4, 'opening', $5, $6::jsonb, $7, $8, $9, $10, $11, now() + $12 * interval '1 second', 1)
on conflict (owner, idem_key) do nothing
returning id
"""

OPENED: Final = """
with opened as (
    update orders
    set state = 'open', customer_id = $3, address_id = $4, origins = $5, hold_expires_at = $6, decision = $7::jsonb,
        lease_until = null
    where id = $1 and fence = $2 and state = 'opening'
    returning *
), noted as (
    insert into events (kind, subject, body) select 'orders.order_opened', id, $8::jsonb from opened
)
select * from opened
"""

REFUSE_OPENING: Final = """
with refused as (
    update orders
    set state = $3, cause = $4, refusal = $5::jsonb, idem_key = case when $6 then idem_key end,
        lease_until = case when $3 = 'cancelling' then now() end
    where id = $1 and fence = $2 and state = 'opening'
    returning id
)
insert into events (kind, subject, body) select 'orders.order_moved', id, $7::jsonb from refused
"""

CLAIM: Final = """
with claimed as (
    update orders
    set state = 'completing', lease_until = now() + $6 * interval '1 second', fence = fence + 1, cause = '',
        attempt = case when state = 'requires_action' and payment_token = $5 then attempt else attempt + 1 end,
        payment_token = $5, action_url = null
    where id = $1 and owner = $2 and (
            (state = 'open' and attempt < $8)
            or (state = 'requires_action' and (attempt < $8 or payment_token = $5))
        )
        and not exists (select from requests where order_id = $1 and idem_key = $3)
    returning *
), keyed as (
    insert into requests (order_id, idem_key, kind, owner, fingerprint, attempt)
    select id, $3, 'complete', $2, $4, attempt from claimed
), noted as (
    insert into events (kind, subject, body) select 'orders.order_moved', id, $7::jsonb from claimed
)
select * from claimed
"""

CLAIM_STUCK: Final = """
update orders
set lease_until = now() + $2 * interval '1 second', fence = fence + 1
where id in (
    select id from orders
    where lease_until < now() and state in ('opening', 'completing', 'cancelling')
    order by lease_until limit $1 for update skip locked
)
returning *
"""

PAUSE: Final = """
with paused as (
    update orders
    set state = $3, cause = $4, lease_until = null, action_url = $5,
        payment_token = case when $3 = 'requires_action' then payment_token end,
        hold_expires_at = coalesce($6, hold_expires_at)
    where id = $1 and fence = $2 and state = 'completing'
        and coalesce($6, hold_expires_at) > now() + interval '1 second'
    returning *
), noted as (
    insert into events (kind, subject, body) select 'orders.order_moved', id, $7::jsonb from paused
)
select * from paused
"""

REOPEN: Final = """
with reopened as (
    update orders set state = 'open', cause = $3, lease_until = null, action_url = null, payment_token = null
    where id = $1 and fence = $2 and state = 'completing' and hold_expires_at > now() + interval '1 second'
    returning *
), refused as (
    update requests set refusal = $4::jsonb
    from reopened where order_id = reopened.id and requests.attempt = reopened.attempt and kind = 'complete'
        and requests.refusal is null
), noted as (
    insert into events (kind, subject, body) select 'orders.order_moved', id, $5::jsonb from reopened
)
select * from reopened
"""

CONFIRM: Final = """
with confirmed as (
    update orders
    set state = 'confirmed', cause = '', payment_id = $3, placed_at = now(), lease_until = null, payment_token = null,
        action_url = null, age_proof = $4::jsonb
    where id = $1 and fence = $2 and state = 'completing'
    returning *
), noted as (
    insert into events (kind, subject, body) select 'orders.order_confirmed', id, $5::jsonb from confirmed
)
select * from confirmed
"""

KEEP_HOLD: Final = "update orders set hold_expires_at = $3 where id = $1 and fence = $2"

DECIDED: Final = "update orders set decision = $3::jsonb, cleared = $4 where id = $1 and fence = $2"

RENEW_LEASE: Final = """
update orders set lease_until = now() + $3 * interval '1 second'
where id = $1 and fence = $2 and state = 'completing'
returning id
"""

START_CANCEL: Final = """
with stopped as (
    update orders
    set state = 'cancelling', cause = $3, lease_until = now() + $4 * interval '1 second', fence = fence + 1
    where id = $1 and state = any($2::text[])
        and not exists (select from requests where order_id = $1 and idem_key = $6)
    returning *
), keyed as (
    insert into requests (order_id, idem_key, kind, fingerprint, attempt, note, owner)
    select id, $6, 'cancel', $7, attempt, $8, $9 from stopped where $6::text is not null
), noted as (
    insert into events (kind, subject, body) select 'orders.order_moved', id, $5::jsonb from stopped
)
select * from stopped
"""

FAIL: Final = """
with stopped as (
    update orders
    set state = 'cancelling', cause = $3, lease_until = now() + $4 * interval '1 second'
    where id = $1 and fence = $2 and state = 'completing'
    returning *
), refused as (
    update requests set refusal = $5::jsonb
    from stopped where order_id = stopped.id and requests.attempt = stopped.attempt and kind = 'complete'
        and requests.refusal is null
), noted as (
    insert into events (kind, subject, body) select 'orders.order_moved', id, $6::jsonb from stopped
)
select * from stopped
"""

EXPIRE: Final = """
with stopped as (
    update orders set state = 'cancelling', cause = 'expired', lease_until = now()
    where id = $1 and state in ('open', 'requires_action', 'review')
    returning id
)
insert into events (kind, subject, body) select 'orders.order_moved', id, $2::jsonb from stopped
"""

END_CANCEL: Final = """
with ended as (
    update orders set state = $3, lease_until = null, payment_token = null, action_url = null
    where id = $1 and fence = $2 and state = 'cancelling'
    returning *
), noted as (
    insert into events (kind, subject, body) select 'orders.order_cancelled', id, $4::jsonb from ended
)
select * from ended
"""

CLEAR: Final = """
with cleared as (
    update orders set state = 'open', cleared = array_append(cleared, cause)
    where id = $1 and state = 'review' and not exists (select from requests where order_id = $1 and idem_key = $2)
    returning *
), keyed as (
    insert into requests (order_id, idem_key, kind, fingerprint, attempt, note, owner)
    select id, $2, 'review', $3, attempt, $5, $6 from cleared
), noted as (
    insert into events (kind, subject, body) select 'orders.order_moved', id, $4::jsonb from cleared
)
select * from cleared
"""


async def open_order(
    q: Queries, order_id: OrderId, *, keyed: Keyed, destination: str, quote: Quote, lease_s: float
) -> bool:
    """Write the order down under its key; False when the key is taken."""
    row = await q.fetchrow(
        OPEN,
        order_id,
        keyed.owner,
        keyed.key,
        keyed.fingerprint,
        destination,
        _json(quote.lines),
        quote.total.currency,
        quote.subtotal.minor,
        quote.tax.minor,
        quote.shipping.minor,
        quote.total.minor,
        lease_s,
    )
    return row is not None


async def opened(
    q: Queries,
    order_id: OrderId,
    fence: int,
    *,
    registered: Registered,
    origins: Sequence[str],
    hold_expires_at: datetime,
    legal: Legal,
    event: Event,
) -> Order | None:
    """The checkout is open; None when the fence was lost."""
    row = await q.fetchrow(
        OPENED,
        order_id,
        fence,
        registered.customer_id,
        registered.address_id,
        list(origins),
        hold_expires_at,
        _json(legal),
        encode_event(event),
    )
    return found(row)


async def refuse_opening(
    q: Queries,
    order_id: OrderId,
    fence: int,
    *,
    state: State,
    cause: str,
    refusal: Refusal,
    keep_key: bool,
    event: Event,
) -> None:
    """Opening failed: refused for good, or (`cancelling`) handed to undoing."""
    await q.execute(
        REFUSE_OPENING, order_id, fence, state, cause, _json(refusal), keep_key, encode_event(event)
    )


async def claim(
    q: Queries,
    order_id: OrderId,
    *,
    keyed: Keyed,
    token: str,
    lease_s: float,
    attempts_max: int,
    event: Event,
) -> Order | None:
    """Take the lease to complete; None when the state, the owner or the key does not allow it."""
    row = await q.fetchrow(
        CLAIM,
        order_id,
        keyed.owner,
        keyed.key,
        keyed.fingerprint,
        token,
        lease_s,
        encode_event(event),
        attempts_max,
    )
    return found(row)


async def claim_stuck(q: Queries, limit: int, lease_s: float) -> list[Order]:
    """Take over orders whose runner's lease ran out."""
    rows = await q.fetch(CLAIM_STUCK, limit, lease_s)
    return [order_of(row) for row in rows]


async def pause(
    q: Queries,
    order_id: OrderId,
    fence: int,
    *,
    state: State,
    cause: str,
    action_url: str | None,
    hold_expires_at: datetime | None,
    event: Event,
) -> Order | None:
    """Completing stops here for now: the buyer's bank or a human is next. None when the fence or the hold was lost:
    the event that ends a checkout with its hold may have passed while it was completing."""
    return found(
        await q.fetchrow(
            PAUSE, order_id, fence, state, cause, action_url, hold_expires_at, encode_event(event)
        )
    )


async def reopen(
    q: Queries, order_id: OrderId, fence: int, *, refusal: Refusal, event: Event
) -> Order | None:
    """The attempt was refused and another card may be tried; the refusal stays the answer of its request. None when
    the fence or the hold was lost."""
    return found(await q.fetchrow(REOPEN, order_id, fence, refusal.code, _json(refusal), encode_event(event)))


async def confirm(
    q: Queries, order_id: OrderId, fence: int, *, payment_id: PaymentId, age_proof: AgeProof, event: Event
) -> Order | None:
    """The order is confirmed; None when the fence was lost."""
    return found(
        await q.fetchrow(CONFIRM, order_id, fence, payment_id, _json(age_proof), encode_event(event))
    )


async def keep_hold(q: Queries, order_id: OrderId, fence: int, hold_expires_at: datetime) -> None:
    """Note until when the bottles are now held."""
    await q.execute(KEEP_HOLD, order_id, fence, hold_expires_at)


async def decided(q: Queries, order_id: OrderId, fence: int, legal: Legal, cleared: Iterable[str]) -> None:
    """Note a newer legal decision, and which reviews still stand under it."""
    await q.execute(DECIDED, order_id, fence, _json(legal), list(cleared))


async def renew_lease(q: Queries, order_id: OrderId, fence: int, lease_s: float) -> Row | None:
    """Let the lease last from now on; None when somebody else has it."""
    return await q.fetchrow(RENEW_LEASE, order_id, fence, lease_s)


async def retry_at(q: Queries, order_id: OrderId, fence: int, wait_s: float) -> None:
    """Let the lease end in `wait_s` seconds, so that the job takes over then."""
    await q.fetchrow(RENEW_LEASE, order_id, fence, wait_s)


async def start_cancel(
    q: Queries,
    order_id: OrderId,
    *,
    before: Sequence[State],
    cause: str,
    lease_s: float,
    event: Event,
    keyed: Keyed | None,
    note: str = "",
) -> Order | None:
    """Take the lease to undo the order; None when it is in none of the states `before`, or the key was used."""
    asked = (None, None, note, None) if keyed is None else (keyed.key, keyed.fingerprint, note, keyed.owner)
    return found(
        await q.fetchrow(START_CANCEL, order_id, list(before), cause, lease_s, encode_event(event), *asked)
    )


async def fail(
    q: Queries, order_id: OrderId, fence: int, *, cause: str, lease_s: float, refusal: Refusal, event: Event
) -> Order | None:
    """Completing met a refusal for good: keep the lease, undo next."""
    return found(await q.fetchrow(FAIL, order_id, fence, cause, lease_s, _json(refusal), encode_event(event)))


async def expire(q: Queries, order_id: OrderId, event: Event) -> None:
    """The hold ran out: hand the order to undoing, unless it is completing or ended."""
    await q.execute(EXPIRE, order_id, encode_event(event))


async def end_cancel(q: Queries, order_id: OrderId, fence: int, state: State, event: Event) -> Order | None:
    """Everything is undone."""
    return found(await q.fetchrow(END_CANCEL, order_id, fence, state, encode_event(event)))


async def clear(q: Queries, order_id: OrderId, *, keyed: Keyed, note: str, event: Event) -> Order | None:
    """A human allowed it: the checkout is open again."""
    asked = (keyed.key, keyed.fingerprint, encode_event(event), note, keyed.owner)
    return found(await q.fetchrow(CLEAR, order_id, *asked))


def _json(value: object) -> str:
    return encode_json(value).decode()
