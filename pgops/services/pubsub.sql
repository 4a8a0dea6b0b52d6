-- Live pub/sub. NOTIFY is a statement of its own and is delivered when its transaction commits.

-- name: publish
-- The number keeps equal messages of one transaction apart; a session that may not write cannot draw it.
select id
from nextval('pgops.pubsub_id') as id
cross join lateral pg_notify(%(channel)s::text, '{"pgops":' || id || ',' || %(body)s::text || '}') as sent

-- name: publish_large
-- By reference: the row commits with the notification that names it.
with kept as (
  insert into pgops.pubsub_payloads (channel, body) values (%(channel)s, %(body)s) returning id
)
select id
from kept cross join lateral pg_notify(%(channel)s::text, '{"pgops":' || id || ',"ref":true}') as sent

-- name: read_payloads
select id, body from pgops.pubsub_payloads where channel = any(%(channels)s) and id = any(%(ids)s)

-- name: purge_payloads
-- A bounded batch; what someone else is purging is skipped.
delete from pgops.pubsub_payloads
where ctid = any(array(
  select ctid from pgops.pubsub_payloads
  where created_at < statement_timestamp() - make_interval(secs => %(older_than_s)s::float8)
  limit %(limit)s
  for update skip locked
))

-- name: list_listeners
-- PostgreSQL tells no session what another one listens to. A listener waits, though, and what it said last was LISTEN.
-- One that sits in a transaction after it hears nothing.
select distinct case when starts_with(m[1], '"') then replace(substr(m[1], 2, length(m[1]) - 2), '""', '"')
                     else lower(m[1]) end as name,
       a.pid, a.application_name, a.usename::text, a.state,
       greatest(extract(epoch from statement_timestamp() - a.state_change), 0)::float8
from pg_stat_activity a
cross join lateral regexp_matches(a.query, '\mlisten\s+("(?:[^"]|"")+"|[[:alpha:]_][\w$]*)', 'gi') as m
where a.datname = current_database() and a.state in ('idle', 'idle in transaction') and a.query ~* '^\s*listen\s'
  and not starts_with(m[1], '"pgops_ping_')
order by name, pid
limit %(limit)s

-- name: notify_queue
-- How full the whole server's queue is, as a share and in pages of 8 kB, and whether this role sees what others do. To
-- be asked before publishing: it also frees what all have read, which a queue that was full does not do by itself.
select usage, (usage * coalesce(current_setting('max_notify_queue_pages', true)::float8, 1048576))::bigint,
       pg_has_role('pg_read_all_stats', 'usage')
from pg_notification_queue_usage() as usage

-- name: queue_holders
-- Whose transactions are open for longer than a moment, in all databases: idle ones first. A listener among them keeps
-- the queue from being emptied.
select pid, application_name, usename::text, datname::text, state,
       extract(epoch from statement_timestamp() - xact_start)::float8
from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid()
  and xact_start < statement_timestamp() - interval '1 s'
order by state = 'active', xact_start
limit 5

-- name: ping
-- A notification that needs no right and leaves nothing, also in a session that may not write.
select pg_notify(%(channel)s::text, '')
