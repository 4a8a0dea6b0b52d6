-- What an act keeps of what it changes, and bringing it back. An act's own id is drawn first, so that what is kept can
-- name it.

-- name: draw_act
select nextval('pgops.audit_id')

-- name: may_keep
-- A role may be let act without being let keep: then it acts, and that cannot be undone.
select has_table_privilege('pgops.audit_undo', 'insert') and has_table_privilege('pgops.audit_undo', 'select')
       and has_table_privilege('pgops.audit_undo', 'update') and has_table_privilege('pgops.audit_undo', 'delete')
       and bool_and(has_table_privilege('pgops.' || name, 'update'))
from unnest('{job_dead,job_available,job_scheduled,job_waiting,queues}'::text[]) as name

-- name: lock_dead
-- The dead letters to be hit, one more than the bound, and what they weigh; they stay as they are until the act is done.
select coalesce(array_agg(id), '{}'), coalesce(sum(bytes), 0)::bigint from (
  select id, 300 + pg_column_size(payload) + coalesce(pg_column_size(errors), 0) + coalesce(pg_column_size(headers), 0) as bytes
  from pgops.job_dead where queue = %(queue)s and (%(all)s or id = any(%(ids)s))
  order by id limit %(most)s::bigint + 1 for update
) as locked

-- name: keep_dead
with kept as (
  select * from pgops.job_dead where queue = %(queue)s and id = any(%(ids)s)
), held as (
  select u.* from pgops.job_unique u join kept k on u.key = k.unique_key and u.id = k.id where u.queue = %(queue)s
)
insert into pgops.audit_undo (audit_id, ordinal, stood_in, before)
select %(act)s, row_number() over (order by place, died_at, id), stood_in, before from (
  select 1 as place, 'job_dead' as stood_in, died_at, id, to_jsonb(k) as before from kept k
  union all
  select 2, 'job_unique', null, id, to_jsonb(h) from held h
) as all_of_them

-- name: forget_stayed
-- What stayed where it was is not kept, and neither are its keys.
delete from pgops.audit_undo u
where u.audit_id = %(act)s and (u.stood_in = 'job_unique' or exists (
  select from pgops.job_dead d where d.queue = %(queue)s and d.id = (u.before ->> 'id')::bigint))

-- name: mark_requeued
-- What went by itself is known by its seq from now on. No join: of a queue that statistics do not know yet, the planner
-- would read all that is kept for each of its jobs.
update pgops.audit_undo u set after = (
  select jsonb_build_object('seq', a.seq) from pgops.job_available a
  where a.queue = %(queue)s and a.id = (u.before ->> 'id')::bigint and a.group_key is null)
where u.audit_id = %(act)s

-- name: weigh_jobs
-- Jobs to be cancelled that have not started: how many, to one above the bound, and what they weigh.
select count(*), coalesce(sum(bytes), 0)::bigint from (
  select 300 + pg_column_size(payload) + coalesce(pg_column_size(errors), 0) + coalesce(pg_column_size(headers), 0) as bytes
  from (
    select payload, errors, headers from pgops.job_available
    where queue = %(queue)s and priority = any('{1,2,3,4}') and seq = any(%(ids)s) and id is null
    union all
    select payload, errors, headers from pgops.job_available where queue = %(queue)s and id = any(%(ids)s)
    union all
    select payload, errors, headers from pgops.job_scheduled where queue = %(queue)s and id = any(%(ids)s)
    union all
    select payload, errors, headers from pgops.job_waiting where queue = %(queue)s and id = any(%(ids)s)
  ) as job limit %(most)s::bigint + 1
) as weighed

-- name: weigh_dead
select count(*), coalesce(sum(bytes), 0)::bigint from (
  select 300 + pg_column_size(payload) + coalesce(pg_column_size(errors), 0) + coalesce(pg_column_size(headers), 0) as bytes
  from pgops.job_dead where queue = %(queue)s and (%(all)s or id = any(%(ids)s)) limit %(most)s::bigint + 1
) as weighed

