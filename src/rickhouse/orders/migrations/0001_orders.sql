-- Orders: one row from the first quote to the end, and the requests that moved it. The event log is the timeline.
set local lock_timeout = '2s';
set local statement_timeout = '60s';

create table orders (
    id uuid primary key,
    owner text not null,
    -- Freed (null) when opening was interrupted, so that the caller's repeat starts anew.
    idem_key text,
    fingerprint bytea not null,
    state text not null check (state in (
        'opening', 'open', 'completing', 'requires_action', 'review',
        'confirmed', 'cancelling', 'cancelled', 'expired', 'refused'
    )),
    cause text not null default '',
    refusal jsonb,
    customer_id uuid,
    address_id uuid,
    destination text not null,
    origins text[] not null default '{}',
    lines jsonb not null,
    currency text not null,
    subtotal_minor bigint not null check (subtotal_minor >= 0),
    tax_minor bigint not null check (tax_minor >= 0),
    shipping_minor bigint not null check (shipping_minor >= 0),
    total_minor bigint not null check (total_minor = subtotal_minor + tax_minor + shipping_minor),
    hold_expires_at timestamptz,
    decision jsonb,
    -- The bureau's answer that the sale went through on: outcome, age, its reference.
    age_proof jsonb,
    -- The causes of review (legal_review, age_review) that a human has settled, each for itself.
    cleared text[] not null default '{}',
    attempt integer not null default 0,
    -- The gateway's token, only while a payment is under way; never a card number.
    payment_token text,
    payment_id uuid,
    action_url text,
    -- The runner's lease, and the fence that a runner whose lease ran out can no longer pass.
    lease_until timestamptz,
    fence integer not null default 0,
    created_at timestamptz not null default now(),
    placed_at timestamptz,
    unique (owner, idem_key),
    check (lease_until is null or state in ('opening', 'completing', 'cancelling')),
    check (state <> 'confirmed' or (payment_id is not null and placed_at is not null)),
    check (state in ('opening', 'refused', 'cancelling', 'cancelled') or customer_id is not null)
) with (fillfactor = 70);

-- The last word on the state machine, whatever a statement believed; `orders/model.py` tells the same, by a test.
create function require_transition() returns trigger language plpgsql as $$
begin
    if not new.state = any (case old.state
        when 'opening' then array['open', 'refused', 'cancelling']
        when 'open' then array['completing', 'cancelling']
        when 'completing' then array['open', 'requires_action', 'review', 'confirmed', 'cancelling']
        when 'requires_action' then array['completing', 'cancelling']
        when 'review' then array['open', 'cancelling']
        when 'confirmed' then array['cancelling']
        when 'cancelling' then array['cancelled', 'expired', 'refused']
        else array[]::text[]
    end) then
        raise check_violation using message = format('an order that is %s cannot become %s', old.state, new.state);
    end if;
    return new;
end
$$;

create trigger orders_transition before update of state on orders
for each row when (old.state is distinct from new.state) execute function require_transition();

create index orders_leased on orders (lease_until) where lease_until is not null;
create index orders_in_review on orders (id) where state = 'review';
create index orders_placed on orders (id) where placed_at is not null;
create index orders_owned on orders (owner, id);
-- The log was made with this schema, moments ago: it is empty.
-- squawk-ignore require-concurrent-index-creation
create index events_by_order on events (subject, seq);

-- Requests under an idempotency key that moved an existing order: completions and cancellations.
create table requests (
    order_id uuid not null references orders (id),
    idem_key text not null,
    kind text not null check (kind in ('complete', 'cancel', 'review')),
    fingerprint bytea not null,
    attempt integer not null,
    -- The refusal that this request met; null while it runs and when it succeeded.
    refusal jsonb,
    -- Who asked, and what the human who settled a review has looked at.
    owner text not null,
    note text not null default '',
    at timestamptz not null default now(),
    primary key (order_id, idem_key)
);
