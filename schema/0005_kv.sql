-- The key-value store, twice with one shape: kv_store is logged and survives all that PostgreSQL survives;
-- kv_ephemeral is UNLOGGED, half the price, and empty after a crash.
--
-- Keys sort by bytes (collate "C"), so that a prefix is a plain range of the primary key, also under a generic
-- plan. version is what a compare-and-set compares: it grows with each write of a value, and starts at the
-- microsecond, so that a key deleted and made anew never has a version that it had before. expires_at stands under
-- a BRIN index, so that a write stays heap-only (16 and later); see 0004_cache.

create table pgops.kv_store (
  key           text        collate "C" primary key,
  value         bytea       not null,
  version       bigint      not null default (extract(epoch from statement_timestamp()) * 1000000)::bigint,
  expires_at    timestamptz,
  updated_at    timestamptz not null default statement_timestamp()
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

create index kv_store_expires_at on pgops.kv_store using brin (expires_at)
  with (pages_per_range = 16, autosummarize = on);

create unlogged table pgops.kv_ephemeral (
  key           text        collate "C" primary key,
  value         bytea       not null,
  version       bigint      not null default (extract(epoch from statement_timestamp()) * 1000000)::bigint,
  expires_at    timestamptz,
  updated_at    timestamptz not null default statement_timestamp()
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

create index kv_ephemeral_expires_at on pgops.kv_ephemeral using brin (expires_at)
  with (pages_per_range = 16, autosummarize = on);
