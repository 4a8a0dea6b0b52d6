-- Where the bench takes place, and the few statements that no service has.

-- name: find_leftovers
-- Databases of a bench that was killed: nobody is connected, whereas a running one keeps a session in its own.
select datname from pg_database as scratch
where datname ~ '^pgops_bench_[0-9a-f]+$'
  and not exists (select from pg_stat_activity as session where session.datid = scratch.oid)

-- name: begin_scratch
-- Until it is entered a new database looks like a leftover: nobody clears away meanwhile.
select pg_advisory_lock_shared(7063762)

-- name: scratch_is_entered
select pg_advisory_unlock_shared(7063762)

-- name: may_clear
select pg_try_advisory_lock(7063762)

-- name: create_scratch
-- Empty, whatever template1 holds.
create database {database} template template0

-- name: drop_leftover
-- Without force: one that somebody has entered since is not a leftover.
drop database if exists {database}

-- name: drop_scratch
drop database if exists {database} with (force)

-- name: read_versions
select current_setting('server_version'), (select extversion from pg_extension where extname = 'vector')

-- name: read_settings
select name, current_setting(name) from pg_settings where name = any(%(names)s) order by name

-- name: vacuum
vacuum (analyze)

-- name: hold_xmin
-- Within an open transaction: what is deleted from now on stays.
select pg_current_xact_id()::text

-- name: create_orders
-- A business table for the caller's own transactions.
create table {table} (id bigint primary key, content text)

-- name: place_order
insert into {table} (id, content) values (%(id)s, %(content)s)

-- name: make_logged
-- The same table, written to the log: what the cache would cost if it survived a crash.
alter table pgops.cache_store set logged

-- name: make_unlogged
alter table pgops.cache_store set unlogged

-- name: nothing
-- A round trip.
select 1

-- name: own_pid
select pg_backend_pid()
