-- What acts have changed, kept for a while, so that they can be undone.
--
-- An act keeps the rows that it changes as they were, in its own transaction, up to a bound of rows and bytes. Undoing
-- it is an act too: it brings back what nobody has touched since, and leaves alone and counts the rest. Jobs are brought
-- back one by one under their row's lock, and one that a worker is claiming is left to it.

-- undo_until: until then it can be undone; null: it cannot, or not any more. undone_by: the act that undid it.
alter table pgops.audit
  add column undo_until timestamptz,
  add column undone_by  bigint;

create index audit_undo_until on pgops.audit (undo_until) where undo_until is not null;

-- `stood_in`: the table that a row stood in. `after` is what the act made of it, where that tells whether somebody
-- has touched it since.
create table pgops.audit_undo (
  audit_id      bigint      not null,
  ordinal       integer     not null,
  stood_in      text        not null,
  before        jsonb       not null,
  after         jsonb,
  primary key (audit_id, ordinal)
);

-- Dead letters that started over go back, unless they have been claimed since. A first arrival after the act is known by
-- its seq; one of a group draws another when its turn comes, and is known by having had no attempt. A payload that was
-- edited since stays as it is by now.
create function pgops.undo_requeue(of_act bigint, out restored bigint, out moved_on bigint, out edited bigint)
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  kept record;
  job pgops.job_dead;
  payload_now jsonb;
  was_waiting boolean;
  of_queue text;
  from_available bigint := 0;
  from_waiting bigint := 0;
begin
  restored := 0;
  moved_on := 0;
  edited := 0;
  for kept in select u.before, u.after from pgops.audit_undo u
              where u.audit_id = of_act and u.stood_in = 'job_dead' order by u.ordinal loop
    job := jsonb_populate_record(null::pgops.job_dead, kept.before);
    of_queue := job.queue;
    was_waiting := false;
    delete from pgops.job_available a where a.queue = job.queue and a.ctid = (
      select r.ctid from pgops.job_available r
      where r.queue = job.queue and r.id = job.id and r.attempt = 0 and r.errors is not distinct from job.errors
        and (kept.after is null or r.seq = (kept.after ->> 'seq')::bigint)
      for update skip locked)
    returning a.payload into payload_now;
    if not found then
      delete from pgops.job_waiting w where w.queue = job.queue and w.ctid = (
        select r.ctid from pgops.job_waiting r
        where r.queue = job.queue and r.id = job.id and r.attempt = 0 and r.errors is not distinct from job.errors
        for update skip locked)
      returning w.payload into payload_now;
      was_waiting := found;
      if not found then
        moved_on := moved_on + 1;
        continue;
      end if;
    end if;
    edited := edited + (payload_now is distinct from coalesce(job.payload, 'null'))::integer;
    job.payload := payload_now;
    insert into pgops.job_dead select job.*;
    restored := restored + 1;
    from_waiting := from_waiting + was_waiting::integer;
    from_available := from_available + (not was_waiting)::integer;
    if job.group_key is not null or job.unique_key is not null then
      perform pgops.free_keys(job.queue, job.id, job.group_key, job.unique_key, 8);
    end if;
  end loop;
  if restored > 0 then
    insert into pgops.queue_delta (queue, available, waiting, dead)
    values (of_queue, -from_available, -from_waiting, restored);
  end if;
end
$$;

-- Dead letters that were given up are there again, and the history forgets that they were.
create function pgops.undo_discard(of_act bigint, out restored bigint, out moved_on bigint, out edited bigint)
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  kept record;
  job pgops.job_dead;
  of_queue text;
begin
  restored := 0;
  moved_on := 0;
  edited := 0;
  for kept in select u.before from pgops.audit_undo u
              where u.audit_id = of_act and u.stood_in = 'job_dead' order by u.ordinal loop
    job := jsonb_populate_record(null::pgops.job_dead, kept.before);
    job.payload := coalesce(job.payload, 'null');
    of_queue := job.queue;
    insert into pgops.job_dead select job.* on conflict do nothing;
    if not found then
      moved_on := moved_on + 1;
      continue;
    end if;
    restored := restored + 1;
    delete from pgops.job_history h where h.queue = job.queue and h.id = job.id and h.outcome = 'discarded';
  end loop;
  insert into pgops.job_unique
  select (jsonb_populate_record(null::pgops.job_unique, u.before)).* from pgops.audit_undo u
  where u.audit_id = of_act and u.stood_in = 'job_unique' order by u.before ->> 'key' collate "C"
  on conflict do nothing;
  if restored > 0 then
    insert into pgops.queue_delta (queue, dead) values (of_queue, restored);
  end if;
end
$$;

-- Cancelled jobs wait again, behind what has come since, each unless another job holds its unique key by now.
create function pgops.undo_cancel(of_act bigint, out restored bigint, out moved_on bigint, out edited bigint)
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  kept record;
  job pgops.job_scheduled;
  own pgops.job_unique;
  keyless bigint[] := '{}';
begin
  restored := 0;
  moved_on := 0;
  edited := 0;
  for own in select (jsonb_populate_record(null::pgops.job_unique, u.before)).* from pgops.audit_undo u
             where u.audit_id = of_act and u.stood_in = 'job_unique' order by u.before ->> 'key' collate "C" loop
    if pgops.hold_unique_key(own.queue, own.key, own.id, own.states, own.until) <> own.id then
      keyless := keyless || own.id;
    end if;
  end loop;
  for kept in select u.stood_in, u.before from pgops.audit_undo u
              where u.audit_id = of_act and u.stood_in <> 'job_unique' order by u.ordinal loop
    job := jsonb_populate_record(null::pgops.job_scheduled, kept.before);
    job.payload := coalesce(job.payload, 'null');
    if job.id = any(keyless) then
      moved_on := moved_on + 1;
      continue;
    end if;
    if kept.stood_in = 'job_scheduled' then
      insert into pgops.job_scheduled select job.*;
      insert into pgops.queue_delta (queue, scheduled) values (job.queue, 1);
    else
      perform pgops.admit((job.queue, job.group_key, null, job.id, job.priority, job.attempt, job.max_attempts, job.kind,
                           job.payload, job.headers, job.errors, job.unique_key, job.created_at)::pgops.job_waiting);
    end if;
    restored := restored + 1;
    delete from pgops.job_history h where h.queue = job.queue and h.id = job.id and h.outcome = 'cancelled';
  end loop;
end
$$;

-- Let go of what acts have kept whose time to be undone is over; how many acts they were.
create function pgops.forget_undo(most integer)
returns bigint language sql set search_path = pg_catalog, pg_temp as $$
  with over as (
    update pgops.audit set undo_until = null
    where id = any(array(
      select a.id from pgops.audit a where a.undo_until < statement_timestamp() order by a.undo_until
      for update skip locked limit most))
    returning id
  ), gone as (
    delete from pgops.audit_undo u using over where u.audit_id = over.id
  )
  select count(*) from over
$$;
