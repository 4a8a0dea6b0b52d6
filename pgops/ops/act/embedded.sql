-- What a server holds, for whoever is about to remove it.

-- name: list_databases
-- All that hold anything of their own, the largest first.
select d.datname::text, pg_database_size(d.oid)
from pg_database d
where not d.datistemplate
order by 2 desc, 1

-- name: list_applications
-- Who is connected, but for this session.
select a.application_name, a.datname::text, count(*)
from pg_stat_activity a
where a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
group by 1, 2
order by 3 desc, 1, 2
