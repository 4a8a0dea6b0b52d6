-- The job queue's statements for workers. `queue` stands in each of them as `= %(queue)s`: it is the distribution column.

-- name: claim
-- One index scan a priority, first to last and only as far as there is room: the outer limit stops the loop. Each scan
-- starts above its floor; rows that others hold are stepped over.
with queue as materialized (
  select max_attempts, lease, case when paused then 0 else %(limit)s end as room
  from pgops.queues where queue = %(queue)s
), claimed as (
  delete from pgops.job_available
  where queue = %(queue)s and ctid = any(array(
    select head.ctid
    from unnest(%(floors)s::bigint[]) with ordinality as floor (seq, priority)
    cross join lateral (
      select a.ctid from pgops.job_available a
      where a.queue = %(queue)s and a.priority = floor.priority and a.seq > floor.seq
      order by a.seq limit coalesce((select room from queue), 0) for update skip locked
    ) head
    limit coalesce((select room from queue), 0)))
  returning *
), started as (
  insert into pgops.job_running (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key,
                                 unique_key, created_at, token, owner, lease_until)
  select c.queue, coalesce(c.id, c.seq), c.priority, c.attempt + 1, c.max_attempts, c.kind, c.payload, c.headers, c.errors,
         c.group_key, c.unique_key, c.created_at, %(token)s, %(owner)s, statement_timestamp() + q.lease
  from claimed c, queue q
), counted as (
  insert into pgops.queue_delta (queue, available, running)
  select %(queue)s, -count(*), count(*) from claimed having count(*) > 0
)
select c.priority, c.seq, coalesce(c.id, c.seq), c.kind, c.attempt + 1, coalesce(c.max_attempts, q.max_attempts),
       c.payload::text, c.created_at
from claimed c, queue q
order by c.priority, c.seq

-- name: complete
-- Only the living token completes; what is missing from the answer was a stale lease.
with done as (
  delete from pgops.job_running
  where queue = %(queue)s and id = any(%(ids)s) and token = %(token)s
  returning *
), counted as (
  insert into pgops.queue_delta (queue, running, completed)
  select %(queue)s, -count(*), count(*) from done having count(*) > 0
), kept as (
  insert into pgops.job_history (queue, id, attempt, kind, payload, errors, outcome, created_at, started_at)
  select queue, id, attempt, kind, payload, errors, 'completed', created_at, started_at from done
  where (select history from pgops.queues where queue = %(queue)s) = 'all'
)
select id from done

