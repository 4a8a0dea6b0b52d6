"""The bench: every scenario keeps the contract, and nothing of it is left on the server."""

import asyncio
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import typer
from cli_call import Done, Run, caller, interrupted, spawned
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgops.bench import SCENARIOS, Scenario, find, run_bench
from pgops.bench.contract import Note
from pgops.bench.limit import Load, Told, check, hit, hitters
from pgops.bench.measure import interleaved, paced, quantile, rate
from pgops.bench.site import open_server
from pgops.cli.app import tree
from pgops.config import Target
from pgops.database import AsyncPool
from pgops.errors import PgopsError, UsageError
from pgops.server import Server

KV_VERBS = ("get", "set", "get_many", "set_many", "incr", "compare_and_set")
FIGURES = {
    "queue": {"enqueue_per_s", "drain_per_s", "drain_held_xmin_per_s", "drain_last_fifth_ratio", "latency_p50_ms",
              "latency_p99_ms"},
    "outbox": {"append_per_s", "append_in_transaction_ratio", "append_pipelined_ratio", "append_many_per_s",
               "relay_per_s", "end_to_end_p50_ms", "end_to_end_p99_ms", "relay_to_ten_per_s", "idle_look_ms"},
    "cache": {"get_per_s", "set_per_s", "get_many_per_s", "set_many_per_s", "set_unlogged_over_logged_ratio",
              "set_many_unlogged_over_logged_ratio", "get_over_raw_ratio", "set_over_raw_ratio"},
    "kv": {f"{kind}{verb}_per_s" for kind in ("", "ephemeral_") for verb in KV_VERBS}
          | {f"{verb}_over_raw_ratio" for verb in KV_VERBS},
    "limit": {f"{load}{who}_per_s" for load in ("hot_allowed", "hot_denied", "spread") for who in ("", "_together")}
             | {"hot_denied_bound_used_ratio", "hot_denied_together_bound_used_ratio"},
    "vector": {"load_rows_per_s", "search_exact_per_s", "build_s", "search_index_per_s", "recall",
               "search_over_raw_ratio"},
    "snapshot": {f"{which}observation_{what}" for which in ("", "fresh_", "draining_", "held_") for what in (
        "server_p50_ms", "server_p95_ms", "wall_p50_ms", "wall_p95_ms", "statements", "cpu_ms_per_s")},
}  # fmt: skip


def scratch_databases(dsn: str) -> set[str]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        return {row[0] for row in conn.execute("select datname from pg_database where datname like 'pgops_bench_%'")}


@pytest.fixture
def pgops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_keeps_the_contract_and_tells_how_far_it_is(scenario: Scenario, server_dsn: str, pgops: Run) -> None:
    done = pgops("bench", scenario.name, "--dsn", server_dsn, "--yes", "--json",
                 "--jobs", "400", "--seconds", "0.05", "--runs", "1")  # fmt: skip
    assert done.code == 0, done.err
    document = done.document
    assert document["scenario"] == scenario.name
    assert document["params"]["jobs"] == 400
    assert {"batch", "payload_bytes", "concurrency", "runs", "seconds"} <= set(document["params"])
    environment = document["environment"]
    assert {"pgops", "postgresql", "pgvector", "python", "psycopg"} == set(environment["versions"])
    assert {"fsync", "synchronous_commit", "shared_buffers"} <= set(environment["settings"])
    assert environment["cpus"] >= 1
    figures = document["figures"]
    assert {name for name in figures if not name.endswith(("_min", "_max"))} == FIGURES[scenario.name]
    for name in FIGURES[scenario.name]:
        assert figures[f"{name}_min"] <= figures[name] <= figures[f"{name}_max"], name
        assert figures[name] > 0 or name.endswith("_server_p50_ms"), name


