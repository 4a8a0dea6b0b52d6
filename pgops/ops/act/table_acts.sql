-- What the acts on tables and indexes ask and do: what a name means, who may, what it weighs, who works on it now.

-- name: in_recovery
select pg_is_in_recovery()

-- name: find_table
-- Tables of that name, the likeliest first: the name with its schema, then what this session sees without one, then
-- ours. The numbers are of all its partitions.
select c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname), n.nspname::text, c.relname::text,
       case when %(name)s::text in (n.nspname || '.' || c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname)) then 0
            when pg_table_is_visible(c.oid) then 1 when n.nspname = 'pgops' then 2 else 3 end as likely,
       p.rows, p.live, p.dead, p.bytes, p.index_bytes, p.vacuumed_s, p.analyzed_s,
       pg_has_role(c.relowner, 'usage') or pg_has_role(d.datdba, 'usage') and not c.relisshared,
       array(select s.pid from pg_stat_progress_vacuum s join pg_locks l on l.pid = s.pid
             where l.relation = any(p.oids) and l.mode = 'ShareUpdateExclusiveLock' and s.datname = current_database())
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_database d on d.datname = current_database()
cross join lateral (
  select array_agg(t.oid) as oids, coalesce(sum(greatest(t.reltuples, 0)), 0)::bigint as rows,
         coalesce(sum(pg_stat_get_live_tuples(t.oid)), 0)::bigint as live,
         coalesce(sum(pg_stat_get_dead_tuples(t.oid)), 0)::bigint as dead,
         coalesce(sum(pg_table_size(t.oid)), 0)::bigint as bytes,
         coalesce(sum(pg_indexes_size(t.oid)), 0)::bigint as index_bytes,
         extract(epoch from statement_timestamp() - max(greatest(pg_stat_get_last_vacuum_time(t.oid), pg_stat_get_last_autovacuum_time(t.oid))))::float8 as vacuumed_s,
         extract(epoch from statement_timestamp() - max(greatest(pg_stat_get_last_analyze_time(t.oid), pg_stat_get_last_autoanalyze_time(t.oid))))::float8 as analyzed_s
  from pg_class t
  where t.oid = c.oid or t.oid = any(array(select relid::oid from pg_partition_tree(c.oid)))
) p
where c.relkind in ('r', 'p', 'm')
  and (%(name)s::text in (n.nspname || '.' || c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname))
       or c.relname::text = %(name)s::text and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast'))
order by likely, 2 limit 5

-- name: may_maintain
-- Whether this role may vacuum or reindex the table though it does not own it; nobody could before 17.
select false where %(table)s::bigint is not null

-- name: may_maintain since 170000
select has_table_privilege(%(table)s::bigint::oid, 'maintain')

-- name: table_names
select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'm') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by n.nspname = 'pgops' desc, 1 limit 2000

-- name: vacuum_analyze
vacuum (analyze) {table}

-- name: analyze_only
analyze {table}

-- name: vacuum_progress
-- How far a vacuum of the table is, in pages of its heap.
select phase, heap_blks_total, heap_blks_scanned, heap_blks_vacuumed
from pg_stat_progress_vacuum where relid = %(table)s::bigint::oid and datname = current_database() limit 1

-- name: dead_rows
select coalesce(sum(pg_stat_get_dead_tuples(t.oid)), 0)::bigint from pg_class t
where t.oid = %(table)s::bigint::oid or t.oid = any(array(select relid::oid from pg_partition_tree(%(table)s::bigint::oid::regclass)))

-- name: xmin_holders
-- Whoever keeps vacuum from removing rows of this database that are dead already, the oldest first.
select what, who, since_s from (
  select 'session' as what,
         'pid ' || pid || ' (' || coalesce(nullif(application_name, ''), usename, backend_type, 'hidden') || ', '
           || coalesce(state, 'hidden') || ')' as who,
         extract(epoch from statement_timestamp() - xact_start)::float8 as since_s,
         greatest(age(backend_xid), age(backend_xmin)) as behind
  from pg_stat_activity
  where pid <> pg_backend_pid() and (backend_xid is not null or backend_xmin is not null) and datname = current_database()
    and backend_type not in ('autovacuum worker', 'walsender')
  union all
  select 'prepared transaction', gid, extract(epoch from statement_timestamp() - prepared)::float8, age(transaction)
  from pg_prepared_xacts where database = current_database()
  union all
  select 'replication slot', slot_name::text, null, greatest(age(xmin), age(catalog_xmin))
  from pg_replication_slots where xmin is not null or catalog_xmin is not null
  union all
  select 'standby', application_name, null, age(backend_xmin) from pg_stat_replication where backend_xmin is not null
) as holder
order by behind desc nulls last limit 3

