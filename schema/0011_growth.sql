-- How the load grows: what this database was asked, an hour a row, so that it can be told when it will be too much.
--
-- Workers and relays look once a minute, one of them at a time, and nobody else writes. A year and a month are kept.

-- `mean` is over `seconds` of the hour, by how long each value stood; `highest` is the highest of its minutes.
create table pgops.growth (
  measure       text        collate "C" not null,
  at            timestamptz not null,
  mean          float8      not null,
  highest       float8      not null,
  seconds       float8      not null,
  primary key (measure, at)
) with (fillfactor = 70);

-- The last look: counters are told from it.
create table pgops.growth_look (
  measure       text        collate "C" primary key,
  value         float8      not null,
  at            timestamptz not null
) with (fillfactor = 50);

-- Whose turn it is: the row is locked by who looks.
create table pgops.growth_turn (
  only_one      boolean     primary key default true check (only_one),
  taken_at      timestamptz not null
) with (fillfactor = 50);

insert into pgops.growth_turn (taken_at) values ('-infinity');
