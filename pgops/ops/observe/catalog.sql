-- What the collector asks. Nothing here counts without a bound: depth comes from the queue's deltas, what is listed has
-- a limit, what is large is estimated.

-- name: begin_look
-- First of the observing transaction: read only, bounded in time, and what this role may see. Without bitmaps and
-- sorts a capped look stops at its cap, whatever the planner believes of the number of rows; workers are not started.
-- To plan anew each time would cost more than most of them.
select set_config('transaction_read_only', 'on', true), set_config('statement_timeout', %(statement_ms)s::text, true),
       set_config('lock_timeout', %(lock_ms)s::text, true), set_config('jit', 'off', true),
       set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true),
       set_config('max_parallel_workers_per_gather', '0', true), set_config('plan_cache_mode', 'force_generic_plan', true),
       statement_timestamp(), quote_ident(current_user), n.oid is not null, coalesce(has_schema_privilege(n.oid, 'usage'), false),
       pg_has_role('pg_read_all_stats', 'usage'), current_setting('is_superuser') = 'on',
       current_setting('server_version_num')::integer
from (select) as one left join pg_namespace n on n.nspname = 'pgops'

-- name: savepoint
-- One for all parts: nothing is written, so going back to the start loses nothing.
savepoint part

-- name: rollback
rollback to savepoint part

-- name: server
-- The size walks over the files of the database, so this is asked every ten seconds only.
select current_setting('server_version'), current_setting('server_version_num')::integer, current_database()::text,
       case when has_database_privilege(current_database(), 'connect') then pg_database_size(current_database()) end,
       extract(epoch from statement_timestamp() - pg_postmaster_start_time())::float8, pg_is_in_recovery(),
       (select extversion from pg_extension where extname = 'vector'), pg_postmaster_start_time()

-- name: sessions
-- Clients of all databases: the limit is the server's. This session counts, but its own transaction is not "oldest".
with client as materialized (
  select pid, state, extract(epoch from statement_timestamp() - xact_start)::float8 as transaction_s,
         extract(epoch from statement_timestamp() - state_change)::float8 as since_s
  from pg_stat_activity where backend_type = 'client backend'
), waiting as (
  select pid, since_s from client where state in ('idle in transaction', 'idle in transaction (aborted)') order by since_s desc limit 1
)
select count(*), count(*) filter (where state in ('active', 'fastpath function call')),
       count(*) filter (where state = 'idle'), count(*) filter (where state in ('idle in transaction', 'idle in transaction (aborted)')),
       current_setting('max_connections')::integer, max(transaction_s) filter (where pid <> pg_backend_pid()),
       (select since_s from waiting), (select pid from waiting)
from client

-- name: queues
-- Depth from the totals and what is not yet folded into them. The head of each priority is probed above what living
-- workers have claimed, since below it only dead index entries stand; an empty queue is not probed.
with floors as materialized (
  select f.key as queue, p.priority, max((f.value ->> (p.priority - 1))::bigint) as seq
  from pgops.workers w cross join jsonb_each(w.floors) f cross join generate_series(1, 4) as p (priority)
  where w.heartbeat_at >= statement_timestamp() - w.lease
  group by f.key, p.priority
)
select q.queue, q.paused and coalesce(q.resume_at > statement_timestamp(), true), d.available, d.scheduled, d.running, d.dead, d.enqueued, d.completed, d.failed,
       extract(epoch from statement_timestamp() - h.ready_at)::float8, d.waiting, q.limited
