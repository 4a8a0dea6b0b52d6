-- needs extension: vector
--
-- Vector collections: each is a table vec_<name> (id, content, metadata, embedding), made when it is asked for,
-- with at most one index, vec_<name>_ivf or vec_<name>_hnsw. This is the register of them.
--
-- embedder is a name and nothing more: what it stands for, and what runs, is said by the config.toml of whoever asks,
-- so that no one who may write here can have anything run or called.
--
-- recall is what the last measurement found against exact search, with its 95 % interval: how many of the true
-- nearest the index returns cannot be told from anything that the catalog holds.
--
-- pageinspect reads the number of lists that an index was built with, which the catalog does not know either
-- (it knows what the next build will use). Without it, or without a superuser, that number is unknown.

create table pgops.vector_collections (
  name          text        collate "C" primary key check (name ~ '^[a-z_][a-z0-9_]{0,40}$'),
  dimensions    integer     not null check (dimensions between 1 and 16000),
  type          text        not null default 'vector' check (type in ('vector', 'halfvec')),
  metric        text        not null check (metric in ('cosine', 'l2', 'ip')),
  embedder      text        check (embedder ~ '^[A-Za-z0-9_.-]{1,60}$'),
  lists_target  integer     check (lists_target between 1 and 32768), -- null: by the number of rows
  recall        float8      check (recall between 0 and 1),
  recall_low    float8,
  recall_high   float8,
  recall_at     timestamptz,
  created_at    timestamptz not null default statement_timestamp()
);

do $$
begin
  create extension if not exists pageinspect;
exception
  when insufficient_privilege or feature_not_supported or undefined_file then null;
end
$$;
