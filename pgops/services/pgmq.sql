-- Queues of pgmq, 1.4 to 1.13, on its own tables: q_<name> holds the messages, a_<name> those that were archived, meta
-- the names. pgmq's functions know a message by msg_id alone, so a reader who is late takes it from the next one; here
-- whoever ends or extends a message names the read_ct that he was given too. {headers} and {touch} are for columns that
-- came later: headers with 1.5, last_read_at with 1.10.

-- name: has_pgmq
-- From the catalog alone, so that nothing fails where there is no pgmq, or no right to look.
select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'), quote_ident(current_user)
from pg_namespace n join pg_class c on c.relnamespace = n.oid and c.relname = 'meta'
where n.nspname = 'pgmq'

-- name: queue_names
select queue_name::text from pgmq.meta order by queue_name limit 10000

-- name: find_queue
-- By the table that the name stands for, which is in lower case whatever the name is; a column that pgmq's version does
-- not have is not there.
select m.queue_name::text, c.relname::text, a.relname::text, c.relkind = 'p', c.relpersistence = 'u',
       exists (select from pg_attribute t where t.attrelid = c.oid and t.attname = 'headers' and not t.attisdropped),
       exists (select from pg_attribute t where t.attrelid = c.oid and t.attname = 'last_read_at' and not t.attisdropped)
from pgmq.meta m
join pg_namespace n on n.nspname = 'pgmq'
join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'p') and c.relname = ('q_' || lower(m.queue_name))::name
left join pg_class a on a.relnamespace = n.oid and a.relkind in ('r', 'p') and a.relname = ('a_' || lower(m.queue_name))::name
where lower(m.queue_name) = lower(%(queue)s)
order by m.queue_name = %(queue)s desc limit 1

-- name: list_queues
-- What the catalog and the statistics know of every queue, or of one and its dead letters, without reading or locking
-- any.
select m.queue_name::text, c.relname::text, c.relkind = 'p', c.relpersistence = 'u', m.created_at,
       has_table_privilege(c.oid, 'select'), c.oid::bigint, a.oid::bigint, known.live, known.planned,
       (select case when has_sequence_privilege(s.oid, 'usage, select') then coalesce(pg_sequence_last_value(s.oid), 0) end
        from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'
        where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid
          and d.deptype = 'i' limit 1)
from pgmq.meta m
join pg_namespace n on n.nspname = 'pgmq'
join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'p') and c.relname = ('q_' || lower(m.queue_name))::name
left join pg_class a on a.relnamespace = n.oid and a.relkind in ('r', 'p') and a.relname = ('a_' || lower(m.queue_name))::name
cross join lateral (
  select sum(pg_stat_get_live_tuples(t.oid))::bigint as live, sum(greatest(t.reltuples, 0))::bigint as planned
  from (select c.oid union select relid from pg_partition_tree(c.oid) where isleaf) part join pg_class t on t.oid = part.oid
) known
where %(queue)s::text is null or lower(m.queue_name) in (lower(%(queue)s), lower(%(queue)s) || '_dlq')
order by m.queue_name limit 500

-- name: measure
-- pgmq.metrics counts the whole queue; this stops at a cap. Beyond it the hidden ones are counted by their index, to the
-- same cap, and all of them are estimated.
with head as materialized (
  select vt, read_ct, enqueued_at from {queue} order by msg_id limit %(cap)s::bigint + 1
), seen as materialized (
  select count(*) as messages, count(*) filter (where vt <= statement_timestamp()) as available,
         count(*) filter (where vt > statement_timestamp() and read_ct = 0) as scheduled,
         count(*) filter (where vt > statement_timestamp() and read_ct > 0) as running, min(enqueued_at) as oldest
  from head
), hidden as materialized (
  select read_ct from {queue}
  where vt > statement_timestamp() and (select messages from seen) > %(cap)s
  order by vt limit %(cap)s::bigint + 1
)
select s.messages, s.available, s.scheduled, s.running,
       (select count(*) from hidden where read_ct = 0), (select count(*) from hidden where read_ct > 0),
       (select extract(epoch from statement_timestamp() - enqueued_at)::float8 from {queue} order by msg_id desc limit 1),
       extract(epoch from statement_timestamp() - s.oldest)::float8,
       (select extract(epoch from statement_timestamp() - vt)::float8 from {queue}
        where vt <= statement_timestamp() order by vt limit 1),
       pg_total_relation_size(%(oid)s::bigint::oid), pg_total_relation_size(%(archive_oid)s::bigint::oid)
from seen s

-- name: count
-- What was read more than `reads` times and is out with nobody, or with `everything` all; one more than the cap means
-- "at least".
select count(*) from (
  select from {queue}
  where %(everything)s or (read_ct > %(reads)s and vt <= clock_timestamp())
  limit %(cap)s::bigint + 1
) as found

-- name: peek
-- The first of the same, without a read. What is longer than `cut_bytes` is told by `cut`.
select msg_id, read_ct, enqueued_at, vt,
       case when octet_length(message::text) > %(cut_bytes)s::bigint then %(cut)s::text else message::text end,
       case when octet_length({headers}::text) > %(cut_bytes)s::bigint then %(cut)s::text else {headers}::text end
from {queue}
where %(everything)s or (read_ct > %(reads)s and vt <= clock_timestamp())
order by msg_id limit %(limit)s

-- name: create_queue
select pgmq.create(%(queue)s::text)

-- name: create_unlogged_queue
select pgmq.create_unlogged(%(queue)s::text)

-- name: send
insert into {queue} (vt, message)
values (clock_timestamp() + make_interval(secs => %(delay_s)s::float8), %(message)s::jsonb)
returning msg_id

