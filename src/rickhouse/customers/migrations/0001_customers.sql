-- People, each field sealed under the person's own key, and the key store that opens them.
set local lock_timeout = '2s';
set local statement_timeout = '60s';

-- Wrapped keys stand apart, so that they can be kept out of the backups that live long (pg_dump
-- --exclude-schema=customers_keys): whoever forgets a person deletes one row here, and no old copy brings it back.
create schema if not exists customers_keys;
grant usage on schema customers_keys to rickhouse_customers;

-- The keys that every process keeps in memory, wrapped by the key service.
create table customers_keys.keyring (
    -- What the key is for: `people` wraps data keys, the others are of one blind index each.
    purpose text not null,
    version bigint not null,
    -- The key service's key that wrapped this one.
    key_id text not null,
    wrapped bytea not null,
    created_at timestamptz not null default now(),
    primary key (purpose, version),
    constraint keyring_version_fits check (version between 1 and 65535)
);

-- One key per person, wrapped by the keyring. Without its row, a person's fields are noise.
create table customers_keys.data_keys (
    customer_id uuid primary key,
    generation bigint not null,
    keyring_version bigint not null,
    wrapped bytea not null,
    created_at timestamptz not null default now(),
    constraint data_keys_generation_fits check (generation between 1 and 65535)
);

grant select, insert on customers_keys.keyring to rickhouse_customers;
grant select, insert, update, delete on customers_keys.data_keys to rickhouse_customers;

-- Every bytea of these tables is a sealed field or a keyed digest; nothing here is in clear but ids, regions and times.
create table customers (
    customer_id uuid primary key,
    -- E-mail, name and birth date together. Null once the person is forgotten, who may then come as somebody new.
    identity_digest bytea constraint customers_identity unique,
    email_digest bytea,
    name bytea not null,
    email bytea not null,
    phone bytea,
    birth_date bytea not null,
    created_at timestamptz not null default now()
);

create index customers_email on customers (email_digest);

create table addresses (
    address_id uuid primary key,
    customer_id uuid not null constraint addresses_customer references customers,
    digest bytea not null,
    -- ISO 3166-2; its first two letters are the country.
    region text not null,
    line1 bytea not null,
    line2 bytea,
    city bytea not null,
    postal_code bytea,
    created_at timestamptz not null default now(),
    constraint addresses_known unique (customer_id, digest),
    constraint addresses_region_coded check (region ~ '^[A-Z]{2}-[A-Z0-9]{1,3}$')
);

-- Whom an order was opened for: the row that makes a repeated registration find its first answer.
create table registrations (
    order_id uuid primary key,
    customer_id uuid not null,
    address_id uuid not null constraint registrations_address references addresses,
    created_at timestamptz not null default now()
);

-- What bureaus answered. Kept as evidence, so it does not hang on the customer's row.
create table age_proofs (
    customer_id uuid not null,
    minimum_age bigint not null,
    -- Counts the questions that were answered; part of the key under which the bureau is asked.
    attempt bigint not null,
    outcome text not null,
    bureau text not null,
    reference text not null,
    answered_at timestamptz not null default now(),
    primary key (customer_id, minimum_age, attempt),
    constraint age_proofs_outcome_known check (outcome in ('proven', 'refused', 'review')),
    constraint age_proofs_age_positive check (minimum_age > 0)
);

revoke update on age_proofs, registrations from rickhouse_customers;
