-- The ledger of migrations and what is asked around it.

-- name: lock_migrations
-- Two migrations at once: the second waits here and then finds its work done.
select pg_advisory_xact_lock(7063761, 1)

-- name: create_schema
-- Only where it is missing: `if not exists` asks for the right to make one also where it is there.
do $$
begin
  if to_regnamespace('pgops') is null then
    create schema pgops;
  end if;
end
$$

-- name: create_ledger
create table if not exists pgops.migrations (
  name        text        collate "C" primary key,
  checksum    text        not null,
  applied_at  timestamptz not null default statement_timestamp(),
  duration_s  float8      not null,
  pgops_version text      not null
)

-- name: ledger_exists
select to_regclass('pgops.migrations') is not null

-- name: list_migrations
select name, checksum from pgops.migrations order by name

-- name: record_migration
insert into pgops.migrations (name, checksum, duration_s, pgops_version)
values (%(name)s, %(checksum)s, %(duration_s)s, %(by)s)

-- name: extension_available
select exists (select from pg_available_extensions where name = %(extension)s)
