-- The trail of every act.

-- name: record_act
-- In the transaction of the act itself. Its id may have been drawn before, by what it has kept to be undone.
insert into pgops.audit (id, action, target, status, matched, changed, detail, finished_at, undo_until)
values (coalesce(%(id)s::bigint, nextval('pgops.audit_id')), %(action)s, %(target)s, 'done', %(matched)s, %(changed)s,
        %(detail)s::jsonb, statement_timestamp(), statement_timestamp() + make_interval(days => %(undo_days)s::integer))
returning id

-- name: start_act
-- Committed before a long act begins, by the session that is its owner until it ends.
insert into pgops.audit (action, target, status, matched, detail)
values (%(action)s, %(target)s, 'started', %(matched)s, %(detail)s::jsonb)
returning id

-- name: note_act
-- How far a long act is.
update pgops.audit set changed = %(changed)s, detail = detail || %(detail)s::jsonb
where id = %(id)s and status = 'started'

-- name: finish_act
update pgops.audit
set status = %(status)s, changed = %(changed)s, detail = detail || %(detail)s::jsonb, finished_at = statement_timestamp()
where id = %(id)s and status = 'started'

-- name: list_acts
-- Newest first. A started one whose backend is gone, or is another by now, was interrupted.
select a.id, a.started_at, a.finished_at, a.actor, a.client, a.action, a.target,
       case when a.status = 'started' and not exists (
              select from pg_stat_activity s
              where s.pid = a.backend_pid and (s.backend_start is null or s.backend_start <= a.started_at))
            then 'interrupted' else a.status end,
       a.matched, a.changed, a.detail::text, a.undo_until, a.undone_by
from pgops.audit a
order by a.id desc limit %(limit)s

-- name: record_unlock
-- Before a guarded database is changed. Until when is told by its own clock; without seconds it is for one command.
insert into pgops.audit (action, target, status, matched, changed, detail, finished_at)
values ('unlock', %(target)s, 'done', 0, 0,
        jsonb_strip_nulls(jsonb_build_object(
          'reason', %(reason)s::text, 'by', %(by)s::text,
          'until', statement_timestamp() + make_interval(secs => %(seconds)s::double precision))),
        statement_timestamp())
returning id, statement_timestamp() + make_interval(secs => %(seconds)s::double precision)
