-- The cache. Expiry is decided by the database's clock; an expired value is never returned by a get, purged or not,
-- nor is one of a generation that is over.

-- name: get
-- One probe of the primary key, and for a value that is there one of its namespace's row. The second column says that
-- an eighth of a sliding value's time has gone.
select value, expires_at < statement_timestamp() + 0.875 * sliding from pgops.cache_store
where key = %(key)s and namespace = %(namespace)s
  and (expires_at is null or expires_at > statement_timestamp())
  and generation = coalesce((select generation from pgops.cache_namespaces where namespace = %(namespace)s), 0)

-- name: get_many
select key, value, expires_at < statement_timestamp() + 0.875 * sliding from pgops.cache_store
where key = any(%(keys)s) and namespace = %(namespace)s
  and (expires_at is null or expires_at > statement_timestamp())
  and generation = coalesce((select generation from pgops.cache_namespaces where namespace = %(namespace)s), 0)

-- name: look
-- Always one row: the namespace's generation, and of that the value, expired or not: how long it lasts still, how long
-- it took to compute, when it was written, and whether it slides and should be extended.
select coalesce(n.generation, 0), s.value, extract(epoch from s.expires_at - statement_timestamp())::float8,
       s.compute_s::float8, s.created_at, s.expires_at < statement_timestamp() + 0.875 * s.sliding
from (select) as one
left join pgops.cache_namespaces as n on n.namespace = %(namespace)s
left join pgops.cache_store as s on s.key = %(key)s and s.namespace = %(namespace)s
                                and s.generation = coalesce(n.generation, 0)

-- name: extend
-- It is not done again before an eighth of the time has gone, by however many readers; nobody is waited for.
update pgops.cache_store set expires_at = statement_timestamp() + sliding
where key = any(%(keys)s) and namespace = %(namespace)s and ctid = any(array(
  select ctid from pgops.cache_store
  where key = any(%(keys)s) and namespace = %(namespace)s
    and expires_at > statement_timestamp() and expires_at < statement_timestamp() + 0.875 * sliding
  for update skip locked
))

-- name: touch
-- A value without an end stays without one, unless it is given one.
update pgops.cache_store as s
set expires_at = coalesce(statement_timestamp() + coalesce(make_interval(secs => %(ttl_s)s::float8), s.sliding), s.expires_at),
    sliding = case when s.sliding is not null then coalesce(make_interval(secs => %(ttl_s)s::float8), s.sliding) end,
    stale_until = null
where key = %(key)s and namespace = %(namespace)s
  and (expires_at is null or expires_at > statement_timestamp())
  and generation = coalesce((select generation from pgops.cache_namespaces where namespace = %(namespace)s), 0)

-- name: set
-- Touches no indexed column but a BRIN one, so that an overwrite is a heap-only update. Of two that cross an
-- invalidation the later generation stays.
insert into pgops.cache_store as s (key, namespace, value, expires_at, generation, spot)
select %(key)s, %(namespace)s, %(value)s, statement_timestamp() + make_interval(secs => %(ttl_s)s::float8),
       coalesce(n.generation, 0), case when n.max_entries is not null or n.max_bytes is not null then hashtext(%(key)s) end
from (select) as one left join pgops.cache_namespaces as n on n.namespace = %(namespace)s
on conflict (key, namespace) do update
set value = excluded.value, expires_at = excluded.expires_at, created_at = excluded.created_at,
    generation = excluded.generation, spot = excluded.spot, sliding = null, stale_until = null, compute_s = null
where s.generation <= excluded.generation

-- name: set_many
-- The caller sorts the keys: two of these at once lock their rows in the same order. Each key has its own jitter.
insert into pgops.cache_store as s (key, namespace, value, expires_at, generation, spot, sliding)
select item.key, %(namespace)s, item.value, statement_timestamp() + item.ttl, coalesce(n.generation, 0),
       case when n.max_entries is not null or n.max_bytes is not null then hashtext(item.key) end,
       case when %(sliding)s then item.ttl end
