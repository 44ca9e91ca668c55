-- The append-only log of a slice's facts, and what this slice has read of other logs. Applied in every slice's schema.
set local lock_timeout = '2s';
set local statement_timeout = '60s';

create table events (
    -- The writing transaction: readers stay behind the oldest running one, so a late commit is never skipped.
    xid xid8 not null default pg_current_xact_id(),
    seq bigint generated always as identity,
    kind text not null,
    subject uuid not null,
    body jsonb not null,
    at timestamptz not null default clock_timestamp(),
    primary key (xid, seq)
);

create table subscriptions (
    name text primary key,
    xid bigint not null default 0,
    seq bigint not null default 0,
    attempts integer not null default 0,
    retry_at timestamptz,
    updated_at timestamptz not null default now()
);

create table parked_events (
    subscription text not null,
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
