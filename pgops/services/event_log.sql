-- What producers do with the event log, and a look at it. `part` is the distribution column.

-- name: append
-- A plain insert, at the price of one, in whoever's transaction.
insert into pgops.outbox (event_id, aggregate_type, aggregate_id, event_type, payload, headers)
values (%(event_id)s, %(topic)s, %(key)s, %(type)s, %(payload)s, %(headers)s)

-- name: copy_events
copy pgops.event_log (event_id, topic, key, type, payload, headers) from stdin

-- name: newest_events
-- By the index of transactions, backwards.
select part, id, event_id, topic, key, type, payload::text, headers::text, created_at
from pgops.event_log
where (%(topic)s::text is null or topic = %(topic)s) and (%(type)s::text is null or type = %(type)s)
order by xid desc, part desc, id desc limit %(limit)s

-- name: newest_of_key
-- Within its part, by the primary key.
select part, id, event_id, topic, key, type, payload::text, headers::text, created_at
from pgops.event_log
where part = (hashtext(%(key)s::text) & 63)::smallint and key = %(key)s
  and (%(topic)s::text is null or topic = %(topic)s) and (%(type)s::text is null or type = %(type)s)
order by part desc, id desc limit %(limit)s

-- name: find_event
select part, id, event_id, topic, key, type, payload::text, headers::text, created_at
from pgops.event_log where event_id = %(event_id)s limit 1
