-- The statements of subscriptions. `part` is the distribution column; the cursor is told in schema/0003_events.sql.

-- name: settle
-- A log that nobody has a cursor in is at home in any database of its cluster, and an empty one anywhere.
update pgops.event_home h set system_identifier = c.system_identifier, database_oid = d.oid
from pg_control_system() c, pg_database d
where d.datname = current_database() and (h.system_identifier <> c.system_identifier or h.database_oid <> d.oid)
  and not exists (select from pgops.subscriptions)
  and (h.system_identifier = c.system_identifier or not exists (select from pgops.event_log))

-- name: subscribe
-- 64 cursors: before everything, before what was made since a moment, or after all that is visible now; nothing where
-- the name exists.
with made as (
  insert into pgops.subscriptions (name, topics, types, sink, poison, attempts)
  values (%(name)s, %(topics)s, %(types)s, %(sink)s, %(poison)s, %(attempts)s)
  on conflict (name) do nothing
  returning name
), start as materialized (
  select case when %(beginning)s then pg_snapshot '1:1:'
              when %(since)s::timestamptz is null then pg_current_snapshot()
              else pgops.snapshot_before(%(since)s) end as seen
  from made
)
insert into pgops.subscription_parts (part, subscription, seen, born, since_seen, since, passed_to)
select part, name, start.seen, start.seen, case when %(since)s::timestamptz is not null then pg_current_snapshot() end, %(since)s,
       (select last_value from pgops.event_id)
from made cross join start cross join generate_series(0, 63) part

-- name: unsubscribe
-- Its cursors, relays and parked events go with it. A relay has parts locked when it parks, so they come first.
with held as materialized (
  select part from pgops.subscription_parts where subscription = %(name)s order by part for update
)
delete from pgops.subscriptions where name = %(name)s and (select count(*) from held) >= 0

-- name: list_subscriptions
-- All of them, or the one that is named; sums over 64 rows each.
select s.name, s.topics, s.types, s.sink, s.poison, s.attempts, s.paused, s.created_at, p.relayed, p.advanced_at,
       k.parked, h.held_keys, p.replaying, p.owners
from pgops.subscriptions s
cross join lateral (
  select sum(relayed)::bigint as relayed, max(advanced_at) as advanced_at, bool_or(replayed) as replaying,
         array_agg(distinct owner) filter (where lease_until >= statement_timestamp()) as owners
  from pgops.subscription_parts where subscription = s.name
) p
cross join lateral (
  select count(*) as parked from pgops.parked_events where subscription = s.name
) k
cross join lateral (
  select count(*) as held_keys from pgops.parked_keys where subscription = s.name
) h
where %(name)s::text is null or s.name = %(name)s
order by s.name

-- name: list_parts
-- `waiting`: events parked in it.
select p.part, case when p.lease_until >= statement_timestamp() then p.owner end, p.lease_until, p.target is not null,
       p.replayed, p.relayed, p.advanced_at,
       (select count(*) from pgops.parked_events k where k.part = p.part and k.subscription = p.subscription)
from pgops.subscription_parts p where p.subscription = %(name)s order by p.part

-- name: replay
-- Back to before what was made since then; never forward over what is still to come, nor over the moment of a start that
-- has not been gone through. The leases go, so that what is under way cannot move the cursor on.
with start as materialized (
  select pg_snapshot_xmin(pgops.snapshot_before(%(since)s)) as xid
), held as materialized (
  select part from pgops.subscription_parts where subscription = %(name)s order by part for update
)
update pgops.subscription_parts p
set seen = (least(start.xid, pg_snapshot_xmin(p.seen)) || ':' || least(start.xid, pg_snapshot_xmin(p.seen)) || ':')::pg_snapshot,
    since_seen = coalesce(p.since_seen, p.seen), replayed = p.since_seen is null or p.replayed,
    since = case when p.since_seen is null or p.replayed then %(since)s else least(p.since, %(since)s) end,
    target = null, after_id = 0, fresh_from = null, fresh_to = null, late_from = null, late_to = null,
    owner = null, token = null, lease_until = null
from start cross join held h where p.part = h.part and p.subscription = %(name)s

-- name: count_since
-- What was made since then and has been passed by, as far as the cap. The function is dear: once, and not a probe.
with start as materialized (
  select pg_snapshot_xmin(pgops.snapshot_before(%(since)s)) as xid
)
select count(*) from (
  select from pgops.event_log e
  join pgops.subscriptions s on s.name = %(name)s
  join pgops.subscription_parts p on p.subscription = s.name and p.part = e.part
  where e.xid >= (select xid from start) and e.created_at >= %(since)s
    and pg_visible_in_snapshot(e.xid, p.seen)
    and (s.topics is null or e.topic = any(s.topics)) and (s.types is null or e.type = any(s.types))
  limit %(cap)s::bigint + 1
) passed

