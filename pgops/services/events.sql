-- The statements of the event log. `part` is the distribution column; the cursor is told in schema/0003_events.sql.

-- name: append
-- A plain insert, at the price of one, in whoever's transaction.
insert into pgops.outbox (aggregate_type, aggregate_id, event_type, payload, headers)
values (%(topic)s, %(key)s, %(type)s, %(payload)s, %(headers)s)
returning event_id

-- name: copy_events
copy pgops.event_log (event_id, topic, key, type, payload, headers) from stdin

-- name: subscribe
-- 64 cursors, before everything or after all that is visible now; nothing where the name exists.
with made as (
  insert into pgops.subscriptions (name, topics, sink, system_identifier, database_oid)
  select %(name)s, %(topics)s, %(sink)s, c.system_identifier, d.oid
  from pg_control_system() c, pg_database d
  where d.datname = current_database()
  on conflict (name) do nothing
  returning name
)
insert into pgops.subscription_parts (part, subscription, seen)
select part, name, case when %(beginning)s then pg_snapshot '1:1:' else pg_current_snapshot() end
from made cross join generate_series(0, 63) part

-- name: unsubscribe
-- Its cursors, relays and parked events go with it.
delete from pgops.subscriptions where name = %(name)s

-- name: list_subscriptions
-- All of them, or the one that is named; sums over 64 rows each.
select s.name, s.topics, s.sink, s.paused, s.created_at, p.relayed, p.advanced_at, k.parked, p.owners
from pgops.subscriptions s
cross join lateral (
  select sum(relayed)::bigint as relayed, max(advanced_at) as advanced_at,
         array_agg(distinct owner) filter (where lease_until >= statement_timestamp()) as owners
  from pgops.subscription_parts where subscription = s.name
) p
cross join lateral (
  select count(*) as parked from pgops.parked_events where subscription = s.name
) k
where %(name)s::text is null or s.name = %(name)s
order by s.name

-- name: pause_subscription
update pgops.subscriptions set paused = %(paused)s where name = %(name)s

-- name: check_identity
-- Transaction ids mean something in one cluster and one database only.
select s.system_identifier = c.system_identifier, s.database_oid = d.oid
from pgops.subscriptions s, pg_control_system() c, pg_database d
where s.name = %(name)s and d.datname = current_database()

-- name: beat
-- I live; whoever has not said so for a day is forgotten.
with gone as (
  delete from pgops.relays
  where subscription = %(subscription)s and owner <> %(owner)s and alive_until < statement_timestamp() - interval '1 day'
)
insert into pgops.relays (subscription, owner, alive_until, max_parts)
values (%(subscription)s, %(owner)s, statement_timestamp() + make_interval(secs => %(lease_s)s), %(max_parts)s)
on conflict (subscription, owner) do update set alive_until = excluded.alive_until, max_parts = excluded.max_parts

-- name: lease_parts
-- Keep mine up to my fair share and hand back the rest; take free and expired parts up to it. What others may not
-- take is mine too.
with live as materialized (
  select owner = %(owner)s as me, max_parts, ceil(64.0 / count(*) over ())::integer as share from pgops.relays
  where subscription = %(subscription)s and (alive_until >= statement_timestamp() or owner = %(owner)s)
), fair as materialized (
  select least(%(max_parts)s, greatest(share, 64 - coalesce(sum(least(max_parts, share)) filter (where not me), 0)))::integer
         as parts
  from live group by share
), mine as materialized (
  select part, row_number() over (order by part) <= (select parts from fair) as keep
  from pgops.subscription_parts where subscription = %(subscription)s and token = %(token)s
), free as materialized (
  select part from pgops.subscription_parts
  where subscription = %(subscription)s
    and (token is null or (token <> %(token)s and lease_until < statement_timestamp()))
  order by part
  limit greatest((select parts from fair) - (select count(*) from mine), 0)
  for update skip locked
), wanted as (
  select part, keep from mine union all select part, true from free
)
update pgops.subscription_parts p
set owner = case when w.keep then %(owner)s end,
    token = case when w.keep then %(token)s::bigint end,
    lease_until = case when w.keep then statement_timestamp() + make_interval(secs => %(lease_s)s) end
from wanted w
where p.part = w.part and p.subscription = %(subscription)s
  and (p.token is null or p.token = %(token)s or p.lease_until < statement_timestamp())
returning p.part, w.keep

-- name: renew_leases
-- Only what is still mine; nothing is taken.
update pgops.subscription_parts
set lease_until = statement_timestamp() + make_interval(secs => %(lease_s)s)
where subscription = %(subscription)s and token = %(token)s
returning part

-- name: release_parts
with gone as (
  delete from pgops.relays where subscription = %(subscription)s and owner = %(owner)s
)
update pgops.subscription_parts set owner = null, token = null, lease_until = null
where subscription = %(subscription)s and token = %(token)s

