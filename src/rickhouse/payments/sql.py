"""Every SQL statement of the payments slice. Deciding which one to run belongs to the service.

Each change of state is one statement: a conditional update on the states it may start from, with its postings and its
event in the same commit. It answers whether it moved the attempt, so that the loser of a race learns that it lost.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import asyncpg

from rickhouse.kernel.errors import KeyReused
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import OrderId, PaymentId, RefundId
from rickhouse.kernel.money import Money
from rickhouse.payments.contract import PaymentAuthorised, PaymentCaptured, PaymentRefunded, PaymentVoided
from rickhouse.payments.model import Attempt, Discrepancy, RefundRow, sources
from rickhouse.payments.port import Card, Standing
from rickhouse.platform.db import Queries, Row
from rickhouse.platform.events import encode

INSERT_ATTEMPT: Final = """
insert into attempts (payment_id, order_id, attempt, state, amount_minor, currency, token, ask_at)
values ($1, $2, $3, 'created', $4, $5, $6, now() + $7 * interval '1 second')
on conflict do nothing
returning created_at
"""

FIND_ATTEMPT: Final = (
    "select *, now() as read_at from attempts where order_id = $1 and attempt = $2 and attempt > 0"
)

FIND_PAYMENT: Final = "select *, now() as read_at from attempts where payment_id = $1 and attempt > 0"

FIND_LIVE: Final = """
select *, now() as read_at from attempts
where order_id = $1 and (sealed or state not in ('declined', 'voided', 'refunded'))
"""

LIST_ATTEMPTS: Final = """
select *, now() as read_at from attempts where order_id = $1 and attempt > 0 order by attempt
"""

LIST_SINCE: Final = "select *, now() as read_at from attempts where attempt > 0 and created_at >= $1"

SEND_AGAIN: Final = """
update attempts set sends = sends + 1, sent_at = now(), ask_at = now() + $3 * interval '1 second'
where payment_id = $1 and sends = $2 and state in ('created', 'unknown')
returning payment_id
"""

UNKNOWN: Final = """
update attempts set state = 'unknown', ask_at = now() + interval '1 second', asks = 0
where payment_id = $1 and state = any($2)
returning payment_id
"""

AUTHORISED: Final = """
with moved as (
    update attempts
    set state = 'authorised', reference = $3, card_brand = $4, card_last4 = $5, token = null, action_url = null,
        ask_at = null
    where payment_id = $1 and state = any($2)
    returning payment_id, amount_minor, currency
), posted as (
    insert into transfers (movement_id, step, payment_id, amount_minor, currency)
    select payment_id, 'authorised', payment_id, amount_minor, currency from moved
), told as (
    insert into events (kind, subject, body) select 'payments.payment_authorised', payment_id, $6::jsonb from moved
)
select payment_id from moved
"""

CHALLENGED: Final = """
update attempts
set state = 'requires_action', reference = $3, card_brand = $4, card_last4 = $5, action_url = $6, token = null,
    ask_at = now() + interval '30 seconds', asks = 5
where payment_id = $1 and state = any($2)
returning payment_id
"""

DECLINED: Final = """
update attempts
set state = 'declined', decline_code = $3, reference = coalesce($4, reference), card_brand = coalesce($5, card_brand),
    card_last4 = coalesce($6, card_last4), token = null, action_url = null, asks = 0,
    ask_at = case when $7::float8 > 0 then now() + interval '2 seconds' end,
    watch_until = case when $7::float8 > 0 then now() + $7 * interval '1 second' end
where payment_id = $1 and state = any($2)
returning payment_id
"""

VOIDED: Final = """
with before as materialized (
    select payment_id, state, amount_minor, currency from attempts
    where payment_id = $1 and state = any($2)
    for update
), moved as (
    update attempts
    set state = 'voided', token = null, action_url = null, wanted = null, asks = 0,
        ask_at = case when $3::float8 > 0 then now() + interval '2 seconds' end,
        watch_until = case when $3::float8 > 0 then now() + $3 * interval '1 second' end
    from before where attempts.payment_id = before.payment_id
    returning attempts.payment_id
), posted as (
    insert into transfers (movement_id, step, payment_id, amount_minor, currency)
    select payment_id, 'released', payment_id, amount_minor, currency from before where state = 'authorised'
), told as (
    insert into events (kind, subject, body)
    select 'payments.payment_voided', payment_id, $4::jsonb from before where state = 'authorised'
)
select payment_id from moved
"""

WANT: Final = """
update attempts
set wanted = $2, ask_at = now() + $3 * interval '1 second', asks = 0,
    capture_owner = coalesce(capture_owner, $4), capture_key = coalesce(capture_key, $5)
