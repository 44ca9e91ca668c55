-- Products, their bottlings, and the words by which they are found.
set local lock_timeout = '2s';
set local statement_timeout = '60s';

-- What somebody types and what a label says, made comparable: lower case, no accents (crème, añejo), and one spelling
-- of whiskey, which 27 CFR 5.143 writes without the e and most American distillers with it.
create function folded(words text) returns text
language sql immutable parallel safe strict
return replace(replace(
    regexp_replace(normalize(lower(words), nfkd), U&'[\0300-\036F]', '', 'g'),
    'whiskies', 'whiskeys'), 'whisky', 'whiskey');

-- Stemmed words find "barrels" for "barrel"; plain ones let a half-typed last word find its beginning.
create function indexed(words text, weight "char") returns tsvector
language sql immutable parallel safe strict
return setweight(
    to_tsvector('pg_catalog.english', folded(words)) || to_tsvector('pg_catalog.simple', folded(words)), weight);

create table products (
    product_id uuid primary key,
    name text not null check (length(name) between 1 and 120),
    spirit_class text not null,
    class_type text not null,
    abv_bp integer not null check (abv_bp between 50 and 10000),
    origin text not null,
    producer text not null,
    age_months integer check (age_months between 0 and 1200),
    description text not null,
    cola_id text check (cola_id ~ '^[0-9]{14}$'),
    status text not null default 'draft' check (status in ('draft', 'active', 'archived')),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    search tsvector not null generated always as (
        indexed(name, 'A') || indexed(class_type || ' ' || replace(spirit_class, '_', ' '), 'B')
        || indexed(producer || ' ' || origin, 'C') || indexed(description, 'D')
    ) stored,
    owner text not null,
    idem_key text not null,
    fingerprint bytea not null,
    constraint products_keyed unique (owner, idem_key),
    constraint products_approved check (status <> 'active' or cola_id is not null)
);

create index products_search on products using gin (search);

create table variants (
    variant_id uuid primary key,
    product_id uuid not null references products,
    sku text not null constraint variants_sku unique,
    size_ml integer not null check (size_ml > 0),
    price_minor bigint not null check (price_minor > 0),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    gtin text check (gtin ~ '^([0-9]{8}|[0-9]{12,14})$'),
    weight_g integer not null check (weight_g > 0),
    purchase_limit integer check (purchase_limit > 0),
    release_from timestamptz,
    release_until timestamptz,
    status text not null default 'active' check (status in ('active', 'archived')),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null default now(),
    owner text not null,
    idem_key text not null,
    fingerprint bytea not null,
    constraint variants_keyed unique (owner, idem_key),
    constraint variants_release check (release_from < release_until)
);

create index variants_product on variants (product_id);

-- A GTIN-8, -12 or -13 is the same number as the GTIN-14 with zeros before it (GS1 General Specifications 3.3).
create unique index variants_gtin on variants (lpad(gtin, 14, '0'));

-- A product beside each of its bottlings; once, with nulls, where it has none.
create view listings as
select p.product_id, p.name, p.spirit_class, p.class_type, p.abv_bp, p.origin, p.producer, p.age_months,
    p.description, p.cola_id, p.status, p.version, p.created_at, p.updated_at,
    v.variant_id, v.sku, v.size_ml, v.price_minor, v.currency, v.weight_g, v.gtin, v.purchase_limit,
    v.release_from, v.release_until, v.status as variant_status, v.version as variant_version
from products p left join variants v on v.product_id = p.product_id;
