-- The cache. Expiry is decided by the database's clock; an expired value is never returned, purged or not.

-- name: get
-- One probe of the primary key.
select value from pgops.cache_store
where key = %(key)s and namespace = %(namespace)s
  and (expires_at is null or expires_at > statement_timestamp())

-- name: get_many
select key, value from pgops.cache_store
where key = any(%(keys)s) and namespace = %(namespace)s
  and (expires_at is null or expires_at > statement_timestamp())

-- name: set
-- Touches no indexed column but a BRIN one, so that an overwrite is a heap-only update.
insert into pgops.cache_store (key, namespace, value, expires_at)
values (%(key)s, %(namespace)s, %(value)s, statement_timestamp() + make_interval(secs => %(ttl_s)s::float8))
on conflict (key, namespace) do update
set value = excluded.value, expires_at = excluded.expires_at, created_at = excluded.created_at

-- name: set_many
-- The caller sorts the keys: two of these at once lock their rows in the same order.
insert into pgops.cache_store (key, namespace, value, expires_at)
select item.key, %(namespace)s, item.value, statement_timestamp() + make_interval(secs => %(ttl_s)s::float8)
from unnest(%(keys)s::text[], %(values)s::bytea[]) as item (key, value)
on conflict (key, namespace) do update
set value = excluded.value, expires_at = excluded.expires_at, created_at = excluded.created_at

-- name: delete
-- An expired row is deleted too, but is not counted as one that was there.
with gone as (
  delete from pgops.cache_store where key = any(%(keys)s) and namespace = %(namespace)s
  returning expires_at is null or expires_at > statement_timestamp() as alive
)
select count(*) filter (where alive) from gone

-- name: count_pages
-- Where a walk over the table ends.
select pg_relation_size('pgops.cache_store') / current_setting('block_size')::bigint

-- name: purge_slice
-- A slice of pages by Tid Range Scan, its expired rows by Tid Scan. A row that someone is writing is skipped; one
-- that was refreshed since is checked again under its lock and stays.
with gone as (
  delete from pgops.cache_store
  where ctid = any(array(
    select ctid from pgops.cache_store
    where ctid >= %(low)s::tid and ctid < %(high)s::tid and expires_at <= statement_timestamp()
    limit %(batch)s
    for update skip locked
  ))
  returning namespace
)
select namespace, count(*) from gone group by namespace

-- name: count_expired
-- Capped: one more than the cap means "at least".
select count(*) from (
  select from pgops.cache_store where expires_at <= statement_timestamp() limit %(cap)s::bigint + 1
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
