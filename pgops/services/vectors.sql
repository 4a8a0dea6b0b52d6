-- Vector collections. {table}, {index}, {type}, {operator}, {opclass} and the options of an index are filled in through
-- psycopg.sql; type, operator and class with the schema that the extension is installed in.

-- name: vectors_waiting
-- Migrated, but without the extension: the schema is not older, a part of the server is missing.
select to_regclass('pgops.migrations') is not null
   and not exists (select from pg_extension where extname = 'vector')

-- name: register_collection
-- No row: the name is taken. A second one at the same moment waits here for the first.
insert into pgops.vector_collections (name, dimensions, type, metric, embedder)
values (%(name)s, %(dimensions)s, %(type)s, %(metric)s, %(embedder)s)
on conflict do nothing returning name

-- name: set_embedder
update pgops.vector_collections set embedder = %(embedder)s where name = %(name)s returning name

-- name: unregister_collection
delete from pgops.vector_collections where name = %(name)s

-- name: list_names
select name from pgops.vector_collections order by name

-- name: vector_schema
-- Where the extension is, and whether it is new enough (0.7) for halfvec.
select n.nspname::text, to_regtype(quote_ident(n.nspname) || '.halfvec') is not null
from pg_extension as e join pg_namespace as n on n.oid = e.extnamespace where e.extname = 'vector'

-- name: find_collections
-- Register and catalog together: what a search, a doctor and a list need to know of each collection. Its index is the
-- one of the name that we give; while another method takes over there are two, and the valid one counts.
select v.name, v.dimensions, v.type, v.metric, v.embedder, v.created_at, v.recall, v.recall_low, v.recall_high,
       v.recall_at,
       (select n.nspname::text from pg_extension as e join pg_namespace as n on n.oid = e.extnamespace
        where e.extname = 'vector') as vector_schema,
       greatest(t.reltuples::bigint, pg_stat_get_live_tuples(t.oid), 0) as estimated_rows,
       i.oid::bigint as index_oid, i.relname::text as index, i.method, i.valid, i.reloptions as options,
       pg_relation_size(i.oid) as bytes, pg_stat_get_numscans(i.oid) as scans
from pgops.vector_collections as v
left join pg_class as t on t.oid = to_regclass('pgops.vec_' || v.name)
left join lateral (
  select c.oid, c.relname, c.reloptions, m.amname::text as method, x.indisvalid as valid
  from pg_index as x join pg_class as c on c.oid = x.indexrelid join pg_am as m on m.oid = c.relam
  where x.indrelid = t.oid and (c.relname, m.amname) in
    (('vec_' || v.name || '_ivf', 'ivfflat'), ('vec_' || v.name || '_hnsw', 'hnsw'))
  order by x.indisvalid desc, c.relname limit 1
) as i on true
where %(name)s::text is null or v.name = %(name)s::text
order by v.name

-- name: create_table
-- bigserial and not identity: a sequence default survives a distribution of the table.
create table {table} (
  id            bigserial   primary key,
  content       text        not null,
  metadata      jsonb       not null default jsonb_build_object(),
  embedding     {type}({dimensions}) not null
)

-- name: drop_table
drop table if exists {table}

-- name: copy_rows
copy {table} (content, metadata, embedding) from stdin (format binary)

-- name: copy_rows_with_ids
copy {table} (id, content, metadata, embedding) from stdin (format binary)

-- name: advance_ids
-- After rows that brought their ids: what draws the next one must not meet them.
select setval(pg_get_serial_sequence(%(table)s, 'id'), max(id)) from {table}
having max(id) > coalesce(pg_sequence_last_value(pg_get_serial_sequence(%(table)s, 'id')::regclass), 0)

-- name: count_rows
-- Exact up to the cap, "at least" beyond.
select count(*) from (select from {table} limit %(cap)s::bigint + 1) as capped

-- name: search
-- The settings hold for this one statement (it is its own transaction) and are made before the index scan starts,
-- in one round trip. An iterative scan goes on until the limit is full; its order is relaxed, so sort again, by
-- an expression of which the planner does not believe that it is sorted already.
select id, content, metadata::text, distance from (
  select id, content, metadata, embedding {operator} %(embedding)s::{type} as distance
  from {table}
  where (select set_config('ivfflat.probes', %(probes)s::text, true)
             || set_config('ivfflat.iterative_scan', 'relaxed_order', true)
             || set_config('hnsw.ef_search', %(ef_search)s::text, true)
             || set_config('hnsw.iterative_scan', 'relaxed_order', true)) is not null
    and (%(filter)s::jsonb is null or metadata @> %(filter)s::jsonb)
  order by embedding {operator} %(embedding)s::{type}
  limit %(limit)s
) as nearest
order by distance + 0, id

-- name: search_as_set
-- On a caller's connection nothing may be set: the probes are his.
select id, content, metadata::text, embedding {operator} %(embedding)s::{type} as distance
from {table}
where %(filter)s::jsonb is null or metadata @> %(filter)s::jsonb
order by embedding {operator} %(embedding)s::{type}
limit %(limit)s

-- name: search_exact
-- "+ 0" makes it an expression that no index can serve.
select id, content, metadata::text, embedding {operator} %(embedding)s::{type} as distance
from {table}
where %(filter)s::jsonb is null or metadata @> %(filter)s::jsonb
order by (embedding {operator} %(embedding)s::{type}) + 0, id
limit %(limit)s

