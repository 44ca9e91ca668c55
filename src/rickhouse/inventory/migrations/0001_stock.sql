-- Where bottles stand, whom they are kept for, and the ledger of every change.
set local lock_timeout = '2s';
set local statement_timeout = '60s';

create type warehouse_kind as enum ('bonded', 'tax_paid', 'tasting_room');

create table warehouses (
    warehouse_id uuid primary key,
    name text not null constraint warehouses_name unique,
    region text not null,
    kind warehouse_kind not null,
    -- The lower number fills an order first.
    priority bigint not null check (priority >= 0),
    sells boolean not null,
    created_at timestamptz not null default now(),
    owner text not null,
    idem_key text not null,
    fingerprint bytea not null,
    constraint warehouses_keyed unique (owner, idem_key),
    -- Spirits leave bonded premises when their tax has been determined (26 U.S.C. 5006(a)(1) and 5213), never as a
    -- sale: a bottle is moved to a tax-paid warehouse first, and sold from there.
    constraint warehouses_bonded_never_sells check (kind <> 'bonded' or not sells)
);

create table stock (
    variant_id uuid not null,
    warehouse_id uuid not null references warehouses,
    on_hand bigint not null,
    held bigint not null default 0,
    quarantined bigint not null default 0,
    primary key (variant_id, warehouse_id),
    -- The last word against overselling: whatever a statement believed, it cannot commit beyond this.
    constraint stock_adds_up check (held >= 0 and quarantined >= 0 and held + quarantined <= on_hand)
)
-- In a release one row changes thousands of times in minutes; room on its page keeps the changes out of the index.
with (fillfactor = 50);

create type hold_state as enum ('held', 'committed', 'released');

create table holds (
    order_id uuid primary key,
    -- None where the release came before the hold: the row then only stands in that hold's way.
    customer_id uuid,
    state hold_state not null,
    expires_at timestamptz not null,
    constraint holds_customer check (customer_id is not null or state = 'released')
);

create index holds_expiring on holds (expires_at) where state = 'held';

-- Where the bottles of a live or sold hold stand.
create table allocations (
    order_id uuid not null references holds,
    variant_id uuid not null,
    warehouse_id uuid not null,
    quantity bigint not null check (quantity > 0),
    -- Whether they count against what one customer may buy.
    limited boolean not null,
    primary key (order_id, variant_id, warehouse_id)
);

-- How many bottles of a limited variant a customer holds or has bought.
create table allowances (
    customer_id uuid not null,
    variant_id uuid not null,
    taken bigint not null,
    ceiling bigint not null,
    primary key (customer_id, variant_id),
    -- Decides between orders of one customer that race.
    constraint allowances_within_limit check (taken between 0 and ceiling)
);

create type movement_kind as enum (
    'hold', 'release', 'expiry', 'commit',
    'receipt', 'adjustment', 'transfer', 'breakage', 'return', 'quarantine', 'clearance'
);

-- What staff asked for. Its effect stands in the ledger.
create table movement_requests (
    movement_id uuid primary key,
    kind movement_kind not null,
    variant_id uuid not null,
    reason text not null,
    order_id uuid,
    moved_at timestamptz not null,
    owner text not null,
    idem_key text not null,
    fingerprint bytea not null,
    constraint movement_requests_keyed unique (owner, idem_key)
);

-- The ledger: stock is the sum of these rows. A transfer has two.
create table movements (
    seq bigint generated always as identity primary key,
    kind movement_kind not null,
    variant_id uuid not null,
    warehouse_id uuid not null,
    on_hand_delta bigint not null default 0,
    held_delta bigint not null default 0,
    quarantined_delta bigint not null default 0,
    order_id uuid,
    movement_id uuid,
    actor text not null,
    reason text not null default '',
    at timestamptz not null default now(),
    constraint movements_have_a_cause check (order_id is not null or movement_id is not null)
);

create index movements_of_variant on movements (variant_id, seq);
create index movements_of_request on movements (movement_id) where movement_id is not null;

-- A ledger is only ever added to, and a request stands as it was made.
revoke update, delete on movements, movement_requests from rickhouse_inventory;