from pgops.queues q
left join pgops.queue_total t on t.queue = q.queue
cross join lateral (
  select greatest(coalesce(t.available, 0) + coalesce(sum(available), 0), 0)::bigint as available,
         greatest(coalesce(t.scheduled, 0) + coalesce(sum(scheduled), 0), 0)::bigint as scheduled,
         greatest(coalesce(t.waiting, 0) + coalesce(sum(waiting), 0), 0)::bigint as waiting,
         greatest(coalesce(t.running, 0) + coalesce(sum(running), 0), 0)::bigint as running,
         greatest(coalesce(t.dead, 0) + coalesce(sum(dead), 0), 0)::bigint as dead,
         (coalesce(t.enqueued, 0) + coalesce(sum(enqueued), 0))::bigint as enqueued,
         (coalesce(t.completed, 0) + coalesce(sum(completed), 0))::bigint as completed,
         (coalesce(t.failed, 0) + coalesce(sum(failed), 0))::bigint as failed
  from pgops.queue_delta where queue = q.queue and id > coalesce(t.folded_id, 0)
) d
cross join lateral (
  select min(head.ready_at) as ready_at
  from generate_series(1, 4) as p (priority)
  cross join lateral (
    select a.ready_at from pgops.job_available a
    where d.available > 0 and a.queue = q.queue and a.priority = p.priority
      and a.seq > coalesce((select seq from floors f where f.queue = q.queue and f.priority = p.priority), 0)
    order by a.seq limit 1
  ) head
) h
order by q.queue

-- name: stuck
-- Running jobs out of lease or time, and the first ready ones of the queues in `waiting` (their head is old) that
-- nobody claims from: nothing was started for `wait_s`, and no living worker has room. The limit stands before the
-- filter, so that a long backlog is not read to its end. The last column: some queue's number may be cut. Where nothing runs, nothing is visited. `total` is the queue's number, at most the caps.
with late as materialized (
  select r.queue, r.id, r.kind, r.owner, r.lease_until < statement_timestamp() as expired,
         extract(epoch from statement_timestamp()
                 - case when r.lease_until < statement_timestamp() then r.lease_until else r.started_at end)::float8 as age_s
  from pgops.job_running r join pgops.queues q on q.queue = r.queue
  where %(running)s
    and (r.lease_until < statement_timestamp() or r.started_at < statement_timestamp() - q.max_runtime)
  limit %(cap)s::bigint + 1
), living as materialized (
  select id, queues, running, concurrency, floors from pgops.workers
  where heartbeat_at >= statement_timestamp() - lease
), idle as materialized (
  select q.queue from unnest(%(waiting)s::text[]) as q (queue)
  where not exists (select from living w where q.queue = any(w.queues) and w.running < w.concurrency)
    and not exists (select from pgops.job_running r where r.queue = q.queue
                    and r.started_at > statement_timestamp() - make_interval(secs => %(wait_s)s::float8))
), unclaimed as (
  select i.queue, a.id, a.kind, null::bigint as owner, null::boolean as expired,
         extract(epoch from statement_timestamp() - a.ready_at)::float8 as age_s
  from idle i
  cross join generate_series(1, 4) as p (priority)
  cross join lateral (
    select coalesce(a.id, a.seq) as id, a.kind, a.ready_at from pgops.job_available a
    where a.queue = i.queue and a.priority = p.priority
      and a.seq > coalesce((select max((w.floors -> i.queue ->> (p.priority - 1))::bigint) from living w), 0)
    order by a.seq limit %(cap)s::bigint + 1
  ) a
  where a.ready_at < statement_timestamp() - make_interval(secs => %(wait_s)s::float8)
), found as (
  select *, count(*) over (partition by queue) as total,
         row_number() over (partition by queue, expired order by age_s desc) as place
  from (select queue, id, kind, owner, expired, age_s from late
        union all select queue, id, kind, owner, expired, age_s from unclaimed) as both_kinds
)
select queue, id, kind, case when expired then 'lease expired' when not expired then 'running too long' else 'not claimed' end,
       age_s, owner, total, (select count(*) from late) > %(cap)s
from found where place <= %(shown)s
order by queue, age_s desc

-- name: workers
-- Living ones first; alive is a heartbeat within the lease.
select id, host, pid, queues, concurrency, running,
       extract(epoch from statement_timestamp() - heartbeat_at)::float8 as silent_s,
       heartbeat_at >= statement_timestamp() - lease as alive, stopping
