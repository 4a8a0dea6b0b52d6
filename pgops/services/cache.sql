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
where ctid = any(array(
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
-- One step over an arc of the ring that has so many rows: what is over goes first, then what was written or extended
-- longest ago; as much as there is too much, but no more than a quarter of the arc, or the share that is too much of
-- the whole. How large the whole is the arc's density tells; where the arc is all of it, that is exact. Nobody is
-- waited for: a row that someone writes is skipped, and of several who would evict one does.
with cap as materialized (
  select generation, max_entries, max_bytes from pgops.cache_namespaces
  where namespace = %(namespace)s and (max_entries is not null or max_bytes is not null)
    and pg_try_advisory_xact_lock(7063770, hashtext(%(namespace)s))
), onward as materialized (
  select ctid as place, spot::bigint - %(spot)s::bigint as far, octet_length(key) + octet_length(value) as bytes,
         coalesce(stale_until, expires_at) <= statement_timestamp() or generation < (select generation from cap) as dead,
         coalesce(expires_at - sliding, created_at) as written_at
  from pgops.cache_store
  where namespace = %(namespace)s and spot >= %(spot)s::integer and exists (select from cap)
  order by spot limit %(rows)s
), around as materialized (
  select ctid as place, spot::bigint - %(spot)s::bigint + 4294967296 as far, octet_length(key) + octet_length(value) as bytes,
         coalesce(stale_until, expires_at) <= statement_timestamp() or generation < (select generation from cap) as dead,
         coalesce(expires_at - sliding, created_at) as written_at
  from pgops.cache_store
  where namespace = %(namespace)s and spot < %(spot)s::integer and exists (select from cap)
  order by spot limit %(rows)s - (select count(*) from onward)
), arc as materialized (
  select * from onward union all select * from around
), size as materialized (
  select count(*)::float8 as rows, sum(bytes)::float8 as bytes,
         case when count(*) < %(rows)s then 1 else (max(far) + 1) / 4294967296::float8 end as share
  from arc
), surplus as materialized (
  select s.rows, s.rows / s.share as entries,
         greatest(s.rows / s.share - c.max_entries, (s.bytes / s.share - c.max_bytes) / (s.bytes / s.rows), 0) as entries_over
  from size as s, cap as c where s.rows > 0
), portion as materialized (
  select ceil(least(entries_over, greatest(rows / 4, rows * entries_over / entries)))::bigint as rows, entries_over
  from surplus
), gone as (
  delete from pgops.cache_store
  where ctid = any(array(
    select ctid from pgops.cache_store
    where ctid = any(array(
      select place from arc order by dead desc, written_at limit coalesce((select rows from portion), 0)
    ))
    for update skip locked
  ))
  returning coalesce(stale_until, expires_at) <= statement_timestamp() or generation < (select generation from cap) as dead
)
select count(*) filter (where dead), count(*) filter (where dead is not true),
       coalesce((select entries_over > rows from portion), false)
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
-- The most read first. Entries of a small table are counted. In a large one those of a namespace with a cap are told by
-- how dense the first rows of its ring are, those of the others by pages spread over the table (Tid Range Scans).
with store as materialized (
  select pg_relation_size('pgops.cache_store') / current_setting('block_size')::bigint as pages
), seen as materialized (
  select namespace, count(*) as entries, sum(bytes) as bytes
  from (
    select namespace, octet_length(key) + octet_length(value) as bytes
    from pgops.cache_store where (select pages from store) <= %(exact_pages)s
    union all
    select page.namespace, page.bytes
    from store s
    cross join generate_series(0, case when s.pages > %(exact_pages)s then %(sample_pages)s::bigint - 1 else -1 end) as n
    cross join lateral (
      select namespace, octet_length(key) + octet_length(value) as bytes from pgops.cache_store
      where ctid >= ('(' || s.pages * n / %(sample_pages)s || ',0)')::tid
        and ctid < ('(' || s.pages * n / %(sample_pages)s + 1 || ',0)')::tid
    ) as page
  ) as rows
  group by namespace
), known as materialized (
  select namespace, t.hits, t.misses, t.sets, t.expired, t.evicted, n.max_entries, n.max_bytes, n.invalidated_at,
         o.entries, o.bytes
  from pgops.cache_stats as t
  full join pgops.cache_namespaces as n using (namespace)
  full join seen as o using (namespace)
  order by coalesce(t.hits, 0) + coalesce(t.misses, 0) desc, namespace limit %(limit)s
)
select k.namespace, coalesce(k.hits, 0), coalesce(k.misses, 0), coalesce(k.sets, 0), coalesce(k.expired, 0),
       coalesce(k.evicted, 0),
       case when s.pages <= %(exact_pages)s then coalesce(k.entries, 0)
            when ring.rows > 0 then round(ring.rows / ring.share)
            else round(coalesce(k.entries, 0) * s.pages::numeric / %(sample_pages)s) end::bigint,
       case when s.pages <= %(exact_pages)s then coalesce(k.bytes, 0)
            when ring.rows > 0 then round(ring.bytes / ring.share)
            else round(coalesce(k.bytes, 0) * s.pages::numeric / %(sample_pages)s) end::bigint,
       k.max_entries, k.max_bytes, k.invalidated_at, s.pages <= %(exact_pages)s
from known as k cross join store as s
left join lateral (
  select count(*)::float8 as rows, sum(bytes)::float8 as bytes,
         case when count(*) < %(ring_rows)s then 1 else (max(spot)::bigint + 2147483649) / 4294967296::float8 end as share
  from (
    select spot, octet_length(key) + octet_length(value) as bytes from pgops.cache_store
    where namespace = k.namespace and spot is not null order by spot limit %(ring_rows)s
  ) as first
) as ring on s.pages > %(exact_pages)s and (k.max_entries is not null or k.max_bytes is not null)
order by coalesce(k.hits, 0) + coalesce(k.misses, 0) desc, k.namespace
