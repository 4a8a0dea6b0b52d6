-- The consumer's side: who has acted on which event.

-- name: mark
insert into pgops.inbox (consumer, event_id) values (%(consumer)s, %(event_id)s) on conflict do nothing

-- name: forget
delete from pgops.inbox where consumer = %(consumer)s
