-- Attempts to pay, refunds, and the double-entry ledger of every amount that moved.
set local lock_timeout = '2s';
set local statement_timeout = '60s';

create table attempts (
    payment_id uuid primary key,
    order_id uuid not null,
    -- Attempt 0 is no payment: it is the bar that undoing puts before an order that had nothing to undo.
    attempt integer not null check (attempt between 0 and 20),
    state text not null check (state in (
        'created', 'authorised', 'requires_action', 'declined', 'unknown',
        'captured', 'voided', 'refunded', 'partly_refunded'
    )),
    amount_minor bigint not null,
    currency text not null,
    captured_minor bigint not null default 0,
    -- Refunds asked for, paid or not; with the check below, the lock on what may still be given back.
    promised_minor bigint not null default 0,
    refunded_minor bigint not null default 0,
    -- The gateway's token of the card, only while the authorisation may have to be sent again.
    token text,
    reference text,
    capture_reference text,
    decline_code text,
    action_url text,
    card_brand text,
    card_last4 text,
    created_at timestamptz not null default now(),
    sent_at timestamptz not null default now(),
    sends integer not null default 1,
    -- What the gateway is being asked to do with authorised money; whoever finds it unfinished goes on with it.
    wanted text check (wanted in ('capture', 'void')),
    -- When somebody has to ask the gateway about this attempt, unless its outcome is known before.
    ask_at timestamptz,
    asks integer not null default 0,
    -- Until when a late arrival is looked for, where the gateway could not bar the key.
    watch_until timestamptz,
    -- The order was undone: this row keeps every further attempt out.
    sealed boolean not null default false,
    capture_owner text,
    capture_key text,
    unique (order_id, attempt),
    check (amount_minor > 0 or attempt = 0),
    check (captured_minor between 0 and amount_minor),
    check (promised_minor between 0 and captured_minor),
    check (refunded_minor between 0 and promised_minor),
    check (token is null or state in ('created', 'unknown')),
    check (wanted is null or state = 'authorised'),
    check ((captured_minor > 0) = (state in ('captured', 'partly_refunded', 'refunded'))),
    check ((state = 'refunded') = (captured_minor > 0 and refunded_minor = captured_minor)),
    check ((state = 'partly_refunded') = (refunded_minor between 1 and captured_minor - 1))
);

-- An order has at most one attempt that is open or paid: a second one cannot even begin.
create unique index attempts_live on attempts (order_id)
where sealed or state not in ('declined', 'voided', 'refunded');
create index attempts_due on attempts (ask_at) where ask_at is not null;
create unique index attempts_captured_by on attempts (capture_owner, capture_key) where capture_key is not null;

create table refunds (
    refund_id uuid primary key,
    payment_id uuid not null references attempts (payment_id),
    owner text not null,
    idem_key text not null,
    fingerprint bytea not null,
    amount_minor bigint not null check (amount_minor > 0),
    currency text not null,
    state text not null check (state in ('pending', 'refunded', 'failed')),
    reference text,
    created_at timestamptz not null default now(),
    ask_at timestamptz,
    asks integer not null default 0,
    unique (owner, idem_key),
    check ((ask_at is not null) = (state = 'pending'))
);

create index refunds_of_payment on refunds (payment_id);
create index refunds_due on refunds (ask_at) where ask_at is not null;

-- One row is one movement: an amount from one account to another, which its step names. So postings sum to zero by
-- construction, without a trigger. `movement_id` is the payment, or the refund; the key makes it impossible to post a
-- step twice. There is no foreign key to attempts: each row is written by the statement that moves its attempt, and
-- attempts are never deleted.
create table transfers (
    movement_id uuid not null,
    step text not null,
    payment_id uuid not null,
    debit text not null generated always as (case step
        when 'authorised' then 'customer_funds_authorised'
        when 'released' then 'authorisations_outstanding'
        when 'captured' then 'gateway_receivable'
        when 'refund_promised' then 'sales_clearing'
        when 'refund_paid' then 'refunds_payable'
        when 'refund_failed' then 'refunds_payable'
    end) stored,
    credit text not null generated always as (case step
        when 'authorised' then 'authorisations_outstanding'
        when 'released' then 'customer_funds_authorised'
        when 'captured' then 'sales_clearing'
        when 'refund_promised' then 'refunds_payable'
        when 'refund_paid' then 'gateway_receivable'
        when 'refund_failed' then 'sales_clearing'
    end) stored,
    amount_minor bigint not null check (amount_minor > 0),
    currency text not null,
    at timestamptz not null default now(),
    primary key (movement_id, step)
);

create view postings with (security_invoker = true) as
select movement_id, step, payment_id, debit as account, amount_minor, currency, at from transfers
union all
select movement_id, step, payment_id, credit as account, -amount_minor, currency, at from transfers;

revoke delete on attempts, refunds from rickhouse_payments;
revoke update, delete on transfers from rickhouse_payments;
