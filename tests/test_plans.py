"""The hot statements keep their plans: on empty tables, on a million rows, and with a million dead ones.

Generic plans, as workers run them. What is guarded is the way to the rows: by index or by ctid, never by reading
a whole job table, and at a cost that does not grow with what is dead.
"""

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgops.queries import load

LEASES = load("pgops.services", "leases.sql")
ROWS = 1_000_000
RUNS = 100_000_000  # the first id of those that run

ENQUEUE = load("pgops.services", "enqueue.sql")
CRON = load("pgops.services", "cron.sql")
VALUES: dict[str, object] = {
    "queue": "q", "limit": 100, "floors": [0, 0, 0, 0], "token": 5, "owner": 2, "ids": [RUNS, RUNS + 1], "full": False,
    "errors": ["a", "b"], "tracebacks": ["", ""], "retry_in_s": [None, None], "within_s": None,
    "verdicts": ["retry", "dead"], "turns": [1, 2, 3, 4], "results": "{}", "own": True,
    "kind": "k", "payload": "{}", "priority": 2, "max_attempts": None, "id": 1, "queues": ["q"], "for_s": 10.0,
    "tokens": [5, 5], "progress": ["1", "2"],
}  # fmt: skip
WORKERS = (
    "claim", "claimed", "complete", "fail", "release", "heartbeat", "report_progress", "cancelled", "want_hints",
    "turns", "promote", "behead", "expired", "reap", "forget_keys", "fold",
)  # fmt: skip
HOT = {*WORKERS, "enqueue", "due"}
STATEMENTS = {**ENQUEUE, **CRON, **LEASES}
JOB_TABLES = {
    "job_available", "job_scheduled", "job_waiting", "job_running", "job_dead", "job_group", "job_unique", "job_cancel",
    "queue_delta", "cron",
}  # fmt: skip


