-- The history that tells when one PostgreSQL will no longer do: one look a minute, by whoever's turn it is.

-- name: take_turn
-- Somebody else has looked within the minute, or looks now: no row. Who looks waits for nobody's lock.
update pgops.growth_turn set taken_at = statement_timestamp()
where taken_at < statement_timestamp() - interval '55 seconds'
  and only_one = (select only_one from pgops.growth_turn for update skip locked)
returning set_config('lock_timeout', '250', true)

-- name: look
-- Every measure as it is now; `counts` ones only grow, and are told by the second. Nothing here grows with what is
-- stored but the number of tables and queues. The wait is that of the oldest ready job, above what workers have claimed. What
-- is written is counted in rows, and `each` makes bytes of those that came since: what a row takes is estimated anew now
-- and then, up to what is stored in line.
with floors as materialized (
  select f.key as queue, p.priority, max((f.value ->> (p.priority - 1))::bigint) as seq
  from pgops.workers w cross join jsonb_each(w.floors) f cross join generate_series(1, 4) as p (priority)
  where w.heartbeat_at >= statement_timestamp() - w.lease
  group by f.key, p.priority
), vector_tables as materialized (
  select x.indrelid as oid, sum(pg_stat_get_numscans(x.indexrelid)) as searches
  from pg_index x join pg_class i on i.oid = x.indexrelid join pg_am m on m.oid = i.relam
  where m.amname in ('ivfflat', 'hnsw') and i.relkind = 'i'
  group by x.indrelid
), written as materialized (
  select case when n.nspname <> 'pgops' then 'others'
              when c.relname ~ '^(job_|queue|worker|cron)' then 'queue'
              when c.relname ~ '^(event_|subscription|parked_|relays|inbox|pubsub_)' then 'outbox'
              when c.relname ~ '^kv_' then 'kv' when c.relname ~ '^doc_' then 'documents'
              when c.relname ~ '^vec_' then 'vectors' else 'rest' end as subsystem,
         i.rows + pg_stat_get_tuples_deleted(c.oid) as rows,
         i.rows * case when c.reltuples > 0 then least(c.relpages * current_setting('block_size')::float8 / c.reltuples, 2000)
                       else 200 end
           + pg_stat_get_tuples_deleted(c.oid) * 64.0 as bytes
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  cross join lateral (select pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) as rows) i
  where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname not in ('pg_catalog', 'information_schema')
)
select measure, value, counts,
       coalesce((select sum(w.bytes) / nullif(sum(w.rows), 0) from written w
                 where 'written_' || w.subsystem || '_per_s' = measure), 1)::float8
from (
  select 'jobs_per_s' as measure, coalesce(sum(completed), 0)::float8 as value, true as counts from pgops.queue_total
  union all
  select 'enqueued_per_s', coalesce(sum(enqueued), 0)::float8, true from pgops.queue_total
  union all
  select 'wait_s', coalesce(extract(epoch from statement_timestamp() - min(h.ready_at)), 0)::float8, false
  from pgops.queues q cross join generate_series(1, 4) as p (priority)
  cross join lateral (
    select a.ready_at from pgops.job_available a
    where not q.paused and a.queue = q.queue and a.priority = p.priority
      and a.seq > coalesce((select seq from floors f where f.queue = q.queue and f.priority = p.priority), 0)
    order by a.seq limit 1
  ) h
  union all
  select 'events_per_s', last_value::float8, true from pgops.event_id
  union all
  select 'requests_per_s',
         ((select coalesce(sum(hits + misses), 0) from pgops.cache_stats)
          + (select coalesce(sum(enqueued), 0) from pgops.queue_total))::float8, true
  union all
  select 'subscribers', count(*)::float8, false from pgops.subscriptions
  union all
  select 'connections', sum(numbackends)::float8, false from pg_stat_database
  union all
  select 'vectors', coalesce(sum(greatest(c.reltuples, pg_stat_get_live_tuples(c.oid))), 0)::float8, false
  from vector_tables v join pg_class c on c.oid = v.oid
  union all
  select 'searches_per_s', coalesce(sum(searches), 0)::float8, true from vector_tables
  union all
  select 'wal_bytes_per_s',
         case when not pg_is_in_recovery() then pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') end::float8, true
  union all
  select 'replica_lag_s', max(extract(epoch from coalesce(replay_lag, '0')))::float8, false from pg_stat_replication
  where pg_has_role('pg_read_all_stats', 'usage')
  union all
  select 'log_bytes', sum(pg_total_relation_size(i.inhrelid))::float8, false
  from pg_inherits i where i.inhparent in ('pgops.event_log'::regclass, 'pgops.job_history'::regclass)
  union all
  select 'written_' || subsystem || '_per_s', sum(rows)::float8, true from written group by subsystem
) as seen
where value is not null

-- name: note
-- A counter that has gone backwards, or was not looked at for ten minutes, tells nothing this time.
with seen as materialized (
  select * from unnest(%(measures)s::text[], %(values)s::float8[], %(counts)s::boolean[], %(each)s::float8[])
    as s (measure, value, counts, each)
), told as materialized (
  select s.measure, case when s.counts then (s.value - l.value) * s.each / p.seconds else s.value end as value,
         coalesce(p.seconds, 60) as seconds
  from seen s
  left join pgops.growth_look l on l.measure = s.measure and l.at > statement_timestamp() - interval '10 minutes'
  cross join lateral (select nullif(extract(epoch from statement_timestamp() - l.at), 0)::float8 as seconds) p
  where not s.counts or (s.value >= l.value and p.seconds is not null)
), looked as (
  insert into pgops.growth_look as l (measure, value, at) select measure, value, statement_timestamp() from seen
  on conflict (measure) do update set value = excluded.value, at = excluded.at
), gone as (
  delete from pgops.growth g using seen s
  where g.measure = s.measure and g.at < statement_timestamp() - interval '396 days'
)
insert into pgops.growth as g (measure, at, mean, highest, seconds)
select measure, date_trunc('hour', statement_timestamp(), 'utc'), value, value, seconds from told
on conflict (measure, at) do update set
  mean = (g.mean * g.seconds + excluded.mean * excluded.seconds) / (g.seconds + excluded.seconds),
  highest = greatest(g.highest, excluded.highest), seconds = g.seconds + excluded.seconds
