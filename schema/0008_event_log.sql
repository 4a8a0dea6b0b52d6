-- The event log, continued: what a subscription takes and what becomes of poison, going back in time, keys held by
-- hand, how long events are kept, and whose transaction ids the log carries.

-- Transaction ids belong to the log, and so does the identity of cluster and database in which they mean something.
-- It is looked at whenever a relay leases. After a restore elsewhere the relay stops and says so; rebase gives all rows
-- and cursors new ids that stand in the same relation to each other, and home is where that was done.
create table pgops.event_home (
  only_one      boolean     primary key default true check (only_one),
  system_identifier  bigint not null,
  database_oid  oid         not null,
  rebased_at    timestamptz
);

insert into pgops.event_home (system_identifier, database_oid)
select coalesce(s.system_identifier, c.system_identifier), coalesce(s.database_oid, d.oid)
from pg_control_system() c
join pg_database d on d.datname = current_database()
left join (select system_identifier, database_oid from pgops.subscriptions order by created_at limit 1) s on true;

-- poison: what becomes of an event that its sink will not take after so many attempts. It is put aside in
-- parked_events; with 'park' the later events of its key wait behind it, with 'skip' they go on.
alter table pgops.subscriptions
  drop column system_identifier,
  drop column database_oid,
  add column types    text[]  collate "C",              -- null: every type
  add column poison   text    not null default 'park'
    constraint subscription_poison_is_park_or_skip check (poison in ('park', 'skip')),
  add column attempts integer not null default 5
    constraint subscription_attempts_are_1_to_1000 check (attempts between 1 and 1000);

-- Going back: `seen` is set back to before the time `since`, and until a window has been gone through, of what
-- `since_seen` shows only events made since then count. `replayed`: these were delivered before, but for what `born` shows, which was
-- there before the subscription and never was.
-- passed_to: no event that `seen` shows has an id above it, and no event of a later cluster one up to it, since ids go
-- on where the dump left them. So after a restore it is known what the cursor spoke of.
alter table pgops.subscription_parts
  add column since_seen pg_snapshot,
  add column since      timestamptz,
  add column replayed   boolean not null default false,
  add column born       pg_snapshot not null default '1:1:',
  add column passed_to  bigint  not null default 0;

update pgops.subscription_parts set passed_to = (select last_value from pgops.event_id);

-- Why a relay that lives delivers nothing: its sink cannot be reached.
alter table pgops.relays add column trouble text;

-- Keys that an operator holds back: their events are parked as they come, until the key is let go.
create table pgops.parked_keys (
  part          smallint    not null,
  subscription  text        collate "C" not null references pgops.subscriptions (name) on delete cascade,
  key           text        collate "C" not null,
  reason        text        not null,
  parked_at     timestamptz not null default statement_timestamp(),
  primary key (part, subscription, key)
);

-- Events go when they are older than `keep` and every cursor has passed them; with `force_after` set, from that age on
-- also those that a subscription has not. The ring has room for 31 days.
create table pgops.event_retention (
  only_one      boolean     primary key default true check (only_one),
  keep          interval    not null default '7 days',
  force_after   interval,
  inbox_keep    interval    not null default '30 days',
  constraint retention_keeps_an_hour_to_30_days check (keep between '1 hour' and '30 days'),
  constraint retention_forces_later_than_it_keeps check (force_after between keep and interval '30 days'),
  constraint retention_keeps_the_inbox_an_hour_to_ten_years check (inbox_keep between '1 hour' and '10 years')
);

insert into pgops.event_retention default values;

create index inbox_at on pgops.inbox (at);

-- The youngest snapshot that shows no event made since then. What still runs may have made one. It reads the slots of
-- those days and no other; without `offset 0` it would walk up the index of transactions through all 32.
create function pgops.snapshot_before(since timestamptz) returns pg_snapshot
language sql stable as $$
  select format('%s:%1$s:', least(pg_snapshot_xmin(pg_current_snapshot()), (
    select min(made.xid)
    from generate_series(
      extract(epoch from greatest(since, statement_timestamp() - interval '32 days'))::bigint / 86400,
      extract(epoch from statement_timestamp())::bigint / 86400 + 1) as day
    cross join lateral (
      select xid from pgops.event_log where slot = (day % 32)::smallint and created_at >= since offset 0
    ) made
  )))::pg_snapshot
$$;
