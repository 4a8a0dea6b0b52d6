-- How long events are kept, and a log that has come to another cluster.

-- name: retention
select extract(epoch from keep)::float8, extract(epoch from force_after)::float8, extract(epoch from inbox_keep)::float8
from pgops.event_retention

-- name: set_retention
update pgops.event_retention
set keep = make_interval(secs => %(keep_s)s), force_after = make_interval(secs => %(force_after_s)s),
    inbox_keep = make_interval(secs => %(inbox_keep_s)s)

-- name: slots
-- The ends of each slot, by the index of transactions; empty ones are left out.
select s.slot, oldest.created_at, newest.created_at, newest.xid::text, statement_timestamp()
from generate_series(0, 31) s (slot)
cross join lateral (
  select created_at from pgops.event_log where slot = s.slot::smallint order by xid, part, id limit 1
) oldest
cross join lateral (
  select created_at, xid from pgops.event_log where slot = s.slot::smallint order by xid desc, part desc, id desc limit 1
) newest
order by oldest.created_at

-- name: slot_ages
-- All of it is read; only of a slot whose ends say that it may go.
select max(created_at) < statement_timestamp() - make_interval(secs => %(keep_s)s::float8), max(xid)::text
from pgops.event_log where slot = %(slot)s

-- name: wait_a_moment
set local lock_timeout = '100ms'

-- name: still_so
-- Under the lock: nothing has come, and whoever had passed it has not gone back.
select (select max(xid) from pgops.event_log where slot = %(slot)s) = %(xid)s::text::xid8
   and (%(forced)s or coalesce((select min(pg_snapshot_xmin(seen)) from pgops.subscription_parts) > %(xid)s::text::xid8,
                               true))

-- name: behind_slot
-- Who has not passed all of a slot, and how much of it, as far as the cap.
select s.name, (
  select count(*) from (
    select from pgops.event_log e join pgops.subscription_parts p on p.part = e.part and p.subscription = s.name
    where e.slot = %(slot)s and e.created_at < statement_timestamp() - make_interval(secs => %(older_than_s)s::float8)
      and not pg_visible_in_snapshot(e.xid, p.seen) and e.id > p.after_id
      and (s.topics is null or e.topic = any(s.topics)) and (s.types is null or e.type = any(s.types))
    limit %(cap)s::bigint + 1) missing)
from pgops.subscriptions s
where (select max(xid) from pgops.event_log where slot = %(slot)s)
      >= (select min(pg_snapshot_xmin(p.seen)) from pgops.subscription_parts p where p.subscription = s.name)
order by s.name

-- name: delete_old
-- Of a slot with events of several days, or that may not be truncated: those that may go, by transaction, so many at a
-- time. What somebody has not passed goes by force alone.
delete from pgops.event_log e using (
  select part, id from pgops.event_log
  where slot = %(slot)s and created_at < statement_timestamp() - make_interval(secs => %(older_than_s)s::float8)
    and (%(forced)s
         or xid < coalesce((select min(pg_snapshot_xmin(seen)) from pgops.subscription_parts), pg_snapshot_xmax(pg_current_snapshot())))
  order by xid, part, id limit %(limit)s
) old
where e.slot = %(slot)s and e.part = old.part and e.id = old.id

-- name: may_truncate
select has_table_privilege(%(table)s, 'truncate')

-- name: purge_inbox
delete from pgops.inbox where ctid = any(array(
  select ctid from pgops.inbox
  where at < statement_timestamp() - (select inbox_keep from pgops.event_retention)
  order by at limit %(limit)s for update skip locked))

-- name: wait_shortly
set local lock_timeout = '5s'

-- name: hold_log
-- Writers wait, and those under way are waited for; readers go on.
lock table pgops.event_log in share row exclusive mode

-- name: hold_cursors
select count(*) from (select from pgops.subscription_parts order by subscription, part for update) held

-- name: home
-- Transaction ids mean something in one cluster, and cursors in one database.
select h.system_identifier = c.system_identifier, h.database_oid = d.oid
from pgops.event_home h, pg_control_system() c, pg_database d where d.datname = current_database()

-- name: place_events
-- Every row a number by who has not passed it, from 3 on, where every cluster's ids begin. The cursors of a part stand
-- in the order of their snapshots; a row stands above all that have not seen it, so that in doubt it is seen twice.
with cursors as materialized (
  select part, array_agg(seen order by rank) as seen, array_agg(passed_to order by rank) as passed_to,
         array_agg(since order by rank) as since, array_agg(since_seen order by rank) as since_seen,
         array_agg(least(rank, 500) order by rank) as ranks
  from (select part, seen, passed_to, since, since_seen,
               dense_rank() over (partition by part
                                  order by pg_snapshot_xmax(seen), (select count(*) from pg_snapshot_xip(seen)) desc) as rank
        from pgops.subscription_parts) ranked
  group by part
)
update pgops.event_log e
set xid = (3 + coalesce((
  select max(c.rank)
  from cursors k
  cross join unnest(k.seen, k.passed_to, k.since, k.since_seen, k.ranks) as c (seen, passed_to, since, since_seen, rank)
  where k.part = e.part
    and not (e.id <= c.passed_to and pg_visible_in_snapshot(e.xid, c.seen))
    and (e.id <= c.passed_to and e.created_at < c.since and pg_visible_in_snapshot(e.xid, c.since_seen)) is not true
), 0))::text::xid8

-- name: place_cursors
-- After the rows: each cursor sees what stands below its own rank. The leases go.
with ranked as materialized (
  select part, subscription,
         least(dense_rank() over (partition by part
                                  order by pg_snapshot_xmax(seen), (select count(*) from pg_snapshot_xip(seen)) desc),
               500) as rank
  from pgops.subscription_parts
)
update pgops.subscription_parts p
set seen = ((3 + r.rank) || ':' || (3 + r.rank) || ':')::pg_snapshot, passed_to = (select last_value from pgops.event_id),
    born = ((3 + r.rank) || ':' || (3 + r.rank) || ':')::pg_snapshot,
    since_seen = null, since = null, replayed = false,
    target = null, after_id = 0, fresh_from = null, fresh_to = null, late_from = null, late_to = null,
    owner = null, token = null, lease_until = null
from ranked r where r.part = p.part and r.subscription = p.subscription

-- name: move_home
update pgops.event_home h
set system_identifier = c.system_identifier, database_oid = d.oid, rebased_at = statement_timestamp()
from pg_control_system() c, pg_database d where d.datname = current_database()

-- name: backlogs
-- What each subscription has still to get, as far as the cap.
select s.name, (
  select count(*) from (
    select from pgops.event_log e join pgops.subscription_parts p on p.part = e.part and p.subscription = s.name
    where e.xid >= pg_snapshot_xmax(p.seen)
      and (s.topics is null or e.topic = any(s.topics)) and (s.types is null or e.type = any(s.types))
    limit %(cap)s::bigint + 1) missing)
from pgops.subscriptions s order by s.name