from (
  select given.key, given.value,
         make_interval(secs => %(ttl_s)s::float8 * (1 - %(jitter)s::float8 * random())) as ttl
  from unnest(%(keys)s::text[], %(values)s::bytea[]) as given (key, value)
) as item
left join pgops.cache_namespaces as n on n.namespace = %(namespace)s
on conflict (key, namespace) do update
set value = excluded.value, expires_at = excluded.expires_at, created_at = excluded.created_at,
    generation = excluded.generation, spot = excluded.spot, sliding = excluded.sliding, stale_until = null,
    compute_s = null
where s.generation <= excluded.generation

-- name: keep
-- What was computed, in the generation that was there before it was. What was set while it was being computed is newer
-- and stays.
insert into pgops.cache_store as s (key, namespace, value, expires_at, generation, spot, stale_until, compute_s)
select %(key)s, %(namespace)s, %(value)s, item.ends_at, %(generation)s,
       case when n.max_entries is not null or n.max_bytes is not null then hashtext(%(key)s) end,
       item.ends_at + nullif(make_interval(secs => %(stale_s)s::float8), '0 s'), %(compute_s)s
from (
  select statement_timestamp() + make_interval(secs => %(ttl_s)s::float8 * (1 - %(jitter)s::float8 * random())) as ends_at
) as item
left join pgops.cache_namespaces as n on n.namespace = %(namespace)s
on conflict (key, namespace) do update
set value = excluded.value, expires_at = excluded.expires_at, created_at = excluded.created_at,
    generation = excluded.generation, spot = excluded.spot, sliding = null, stale_until = excluded.stale_until,
    compute_s = excluded.compute_s
where s.generation < excluded.generation
   or (s.generation = excluded.generation
       and s.created_at <= excluded.created_at - make_interval(secs => excluded.compute_s))

-- name: try_flight
-- Of the session, so that it ends with its process; who does not get it waits a while, and then computes too.
select pg_try_advisory_lock(7063769, hashtext(concat_ws(' ', %(namespace)s::text, %(generation)s::bigint, %(key)s::text)))

-- name: end_flight
select pg_advisory_unlock(7063769, hashtext(concat_ws(' ', %(namespace)s::text, %(generation)s::bigint, %(key)s::text)))

-- name: delete
-- What is over is deleted too, but is not counted as something that was there.
with gone as (
  delete from pgops.cache_store where key = any(%(keys)s) and namespace = %(namespace)s
  returning (expires_at is null or expires_at > statement_timestamp())
            and generation = coalesce((select generation from pgops.cache_namespaces where namespace = %(namespace)s), 0)
            as alive
)
select count(*) filter (where alive) from gone

-- name: invalidate
insert into pgops.cache_namespaces as n (namespace, generation, invalidated_at)
values (%(namespace)s, 1, statement_timestamp())
on conflict (namespace) do update set generation = n.generation + 1, invalidated_at = excluded.invalidated_at
returning generation

-- name: set_cap
insert into pgops.cache_namespaces (namespace, max_entries, max_bytes)
values (%(namespace)s, %(entries)s, %(bytes)s)
on conflict (namespace) do update set max_entries = excluded.max_entries, max_bytes = excluded.max_bytes

-- name: capped
-- Which of these namespaces, or of all, have a cap.
select namespace from pgops.cache_namespaces
where (max_entries is not null or max_bytes is not null) and (%(all)s or namespace = any(%(namespaces)s))
order by namespace

-- name: enroll_slice
-- Rows from before their namespace had a cap get their spot. As a purge: by page, waiting for nobody.
update pgops.cache_store set spot = hashtext(key)
where ctid = any(array(
  select s.ctid from pgops.cache_store as s
  where s.ctid >= %(low)s::tid and s.ctid < %(high)s::tid and s.spot is null and s.namespace = any(%(namespaces)s)
  limit %(batch)s
  for update skip locked
))

