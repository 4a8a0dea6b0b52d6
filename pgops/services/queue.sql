-- The job queue's statements for operators. `queue` stands in each of them as `= %(queue)s`: it is the distribution column.

-- name: requeue_dead
-- All of the queue's dead letters, or the ids named; they start over, with their errors kept. One with a unique key stays
-- where another job holds the key by now.
with gone as (
  delete from pgops.job_dead
  where queue = %(queue)s and (%(all)s or id = any(%(ids)s)) and unique_key is null
  returning *
), back as (
  insert into pgops.job_available (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, created_at)
  select queue, id, priority, 0, max_attempts, kind, payload, headers, errors, created_at
  from gone where group_key is null order by died_at
), counted as (
  insert into pgops.queue_delta (queue, available, dead)
  select %(queue)s, count(*) filter (where group_key is null), -count(*) from gone having count(*) > 0
)
select count(*) + case when exists (
         select from pgops.job_dead where queue = %(queue)s and (%(all)s or id = any(%(ids)s)) and unique_key is not null)
       then pgops.redrive_unique(%(queue)s, %(ids)s::bigint[], %(all)s) else 0 end,
       count(case when group_key is not null then pgops.admit(
         (queue, group_key, null, id, priority, 0, max_attempts, kind, payload, headers, errors, null, created_at)
         ::pgops.job_waiting) end)
from (select * from gone order by died_at) as in_order

-- name: dead_matching
-- Dead letters by what they are and why they died, the oldest first.
select id from pgops.job_dead where queue = %(queue)s and {matching} order by died_at, id limit %(limit)s

-- name: newest_dead
-- The last that died of each of these queues, one more than the cap where there are, with what their last attempt said.
select q.queue, d.id, d.kind, d.error, d.died_at, statement_timestamp()
from unnest(%(queues)s::text[]) as q (queue)
cross join lateral (
  select id, kind, coalesce(left(errors -> -1 ->> 'error', %(bytes)s::integer), '') as error, died_at
  from pgops.job_dead where queue = q.queue order by died_at desc limit %(cap)s::bigint + 1
) d

-- name: discard_dead
-- Dead letters that nobody wants any more: the ids named, or all. They stand in the history.
with gone as (
  delete from pgops.job_dead where queue = %(queue)s and (%(all)s or id = any(%(ids)s))
  returning *
), kept as (
  insert into pgops.job_history (queue, id, attempt, kind, payload, errors, outcome, created_at)
  select queue, id, attempt, kind, payload, errors, 'discarded', created_at from gone
), counted as (
  insert into pgops.queue_delta (queue, dead) select %(queue)s, -count(*) from gone having count(*) > 0
)
select count(*), count(case when unique_key is not null then pgops.free_keys(queue, id, null, unique_key, 0) end) from gone

-- name: cancel_jobs
-- Jobs that have not started are gone, and stand in the history; of running ones the worker is told. The sort at the
-- end has all deleted before the first group is released, whose next job may be among them.
with ready as (
  delete from pgops.job_available
  where queue = %(queue)s and ctid = any(array(
    select ctid from pgops.job_available
    where queue = %(queue)s and priority = any('{1,2,3,4}') and seq = any(%(ids)s) and id is null
    union all
    select ctid from pgops.job_available where queue = %(queue)s and id = any(%(ids)s)))
  returning queue, coalesce(id, seq) as id, attempt, kind, payload, errors, group_key, unique_key, created_at
), later as (
  delete from pgops.job_scheduled where queue = %(queue)s and id = any(%(ids)s)
  returning queue, id, attempt, kind, payload, errors, group_key, unique_key, created_at
), behind as (
  delete from pgops.job_waiting where queue = %(queue)s and id = any(%(ids)s)
  returning queue, id, attempt, kind, payload, errors, group_key, unique_key, created_at
), gone as materialized (
  select *, 'available' as state from ready union all select *, 'scheduled' from later union all select *, 'waiting' from behind
), kept as (
  insert into pgops.job_history (queue, id, attempt, kind, payload, errors, outcome, created_at)
  select queue, id, attempt, kind, payload, coalesce(errors, '[]') || jsonb_build_object('error', %(reason)s::text), 'cancelled',
         created_at
  from gone
), counted as (
  insert into pgops.queue_delta (queue, available, scheduled, waiting)
  select %(queue)s, -count(*) filter (where state = 'available'), -count(*) filter (where state = 'scheduled'),
         -count(*) filter (where state = 'waiting')
  from gone having count(*) > 0
), told as (
  insert into pgops.job_cancel (queue, id, reason)
  select queue, id, %(reason)s from pgops.job_running where queue = %(queue)s and id = any(%(ids)s)
  on conflict (queue, id) do update set reason = excluded.reason
  returning id
)
select count(*), (select count(*) from told),
       count(case when group_key is not null or unique_key is not null
             then pgops.free_keys(queue, id, group_key, unique_key, 0) end)