-- name: fail
-- Back-off doubles an attempt up to the queue's bound, give or take a quarter; the last attempt ends in job_dead.
with failed as materialized (
  select * from unnest(%(ids)s::bigint[], %(errors)s::text[], %(tracebacks)s::text[], %(retry_in_s)s::float8[])
    as f (id, error, traceback, retry_in_s)
), gone as (
  delete from pgops.job_running
  where queue = %(queue)s and id = any(%(ids)s) and token = %(token)s
  returning *
), ended as materialized (
  select g.*, g.attempt >= coalesce(g.max_attempts, q.max_attempts, 10) as last,
         coalesce(g.errors, '[]') || jsonb_build_object(
           'attempt', g.attempt, 'error', f.error, 'traceback', f.traceback, 'worker', g.owner,
           'at', to_char(statement_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) as all_errors,
         coalesce(f.retry_in_s, least(extract(epoch from coalesce(q.backoff, '1 s')) * power(2::float8, g.attempt - 1),
                                      extract(epoch from coalesce(q.backoff_max, '1 h'))) * (0.75 + 0.5 * random())) as delay_s,
         coalesce(q.history, 'none') as history
  from gone g join failed f on f.id = g.id left join pgops.queues q on q.queue = g.queue
), again as (
  insert into pgops.job_scheduled (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key,
                                   unique_key, created_at, run_at)
  select queue, id, priority, attempt, max_attempts, kind, payload, headers, all_errors, group_key, unique_key,
         created_at, statement_timestamp() + make_interval(secs => delay_s)
  from ended where not last
), dead as (
  insert into pgops.job_dead (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key,
                              unique_key, created_at)
  select queue, id, priority, attempt, max_attempts, kind, payload, headers, all_errors, group_key, unique_key, created_at
  from ended where last
), kept as (
  insert into pgops.job_history (queue, id, attempt, kind, payload, errors, outcome, created_at, started_at)
  select queue, id, attempt, kind, payload, all_errors, case when last then 'dead' else 'failed' end, created_at, started_at
  from ended where history <> 'none'
), counted as (
  insert into pgops.queue_delta (queue, running, scheduled, dead, failed)
  select %(queue)s, -count(*), count(*) filter (where not last), count(*) filter (where last), count(*)
  from ended having count(*) > 0
)
select id, last from ended

-- name: release
-- A worker that stops hands back what it has not started, as if it had never been claimed.
with gone as (
  delete from pgops.job_running
  where queue = %(queue)s and id = any(%(ids)s) and token = %(token)s
  returning *
), back as (
  insert into pgops.job_available (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key,
                                   unique_key, created_at)
  select queue, id, priority, attempt - 1, max_attempts, kind, payload, headers, errors, group_key, unique_key, created_at
  from gone
), counted as (
  insert into pgops.queue_delta (queue, available, running)
  select %(queue)s, count(*), -count(*) from gone having count(*) > 0
)
select id from gone

-- name: heartbeat
-- lease_until is in no index, so this stays heap-only.
update pgops.job_running
set lease_until = statement_timestamp() + (select lease from pgops.queues where queue = %(queue)s)
where queue = %(queue)s and id = any(%(ids)s) and token = %(token)s
returning id

-- name: reap
-- Leases that ran out, of workers without heartbeat (by owner) or, with `everyone`, of anybody. The attempt counts.
with lost as (
  delete from pgops.job_running
  where queue = %(queue)s and ctid = any(array(
    select ctid from pgops.job_running
    where queue = %(queue)s and lease_until < statement_timestamp()
      and (%(everyone)s or owner = any(array(
        select id from pgops.workers where heartbeat_at < statement_timestamp() - lease)))
    limit %(limit)s for update skip locked))
  returning *
), ended as materialized (
  select l.*, l.attempt >= coalesce(l.max_attempts, q.max_attempts, 10) as last,
         coalesce(l.errors, '[]') || jsonb_build_object(
           'attempt', l.attempt, 'error', 'lease expired: the worker stopped without a word', 'worker', l.owner,
           'at', to_char(statement_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) as all_errors
  from lost l left join pgops.queues q on q.queue = l.queue
), again as (
  insert into pgops.job_available (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key,
                                   unique_key, created_at)
  select queue, id, priority, attempt, max_attempts, kind, payload, headers, all_errors, group_key, unique_key, created_at
  from ended where not last
), dead as (
  insert into pgops.job_dead (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key,
                              unique_key, created_at)
  select queue, id, priority, attempt, max_attempts, kind, payload, headers, all_errors, group_key, unique_key, created_at
  from ended where last
), counted as (
  insert into pgops.queue_delta (queue, running, available, dead, failed)
  select %(queue)s, -count(*), count(*) filter (where not last), count(*) filter (where last), count(*)
  from ended having count(*) > 0
)
select count(*) filter (where not last), count(*) filter (where last) from ended

-- name: promote
-- What is due moves over in batches, so that jobs of the future never stand in the hot scan.
with due as (
  delete from pgops.job_scheduled
  where queue = %(queue)s and id = any(array(
    select id from pgops.job_scheduled
    where queue = %(queue)s and run_at <= statement_timestamp()
    order by run_at limit %(limit)s for update skip locked))
  returning *
), ready as (
  insert into pgops.job_available (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key,
                                   unique_key, created_at)
  select queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key, unique_key, created_at
  from due order by run_at
), counted as (
  insert into pgops.queue_delta (queue, scheduled, available)
  select %(queue)s, -count(*), count(*) from due having count(*) > 0
)
select count(*) from due

-- name: fold
-- Deltas into the total. Above folded_id only, so that dead entries are not visited; the last 2,000 numbers are
-- looked at again for late commits, and a full pass is the net. Who comes second leaves it to the first.
with mine as materialized (
  select pg_try_advisory_xact_lock(7063761, hashtext('fold ' || %(queue)s)) as held
), gone as (
  delete from pgops.queue_delta
  where queue = %(queue)s and (select held from mine)
    and id > (select case when %(full)s then 0 else coalesce(max(folded_id), 0) end
              from pgops.queue_total where queue = %(queue)s)
  returning *
)
insert into pgops.queue_total as t (queue, available, scheduled, running, dead, enqueued, completed, failed, folded_id)
select %(queue)s, sum(available), sum(scheduled), sum(running), sum(dead), sum(enqueued), sum(completed), sum(failed),
       greatest(max(id) - 2000, 0)
from gone having count(*) > 0
on conflict (queue) do update set
  available = t.available + excluded.available, scheduled = t.scheduled + excluded.scheduled,
  running = t.running + excluded.running, dead = t.dead + excluded.dead, enqueued = t.enqueued + excluded.enqueued,
  completed = t.completed + excluded.completed, failed = t.failed + excluded.failed,
  folded_id = greatest(t.folded_id, excluded.folded_id), folded_at = statement_timestamp()

-- name: note
-- Where arrival stands, and which transactions might still bring something below it.
select (select last_value from pgops.job_seq), pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint

-- name: try_sweeper
-- One sweeper a queue, for as long as its session lives. Only work is saved by it; correctness never rests on it.
select pg_try_advisory_lock(7063761, hashtext(%(queue)s))


-- name: register_worker
insert into pgops.workers (host, pid, queues, concurrency, lease)
values (%(host)s, %(pid)s, %(queues)s, %(concurrency)s, make_interval(secs => %(lease_s)s))
returning id

-- name: beat_worker
-- The heartbeat; a row that was cleared away in the meantime is written anew.
insert into pgops.workers as w (id, host, pid, queues, concurrency, lease, running, stopping, floors)
values (%(id)s, %(host)s, %(pid)s, %(queues)s, %(concurrency)s, make_interval(secs => %(lease_s)s), %(running)s,
        %(stopping)s, %(floors)s::jsonb)
on conflict (id) do update set
  heartbeat_at = statement_timestamp(), running = excluded.running, stopping = excluded.stopping, floors = excluded.floors

-- name: forget_worker
delete from pgops.workers where id = %(id)s

-- name: forget_lost_workers
-- A worker long without heartbeat leaves the list once none of its jobs is left.
delete from pgops.workers w
where heartbeat_at < statement_timestamp() - greatest(lease * 4, interval '10 min')
  and not exists (select from pgops.job_running r where r.queue = any(w.queues) and r.owner = w.id)

-- name: enter_session
-- For a worker's own session: every claim has the same plan, and planning it would cost more than an empty claim. A plan
-- made while the tables were empty would read them whole, and would be kept while they fill.
select set_config('plan_cache_mode', 'force_generic_plan', false), set_config('enable_seqscan', 'off', false)

-- name: leave_session
-- The session goes back to its pool as it came, and is nobody's sweeper.
select set_config('plan_cache_mode', 'auto', false), set_config('enable_seqscan', 'on', false), pg_advisory_unlock_all()