-- name: evict
-- One step, on a sample of about so many rows. The ring has 256 segments, and of each an arc at a random place is taken,
-- so long that all together have as many rows as wanted; where the namespace is small they are all of it. (The limit of
-- an arc keeps the planner from thinking the whole worth compiling.) Arcs that former steps have thinned are met as
-- often as they are there, so the sample tells how large the whole is. Of the sample goes as much as the whole has too
-- much, but no more than a quarter, or the share that is too much: what is over first, then what was written or
-- extended longest ago. Nobody is waited for: a row that someone writes is skipped, and of several who would evict one
-- does. The third column: there is more to do, or, as rows differ in size, there may be. The last: somebody else is at
-- it.
with cap as materialized (
  select generation, max_entries, max_bytes from pgops.cache_namespaces
  where namespace = %(namespace)s and (max_entries is not null or max_bytes is not null)
    and pg_try_advisory_xact_lock(7063770, hashtext(%(namespace)s))
), probe as materialized (
  select count(*) as rows, max(spot)::bigint - %(spot)s::bigint + 1 as length
  from (
    select spot from pgops.cache_store
    where namespace = %(namespace)s and spot >= %(spot)s::integer and exists (select from cap)
    order by spot limit 256
  ) as first
), scale as materialized (
  select case when rows < 256 then 1
         else greatest(1, 2 ^ floor(ln(256 * 4294967296::float8 / length / %(rows)s::float8) / ln(2::float8))) end::bigint as times
  from probe
), arc as materialized (
  select -2147483648 + segment * 16777216::bigint
         + case when times > 1 then (hashint4extended(segment, %(spot)s) & 16777215) else 0 end as low,
         16777216 / times as length
  from scale cross join generate_series(0, 255) as segment where exists (select from cap)
), sample as materialized (
  select row.* from arc cross join lateral (
    select ctid as place, octet_length(key) + octet_length(value) as bytes,
           coalesce(stale_until, expires_at, 'infinity') <= statement_timestamp()
           or generation < (select generation from cap) as dead,
           coalesce(expires_at - sliding, created_at) as written_at
    from pgops.cache_store
    where namespace = %(namespace)s and spot >= arc.low::integer
      and spot <= least(arc.low + arc.length - 1, 2147483647)::integer
    limit 64
  ) as row
), whole as materialized (
  select count(*)::float8 as sampled, count(*) * times::float8 as rows, sum(bytes) * times::float8 as bytes
  from sample cross join scale group by times
), surplus as materialized (
  select w.sampled, w.rows, w.bytes > c.max_bytes as in_bytes,
         greatest(w.rows - c.max_entries, (w.bytes - c.max_bytes) * w.rows / w.bytes, 0) as over
  from whole as w cross join cap as c
), portion as materialized (
  select ceil(least(over, greatest(sampled / 4, sampled * over / rows)))::bigint as rows, over, in_bytes from surplus
), gone as (
  delete from pgops.cache_store
  where ctid = any(array(
    select ctid from pgops.cache_store
    where ctid = any(array(
      select place from sample order by dead desc, written_at, place limit coalesce((select rows from portion), 0)
    ))
    for update skip locked
  ))
  returning coalesce(stale_until, expires_at, 'infinity') <= statement_timestamp()
            or generation < (select generation from cap) as dead
)
select count(*) filter (where dead), count(*) filter (where not dead),
       coalesce((select over > rows or in_bytes from portion), false), not exists (select from cap)
from gone

-- name: count_pages
-- Where a walk over the table ends.
select pg_relation_size('pgops.cache_store') / current_setting('block_size')::bigint

-- name: purge_slice
-- A slice of pages by Tid Range Scan, what is over in it by Tid Scan. A row that someone is writing is skipped; one
-- that was refreshed since is checked again under its lock and stays.
with gone as (
  delete from pgops.cache_store
  where ctid = any(array(
    select s.ctid from pgops.cache_store as s left join pgops.cache_namespaces as n on n.namespace = s.namespace
    where s.ctid >= %(low)s::tid and s.ctid < %(high)s::tid
      and (coalesce(s.stale_until, s.expires_at) <= statement_timestamp() or s.generation < n.generation)
    limit %(batch)s
    for update of s skip locked
  ))
  returning namespace
)
select namespace, count(*) from gone group by namespace