@pytest.fixture
def conn(dsn: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(LEASES["enter_session"])
        conn.execute("insert into pgops.queues (queue) values ('q')")
        yield conn


def plan(conn: "psycopg.Connection[Any]", name: str, *, run: bool = False, **values: object) -> dict[str, Any]:
    """The generic plan of a statement; with `run`, as it went (rolled back)."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    text = re.sub(r"%\((\w+)\)s", number, STATEMENTS[name].decode())
    conn.execute(f"prepare hot as {text}".encode())
    try:
        literals = ", ".join(psycopg.sql.Literal((VALUES | values)[n]).as_string(conn) for n in names)
        options = "analyze, buffers, format json" if run else "format json"
        with conn.transaction(force_rollback=True):
            row = conn.execute(f"explain ({options}) execute hot({literals})".encode()).fetchone()
    finally:
        conn.execute("deallocate hot")
    assert row is not None
    found: dict[str, Any] = row[0][0]["Plan"]
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def scans(plan: dict[str, Any]) -> set[tuple[str, str]]:
    """How each job table is reached: (kind of scan, table)."""
    return {
        (node["Node Type"], node["Relation Name"])
        for node in nodes(plan)
        if node.get("Relation Name") in JOB_TABLES and "Scan" in node["Node Type"]
    }


def buffers(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


def assert_no_table_is_read_whole(conn: "psycopg.Connection[Any]") -> None:
    for name in HOT:
        whole = {table for kind, table in scans(plan(conn, name)) if kind == "Seq Scan"}
        assert not whole, f"{name} reads all of {whole}"


def cost(conn: "psycopg.Connection[Any]", name: str, **values: object) -> int:
    """How many pages a run of it touches, without what its triggers and functions do."""
    return buffers(plan(conn, name, run=True, **values))


def test_on_empty_tables(conn: "psycopg.Connection[Any]") -> None:
    conn.execute("analyze")
    assert_no_table_is_read_whole(conn)
    assert ("Tid Scan", "job_available") in scans(plan(conn, "claim")), (
        "kept while it fills, another plan would read all"
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_on_a_million_rows_and_then_a_million_dead_ones(conn: "psycopg.Connection[Any]", dsn: str) -> None:
    for table in ("job_available", "job_scheduled", "job_running", "queue_delta"):
        conn.execute(f"alter table pgops.{table} set (autovacuum_enabled = off)".encode())
    for query in (
        "insert into pgops.job_available (queue, payload) select 'q', '{}' from generate_series(1, %(rows)s)",
        "insert into pgops.job_scheduled (queue, payload, run_at)"
        " select 'q', '{}', now() + interval '1 day' from generate_series(1, %(rows)s)",
        "insert into pgops.job_running (queue, id, priority, attempt, kind, payload, created_at, token, owner,"
        " lease_until) select 'q', %(first)s + n, 2, 1, 'k', '{}', now(), 5, 1, now() + interval '1 day'"
        " from generate_series(0, %(rows)s - 1) n",
        "insert into pgops.workers (id, host, pid, queues, concurrency, lease, heartbeat_at)"
        " select n, 'h', n, '{q}', 1, '30 s', now() - interval '5 min' * (n - 1) from generate_series(1, 2) n",
    ):
        conn.execute(query, {"rows": ROWS, "first": RUNS})
    conn.execute("vacuum analyze")
    assert_no_table_is_read_whole(conn)
    assert {("Index Scan", "job_available"), ("Tid Scan", "job_available")} <= scans(plan(conn, "claim"))
    fresh = cost(conn, "claim")
    for name in sorted(HOT - {"claim"}):
        assert cost(conn, name) < 100, f"{name} beside a million rows"

    with psycopg.connect(dsn) as holder:  # a forgotten transaction: nothing that dies now can be cleared away
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select pg_current_xact_id()")
        row = conn.execute("select max(seq) from pgops.job_available").fetchone()
        assert row is not None
        floor = [row[0] - 1000] * 4
        conn.execute("delete from pgops.job_available where seq <= %s", floor[:1])
        conn.execute("update pgops.job_scheduled set run_at = now() - interval '1 min' where id % 1000 > 0")
        conn.execute("delete from pgops.job_scheduled where id % 1000 > 0")
        conn.execute("delete from pgops.job_running where id >= %s", [RUNS + 1000])
        conn.execute("analyze")
        assert_no_table_is_read_whole(conn)
        above_the_floor = cost(conn, "claim", floors=floor)
        from_the_start = cost(conn, "claim")
        for name in sorted(HOT - {"claim"}):
            assert cost(conn, name, floors=floor, within_s=10.0) < 100, f"{name} beside a million dead entries"
        whole = cost(conn, "promote")
    assert above_the_floor <= 1.5 * fresh, "the floor passes the dead by"
    assert from_the_start > 10 * above_the_floor, "or this test would prove nothing"
    assert whole > 1000, "or the window would prove nothing"


@pytest.mark.parametrize("live", [0, 30])
def test_what_is_known_by_its_number_is_found_among_the_dead_with_the_numbers_of_a_table_that_was_nearly_empty(
    conn: "psycopg.Connection[Any]", dsn: str, live: int
) -> None:
    """A forgotten transaction keeps what is done, autovacuum counts how little lives, and plans are made from that."""
    for table in ("job_running", "job_scheduled"):
        conn.execute(f"alter table pgops.{table} set (autovacuum_enabled = off)".encode())
    conn.execute(
        "insert into pgops.workers (id, host, pid, queues, concurrency, lease, heartbeat_at)"
        " select n, 'h', n, '{q}', 1, '30 s', now() - interval '5 min' * (n - 1) from generate_series(1, 2) n"
    )
    dead = 20_000
    running = (
        "insert into pgops.job_running (queue, id, priority, attempt, kind, payload, created_at, token, owner,"
        " lease_until) select 'q', n, 2, 1, 'k', '{}', now(), 5, 1, now() + interval '1 day'"
        " from generate_series(%s::bigint, %s) n"
    )
    with psycopg.connect(dsn) as holder:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select pg_current_xact_id()")
        conn.execute(running, [RUNS - dead, RUNS - 1])
        conn.execute("delete from pgops.job_running")
        conn.execute(running, [RUNS, RUNS + live - 1])
        conn.execute(
            "insert into pgops.job_scheduled (queue, payload, run_at)"
            " select 'q', '{}', now() - interval '1 hour' from generate_series(1, %s)",
            [dead],
        )
        conn.execute("delete from pgops.job_scheduled")
        conn.execute("insert into pgops.job_scheduled (queue, payload, run_at) values ('q', '{}', now())")
        conn.execute("analyze")
        for name in ("complete", "fail", "release", "heartbeat", "report_progress", "reap", "expired", "promote"):
            known_limit = conn.info.server_version < 170_000 and live == 0  # its planner counts an array as a filter
            assert cost(conn, name, within_s=10.0) < 100 or known_limit, name


def test_a_look_at_many_recurring_jobs_reads_those_that_are_due(conn: "psycopg.Connection[Any]") -> None:
    conn.execute(
        "insert into pgops.cron (name, queue, expression, next_at)"
        " select n::text, 'q', '@daily', now() + make_interval(mins => n) from generate_series(-1, 10000) n"
    )
    conn.execute("vacuum analyze pgops.cron")
    assert scans(plan(conn, "due")) == {("Index Scan", "cron")}
    looked = plan(conn, "due", run=True)
    assert looked["Actual Rows"] == 2
    assert buffers(looked) <= 10


def test_a_heartbeat_stays_heap_only(conn: "psycopg.Connection[Any]") -> None:
    conn.execute("select pgops.enqueue('q', '{}') from generate_series(1, 200)")
    conn.execute(LEASES["claim"], {**VALUES, "limit": 200})
    ids = [row[0] for row in conn.execute("select id from pgops.job_running").fetchall()]
    conn.execute(LEASES["heartbeat"], {**VALUES, "ids": ids})
    conn.execute("select pg_stat_force_next_flush()")
    row = conn.execute(
        "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'job_running'"
    ).fetchone()
    assert row == (200, 200)
