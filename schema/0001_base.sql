-- The base: who did what through pgops.
--
-- Every act that changes something leaves a row here. A transactional act writes its row together with its
-- change; a long or external one commits a row `started` first and closes it as done or failed. A row that is
-- still `started` while its backend is gone was interrupted.

create sequence pgops.audit_id;

create table pgops.audit (
  id            bigint      primary key default nextval('pgops.audit_id'),
  started_at    timestamptz not null default statement_timestamp(),
  finished_at   timestamptz,
  actor         text        not null default session_user,
  client        text        not null default coalesce(current_setting('application_name', true), ''),
  action        text        not null,
  target        text        not null,
  status        text        not null check (status in ('started', 'done', 'failed', 'interrupted')),
  matched       bigint,
  changed       bigint,
  detail        jsonb       not null default '{}',
  backend_pid   integer     not null default pg_backend_pid()
);

create index audit_started_at on pgops.audit (started_at);