where payment_id = $1 and state = 'authorised' and (wanted is distinct from 'void' or $2 = 'void')
returning payment_id
"""

UNWANT: Final = """
update attempts set wanted = null, ask_at = null
where payment_id = $1 and state = 'authorised' and wanted = 'capture'
returning payment_id
"""

CAPTURED: Final = """
with moved as (
    update attempts
    set state = 'captured', captured_minor = $3, capture_reference = $4, wanted = null, ask_at = null
    where payment_id = $1 and state = any($2)
    returning payment_id, amount_minor, captured_minor, currency
), posted as (
    insert into transfers (movement_id, step, payment_id, amount_minor, currency)
    select payment_id, 'released', payment_id, amount_minor, currency from moved
    union all
    select payment_id, 'captured', payment_id, captured_minor, currency from moved
), told as (
    insert into events (kind, subject, body) select 'payments.payment_captured', payment_id, $5::jsonb from moved
)
select payment_id from moved
"""

SEAL: Final = """
with sealed as (
    update attempts set sealed = true
    where order_id = $1 and (sealed or state not in ('declined', 'voided', 'refunded'))
    returning order_id
), barred as (
    insert into attempts (payment_id, order_id, attempt, state, amount_minor, currency, sealed)
    select $2, $1, 0, 'voided', 0, 'XXX', true where not exists (select from sealed)
    on conflict do nothing
    returning order_id
)
select order_id from sealed union all select order_id from barred
"""

WATCH: Final = """
update attempts set ask_at = now(), asks = 0, watch_until = now() + $2 * interval '1 second'
where payment_id = $1 and state in ('declined', 'voided')
returning payment_id
"""

CLAIM_DUE: Final = """
update attempts
set asks = asks + 1,
    ask_at = case when state in ('created', 'unknown', 'requires_action') or wanted is not null or watch_until > now()
        then now() + least(300, 2 ^ least(asks, 9)) * interval '1 second' end
