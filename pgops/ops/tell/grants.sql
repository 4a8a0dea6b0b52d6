-- What a role needs, as `pgops grants` prints it; nothing here is run by pgops but the first two. {role}, {owner} and
-- the names of tables are filled in through psycopg.sql.

-- name: who_owns
-- Who may grant: the owner of the schema. And who is asking.
select pg_get_userbyid(n.nspowner)::text, current_user::text from pg_namespace n where n.nspname = 'pgops'

-- name: relations
-- What there is to be granted: tables, views, sequences, and slots of a ring.
select c.relname::text, c.relkind = 'S', c.relispartition
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'pgops' and c.relkind in ('r', 'p', 'v', 'S')
order by 1

-- name: use_schema
-- into the schema
grant usage on schema pgops to {role}

-- name: run_functions
grant execute on all functions in schema pgops to {role}

-- name: read_tables
-- look: at its tables, and at those of collections that its owner will make
grant select on all tables in schema pgops to {role}

-- name: read_coming_tables
alter default privileges for role {owner} in schema pgops grant select on tables to {role}

-- name: monitor
-- look: at the sessions of other roles
grant pg_monitor to {role}

-- name: write_tables
-- act: change data, but not the ledger of migrations, and take nothing out of the trail of acts
grant insert, update, delete on all tables in schema pgops to {role}

-- name: keep_ledger
revoke insert, update, delete on pgops.migrations from {role}

-- name: keep_trail
revoke delete on pgops.audit from {role}

-- name: empty_slots
-- act: what is old enough leaves history and event log by the day
grant select, truncate on {tables} to {role}

-- name: draw_numbers
grant usage, select, update on all sequences in schema pgops to {role}

-- name: write_coming_tables
alter default privileges for role {owner} in schema pgops grant insert, update, delete on tables to {role}

-- name: draw_coming_numbers
alter default privileges for role {owner} in schema pgops grant usage, select, update on sequences to {role}

-- name: make_collections
-- act: make collections; who has made one may index, rebuild and drop it, nobody else but its members and superusers
grant create on schema pgops to {role}

-- name: signal_sessions
-- act: cancel and terminate sessions of other roles
grant pg_signal_backend to {role}

-- name: read_registers
-- see whether the schema is there, and what collections there are
grant select on {tables} to {role}

-- name: work_tables
grant select, insert, update, delete on {tables} to {role}

-- name: work_numbers
grant usage, select, update on sequence {tables} to {role}

-- name: work_coming_tables
-- collections that the schema's owner will make; for one of somebody else's, print this again
alter default privileges for role {owner} in schema pgops grant select, insert, update, delete on tables to {role}
