-- The statements of relays: leases, pages, advances, parking. The cursor is told in schema/0003_events.sql.
-- Whoever changes several parts, or several parked events, locks them in their order first, so that no two wait for each
-- other.

-- name: standing
-- Whether transaction ids mean something here, and how the subscription is to be relayed.
select h.system_identifier = c.system_identifier, h.database_oid = d.oid, s.attempts, s.poison
from pgops.subscriptions s, pgops.event_home h, pg_control_system() c, pg_database d
where s.name = %(name)s and d.datname = current_database()

-- name: subscription_names
select name from pgops.subscriptions order by name

-- name: beat
-- I live; whoever has not said so for a day is forgotten.
with gone as (
  delete from pgops.relays
  where subscription = %(subscription)s and owner <> %(owner)s and alive_until < statement_timestamp() - interval '1 day'
)
insert into pgops.relays (subscription, owner, alive_until, max_parts, trouble)
values (%(subscription)s, %(owner)s, statement_timestamp() + make_interval(secs => %(lease_s)s), %(max_parts)s, %(trouble)s)
on conflict (subscription, owner) do update
set alive_until = excluded.alive_until, max_parts = excluded.max_parts, trouble = excluded.trouble

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
  from (select part from pgops.subscription_parts where subscription = %(subscription)s and token = %(token)s
        order by part for update) held
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
-- Only what is still mine; nothing is taken. While a delivery takes long this is what shows that its relay lives.
with here as (
  update pgops.relays
  set alive_until = statement_timestamp() + make_interval(secs => %(lease_s)s), trouble = %(trouble)s
  where subscription = %(subscription)s and owner = %(owner)s
), held as materialized (
  select part from pgops.subscription_parts where subscription = %(subscription)s and token = %(token)s
  order by part for update
)
update pgops.subscription_parts p
set lease_until = statement_timestamp() + make_interval(secs => %(lease_s)s)
from held h
where p.part = h.part and p.subscription = %(subscription)s and p.token = %(token)s
returning p.part

-- name: release_parts
with gone as (
  delete from pgops.relays where subscription = %(subscription)s and owner = %(owner)s
), held as materialized (
  select part from pgops.subscription_parts where subscription = %(subscription)s and token = %(token)s
  order by part for update
)
update pgops.subscription_parts p set owner = null, token = null, lease_until = null
from held h
where p.part = h.part and p.subscription = %(subscription)s and p.token = %(token)s

-- name: fetch
-- The next page of every part that the token leases, in the order of ids: what is visible in target and was not
-- in seen. One look at the newest transactions opens the windows of all parts, so that idle parts cost nothing of
-- their own; each part pages through its window by (part, id). `materialized` and `case` keep the planner to that.
with cursors as materialized (
  select p.part, p.seen, coalesce(p.target, now.snapshot) as target, p.target is not null as is_open, p.after_id,
         p.fresh_from, p.fresh_to, p.late_from, p.late_to, p.since_seen, p.since, p.replayed, p.born,
         s.topics, s.types, s.poison, pg_snapshot_xmax(p.seen) as seen_xmax,
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
  select c.part, c.target, c.is_open, c.after_id, c.topics, c.types, c.poison, c.seen_xmax, c.ended,
         c.since_seen, c.since, c.replayed, c.born,
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
               where k.part = w.part and k.subscription = %(subscription)s and k.key = e.key
                 and (w.poison = 'park' or k.attempts = 0))
         or exists (select from pgops.parked_keys h
                    where h.part = w.part and h.subscription = %(subscription)s and h.key = e.key) as waits,
       e.replayed
