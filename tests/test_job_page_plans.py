"""Every page of jobs is one range of one index, beside many rows and far from the first one."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import tuple_row

from pgops.services.job_match import STATES, conditions, direction, values
from pgops.services.job_pages import PAGES
from pgops.services.models import JobMatch, JobState

Conn = psycopg.Connection[Any]
ROWS = 60_000
MIDDLE = ROWS // 2
FILL = (
    "insert into pgops.job_available (queue, seq, payload) select 'q', n, '{}' from generate_series(1, %(rows)s) n",
    "insert into pgops.job_scheduled (queue, id, payload, run_at)"
    " select 'q', n, '{}', 'epoch'::timestamptz + n * interval '1 s' from generate_series(1, %(rows)s) n",
    "insert into pgops.job_waiting (queue, id, group_key, payload)"
    " select 'q', n, 'g', '{}' from generate_series(1, %(rows)s) n",
    "insert into pgops.job_dead (queue, id, priority, attempt, kind, payload, created_at, died_at)"
    " select 'q', n, 2, 1, 'k', '{}', now(), 'epoch'::timestamptz + n * interval '1 s'"
    " from generate_series(1, %(rows)s) n",
)
AT: dict[JobState, tuple[int, int]] = {
    "available": (2, MIDDLE), "scheduled": (MIDDLE * 1_000_000, MIDDLE), "waiting": (0, MIDDLE),
    "dead": (MIDDLE * 1_000_000, MIDDLE),
}  # fmt: skip


@pytest.fixture
def conn(dsn: str) -> Iterator[Conn]:
    with psycopg.connect(dsn, autocommit=True, row_factory=tuple_row) as conn:
        for statement in FILL:
            conn.execute(statement.encode(), {"rows": ROWS})
        conn.execute("vacuum analyze")
        yield conn


def explain(conn: Conn, state: JobState, *, back: bool, scan: int, match: JobMatch | None = None) -> dict[str, Any]:
    """The page's plan as it ran, from the middle on."""
    statement = sql.SQL(PAGES[f"page_{state}"].decode()).format(
        matching=conditions(match), **direction(state, back=back)
    )
    first, second = AT[state]
    params = {"queue": "q", "first": first, "second": second, "scan": scan, "limit": 100, "cut_bytes": 8192, "cut": "…"}
    row = conn.execute(
        sql.SQL("explain (analyze, buffers, timing off, format json) {}").format(statement), {**params, **values(match)}
    ).fetchone()
    assert row is not None
    found: dict[str, Any] = (row[0] if isinstance(row[0], list) else json.loads(row[0]))[0]["Plan"]
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def test_a_page_in_the_middle_is_one_range_of_an_index(conn: Conn) -> None:
    for state in STATES:
        for back in (False, True) if state in AT else ():
            plan = explain(conn, state, back=back, scan=100)
            (scan,) = [node for node in nodes(plan) if "Relation Name" in node]
            assert (scan["Node Type"], scan["Relation Name"]) == ("Index Scan", f"job_{state}"), (state, back)
            assert {"Seq Scan", "Sort"}.isdisjoint(node["Node Type"] for node in nodes(plan)), (state, back)
            assert plan["Actual Rows"] == 100
            assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 60, (state, back)


def test_a_search_reads_no_more_than_its_bound_and_stops_when_the_page_is_full(conn: Conn) -> None:
    nothing, everything = JobMatch(kind="no such"), JobMatch(not_kinds=("no such",))
    for state in AT:
        plan = explain(conn, state, back=False, scan=2_000, match=nothing)
        (scan,) = [node for node in nodes(plan) if "Relation Name" in node]
        assert scan["Actual Rows"] <= 2_100, state
        assert plan["Actual Rows"] == 1, "the row at the bound"
        plan = explain(conn, state, back=False, scan=20_000, match=everything)
        (scan,) = [node for node in nodes(plan) if "Relation Name" in node]
        assert scan["Actual Rows"] <= 200, state
