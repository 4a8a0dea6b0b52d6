-- What PostgreSQL itself suffers from: who holds vacuum back, its log, its replicas, its tables and indexes, and what
-- runs out. Nothing here is asked each second, nothing waits for a lock that it can see, and every walk has an end.

-- name: xmin_holders
-- What vacuum must wait for in this database, the oldest first; who began later may be as old as whom he saw at work. Nobody waits for the snapshot of a vacuum itself, and
-- a walsender's is told as its slot's or its standby's. Who began just now is left out, and a standby that is level.
-- A column that came with 17 is read through jsonb.
with holders as (
  select 'backend' as kind, coalesce(nullif(a.application_name, ''), a.backend_type) as name,
         greatest(age(a.backend_xmin), age(a.backend_xid)) as xids,
         extract(epoch from statement_timestamp() - a.xact_start)::float8 as seconds, false as only_catalogs,
         a.pid, a.backend_start as started_at, a.usename::text as owner, a.state, a.backend_type
  from pg_stat_activity a
  where a.datid = (select oid from pg_database where datname = current_database()) and a.pid <> pg_backend_pid()
    and (a.backend_xmin is not null or a.backend_xid is not null) and a.backend_type <> 'walsender'
    and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid)
  union all
  select 'replication slot', s.slot_name::text, coalesce(age(s.xmin), age(s.catalog_xmin)),
         extract(epoch from statement_timestamp() - (to_jsonb(s) ->> 'inactive_since')::timestamptz)::float8,
         s.xmin is null, s.active_pid, null, null, case when s.active then 'active' else 'inactive' end, null
  from pg_replication_slots s where s.xmin is not null or s.catalog_xmin is not null
  union all
  select 'prepared transaction', p.gid, age(p.transaction),
         extract(epoch from statement_timestamp() - p.prepared)::float8, false, null, null, p.owner::text, 'prepared', null
  from pg_prepared_xacts p where p.database = current_database()
  union all
  select 'standby', coalesce(nullif(r.application_name, ''), host(r.client_addr), 'local'), age(r.backend_xmin),
         null, false, r.pid, r.backend_start, r.usename::text, r.state, 'walsender'
  from pg_stat_replication r where r.backend_xmin is not null
)
select kind, name, xids, seconds, only_catalogs, pid, started_at, owner, state, backend_type
from holders
where seconds >= %(seen_s)s or seconds is null and (kind <> 'standby' or xids >= %(level)s)
order by only_catalogs, xids desc, seconds desc nulls last limit %(cap)s

-- name: wal
-- Where the log is, and how checkpoints and the archiver do. On a standby that is what it has replayed.
select current_setting('wal_level'), pg_is_in_recovery(), l.lsn::text, (l.lsn - '0/0')::bigint,
       (w.wal_bytes / greatest(extract(epoch from statement_timestamp() - w.stats_reset), 1))::float8,
       extract(epoch from statement_timestamp() - w.stats_reset)::float8, b.checkpoints_timed, b.checkpoints_req,
       extract(epoch from statement_timestamp() - b.stats_reset)::float8,
       current_setting('archive_mode') <> 'off', a.archived_count, a.failed_count,
       coalesce(a.last_failed_time > a.last_archived_time, a.last_failed_time is not null), a.last_failed_wal,
       extract(epoch from statement_timestamp() - a.last_archived_time)::float8
from pg_stat_bgwriter b, pg_stat_archiver a, pg_stat_wal w,
     lateral (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as lsn) l

-- name: wal since 170000
-- As above: checkpoints moved into a view of their own.
select current_setting('wal_level'), pg_is_in_recovery(), l.lsn::text, (l.lsn - '0/0')::bigint,
       (w.wal_bytes / greatest(extract(epoch from statement_timestamp() - w.stats_reset), 1))::float8,
       extract(epoch from statement_timestamp() - w.stats_reset)::float8,
       case when pg_is_in_recovery() then c.restartpoints_timed else c.num_timed end,
       case when pg_is_in_recovery() then c.restartpoints_req else c.num_requested end,
       extract(epoch from statement_timestamp() - c.stats_reset)::float8,
       current_setting('archive_mode') <> 'off', a.archived_count, a.failed_count,
       coalesce(a.last_failed_time > a.last_archived_time, a.last_failed_time is not null), a.last_failed_wal,
       extract(epoch from statement_timestamp() - a.last_archived_time)::float8
