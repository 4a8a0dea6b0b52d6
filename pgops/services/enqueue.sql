-- The job queue's statements for producers. `queue` stands in each of them: it is the distribution column.

-- name: enqueue
-- One round trip, in whoever's transaction: the job, its delta, and the queue if this is its first job. Durability is
-- the queue's on pgops' own connections alone.
with made as (
  insert into pgops.queues (queue) select %(queue)s
  where not exists (select from pgops.queues where queue = %(queue)s)
  on conflict do nothing
), counted as (
  insert into pgops.queue_delta (queue, available, enqueued) values (%(queue)s, 1, 1)
), relaxed as materialized (
  select set_config('synchronous_commit', 'off', true) from pgops.queues
  where queue = %(queue)s and durability = 'relaxed' and %(own)s
)
insert into pgops.job_available (queue, kind, payload, priority, max_attempts)
values (%(queue)s, %(kind)s, %(payload)s, %(priority)s, %(max_attempts)s)
returning seq, (select count(*) from relaxed), (select hints_until > statement_timestamp() from pgops.queues where queue = %(queue)s)

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

-- name: enqueue_job
-- The same for a job with keys, headers or states: the database's own function, as SQL producers call it.
select id, existing, (select hints_until > statement_timestamp() from pgops.queues where queue = %(queue)s)
from pgops.enqueue_job(
  %(queue)s, %(payload)s::jsonb, %(kind)s, %(priority)s,
  coalesce(%(run_at)s::timestamptz, statement_timestamp() + make_interval(secs => nullif(%(delay_s)s::float8, 0))),
  %(max_attempts)s, %(headers)s::jsonb, %(group_key)s, %(unique_key)s, %(unique_states)s::text[],
  make_interval(secs => %(unique_for_s)s::float8))

-- name: enqueue_jobs
-- Many of them in one statement, in the order given.
select e.id, e.existing
from unnest(%(payloads)s::jsonb[], %(kinds)s::text[], %(priorities)s::int[], %(run_ats)s::timestamptz[],
            %(max_attempts)s::int[], %(headers)s::jsonb[], %(group_keys)s::text[], %(unique_keys)s::text[])
     with ordinality as j (payload, kind, priority, run_at, max_attempts, headers, group_key, unique_key, place)
cross join lateral pgops.enqueue_job(
  %(queue)s, j.payload, j.kind, j.priority, j.run_at, j.max_attempts, j.headers, j.group_key, j.unique_key,
  %(unique_states)s::text[], make_interval(secs => %(unique_for_s)s::float8)) e
order by j.place

-- name: copy_jobs
copy pgops.job_available (queue, kind, priority, payload) from stdin

-- name: count_enqueued
-- After the copy, in its transaction.
with made as (
  insert into pgops.queues (queue) select %(queue)s
  where not exists (select from pgops.queues where queue = %(queue)s)
  on conflict do nothing
), relaxed as materialized (
  select set_config('synchronous_commit', 'off', true) from pgops.queues
  where queue = %(queue)s and durability = 'relaxed' and %(own)s
)
insert into pgops.queue_delta (queue, available, enqueued) values (%(queue)s, %(jobs)s, %(jobs)s)
returning (select count(*) from relaxed), 0, (select hints_until > statement_timestamp() from pgops.queues where queue = %(queue)s)

-- name: hint
-- Tells workers that wait; nothing is lost with it, so its commit waits for no disk.
select set_config('synchronous_commit', 'off', true), pg_notify('pgops_queue', %(queue)s)

-- name: hint_in_transaction
-- The same in a caller's transaction: it goes out with his commit.
select pg_notify('pgops_queue', %(queue)s)
