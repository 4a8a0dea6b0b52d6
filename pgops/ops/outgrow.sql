-- name: growth
-- The last five weeks of every measure, by days back from now: the highest mean of three hours in a row, the highest
-- minute, and the mean; and how many hours of it there are.
select measure, day, max(sustained), max(highest), sum(mean * seconds) / sum(seconds), count(*)::integer
from (
  select measure, mean, highest, seconds,
         floor(extract(epoch from statement_timestamp() - at) / 86400)::integer as day,
         avg(mean) over (partition by measure order by at range between interval '2 hours' preceding and current row) as sustained
  from pgops.growth
  where measure = any(%(measures)s::text[]) and at > statement_timestamp() - interval '35 days'
) hours
group by measure, day
order by measure, day