from pgops.workers
order by alive desc, id limit 500

-- name: outbox
-- A capped look at what each subscription's slowest part has not seen, oldest first, and at what was committed late.
-- Beyond the cap an estimate: the ids from where the cursors stand to the newest, by the share that is wanted.
with cursors as materialized (
  select p.subscription, p.part, p.after_id, p.target is not null as is_open, p.relayed, p.replayed,
         p.since, p.since_seen, pg_snapshot_xmax(p.seen) as seen_xmax,
         array(select xid from pg_snapshot_xip(p.seen) xid where pg_visible_in_snapshot(xid, now.snapshot)) as ended
  from pgops.subscription_parts p cross join (select pg_current_snapshot() as snapshot) now
), standing as materialized (
  select subscription, min(seen_xmax) as seen_xmax, bool_or(is_open) as is_open, sum(relayed)::bigint as relayed,
         bool_or(replayed) as replaying
  from cursors group by subscription
)
select s.name, s.sink, s.paused, c.relayed,
       (select count(*) from pgops.relays r where r.subscription = s.name and r.alive_until >= statement_timestamp()),
       (select count(*) from (select from pgops.parked_events k where k.subscription = s.name
                              limit %(cap)s::bigint + 1) as capped),
       case when lag.capped then greatest(lag.events, ((newest.id - lag.at_id) * lag.wanted / greatest(lag.seen, 1))::bigint)
            else lag.events end,
       lag.age_s, c.is_open or lag.capped,
       (select count(*) from pgops.parked_keys h where h.subscription = s.name), c.replaying,
       (select h.system_identifier = i.system_identifier and h.database_oid = d.oid
        from pgops.event_home h, pg_control_system() i, pg_database d where d.datname = current_database()),
       (select max(r.trouble) from pgops.relays r
        where r.subscription = s.name and r.alive_until >= statement_timestamp())
from pgops.subscriptions s
join standing c on c.subscription = s.name
cross join (
  select max(id) as id from (select id from pgops.event_log order by xid desc, part desc, id desc limit 1) as last
) newest
cross join lateral (
  with fresh as materialized (
    select part, xid, id, topic, type, created_at from pgops.event_log
    where xid >= c.seen_xmax and xid < pg_snapshot_xmax(pg_current_snapshot())
    order by xid, part, id limit %(cap)s::bigint + 1
  ), late as materialized (
    select part, xid, id, topic, type, created_at from pgops.event_log
    where xid = any(array(select unnest(ended) from cursors where subscription = s.name))
    limit %(cap)s::bigint + 1
  ), behind as (
    select e.id, e.created_at, e.id <= p.after_id as is_delivered
    from fresh e join cursors p on p.part = e.part and p.subscription = s.name
    where e.xid >= p.seen_xmax and (s.topics is null or e.topic = any(s.topics))
      and (s.types is null or e.type = any(s.types))
      and (p.since is null or e.created_at >= p.since or not pg_visible_in_snapshot(e.xid, p.since_seen))
    union all
    select e.id, e.created_at, e.id <= p.after_id
    from late e join cursors p on p.part = e.part and p.subscription = s.name
    where e.xid = any(p.ended) and (s.topics is null or e.topic = any(s.topics))
      and (s.types is null or e.type = any(s.types))
      and (p.since is null or e.created_at >= p.since or not pg_visible_in_snapshot(e.xid, p.since_seen))
  )
  select count(*) filter (where not is_delivered) as events, count(*) as wanted,
         (select avg(case when p.is_open then greatest(p.after_id, min(b.id))
                          when p.seen_xmax = c.seen_xmax then min(b.id) else newest.id end)
          from cursors p where p.subscription = s.name) as at_id,
         greatest(extract(epoch from statement_timestamp() - coalesce(
           min(created_at) filter (where not is_delivered),
           (select e.created_at from (select part, after_id from cursors p
                                      where p.subscription = s.name and p.is_open order by after_id limit 1) p
            join lateral (select e.created_at from pgops.event_log e
                          where e.part = p.part and e.id > p.after_id order by e.id limit 1) e on true))), 0)::float8 as age_s,
         (select count(*) from fresh) + (select count(*) from late) as seen,
         (select count(*) from fresh) > %(cap)s or (select count(*) from late) > %(cap)s as capped
  from behind b
) lag
order by s.name