-- name: keep_jobs
-- Jobs that have not started, locked, in the order of their arrival, and the unique keys that they hold.
with kept as materialized (
  select 'job_available' as stood_in, a.seq, coalesce(a.id, a.seq) as id, a.unique_key,
         to_jsonb(a) || jsonb_build_object('id', coalesce(a.id, a.seq)) as before
  from (select * from pgops.job_available where queue = %(queue)s and ctid = any(array(
          select ctid from pgops.job_available
          where queue = %(queue)s and priority = any('{1,2,3,4}') and seq = any(%(ids)s) and id is null
          union all
          select ctid from pgops.job_available where queue = %(queue)s and id = any(%(ids)s))) for update) as a
  union all
  select 'job_scheduled', s.id, s.id, s.unique_key, to_jsonb(s)
  from (select * from pgops.job_scheduled where queue = %(queue)s and id = any(%(ids)s) for update) as s
  union all
  select 'job_waiting', w.seq, w.id, w.unique_key, to_jsonb(w)
  from (select * from pgops.job_waiting where queue = %(queue)s and id = any(%(ids)s) for update) as w
)
insert into pgops.audit_undo (audit_id, ordinal, stood_in, before)
select %(act)s, row_number() over (order by place, seq), stood_in, before from (
  select 1 as place, seq, stood_in, before from kept
  union all
  select 2, u.id, 'job_unique', to_jsonb(u)
  from kept k join pgops.job_unique u on u.queue = %(queue)s and u.key = k.unique_key and u.id = k.id
) as all_of_them

-- name: keep_value
-- One thing that is set, as it was and as it is set now.
insert into pgops.audit_undo (audit_id, ordinal, stood_in, before, after)
select %(act)s, coalesce(max(u.ordinal), 0) + 1, %(stood_in)s, %(before)s::jsonb, %(after)s::jsonb
from pgops.audit_undo u where u.audit_id = %(act)s

-- name: lock_queue
-- Whether it is paused, and nobody changes its settings until the act is done.
select jsonb_build_object('queue', queue, 'paused', paused, 'resume_at', resume_at)::text
from pgops.queues where queue = %(queue)s for no key update

-- name: keep_payload
-- Before it is edited: the payload of a job that does not run, wherever it stands.
with job as (
  select 'job_available' as stood_in, payload from (select payload from pgops.job_available
   where queue = %(queue)s and priority = any('{1,2,3,4}') and seq = %(job)s and id is null for update) as j
  union all
  select 'job_available', payload from (select payload from pgops.job_available where queue = %(queue)s and id = %(job)s for update) as j
  union all
  select 'job_scheduled', payload from (select payload from pgops.job_scheduled where queue = %(queue)s and id = %(job)s for update) as j
  union all
  select 'job_waiting', payload from (select payload from pgops.job_waiting where queue = %(queue)s and id = %(job)s for update) as j
  union all
  select 'job_dead', payload from (select payload from pgops.job_dead where queue = %(queue)s and id = %(job)s for update) as j
)
insert into pgops.audit_undo (audit_id, ordinal, stood_in, before, after)
select %(act)s, row_number() over (), stood_in, jsonb_build_object('queue', %(queue)s::text, 'id', %(job)s::bigint, 'payload', payload),
       jsonb_build_object('payload', %(payload)s::jsonb)
from job

-- name: one_act
-- With what it has kept; as list_acts, which says more of the status.
select a.id, a.started_at, a.finished_at, a.actor, a.client, a.action, a.target,
       case when a.status = 'started' and not exists (
              select from pg_stat_activity s
              where s.pid = a.backend_pid and (s.backend_start is null or s.backend_start <= a.started_at))
            then 'interrupted' else a.status end,
       a.matched, a.changed, a.detail::text, a.undo_until, a.undone_by, a.undo_until > statement_timestamp(),
       a.started_at < statement_timestamp() - make_interval(days => %(days)s)
from pgops.audit a where a.id = %(id)s

-- name: kept_rows
select stood_in, before::text, after::text from pgops.audit_undo
where audit_id = %(id)s order by ordinal limit %(shown)s

-- name: lock_act
-- Two that undo the same: the second waits, and finds it undone.
select id from pgops.audit where id = %(id)s and undone_by is null and undo_until > statement_timestamp() for update

-- name: mark_undone
update pgops.audit set undone_by = %(by)s where id = %(id)s

-- name: look_requeue
-- How many would go back, how many have moved on, and how many have another payload by now.
select count(now_.id), count(*) - count(now_.id), count(*) filter (where now_.payload <> k.job -> 'payload')
from (select before as job, after from pgops.audit_undo where audit_id = %(id)s and stood_in = 'job_dead') as k
left join lateral (
  select r.id, r.payload from pgops.job_available r
  where r.queue = k.job ->> 'queue' and r.id = (k.job ->> 'id')::bigint and r.attempt = 0
    and coalesce(r.errors, 'null') = coalesce(k.job -> 'errors', 'null')
    and (k.after is null or r.seq = (k.after ->> 'seq')::bigint)
  union all
  select r.id, r.payload from pgops.job_waiting r
  where r.queue = k.job ->> 'queue' and r.id = (k.job ->> 'id')::bigint and r.attempt = 0
    and coalesce(r.errors, 'null') = coalesce(k.job -> 'errors', 'null')
  limit 1
) as now_ on true