from windows w
left join (
  select a.part, page.*, row_number() over (partition by a.part order by page.id) as n
  from windows a
  cross join lateral (
    (select e.id, e.event_id, e.topic, e.key, e.type, e.payload, e.headers, e.created_at,
            a.replayed and pg_visible_in_snapshot(e.xid, a.since_seen)
              and not pg_visible_in_snapshot(e.xid, a.born) as replayed
     from pgops.event_log e
     where e.part = a.part and e.id > greatest(a.after_id, a.fresh_from - 1) and e.id <= a.fresh_to
       and case when e.xid >= a.seen_xmax then pg_visible_in_snapshot(e.xid, a.target) end
       and (a.topics is null or e.topic = any(a.topics)) and (a.types is null or e.type = any(a.types))
       and (a.since is null or e.created_at >= a.since or not pg_visible_in_snapshot(e.xid, a.since_seen))
     order by e.id limit %(limit)s)
    union all
    (select e.id, e.event_id, e.topic, e.key, e.type, e.payload, e.headers, e.created_at,
            a.replayed and pg_visible_in_snapshot(e.xid, a.since_seen)
              and not pg_visible_in_snapshot(e.xid, a.born) as replayed
     from pgops.event_log e
     where e.part = a.part and e.id > greatest(a.after_id, a.late_from - 1) and e.id <= a.late_to
       and case when true then e.xid = any(a.ended) end
       and (a.topics is null or e.topic = any(a.topics)) and (a.types is null or e.type = any(a.types))
       and (a.since is null or e.created_at >= a.since or not pg_visible_in_snapshot(e.xid, a.since_seen))
     order by e.id limit %(limit)s)
    order by id limit %(limit)s
  ) page
  where a.fresh_from is not null or a.late_from is not null
) e on e.part = w.part
order by w.part, e.id

-- name: advance
-- Fenced by part and token. A page in the middle of a window keeps it open; the last one makes its target seen.
with cursors as materialized (
  select * from jsonb_to_recordset(%(cursors)s) as c (part smallint, through boolean, after_id bigint, fresh_from bigint,
                                                      fresh_to bigint, late_from bigint, late_to bigint, relayed integer)
), held as materialized (
  select part from pgops.subscription_parts
  where subscription = %(subscription)s and token = %(token)s and part = any(array(select part from cursors))
  order by part for update
)
update pgops.subscription_parts p
set seen = case when a.through then coalesce(p.target, %(target)s::pg_snapshot) else p.seen end,
    target = case when not a.through then coalesce(p.target, %(target)s::pg_snapshot) end,
    after_id = case when a.through then 0 else a.after_id end,
    fresh_from = case when not a.through then a.fresh_from end,
    fresh_to = case when not a.through then a.fresh_to end,
    late_from = case when not a.through then a.late_from end,
    late_to = case when not a.through then a.late_to end,
    since_seen = case when not a.through then p.since_seen end,
    since = case when not a.through then p.since end,
    replayed = p.replayed and not a.through,
    passed_to = (select last_value from pgops.event_id),
    relayed = p.relayed + a.relayed,
    advanced_at = statement_timestamp()
from held h join cursors a on a.part = h.part
where p.part = h.part and p.subscription = %(subscription)s and p.token = %(token)s
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

-- name: fetch_parked
-- What is to be tried again in the token's parts, and what waits behind nothing any more.
select k.part, k.id, k.event_id, k.topic, k.key, k.type, k.payload::text, k.headers::text, k.created_at
from pgops.subscriptions s
join pgops.subscription_parts p on p.subscription = s.name
join pgops.parked_events k on k.part = p.part and k.subscription = p.subscription
where s.name = %(subscription)s and not s.paused and p.token = %(token)s
  and (k.retry or k.attempts = 0)
  and (k.key is null or s.poison = 'skip' or not exists (
    select from pgops.parked_events h
    where h.part = k.part and h.subscription = k.subscription and h.key = k.key
      and h.attempts > 0 and not h.retry and h.id < k.id))
  and not exists (select from pgops.parked_keys h
                  where h.part = k.part and h.subscription = k.subscription and h.key = k.key)
order by k.part, k.id limit %(limit)s

-- name: hold_parked
select from pgops.parked_events where subscription = %(subscription)s and id = any(%(ids)s) order by part, id for update

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
