-- Document collections: each is a table doc_<name> (id, data jsonb, version, timestamps), made when it is asked
-- for. This is the register of them, with what a person has set; a table that nobody registered is not touched.
--
-- A document is a JSON object under a text id: the application's own, or one drawn by document_id(). version grows
-- by one with each write through pgops and is what an optimistic write compares; SQL of your own that changes data
-- sets `version = version + 1` too. An expired document is gone for every reader at once and is purged later.
--
-- Any index on data makes every change of a document write all of its indexes (no heap-only updates), so a
-- collection is made without one.

create table pgops.collections (
  name          text        collate "C" primary key check (name ~ '^[a-z_][a-z0-9_]{0,40}$'),
  settings      jsonb       not null default '{}' check (jsonb_typeof(settings) = 'object'),
  created_at    timestamptz not null default statement_timestamp()
);

-- A UUID of version 7 (RFC 9562): milliseconds first, so that new documents stand together at the end of the
-- primary key. PostgreSQL 18 has one of its own; this one runs everywhere and needs no sequence.
create function pgops.document_id() returns text language sql volatile parallel safe as $$
  select encode(set_bit(set_bit(
    overlay(uuid_send(gen_random_uuid())
            placing substring(int8send((extract(epoch from statement_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
    52, 1), 53, 1), 'hex')::uuid::text
$$;

-- JSON merge patch (RFC 7386): what is null in the patch goes, objects are merged, all else replaces.
create function pgops.merge_patch(target jsonb, patch jsonb) returns jsonb
language sql immutable parallel safe as $$
  select case when jsonb_typeof(patch) <> 'object' then patch else coalesce((
    select jsonb_object_agg(merged.key, merged.value) from (
      select t.key, t.value
      from jsonb_each(case when jsonb_typeof(target) = 'object' then target else '{}' end) as t
      where not patch ? t.key
      union all
      select p.key, pgops.merge_patch(case when jsonb_typeof(target) = 'object' then target -> p.key end, p.value)
      from jsonb_each(patch) as p
      where jsonb_typeof(p.value) <> 'null'
    ) as merged
  ), '{}') end
$$;