from pg_stat_checkpointer c, pg_stat_archiver a, pg_stat_wal w,
     lateral (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as lsn) l

-- name: standbys
-- Who streams from this server, the furthest behind first.
select r.pid, coalesce(nullif(r.application_name, ''), 'unnamed'), coalesce(host(r.client_addr), 'local'), r.state, r.sync_state,
       greatest(l.lsn - r.replay_lsn, 0)::bigint, extract(epoch from r.replay_lag)::float8
from pg_stat_replication r,
     lateral (select case when pg_is_in_recovery() then coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                          else pg_current_wal_lsn() end as lsn) l
order by 6 desc nulls last, r.pid limit %(cap)s

-- name: slots
-- What keeps the log from being removed, the most kept first.
select s.slot_name::text, s.slot_type, s.plugin::text, s.database::text, s.active, s.wal_status,
       greatest(l.lsn - s.restart_lsn, 0)::bigint, s.safe_wal_size, age(coalesce(s.xmin, s.catalog_xmin)),
       extract(epoch from statement_timestamp() - (to_jsonb(s) ->> 'inactive_since')::timestamptz)::float8
from pg_replication_slots s,
     lateral (select case when pg_is_in_recovery() then coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                          else pg_current_wal_lsn() end as lsn) l
order by 7 desc nulls last, 1 limit %(cap)s

-- name: replay
-- Of a standby: how far behind it is itself. With nothing received and not replayed it is level with what it knows of.
select exists (select from pg_stat_wal_receiver where pid is not null), pg_is_wal_replay_paused(),
       greatest(pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn(), 0)::bigint,
       case when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
                 and exists (select from pg_stat_wal_receiver where pid is not null) then 0
            else extract(epoch from statement_timestamp() - pg_last_xact_replay_timestamp())::float8 end

-- name: replication_setting
-- Whether this server is a standby, and whether commits wait for one.
select pg_is_in_recovery(), current_setting('synchronous_standby_names') <> '' and current_setting('synchronous_commit') not in ('off', 'local')

-- name: tables
-- pgops' own busy tables, the tables with most dead rows and the largest, partitions summed under their root. All from
-- the catalog and the statistics; the size of what somebody locks away is left out, so that nobody is waited for.
with usual as materialized (
  select current_setting('autovacuum')::boolean as enabled, current_setting('autovacuum_vacuum_threshold')::float8 as least_rows,
         current_setting('autovacuum_vacuum_scale_factor')::float8 as scale,
         coalesce(nullif(current_setting('autovacuum_vacuum_max_threshold', true)::float8, -1), 'infinity') as most_rows
), walked as materialized (
  select c.oid, c.relispartition, c.relpersistence, c.reloptions, c.reltuples, c.relpages, c.relfrozenxid
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'pgops' and c.relkind = 'r'
  union all
  (select c.oid, c.relispartition, c.relpersistence, c.reloptions, c.reltuples, c.relpages, c.relfrozenxid
   from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where c.relkind in ('r', 'm') and c.relpersistence <> 't' and n.nspname not in ('pgops', 'pg_catalog', 'information_schema')
   limit %(walk)s)
), leaves as materialized (
  select w.oid, coalesce(case when w.relispartition then pg_partition_root(w.oid)::oid end, w.oid) as top,
         w.relpersistence, w.relpages, greatest(w.reltuples::bigint, pg_stat_get_live_tuples(w.oid), 0) as rows,
         pg_stat_get_dead_tuples(w.oid) as dead, age(w.relfrozenxid) as freeze_age,
         u.enabled and coalesce(o.enabled, true) as enabled,
         least(coalesce(o.least_rows, u.least_rows) + coalesce(o.scale, u.scale) * greatest(w.reltuples, 0),
               coalesce(nullif(o.most_rows, -1), u.most_rows)) as due_above
  from walked w cross join usual u
  cross join lateral (
    select (max(option_value) filter (where option_name = 'autovacuum_enabled'))::boolean as enabled,
           (max(option_value) filter (where option_name = 'autovacuum_vacuum_threshold'))::float8 as least_rows,
           (max(option_value) filter (where option_name = 'autovacuum_vacuum_scale_factor'))::float8 as scale,
           (max(option_value) filter (where option_name = 'autovacuum_vacuum_max_threshold'))::float8 as most_rows
    from pg_options_to_table(w.reloptions)
  ) o
), summed as materialized (
  select l.top, count(*) as leaves, sum(rows)::bigint as rows, sum(dead)::bigint as dead, sum(relpages) as pages,
         max(freeze_age) as freeze_age, bool_and(enabled) as enabled, bool_or(dead > due_above) as due,
         (max(dead) filter (where dead > due_above))::bigint as due_dead, sum(due_above)::float8 as due_above,
         bool_or(relpersistence = 'u') as unlogged
  from leaves l group by l.top
), chosen as materialized (
  select s.*, n.nspname as schema, c.relname as name,
         row_number() over (order by s.dead desc, s.pages desc) as by_dead, row_number() over (order by s.pages desc) as by_size
  from summed s join pg_class c on c.oid = s.top join pg_namespace n on n.oid = c.relnamespace
), locked as materialized (
  select array(select coalesce(x.indrelid, k.relation) from pg_locks k left join pg_index x on x.indexrelid = k.relation
               where k.locktype = 'relation' and k.mode = 'AccessExclusiveLock'
                 and k.database = (select oid from pg_database where datname = current_database())) as oids
)
select quote_ident(t.schema) || '.' || quote_ident(t.name), t.schema = 'pgops', t.leaves, t.rows, t.dead, m.updated, m.hot,
       m.vacuum, m.autovacuum, m.analyze, m.autoanalyze, t.enabled, t.due, t.due_above::bigint, m.vacuuming, m.bytes, t.freeze_age,
       t.unlogged
