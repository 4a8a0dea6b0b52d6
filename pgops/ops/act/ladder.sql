-- The requeue ladder: dead letters that go back a few at a time.

-- name: where_are
-- Where each of these jobs stands, and what its last attempt said; one that has ended is not among them.
select 'dead', id, coalesce((errors -> -1)::text, '') from pgops.job_dead where queue = %(queue)s and id = any(%(ids)s::bigint[])
union all
select 'running', id, coalesce((errors -> -1)::text, '') from pgops.job_running where queue = %(queue)s and id = any(%(ids)s::bigint[])
union all
select 'scheduled', id, coalesce((errors -> -1)::text, '') from pgops.job_scheduled where queue = %(queue)s and id = any(%(ids)s::bigint[])
union all
select 'available', id, coalesce((errors -> -1)::text, '') from pgops.job_available where queue = %(queue)s and id = any(%(ids)s::bigint[])
union all
select 'waiting', id, coalesce((errors -> -1)::text, '') from pgops.job_waiting where queue = %(queue)s and id = any(%(ids)s::bigint[])

-- name: is_paused
select paused and coalesce(resume_at > statement_timestamp(), true) from pgops.queues where queue = %(queue)s