where payment_id in (
    select payment_id from attempts where ask_at <= now() order by ask_at limit $1 for update skip locked
)
returning *, now() as read_at
"""

PROMISE_REFUND: Final = """
with locked as materialized (
    select payment_id, currency, captured_minor - promised_minor as refundable_minor from attempts
    where payment_id = $2 and state in ('captured', 'partly_refunded')
    for update
), kept as (
    insert into refunds (refund_id, payment_id, owner, idem_key, fingerprint, amount_minor, currency, state, ask_at)
    select $1, payment_id, $3, $4, $5, coalesce($6, refundable_minor), currency, 'pending',
        now() + $7 * interval '1 second'
    from locked where coalesce($6, refundable_minor) between 1 and refundable_minor
    on conflict (owner, idem_key) do nothing
    returning *
), promised as (
    update attempts set promised_minor = promised_minor + kept.amount_minor
    from kept where attempts.payment_id = kept.payment_id
), posted as (
    insert into transfers (movement_id, step, payment_id, amount_minor, currency)
    select refund_id, 'refund_promised', payment_id, amount_minor, currency from kept
)
select * from kept
"""

FIND_REFUND: Final = "select * from refunds where owner = $1 and idem_key = $2"

LIST_PENDING_REFUNDS: Final = """
select * from refunds where payment_id = $1 and state = 'pending' order by created_at, refund_id
"""

CLAIM_DUE_REFUNDS: Final = """
update refunds set asks = asks + 1, ask_at = now() + least(300, 2 ^ least(asks, 9)) * interval '1 second'
where refund_id in (
    select refund_id from refunds where ask_at <= now() order by ask_at limit $1 for update skip locked
)
returning *
"""

REFUND_ACCEPTED: Final = (
    "update refunds set reference = $2 where refund_id = $1 and state = 'pending' returning *"
)

REFUND_PAID: Final = """
with paid as (
    update refunds set state = 'refunded', reference = $2, ask_at = null
    where refund_id = $1 and state = 'pending'
    returning *
), moved as (
    update attempts
    set refunded_minor = refunded_minor + paid.amount_minor,
        state = case when refunded_minor + paid.amount_minor = captured_minor then 'refunded' else 'partly_refunded' end
    from paid where attempts.payment_id = paid.payment_id
), posted as (
    insert into transfers (movement_id, step, payment_id, amount_minor, currency)
    select refund_id, 'refund_paid', payment_id, amount_minor, currency from paid
), told as (
    insert into events (kind, subject, body) select 'payments.payment_refunded', payment_id, $3::jsonb from paid
)
select * from paid
"""

REFUND_FAILED: Final = """
with failed as (
    update refunds set state = 'failed', ask_at = null where refund_id = $1 and state = 'pending' returning *
), given_up as (
    update attempts set promised_minor = promised_minor - failed.amount_minor
    from failed where attempts.payment_id = failed.payment_id
), posted as (
    insert into transfers (movement_id, step, payment_id, amount_minor, currency)
    select refund_id, 'refund_failed', payment_id, amount_minor, currency from failed
)
select * from failed
"""

VERIFY: Final = """
with booked as (
    select payment_id, account, currency, sum(amount_minor) as minor
    from postings group by payment_id, account, currency
), due as (
    select payment_id, balance.account, currency, balance.minor
    from attempts, lateral (values
        ('customer_funds_authorised', case when state = 'authorised' then amount_minor else 0 end),
        ('authorisations_outstanding', case when state = 'authorised' then -amount_minor else 0 end),
        ('gateway_receivable', captured_minor - refunded_minor),
        ('sales_clearing', promised_minor - captured_minor),
        ('refunds_payable', refunded_minor - promised_minor)
    ) as balance (account, minor)
    where attempt > 0
)
select payment_id::text as subject, account as what, due.minor::text as ours, booked.minor::text as theirs
from due full join booked using (payment_id, account, currency)
where coalesce(due.minor, 0) <> coalesce(booked.minor, 0)
union all
select movement_id::text, 'sum of ' || step, '0', sum(amount_minor)::text
from postings group by movement_id, step, currency having sum(amount_minor) <> 0
union all
select attempts.payment_id::text, 'refunds', format('%s, %s paid', promised_minor, refunded_minor),
    format('%s, %s paid', given.promised, given.paid)
from attempts, lateral (
    select coalesce(sum(refunds.amount_minor) filter (where refunds.state <> 'failed'), 0) as promised,
        coalesce(sum(refunds.amount_minor) filter (where refunds.state = 'refunded'), 0) as paid
    from refunds where refunds.payment_id = attempts.payment_id
) as given
where (promised_minor, refunded_minor) <> (given.promised, given.paid)
order by 1, 2
"""


async def begin(
    q: Queries, order_id: OrderId, number: int, amount: Money, token: str, ask_after_s: float
) -> Attempt | None:
    """Store a new attempt; None when the order already has it, or has another one that is open or paid."""
    payment_id = PaymentId.new()
    named = (payment_id, order_id, number)
    row = await q.fetchrow(INSERT_ATTEMPT, *named, amount.minor, amount.currency, token, ask_after_s)
    if row is None:
        return None
    return Attempt(
        payment_id=payment_id,
        order_id=order_id,
        attempt=number,
        state="created",
        amount=amount,
        created_at=row["created_at"],
        token=token,
    )


async def find_attempt(q: Queries, order_id: OrderId, attempt: int) -> Attempt | None:
    """One attempt of an order."""
    return _maybe(await q.fetchrow(FIND_ATTEMPT, order_id, attempt))


async def find_payment(q: Queries, payment_id: PaymentId) -> Attempt | None:
    """An attempt by its id."""
    return _maybe(await q.fetchrow(FIND_PAYMENT, payment_id))


async def find_live(q: Queries, order_id: OrderId) -> Attempt | None:
    """What keeps others out: the order's attempt that is open or paid, or the bar of an order that was undone."""
    return _maybe(await q.fetchrow(FIND_LIVE, order_id))