from chosen t
cross join lateral (
  select sum(pg_stat_get_tuples_updated(l.oid))::bigint as updated, sum(pg_stat_get_tuples_hot_updated(l.oid))::bigint as hot,
         max(pg_stat_get_last_vacuum_time(l.oid)) as vacuum, max(pg_stat_get_last_autovacuum_time(l.oid)) as autovacuum,
         max(pg_stat_get_last_analyze_time(l.oid)) as analyze, max(pg_stat_get_last_autoanalyze_time(l.oid)) as autoanalyze,
         exists (select from pg_stat_progress_vacuum v where v.datname = current_database() and v.relid = any(array_agg(l.oid))) as vacuuming,
         case when not bool_or(l.oid = any(k.oids)) then sum(case when l.oid = any(k.oids) then 0 else pg_total_relation_size(l.oid) end)::bigint end as bytes
  from leaves l cross join locked k where l.top = t.top
) m
where (t.schema = 'pgops' and t.name = any(%(own)s::text[])) or t.by_dead <= %(cap)s or t.by_size <= %(largest)s
order by t.dead desc, t.pages desc, 1

-- name: indexes
-- Only those that matter: invalid ones that nobody builds, one of two that are alike and can go, and large ones that
-- were not scanned since statistics began. Sizes are those of the last vacuum or build, so that no lock is waited for.
with walked as materialized (
  select x.*, quote_ident(ni.nspname) || '.' || quote_ident(i.relname) as name, t.relname as table_name, nt.nspname as table_schema,
         i.relkind, i.relispartition, i.relam, i.relpages::bigint * current_setting('block_size')::bigint as bytes,
         concat_ws('|', x.indrelid, i.relam, x.indnkeyatts, x.indkey, x.indclass, x.indcollation, x.indoption) as shape
  from pg_index x
  join pg_class i on i.oid = x.indexrelid join pg_namespace ni on ni.oid = i.relnamespace
  join pg_class t on t.oid = x.indrelid join pg_namespace nt on nt.oid = t.relnamespace
  where nt.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and t.relpersistence <> 't'
  limit %(walk)s
), statistics as materialized (
  select extract(epoch from statement_timestamp() - greatest(d.stats_reset, b.stats_reset))::float8 as since_s
  from pg_stat_database d, pg_stat_bgwriter b where d.datname = current_database()
), bound as materialized (
  select w.*, w.indisprimary or w.indisreplident or w.indisexclusion
              or exists (select from pg_constraint k where k.conindid = w.indexrelid) as needed
  from walked w
  where w.shape = any(array(select shape from walked where indisvalid and not relispartition group by shape having count(*) > 1))
    and w.indisvalid and not w.relispartition
), found as (
  select 'invalid' as problem, w.*, null::text as twin from walked w
  where w.relkind = 'i' and not (w.indisvalid and w.indisready)
    and not exists (select from pg_stat_progress_create_index p
                    where p.datname = current_database() and p.relid = w.indrelid and (p.index_relid = w.indexrelid or p.command like '%% CONCURRENTLY'))
  union all
  select 'unused', w.*, null from walked w cross join statistics s
  where w.relkind = 'i' and not w.relispartition and w.indisvalid and not w.indisunique and not w.indisreplident
    and not w.indisexclusion and pg_stat_get_numscans(w.indexrelid) = 0 and w.bytes >= %(unused_bytes)s
    and s.since_s >= %(unused_s)s and not (w.table_schema = 'pgops' and w.table_name !~ '^(doc|vec)_')
  union all
  (select distinct on (w.indexrelid) 'duplicate', w.*, o.name
  from bound b join walked w on w.indexrelid = b.indexrelid
  join bound o on o.shape = b.shape and o.indexrelid <> b.indexrelid
  where not b.needed and (not b.indisunique or o.indisunique)
    and (o.needed or o.indisunique and not b.indisunique or o.indexrelid < b.indexrelid)
    and pg_get_expr(b.indexprs, b.indrelid) is not distinct from pg_get_expr(o.indexprs, o.indrelid)
    and pg_get_expr(b.indpred, b.indrelid) is not distinct from pg_get_expr(o.indpred, o.indrelid)
  order by w.indexrelid, o.indexrelid)
), ranked as (
  select f.*, row_number() over (partition by f.problem order by f.bytes desc, f.indexrelid) as place from found f
)
select quote_ident(r.table_schema) || '.' || quote_ident(r.table_name), r.name, r.problem, m.amname::text, r.bytes,
       pg_stat_get_numscans(r.indexrelid), r.indisunique, r.twin, s.since_s