-- name: find_index
-- Indexes of that name, the likeliest first, as find_table has tables.
select c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname), n.nspname::text, c.relname::text,
       case when %(name)s::text in (n.nspname || '.' || c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname)) then 0
            when pg_table_is_visible(c.oid) then 1 when n.nspname = 'pgops' then 2 else 3 end as likely,
       t.oid::bigint, tn.nspname::text, t.relname::text, c.relkind::text, m.amname::text, x.indisvalid, x.indisexclusion,
       coalesce((select k.conname::text from pg_constraint k where k.conindid = c.oid and k.contype in ('p', 'u', 'x') limit 1), ''),
       exists (select from pg_inherits i where i.inhrelid = c.oid),
       pg_relation_size(c.oid), greatest(t.reltuples, 0)::bigint, pg_get_indexdef(c.oid),
       pg_has_role(t.relowner, 'usage'),
       array(select l.pid from pg_stat_progress_create_index s join pg_locks l on l.pid = s.pid
             where l.relation = t.oid and l.locktype = 'relation' and l.mode in ('ShareUpdateExclusiveLock', 'ShareLock')
               and l.database = (select oid from pg_database where datname = current_database()))
from pg_index x
join pg_class c on c.oid = x.indexrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_am m on m.oid = c.relam
join pg_class t on t.oid = x.indrelid
join pg_namespace tn on tn.oid = t.relnamespace
where %(name)s::text in (n.nspname || '.' || c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname))
   or c.relname::text = %(name)s::text and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by likely, 2 limit 5

-- name: index_names
select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('i', 'I') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by n.nspname = 'pgops' desc, 1 limit 2000

-- name: leftovers
-- What an interrupted rebuild of the index has left: invalid, on the same table and columns, and named after it by
-- PostgreSQL itself, which cuts a long name.
select n.nspname::text, c.relname::text
from pg_index o
join pg_class oc on oc.oid = o.indexrelid
join pg_index x on x.indrelid = o.indrelid and x.indkey::text = o.indkey::text
join pg_class c on c.oid = x.indexrelid
join pg_namespace n on n.oid = c.relnamespace
cross join lateral (select regexp_replace(c.relname::text, '_cc(new|old)[0-9]*$', '') as stem) s
where o.indexrelid = %(index)s::bigint::oid and x.indexrelid <> o.indexrelid and not x.indisvalid and c.relname::text ~ '_cc(new|old)[0-9]*$'
  and (s.stem = oc.relname::text or octet_length(c.relname::text) >= 62 and starts_with(oc.relname::text, s.stem))
order by c.relname

-- name: disk
-- What a build may use, and where the data is, for who may know it.
select current_setting('maintenance_work_mem'), current_setting('temp_tablespaces'),
       case when pg_has_role('pg_read_all_settings', 'usage') then current_setting('data_directory') end,
       inet_server_addr() is null

-- name: reindex
reindex index concurrently {index}

-- name: drop_index
drop index concurrently if exists {index}

-- name: build_progress
-- How far the build of an index of the table is.
select phase, blocks_total, blocks_done, tuples_total, tuples_done
from pg_stat_progress_create_index where relid = %(table)s::bigint::oid and datname = current_database() limit 1

-- name: half_built
-- Indexes of a table that never became valid and that nobody builds now.
select n.nspname::text, c.relname::text
from pg_index x join pg_class c on c.oid = x.indexrelid join pg_namespace n on n.oid = c.relnamespace
where x.indrelid = %(table)s::bigint::oid and not x.indisvalid
  and not exists (select from pg_stat_progress_create_index p where p.index_relid = x.indexrelid)
order by c.relname

-- name: pgops_table
select to_regclass('pgops.' || quote_ident(%(name)s))::oid::bigint

-- name: churn_tables
-- Our tables that change all the time, as they are set now.
select c.oid::bigint, c.relname::text, coalesce(c.reloptions, '{}'), pg_has_role(c.relowner, 'usage')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'pgops' and c.relname::text = any(%(names)s::text[]) and c.relkind = 'r'
order by c.relname

-- name: limit_lock_wait
-- A change of settings waits for a vacuum of the table; do not let others queue up behind it.
set local lock_timeout = '3s'

-- name: set_options
alter table {table} set ({options})

-- name: reset_options
alter table {table} reset ({names})

-- name: stats_kept
-- Since when the counters of this database are kept, and who may reset them.
select (select stats_reset from pg_stat_database where datname = current_database()),
       (select count(*) from pg_stat_user_tables), (select count(*) from pg_stat_user_indexes),
       (select count(*) from pg_stat_user_indexes where idx_scan = 0),
       has_function_privilege('pg_catalog.pg_stat_reset()', 'execute'),
       has_function_privilege('pg_catalog.pg_stat_reset_single_table_counters(oid)', 'execute'), quote_ident(current_user)

-- name: table_stats
-- What the counters of one table say.
select coalesce(seq_scan, 0), coalesce(idx_scan, 0), n_tup_ins + n_tup_upd + n_tup_del, n_dead_tup,
       (select count(*) from pg_stat_all_indexes i where i.relid = s.relid)
from pg_stat_all_tables s where s.relid = %(table)s::bigint::oid

-- name: reset_all_stats
select pg_stat_reset()

-- name: reset_table_stats
-- The table's own counters, and those of its indexes.
select pg_stat_reset_single_table_counters(o.oid)
from (select c.oid from pg_class c where c.oid = to_regclass(%(name)s::text)
      union all select x.indexrelid from pg_index x where x.indrelid = to_regclass(%(name)s::text)) as o
