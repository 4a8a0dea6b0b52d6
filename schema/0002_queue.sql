-- The job queue.
--
-- A job lives in exactly one table at a time, and moves by delete … returning into insert:
--
--     job_scheduled --promote--> job_available --claim--> job_running --complete--> (job_history)
--           ^                       ^      ^                   |
--           '----- fail, retry -----|------'------ reap -------|----- fail, last attempt --> job_dead
--     job_waiting ---release--------'------ requeue -----------------------------------------'
--
-- Split tables write a fifth less WAL a job than one table with a state, and leave an index over the ready
-- jobs that nothing but claims and enqueues touch. `seq` is the order of arrival, drawn by the inserting
-- statement; a job that comes back draws a new one. A first arrival needs no second number: its id is its seq.
--
-- Workers remember the highest seq that they have claimed and scan above it (the floor), so the dead index
-- entries of claimed jobs are never visited, however long a forgotten transaction keeps them from vacuum.
-- What is committed late, or comes back below the floor, is found by sweeps; see runtime/worker.py.
--
-- Of the jobs with one group key only the head leaves job_waiting: it is available, scheduled for another try, or
-- running, and when it ends the next follows. A unique key is held while its job is in one of the states it names.
-- Neither makes a worker wait for a producer's open transaction: what is locked is left for the next round.
--
-- queue stands first in every key: it is the column by which these tables can be distributed one day.

create sequence pgops.job_seq;
create sequence pgops.worker_id;
create sequence pgops.queue_delta_id;

create table pgops.queues (
  queue         text        collate "C" primary key,
  paused        boolean     not null default false,
  max_attempts  smallint    not null default 10 check (max_attempts between 1 and 1000),
  lease         interval    not null default '30 s' check (lease >= interval '1 s'),
  max_runtime   interval    not null default '10 min',
  backoff       interval    not null default '1 s',
  backoff_max   interval    not null default '1 h',
  history       text        not null default 'none' check (history in ('none', 'failures', 'all')),
  aging         interval    default '5 min' check (aging > interval '0'),  -- waiting so long is worth one priority; null: never
  durability    text        not null default 'durable' check (durability in ('durable', 'relaxed')),
  limited       boolean     not null default false,     -- there is a row in queue_limit
  resume_at     timestamptz,                            -- a pause ends then by itself
  hints_until   timestamptz not null default '-infinity', -- a worker is waiting and wants to be told of new jobs
  created_at    timestamptz not null default statement_timestamp(),
  check (queue <> '' and octet_length(queue) <= 200)
) with (fillfactor = 50);

-- Limits of a queue, for all workers together. The claim locks the row, so that none is exceeded.
create table pgops.queue_limit (
  queue         text        collate "C" primary key references pgops.queues on delete cascade,
  max_running   integer     check (max_running >= 1),
  rate_per_s    float8      check (rate_per_s > 0),
  burst         integer     not null default 1 check (burst >= 1),
  tat           bigint      not null default 0          -- as in rate_limits: microseconds since 1970
) with (fillfactor = 50);