async def list_attempts(q: Queries, order_id: OrderId) -> tuple[Attempt, ...]:
    """Every attempt of an order, first to last."""
    return tuple(map(_attempt, await q.fetch(LIST_ATTEMPTS, order_id)))


async def list_since(q: Queries, since: datetime) -> tuple[Attempt, ...]:
    """Every attempt begun at `since` or later."""
    return tuple(map(_attempt, await q.fetch(LIST_SINCE, since)))


async def send_again(q: Queries, attempt: Attempt, ask_after_s: float) -> bool:
    """Count one more sending; of many callers at once, one is told yes."""
    return await q.fetchrow(SEND_AGAIN, attempt.payment_id, attempt.sends, ask_after_s) is not None


async def unknown(q: Queries, attempt: Attempt) -> bool:
    """The gateway was asked, and its answer is not known."""
    return await q.fetchrow(UNKNOWN, attempt.payment_id, sources("unknown")) is not None


async def authorised(q: Queries, attempt: Attempt, standing: Standing) -> bool:
    """The money is set aside: state, posting and event."""
    body = encode(
        PaymentAuthorised(payment_id=attempt.payment_id, order_id=attempt.order_id, amount=attempt.amount)
    )
    shown = _shown(standing.card)
    row = await q.fetchrow(
        AUTHORISED, attempt.payment_id, sources("authorised"), standing.reference, *shown, body
    )
    return row is not None


async def challenged(q: Queries, attempt: Attempt, standing: Standing) -> bool:
    """The buyer has to go to his bank first."""
    before, shown = sources("requires_action"), _shown(standing.card)
    row = await q.fetchrow(
        CHALLENGED, attempt.payment_id, before, standing.reference, *shown, standing.action_url
    )
    return row is not None


async def declined(
    q: Queries, attempt: Attempt, code: str, *, standing: Standing | None = None, watch_s: float = 0.0
) -> bool:
    """No money was set aside. With `watch_s`, late arrivals are looked for that long."""
    reference, card = (None, None) if standing is None else (standing.reference, standing.card)
    before, shown = sources("declined"), _shown(card)
    return (
        await q.fetchrow(DECLINED, attempt.payment_id, before, code, reference, *shown, watch_s) is not None
    )


async def voided(q: Queries, attempt: Attempt, *, watch_s: float = 0.0) -> bool:
    """Nothing is set aside any more; what was is posted back. `watch_s` as in `declined`."""
    body = encode(PaymentVoided(payment_id=attempt.payment_id, order_id=attempt.order_id))
    return await q.fetchrow(VOIDED, attempt.payment_id, sources("voided"), watch_s, body) is not None


async def want(
    q: Queries,
    attempt: Attempt,
    wanted: Literal["capture", "void"],
    ask_after_s: float,
    keyed: Keyed | None = None,
) -> bool:
    """Note what the gateway is about to be asked; once it is to let go, nothing is captured any more.

    Raises KeyReused when the key has captured another payment.
    """
    owner, key = (None, None) if keyed is None else (keyed.owner, keyed.key)
    try:
        return await q.fetchrow(WANT, attempt.payment_id, wanted, ask_after_s, owner, key) is not None
    except asyncpg.UniqueViolationError as error:
        raise KeyReused("This Idempotency-Key came before with another request; choose a new key.") from error


async def give_up_capture(q: Queries, attempt: Attempt) -> bool:
    """The gateway will not take the money, for good; it stays set aside."""
    return await q.fetchrow(UNWANT, attempt.payment_id) is not None


async def captured(q: Queries, attempt: Attempt, taken: Money, reference: str | None) -> bool:
    """The money is taken, the rest let go of: state, postings and event."""
    body = encode(PaymentCaptured(payment_id=attempt.payment_id, order_id=attempt.order_id, amount=taken))
    before = sources("captured")
    return await q.fetchrow(CAPTURED, attempt.payment_id, before, taken.minor, reference, body) is not None


async def seal(q: Queries, order_id: OrderId) -> bool:
    """Keep every further attempt of the order out; False when one began at this moment: then seal again."""
    return await q.fetchrow(SEAL, order_id, PaymentId.new()) is not None


