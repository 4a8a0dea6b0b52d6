-- Sessions that work on jobs, by the name that job.connection() gives them.

-- name: job_sessions
-- Who of this database is named so. The oldest snapshot or transaction of all is what keeps vacuum back; states are
-- hidden from a role that may not read them, names are not.
with everyone as materialized (
  select a.*, greatest(age(a.backend_xmin), age(a.backend_xid)) as behind from pg_stat_activity a
)
select a.application_name, a.pid, a.backend_start, a.state,
       extract(epoch from statement_timestamp() - a.state_change)::float8,
       extract(epoch from statement_timestamp() - a.xact_start)::float8,
       a.wait_event_type || ':' || a.wait_event, a.behind,
       a.behind > 0 and a.behind >= (select max(behind) from everyone where pid <> pg_backend_pid()),
       left(split_part(regexp_replace(a.query, '^(\s|--[^\n]*(\n|$)|/\*([^*]|\*+[^*/])*\*+/)+', ''), E'\n', 1), 200)
from everyone a
where a.application_name = any(%(names)s::text[]) and a.datname = current_database()
order by a.application_name, a.xact_start nulls last limit 200

-- name: job_owner
-- The worker that holds a job, and whether it lives.
select w.id, w.host, w.pid, w.heartbeat_at >= statement_timestamp() - w.lease
from pgops.job_running r join pgops.workers w on w.id = r.owner
where r.queue = %(queue)s and r.id = %(id)s
