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

-- name: list_channels
-- PostgreSQL tells no session what another one listens to. A listener waits, though, and what it said last was LISTEN.
select name, array_agg(pid order by pid)
from (
  select distinct a.pid, case when starts_with(m[1], '"') then replace(substr(m[1], 2, length(m[1]) - 2), '""', '"')
                              else lower(m[1]) end as name
  from pg_stat_activity a
  cross join lateral regexp_matches(a.query, '\mlisten\s+("(?:[^"]|"")+"|[[:alpha:]_][\w$]*)', 'gi') as m
  where a.datname = current_database() and a.state = 'idle' and a.query ~* '^\s*listen\s'
) seen
where not starts_with(name, 'pgops_ping_')
group by name
order by name
limit 1000