@pytest.mark.slow
def test_runs_have_databases_of_their_own_that_are_gone_afterwards(server_dsn: str) -> None:
    met: list[str] = []
    told: list[float] = []

    async def run(dsn: str, params: object, note: Note) -> None:
        note.doing("it")
        note.figure("twice", len(met))
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            cursor = await conn.execute("select current_database() from pgops.migrations limit 1")
            met.extend(row[0] for row in await cursor.fetchall())

    scenario = Scenario("own", "", replace(find("cache").defaults, runs=2), 1, run)
    report = run_bench(scenario, scenario.defaults, Target(server_dsn, "--dsn"), lambda share, what: told.append(share))
    assert len(set(met)) == 2
    assert not set(met) & scratch_databases(server_dsn)
    assert told == [0.0, 0.5, 1.0]
    (figure,) = report.figures
    assert (figure.low, figure.median, figure.high) == (0, 0.5, 1)


def test_a_database_that_is_not_entered_yet_is_no_leftover(server_dsn: str) -> None:
    name = "pgops_bench_000000000009"
    with psycopg.connect(server_dsn, autocommit=True) as conn:
        conn.execute("select pg_advisory_lock_shared(7063762)")
        conn.execute(f"create database {name} strategy file_copy")
        try:
            with open_server(Target(server_dsn, "--dsn")):
                assert name in scratch_databases(server_dsn)
        finally:
            conn.execute(f"drop database if exists {name} with (force)")


def test_a_scenario_that_fails_leaves_no_database(server_dsn: str) -> None:
    met: list[str] = []

    async def run(dsn: str, params: object, note: Note) -> None:
        met.append(str(conninfo_to_dict(dsn)["dbname"]))
        raise PgopsError("it broke")

    scenario = Scenario("fails", "", find("cache").defaults, 1, run)
    with pytest.raises(PgopsError, match="it broke"):
        run_bench(scenario, scenario.defaults, Target(server_dsn, "--dsn"), lambda share, what: None)
    assert met and not set(met) & scratch_databases(server_dsn)


def test_what_a_killed_bench_has_left_is_dropped_and_what_is_in_use_stays(server_dsn: str) -> None:
    left, used = "pgops_bench_00000000dead", "pgops_bench_00000000beef"
    with psycopg.connect(server_dsn, autocommit=True) as conn:
        for name in (left, used):
            conn.execute(f"create database {name} strategy file_copy")
        with psycopg.connect(make_conninfo(server_dsn, dbname=used)):
            deadline = time.monotonic() + 10
            while scratch_databases(server_dsn) & {left, used} != {used}:  # a test beside this one may look into both
                assert time.monotonic() < deadline
                with open_server(Target(server_dsn, "--dsn")):
                    pass
        conn.execute(f"drop database {used} with (force)")


@pytest.mark.slow
def test_ctrl_c_ends_it_and_leaves_no_database(server_dsn: str) -> None:
    before = scratch_databases(server_dsn)
    argv = ["bench", "queue", "--dsn", server_dsn, "--yes", "--seconds", "60", "--jobs", "100"]
    with spawned(argv, server_dsn) as process:
        deadline = time.monotonic() + 20
        while not (mine := scratch_databases(server_dsn) - before) or not _at_work(server_dsn, mine):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        done: Done = interrupted(process)
    assert done.code == 130, done.err
    assert "Traceback" not in done.err
    _wait_until_gone(server_dsn, mine)


def _wait_until_gone(server_dsn: str, databases: set[str]) -> None:
    """Some may be another test's, which runs beside this one and drops its own."""
    deadline = time.monotonic() + 20
    while databases & scratch_databases(server_dsn):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _at_work(server_dsn: str, databases: set[str]) -> bool:
    """Whether a worker has entered one of them."""
    for name in databases:
        try:
            with psycopg.connect(make_conninfo(server_dsn, dbname=name)) as conn:
                return conn.execute("select from pgops.workers").fetchone() is not None
        except psycopg.Error:
            return False
    return False


