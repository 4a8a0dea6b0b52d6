"""tests/bench: its table and picture from a document, what its holders hold, and each script once on little work."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

sys.path.insert(0, str(Path(__file__).resolve().parent / "bench"))

import contest
import idle
import long_hold
import peers
import plot
import report

BENCH = Path(report.__file__).parent
DOCUMENT: dict[str, Any] = {
    "taken_at": "2026-01-02T03:04:05+00:00",
    "command": "python tests/bench/peers.py --runs 2",
    "params": {"jobs": 1000, "runs": 2, "held_seconds": 10.0, "latency_seconds": 4.0},
    "environment": {
        "versions": {"postgresql": "18.6"}, "cpus": 2, "machine": "a <machine>", "load_1m": 0.04, "revision": "abc1234",
        "settings": {"fsync": "on", "synchronous_commit": "on", "shared_buffers": "256MB"},
        "libraries": {"pgmq": "1.1.4"},
    },
    "contestants": [
        {"name": "pgops", "enqueues": "COPY", "drains": "worker", "waits": "hints", "jobs": 1000, "failed": "",
         "runs": {"enqueue": [250_000.0, 350_000.0], "drain": [60_000.0, 70_000.0], "held": [50_000.0, 70_000.0],
                  "held_last_fifth": [58_500.0, 58_500.0], "latency_p50_ms": [2.0, 3.0], "latency_p95_ms": [4.0, 4.0],
                  "latency_p99_ms": [8.0, 12.25]}},
        {"name": "pgmq", "enqueues": "calls", "drains": "loop", "waits": "", "jobs": 500, "failed": "held: Error: no",
         "runs": {"enqueue": [44_721.0], "drain": [98.76, 98.76]}},
    ],
}  # fmt: skip
TABLE = """\
| | enqueue | drain | drain, a writer forgotten | its last fifth | enqueue to start, ms: p50 / p95 / p99 |
| --- | --- | --- | --- | --- | --- |
| pgops: COPY; worker; hints | 300,000 (250,000–350,000) | 65,000 (60,000–70,000) | 60,000 (50,000–70,000) | \
58,500 (58,500–58,500), 90% of free | 2.5 / 4.0 / 10.1 |
| pgmq 1.1.4: calls; loop; failed: held: Error: no | 44,700 | 98.8 (98.8–98.8) | – | – | – |"""


def test_the_table_is_of_what_was_measured_and_says_who_failed() -> None:
    assert report.table(DOCUMENT) == TABLE
    said = report.caption(DOCUMENT)
    assert said.startswith("`python tests/bench/peers.py --runs 2`: jobs a second, 1,000 jobs (pgmq 500), medians of 2")
    assert "fsync on" in said and "pgmq 1.1.4" in said and "abc1234" in said


def test_a_rate_is_of_the_jobs_after_a_share_and_without_the_start() -> None:
    marks = [(0.0, 0), (0.5, 0), (1.0, 100), (1.5, 800), (2.0, 900), (2.5, 1000)]
    assert peers.rate(marks, 0) == 500
    assert peers.rate(marks, 0.8) == 200
    assert peers.rate([(0.0, 0)], 0) == 0


def test_each_turn_begins_with_another_phase() -> None:
    assert [peers.in_turn(["a", "b", "c"], turn)[0] for turn in range(4)] == ["a", "b", "c", "a"]
    assert peers.in_turn(["a", "b", "c"], 1) == ["b", "c", "a"]


def test_table_and_picture_are_made_again_from_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "peers.json").write_text(json.dumps(DOCUMENT))
    made = subprocess.run(
        [sys.executable, BENCH / "report.py", tmp_path / "peers.json", "--table", tmp_path / "peers.md",
         "--plot", tmp_path / "peers.svg"], check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert made.stdout.startswith(TABLE)
    assert (tmp_path / "peers.md").read_text() == made.stdout
    assert (tmp_path / "peers.svg").read_text() == plot.svg(DOCUMENT)


def test_the_picture_has_a_bar_a_figure_as_long_as_its_median() -> None:
    svg = plot.svg(DOCUMENT)
    drawn = ElementTree.fromstring(svg)
    bars = [(one.get("class"), float(one.get("width", 0))) for one in drawn.findall("{*}rect") if one.get("x") == "210"]
    legend, bars = bars[0], bars[1:]
    assert legend == ("drain", plot.BAR)
    (_, free), (_, held), (_, slow) = bars
    assert [figure for figure, _ in bars] == ["drain", "held", "drain"]
    assert free == plot.WIDTH - plot.LEFT - plot.RIGHT
    assert held / free == pytest.approx(60 / 65, abs=0.001)
    assert 1 <= slow < 2, "what is next to nothing is still seen"
    texts = [one.text for one in drawn.findall("{*}text")]
    assert {"pgops", "pgmq", "65,000", "60,000", "99", "nobody in the way", "a writer forgotten"} <= set(texts)
    assert "a reader idle" not in texts
    assert "prefers-color-scheme: dark" in svg
    bottom = max(float(one.get("y", 0)) + float(one.get("height", 0)) for one in drawn.findall("{*}rect"))
    assert bottom <= float(drawn.get("viewBox", "").split()[3])


@pytest.mark.parametrize(
    ("holder", "xid", "xmin", "locks"),
    [("nobody", None, None, False), ("writer", True, True, False), ("reader", False, True, True),
     ("locks", False, False, True)],
)  # fmt: skip
async def test_a_holder_holds_what_it_says(
    holder: str, xid: bool | None, xmin: bool | None, locks: bool, dsn: str
) -> None:
    async with contest.HOLDERS[holder](dsn), await psycopg.AsyncConnection.connect(dsn) as conn:
        cursor = await conn.execute(
            "select backend_xid is not null, backend_xmin is not null, exists (select from pg_locks l where"
            " l.pid = a.pid and l.relation = 'pgops.job_available'::regclass) from pg_stat_activity a"
            " where datname = current_database() and state = 'idle in transaction'"
        )
        found = await cursor.fetchall()
    assert found == ([] if holder == "nobody" else [(xid, xmin, locks)])


def test_cpu_time_is_read_past_a_name_with_brackets() -> None:
    assert idle.ticks("7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0 5 6 7") == 42


def test_cpu_time_is_that_of_the_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            before, began = idle.cpu_s([busy.pid]), time.monotonic()
            while idle.cpu_s([busy.pid]) < before + 0.1:
                assert time.monotonic() < began + 20
            assert idle.cpu_s([busy.pid]) - before <= time.monotonic() - began + 0.1
            assert idle.alive(busy.pid)
            busy.kill()
            while idle.alive(busy.pid):
                assert time.monotonic() < began + 20
        finally:
            busy.kill()


def test_shares_and_minutes_as_tables() -> None:
    assert idle.table({"one": idle.Share(0.011, 0.03)}, 5_000_000).splitlines()[-1] == "| one | 4.1% | 1.1% | 3.0% |"
    first = {"per_s": 2000.4, "backlog": 3, "start_p50": 1.0, "start_p99": 4.0, "start_max": 9.0}
    told = long_hold.table([first, first | {"start_p99": 5.0}])
    assert told.splitlines()[0] == "| minute | jobs/s | left | start, p50 ms | p99 | max |"
    assert told.splitlines()[3] == "| 2 | 2,000 | 3 | 1.00 | 5.00 | 9.00 |"
    assert told.endswith("The last over the first: start p99 1.25x.")


def scratch_databases(dsn: str) -> set[str]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        return {row[0] for row in conn.execute("select datname from pg_database where datname like 'pgops_bench_%'")}


@contextmanager
def started(script: str, dsn: str, *argv: object) -> "Iterator[subprocess.Popen[str]]":
    """The script at work on the server of `dsn`; gone after the block whatever happens."""
    with subprocess.Popen(
        [sys.executable, BENCH / script, "--dsn", dsn, *map(str, argv)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def ended(process: "subprocess.Popen[str]") -> str:
    """What it has said when it has ended well."""
    said, talk = process.communicate(timeout=50)
    assert process.returncode == 0, talk
    return said


@pytest.mark.slow
def test_peers_measures_every_phase_of_pgops(server_dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    with started("peers.py", server_dsn, "--only", "pgops, small batches", "--runs", 1, "--jobs", 300,
                 "--latency-seconds", 0.3, "--phases", "drain", "held", "reader", "locks", "latency",
                 "--json", path, "--plot", tmp_path / "peers.svg") as process:  # fmt: skip
        said = ended(process)
    document = json.loads(path.read_text())
    (one,) = document["contestants"]
    assert one["failed"] == ""
    assert set(one["runs"]) == {
        "enqueue", "drain", "drain_last_fifth", "held", "held_last_fifth", "reader", "reader_last_fifth", "locks",
        "locks_last_fifth", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms",
    }  # fmt: skip
    assert all(value > 0 for values in one["runs"].values() for value in values)
    assert said.startswith(report.table(document))
    assert (tmp_path / "peers.svg").read_text() == plot.svg(document)


@pytest.mark.slow
def test_ctrl_c_ends_peers_and_leaves_no_database(server_dsn: str) -> None:
    before = scratch_databases(server_dsn)
    with started("peers.py", server_dsn, "--only", "pgops", "--phases", "latency", "--latency-seconds", 60) as process:
        assert process.stderr is not None
        assert process.stderr.read(5) == "run 1"
        deadline = time.monotonic() + 30
        while not (mine := {name for name in scratch_databases(server_dsn) - before if at_work(server_dsn, name)}):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate(timeout=30)
    assert process.returncode == 130, talk
    assert "Traceback" not in talk
    deadline = time.monotonic() + 30
    while mine & scratch_databases(server_dsn):  # some may be those of a test beside this one, which drops its own
        assert time.monotonic() < deadline
        time.sleep(0.05)


def at_work(dsn: str, database: str) -> bool:
    """Whether jobs come in there; it may be another test's, which is just made or just gone."""
    try:
        with psycopg.connect(make_conninfo(dsn, dbname=database)) as conn:
            row = conn.execute("select is_called from pgops.job_seq").fetchone()
            return bool(row and row[0])
    except psycopg.Error:
        return False


@pytest.mark.slow
def test_long_hold_and_idle_tell_what_they_are_for(server_dsn: str, tmp_path: Path) -> None:
    with (
        started("long_hold.py", server_dsn, "--rate", 400, "--minutes", 2, "--seconds", 0.5,
                "--json", tmp_path / "hold.json") as holding,
        started("idle.py", server_dsn, "--jobs", 300, "--seconds", 0.5, "--settle", 0.1,
                "--json", tmp_path / "idle.json") as idling,
    ):  # fmt: skip
        assert "The last over the first: start p99 " in ended(holding)
        assert "| an idle worker over 300 dead entries |" in ended(idling)
    minutes = json.loads((tmp_path / "hold.json").read_text())
    assert len(minutes) == 2
    assert all(one["start_p50"] > 0 and one["claim_p99"] > 0 for one in minutes)
    shares = json.loads((tmp_path / "idle.json").read_text())
    assert all(0 <= its["worker"] + its["sessions"] < 2 for its in shares.values())
