-- Jobs in the order that matters in each state, page by page from a key on. {beyond} and {way} are < or > and asc or desc,
-- {matching} is what a job must be, of the {scan} rows that are looked at: where that many are, the last one comes back in
-- any case, so that the next look can go on behind it. A list does not haul payloads that nobody reads in a list.

-- name: page_available
-- In the order in which they will be claimed.
select 'available', id, kind, priority, attempt, max_attempts,
       case when octet_length(payload::text) > %(cut_bytes)s then %(cut)s else payload::text end, errors::text, created_at,
       ready_at, null::timestamptz, null::timestamptz, null::bigint, group_key, unique_key, null::text,
       priority::bigint, seq, place, {matching}
from (
  select seq, coalesce(id, seq) as id, kind, priority, attempt, max_attempts, payload, errors, created_at, ready_at, group_key,
         unique_key, row_number() over (order by priority {way}, seq {way}) as place
  from (select * from pgops.job_available
        where queue = %(queue)s and (priority, seq) {beyond} (%(first)s::bigint, %(second)s::bigint)
        order by priority {way}, seq {way} limit %(scan)s) as in_order) as jobs
where {matching} or place = %(scan)s
order by jobs.priority {way}, jobs.seq {way} limit %(limit)s

-- name: page_scheduled
select 'scheduled', id, kind, priority, attempt, max_attempts,
       case when octet_length(payload::text) > %(cut_bytes)s then %(cut)s else payload::text end, errors::text, created_at,
       run_at, null::timestamptz, null::timestamptz, null::bigint, group_key, unique_key, null::text,
       (extract(epoch from run_at) * 1000000)::bigint, id, place, {matching}
from (
  select *, row_number() over (order by run_at {way}, id {way}) as place
  from (select * from pgops.job_scheduled
        where queue = %(queue)s
          and (run_at, id) {beyond} ('epoch'::timestamptz + %(first)s::bigint / 1000000 * interval '1 second'
               + %(first)s::bigint %% 1000000 * interval '1 microsecond', %(second)s::bigint)
        order by run_at {way}, id {way} limit %(scan)s) as in_order) as jobs
where {matching} or place = %(scan)s
order by jobs.run_at {way}, jobs.id {way} limit %(limit)s

-- name: page_waiting
select 'waiting', id, kind, priority, attempt, max_attempts,
       case when octet_length(payload::text) > %(cut_bytes)s then %(cut)s else payload::text end, errors::text, created_at,
       null::timestamptz, null::timestamptz, null::timestamptz, null::bigint, group_key, unique_key, null::text,
       0::bigint, id, place, {matching}
from (
  select *, row_number() over (order by id {way}) as place
  from (select * from pgops.job_waiting where queue = %(queue)s and id {beyond} %(second)s::bigint
        order by id {way} limit %(scan)s) as in_order) as jobs
where {matching} or place = %(scan)s
order by jobs.id {way} limit %(limit)s

-- name: page_running
-- By when they began; as many as the workers hold are sorted.
select 'running', id, kind, priority, attempt, max_attempts,
       case when octet_length(payload::text) > %(cut_bytes)s then %(cut)s else payload::text end, errors::text, created_at,
       null::timestamptz, started_at, lease_until, owner, group_key, unique_key, progress::text,
       (extract(epoch from started_at) * 1000000)::bigint, id, place, {matching}
from (
  select *, row_number() over (order by started_at {way}, id {way}) as place
  from (select * from pgops.job_running
        where queue = %(queue)s
          and (started_at, id) {beyond} ('epoch'::timestamptz + %(first)s::bigint / 1000000 * interval '1 second'
               + %(first)s::bigint %% 1000000 * interval '1 microsecond', %(second)s::bigint)
        order by started_at {way}, id {way} limit %(scan)s) as in_order) as jobs
where {matching} or place = %(scan)s
order by jobs.started_at {way}, jobs.id {way} limit %(limit)s

-- name: page_dead
-- The youngest first: {beyond} and {way} are turned round.
select 'dead', id, kind, priority, attempt, max_attempts,
       case when octet_length(payload::text) > %(cut_bytes)s then %(cut)s else payload::text end, errors::text, created_at,
       died_at, null::timestamptz, null::timestamptz, null::bigint, group_key, unique_key, null::text,
       (extract(epoch from died_at) * 1000000)::bigint, id, place, {matching}
from (
  select *, row_number() over (order by died_at {way}, id {way}) as place
  from (select * from pgops.job_dead
        where queue = %(queue)s
          and (died_at, id) {beyond} ('epoch'::timestamptz + %(first)s::bigint / 1000000 * interval '1 second'
               + %(first)s::bigint %% 1000000 * interval '1 microsecond', %(second)s::bigint)
        order by died_at {way}, id {way} limit %(scan)s) as in_order) as jobs
where {matching} or place = %(scan)s
order by jobs.died_at {way}, jobs.id {way} limit %(limit)s