from (select * from gone order by id) as all_of_them

-- name: edit_job
-- Another payload for a job that does not run.
with ready as (
  update pgops.job_available set payload = %(payload)s
  where queue = %(queue)s and priority = any('{1,2,3,4}') and seq = %(id)s and id is null
  returning 'available' as state
), returned as (
  update pgops.job_available set payload = %(payload)s where queue = %(queue)s and id = %(id)s returning 'available' as state
), later as (
  update pgops.job_scheduled set payload = %(payload)s where queue = %(queue)s and id = %(id)s returning 'scheduled' as state
), behind as (
  update pgops.job_waiting set payload = %(payload)s where queue = %(queue)s and id = %(id)s returning 'waiting' as state
), dead as (
  update pgops.job_dead set payload = %(payload)s where queue = %(queue)s and id = %(id)s returning 'dead' as state
)
select state from ready union all select state from returned union all select state from later
union all select state from behind union all select state from dead

-- name: requeue_stuck
-- Running jobs whose lease ran out or that run too long: the lease is taken away, so a late completion is refused.
with gone as (
  delete from pgops.job_running
  where queue = %(queue)s and (%(all)s or id = any(%(ids)s))
    and (lease_until < statement_timestamp() or started_at < statement_timestamp()
         - (select max_runtime from pgops.queues where queue = %(queue)s))
  returning *
), back as (
  insert into pgops.job_available (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key,
                                   unique_key, created_at)
  select queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key, unique_key, created_at
  from gone order by started_at
), counted as (
  insert into pgops.queue_delta (queue, available, running)
  select %(queue)s, count(*), -count(*) from gone having count(*) > 0
)
select count(*), count(case when unique_key is not null then pgops.free_keys(queue, id, null, unique_key, 1) end) from gone

-- name: list_queues
select q.queue, paused and coalesce(resume_at > statement_timestamp(), true), max_attempts, extract(epoch from lease)::float8,
       extract(epoch from max_runtime)::float8, history, extract(epoch from backoff)::float8,
       extract(epoch from backoff_max)::float8, extract(epoch from aging)::float8, durability,
       case when paused then resume_at end, limited, l.max_running, l.rate_per_s, l.burst
from pgops.queues q left join pgops.queue_limit l on l.queue = q.queue order by q.queue

-- name: set_paused
update pgops.queues set paused = %(paused)s, resume_at = statement_timestamp() + make_interval(secs => %(for_s)s::float8)
where queue = %(queue)s returning queue

-- name: queue_names
select queue from pgops.queues order by queue

-- name: is_pgmq
-- Whether the name is that of a queue of pgmq and of none here; from the catalog, wherever pgmq is or is not.
select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
               where n.nspname = 'pgmq' and c.relkind in ('r', 'p') and c.relname = ('q_' || lower(%(queue)s::text))::name)
       and not exists (select from pgops.queues where queue = %(queue)s)

-- name: set_queue
-- Settings of a queue, made if it is new; null leaves a setting as it is.
insert into pgops.queues as q (queue, max_attempts, lease, max_runtime, backoff, backoff_max, history, aging, durability)
values (%(queue)s, coalesce(%(max_attempts)s::int2, 10), make_interval(secs => coalesce(%(lease_s)s, 30)),
        make_interval(secs => coalesce(%(max_runtime_s)s, 600)), make_interval(secs => coalesce(%(backoff_s)s, 1)),
        make_interval(secs => coalesce(%(backoff_max_s)s, 3600)), coalesce(%(history)s::text, 'none'),
        make_interval(secs => nullif(coalesce(%(aging_s)s::float8, 300), 0)), coalesce(%(durability)s::text, 'durable'))
