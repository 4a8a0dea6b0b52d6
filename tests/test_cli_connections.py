"""`pgops sessions`, `pgops locks` and `pgops check` as a script and a monitoring system see them."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from cli_call import Done, Run, caller
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from snapshots_literal import BUSY, CALM, NO_SCHEMA
from test_collector import role_dsn

from pgops.cli.check import meant
from pgops.cli.checking import line, perfdata, verdict
from pgops.ops.observe.snapshot import ServerPart, Snapshot, Unavailable

PLUGIN = re.compile(
    r"PGOPS (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+(\|(\w+=[\d.]+(s|ms|%|c|B)?(;[\d.:]*){0,4} ?)+)?\n([^|\n]+\n)*"
)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


@pytest.fixture
def pgops(dsn: str, command: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PGOPS_DSN", dsn)
    return command


@contextmanager
def session(dsn: str, name: str = "victim") -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """A session in an open transaction."""
    with psycopg.connect(make_conninfo(dsn, application_name=name)) as conn:
        conn.execute("select 'something'")
        try:
            yield conn
        finally:
            conn.close()


# --- sessions and locks ----------------------------------------------------------------------------------------


def test_sessions_are_listed_for_scripts_and_people(pgops: Run, dsn: str) -> None:
    with session(dsn) as conn:
        pid = conn.info.backend_pid
        document = pgops("sessions", "list", "--json").document
        table = pgops("sessions", "list").out
    (one,) = [item for item in document["items"] if item["pid"] == pid]
    assert (one["application"], one["state"], one["query"]) == ("victim", "idle in transaction", "select 'something'")
    assert one["started_at"].endswith("Z")
    assert document["next"] is None
    assert re.search(rf"^{pid} .*victim.*idle in transaction", table, re.MULTILINE)


def in_the_end(true: Callable[[], object]) -> bool:
    """Whether it comes true: a test beside this one may have a session wait, for a moment, in a database of its own."""
    end = time.monotonic() + 15
    while not (held := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return bool(held)


def test_locks_of_nobody_are_an_empty_list(pgops: Run) -> None:
    assert in_the_end(lambda: pgops("locks", "list", "--json").document["items"] == [])
    assert in_the_end(lambda: "(none)" in pgops("locks", "list").out)


def test_a_waiting_session_is_listed_with_its_blocker(pgops: Run, dsn: str) -> None:
    with session(dsn, "holder") as holder, session(dsn, "waiter") as waits:
        pids = holder.info.backend_pid, waits.info.backend_pid
        holder.execute("create table wanted ()")
        holder.commit()
        holder.execute("lock table wanted")
        thread = threading.Thread(target=_quietly, args=(waits, "lock table wanted"))
        thread.start()
        try:
            items = _until_listed(pgops, dsn)
        finally:
            holder.rollback()
            thread.join()
    found = {item["pid"]: (item["blocked_by"], item["root"], item["relation"]) for item in items}
    assert found == {pids[0]: ([], pids[0], None), pids[1]: ([pids[0]], pids[0], "wanted")}


def _quietly(conn: "psycopg.Connection[tuple[object, ...]]", statement: str) -> None:
    conn.execute(statement)
    conn.rollback()


def _until_listed(pgops: Run, dsn: str) -> list[dict[str, object]]:
    mine = conninfo_to_dict(dsn)["dbname"]
    for _ in range(200):
        listed = pgops("locks", "list", "--json").document["items"]
        if items := [one for one in listed if one["database"] == mine]:
            return items
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("argv", [("sessions", "list"), ("locks", "list")])
def test_without_the_right_to_see_it_the_remedy_is_told(command: Run, dsn: str, argv: tuple[str, str]) -> None:
    with role_dsn(dsn) as plain:
        done = command(*argv, "--dsn", plain)
    assert done.code == 4
    assert "grant pg_monitor to" in done.err


def test_terminate_asks_shows_and_does_it(pgops: Run, dsn: str) -> None:
    with session(dsn) as conn:
        pid = str(conn.info.backend_pid)
        refused = pgops("sessions", "terminate", pid)
        assert refused.code == 4
        assert "victim" in refused.err and "pg_terminate_backend" in refused.err
        dry = pgops("sessions", "terminate", pid, "--dry-run", "--json").document
        assert (dry["matched"], dry["changed"], dry["dry_run"]) == (1, 0, True)
        conn.execute("select 1")
        done = pgops("sessions", "terminate", pid, "--yes", "--json")
        assert done.code == 0, done.err
        assert (done.document["action"], done.document["changed"]) == ("terminate_backend", 1)
        with pytest.raises(psycopg.OperationalError):
            conn.execute("select 1")
    acts = pgops("audit", "list", "--json").document["items"]
    assert [(act["id"], act["action"], act["target"]) for act in acts] == [
        (done.document["audit_id"], "terminate_backend", pid)
    ]


def test_cancel_leaves_the_session(pgops: Run, dsn: str) -> None:
    with session(dsn) as conn:
        done = pgops("sessions", "cancel", str(conn.info.backend_pid), "--yes")
        assert done.code == 0, done.err
        assert done.out.startswith("cancelled the statement of session ")
        conn.execute("select 1")


@pytest.mark.parametrize(("pid", "code"), [("2147483647", 5), ("abc", 2), ("0", 2)])
def test_a_wrong_pid_is_told(pgops: Run, pid: str, code: int) -> None:
    done = pgops("sessions", "cancel", pid, "--yes")
    assert done.code == code
    assert done.err.count("error: ") == 1


# --- check -----------------------------------------------------------------------------------------------------


def test_check_is_one_line_with_figures(pgops: Run) -> None:
    done = pgops("check")
    assert PLUGIN.fullmatch(done.out), done.out
    assert done.code == ("OK", "WARNING", "CRITICAL").index(done.out.split()[1])
    assert done.err == "", "some monitoring systems read stderr first"
    for label in ("connections", "blocked", "jobs_dead", "jobs_oldest", "outbox_lag", "observed_in"):
        assert f"{label}=" in done.out


def test_check_tells_what_needs_a_human(pgops: Run, dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("insert into pgops.cache_marker default values")
    done = pgops("check")
    assert done.code == 1
    assert done.out.startswith("PGOPS WARNING - a crash emptied the cache (")


def test_check_as_a_document(pgops: Run) -> None:
    done = pgops("check", "--json")
    document = done.document
    assert document["exit_code"] == done.code
    assert document["status"] in ("OK", "WARNING")
    assert "connections" in document["perfdata"]
    assert document["schema_version"] == 1


def unknown(done: Done, *words: str) -> None:
    assert done.code == 3
    assert PLUGIN.fullmatch(done.out), done.out
    assert done.out.startswith("PGOPS UNKNOWN - ")
    assert done.err == ""
    for word in words:
        assert word in done.out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("check", "--dsn", "host=127.0.0.1 port=1 password=hunter2"), "refused"),
        (("--dsn", "host=127.0.0.1 port=1", "check"), "refused"),
        (("check", "--dsn", "nonsense:"), "DSN"),
        (("check", "--nonsense"), "--nonsense"),
        (("check", "--timeout", "x"), "number"),
        (("check", "--timeout", "0"), "0.1 to 600"),
        (("check", "more"), "unexpected"),
    ],
)
def test_every_error_of_check_is_unknown(command: Run, argv: tuple[str, ...], words: str) -> None:
    done = command(*argv)
    unknown(done, words)
    assert "hunter2" not in done.out


def test_check_as_a_document_also_where_it_fails(command: Run) -> None:
    done = command("check", "--json", "--dsn", "host=127.0.0.1 port=1")
    assert (done.code, done.document["status"], done.document["exit_code"]) == (3, "UNKNOWN", 3)


def test_check_without_the_schema_is_unknown(command: Run, empty_dsn: str) -> None:
    unknown(command("check", "--dsn", empty_dsn), "pgops migrate")


def test_check_without_the_right_to_see_it_is_unknown(command: Run, dsn: str) -> None:
    with role_dsn(dsn) as plain:
        unknown(command("check", "--dsn", plain), "grant pg_monitor")


def test_check_does_not_start_the_server_it_looks_at(
    command: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    for name in ("PGOPS_DSN", "DATABASE_URL", "PGHOST", "PGDATABASE", "PGSERVICE", "PGPORT", "PGUSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGOPS_HOME", f"{tmp_path}/home")
    unknown(command("check"), "does not run", "pgops server start")


def test_check_gives_up_after_its_timeout(pgops: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    async def never(*_: object, **__: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("pgops.ops.collector.collect", never)
    unknown(pgops("check", "--timeout", "0.2"), "no answer within 0.2 s")


@pytest.mark.parametrize(
    ("snapshot", "code", "message"),
    [
        (CALM, 0, "nothing needs a human"),
        (BUSY, 2, "3 jobs of email are stuck (lease expired 3, oldest 14m 20s); 1 more"),
        (replace(BUSY, findings=BUSY.findings[1:]), 1, "212,400 expired cache entries (41 % of 518,000 entries)"),
        (replace(BUSY, findings=BUSY.findings[2:]), 0, "nothing needs a human"),
        (NO_SCHEMA, 3, "queues: the pgops schema is missing here (run: pgops migrate)"),
        (replace(NO_SCHEMA, findings=BUSY.findings), 2, "3 jobs of email are stuck"),
    ],
)
def test_the_verdict_is_the_worst_and_unknown_where_not_all_is_seen(
    snapshot: Snapshot, code: int, message: str
) -> None:
    found = verdict(snapshot)
    assert found[0] == code
    assert found[1].startswith(message)


def test_a_standby_without_the_cache_is_well() -> None:
    standby = ServerPart("18.1", 180001, "shop", 1, 1.0, True, None)
    assert verdict(replace(CALM, server=standby, cache=Unavailable("unlogged", "look at the primary")))[0] == 0
    assert verdict(replace(CALM, cache=Unavailable("unlogged", "")))[0] == 3


def test_a_database_without_pgvector_is_well() -> None:
    gone = Unavailable("the server does not have the extension vector", "install pgvector")
    assert isinstance(CALM.server, ServerPart)
    assert CALM.server.pgvector
    assert verdict(replace(CALM, vectors=gone))[0] == 3, "it is there, and yet they cannot be seen"
    assert verdict(replace(CALM, vectors=gone, server=replace(CALM.server, pgvector=None)))[0] == 0


def test_figures_carry_their_lines() -> None:
    found = perfdata(BUSY)
    assert found["connections"] == "61;80;95;0;100"
    assert found["jobs_dead"] == "41;;;0"
    assert found["jobs_oldest"] == "5412.000s;300;1800;0"
    assert found["outbox_lag"] == "812.000s;60;600;0"
    assert "jobs_dead" not in perfdata(NO_SCHEMA)


def test_a_bar_or_a_line_end_in_a_message_begins_no_figures() -> None:
    assert line(1, "a|b\nc\x1b[2J", {"x": "1"}) == "PGOPS WARNING - a/b c\\x1b[2J|x=1"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["check"], True),
        (["--dsn", "check", "status"], False),
        (["--dsn=x", "check", "--json"], True),
        (["status", "check"], False),
        ([], False),
    ],
)
def test_a_command_line_of_check_is_known_by_its_first_word(argv: list[str], expected: bool) -> None:
    assert meant(argv) is expected


def test_json_of_a_session_has_its_moments_in_utc(pgops: Run, dsn: str) -> None:
    with session(dsn):
        items = json.loads(pgops("sessions", "list", "--json").out)["items"]
    began = datetime.fromisoformat(items[0]["started_at"])
    assert began.tzinfo is not None
    assert abs((datetime.now(UTC) - began).total_seconds()) < 86_400


def test_the_status_says_whether_anybody_waits(pgops: Run) -> None:
    assert in_the_end(lambda: re.search(r"^locks +nobody waits$", pgops("status").out, re.MULTILINE))
    assert in_the_end(lambda: pgops("status", "--json").document["locks"] == [])