-- name: send_with_headers
insert into {queue} (vt, message, headers)
values (clock_timestamp() + make_interval(secs => %(delay_s)s::float8), %(message)s::jsonb, %(message_headers)s::jsonb)
returning msg_id

-- name: send_many
insert into {queue} (vt, message)
select clock_timestamp() + make_interval(secs => %(delay_s)s::float8), message::jsonb
from unnest(%(messages)s::text[]) with ordinality as sent (message, place) order by place
returning msg_id

-- name: read
-- As pgmq.read does it, the clock too: its condition is no index's, so that messages come in the order of their ids and
-- no plan sorts a backlog.
with taken as (
  update {queue}
  set vt = clock_timestamp() + make_interval(secs => %(vt_s)s::float8), read_ct = read_ct + 1{touch}
  where msg_id = any(array(
    select msg_id from {queue} where vt <= clock_timestamp() order by msg_id limit %(limit)s for update skip locked))
  returning msg_id, read_ct, enqueued_at, vt, message::text as message, {headers}::text as headers
)
select * from taken order by msg_id

-- name: ack
-- With what stood there when it was not the message that was meant.
with gone as (
  delete from {queue} where msg_id = %(msg_id)s and read_ct = %(read_ct)s returning msg_id
)
select (select count(*) from gone), (select read_ct from {queue} where msg_id = %(msg_id)s)

-- name: ack_many
delete from {queue} q
using unnest(%(ids)s::bigint[], %(read_cts)s::integer[]) as held (msg_id, read_ct)
where q.msg_id = any(%(ids)s::bigint[]) and q.msg_id = held.msg_id and q.read_ct = held.read_ct
returning q.msg_id

-- name: archive
with gone as (
  delete from {queue} where msg_id = %(msg_id)s and read_ct = %(read_ct)s returning *
), kept as (
  insert into {archive} ({kept}) select {kept} from gone returning msg_id
)
select (select count(*) from kept), (select read_ct from {queue} where msg_id = %(msg_id)s)

-- name: archive_many
with gone as (
  delete from {queue} q
  using unnest(%(ids)s::bigint[], %(read_cts)s::integer[]) as held (id, ct)
  where q.msg_id = any(%(ids)s::bigint[]) and q.msg_id = held.id and q.read_ct = held.ct
  returning q.*
)
insert into {archive} ({kept}) select {kept} from gone returning msg_id

-- name: extend
with moved as (
  update {queue} set vt = clock_timestamp() + make_interval(secs => %(vt_s)s::float8)
  where msg_id = %(msg_id)s and read_ct = %(read_ct)s returning vt
)
select (select count(*) from moved), (select read_ct from {queue} where msg_id = %(msg_id)s), (select vt from moved)

-- name: bury
-- One message, whose reader gives it up. What became of it stands in the headers of the dead letter.
with gone as (
  delete from {queue} where msg_id = %(msg_id)s and read_ct = %(read_ct)s returning *
), dead as (
  insert into {dead} (vt, message, headers)
  select clock_timestamp(), message,
         coalesce(headers, '{{}}') || jsonb_build_object('dead_letter', jsonb_build_object(
           'queue', %(queue)s::text, 'msg_id', msg_id, 'read_ct', read_ct, 'reason', %(reason)s::text,
           'enqueued_at', enqueued_at, 'died_at', statement_timestamp(),
           'times', coalesce(jsonb_path_query_first(headers, '$.dead_letter.times ? (@ > 0)')::numeric, 0) + 1))
  from gone
  returning msg_id
)
select (select count(*) from dead), (select read_ct from {queue} where msg_id = %(msg_id)s), (select msg_id from dead)

-- name: bury_worn
-- What was read too often and is out with nobody.
with gone as (
  delete from {queue} where msg_id = any(array(
    select msg_id from {queue} where read_ct > %(reads)s and vt <= clock_timestamp()
    order by msg_id limit %(limit)s for update skip locked))
  returning *
), dead as (
  insert into {dead} (vt, message, headers)
  select clock_timestamp(), message,
         coalesce(headers, '{{}}') || jsonb_build_object('dead_letter', jsonb_build_object(
           'queue', %(queue)s::text, 'msg_id', msg_id, 'read_ct', read_ct, 'reason', %(reason)s::text,
           'enqueued_at', enqueued_at, 'died_at', statement_timestamp(),
           'times', coalesce(jsonb_path_query_first(headers, '$.dead_letter.times ? (@ > 0)')::numeric, 0) + 1))
  from gone order by msg_id
  returning msg_id
)
select count(*) from dead

-- name: redrive
-- Under new ids, so that no reader of before can end them; the headers keep what they died of.
with gone as (
  delete from {dead} where msg_id = any(array(
    select msg_id from {dead} where vt <= clock_timestamp() order by msg_id limit %(limit)s for update skip locked))
  returning *
), back as (
  insert into {queue} (vt, message, headers) select clock_timestamp(), message, headers from gone order by msg_id
  returning msg_id
)
select count(*) from back

-- name: newest
select coalesce(max(msg_id), 0)::bigint from {queue}

-- name: purge
-- A slice in the order of ids, above the one before, so that its dead index entries are not visited again. What a
-- transaction holds just now is left, so that nobody waits.
with gone as (
  delete from {queue} where msg_id = any(array(
    select msg_id from {queue} where msg_id > %(after)s and msg_id <= %(upto)s
    order by msg_id limit %(limit)s for update skip locked))
  returning msg_id
)
select count(*), max(msg_id) from gone