-- name: pubsub
-- The notification queue, in shares and in pages of 8 kB, and a capped look at the payloads sent by reference. A session
-- that looks listens to nothing, unless a pooler lends it and somebody said LISTEN through that.
with kept as (
  select created_at from pgops.pubsub_payloads limit %(cap)s::bigint + 1
), queue as materialized (
  select pg_notification_queue_usage() as usage
)
select usage, (usage * coalesce(current_setting('max_notify_queue_pages', true)::float8, 1048576))::bigint,
       (select count(*) from kept),
       (select extract(epoch from statement_timestamp() - min(created_at))::float8 from kept),
       pg_total_relation_size('pgops.pubsub_payloads'),
       array(select c from pg_listening_channels() c where not starts_with(c, 'pgops_ping_') order by c limit 20)
from queue

-- name: cache
-- Entries and those that wait for the purge (expired, or invalidated with their namespace) are counted in a small
-- table; in a large one pages spread over it are read (Tid Range Scans), so that the cost does not grow with it.
with store as materialized (
  select c.oid, pg_relation_size(c.oid) / current_setting('block_size')::bigint as pages,
         greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid), 0) as estimated
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'pgops' and c.relname = 'cache_store'
), invalidated as materialized (
  select namespace, generation from pgops.cache_namespaces where generation > 0
), sampled as materialized (
  select sum(page.expired)::bigint as expired
  from store s
  cross join generate_series(0, %(sample_pages)s::bigint - 1) as n
  cross join lateral (
    select count(*) filter (where coalesce(e.stale_until, e.expires_at) <= statement_timestamp()
                                  or e.generation < i.generation) as expired
    from pgops.cache_store e left join invalidated i on i.namespace = e.namespace
    where e.ctid >= ('(' || s.pages * n / %(sample_pages)s || ',0)')::tid
      and e.ctid < ('(' || s.pages * n / %(sample_pages)s + 1 || ',0)')::tid
  ) page
  where s.pages > %(exact_pages)s
), counted as materialized (
  select count(*) as entries,
         count(*) filter (where coalesce(e.stale_until, e.expires_at) <= statement_timestamp()
                          or e.generation < i.generation) as expired
  from pgops.cache_store e left join invalidated i on i.namespace = e.namespace
  where (select pages from store) <= %(exact_pages)s
)
select coalesce(sum(t.hits), 0)::bigint, coalesce(sum(t.misses), 0)::bigint,
       (select blks_hit::float8 / nullif(blks_hit + blks_read, 0) from pg_stat_database where datname = current_database()),
       (select case when s.pages <= %(exact_pages)s then c.entries else s.estimated end from store s, counted c),
       (select case when s.pages <= %(exact_pages)s then c.expired else m.expired * s.pages / %(sample_pages)s end
        from store s, counted c, sampled m),
       (select pages <= %(exact_pages)s from store), (select pg_total_relation_size(oid) from store),
       (select (filled_at is not null and count(t.namespace) = 0)
               or coalesce(emptied_at > statement_timestamp() - interval '1 hour', false) from pgops.cache_marker)
from pgops.cache_stats t

