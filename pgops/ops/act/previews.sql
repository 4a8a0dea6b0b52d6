-- What an act would hit, before it does.

-- name: sample_documents
select id, data::text from {documents} order by updated_at desc limit %(shown)s

-- name: sample_vectors
select id, left(content, 200) from {table} order by id limit %(shown)s

-- name: sample_limits
-- Limits that say nothing any more, of both algorithms, and since when.
select key, extract(epoch from statement_timestamp())::float8 - ends / 1000000.0::float8 from (
  select key, tat as ends from pgops.rate_limits
  where tat <= (extract(epoch from statement_timestamp()) * 1000000)::bigint
  union all
  select key, ends_at from pgops.rate_windows
  where ends_at <= (extract(epoch from statement_timestamp()) * 1000000)::bigint
  limit %(shown)s
) as expired

-- name: pretty_payload
-- Of a job that does not run, wherever it stands, with every digit of its numbers.
select jsonb_pretty(payload) from (
  select payload from pgops.job_available
  where queue = %(queue)s and priority = any('{1,2,3,4}') and seq = %(job)s and id is null
  union all
  select payload from pgops.job_available where queue = %(queue)s and id = %(job)s
  union all
  select payload from pgops.job_scheduled where queue = %(queue)s and id = %(job)s
  union all
  select payload from pgops.job_waiting where queue = %(queue)s and id = %(job)s
  union all
  select payload from pgops.job_dead where queue = %(queue)s and id = %(job)s
) as job limit 1

-- name: preview_stuck
-- What requeue_stuck would take back; one more than the cap means "at least".
select count(*) over (), id, kind, expired, age_s, owner from (
  select id, kind, owner, lease_until < statement_timestamp() as expired,
         extract(epoch from statement_timestamp() - started_at)::float8 as age_s
  from pgops.job_running
  where queue = %(queue)s and (%(all)s or id = any(%(ids)s))
    and (lease_until < statement_timestamp() or started_at < statement_timestamp()
         - (select max_runtime from pgops.queues where queue = %(queue)s))
  limit %(cap)s::bigint + 1
) as found
order by age_s desc limit %(shown)s

-- name: count_jobs
-- Which of these ids wait or run; a first arrival is found by its seq.
select (select count(*) from pgops.job_available
        where queue = %(queue)s and priority = any('{1,2,3,4}') and seq = any(%(ids)s) and id is null)
     + (select count(*) from pgops.job_available where queue = %(queue)s and id = any(%(ids)s))
     + (select count(*) from pgops.job_scheduled where queue = %(queue)s and id = any(%(ids)s))
     + (select count(*) from pgops.job_waiting where queue = %(queue)s and id = any(%(ids)s))
     + (select count(*) from pgops.job_running where queue = %(queue)s and id = any(%(ids)s))

-- name: count_dead
select count(*) from (
  select from pgops.job_dead where queue = %(queue)s and (%(all)s or id = any(%(ids)s)) limit %(cap)s::bigint + 1
) as found

-- name: sample_dead
-- The last that died, with what its last attempt said.
select id, kind, attempt, coalesce(errors -> -1 ->> 'error', ''),
       extract(epoch from statement_timestamp() - died_at)::float8
from pgops.job_dead where queue = %(queue)s and (%(all)s or id = any(%(ids)s))
order by died_at desc limit %(shown)s

-- name: sample_expired
-- How long ago it expired; null where its namespace was invalidated first.
select s.namespace, s.key,
       case when coalesce(s.stale_until, s.expires_at) <= statement_timestamp()
            then extract(epoch from statement_timestamp() - s.expires_at)::float8 end
from pgops.cache_store as s left join pgops.cache_namespaces as n on n.namespace = s.namespace
where coalesce(s.stale_until, s.expires_at) <= statement_timestamp() or s.generation < n.generation
limit %(shown)s

-- name: cache_names
-- Every namespace that was used or configured.
select namespace from pgops.cache_stats union select namespace from pgops.cache_namespaces order by 1

-- name: sample_namespace
-- What a namespace holds in the first pages of the table: how many, to a cap, and whether the table has no more pages.
with first as materialized (
  select s.key, extract(epoch from statement_timestamp() - s.created_at)::float8 as age_s
  from pgops.cache_store as s
  where s.ctid < %(pages)s::tid and s.namespace = %(namespace)s
    and (s.expires_at is null or s.expires_at > statement_timestamp())
    and s.generation = coalesce((select generation from pgops.cache_namespaces where namespace = %(namespace)s), 0)
  limit %(cap)s::bigint + 1
)
select (select count(*) from first),
       pg_relation_size('pgops.cache_store') / current_setting('block_size')::bigint, f.key, f.age_s
from (select) as one left join (select * from first limit %(shown)s) as f on true
