-- What findings are told from: how often rate limits deny, and what recall an index had before.

-- Decisions by the name of a limit: what stands before the first colon of its key. Counted in each process and added
-- here every few seconds; no decision writes here. At most a thousand names, the others together.
create unlogged table pgops.limit_stats (
  name          text        collate "C" primary key,
  decisions     bigint      not null default 0,
  denied        bigint      not null default 0,
  since         timestamptz not null default statement_timestamp(),
  updated_at    timestamptz not null default statement_timestamp()
) with (fillfactor = 50);

-- The best recall that was measured of a collection before the one that vector_collections holds.
create table pgops.recall_before (
  name          text        collate "C" primary key,
  recall        real        not null,
  measured_at   timestamptz not null
) with (fillfactor = 50);