-- name: fetch
-- The next page of every part that the token leases, in the order of ids: what is visible in target and was not
-- in seen. One look at the newest transactions opens the windows of all parts, so that idle parts cost nothing of
-- their own; each part pages through its window by (part, id). `materialized` and `case` keep the planner to that.
with cursors as materialized (
  select p.part, p.seen, coalesce(p.target, now.snapshot) as target, p.target is not null as is_open, p.after_id,
         p.fresh_from, p.fresh_to, p.late_from, p.late_to, s.topics, pg_snapshot_xmax(p.seen) as seen_xmax,
         array(select xid from pg_snapshot_xip(p.seen) xid
               where pg_visible_in_snapshot(xid, coalesce(p.target, now.snapshot))) as ended
  from pgops.subscriptions s
  join pgops.subscription_parts p on p.subscription = s.name
  cross join (select pg_current_snapshot() as snapshot) now
  where s.name = %(subscription)s and not s.paused and p.token = %(token)s
), recent as materialized (
  select part, xid, id from pgops.event_log
  where xid >= (select min(seen_xmax) from cursors where not is_open)
    and xid < (select max(pg_snapshot_xmax(target)) from cursors where not is_open)
), found as materialized (
  select part, min(lowest) filter (where fresh) as fresh_from, max(highest) filter (where fresh) as fresh_to,
         min(lowest) filter (where not fresh) as late_from, max(highest) filter (where not fresh) as late_to
  from (
    select e.part, e.id as lowest, e.id as highest, true as fresh
    from recent e
    join cursors c on c.part = e.part
    where not c.is_open and e.xid >= c.seen_xmax and pg_visible_in_snapshot(e.xid, c.target)
    union all
    select e.part, e.lowest, e.highest, false as fresh
    from (select part, xid, min(id) as lowest, max(id) as highest from pgops.event_log
          where xid = any(array(select unnest(ended) from cursors where not is_open))
          group by part, xid) e
    join cursors c on c.part = e.part
    where not c.is_open and e.xid = any(c.ended)
  ) rows
  group by part
), windows as materialized (
  select c.part, c.target, c.is_open, c.after_id, c.topics, c.seen_xmax, c.ended,
         case when c.is_open then c.fresh_from else f.fresh_from end as fresh_from,
         case when c.is_open then c.fresh_to else f.fresh_to end as fresh_to,
         case when c.is_open then c.late_from else f.late_from end as late_from,
         case when c.is_open then c.late_to else f.late_to end as late_to
  from cursors c left join found f on f.part = c.part
)
select w.part, case when e.n is null or e.n = 1 then w.target::text end as target, w.is_open,
       w.fresh_from, w.fresh_to, w.late_from, w.late_to,
       e.id, e.event_id, e.topic, e.key, e.type, e.payload::text, e.headers::text, e.created_at,
       exists (select from pgops.parked_events k
               where k.part = w.part and k.subscription = %(subscription)s and k.key = e.key) as waits
from windows w
left join (
  select a.part, page.*, row_number() over (partition by a.part order by page.id) as n
  from windows a
  cross join lateral (
    (select e.id, e.event_id, e.topic, e.key, e.type, e.payload, e.headers, e.created_at
     from pgops.event_log e
     where e.part = a.part and e.id > greatest(a.after_id, a.fresh_from - 1) and e.id <= a.fresh_to
       and case when e.xid >= a.seen_xmax then pg_visible_in_snapshot(e.xid, a.target) end
       and (a.topics is null or e.topic = any(a.topics))
     order by e.id limit %(limit)s)
    union all
    (select e.id, e.event_id, e.topic, e.key, e.type, e.payload, e.headers, e.created_at
     from pgops.event_log e
     where e.part = a.part and e.id > greatest(a.after_id, a.late_from - 1) and e.id <= a.late_to
       and case when true then e.xid = any(a.ended) end
       and (a.topics is null or e.topic = any(a.topics))
     order by e.id limit %(limit)s)
    order by id limit %(limit)s
  ) page
  where a.fresh_from is not null or a.late_from is not null
) e on e.part = w.part
order by w.part, e.id

-- name: advance
-- Fenced by part and token. A page in the middle of a window keeps it open; the last one makes its target seen.
update pgops.subscription_parts p
set seen = case when a.through then coalesce(p.target, %(target)s::pg_snapshot) else p.seen end,
    target = case when not a.through then coalesce(p.target, %(target)s::pg_snapshot) end,
    after_id = case when a.through then 0 else a.after_id end,
    fresh_from = case when not a.through then a.fresh_from end,
    fresh_to = case when not a.through then a.fresh_to end,
    late_from = case when not a.through then a.late_from end,
    late_to = case when not a.through then a.late_to end,
    relayed = p.relayed + a.relayed,
    advanced_at = statement_timestamp()
