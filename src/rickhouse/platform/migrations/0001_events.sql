-- The append-only log of a slice's facts, and what this slice has read of other logs. Applied in every slice's schema.
set local lock_timeout = '2s';
set local statement_timeout = '60s';

-- What this server's transaction numbers lack to follow on those in the log: 0, until a log is restored into another
-- server, whose numbers may be lower. Then `db migrate` raises it.
create function event_offset() returns bigint language sql immutable parallel safe return 0;

create table events (
    -- The writing transaction: readers stay behind the oldest running one, so a late commit is never skipped.
    xid bigint not null default pg_current_xact_id()::text::bigint + event_offset(),
    seq bigint generated always as identity,
    kind text not null check (kind like '%.%'),
    subject uuid not null,
    body jsonb not null check (jsonb_typeof(body) = 'object'),
    at timestamptz not null default clock_timestamp(),
    primary key (xid, seq)
);

-- The last event whose effect is kept here. It moves in the transaction of that effect, so it is the inbox too.
create table subscriptions (
    name text primary key,
    xid bigint not null default 0 check (xid >= 0),
    seq bigint not null default 0 check (seq >= 0),
    -- Of the event behind this position: how often it failed, and when to try again.
    attempts integer not null default 0 check (attempts >= 0),
    retry_at timestamptz,
    updated_at timestamptz not null default now()
);

-- Events that failed too often. The others went on without them.
create table parked_events (
    subscription text not null references subscriptions (name),
    xid bigint not null,
    seq bigint not null,
    kind text not null,
    subject uuid not null,
    body jsonb not null,
    at timestamptz not null,
    error text not null,
    parked_at timestamptz not null default now(),
    primary key (subscription, xid, seq)
);

do $$
begin
    execute format('revoke update, delete on events from %I', 'rickhouse_' || current_schema());
end;
$$;
