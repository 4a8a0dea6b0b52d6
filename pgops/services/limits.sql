-- Rate limits. Clock: statement_timestamp() in microseconds since 1970. A denial writes nothing.

-- name: hit_gcra
-- The generic cell rate algorithm in one upsert: tat is the time at which all is available again, and `room` how far
-- it may be ahead for one more. No row: denied.
insert into pgops.rate_limits as r (key, tat)
values (%(key)s, (extract(epoch from statement_timestamp()) * 1000000)::bigint + %(increment)s::bigint)
on conflict (key) do update
set tat = greatest(r.tat, excluded.tat - %(increment)s::bigint) + %(increment)s::bigint
where r.tat - (excluded.tat - %(increment)s::bigint) <= %(room)s::bigint
returning tat - (extract(epoch from statement_timestamp()) * 1000000)::bigint

-- name: peek_gcra
select tat - (extract(epoch from statement_timestamp()) * 1000000)::bigint from pgops.rate_limits where key = %(key)s

-- name: hit_window
-- Windows stand on a grid of their period since 1970. One that is over starts anew with this hit. What is used, and
-- how long the window lasts; no row: denied.
insert into pgops.rate_windows as w (key, ends_at, used)
values (%(key)s,
        ((extract(epoch from statement_timestamp()) * 1000000)::bigint / %(period)s::bigint + 1) * %(period)s::bigint,
        %(cost)s)
on conflict (key) do update
set ends_at = case when w.ends_at <= (extract(epoch from statement_timestamp()) * 1000000)::bigint
                   then excluded.ends_at else w.ends_at end,
    used = case when w.ends_at <= (extract(epoch from statement_timestamp()) * 1000000)::bigint
                then excluded.used else w.used + excluded.used end
where w.ends_at <= (extract(epoch from statement_timestamp()) * 1000000)::bigint
   or w.used + excluded.used <= %(limit)s::bigint
returning used, ends_at - (extract(epoch from statement_timestamp()) * 1000000)::bigint

-- name: peek_window
select used, ends_at - (extract(epoch from statement_timestamp()) * 1000000)::bigint from pgops.rate_windows
where key = %(key)s

-- name: reset
with gone as (
  delete from pgops.rate_limits where key = %(key)s returning key
), over as (
  delete from pgops.rate_windows where key = %(key)s returning key
)
select (select count(*) from gone) + (select count(*) from over)

-- name: count_limit_pages
-- Where a walk over the table ends.
select pg_relation_size('pgops.rate_limits') / current_setting('block_size')::bigint

-- name: count_window_pages
select pg_relation_size('pgops.rate_windows') / current_setting('block_size')::bigint

-- name: purge_limits
-- A time that has passed says the same as no row. By page, as the cache's purge; a row that someone hits is skipped.
with gone as (
  delete from pgops.rate_limits
  where ctid = any(array(
    select ctid from pgops.rate_limits
    where ctid >= %(low)s::tid and ctid < %(high)s::tid
      and tat <= (extract(epoch from statement_timestamp()) * 1000000)::bigint
    limit %(batch)s
    for update skip locked
  ))
  returning key
)
select count(*) from gone

-- name: purge_windows
with gone as (
  delete from pgops.rate_windows
  where ctid = any(array(
    select ctid from pgops.rate_windows
    where ctid >= %(low)s::tid and ctid < %(high)s::tid
      and ends_at <= (extract(epoch from statement_timestamp()) * 1000000)::bigint
    limit %(batch)s
    for update skip locked
  ))
  returning key
)
select count(*) from gone

-- name: count_expired
-- Of both algorithms, capped: one more than the cap means "at least".
select count(*) from (
  select from pgops.rate_limits where tat <= (extract(epoch from statement_timestamp()) * 1000000)::bigint
  union all
  select from pgops.rate_windows where ends_at <= (extract(epoch from statement_timestamp()) * 1000000)::bigint
  limit %(cap)s::bigint + 1
) as expired

-- name: flush_limits
-- What a process has counted, in order of name. Names beyond the cap are counted together.
insert into pgops.limit_stats as s (name, decisions, denied)
select case when k.name is not null or (select count(*) from pgops.limit_stats) < %(cap)s::bigint then f.name else %(others)s end,
       sum(f.decisions)::bigint, sum(f.denied)::bigint
from unnest(%(names)s::text[], %(decisions)s::bigint[], %(denied)s::bigint[]) as f (name, decisions, denied)
left join pgops.limit_stats k on k.name = f.name
group by 1 order by 1
on conflict (name) do update
set decisions = s.decisions + excluded.decisions, denied = s.denied + excluded.denied, updated_at = statement_timestamp()

-- name: read_limits
-- The most denied first, and what all of them have decided.
select name, decisions, denied, since, (sum(decisions) over ())::bigint, (sum(denied) over ())::bigint
from pgops.limit_stats order by denied desc, decisions desc, name limit %(limit)s::bigint

-- name: limits_counted
-- Asked first where the schema may be older: whether there is such a table, and one may read it.
select coalesce(has_table_privilege(to_regclass('pgops.limit_stats'), 'select'), false)
