-- The job queue's statements for workers. `queue` stands in each of them as `= %(queue)s`: it is the distribution column.

-- name: claim
-- One index scan a priority, in the order of `turns` and only as far as there is room: the outer limit stops the loop.
-- Each scan starts above its floor; rows that others hold are stepped over. "is true": the rows are reached by their
-- ctid alone. A plan made while the table is empty would find the queue's index cheaper, and read all of it once it fills.
with queue as materialized (
  select max_attempts, lease, limited,
         case when paused and coalesce(resume_at > statement_timestamp(), true) then 0
              when limited then pgops.claim_room(%(queue)s, %(limit)s) else %(limit)s end as room,
         case when durability = 'relaxed' then set_config('synchronous_commit', 'off', true) end as relaxed
  from pgops.queues where queue = %(queue)s
), claimed as (
  delete from pgops.job_available
  where (queue = %(queue)s) is true and ctid = any(array(
    select head.ctid
    from unnest(%(turns)s::int2[]) as turn (priority)
    cross join lateral (
      select a.ctid from pgops.job_available a
      where a.queue = %(queue)s and a.priority = turn.priority and a.seq > (%(floors)s::bigint[])[turn.priority]
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
), charged as materialized (
  select case when (select limited from queue) then pgops.charge_limit(%(queue)s, count(*)) end from claimed having count(*) > 0
)
select c.priority, c.seq, coalesce(c.id, c.seq), c.kind, c.attempt + 1, coalesce(c.max_attempts, q.max_attempts),
       c.payload::text, c.created_at, c.headers::text, c.group_key, c.unique_key,
       case when c.unique_key is not null then pgops.free_keys(%(queue)s, coalesce(c.id, c.seq), null, c.unique_key, 4) end,
       (select count(*) from charged), q.room < %(limit)s
from queue q left join claimed c on true
where c.seq is not null or q.room < %(limit)s
order by array_position(%(turns)s::int2[], c.priority), c.seq

-- name: turns
-- The priorities in the order in which they are served now: waiting as long as the queue's aging is worth one.
select p.priority
from pgops.queues q, generate_series(1, 4) as p (priority)
cross join lateral (
  select a.ready_at from pgops.job_available a
  where a.queue = %(queue)s and a.priority = p.priority and a.seq > (%(floors)s::bigint[])[p.priority]
  order by a.seq limit 1
) head
where q.queue = %(queue)s
order by p.priority - coalesce(extract(epoch from statement_timestamp() - head.ready_at) / extract(epoch from q.aging), 0),
         p.priority

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
  insert into pgops.job_history (queue, id, attempt, kind, payload, errors, outcome, created_at, started_at, result)
  select queue, id, attempt, kind, payload, errors, 'completed', created_at, started_at, %(results)s::jsonb -> id::text
  from done
  where (select history from pgops.queues where queue = %(queue)s) = 'all'
), relaxed as materialized (
  select set_config('synchronous_commit', 'off', true) from pgops.queues
  where queue = %(queue)s and durability = 'relaxed' and %(own)s
)
select id, case when group_key is not null or unique_key is not null
           then pgops.free_keys(queue, id, group_key, unique_key, 16) end, (select count(*) from relaxed)
from done

-- name: fail
-- How attempts ended that did not complete. `retry`: back-off doubles an attempt up to the queue's bound, give or take
-- a quarter, and the last attempt ends in job_dead; `dead` is dead at once; `snooze` comes back later and costs no
-- attempt; `cancelled` is gone.
with failed as materialized (
  select * from unnest(%(ids)s::bigint[], %(verdicts)s::text[], %(errors)s::text[], %(tracebacks)s::text[],
                       %(retry_in_s)s::float8[])
    as f (id, verdict, error, traceback, retry_in_s)
), gone as (
  delete from pgops.job_running
  where queue = %(queue)s and id = any(%(ids)s) and token = %(token)s
  returning *
), ended as materialized (
  select g.*,
         case when f.verdict in ('retry', 'snooze') and exists (
                select from pgops.job_cancel c where c.queue = %(queue)s and c.id = g.id) then 'cancelled'
              when f.verdict = 'retry' and g.attempt >= coalesce(g.max_attempts, q.max_attempts, 10) then 'dead'
              else f.verdict end as verdict,
         case when f.verdict = 'snooze' then g.errors else coalesce(g.errors, '[]') || jsonb_build_object(
           'attempt', g.attempt, 'error', f.error, 'traceback', f.traceback, 'worker', g.owner,
           'at', to_char(statement_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) end as all_errors,
         coalesce(f.retry_in_s, least(extract(epoch from coalesce(q.backoff, '1 s')) * power(2::float8, least(g.attempt - 1, 64)),
                                      extract(epoch from coalesce(q.backoff_max, '1 h'))) * (0.75 + 0.5 * random())) as delay_s,
         coalesce(q.history, 'none') as history
  from gone g join failed f on f.id = g.id left join pgops.queues q on q.queue = g.queue
), again as (
  insert into pgops.job_scheduled (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key,
                                   unique_key, created_at, run_at)
  select queue, id, priority, case verdict when 'snooze' then attempt - 1 else attempt end, max_attempts, kind, payload,
         headers, all_errors, group_key, unique_key, created_at, statement_timestamp() + make_interval(secs => delay_s)
  from ended where verdict in ('retry', 'snooze')
), dead as (
  insert into pgops.job_dead (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors, group_key,
                              unique_key, created_at)
  select queue, id, priority, attempt, max_attempts, kind, payload, headers, all_errors, group_key, unique_key, created_at
  from ended where verdict = 'dead'
), kept as (
  insert into pgops.job_history (queue, id, attempt, kind, payload, errors, outcome, created_at, started_at)
  select queue, id, attempt, kind, payload, all_errors,
         case verdict when 'retry' then 'failed' else verdict end, created_at, started_at
  from ended where verdict = 'cancelled' or history <> 'none' and verdict <> 'snooze'
), obeyed as (
  delete from pgops.job_cancel c using ended e where c.queue = %(queue)s and c.id = e.id and e.verdict = 'cancelled'
), counted as (
  insert into pgops.queue_delta (queue, running, scheduled, dead, failed)
  select %(queue)s, -count(*), count(*) filter (where verdict in ('retry', 'snooze')),
         count(*) filter (where verdict = 'dead'), count(*) filter (where verdict in ('retry', 'dead'))
  from ended having count(*) > 0
)
select id, verdict, case when group_key is not null or unique_key is not null then pgops.free_keys(
         queue, id, group_key, unique_key, case verdict when 'dead' then 8 when 'cancelled' then 0 else 2 end) end
from ended

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
select id, case when unique_key is not null then pgops.free_keys(queue, id, null, unique_key, 1) end from gone

-- name: claimed
-- What a claim has got whose answer was lost.
select id from pgops.job_running where queue = %(queue)s and owner = %(owner)s and token = %(token)s

-- name: heartbeat
-- lease_until is in no index, so this stays heap-only.
update pgops.job_running
set lease_until = statement_timestamp() + (select lease from pgops.queues where queue = %(queue)s)
where queue = %(queue)s and id = any(%(ids)s) and token = %(token)s
returning id

-- name: expired
-- Leases that ran out, of workers without heartbeat: by their number, so that nobody else's rows are looked at. "is
-- true" as in claim.
select id from pgops.job_running
where (queue = %(queue)s) is true and lease_until < statement_timestamp() and owner = any(array(
  select id from pgops.workers where heartbeat_at < statement_timestamp() - lease))
limit %(limit)s

-- name: expired_of_anybody
select id from pgops.job_running where queue = %(queue)s and lease_until < statement_timestamp() limit %(limit)s

-- name: reap
-- Take back what is still expired. The attempt counts.
with lost as (
  delete from pgops.job_running
  where queue = %(queue)s and id = any(array(
    select id from pgops.job_running
    where queue = %(queue)s and id = any(%(ids)s) and lease_until < statement_timestamp() for update skip locked))
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
select count(*) filter (where not last), count(*) filter (where last),
       count(case when unique_key is not null or last and group_key is not null
             then pgops.free_keys(queue, id, group_key, unique_key, case when last then 8 else 1 end) end)
from ended

-- name: promote
-- What is due, or has become so within so many seconds, moves over in batches, so that jobs of the future never stand in
-- the hot scan. One that belongs to a group and is not its head has to join it. "is true" as in claim.
with due as (
  delete from pgops.job_scheduled
  where (queue = %(queue)s) is true and ctid = any(array(
    select s.ctid from pgops.job_scheduled s
    where s.queue = %(queue)s and s.run_at <= statement_timestamp()
      and s.run_at >= coalesce(statement_timestamp() - make_interval(secs => %(within_s)s), '-infinity')
      and (s.group_key is null or exists (
        select from pgops.job_group g where g.queue = %(queue)s and g.key = s.group_key and g.head = s.id))
    order by s.run_at limit %(limit)s for update of s skip locked))
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
select count(*) + case when exists (
         select from pgops.job_scheduled s
         where s.queue = %(queue)s and s.run_at <= statement_timestamp()
           and s.run_at >= coalesce(statement_timestamp() - make_interval(secs => %(within_s)s), '-infinity')
           and s.group_key is not null and not exists (
           select from pgops.job_group g where g.queue = %(queue)s and g.key = s.group_key and g.head = s.id))
       then pgops.join_groups(%(queue)s, %(limit)s) else 0 end,
       count(case when unique_key is not null then pgops.free_keys(queue, id, null, unique_key, 1) end)
from due

-- name: behead
-- Groups whose last head ended while a producer held them: their next job follows now.
select count(*), count(pgops.release_group(queue, key)) from (
  select queue, key from pgops.job_group where queue = %(queue)s and head is null order by key limit %(limit)s
) as headless

-- name: mend_groups
-- The net: a group whose head is nowhere gets a new one, unless it has changed since.
with lost as materialized (
  select g.key, g.head from pgops.job_group g
  where g.queue = %(queue)s and g.head is not null
    and not exists (select from pgops.job_available a where a.queue = %(queue)s and a.id = g.head)
    and not exists (select from pgops.job_scheduled s where s.queue = %(queue)s and s.id = g.head)
    and not exists (select from pgops.job_running r where r.queue = %(queue)s and r.id = g.head)
)
update pgops.job_group g set head = null from lost
where g.queue = %(queue)s and g.key = lost.key and g.head = lost.head

-- name: cancelled
-- Which of the queues' running jobs somebody wants to end; few, and in a table of their own.
select queue, id, reason from pgops.job_cancel where queue = any(%(queues)s)

-- name: want_hints
-- A worker waits. Producers look at it with the row that they read anyway.
update pgops.queues set hints_until = statement_timestamp() + make_interval(secs => %(for_s)s)
where queue = any(%(queues)s)

-- name: report_progress
-- In no index, so heap-only.
update pgops.job_running r set progress = p.progress
from (select * from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(progress)s::jsonb[]) as p (id, token, progress)) p
where r.queue = %(queue)s and r.id = any(%(ids)s) and r.id = p.id and r.token = p.token

-- name: forget_keys
-- Unique keys whose time is over, wishes to cancel what has ended by itself, pauses that are over. What somebody holds
-- is left for the next time: a producer may be taking such a key.
with keys as (
  delete from pgops.job_unique
  where queue = %(queue)s and until <= statement_timestamp() and key = any(array(
    select key from pgops.job_unique
    where queue = %(queue)s and until <= statement_timestamp() for update skip locked))
), wishes as (
  delete from pgops.job_cancel
  where queue = %(queue)s and id = any(array(
    select c.id from pgops.job_cancel c
    where c.queue = %(queue)s
      and not exists (select from pgops.job_running r where r.queue = %(queue)s and r.id = c.id)
      and not exists (select from pgops.job_available a where a.queue = %(queue)s and a.id = c.id)
      and not exists (select from pgops.job_scheduled s where s.queue = %(queue)s and s.id = c.id)
    for update of c skip locked))
)
update pgops.queues set paused = false, resume_at = null
where queue = (
  select queue from pgops.queues
  where queue = %(queue)s and paused and resume_at <= statement_timestamp() for no key update skip locked)

-- name: trim_history
-- Slots of the ring in which everything is older; the ring itself holds 31 days.
select pgops.trim_history(make_interval(days => %(days)s))

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
insert into pgops.queue_total as t (queue, available, scheduled, waiting, running, dead, enqueued, completed, failed, folded_id)
select %(queue)s, sum(available), sum(scheduled), sum(waiting), sum(running), sum(dead), sum(enqueued), sum(completed), sum(failed),
       greatest(max(id) - 2000, 0)
from gone having count(*) > 0
on conflict (queue) do update set
  available = t.available + excluded.available, scheduled = t.scheduled + excluded.scheduled,
  waiting = t.waiting + excluded.waiting, running = t.running + excluded.running, dead = t.dead + excluded.dead, enqueued = t.enqueued + excluded.enqueued,
  completed = t.completed + excluded.completed, failed = t.failed + excluded.failed,
  folded_id = greatest(t.folded_id, excluded.folded_id), folded_at = statement_timestamp()

-- name: note
-- Where arrival stands.
select last_value from pgops.job_seq

-- name: draw_line
-- The same, and which transactions might still bring something below it: those with a smaller id than the one drawn here
-- for nothing else. A snapshot's own bound follows what has ended, and on a quiet server stands at one that still runs.
-- Nothing is lost with it, so its commit waits for no disk.
select (select last_value from pgops.job_seq), pg_current_xact_id()::text::bigint,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint, set_config('synchronous_commit', 'off', true)

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

-- name: forget_undo
select pgops.forget_undo(%(most)s::integer)

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