from jsonb_to_recordset(%(cursors)s) as a (part smallint, through boolean, after_id bigint, fresh_from bigint,
                                           fresh_to bigint, late_from bigint, late_to bigint, relayed integer)
where p.part = a.part and p.subscription = %(subscription)s and p.token = %(token)s
returning p.part

-- name: park
-- After the advance, in its transaction: copies of what was not delivered. What is parked already stays.
insert into pgops.parked_events
  (part, subscription, id, event_id, topic, key, type, payload, headers, created_at, attempts, error)
select e.part, %(subscription)s, e.id, e.event_id, e.topic, e.key, e.type, e.payload, e.headers, e.created_at,
       r.attempts, r.error
from jsonb_to_recordset(%(rejected)s) as r (part smallint, id bigint, attempts integer, error text)
join pgops.event_log e on e.part = r.part and e.id = r.id
on conflict (part, subscription, id) do nothing

-- name: list_parked
select part, id, event_id, topic, key, type, payload::text, headers::text, created_at, attempts, error, parked_at
from pgops.parked_events
where subscription = %(subscription)s
order by part, id limit %(limit)s

-- name: retry_parked
-- A key goes as a whole, so that its order holds; the relay does the rest.
update pgops.parked_events set retry = true
where subscription = %(subscription)s and attempts > 0 and (%(key)s::text is null or key = %(key)s)

-- name: discard_parked
delete from pgops.parked_events where subscription = %(subscription)s and id = any(%(ids)s)

-- name: fetch_parked
-- What is to be tried again in the token's parts, and what waits behind nothing any more.
select k.part, k.id, k.event_id, k.topic, k.key, k.type, k.payload::text, k.headers::text, k.created_at
from pgops.subscriptions s
join pgops.subscription_parts p on p.subscription = s.name
join pgops.parked_events k on k.part = p.part and k.subscription = p.subscription
where s.name = %(subscription)s and not s.paused and p.token = %(token)s
  and (k.retry or k.attempts = 0)
  and (k.key is null or not exists (
    select from pgops.parked_events h
    where h.part = k.part and h.subscription = k.subscription and h.key = k.key
      and h.attempts > 0 and not h.retry and h.id < k.id))
order by k.part, k.id limit %(limit)s

-- name: unpark
-- Delivered after all. Fenced as an advance is.
delete from pgops.parked_events k using pgops.subscription_parts p
where p.subscription = %(subscription)s and p.token = %(token)s
  and k.part = p.part and k.subscription = p.subscription and k.id = any(%(ids)s)

-- name: park_again
update pgops.parked_events k
set retry = false, attempts = k.attempts + r.attempts, error = case when r.attempts > 0 then r.error else k.error end
from jsonb_to_recordset(%(rejected)s) as r (part smallint, id bigint, attempts integer, error text),
     pgops.subscription_parts p
where p.subscription = %(subscription)s and p.token = %(token)s and p.part = r.part
  and k.part = r.part and k.subscription = p.subscription and k.id = r.id

-- name: lag
-- A capped look at the transactions that the slowest part has not seen, oldest first; whatever is late on top.
with cursors as materialized (
  select p.part, p.after_id, p.target is not null as is_open, s.topics, pg_snapshot_xmax(p.seen) as seen_xmax,
         array(select xid from pg_snapshot_xip(p.seen) xid where pg_visible_in_snapshot(xid, now.snapshot)) as ended,
         now.snapshot
  from pgops.subscriptions s
  join pgops.subscription_parts p on p.subscription = s.name
  cross join (select pg_current_snapshot() as snapshot) now
  where s.name = %(name)s
), fresh as materialized (
  select part, xid, id, topic, created_at from pgops.event_log
  where xid >= (select min(seen_xmax) from cursors) and xid < (select max(pg_snapshot_xmax(snapshot)) from cursors)
  order by xid limit %(cap)s + 1
), late as materialized (
  select part, xid, id, topic, created_at from pgops.event_log
  where xid = any(array(select unnest(ended) from cursors))
  limit %(cap)s + 1
), behind as (
  select e.created_at from fresh e join cursors c on c.part = e.part
  where e.xid >= c.seen_xmax and e.id > c.after_id and (c.topics is null or e.topic = any(c.topics))
  union all
  select e.created_at from late e join cursors c on c.part = e.part
  where e.xid = any(c.ended) and e.id > c.after_id and (c.topics is null or e.topic = any(c.topics))
)
select count(*), coalesce(greatest(extract(epoch from statement_timestamp() - min(created_at)), 0), 0)::float8,
       (select bool_or(is_open) from cursors)
         or (select count(*) from fresh) > %(cap)s or (select count(*) from late) > %(cap)s
from behind