async def watch(q: Queries, attempt: Attempt, watch_s: float) -> bool:
    """Something arrived late and could not be voided yet."""
    return await q.fetchrow(WATCH, attempt.payment_id, watch_s) is not None


async def claim_due(q: Queries, limit: int) -> tuple[Attempt, ...]:
    """Attempts about which the gateway has to be asked now; nobody else is given them until their next time."""
    return tuple(map(_attempt, await q.fetch(CLAIM_DUE, limit)))


async def promise_refund(
    q: Queries, attempt: Attempt, amount: Money | None, keyed: Keyed, ask_after_s: float
) -> RefundRow | None:
    """Promise to give `amount` back, or all that is left of it; None when there is not so much, or the key was used."""
    minor = None if amount is None else amount.minor
    named = (RefundId.new(), attempt.payment_id, keyed.owner, keyed.key, keyed.fingerprint)
    return _maybe_refund(await q.fetchrow(PROMISE_REFUND, *named, minor, ask_after_s))


async def find_refund(q: Queries, keyed: Keyed) -> RefundRow | None:
    """The refund that was asked for under a key."""
    return _maybe_refund(await q.fetchrow(FIND_REFUND, keyed.owner, keyed.key))


async def list_pending_refunds(q: Queries, attempt: Attempt) -> tuple[RefundRow, ...]:
    """Refunds that were promised and are not paid yet."""
    return tuple(map(_refund, await q.fetch(LIST_PENDING_REFUNDS, attempt.payment_id)))


async def claim_due_refunds(q: Queries, limit: int) -> tuple[RefundRow, ...]:
    """Pending refunds to go on with; nobody else is given them until their next time."""
    return tuple(map(_refund, await q.fetch(CLAIM_DUE_REFUNDS, limit)))


async def refund_accepted(q: Queries, refund: RefundRow, reference: str) -> RefundRow | None:
    """The gateway took it on, and has not paid it yet. This and the next two answer None when it was settled before."""
    return _maybe_refund(await q.fetchrow(REFUND_ACCEPTED, refund.refund_id, reference))


async def refund_paid(q: Queries, attempt: Attempt, refund: RefundRow, reference: str) -> RefundRow | None:
    """The money went back: refund, attempt, posting and event."""
    body = encode(
        PaymentRefunded(payment_id=refund.payment_id, order_id=attempt.order_id, amount=refund.amount)
    )
    return _maybe_refund(await q.fetchrow(REFUND_PAID, refund.refund_id, reference, body))


async def refund_failed(q: Queries, refund: RefundRow) -> RefundRow | None:
    """The gateway will not give this back: the promise ends."""
    return _maybe_refund(await q.fetchrow(REFUND_FAILED, refund.refund_id))


async def verify(q: Queries) -> tuple[Discrepancy, ...]:
    """Every payment whose postings are not what its state says, and every movement that does not sum to zero."""
    return tuple(Discrepancy(**row) for row in await q.fetch(VERIFY))


def _shown(card: Card | None) -> tuple[str | None, str | None]:
    return (None, None) if card is None else (card.brand, card.last4)


def _maybe(row: Row | None) -> Attempt | None:
    return None if row is None else _attempt(row)


def _attempt(row: Row) -> Attempt:
    values = {name: row[name] for name in Attempt.__struct_fields__ if name in row}
    values["payment_id"], values["order_id"] = PaymentId(row["payment_id"]), OrderId(row["order_id"])
    values["amount"] = Money(row["amount_minor"], row["currency"])
    values["silent_s"] = (row["read_at"] - row["sent_at"]).total_seconds()
    values["age_s"] = (row["read_at"] - row["created_at"]).total_seconds()
    return Attempt(**values)


def _maybe_refund(row: Row | None) -> RefundRow | None:
    return None if row is None else _refund(row)


def _refund(row: Row) -> RefundRow:
    return RefundRow(
        refund_id=RefundId(row["refund_id"]),
        payment_id=PaymentId(row["payment_id"]),
        amount=Money(row["amount_minor"], row["currency"]),
        **{name: row[name] for name in ("state", "fingerprint", "created_at", "reference")},
    )