-- name: count_expired
-- Capped: one more than the cap means "at least".
select count(*) from (
  select from pgops.cache_store as s left join pgops.cache_namespaces as n on n.namespace = s.namespace
  where coalesce(s.stale_until, s.expires_at) <= statement_timestamp() or s.generation < n.generation
  limit %(cap)s::bigint + 1
) as expired

-- name: flush_counts
-- One row a namespace, in order of name. No row at all, though the marker stands: a crash has emptied the cache.
with emptied as (
  update pgops.cache_marker set emptied_at = statement_timestamp()
  where not exists (select from pgops.cache_stats)
), filled as (
  insert into pgops.cache_marker (id) select true where %(filled)s on conflict do nothing
)
insert into pgops.cache_stats as s (namespace, hits, misses, sets, expired, evicted)
select * from unnest(%(namespaces)s::text[], %(hits)s::bigint[], %(misses)s::bigint[], %(sets)s::bigint[],
                     %(expired)s::bigint[], %(evicted)s::bigint[])
on conflict (namespace) do update
set hits = s.hits + excluded.hits, misses = s.misses + excluded.misses, sets = s.sets + excluded.sets,
    expired = s.expired + excluded.expired, evicted = s.evicted + excluded.evicted,
    updated_at = statement_timestamp()

-- name: read_stats
-- Entries are counted up to 10,000 and estimated beyond.
select coalesce(sum(hits), 0)::bigint, coalesce(sum(misses), 0)::bigint, coalesce(sum(sets), 0)::bigint,
       coalesce(sum(expired), 0)::bigint, coalesce(sum(evicted), 0)::bigint, min(since),
       (select filled_at from pgops.cache_marker), (select emptied_at from pgops.cache_marker),
       (select count(*) from (select from pgops.cache_store limit 10001) as capped),
       (select greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid)) from pg_class as c
        where c.oid = 'pgops.cache_store'::regclass),
       pg_total_relation_size('pgops.cache_store')
from pgops.cache_stats

-- name: read_namespaces
-- The most read first. A small table is read whole; of a large one pages spread over it are, so that the cost does not
-- grow with it; both by Tid Range Scans, for which no parallel workers are started.
with store as materialized (
  select pages, pages <= %(exact_pages)s as small
  from (select pg_relation_size('pgops.cache_store') / current_setting('block_size')::bigint as pages) as size
), stretch as materialized (
  select case when small then 0 else pages * n / 64 end as low, case when small then pages else pages * n / 64 + 1 end as high,
         case when small then 1 else pages / 64.0 end as times
  from store cross join generate_series(0, 63) as n where n = 0 or not small
), held as materialized (
  select found.namespace, sum(found.entries * times)::bigint as entries, sum(found.bytes * times)::bigint as bytes
  from stretch cross join lateral (
    select namespace, count(*) as entries, sum(octet_length(key) + octet_length(value)) as bytes
    from pgops.cache_store
    where ctid >= ('(' || low || ',0)')::tid and ctid < ('(' || high || ',0)')::tid
    group by namespace
  ) as found
  group by found.namespace
)
select namespace, coalesce(t.hits, 0), coalesce(t.misses, 0), coalesce(t.sets, 0), coalesce(t.expired, 0),
       coalesce(t.evicted, 0), coalesce(h.entries, 0), coalesce(h.bytes, 0), n.max_entries, n.max_bytes,
       n.invalidated_at, (select small from store)
from pgops.cache_stats as t
full join pgops.cache_namespaces as n using (namespace)
full join held as h using (namespace)
order by coalesce(t.hits, 0) + coalesce(t.misses, 0) desc, namespace limit %(limit)s
