-- Events: the transactional outbox, an append-only log and the cursors of those who read it.
--
-- A producer inserts one row in its own transaction, through pgops.outbox or into pgops.event_log: the business
-- change and its event are committed together or not at all. Rows are never updated. Relays read the log for a
-- subscription and hand the events to its sink.
--
-- The order of ids is not the order of commits: a transaction may draw id 7 and commit after id 9 was read. So a
-- cursor is not a number but a snapshot. `seen` is what has been delivered; a relay takes the current snapshot as
-- its `target` and delivers what is visible in target and was not in seen:
--
--     fresh   xid >= xmax(seen)         began after seen was taken
--     late    xid = any(xip(seen))      was still running in seen, and has committed since
--
-- in the order of ids, paged by after_id; when that is through, seen := target. No event is lost to the order of
-- commits, and none waits for a long transaction that has nothing to do with it. Two events of one key keep their
-- order when the application serialises that key's writers, for instance by updating the aggregate first.
--
-- A key belongs to one of 64 parts. Each part has a cursor and a lease of its own, so that relays share the work
-- and a distributed log needs no global order. `token` is the fence: without the living one an advance does nothing.
--
-- The log is a ring of 32 day slots that exist from the start: no DDL runs in operation, and no producer can fail
-- for a missing partition. Retention truncates a slot once all its rows are of one day that is old enough and every
-- cursor has passed them (no row is fresh or late for any part). A reader looks into all 32 and trusts no clock: a
-- transaction may write into the slot of a day that is long over.
--
-- Transaction ids belong to one cluster and mean nothing after a restore into another. A subscription carries the
-- identity of cluster and database, and no part of it is leased where they differ.

create sequence pgops.event_id;

create table pgops.event_log (
  part          smallint    not null generated always as
                              ((coalesce(hashtext(key), uuid_hash(event_id)) & 63)::smallint) stored,
  slot          smallint    not null default ((extract(epoch from statement_timestamp())::bigint / 86400) % 32)::smallint,
  id            bigint      not null default nextval('pgops.event_id'),
  xid           xid8        not null default pg_current_xact_id(),
  event_id      uuid        not null default gen_random_uuid(),
  topic         text        collate "C" not null default 'default',
  key           text        collate "C",
  type          text        collate "C" not null default 'event',
  payload       jsonb       not null,
  headers       jsonb       not null default '{}',
  created_at    timestamptz not null default statement_timestamp(),
  primary key (part, id, slot),
  constraint event_topic_has_1_to_200_bytes check (octet_length(topic) between 1 and 200),
  constraint event_type_has_1_to_200_bytes check (octet_length(type) between 1 and 200),
  constraint event_key_has_up_to_1000_bytes check (octet_length(key) <= 1000),
  constraint event_headers_are_an_object check (jsonb_typeof(headers) = 'object')
) partition by list (slot);

-- n_distinct: one bulk insert must not teach the planner that transactions are few, and a Seq Scan finds them best.
do $$
begin
  for day in 0..31 loop
    execute format('create table pgops.event_log_%s partition of pgops.event_log for values in (%s)',
                   to_char(day, 'FM00'), day);
    execute format('alter table pgops.event_log_%s alter column xid set (n_distinct = -1)', to_char(day, 'FM00'));
  end loop;
end
$$;

-- What is new, for all parts at once: 32 probes open the windows of 64 parts. Through (part, xid) they were 2,048,
-- and an idle look 6 ms instead of 1. The primary key then pages through a part's window.
create index event_log_xid on pgops.event_log (xid, part, id);

-- The door for producers that speak only SQL. It is a plain view, so an insert costs what the table costs:
--     insert into pgops.outbox (aggregate_id, event_type, payload) values ('42', 'order.created', '{"total": 7}');
-- id, aggregatetype, aggregateid and type are the same columns under the names that Debezium's router knows.
create view pgops.outbox as
  select event_id, topic as aggregate_type, key as aggregate_id, type as event_type, payload, headers,
         event_id as id, topic as aggregatetype, key as aggregateid, type, created_at
  from pgops.event_log;

create table pgops.subscriptions (
  name          text        collate "C" primary key,
  topics        text[]      collate "C",                -- null: every topic
  sink          text        not null default '',
  paused        boolean     not null default false,
  created_at    timestamptz not null default statement_timestamp(),
  system_identifier  bigint not null,
  database_oid  oid         not null,
  constraint subscription_name_has_1_to_200_bytes check (octet_length(name) between 1 and 200)
);

-- One cursor and one lease a part. A window is open while target is set: its fresh and its late rows have ids
-- between these bounds, and after_id is how far they have been delivered. lease_until stands in no index, so that
-- every update stays heap-only.
create table pgops.subscription_parts (
  part          smallint    not null check (part between 0 and 63),
  subscription  text        collate "C" not null references pgops.subscriptions (name) on delete cascade,
  owner         text,
  token         bigint,
  lease_until   timestamptz,
  seen          pg_snapshot not null,
  target        pg_snapshot,
  after_id      bigint      not null default 0,
  fresh_from    bigint,
  fresh_to      bigint,
  late_from     bigint,
  late_to       bigint,
  relayed       bigint      not null default 0,
  advanced_at   timestamptz not null default statement_timestamp(),
  primary key (part, subscription)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- The relays that live, so that each knows its fair share of the parts.
create table pgops.relays (
  subscription  text        collate "C" not null references pgops.subscriptions (name) on delete cascade,
  owner         text        not null,
  started_at    timestamptz not null default statement_timestamp(),
  alive_until   timestamptz not null,
  max_parts     integer     not null,
  primary key (subscription, owner)
) with (fillfactor = 50);

-- Events that a sink will not take, and the later events of their keys, which wait behind them: whole copies,
-- so that retention need not wait. `attempts` 0: waits behind an earlier one, and goes on when that one has gone.
create table pgops.parked_events (
  part          smallint    not null,
  subscription  text        collate "C" not null references pgops.subscriptions (name) on delete cascade,
  id            bigint      not null,
  event_id      uuid        not null,
  topic         text        collate "C" not null,
  key           text        collate "C",
  type          text        collate "C" not null,
  payload       jsonb       not null,
  headers       jsonb       not null,
  created_at    timestamptz not null,
  attempts      integer     not null,
  error         text        not null,
  retry         boolean     not null default false,
  parked_at     timestamptz not null default statement_timestamp(),
  primary key (part, subscription, id)
);

create index parked_events_key on pgops.parked_events (part, subscription, key) where key is not null;

-- The consumer's side: insert the event's id in the transaction that acts on it, and a conflict means done before.
create table pgops.inbox (
  consumer      text        collate "C" not null,
  event_id      uuid        not null,
  at            timestamptz not null default statement_timestamp(),
  primary key (consumer, event_id)
);

-- Live pub/sub is NOTIFY. Each message carries a number, so that two equal ones in a transaction stay two, and its
-- payload; one of more than a notification holds (7,999 bytes) waits here for its listeners for an hour. UNLOGGED, as
-- notifications themselves do not survive a crash.
create sequence pgops.pubsub_id;

create unlogged table pgops.pubsub_payloads (
  channel       text        collate "C" not null,
  id            bigint      not null default nextval('pgops.pubsub_id'),
  body          text        not null,
  created_at    timestamptz not null default statement_timestamp(),
  primary key (channel, id)
);
