-- Where the demo takes place: a scratch database of its own.

-- name: claim_demo
-- Held by the session as long as a demo runs on the server: the next one must not drop its database.
select pg_try_advisory_lock(hashtext('pgops demo'))

-- name: drop_scratch
-- By force, for a demo that was killed may have left sessions behind.
drop database if exists pgops_demo with (force)

-- name: create_scratch
-- Empty, whatever template1 holds.
create database pgops_demo template template0
