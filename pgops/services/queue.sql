-- The job queue's statements for producers and operators. `queue` stands in each of them as `= %(queue)s`: it is the distribution column.

-- name: enqueue
-- One round trip, in whoever's transaction: the job, its delta, and the queue if this is its first job.
with made as (
  insert into pgops.queues (queue) select %(queue)s
  where not exists (select from pgops.queues where queue = %(queue)s)
  on conflict do nothing
), counted as (
  insert into pgops.queue_delta (queue, available, enqueued) values (%(queue)s, 1, 1)
)
insert into pgops.job_available (queue, kind, payload, priority, max_attempts)
values (%(queue)s, %(kind)s, %(payload)s, %(priority)s, %(max_attempts)s)
returning seq

-- name: schedule
-- The same for later; a moment that has passed already is promoted at the next look.
with made as (
  insert into pgops.queues (queue) select %(queue)s
  where not exists (select from pgops.queues where queue = %(queue)s)
  on conflict do nothing
), counted as (
  insert into pgops.queue_delta (queue, scheduled, enqueued) values (%(queue)s, 1, 1)
)
insert into pgops.job_scheduled (queue, kind, payload, priority, max_attempts, run_at)
values (%(queue)s, %(kind)s, %(payload)s, %(priority)s, %(max_attempts)s,
        coalesce(%(run_at)s::timestamptz, statement_timestamp() + make_interval(secs => %(delay_s)s)))
returning id

-- name: copy_jobs
copy pgops.job_available (queue, kind, priority, payload) from stdin

-- name: count_enqueued
-- After the copy, in its transaction.
with made as (
  insert into pgops.queues (queue) select %(queue)s
  where not exists (select from pgops.queues where queue = %(queue)s)
  on conflict do nothing
)
insert into pgops.queue_delta (queue, available, enqueued) values (%(queue)s, %(jobs)s, %(jobs)s)

-- name: requeue_dead
-- All of the queue's dead letters, or the ids named; they start over, with their errors kept.
with gone as (
  delete from pgops.job_dead
  where queue = %(queue)s and (%(all)s or id = any(%(ids)s))
  returning *
), back as (
  insert into pgops.job_available (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key,
                                   unique_key, created_at)
  select queue, id, priority, 0, max_attempts, kind, payload, headers, errors, group_key, unique_key, created_at
  from gone order by died_at
), counted as (
  insert into pgops.queue_delta (queue, available, dead)
  select %(queue)s, count(*), -count(*) from gone having count(*) > 0
)
select count(*) from gone

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
select count(*) from gone

-- name: list_queues
select queue, paused, max_attempts, extract(epoch from lease)::float8, extract(epoch from max_runtime)::float8, history
from pgops.queues order by queue

-- name: set_paused
update pgops.queues set paused = %(paused)s where queue = %(queue)s returning queue

-- name: queue_names
select queue from pgops.queues order by queue

-- name: set_queue
-- Settings of a queue, made if it is new; null leaves a setting as it is.
insert into pgops.queues as q (queue, max_attempts, lease, max_runtime, backoff, backoff_max, history)
values (%(queue)s, coalesce(%(max_attempts)s::int2, 10), make_interval(secs => coalesce(%(lease_s)s, 30)),
        make_interval(secs => coalesce(%(max_runtime_s)s, 600)), make_interval(secs => coalesce(%(backoff_s)s, 1)),
        make_interval(secs => coalesce(%(backoff_max_s)s, 3600)), coalesce(%(history)s::text, 'none'))
on conflict (queue) do update set
  max_attempts = coalesce(%(max_attempts)s::int2, q.max_attempts),
  lease = coalesce(make_interval(secs => %(lease_s)s), q.lease),
  max_runtime = coalesce(make_interval(secs => %(max_runtime_s)s), q.max_runtime),
  backoff = coalesce(make_interval(secs => %(backoff_s)s), q.backoff),
  backoff_max = coalesce(make_interval(secs => %(backoff_max_s)s), q.backoff_max),
  history = coalesce(%(history)s::text, q.history)

-- name: list_available
-- In the order in which they will be claimed. A list does not haul payloads that nobody reads in a list.
select 'available', coalesce(id, seq), kind, priority, attempt, max_attempts, case when octet_length(payload::text) > %(cut_bytes)s then %(cut)s else payload::text end, errors::text, created_at,
       ready_at, null::timestamptz, null::timestamptz, null::bigint
from pgops.job_available where queue = %(queue)s order by priority, seq limit %(limit)s

-- name: list_scheduled
select 'scheduled', id, kind, priority, attempt, max_attempts, case when octet_length(payload::text) > %(cut_bytes)s then %(cut)s else payload::text end, errors::text, created_at,
       run_at, null::timestamptz, null::timestamptz, null::bigint
from pgops.job_scheduled where queue = %(queue)s order by run_at limit %(limit)s

-- name: list_running
select 'running', id, kind, priority, attempt, max_attempts, case when octet_length(payload::text) > %(cut_bytes)s then %(cut)s else payload::text end, errors::text, created_at,
       null::timestamptz, started_at, lease_until, owner
from pgops.job_running where queue = %(queue)s order by started_at limit %(limit)s

-- name: list_dead
select 'dead', id, kind, priority, attempt, max_attempts, case when octet_length(payload::text) > %(cut_bytes)s then %(cut)s else payload::text end, errors::text, created_at,
       died_at, null::timestamptz, null::timestamptz, null::bigint
from pgops.job_dead where queue = %(queue)s order by died_at desc limit %(limit)s

-- name: find_job
-- A first arrival is found by its seq, one that came back by its id: both are index probes.
select 'available', coalesce(id, seq), kind, priority, attempt, max_attempts, payload::text, errors::text, created_at,
       ready_at, null::timestamptz, null::timestamptz, null::bigint
from pgops.job_available
where queue = %(queue)s and priority = any('{1,2,3,4}') and seq = %(id)s and id is null
union all
select 'available', id, kind, priority, attempt, max_attempts, payload::text, errors::text, created_at,
       ready_at, null, null, null
from pgops.job_available where queue = %(queue)s and id = %(id)s
union all
select 'scheduled', id, kind, priority, attempt, max_attempts, payload::text, errors::text, created_at,
       run_at, null, null, null
from pgops.job_scheduled where queue = %(queue)s and id = %(id)s
union all
select 'running', id, kind, priority, attempt, max_attempts, payload::text, errors::text, created_at,
       null, started_at, lease_until, owner
from pgops.job_running where queue = %(queue)s and id = %(id)s
union all
select 'dead', id, kind, priority, attempt, max_attempts, payload::text, errors::text, created_at,
       died_at, null, null, null
from pgops.job_dead where queue = %(queue)s and id = %(id)s
