-- Document collections. {documents} is the table pgops.doc_<name>; {conditions}, {key}, {order} and {expression} are
-- made in document_query.py through psycopg.sql, with every value a parameter and every path a quoted literal: only
-- a literal is the same expression that an index has.

-- name: register_collection
-- No row: the name is taken. A second one at the same moment waits here for the first.
insert into pgops.collections (name) values (%(name)s) on conflict do nothing returning name

-- name: unregister_collection
delete from pgops.collections where name = %(name)s

-- name: list_names
select name from pgops.collections order by name

-- name: find_collections
-- Register and catalog together.
select c.name, c.created_at, greatest(t.reltuples::bigint, pg_stat_get_live_tuples(t.oid), 0),
       coalesce(pg_table_size(t.oid), 0), coalesce(pg_indexes_size(t.oid), 0)
from pgops.collections as c
left join pg_class as t on t.oid = to_regclass('pgops.doc_' || c.name)
where %(name)s::text is null or c.name = %(name)s::text
order by c.name

-- name: create_table
-- The size is that of the value in memory, before it is compressed: what a patch may make of a document at most.
create table {documents} (
  id            text        collate "C" primary key default pgops.document_id(),
  data          jsonb       not null check (jsonb_typeof(data) = 'object')
                            constraint document_is_too_large check (pg_column_size(data) <= 67108864),
  version       bigint      not null default 1,
  created_at    timestamptz not null default statement_timestamp(),
  updated_at    timestamptz not null default statement_timestamp(),
  expires_at    timestamptz
) with (fillfactor = 90)

-- name: create_expiry_index
-- Partial: documents without an end have no entry in it.
create index {index_name} on {documents} (expires_at) where expires_at is not null

-- name: drop_table
drop table if exists {documents}

-- name: insert
insert into {documents} as d (data, expires_at)
values (%(data)s::jsonb, statement_timestamp() + make_interval(secs => %(ttl_s)s::float8))
returning id, version, created_at, updated_at, expires_at

-- name: upsert
-- Whatever is there is replaced; over an expired one it is a new document, whose version goes on all the same.
insert into {documents} as d (id, data, expires_at)
values (%(id)s, %(data)s::jsonb, statement_timestamp() + make_interval(secs => %(ttl_s)s::float8))
on conflict (id) do update
set data = excluded.data, version = d.version + 1, updated_at = statement_timestamp(), expires_at = excluded.expires_at,
    created_at = case when d.expires_at <= statement_timestamp() then statement_timestamp() else d.created_at end
returning id, version, created_at, updated_at, expires_at

-- name: insert_new
-- No row: there is a living one.
insert into {documents} as d (id, data, expires_at)
values (%(id)s, %(data)s::jsonb, statement_timestamp() + make_interval(secs => %(ttl_s)s::float8))
on conflict (id) do update
set data = excluded.data, version = d.version + 1, created_at = statement_timestamp(),
    updated_at = statement_timestamp(), expires_at = excluded.expires_at
where d.expires_at <= statement_timestamp()
returning id, version, created_at, updated_at, expires_at

-- name: replace
-- No row: it is gone, or has another version.
update {documents}
set data = %(data)s::jsonb, version = version + 1, updated_at = statement_timestamp(),
    expires_at = statement_timestamp() + make_interval(secs => %(ttl_s)s::float8)
where id = %(id)s and version = %(version)s and (expires_at is null or expires_at > statement_timestamp())
returning id, version, created_at, updated_at, expires_at

-- name: patch
-- Merged where it is stored: two patches at once are both in it.
update {documents}
set data = pgops.merge_patch(data, %(patch)s::jsonb), version = version + 1, updated_at = statement_timestamp()
where id = %(id)s and (%(version)s::bigint is null or version = %(version)s)
  and (expires_at is null or expires_at > statement_timestamp())
returning id, data::text, version, created_at, updated_at, expires_at

-- name: get
select id, data::text, version, created_at, updated_at, expires_at from {documents}
where id = %(id)s and (expires_at is null or expires_at > statement_timestamp())

-- name: delete
-- One that has expired goes too, but was not there for the caller.
delete from {documents} where id = %(id)s and (%(version)s::bigint is null or version = %(version)s)
returning expires_at is null or expires_at > statement_timestamp()

-- name: insert_many
-- The arrays go in binary: quoting them as text takes four times as long as all the rest.
insert into {documents} (data, expires_at)
select new.data::jsonb, statement_timestamp() + make_interval(secs => %(ttl_s)s::float8)
from unnest(%(data)b::text[]) as new (data)

-- name: upsert_many
-- The ids come sorted, so that two of these at once take their rows in one order.
insert into {documents} as d (id, data, expires_at)
select new.id, new.data::jsonb, statement_timestamp() + make_interval(secs => %(ttl_s)s::float8)
from unnest(%(ids)b::text[], %(data)b::text[]) with ordinality as new (id, data, place)
order by new.place
on conflict (id) do update
set data = excluded.data, version = d.version + 1, updated_at = statement_timestamp(), expires_at = excluded.expires_at,
    created_at = case when d.expires_at <= statement_timestamp() then statement_timestamp() else d.created_at end

-- name: find
-- One page by keyset: the conditions hold what it starts behind.
select id, data::text, version, created_at, updated_at, expires_at, ({key})::text
from {documents}
where {conditions} and (expires_at is null or expires_at > statement_timestamp())
order by {order} limit %(limit)s

-- name: count_found
-- Exact up to the cap, "at least" beyond.
select count(*) from (
  select from {documents} where {conditions} and (expires_at is null or expires_at > statement_timestamp())
  limit %(cap)s::bigint + 1
) as capped

-- name: purge_expired
delete from {documents} where ctid = any(array(
  select ctid from {documents} where expires_at <= statement_timestamp() for update skip locked limit %(batch)s))

-- name: list_indexes
-- All but the primary key and the one that finds what has expired.
select i.relname::text, m.amname::text, pg_get_indexdef(x.indexrelid, 1, false), pg_get_indexdef(x.indexrelid),
       x.indisvalid, x.indnatts = 1 and x.indpred is null, pg_relation_size(i.oid), coalesce(pg_stat_get_numscans(i.oid), 0)
from pg_index as x
join pg_class as i on i.oid = x.indexrelid
join pg_am as m on m.oid = i.relam
where x.indrelid = to_regclass('pgops.doc_' || %(name)s::text) and not x.indisprimary
  and i.relname <> 'doc_' || %(name)s::text || '_expires_at'
order by i.relname

-- name: create_index
create index concurrently {index_name} on {documents} using {method} ({expression})

-- name: drop_index
drop index concurrently if exists {index}

-- name: analyze
-- Without statistics of the new expression the planner guesses, and guesses badly.
analyze {documents}

-- name: lock_collection
-- One build or drop of an index of a collection at a time; freed with the session, also after a kill -9.
select pg_try_advisory_lock(7063768, hashtext(%(table)s))

-- name: unlock_collection
select pg_advisory_unlock(7063768, hashtext(%(table)s))