-- name: look_discard
select count(*) filter (where d.id is null), count(d.id), 0::bigint
from (select before as job from pgops.audit_undo where audit_id = %(id)s and stood_in = 'job_dead') as k
left join pgops.job_dead d on d.queue = k.job ->> 'queue' and d.id = (k.job ->> 'id')::bigint

-- name: look_cancel
select count(*) filter (where u.id is null), count(u.id), 0::bigint
from (select before as job from pgops.audit_undo where audit_id = %(id)s and stood_in <> 'job_unique') as k
left join pgops.job_unique u on u.queue = k.job ->> 'queue' and u.key = k.job ->> 'unique_key'
  and u.id <> (k.job ->> 'id')::bigint and (u.until is null or u.until > statement_timestamp())
  and exists (select from pgops.audit_undo h where h.audit_id = %(id)s and h.stood_in = 'job_unique'
              and h.before ->> 'id' = k.job ->> 'id')

-- name: undo_requeue
select restored, moved_on, edited from pgops.undo_requeue(%(id)s)

-- name: undo_discard
select restored, moved_on, edited from pgops.undo_discard(%(id)s)

-- name: undo_cancel
select restored, moved_on, edited from pgops.undo_cancel(%(id)s)

-- name: look_edit
-- Whether a job that does not run has the payload that the act gave it.
with k as (
  select before ->> 'queue' as queue, (before ->> 'id')::bigint as id, after -> 'payload' as payload
  from pgops.audit_undo where audit_id = %(id)s
)
select count(*) from k where payload in (
  select a.payload from pgops.job_available a where a.queue = k.queue and a.priority = any('{1,2,3,4}') and a.seq = k.id and a.id is null
  union all select a.payload from pgops.job_available a where a.queue = k.queue and a.id = k.id
  union all select s.payload from pgops.job_scheduled s where s.queue = k.queue and s.id = k.id
  union all select w.payload from pgops.job_waiting w where w.queue = k.queue and w.id = k.id
  union all select d.payload from pgops.job_dead d where d.queue = k.queue and d.id = k.id)

-- name: undo_edit
-- Only where it has the payload that the act gave it, and does not run.
with k as materialized (
  select before ->> 'queue' as queue, (before ->> 'id')::bigint as id, before -> 'payload' as was, after -> 'payload' as payload
  from pgops.audit_undo where audit_id = %(id)s
), ready as (
  update pgops.job_available j set payload = k.was from k
  where j.queue = k.queue and j.priority = any('{1,2,3,4}') and j.seq = k.id and j.id is null and j.payload = k.payload
  returning 1
), returned as (
  update pgops.job_available j set payload = k.was from k
  where j.queue = k.queue and j.id = k.id and j.payload = k.payload returning 1
), later as (
  update pgops.job_scheduled j set payload = k.was from k
  where j.queue = k.queue and j.id = k.id and j.payload = k.payload returning 1
), behind as (
  update pgops.job_waiting j set payload = k.was from k
  where j.queue = k.queue and j.id = k.id and j.payload = k.payload returning 1
), dead as (
  update pgops.job_dead j set payload = k.was from k
  where j.queue = k.queue and j.id = k.id and j.payload = k.payload returning 1
)
select count(*) from (select from ready union all select from returned union all select from later
                      union all select from behind union all select from dead) as edited

-- name: look_pause
-- Whether nobody has paused or resumed it since.
select count(*) from pgops.audit_undo k
join pgops.queues q on q.queue = k.after ->> 'queue'
where k.audit_id = %(id)s and q.paused = (k.after ->> 'paused')::boolean
  and q.resume_at is not distinct from (k.after ->> 'resume_at')::timestamptz

-- name: undo_pause
-- Only where nobody has paused or resumed it since.
update pgops.queues q
set paused = (k.before ->> 'paused')::boolean, resume_at = (k.before ->> 'resume_at')::timestamptz
from pgops.audit_undo k
where k.audit_id = %(id)s and q.queue = k.after ->> 'queue' and q.paused = (k.after ->> 'paused')::boolean
  and q.resume_at is not distinct from (k.after ->> 'resume_at')::timestamptz