on conflict (queue) do update set
  max_attempts = coalesce(%(max_attempts)s::int2, q.max_attempts),
  lease = coalesce(make_interval(secs => %(lease_s)s), q.lease),
  max_runtime = coalesce(make_interval(secs => %(max_runtime_s)s), q.max_runtime),
  backoff = coalesce(make_interval(secs => %(backoff_s)s), q.backoff),
  backoff_max = coalesce(make_interval(secs => %(backoff_max_s)s), q.backoff_max),
  history = coalesce(%(history)s::text, q.history),
  aging = case when %(aging_s)s::float8 is null then q.aging else make_interval(secs => nullif(%(aging_s)s::float8, 0)) end,
  durability = coalesce(%(durability)s::text, q.durability)

-- name: limit_queue
-- The queue's limits as they shall be from now on; null: none. Only a queue that has some pays for them.
with kept as (
  insert into pgops.queue_limit as l (queue, max_running, rate_per_s, burst)
  select %(queue)s, %(max_running)s, %(rate_per_s)s, coalesce(%(burst)s::int, 1)
  where %(max_running)s::int is not null or %(rate_per_s)s::float8 is not null
  on conflict (queue) do update
  set max_running = excluded.max_running, rate_per_s = excluded.rate_per_s, burst = excluded.burst
  returning queue
), gone as (
  delete from pgops.queue_limit where queue = %(queue)s and not exists (select from kept)
)
update pgops.queues set limited = exists (select from kept) where queue = %(queue)s

-- name: list_dead_named
-- Dead letters, those named; a list does not haul payloads that nobody reads in a list.
select 'dead', id, kind, priority, attempt, max_attempts, case when octet_length(payload::text) > %(cut_bytes)s then %(cut)s else payload::text end, errors::text, created_at,
       died_at, null::timestamptz, null::timestamptz, null::bigint, group_key, unique_key, null::text
from pgops.job_dead where queue = %(queue)s and id = any(%(ids)s::bigint[]) order by died_at desc

-- name: find_job
-- A first arrival is found by its seq, one that came back by its id: both are index probes.
select 'available', coalesce(id, seq), kind, priority, attempt, max_attempts, payload::text, errors::text, created_at,
       ready_at, null::timestamptz, null::timestamptz, null::bigint, group_key, unique_key, null::text
from pgops.job_available
where queue = %(queue)s and priority = any('{1,2,3,4}') and seq = %(id)s and id is null
union all
select 'available', id, kind, priority, attempt, max_attempts, payload::text, errors::text, created_at,
       ready_at, null, null, null, group_key, unique_key, null
from pgops.job_available where queue = %(queue)s and id = %(id)s
union all
select 'scheduled', id, kind, priority, attempt, max_attempts, payload::text, errors::text, created_at,
       run_at, null, null, null, group_key, unique_key, null
from pgops.job_scheduled where queue = %(queue)s and id = %(id)s
union all
select 'running', id, kind, priority, attempt, max_attempts, payload::text, errors::text, created_at,
       null, started_at, lease_until, owner, group_key, unique_key, progress::text
from pgops.job_running where queue = %(queue)s and id = %(id)s
union all
select 'dead', id, kind, priority, attempt, max_attempts, payload::text, errors::text, created_at,
       died_at, null, null, null, group_key, unique_key, null
from pgops.job_dead where queue = %(queue)s and id = %(id)s
union all
select 'waiting', id, kind, priority, attempt, max_attempts, payload::text, errors::text, created_at,
       null, null, null, null, group_key, unique_key, null
from pgops.job_waiting where queue = %(queue)s and id = %(id)s

-- name: find_past
-- One job of the history, its last attempt.
select outcome, id, kind, attempt, payload::text, errors::text, result::text, created_at, started_at, finished_at
from pgops.job_history where queue = %(queue)s and id = %(id)s order by finished_at desc limit 1

-- name: list_past
-- The newest jobs of the history, by index: in the order in which they arrived.
select outcome, id, kind, attempt, payload::text, errors::text, result::text, created_at, started_at, finished_at
from pgops.job_history where queue = %(queue)s order by id desc limit %(limit)s