-- name: kv_entries
-- Of one of the two stores, read as the cache is: keys, expired ones, whether that is exact, size.
with store as materialized (
  select c.oid, pg_relation_size(c.oid) / current_setting('block_size')::bigint as pages,
         greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid), 0) as estimated
  from pg_class c where c.oid = '{store}'::regclass
), sampled as materialized (
  select sum(page.expired)::bigint as expired
  from store s
  cross join generate_series(0, case when s.pages > %(exact_pages)s then %(sample_pages)s::bigint - 1 else -1 end) as n
  cross join lateral (
    select count(*) filter (where expires_at <= statement_timestamp()) as expired
    from {store}
    where ctid >= ('(' || s.pages * n / %(sample_pages)s || ',0)')::tid
      and ctid < ('(' || s.pages * n / %(sample_pages)s + 1 || ',0)')::tid
  ) page
), counted as materialized (
  select count(*) as entries, count(*) filter (where expires_at <= statement_timestamp()) as expired
  from {store} where (select pages from store) <= %(exact_pages)s
)
select case when s.pages <= %(exact_pages)s then c.entries else s.estimated end,
       case when s.pages <= %(exact_pages)s then c.expired else coalesce(m.expired, 0) * s.pages / %(sample_pages)s end,
       s.pages <= %(exact_pages)s, pg_total_relation_size(s.oid)
from store s, counted c, sampled m

-- name: limit_entries
-- The same of the keys of one algorithm, whose end is in microseconds.
with store as materialized (
  select c.oid, pg_relation_size(c.oid) / current_setting('block_size')::bigint as pages,
         greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid), 0) as estimated
  from pg_class c where c.oid = '{entries}'::regclass
), sampled as materialized (
  select sum(page.expired)::bigint as expired
  from store s
  cross join generate_series(0, case when s.pages > %(exact_pages)s then %(sample_pages)s::bigint - 1 else -1 end) as n
  cross join lateral (
    select count(*) filter (where {until} <= (extract(epoch from statement_timestamp()) * 1000000)::bigint) as expired
    from {entries}
    where ctid >= ('(' || s.pages * n / %(sample_pages)s || ',0)')::tid
      and ctid < ('(' || s.pages * n / %(sample_pages)s + 1 || ',0)')::tid
  ) page
), counted as materialized (
  select count(*) as entries, count(*) filter (where {until} <= (extract(epoch from statement_timestamp()) * 1000000)::bigint) as expired
  from {entries} where (select pages from store) <= %(exact_pages)s
)
select case when s.pages <= %(exact_pages)s then c.entries else s.estimated end,
       case when s.pages <= %(exact_pages)s then c.expired else coalesce(m.expired, 0) * s.pages / %(sample_pages)s end,
       s.pages <= %(exact_pages)s, pg_total_relation_size(s.oid)
from store s, counted c, sampled m

-- name: vector_indexes
-- Every ivfflat and hnsw index of the database; one that is dropped meanwhile has no size. Without an option ivfflat
-- is built with 100 lists. Type and dimensions are the index's own, which may be of an expression of another type.
select n.nspname::text, t.relname::text, i.relname::text, m.amname::text,
       greatest(t.reltuples::bigint, pg_stat_get_live_tuples(t.oid), 0),
       case when m.amname = 'ivfflat' then coalesce(
         (select split_part(option, '=', 2)::integer from unnest(i.reloptions) as option where starts_with(option, 'lists=')),
         100) end,
       current_setting('ivfflat.probes', true)::integer, coalesce(pg_relation_size(i.oid), 0), x.indisvalid,
       coalesce(pg_stat_get_numscans(i.oid), 0),
       exists (select from pg_stat_progress_create_index p
               where p.relid = t.oid and (p.index_relid = i.oid or p.command in ('CREATE INDEX CONCURRENTLY', 'REINDEX CONCURRENTLY'))),
       quote_ident(ni.nspname) || '.' || quote_ident(i.relname), y.typname::text, o.opcname::text, a.atttypmod
