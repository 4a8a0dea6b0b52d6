-- name: growth
-- The last five weeks of every measure, by days back from now: the highest mean of three hours in a row, as far as two
-- of them were looked at, the highest minute, and the mean; and how many hours of it there are.
select measure, day, max(sustained), max(highest), sum(mean * seconds) / sum(seconds), count(*)::integer
from (
  select measure, mean, highest, seconds,
         floor(extract(epoch from statement_timestamp() - at) / 86400)::integer as day,
         case when sum(seconds) over three >= 7200 then sum(mean * seconds) over three / sum(seconds) over three end as sustained
  from pgops.growth
  where measure = any(%(measures)s::text[]) and at > statement_timestamp() - interval '35 days'
  window three as (partition by measure order by at range between interval '2 hours' preceding and current row)
) hours
group by measure, day
order by measure, day
