-- The job queue.
--
-- A job lives in exactly one table at a time, and moves by delete … returning into insert:
--
--     job_scheduled --promote--> job_available --claim--> job_running --complete--> (job_history)
--           ^                          ^                       |
--           '------ fail, retry -------|------- reap ----------|----- fail, last attempt --> job_dead
--                                      '------ requeue ----------------------------------------'
--
-- Split tables write a fifth less WAL a job than one table with a state, and leave an index over the ready
-- jobs that nothing but claims and enqueues touch. `seq` is the order of arrival, drawn by the inserting
-- statement; a job that comes back draws a new one. A first arrival needs no second number: its id is its seq.
--
-- Workers remember the highest seq that they have claimed and scan above it (the floor), so the dead index
-- entries of claimed jobs are never visited, however long a forgotten transaction keeps them from vacuum.
-- What is committed late, or comes back below the floor, is found by sweeps; see runtime/worker.py.
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
  created_at    timestamptz not null default statement_timestamp(),
  check (queue <> '' and octet_length(queue) <= 200)
);

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
  primary key (queue, id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

create index job_running_owner on pgops.job_running (queue, owner);

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
  outcome       text        not null check (outcome in ('completed', 'failed', 'dead')),
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

-- A unique key is taken until its job is done, or until a moment.
create table pgops.job_unique (
  queue         text        collate "C" not null,
  key           text        collate "C" not null,
  id            bigint      not null,
  until         timestamptz,
  primary key (queue, key)
);

-- One row a group key: the row that enqueue and completion lock, so that one job of a group runs at a time.
create table pgops.job_group (
  queue         text        collate "C" not null,
  key           text        collate "C" not null,
  head          bigint,
  primary key (queue, key)
);

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
  running       bigint      not null default 0,
  dead          bigint      not null default 0,
  enqueued      bigint      not null default 0,
  completed     bigint      not null default 0,
  failed        bigint      not null default 0,
  folded_id     bigint      not null default 0,
  folded_at     timestamptz not null default statement_timestamp(),
  full_fold_at  timestamptz not null default statement_timestamp()
) with (fillfactor = 50);

-- All jobs with their state; also the door for producers that speak only SQL:
--     insert into pgops.job_queue (queue, payload) values ('email', '{"to": "a@example.org"}');
create view pgops.job_queue as
  select queue, coalesce(id, seq) as id, 'available' as status, kind, payload, priority, attempt, max_attempts,
         errors, created_at, ready_at as run_at, null::timestamptz as started_at, null::timestamptz as lease_until,
         null::bigint as owner
  from pgops.job_available
  union all
  select queue, id, 'scheduled', kind, payload, priority, attempt, max_attempts,
         errors, created_at, run_at, null, null, null
  from pgops.job_scheduled
  union all
  select queue, id, 'running', kind, payload, priority, attempt, max_attempts,
         errors, created_at, null, started_at, lease_until, owner
  from pgops.job_running
  union all
  select queue, id, 'dead', kind, payload, priority, attempt, max_attempts,
         errors, created_at, null, null, null, null
  from pgops.job_dead;

create function pgops.enqueue(
  queue text, payload jsonb, kind text default 'default', priority integer default 2,
  run_at timestamptz default null, max_attempts integer default null
) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  job_id bigint;
begin
  if queue is null or queue = '' or octet_length(queue) > 200 then
    raise exception 'a queue''s name has 1 to 200 bytes' using errcode = '22023';
  end if;
  if payload is null then
    raise exception 'a job needs a payload' using errcode = '22023', hint = 'pass a JSON value, for example ''{}''';
  end if;
  if priority is null or priority not between 1 and 4 then
    raise exception 'priority is 1 (first) to 4 (last), not %', priority using errcode = '22023';
  end if;
  insert into pgops.queues (queue) values (enqueue.queue) on conflict do nothing;
  if run_at > statement_timestamp() then
    insert into pgops.job_scheduled (queue, kind, payload, priority, max_attempts, run_at)
    values (enqueue.queue, coalesce(enqueue.kind, 'default'), enqueue.payload, enqueue.priority, enqueue.max_attempts, enqueue.run_at)
    returning job_scheduled.id into job_id;
    insert into pgops.queue_delta (queue, scheduled, enqueued) values (enqueue.queue, 1, 1);
  else
    insert into pgops.job_available (queue, kind, payload, priority, max_attempts)
    values (enqueue.queue, coalesce(enqueue.kind, 'default'), enqueue.payload, enqueue.priority, enqueue.max_attempts)
    returning job_available.seq into job_id;
    insert into pgops.queue_delta (queue, available, enqueued) values (enqueue.queue, 1, 1);
  end if;
  return job_id;
end
$$;

create function pgops.job_queue_insert() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  new.id := pgops.enqueue(new.queue, new.payload, new.kind, coalesce(new.priority, 2)::integer, new.run_at, new.max_attempts::integer);
  return new;
end
$$;

create trigger job_queue_insert instead of insert on pgops.job_queue
  for each row execute function pgops.job_queue_insert();