from ranked r join pg_am m on m.oid = r.relam cross join statistics s
where r.place <= %(cap)s
order by r.problem = 'invalid' desc, r.problem, r.bytes desc, 2

-- name: wraparound
-- How old the oldest transaction ids are, here and in the database where they are oldest.
select own.datname::text, age(own.datfrozenxid), mxid_age(own.datminmxid), xids.datname::text, age(xids.datfrozenxid),
       mxids.datname::text, mxid_age(mxids.datminmxid), current_setting('autovacuum_freeze_max_age')::bigint,
       current_setting('autovacuum_multixact_freeze_max_age')::bigint
from (select * from pg_database where datname = current_database()) own,
     lateral (select * from pg_database order by age(datfrozenxid) desc limit 1) xids,
     lateral (select * from pg_database order by mxid_age(datminmxid) desc limit 1) mxids

-- name: sequences
-- Those that have come half their way, to their own end or to that of the column which they feed. What this role may
-- not read is left out.
with walked as materialized (
  select s.*, quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name
  from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
  where c.relpersistence = 'p' and not s.seqcycle and has_sequence_privilege(s.seqrelid, 'usage, select')
  limit %(walk)s
), fed as (
  select w.name, pg_sequence_last_value(w.seqrelid) as last, w.seqincrement, w.seqmin, w.seqmax, c.feeds,
         case when w.seqincrement > 0 then least(w.seqmax, c.most) else greatest(w.seqmin, -c.most - 1) end as ends
  from walked w
  left join lateral (
    select t.relnamespace::regnamespace || '.' || quote_ident(t.relname) || '.' || quote_ident(a.attname) as feeds,
           case a.atttypid when 21 then 32767 when 23 then 2147483647 end::bigint as most
    from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    join pg_class t on t.oid = d.refobjid
    where d.classid = 'pg_class'::regclass and d.objid = w.seqrelid and d.refclassid = 'pg_class'::regclass
      and d.refobjsubid > 0 and d.deptype in ('a', 'i') limit 1
  ) c on true
), told as (
  select name, feeds, last, ends, case when seqincrement > 0 then (last::numeric - seqmin) / nullif(ends::numeric - seqmin, 0)
                                       else (seqmax - last::numeric) / nullif(seqmax - ends::numeric, 0) end::float8 as share
  from fed where last is not null
)
select name, feeds, last, ends, share from told where share >= %(share)s order by share desc, name limit %(cap)s

-- name: unlogged
-- Tables that a crash empties, but for pgops' own. Sizes are those of the last vacuum or analyze.
select quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relpages::bigint * current_setting('block_size')::bigint
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relpersistence = 'u' and c.relkind = 'r' and not (n.nspname = 'pgops' and c.relname = any(%(own)s::text[]))
order by c.relpages desc, 1 limit %(cap)s
