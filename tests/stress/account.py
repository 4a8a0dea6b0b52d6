"""The books of a stress run: what must never be true while it goes on, and where every job has gone afterwards.

`watch` looks at one moment of the whole queue. `settle` compares what was sent with what has ended, and explains each
run of a job beyond its first by what was done to the worker that had it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

Conn = psycopg.Connection[Any]

SCHEMA = """
create schema stress;
create sequence stress.number;
create table stress.sent (number bigint primary key, kind text not null);
create table stress.ran (number bigint not null, kind text not null, attempt int not null, token bigint not null,
                         pid int not null, at timestamptz not null default clock_timestamp());
create table stress.effect (id bigserial primary key, number bigint not null, attempt int not null, group_key text);
"""

NEVER = {
    "a job in two places": "select queue, id from pgops.job_queue group by queue, id having count(*) > 1",
    "a unique key held by two jobs": "select unique_key from pgops.job_queue where unique_key is not null"
    " and status <> 'dead' group by queue, unique_key having count(*) > 1",
    "two jobs of a group at a time": "select group_key from pgops.job_queue where group_key is not null"
    " and status in ('available', 'scheduled', 'running') group by queue, group_key having count(*) > 1",
    "an effect whose job is still there": "select number from stress.effect e"
    " join pgops.job_queue j on (j.payload ->> 'number')::bigint = e.number",
}

ENDED = """
create temp table ended as
  select (payload ->> 'number')::bigint as number, id, outcome, errors, attempt, result
  from pgops.job_history where outcome in ('completed', 'cancelled')
  union all
  select (payload ->> 'number')::bigint, id, 'dead', errors, attempt, null from pgops.job_dead
"""

AFTERWARDS = {
    "lost": "select number from stress.sent except select number from ended",
    "never sent, or rolled back": "select number from ended except select number from stress.sent",
    "ended twice": "select number from ended group by number having count(*) > 1",
    "completed without a run": "select number from ended except select number from stress.ran",
    "an effect twice": "select number from stress.effect group by number having count(*) > 1",
    "completed without its effect": "select e.number from ended e join stress.sent s using (number)"
    " where s.kind = 'effect' and e.outcome = 'completed' except select number from stress.effect",
    "an effect that did not complete": "select number from stress.effect"
    " except select number from ended where outcome = 'completed'",
    "completed by a run that had lost its lease": "select number from ended join stress.effect e using (number)"
    " where e.attempt <> ended.attempt union select number from ended where (result ->> 'attempt')::int <> attempt",
    "dead with attempts left": "select e.number from ended e join stress.sent s using (number)"
    " where e.outcome = 'dead' and s.kind <> 'flaky'",
    "out of a group's order": "select number from (select number, lag(number) over (partition by group_key order by id)"
    " as before from stress.effect where group_key is not null) o where before > number",
    "still there": "select id from pgops.job_queue where status <> 'dead'",
    "a unique key nobody holds": "select key from pgops.job_unique",
    "a group nobody is in": "select key from pgops.job_group",
    "counted wrongly": """
      select counted.* from (
        select sum(available) a, sum(scheduled) s, sum(waiting) w, sum(running) r, sum(dead) d, sum(enqueued) e,
               sum(completed) c
        from (select available, scheduled, waiting, running, dead, enqueued, completed from pgops.queue_total union all
              select available, scheduled, waiting, running, dead, enqueued, completed from pgops.queue_delta) counts
      ) counted
      where (a, s, w, r, d, e, c) is distinct from (0::numeric, 0::numeric, 0::numeric, 0::numeric,
        (select count(*) from pgops.job_dead)::numeric, (select count(*) from stress.sent)::numeric,
        (select count(*) from ended where outcome = 'completed')::numeric)""",
}


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that was done to the system, from when to when (seconds since 1970), and to which process if to one."""

    what: str
    began: float
    ended: float
    pid: int | None = None


@dataclass(slots=True)
class Account:
    """The result: counts, the causes of second runs, and the violations, of which there must be none."""

    sent: int = 0
    completed: int = 0
    dead: int = 0
    effects: int = 0
    runs: int = 0
    again: Counter[str] = field(default_factory=Counter)
    violations: dict[str, list[str]] = field(default_factory=dict)


def watch(conn: Conn) -> dict[str, list[str]]:
    """What is true at this moment of what must never be; nothing, one hopes."""
    with conn.transaction():
        conn.execute("set transaction isolation level repeatable read, read only")
        return _violations(conn, NEVER)


def settle(conn: Conn, incidents: Sequence[Incident]) -> Account:
    """The account of a run that is over and whose queue has been worked off."""
    conn.execute(ENDED)
    account = Account(violations=_violations(conn, AFTERWARDS))
    rows = conn.execute("select outcome, count(*) from ended group by outcome").fetchall()
    ended: dict[str, int] = dict(rows)
    account.completed, account.dead = ended.get("completed", 0), ended.get("dead", 0)
    account.sent = _count(conn, "select count(*) from stress.sent")
    account.effects = _count(conn, "select count(*) from stress.effect")
    account.runs = _count(conn, "select count(*) from stress.ran")
    for number, kind, attempt, at, then, same, pid, error in conn.execute(SECOND_RUNS).fetchall():
        cause = _cause(kind, pid, at, then, same, error, incidents)
        if cause is None:
            account.violations.setdefault("a second run without a cause", []).append(
                f"job {number}, {kind}, attempt {attempt}, process {pid}, {at:.3f} to {then:.3f}: {error}"
            )
        else:
            account.again[cause] += 1
    return account


# Each run that was not the last, with the error that its attempt left, if it left one.
SECOND_RUNS = """
select r.number, r.kind, r.attempt, extract(epoch from r.at)::float8, extract(epoch from r.next)::float8,
       r.attempt = r.next_attempt as same, case when r.next_attempt < r.attempt then r.next_pid else r.pid end as whose,
       (select x ->> 'error' from ended e, jsonb_array_elements(e.errors) x
        where e.number = r.number and (x ->> 'attempt')::int = r.attempt limit 1)
from (select *, lead(at) over runs as next, lead(attempt) over runs as next_attempt,
             lead(pid) over runs as next_pid
      from stress.ran window runs as (partition by number order by at)) r
where r.next is not null
"""


def _cause(
    kind: str, pid: int, at: float, then: float, same_attempt: bool, error: str | None, incidents: Sequence[Incident]
) -> str | None:
    """Why a run that began at `at` was followed by another one at `then`; None if nothing explains it. Where the later
    one is of an earlier attempt, its own worker has slept."""
    if kind == "snooze" and same_attempt:
        return "it put itself off"
    if error is not None and error.startswith("Flaw: "):
        return "its handler failed, as it was made to"
    for incident in incidents:
        if incident.pid == pid and at <= incident.ended and incident.began <= then:
            return f"its worker: {incident.what}"
    for incident in incidents:
        if incident.pid is None and at <= incident.ended and incident.began <= then:
            return f"the server: {incident.what}"
    return None


def _violations(conn: Conn, checks: dict[str, str]) -> dict[str, list[str]]:
    found = {}
    for name, query in checks.items():
        rows = conn.execute(query.encode()).fetchall()
        if rows:
            found[name] = [" ".join(map(str, row)) for row in rows]
    return found


def _count(conn: Conn, query: str) -> int:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])
