-- The statements of recurring jobs. What adds a tick's job stands in schema/0002_queue.sql as take_ticks.

-- name: due
-- What is due, by the partial index; where nothing is, it ends at its first entry.
select name, expression, timezone, missed, next_at, statement_timestamp()
from pgops.cron
where not paused and next_at <= statement_timestamp()
order by next_at limit %(limit)s

-- name: take_ticks
-- One transaction: jobs in, next_at on; or nothing.
select taken, passed_over
from pgops.take_ticks(%(name)s, %(due)s, %(expression)s, %(timezone)s, %(missed)s, %(ticks)s::timestamptz[],
                      %(passed)s, %(next_at)s)

-- name: clock
-- The database's.
select statement_timestamp()

-- name: put_cron
-- Who replaces keeps the pause and the counts, and the next tick too where the timetable is the same.
insert into pgops.cron as c (name, expression, timezone, queue, kind, payload, priority, missed, overlap, next_at)
values (%(name)s, %(expression)s, %(timezone)s, %(queue)s, %(kind)s, %(payload)s::jsonb, %(priority)s, %(missed)s,
        %(overlap)s, %(next_at)s)
on conflict (name) do update
set queue = excluded.queue, kind = excluded.kind, payload = excluded.payload, priority = excluded.priority,
    missed = excluded.missed, overlap = excluded.overlap, expression = excluded.expression, timezone = excluded.timezone,
    next_at = case when (c.expression, c.timezone) = (excluded.expression, excluded.timezone) then c.next_at
                   else excluded.next_at end
where %(replace)s
returning name

-- name: list_cron
select name, expression, timezone, queue, kind, payload::text, priority, missed, overlap, paused,
       case when not paused then next_at end, last_at, last_id, ticks, skipped, created_at
from pgops.cron where %(name)s::text is null or name = %(name)s order by name

-- name: cron_names
select name from pgops.cron order by name

-- name: lock_cron
select paused, expression, timezone, statement_timestamp() from pgops.cron where name = %(name)s for update

-- name: pause_cron
update pgops.cron set paused = true where name = %(name)s

-- name: resume_cron
-- It goes on with the next tick from now; what fell into the pause was not missed.
update pgops.cron set paused = false, next_at = %(next_at)s where name = %(name)s

-- name: run_cron
select id, existing from pgops.run_cron(%(name)s)

-- name: remove_cron
delete from pgops.cron where name = %(name)s
