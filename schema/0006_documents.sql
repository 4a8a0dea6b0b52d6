-- Document collections: each is a table doc_<name> (id, data jsonb, version, timestamps), made when it is asked
-- for. This is the register of them, with what a person has set; a table that nobody registered is not touched.

create table pgops.collections (
  name          text        collate "C" primary key check (name ~ '^[a-z_][a-z0-9_]{0,40}$'),
  settings      jsonb       not null default '{}' check (jsonb_typeof(settings) = 'object'),
  created_at    timestamptz not null default statement_timestamp()
);