-- name: pause_subscription
update pgops.subscriptions set paused = %(paused)s where name = %(name)s

-- name: list_parked
select part, id, event_id, topic, key, type, payload::text, headers::text, created_at, attempts, error, parked_at
from pgops.parked_events
where subscription = %(subscription)s
order by part, id limit %(limit)s

-- name: retry_parked
-- A key goes as a whole, so that its order holds; the relay does the rest.
with held as materialized (
  select part, id from pgops.parked_events
  where subscription = %(subscription)s and attempts > 0 and (%(key)s::text is null or key = %(key)s)
  order by part, id for update
)
update pgops.parked_events k set retry = true
from held h where k.part = h.part and k.subscription = %(subscription)s and k.id = h.id

-- name: discard_parked
with held as materialized (
  select part, id from pgops.parked_events where subscription = %(subscription)s and id = any(%(ids)s)
  order by part, id for update
)
delete from pgops.parked_events k using held h
where k.part = h.part and k.subscription = %(subscription)s and k.id = h.id

-- name: park_key
insert into pgops.parked_keys (part, subscription, key, reason)
values ((hashtext(%(key)s::text) & 63)::smallint, %(subscription)s, %(key)s, %(reason)s)
on conflict (part, subscription, key) do nothing

-- name: unpark_key
delete from pgops.parked_keys
where part = (hashtext(%(key)s::text) & 63)::smallint and subscription = %(subscription)s and key = %(key)s

-- name: list_parked_keys
select part, key, reason, parked_at,
       (select count(*) from pgops.parked_events k
        where k.part = h.part and k.subscription = h.subscription and k.key = h.key)
from pgops.parked_keys h where subscription = %(subscription)s order by parked_at

-- name: lag
-- A capped look at the transactions that the slowest part has not seen, oldest first; whatever is late on top. Where all
-- of these are delivered, since a window is wider than the look, what its parts have still to page through is counted.
with cursors as materialized (
  select p.part, p.after_id, p.target is not null as is_open, p.fresh_to, s.topics, s.types, p.since, p.since_seen,
         pg_snapshot_xmax(p.seen) as seen_xmax,
         array(select xid from pg_snapshot_xip(p.seen) xid where pg_visible_in_snapshot(xid, now.snapshot)) as ended,
         now.snapshot
  from pgops.subscriptions s
  join pgops.subscription_parts p on p.subscription = s.name
  cross join (select pg_current_snapshot() as snapshot) now
  where s.name = %(name)s
), fresh as materialized (
  select part, xid, id, topic, type, created_at from pgops.event_log
  where xid >= (select min(seen_xmax) from cursors) and xid < (select max(pg_snapshot_xmax(snapshot)) from cursors)
  order by xid limit %(cap)s + 1
), late as materialized (
  select part, xid, id, topic, type, created_at from pgops.event_log
  where xid = any(array(select unnest(ended) from cursors))
  limit %(cap)s + 1
), behind as (
  select e.created_at from fresh e join cursors c on c.part = e.part
  where e.xid >= c.seen_xmax and e.id > c.after_id and (c.topics is null or e.topic = any(c.topics))
    and (c.types is null or e.type = any(c.types))
    and (c.since is null or e.created_at >= c.since or not pg_visible_in_snapshot(e.xid, c.since_seen))
  union all
  select e.created_at from late e join cursors c on c.part = e.part
  where e.xid = any(c.ended) and e.id > c.after_id and (c.topics is null or e.topic = any(c.topics))
    and (c.types is null or e.type = any(c.types))
    and (c.since is null or e.created_at >= c.since or not pg_visible_in_snapshot(e.xid, c.since_seen))
)
select total, coalesce(greatest(extract(epoch from statement_timestamp() - oldest), 0), 0)::float8,
       (select bool_or(is_open) from cursors)
         or (select count(*) from fresh) > %(cap)s or (select count(*) from late) > %(cap)s
from (select count(*) as total, min(created_at) as oldest from behind having count(*) > 0
      union all
      select count(*), min(e.created_at)
      from cursors c cross join lateral (
        select e.created_at from pgops.event_log e
        where e.part = c.part and e.id > c.after_id and e.id <= c.fresh_to and (c.topics is null or e.topic = any(c.topics))
          and (c.types is null or e.type = any(c.types))
          and (c.since is null or e.created_at >= c.since or not pg_visible_in_snapshot(e.xid, c.since_seen))
        order by e.id limit %(cap)s / 64 + 1) e
      where c.is_open and not exists (select from behind)) as counted
order by total desc limit 1