from pg_index x
join pg_class i on i.oid = x.indexrelid
join pg_namespace ni on ni.oid = i.relnamespace
join pg_am m on m.oid = i.relam
join pg_class t on t.oid = x.indrelid
join pg_namespace n on n.oid = t.relnamespace
join pg_attribute a on a.attrelid = i.oid and a.attnum = 1
join pg_type y on y.oid = a.atttypid
join pg_opclass o on o.oid = x.indclass[0]
where m.amname in ('ivfflat', 'hnsw') and i.relkind = 'i'
order by 1, 2, 3 limit 500

-- name: vector_extension
-- Asked where there is no vector index: whether there could be one.
select exists (select from pg_extension where extname = 'vector'),
       exists (select from pg_available_extensions where name = 'vector'),
       current_setting('server_version_num')::integer / 10000

-- name: count_rows
-- An estimate of a small table is off by much, and its count costs little.
select count(*) from (select from {table} limit %(cap)s) counted

-- name: documents
-- Every registered collection whose table is there, from the catalog and the statistics alone. An index is unused
-- where it was never scanned; the primary key and the one for what expires always have their use.
select c.name, greatest(t.reltuples::bigint, pg_stat_get_live_tuples(t.oid), 0), pg_stat_get_dead_tuples(t.oid),
       pg_table_size(t.oid), i.number, i.bytes, i.invalid, i.unused,
       pg_stat_get_tuples_inserted(t.oid) + pg_stat_get_tuples_updated(t.oid) + pg_stat_get_tuples_deleted(t.oid),
       pg_stat_get_tuples_updated(t.oid), pg_stat_get_tuples_hot_updated(t.oid), pg_stat_get_numscans(t.oid) + i.scans
from pgops.collections c
join pg_namespace n on n.nspname = 'pgops'
join pg_class t on t.relnamespace = n.oid and t.relname = 'doc_' || c.name
cross join lateral (
  select count(*) as number, coalesce(sum(pg_relation_size(x.indexrelid)), 0)::bigint as bytes,
         count(*) filter (where not x.indisvalid) as invalid,
         count(*) filter (where x.indisvalid and not x.indisprimary and x.indkey::text <> '6'
                          and pg_stat_get_numscans(x.indexrelid) = 0) as unused,
         coalesce(sum(pg_stat_get_numscans(x.indexrelid)), 0)::bigint as scans
  from pg_index x where x.indrelid = t.oid
) i
order by c.name limit 500

-- name: register_readable
-- Asked first: to fail each time would fill the server's log where the extension is missing.
select coalesce(has_table_privilege(to_regclass('pgops.vector_collections'), 'select'), false)

-- name: collections
-- The register of vector collections, those whose table is there.
select v.name, v.recall, v.recall_low, v.recall_high, v.recall_at, v.type, v.dimensions, v.metric, v.embedder,
       greatest(t.reltuples::bigint, pg_stat_get_live_tuples(t.oid), 0)
from pgops.vector_collections v join pg_class t on t.oid = to_regclass('pgops.vec_' || v.name)
order by v.name limit 500

-- name: recall_kept
-- Asked first where the schema may be older: whether there is such a table, and one may read it.
select coalesce(has_table_privilege(to_regclass('pgops.recall_before'), 'select'), false)

-- name: recall_before
-- Of a collection that was dropped and made anew nothing counts that was measured before.
select b.name, b.recall, b.measured_at from pgops.recall_before b join pgops.vector_collections v on v.name = b.name
where b.measured_at >= v.created_at order by b.name limit 500

-- name: inspect_schema
-- Where pageinspect is; its functions are a superuser's.
select n.nspname::text from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pageinspect'

-- name: lists_built
-- The meta page of an ivfflat index: bytes 34 and 35 are the lists it was built with (pgvector's IvfflatMetaPageData).
select index, get_byte(page, 34) + 256 * get_byte(page, 35)
from unnest(%(indexes)s::text[]) as index cross join lateral {inspect}.get_raw_page(index, 0) as page