@pytest.mark.slow
def test_ctrl_c_also_ends_the_processes_that_hit_a_limit(server_dsn: str) -> None:
    before = scratch_databases(server_dsn)
    argv = ["bench", "limit", "--dsn", server_dsn, "--yes", "--seconds", "60", "--concurrency", "2"]
    with spawned(argv, server_dsn) as process:
        deadline = time.monotonic() + 20
        while len(children := _below(process.pid)) < 2 or not scratch_databases(server_dsn) - before:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        mine = scratch_databases(server_dsn) - before
        done = interrupted(process)
    assert done.code == 130, done.err
    assert "Traceback" not in done.err
    _wait_until_gone(server_dsn, mine)
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def _below(pid: int) -> list[int]:
    """The processes that this one has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
async def test_a_hitter_that_cannot_work_is_told_with_its_reason() -> None:
    with pytest.raises(PgopsError, match=r"a process of the bench has ended: .*nowhere"):
        async with hitters("host=/nowhere", 2):
            pass


@pytest.mark.parametrize(
    ("allowed", "plenty", "said"),
    [(120, False, None), (121, False, "the limit was broken: 121 were allowed in 1.00 s, and 120 is the most"),
     (200, True, None), (199, True, "1 of 200 decisions were denied, and there was plenty")],
)  # fmt: skip
def test_a_bound_that_is_broken_or_a_wrong_denial_ends_the_bench(allowed: int, plenty: bool, said: str | None) -> None:
    load = Load("hot", 1, 100, 20 if not plenty else 1_000, plenty)
    with pytest.raises(PgopsError, match=said) if said else nullcontext():
        check(load, Told(200.0, 200, allowed, 1.0))


@pytest.mark.slow
async def test_more_than_the_limit_is_noticed_on_a_real_database(dsn: str) -> None:
    """Where somebody empties the table meanwhile, the bound cannot hold, and that is what must be seen."""
    load = Load("hot", 1, 100, 20, plenty=False)
    async with AsyncPool.open(dsn) as db, hitters(dsn, 2) as processes:

        async def empty() -> None:
            while True:
                await db.execute(b"delete from pgops.rate_limits")

        task = asyncio.create_task(empty())
        told = await hit(processes, "hot", load, 0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    with pytest.raises(PgopsError, match="the limit was broken"):
        check(load, told)


@pytest.mark.slow
def test_without_a_dsn_it_works_on_the_embedded_server_whatever_the_environment_names(
    pgops: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PGOPS_DSN", "host=/nowhere")
    try:
        done = pgops("bench", "cache", "--runs", "1", "--seconds", "0.05", "--jobs", "100")
        assert done.code == 0, done.err
        assert "get_per_s" in done.out
        assert "fsync on" in done.err
        done = pgops("bench", "queue", "--runs", "1", "--seconds", "0.05", "--jobs", "100", "--json")
        assert done.document["target"]["display"] == "embedded server"
    finally:
        Server().destroy(force=True)


def test_another_server_needs_a_yes(pgops: Run, server_dsn: str) -> None:
    done = pgops("bench", "cache", "--dsn", server_dsn)
    assert done.code == 4
    assert "--yes" in done.err


def test_an_unknown_scenario_is_told_what_there_is(pgops: Run) -> None:
    done = pgops("bench", "que")
    assert done.code == 2
    assert "queue" in done.err
    with pytest.raises(UsageError, match="runs is at least 1"):
        run_bench(find("queue"), replace(find("queue").defaults, runs=0), Target(None, "embedded"), print)


def test_the_list_and_the_help_name_every_scenario(pgops: Run) -> None:
    listed = [one["scenario"] for one in pgops("bench", "--json").document["items"]]
    assert listed == [scenario.name for scenario in SCENARIOS]
    commands = getattr(typer.main.get_command(tree()), "commands", {})
    assert all(name in commands["bench"].help for name in listed)


def test_quantiles_rates_and_ratios() -> None:
    assert quantile([3.0], 99) == 3.0
    assert quantile([1.0, 2.0, 3.0], 50) == 2.0
    assert quantile([float(n) for n in range(101)], 99) == 99.0
    with pytest.raises(PgopsError, match="nothing was measured"):
        quantile([], 50)

    async def measured() -> tuple[float, float, int]:
        ratio = await interleaved(lambda: asyncio.sleep(0.008), lambda: asyncio.sleep(0.002), 0.3)
        return ratio, await rate(lambda: asyncio.sleep(0.01), 0.1, each=5), await paced(lambda: asyncio.sleep(0), 0.1)

    ratio, per_s, sent = asyncio.run(measured())
    assert 1.5 < ratio < 8
    assert 50 < per_s <= 500
    assert sent == 20
