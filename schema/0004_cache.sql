-- The cache and the rate limits: data that may be lost, in UNLOGGED tables.
--
-- Without WAL an upsert costs less than half. The price: after a crash or a fail-over these tables are empty.
-- cache_marker is logged and says that the cache was filled once; cache_stats is unlogged and has a row as soon
-- as the cache was used. The one without the other is a cache that a crash has emptied.
--
-- key stands first in the primary key: a get is one probe of one index, and key is the column by which the table
-- can be distributed one day. expires_at has a BRIN index and no b-tree: PostgreSQL 16 and later keep an
-- update heap-only under it, so that a set touches no index. Purge does not need it: it walks the table by page
-- in small slices, each a transaction of its own; a b-tree would only be more to keep up.
--
-- A value counts only in the generation of its namespace in which it was written: to invalidate a namespace is to
-- raise one number. In a namespace with a cap each row also has a spot, its key's hash, on a ring of 2^32: an arc
-- of the ring is a random sample of the keys, and its density tells how many there are. Others have none, and pay
-- nothing for the index. What was kept with stale_until is over only then, for those who take it expired.
--
-- Hits and misses are counted in each process and added here every few seconds; a read never writes, but for a
-- sliding value, at most eight times in its time to live.

create unlogged table pgops.cache_store (
  key           text        collate "C" not null,
  namespace     text        collate "C" not null default 'default',
  value         bytea       not null,
  expires_at    timestamptz,
  created_at    timestamptz not null default statement_timestamp(),
  generation    bigint      not null default 0,
  spot          integer,
  sliding       interval,
  stale_until   timestamptz,
  compute_s     real,
  primary key (key, namespace)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

create index cache_store_expires_at on pgops.cache_store using brin (expires_at)
  with (pages_per_range = 16, autosummarize = on);

create index cache_store_spot on pgops.cache_store (namespace, spot) where spot is not null;

-- A row for each namespace that was ever invalidated or given a cap. Never deleted: its generation must not come
-- again while a row of the store still has it. Logged, so that a computation under way during a crash is not kept
-- in a generation that was over.
create table pgops.cache_namespaces (
  namespace      text        collate "C" primary key,
  generation     bigint      not null default 0,
  max_entries    bigint      check (max_entries > 0),
  max_bytes      bigint      check (max_bytes > 0),
  invalidated_at timestamptz
) with (fillfactor = 50);

create unlogged table pgops.cache_stats (
  namespace     text        collate "C" primary key,
  hits          bigint      not null default 0,
  misses        bigint      not null default 0,
  sets          bigint      not null default 0,
  expired       bigint      not null default 0,
  evicted       bigint      not null default 0,
  since         timestamptz not null default statement_timestamp(),
  updated_at    timestamptz not null default statement_timestamp()
) with (fillfactor = 50);

-- At most one row.
create table pgops.cache_marker (
  id            boolean     primary key default true check (id),
  filled_at     timestamptz not null default statement_timestamp(),
  emptied_at    timestamptz
);

-- tat: the theoretical arrival time of the generic cell rate algorithm, in microseconds since 1970. One that has
-- passed says the same as no row.
create unlogged table pgops.rate_limits (
  key           text        collate "C" primary key,
  tat           bigint      not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- Fixed windows: how much was used of the one that ends at ends_at, in microseconds since 1970.
create unlogged table pgops.rate_windows (
  key           text        collate "C" primary key,
  ends_at       bigint      not null,
  used          bigint      not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