create table pgops.job_available (
  queue         text        collate "C" not null,
  priority      smallint    not null default 2 check (priority between 1 and 4),
  seq           bigint      not null default nextval('pgops.job_seq'),
  id            bigint,     -- null: the id is the seq
  attempt       smallint    not null default 0,
  max_attempts  smallint,   -- null: as the queue says
  kind          text        not null default 'default',
  payload       jsonb       not null,
  headers       jsonb,
  errors        jsonb,      -- one object an attempt that failed
  group_key     text        collate "C",
  unique_key    text        collate "C",
  created_at    timestamptz not null default statement_timestamp(),
  ready_at      timestamptz not null default statement_timestamp(),
  primary key (queue, priority, seq)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

create unique index job_available_returned on pgops.job_available (queue, id) where id is not null;

create table pgops.job_scheduled (
  queue         text        collate "C" not null,
  id            bigint      not null default nextval('pgops.job_seq'),
  priority      smallint    not null default 2 check (priority between 1 and 4),
  attempt       smallint    not null default 0,
  max_attempts  smallint,
  kind          text        not null default 'default',
  payload       jsonb       not null,
  headers       jsonb,
  errors        jsonb,
  group_key     text        collate "C",
  unique_key    text        collate "C",
  created_at    timestamptz not null default statement_timestamp(),
  run_at        timestamptz not null,
  primary key (queue, id)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

create index job_scheduled_run_at on pgops.job_scheduled (queue, run_at);
create index job_scheduled_of_group on pgops.job_scheduled (queue, run_at) where group_key is not null;

-- Jobs behind the head of their group, in order of arrival.
create table pgops.job_waiting (
  queue         text        collate "C" not null,
  group_key     text        collate "C" not null,
  seq           bigint      not null default nextval('pgops.job_seq'),
  id            bigint      not null,
  priority      smallint    not null default 2 check (priority between 1 and 4),
  attempt       smallint    not null default 0,
  max_attempts  smallint,
  kind          text        not null default 'default',
  payload       jsonb       not null,
  headers       jsonb,
  errors        jsonb,
  unique_key    text        collate "C",
  created_at    timestamptz not null default statement_timestamp(),
  primary key (queue, group_key, seq)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

create unique index job_waiting_id on pgops.job_waiting (queue, id);

-- lease_until stands in no index, so that a heartbeat stays a heap-only update.
create table pgops.job_running (
  queue         text        collate "C" not null,
  id            bigint      not null,
  priority      smallint    not null,
  attempt       smallint    not null,
  max_attempts  smallint,
  kind          text        not null,
  payload       jsonb       not null,
  headers       jsonb,
  errors        jsonb,
  group_key     text        collate "C",
  unique_key    text        collate "C",
  created_at    timestamptz not null,
  started_at    timestamptz not null default statement_timestamp(),
  token         bigint      not null,
  owner         bigint      not null,
  lease_until   timestamptz not null,
  progress      jsonb,
  primary key (queue, id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- Not by queue: where vacuum is held back and little lives, a plan would take it for what is known by its number.
create index job_running_owner on pgops.job_running (owner);

create table pgops.job_dead (
  queue         text        collate "C" not null,
  id            bigint      not null,
  priority      smallint    not null,
  attempt       smallint    not null,
  max_attempts  smallint,
  kind          text        not null,
  payload       jsonb       not null,
  headers       jsonb,
  errors        jsonb       not null default '[]',
  group_key     text        collate "C",
  unique_key    text        collate "C",
  created_at    timestamptz not null,
  died_at       timestamptz not null default statement_timestamp(),
  primary key (queue, id)
);

create index job_dead_died_at on pgops.job_dead (queue, died_at);

-- What is done, where a queue asks for it: a ring of day slots, so that no DDL ever runs in operation.
create table pgops.job_history (
  slot          smallint    not null default ((extract(epoch from statement_timestamp())::bigint / 86400) % 32)::smallint,
  queue         text        collate "C" not null,
  id            bigint      not null,
  attempt       smallint    not null,
  kind          text        not null,
  payload       jsonb       not null,
  errors        jsonb,
  result        jsonb,
  outcome       text        not null check (outcome in ('completed', 'failed', 'dead', 'cancelled', 'discarded')),
  created_at    timestamptz not null,
  started_at    timestamptz,
  finished_at   timestamptz not null default statement_timestamp()
) partition by list (slot);

do $$
begin
  for day in 0..31 loop
    execute format('create table pgops.job_history_%s partition of pgops.job_history for values in (%s)',
                   to_char(day, 'FM00'), day);
  end loop;
end
$$;

create index job_history_job on pgops.job_history (queue, id);

-- Running jobs that somebody wants to end; their workers look here.
create table pgops.job_cancel (
  queue         text        collate "C" not null,
  id            bigint      not null,
  reason        text        not null,
  requested_at  timestamptz not null default statement_timestamp(),
  primary key (queue, id)
);

-- Who holds a unique key. `states` is a sum: available or waiting 1, scheduled 2, running 4, dead 8, completed 16; the
-- key is free once its job is in another one, and after `until` in any case.
create table pgops.job_unique (
  queue         text        collate "C" not null,
  key           text        collate "C" not null,
  id            bigint      not null,
  states        smallint    not null,
  until         timestamptz,
  primary key (queue, key)
);

create index job_unique_until on pgops.job_unique (queue, until) where until is not null;

-- One row a group of jobs that are not done. `head` is the one that may run; null: somebody has to choose it, since
-- whoever ended the last one found the row locked.
create table pgops.job_group (
  queue         text        collate "C" not null,
  key           text        collate "C" not null,
  head          bigint,
  primary key (queue, key)
) with (fillfactor = 50);

create index job_group_headless on pgops.job_group (queue, key) where head is null;

-- A live worker, by its heartbeat. `floors` is what it has claimed up to, by queue and priority.
create table pgops.workers (
  id            bigint      primary key default nextval('pgops.worker_id'),
  host          text        not null,
  pid           integer     not null,
  queues        text[]      not null,
  concurrency   integer     not null,
  started_at    timestamptz not null default statement_timestamp(),
  heartbeat_at  timestamptz not null default statement_timestamp(),
  lease         interval    not null,
  running       integer     not null default 0,
  stopping      boolean     not null default false,
  floors        jsonb       not null default '{}'
) with (fillfactor = 50);

-- Depth and totals come from here and never from counting jobs: each enqueue statement and each batch of claims
-- or outcomes inserts one row, and maintenance folds them into queue_total. A bound enqueue therefore locks
-- no shared row in the caller's transaction.
create table pgops.queue_delta (
  queue         text        collate "C" not null,
  id            bigint      not null default nextval('pgops.queue_delta_id'),
  available     bigint      not null default 0,
  scheduled     bigint      not null default 0,
  waiting       bigint      not null default 0,
  running       bigint      not null default 0,
  dead          bigint      not null default 0,
  enqueued      bigint      not null default 0,
  completed     bigint      not null default 0,
  failed        bigint      not null default 0,
  primary key (queue, id)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- `folded_id`: below it only late commits can still stand; they are folded by a full pass each minute.
create table pgops.queue_total (
  queue         text        collate "C" primary key,
  available     bigint      not null default 0,
  scheduled     bigint      not null default 0,
  waiting       bigint      not null default 0,
  running       bigint      not null default 0,
  dead          bigint      not null default 0,
  enqueued      bigint      not null default 0,
  completed     bigint      not null default 0,
  failed        bigint      not null default 0,
  folded_id     bigint      not null default 0,
  folded_at     timestamptz not null default statement_timestamp(),
  full_fold_at  timestamptz not null default statement_timestamp()
) with (fillfactor = 50);

-- Recurring jobs. `next_at` is when the next one is due: whoever advances it enqueues it, in one transaction.
create table pgops.cron (
  name          text        collate "C" primary key check (name <> '' and octet_length(name) <= 200),
  queue         text        collate "C" not null check (queue <> '' and octet_length(queue) <= 200),
  kind          text        not null default 'default' check (kind <> '' and length(kind) <= 200),
  payload       jsonb       not null default '{}' check (octet_length(payload::text) <= 1000000),
  priority      smallint    not null default 2 check (priority between 1 and 4),
  expression    text        not null,
  timezone      text        not null default 'UTC',
  missed        text        not null default 'skip' check (missed in ('skip', 'once')),
  overlap       boolean     not null default false,     -- a tick adds a job although the one before is not done
  paused        boolean     not null default false,
  next_at       timestamptz not null check (next_at between '2000-01-01Z' and '9000-01-01Z'),
  last_at       timestamptz,                            -- the last job's, by the clock or by hand
  last_id       bigint,
  ticks         bigint      not null default 0,         -- those that added a job
  skipped       bigint      not null default 0,         -- those that did not: too late, or the job before was not done
  created_at    timestamptz not null default statement_timestamp()
) with (fillfactor = 50);

create index cron_next_at on pgops.cron (next_at) where not paused;

-- All jobs with their state; also the door for producers that speak only SQL:
--     insert into pgops.job_queue (queue, payload) values ('email', '{"to": "a@example.org"}');
create view pgops.job_queue as
  select queue, coalesce(id, seq) as id, 'available' as status, kind, payload, priority, attempt, max_attempts,
         errors, created_at, ready_at as run_at, null::timestamptz as started_at, null::timestamptz as lease_until,
         null::bigint as owner, group_key, unique_key
  from pgops.job_available
  union all
  select queue, id, 'scheduled', kind, payload, priority, attempt, max_attempts,
         errors, created_at, run_at, null, null, null, group_key, unique_key
  from pgops.job_scheduled
  union all
  select queue, id, 'waiting', kind, payload, priority, attempt, max_attempts,
         errors, created_at, null, null, null, null, group_key, unique_key
  from pgops.job_waiting
  union all
  select queue, id, 'running', kind, payload, priority, attempt, max_attempts,
         errors, created_at, null, started_at, lease_until, owner, group_key, unique_key
  from pgops.job_running
  union all
  select queue, id, 'dead', kind, payload, priority, attempt, max_attempts,
         errors, created_at, null, null, null, null, group_key, unique_key
  from pgops.job_dead;

-- Keys and groups ---------------------------------------------------------------------------------------------------

-- Take a unique key for a job. Null: it is taken now; else the job that holds it. Waits for whoever is just taking it.
create function pgops.hold_unique_key(in_queue text, with_key text, for_id bigint, in_states integer, for_until timestamptz)
returns bigint language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  holder bigint;
begin
  loop
    select u.id into holder from pgops.job_unique u
    where u.queue = in_queue and u.key = with_key and (u.until is null or u.until > statement_timestamp());
    if found then
      return holder;
    end if;
    delete from pgops.job_unique u
    where u.queue = in_queue and u.key = with_key and u.until <= statement_timestamp();
    insert into pgops.job_unique (queue, key, id, states, until)
    values (in_queue, with_key, for_id, in_states, for_until) on conflict do nothing;
    if found then
      return null;
    end if;
  end loop;
end
$$;

-- The next head of a group whose head `ended` (null: which has none). Waits for nobody: where a producer that is not
-- done holds the group, it stays without a head, and maintenance looks again.
create function pgops.release_group(in_queue text, with_key text, ended bigint default null)
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  last_head bigint;
  first_seq bigint;
  next pgops.job_waiting;
begin
  select g.head into last_head from pgops.job_group g
  where g.queue = in_queue and g.key = with_key for no key update skip locked;
  if not found or last_head is distinct from ended then
    return;
  end if;
  loop
    select w.seq into first_seq from pgops.job_waiting w
    where w.queue = in_queue and w.group_key = with_key order by w.seq limit 1;
    if found then
      delete from pgops.job_waiting w
      where w.queue = in_queue and w.group_key = with_key and w.seq = (
        select l.seq from pgops.job_waiting l
        where l.queue = in_queue and l.group_key = with_key and l.seq = first_seq for update skip locked)
      returning * into next;
      exit when not found;
      insert into pgops.job_available (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors,
                                       group_key, unique_key, created_at)
      values (in_queue, next.id, next.priority, next.attempt, next.max_attempts, next.kind, next.payload, next.headers,
              next.errors, with_key, next.unique_key, next.created_at);
      update pgops.job_group g set head = next.id where g.queue = in_queue and g.key = with_key;
      insert into pgops.queue_delta (queue, waiting, available) values (in_queue, -1, 1);
      return;
    end if;
    -- Only who has the row alone knows that nobody is about to join.
    exit when current_setting('transaction_isolation') <> 'read committed';
    perform from pgops.job_group g where g.queue = in_queue and g.key = with_key for update skip locked;
    exit when not found;
    if not exists (select from pgops.job_waiting w where w.queue = in_queue and w.group_key = with_key) then
      delete from pgops.job_group g where g.queue = in_queue and g.key = with_key;
      return;
    end if;
  end loop;
  update pgops.job_group g set head = null where g.queue = in_queue and g.key = with_key and g.head is not null;
end
$$;

-- A job becomes ready, or waits behind the head of its group; the state it is in then.
create function pgops.admit(job pgops.job_waiting)
returns text language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  chosen bigint;
begin
  while job.group_key is not null loop
    insert into pgops.job_group (queue, key, head) values (job.queue, job.group_key, job.id) on conflict do nothing;
    exit when found;
    select g.head into chosen from pgops.job_group g
    where g.queue = job.queue and g.key = job.group_key for key share;
    continue when not found;
    exit when chosen = job.id;
    insert into pgops.job_waiting (queue, group_key, id, priority, attempt, max_attempts, kind, payload, headers,
                                   errors, unique_key, created_at)
    values (job.queue, job.group_key, job.id, job.priority, job.attempt, job.max_attempts, job.kind, job.payload,
            job.headers, job.errors, job.unique_key, job.created_at);
    insert into pgops.queue_delta (queue, waiting) values (job.queue, 1);
    if chosen is null then
      perform pgops.release_group(job.queue, job.group_key);
    end if;
    return 'waiting';
  end loop;
  insert into pgops.job_available (queue, id, priority, attempt, max_attempts, kind, payload, headers, errors,
                                   group_key, unique_key, created_at)
  values (job.queue, job.id, job.priority, job.attempt, job.max_attempts, job.kind, job.payload, job.headers,
          job.errors, job.group_key, job.unique_key, job.created_at);
  insert into pgops.queue_delta (queue, available) values (job.queue, 1);
  return 'available';
end
$$;

-- A job has come into `new_state` (as in job_unique; 0: gone): what it must not hold there any more is free.
create function pgops.free_keys(in_queue text, of_id bigint, with_group text, with_unique text, new_state integer)
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if with_unique is not null then
    delete from pgops.job_unique u
    where u.queue = in_queue and u.key = (
      select k.key from pgops.job_unique k
      where k.queue = in_queue and k.key = with_unique and k.id = of_id and k.states & new_state = 0
      for update skip locked);
  end if;
  if with_group is not null and new_state not in (1, 2, 4) then
    perform pgops.release_group(in_queue, with_group, of_id);
  end if;
end
$$;

-- Jobs that are due and belong to a group join it; how many. Waits for nobody for long: where a transaction that is not
-- done holds the group, its jobs stay for the next time, and after three such groups so do all others.
create function pgops.join_groups(in_queue text, most bigint)
returns bigint language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '20ms' as $$
declare
  job pgops.job_scheduled;
  held text[] := '{}';
  joined bigint := 0;
begin
  for job in
    select s.* from pgops.job_scheduled s
    where s.queue = in_queue and s.run_at <= statement_timestamp() and s.group_key is not null
      and not exists (select from pgops.job_group g where g.queue = in_queue and g.key = s.group_key and g.head = s.id)
    order by s.run_at for update of s skip locked
  loop
    exit when joined >= most or cardinality(held) >= 3;
    continue when job.group_key = any(held);
    begin
      perform pgops.admit((in_queue, job.group_key, null, job.id, job.priority, job.attempt, job.max_attempts, job.kind,
                           job.payload, job.headers, job.errors, job.unique_key, job.created_at)::pgops.job_waiting);
      delete from pgops.job_scheduled s where s.queue = in_queue and s.id = job.id;
      insert into pgops.queue_delta (queue, scheduled) values (in_queue, -1);
      perform pgops.free_keys(in_queue, job.id, null, job.unique_key, 1);
      joined := joined + 1;
    exception when lock_not_available then
      held := held || job.group_key;
    end;
  end loop;
  return joined;
end
$$;

-- Dead letters with a unique key start over, each unless another job holds its key by now.
create function pgops.redrive_unique(in_queue text, with_ids bigint[], every boolean)
returns bigint language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  job pgops.job_dead;
  holder bigint;
  redriven bigint := 0;
begin
  for job in
    select * from pgops.job_dead d
    where d.queue = in_queue and (every or d.id = any(with_ids)) and d.unique_key is not null
    order by d.unique_key for update skip locked
  loop
    holder := pgops.hold_unique_key(in_queue, job.unique_key, job.id, 7, null);
    continue when holder is distinct from null and holder <> job.id;
    delete from pgops.job_dead d where d.queue = in_queue and d.id = job.id;
    insert into pgops.queue_delta (queue, dead) values (in_queue, -1);
    perform pgops.admit((in_queue, job.group_key, null, job.id, job.priority, 0, job.max_attempts, job.kind, job.payload,
                         job.headers, job.errors, job.unique_key, job.created_at)::pgops.job_waiting);
    redriven := redriven + 1;
  end loop;
  return redriven;
end
$$;

-- Limits ------------------------------------------------------------------------------------------------------------

-- How many of `wanted` jobs may be claimed now. Locks the limit until the claim is through.
create function pgops.claim_room(in_queue text, wanted integer)
returns integer language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  bound pgops.queue_limit;
  now_us bigint := extract(epoch from clock_timestamp()) * 1000000;
  room float8 := wanted;
begin
  select * into bound from pgops.queue_limit l where l.queue = in_queue for update;
  if bound.max_running is not null then
    room := least(room, bound.max_running - (select count(*) from pgops.job_running r where r.queue = in_queue));
  end if;
  if bound.rate_per_s is not null then
    room := least(room, floor(bound.burst - (greatest(bound.tat, now_us) - now_us) * bound.rate_per_s / 1000000 + 1e-6));
  end if;
  return greatest(room, 0);
end
$$;

-- So many were claimed: each costs its share of a second.
create function pgops.charge_limit(in_queue text, claimed bigint)
returns void language sql set search_path = pg_catalog, pg_temp as $$
  update pgops.queue_limit
  set tat = greatest(tat, (extract(epoch from clock_timestamp()) * 1000000)::bigint) + (claimed * 1000000 / rate_per_s)::bigint
  where queue = in_queue and rate_per_s is not null
$$;

-- History -----------------------------------------------------------------------------------------------------------

-- Empty the slots of the ring in which everything is older than `keep`; how many they were. A slot that somebody
-- reads is left for the next time.
create function pgops.trim_history(keep interval)
returns integer language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
  slot text;
  cutoff timestamptz := statement_timestamp() - keep;
  old boolean;
  trimmed integer := 0;
begin
  for day in 0..31 loop
    slot := format('pgops.job_history_%s', to_char(day, 'FM00'));
    execute format('select (select finished_at < $1 from %s limit 1) and not exists (select from %1$s where finished_at >= $1)', slot)
      into old using cutoff;
    if old then
      begin
        execute format('truncate %s', slot);
        trimmed := trimmed + 1;
      exception when lock_not_available then
        continue;
      end;
    end if;
  end loop;
  return trimmed;
end
$$;

-- Producers that speak only SQL -------------------------------------------------------------------------------------

-- The states of a unique key as their sum.
create function pgops.state_sum(states text[]) returns integer
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  state text;
  total integer := 0;
begin
  foreach state in array states loop
    total := total | case state when 'available' then 1 when 'scheduled' then 2 when 'running' then 4 when 'dead' then 8
                                when 'completed' then 16 else 0 end;
    if state is null or state not in ('available', 'scheduled', 'running', 'dead', 'completed') then
      raise exception 'a unique key knows no state %', coalesce(quote_literal(state), 'null')
        using errcode = '22023', hint = 'the states are available, scheduled, running, dead, completed';
    end if;
  end loop;
  return total;
end
$$;

-- Add one job, and its queue if it is the first; the job's id, or with `existing` that of the job that holds the key.
create function pgops.enqueue_job(
  queue text, payload jsonb, kind text default 'default', priority integer default 2,
  run_at timestamptz default null, max_attempts integer default null, headers jsonb default null,
  group_key text default null, unique_key text default null,
  unique_states text[] default '{available,scheduled,running}', unique_for interval default null,
  out id bigint, out existing boolean
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  key_states integer;
begin
  if queue is null or queue = '' or octet_length(queue) > 200 then
    raise exception 'a queue''s name has 1 to 200 bytes' using errcode = '22023', hint = 'use a short name such as email';
  end if;
  if payload is null then
    raise exception 'a job needs a payload' using errcode = '22023', hint = 'pass a JSON value, for example ''{}''';
  end if;
  if octet_length(payload::text) > 1000000 then
    raise exception 'the payload has % bytes, more than 1000000', octet_length(payload::text)
      using errcode = '22023', hint = 'store the data elsewhere and enqueue its key';
  end if;
  if kind is null or kind = '' or length(kind) > 200 then
    raise exception 'a job''s kind has 1 to 200 characters' using errcode = '22023', hint = 'use a short name such as send_email';
  end if;
  if priority is null or priority not between 1 and 4 then
    raise exception 'priority is 1 (first) to 4 (last), not %', coalesce(priority::text, 'null')
      using errcode = '22023', hint = 'leave it out for 2';
  end if;
  if max_attempts not between 1 and 1000 then
    raise exception 'max_attempts is 1 to 1000, not %', max_attempts
      using errcode = '22023', hint = 'leave it out for the queue''s own';
  end if;
  if octet_length(group_key) not between 1 and 1000 or octet_length(unique_key) not between 1 and 1000 then
    raise exception 'a group key or unique key has 1 to 1000 bytes'
      using errcode = '22023', hint = 'use the hash of what is long';
  end if;
  existing := false;
  id := nextval('pgops.job_seq');
  if unique_key is not null then
    key_states := pgops.state_sum(unique_states);
    if key_states = 0 or unique_for is null and key_states & 16 <> 0 or unique_for <= interval '0' then
      raise exception 'a unique key needs a state, a positive duration, and with ''completed'' a duration at all'
        using errcode = '22023', hint = 'for example unique_for => interval ''1 hour''';
    end if;
    id := coalesce(pgops.hold_unique_key(queue, unique_key, id, key_states, statement_timestamp() + unique_for), id);
    existing := id <> currval('pgops.job_seq');
    if existing then
      return;
    end if;
  end if;
  insert into pgops.queues (queue) select enqueue_job.queue
  where not exists (select from pgops.queues q where q.queue = enqueue_job.queue) on conflict do nothing;
  if run_at > statement_timestamp() then
    insert into pgops.job_scheduled (queue, id, kind, payload, priority, max_attempts, run_at, headers, group_key, unique_key)
    values (queue, id, kind, payload, priority, max_attempts, run_at, headers, group_key, unique_key);
    insert into pgops.queue_delta (queue, scheduled, enqueued) values (queue, 1, 1);
  else
    perform pgops.admit((queue, group_key, null, id, priority, 0, max_attempts, kind, payload, headers, null, unique_key,
                         statement_timestamp())::pgops.job_waiting);
    insert into pgops.queue_delta (queue, enqueued) values (queue, 1);
  end if;
end
$$;

-- The same for everyone: select pgops.enqueue('email', '{"to": "a@example.org"}', unique_key => 'welcome 7');
create function pgops.enqueue(
  queue text, payload jsonb, kind text default 'default', priority integer default 2,
  run_at timestamptz default null, max_attempts integer default null, headers jsonb default null,
  group_key text default null, unique_key text default null,
  unique_states text[] default '{available,scheduled,running}', unique_for interval default null
) returns bigint language sql set search_path = pg_catalog, pg_temp as $$
  select id from pgops.enqueue_job(queue, payload, kind, priority, run_at, max_attempts, headers, group_key, unique_key,
                                   unique_states, unique_for)
$$;

-- Recurring jobs ----------------------------------------------------------------------------------------------------

-- Add the job of one tick; without `overlap` the key is held while the one before is not done.
create function pgops.enqueue_tick(entry pgops.cron, tick timestamptz, more jsonb, out id bigint, out existing boolean)
language sql set search_path = pg_catalog, pg_temp as $$
  select e.id, e.existing
  from pgops.enqueue_job(
    entry.queue, entry.payload, entry.kind, entry.priority,
    headers => jsonb_build_object('cron', entry.name,
                                  'tick', to_char(tick at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) || more,
    unique_key => case when not entry.overlap then 'cron ' || entry.name end) e
$$;

-- Take the ticks of one entry that stood at `due`, and go on to `then_at`. Nothing happens where somebody else has taken
-- them or is about to, and nobody is waited for: neither an operator's transaction nor a producer's with the same key.
create function pgops.take_ticks(
  of_name text, due timestamptz, by_expression text, in_timezone text, when_missed text,
  due_ticks timestamptz[], passed integer, then_at timestamptz, out taken integer, out passed_over integer
) language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '50ms' as $$
declare
  entry pgops.cron;
  tick timestamptz;
  job record;
  more jsonb := case when when_missed = 'once' and passed > 0 then jsonb_build_object('missed', passed) else '{}' end;
begin
  taken := 0;
  passed_over := passed;
  select * into entry from pgops.cron c
  where c.name = of_name and c.next_at = due and not c.paused and c.expression = by_expression
    and c.timezone = in_timezone and c.missed = when_missed
  for update skip locked;
  if not found then
    passed_over := 0;
    return;
  end if;
  foreach tick in array due_ticks loop
    job := pgops.enqueue_tick(entry, tick, more);
    if job.existing then
      passed_over := passed_over + 1;
    else
      taken := taken + 1;
      entry.last_id := job.id;
      entry.last_at := statement_timestamp();
    end if;
  end loop;
  update pgops.cron c
  set next_at = then_at, ticks = c.ticks + taken, skipped = c.skipped + passed_over,
      last_at = entry.last_at, last_id = entry.last_id
  where c.name = of_name;
end
$$;

-- Add the job of an entry now, beside its timetable; no row where there is no such entry.
create function pgops.run_cron(of_name text) returns table (id bigint, existing boolean)
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  entry pgops.cron;
begin
  select * into entry from pgops.cron c where c.name = of_name for update;
  if not found then
    return;
  end if;
  select e.id, e.existing into id, existing from pgops.enqueue_tick(entry, statement_timestamp(), '{"by_hand": true}') e;
  if not existing then
    update pgops.cron c set last_at = statement_timestamp(), last_id = run_cron.id where c.name = of_name;
  end if;
  return next;
end
$$;

create function pgops.job_queue_insert() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.status is not null and new.status not in ('available', 'scheduled') then
    raise exception 'a new job is available or scheduled, not %', new.status
      using errcode = '22023', hint = 'leave status out, and give run_at for later';
  end if;
  new.id := pgops.enqueue(new.queue, new.payload, coalesce(new.kind, 'default'), coalesce(new.priority, 2)::integer, new.run_at,
                          new.max_attempts::integer, group_key => new.group_key, unique_key => new.unique_key);
  return new;
end
$$;

create trigger job_queue_insert instead of insert on pgops.job_queue
  for each row execute function pgops.job_queue_insert();
