-- Backends: who is connected, who waits for whom, and what an act on one of them asks first.
--
-- A statement is shown without the blanks and comments that it begins with: what it does says more than why, and ours
-- all begin with their why. One that is nothing but a comment is shown as it is.

-- name: session_list
-- The longest transactions first, then the longest statements. Text of a database in another encoding is left out:
-- its bytes may not be text here.
select a.pid, a.backend_start, a.usename::text, a.datname::text, a.application_name,
       coalesce(host(a.client_addr), 'local'), a.state,
       extract(epoch from statement_timestamp() - a.xact_start)::float8,
       extract(epoch from statement_timestamp() - a.query_start)::float8,
       extract(epoch from statement_timestamp() - a.state_change)::float8,
       a.wait_event_type || ':' || a.wait_event,
       case when d.encoding = own.encoding then left(split_part(coalesce(nullif(
         regexp_replace(a.query, '^(\s|--[^\n]*(\n|$)|/\*([^*]|\*+[^*/])*\*+/)+', ''),
         ''), a.query), E'\n', 1), 200) end
from pg_stat_activity a
left join pg_database d on d.oid = a.datid
cross join (select encoding from pg_database where datname = current_database()) own
where a.backend_type = 'client backend'
order by a.xact_start nulls last, a.query_start nulls last limit %(cap)s

-- name: anybody_waits
-- Mostly nobody does, and this is soon said.
select exists (select from pg_stat_activity where wait_event_type = 'Lock')

-- name: locks
-- Who waits for a lock, those it waits for, and what it waits for. pg_blocking_pids and pg_locks halt the lock manager
-- for a moment, so they are asked for the waiting alone. A wait for a row is one for the transaction that holds it:
-- its table is that of the tuple lock beside it.
with waiting as materialized (
  select pid, pg_blocking_pids(pid) as blocked_by
  from (select pid from pg_stat_activity where wait_event_type = 'Lock' order by query_start limit %(cap)s) as longest
), asked as materialized (
  select pid, locktype, mode, granted, waitstart,
         case when database in (0, (select oid from pg_database where datname = current_database()))
              then relation::regclass::text end as relation
  from pg_locks
  where exists (select from waiting where cardinality(blocked_by) > 0) and pid = any(array(select pid from waiting))
    and (not granted or locktype = 'tuple')
), involved as (
  select pid from waiting where cardinality(blocked_by) > 0
  union
  select unnest(blocked_by) from waiting
)
select i.pid, a.backend_start, a.usename::text, a.datname::text, a.application_name, a.backend_type, a.state,
       extract(epoch from statement_timestamp() - a.xact_start)::float8, a.wait_event_type || ':' || a.wait_event,
       extract(epoch from statement_timestamp() - l.waitstart)::float8, coalesce(w.blocked_by, '{}'),
       l.locktype, l.mode, coalesce(l.relation, t.relation),
       case when d.encoding = own.encoding then left(coalesce(nullif(
         regexp_replace(a.query, '^(\s|--[^\n]*(\n|$)|/\*([^*]|\*+[^*/])*\*+/)+', ''),
         ''), a.query), 200) end
from involved i
left join waiting w on w.pid = i.pid
left join pg_stat_activity a on a.pid = i.pid
left join pg_database d on d.oid = a.datid
left join lateral (select * from asked where asked.pid = i.pid and not granted limit 1) l on true
left join lateral (select relation from asked where asked.pid = i.pid and granted limit 1) t on true
cross join (select encoding from pg_database where datname = current_database()) own
order by i.pid

-- name: backend
-- One backend, and who waits for it. What is hidden from this role is null.
select a.pid, a.backend_start, a.backend_type, a.usename::text, a.datname::text, a.application_name,
       coalesce(host(a.client_addr), 'local'), a.state, a.pid = pg_backend_pid(),
       extract(epoch from statement_timestamp() - a.xact_start)::float8,
       extract(epoch from statement_timestamp() - a.state_change)::float8, a.wait_event_type || ':' || a.wait_event,
       case when d.encoding = own.encoding then left(coalesce(nullif(
         regexp_replace(a.query, '^(\s|--[^\n]*(\n|$)|/\*([^*]|\*+[^*/])*\*+/)+', ''),
         ''), a.query), 200) end,
       array(select w.pid from pg_stat_activity w where w.wait_event_type = 'Lock' and a.pid = any(pg_blocking_pids(w.pid)))
from pg_stat_activity a
left join pg_database d on d.oid = a.datid
cross join (select encoding from pg_database where datname = current_database()) own
where a.pid = %(pid)s::bigint

-- name: cancel_backend
-- The same backend that was looked at: a process id is given anew, and a vacuum goes on to the next table.
select pg_cancel_backend(pid) from pg_stat_activity
where pid = %(pid)s::bigint and backend_start = %(started_at)s
  and not (backend_type = 'autovacuum worker' and query like '%%(to prevent wraparound)')

-- name: terminate_backend
-- The same backend that was looked at: a process id is given anew, and a vacuum goes on to the next table.
select pg_terminate_backend(pid) from pg_stat_activity
where pid = %(pid)s::bigint and backend_start = %(started_at)s
  and not (backend_type = 'autovacuum worker' and query like '%%(to prevent wraparound)')