-- name: create_index
create index concurrently {new_index} on {table} using {method} (embedding {opclass}) with ({options})

-- name: drop_index
drop index concurrently if exists {index}

-- name: limit_lock_wait
-- The change of an option locks the index for everybody, for a moment; do not queue up behind a long query.
set local lock_timeout = '3s'

-- name: set_options
alter index {index} set ({options})

-- name: reset_options
alter index {index} reset ({names})

-- name: reindex
reindex index concurrently {index}

-- name: analyze
analyze {table}

-- name: lock_index
-- One rebuild of a table at a time; freed with the session, also after a kill -9.
select pg_try_advisory_lock(7063767, to_regclass(%(table)s)::oid::integer)

-- name: unlock_index
select pg_advisory_unlock(7063767, to_regclass(%(table)s)::oid::integer)

-- name: index_work
-- Builds of an index on the table that are running now.
select count(*) from pg_stat_progress_create_index where relid = to_regclass(%(table)s)

-- name: list_leftovers
-- What an interrupted build or rebuild leaves: invalid indexes that cost every write and serve no search. Only those of
-- our names: whose another one is, is not ours to say.
select i.relname::text from pg_index as x
join pg_class as i on i.oid = x.indexrelid join pg_am as m on m.oid = i.relam
where x.indrelid = to_regclass(%(table)s) and not x.indisvalid and m.amname in ('ivfflat', 'hnsw')
  and starts_with(i.relname, %(prefix)s)
order by i.relname

-- name: list_others
-- The collection's indexes by our names but for the given one: what another method has taken over from.
select i.relname::text from pg_index as x
join pg_class as i on i.oid = x.indexrelid join pg_am as m on m.oid = i.relam
where x.indrelid = to_regclass(%(table)s) and i.relname <> %(index)s
  and (i.relname, m.amname) in ((%(prefix)s || 'ivf', 'ivfflat'), (%(prefix)s || 'hnsw', 'hnsw'))

-- name: index_oid
-- A rebuilt index has another oid, so this tells whether a rebuild came through that nobody lived to hear of.
select to_regclass(%(index)s)::oid::bigint

-- name: read_memory
select pg_size_bytes(current_setting('maintenance_work_mem'))

-- name: raise_memory
select set_config('maintenance_work_mem', %(kilobytes)s::bigint || 'kB', false)

-- name: reset_memory
set maintenance_work_mem to default

-- name: inspect_schema
-- Where pageinspect is, if it is here and may be used.
select n.nspname from pg_extension as e join pg_namespace as n on n.oid = e.extnamespace
where e.extname = 'pageinspect' and current_setting('is_superuser') = 'on'

-- name: lists_built
-- The meta page of an ivfflat index: bytes 34 and 35 are the lists it was built with.
select get_byte(page, 34) + 256 * get_byte(page, 35)
from (select {inspect}.get_raw_page(%(index)s, 0) as page) as meta

-- name: begin_measurement
set transaction isolation level repeatable read, read only

-- name: prefer_index
set local enable_seqscan = off

-- name: id_range
select min(id), max(id) from {table}

-- name: nearest_ids
-- The rows at or above numbers drawn at random.
select distinct found.id from unnest(%(draws)s::bigint[]) as draw
cross join lateral (select id from {table} where id >= draw order by id limit 1) as found
order by found.id

-- name: measure_exact
select embedding {operator} (select embedding from {table} where id = %(id)s) as distance
from {table} where id <> %(id)s
order by (embedding {operator} (select embedding from {table} where id = %(id)s)) + 0
limit %(k)s

-- name: measure_index
select embedding {operator} (select embedding from {table} where id = %(id)s) as distance
from {table}
where id <> %(id)s
  and (select set_config('ivfflat.probes', %(probes)s::text, true)
           || set_config('ivfflat.iterative_scan', 'relaxed_order', true)
           || set_config('hnsw.ef_search', %(ef_search)s::text, true)
           || set_config('hnsw.iterative_scan', 'relaxed_order', true)) is not null
order by embedding {operator} (select embedding from {table} where id = %(id)s)
limit %(k)s

-- name: index_scans_here
-- Scans of each vector index of the table in this very transaction: proof of which one was used.
select i.relname::text, pg_stat_get_xact_numscans(i.oid)
from pg_index as x join pg_class as i on i.oid = x.indexrelid join pg_am as m on m.oid = i.relam
where x.indrelid = to_regclass(%(table)s) and m.amname in ('ivfflat', 'hnsw')

-- name: keep_recall
-- The best so far, before a new measurement takes its place.
insert into pgops.recall_before as b (name, recall, measured_at)
select name, recall, recall_at from pgops.vector_collections where name = %(name)s and recall is not null and recall_at is not null
on conflict (name) do update set recall = excluded.recall, measured_at = excluded.measured_at
where excluded.recall >= b.recall
   or b.measured_at < (select created_at from pgops.vector_collections where name = %(name)s)

-- name: forget_recall_before
delete from pgops.recall_before where name = %(name)s

-- name: record_recall
update pgops.vector_collections
set recall = %(recall)s, recall_low = %(low)s, recall_high = %(high)s, recall_at = statement_timestamp()
where name = %(name)s
returning recall_at

-- name: forget_recall
-- What was measured was measured of an index that is no more.
update pgops.vector_collections
set recall = null, recall_low = null, recall_high = null, recall_at = null
where name = %(name)s
