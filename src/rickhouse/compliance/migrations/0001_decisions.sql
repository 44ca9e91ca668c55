-- Decisions about sales, and the text of every rule pack that one of them rests on.
set local lock_timeout = '2s';
set local statement_timeout = '60s';

create table packs (
    -- SHA-256 of the text.
    digest bytea primary key check (octet_length(digest) = 32),
    -- A version stands for one text for ever, so that an old decision can be replayed.
    version text not null unique,
    text text not null,
    filed_at timestamptz not null default now()
);

-- `pack_digest` names a row of packs. It is no foreign key: each decision would lock that one row.
create table decisions (
    decision_id uuid primary key,
    order_id uuid not null,
    customer_id uuid not null,
    day date not null,
    pack_version text not null,
    pack_digest bytea not null check (octet_length(pack_digest) = 32),
    -- Places, lines, permits and the yes or no of age. Nothing personal beyond the ids.
    inputs jsonb not null check (jsonb_typeof(inputs) = 'object'),
    -- Over pack, customer and all inputs but the age: the same question about an order is answered once.
    input_digest bytea not null check (octet_length(input_digest) = 16),
    outcome text not null check (outcome in ('allow', 'review', 'deny')),
    reasons jsonb not null check (jsonb_typeof(reasons) = 'array' and jsonb_array_length(reasons) > 0),
    minimum_age integer not null check (minimum_age between 0 and 99),
    decided_at timestamptz not null,
    unique (order_id, input_digest),
    check (outcome = 'deny' or minimum_age > 0)
);

revoke update, delete on packs, decisions from rickhouse_compliance;
