-- The key-value store. {store} is pgops.kv_store or pgops.kv_ephemeral.
--
-- An expired key is as good as none, for every statement here: it is not read, it is overwritten as if it were not
-- there, and the purge deletes it. Clock: statement_timestamp().

-- name: get
select value from {store}
where key = %(key)s and (expires_at is null or expires_at > statement_timestamp())

-- name: get_entry
select key, value, version, extract(epoch from expires_at - statement_timestamp())::float8, updated_at from {store}
where key = %(key)s and (expires_at is null or expires_at > statement_timestamp())

-- name: get_many
select key, value from {store}
where key = any(%(keys)s) and (expires_at is null or expires_at > statement_timestamp())

-- name: set
-- Touches no indexed column but a BRIN one, so that an overwrite is a heap-only update.
insert into {store} as s (key, value, expires_at)
values (%(key)s, %(value)s, statement_timestamp() + make_interval(secs => %(ttl_s)s::float8))
on conflict (key) do update
set value = excluded.value, version = greatest(s.version + 1, excluded.version),
    expires_at = excluded.expires_at, updated_at = excluded.updated_at
returning version

-- name: set_many
-- The caller sorts the keys: two of these at once lock their rows in the same order.
insert into {store} as s (key, value, expires_at)
select item.key, item.value, statement_timestamp() + make_interval(secs => %(ttl_s)s::float8)
from unnest(%(keys)s::text[], %(values)s::bytea[]) as item (key, value)
on conflict (key) do update
set value = excluded.value, version = greatest(s.version + 1, excluded.version),
    expires_at = excluded.expires_at, updated_at = excluded.updated_at

-- name: add
-- No row: the key is there.
insert into {store} as s (key, value, expires_at)
values (%(key)s, %(value)s, statement_timestamp() + make_interval(secs => %(ttl_s)s::float8))
on conflict (key) do update
set value = excluded.value, version = greatest(s.version + 1, excluded.version),
    expires_at = excluded.expires_at, updated_at = excluded.updated_at
where s.expires_at <= statement_timestamp()
returning version

-- name: delete
-- Locked in byte order as set_many does, whatever the plan. An expired key is deleted too, but not counted.
with gone as (
  delete from {store}
  where key = any(array(select key from {store} where key = any(%(keys)s) order by key for update))
  returning expires_at is null or expires_at > statement_timestamp() as alive
)
select count(*) filter (where alive) from gone

-- name: ttl
select coalesce(extract(epoch from expires_at - statement_timestamp())::float8, -1) from {store}
where key = %(key)s and (expires_at is null or expires_at > statement_timestamp())

-- name: expire
-- The value stays as it is, and so does its version; without ttl_s it never ends.
update {store} set expires_at = statement_timestamp() + make_interval(secs => %(ttl_s)s::float8)
where key = %(key)s and (expires_at is null or expires_at > statement_timestamp())

-- name: incr
-- The value is a decimal number in text. No row: it is none, or the sum leaves the 64 bits; nothing is raised, so that
-- a caller's transaction lives on. ttl_s counts where the key is new.
insert into {store} as s (key, value, expires_at)
values (%(key)s, convert_to((%(by)s::bigint)::text, 'UTF8'),
        statement_timestamp() + make_interval(secs => %(ttl_s)s::float8))
on conflict (key) do update
set value = case when s.expires_at <= statement_timestamp() then excluded.value
                 else convert_to((encode(s.value, 'escape')::numeric + %(by)s::bigint)::text, 'UTF8') end,
    version = greatest(s.version + 1, excluded.version),
    expires_at = case when s.expires_at <= statement_timestamp() then excluded.expires_at else s.expires_at end,
    updated_at = excluded.updated_at
where s.expires_at <= statement_timestamp()
   or case when length(s.value) > 20 then false
           when encode(s.value, 'escape') ~ '^-?[0-9]{{1,19}}$'
           then encode(s.value, 'escape')::numeric + %(by)s::bigint
                between -9223372036854775808 and 9223372036854775807
           else false end
returning encode(value, 'escape')::bigint

-- name: compare_and_set
-- No row: the key has another version by now, or is gone.
update {store}
set value = %(value)s,
    version = greatest(version + 1, (extract(epoch from statement_timestamp()) * 1000000)::bigint),
    expires_at = statement_timestamp() + make_interval(secs => %(ttl_s)s::float8), updated_at = statement_timestamp()
where key = %(key)s and version = %(expected)s
  and (expires_at is null or expires_at > statement_timestamp())
returning version

-- name: scan
-- Bounds on the key alone, so that also a generic plan walks the primary key from `low`; never like or ^@. At most
-- `looked` keys are read: the last of them is returned in any case, and says where the next page begins.
select key, value, version, extract(epoch from expires_at - statement_timestamp())::float8, updated_at, matches, place
from (
  select key, value, version, expires_at, updated_at, row_number() over (order by key) as place,
         (expires_at is null or expires_at > statement_timestamp())
         and (%(pattern)s::text is null or key ~ %(pattern)s) as matches
  from {store}
  where key >= %(low)s and key > %(after)s and key < %(high)s
  order by key limit %(looked)s
) as look
where matches or place = %(looked)s
order by key limit %(limit)s::bigint + 1

-- name: count_pages
-- Where a walk over the table ends.
select pg_relation_size('{store}'::regclass) / current_setting('block_size')::bigint

-- name: purge_slice
-- A slice of pages by Tid Range Scan, its expired rows by Tid Scan. A row that someone is writing is skipped; one
-- that was refreshed since is checked again under its lock and stays.
with gone as (
  delete from {store}
  where ctid = any(array(
    select ctid from {store}
    where ctid >= %(low)s::tid and ctid < %(high)s::tid and expires_at <= statement_timestamp()
    limit %(batch)s
    for update skip locked
  ))
  returning key
)
select count(*) from gone

-- name: count_expired
-- Capped: one more than the cap means "at least".
select count(*) from (
  select from {store} where expires_at <= statement_timestamp() limit %(cap)s::bigint + 1
) as expired

-- name: sample_expired
select key, extract(epoch from statement_timestamp() - expires_at)::float8
from {store} where expires_at <= statement_timestamp() limit %(shown)s
