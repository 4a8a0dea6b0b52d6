"""PostgreSQL 15 as Debian has it, without pgvector: everything runs there but vectors, and they say what is missing."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import this_server
from dashboard_story import SMALL, screen, until
from pgbouncer import requires
from status_document import check

from pgops.cli.app import run
from pgops.config import Target
from pgops.errors import UnavailableError
from pgops.ops.collector import collect
from pgops.ops.judge.minors import behind, flaws
from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.server import Server, binaries
from pgops.services.client import AsyncPgops
from pgops.services.models import VectorRow
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource

pytestmark = pytest.mark.xdist_group("postgresql-15")

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = "/usr/lib/postgresql/15/bin"
REMEDY = "install pgvector (on Debian: apt-get install postgresql-15-pgvector), then run: pgops migrate"


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A PGOPS_HOME whose embedded server runs with Debian's programs."""
    folder = Path(f"{this_server.root()}-15-{os.getpid()}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGOPS_PG_BIN", str(Path(requires("postgres", package="postgresql-15", folder=DEBIAN)).parent))
        assert not binaries.find().has_library("vector"), "these tests are about a PostgreSQL 15 without pgvector"
        server = Server(folder / "server", settings=this_server.SETTINGS)
        server.start(pin=True)
    yield folder
    server.destroy(force=True)
    folder.rmdir()


@pytest.fixture
def fifteen(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The embedded server is this one; the DSN of its database, with the schema there."""
    monkeypatch.setenv("PGOPS_PG_BIN", DEBIAN)
    monkeypatch.setenv("PGOPS_HOME", str(home))
    for name in ("PGOPS_DSN", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert run(["migrate"]) == 0
    capsys.readouterr()
    return Server().url


def test_the_schema_gets_there_and_one_file_waits(fifteen: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["migrate", "--verify", "--json"]) == 0
    steps = {step["name"]: step for step in json.loads(capsys.readouterr().out)["items"]}
    waiting = steps.pop("0007_vectors")
    assert waiting["state"] == "waiting"
    assert "no extension vector; install it, then run pgops migrate again" in waiting["reason"]
    assert {step["state"] for step in steps.values()} == {"applied"}
    with psycopg.connect(fifteen) as conn:
        assert conn.info.server_version // 10_000 == 15


async def test_vectors_are_refused_with_the_remedy_and_all_else_works(fifteen: str) -> None:
    async with AsyncPgops.open(fifteen) as pg:
        for call in (
            pg.vectors.list(), pg.vectors.create("docs", 3), pg.vectors.get("docs"), pg.vectors.drop("docs"),
            pg.vectors.add_many("docs", [VectorRow("a", [1.0])]), pg.vectors.search("docs", [1.0]),
            pg.vectors.build_index("docs"), pg.vectors.rebuild("docs"), pg.vectors.measure_recall("docs"),
        ):  # fmt: skip
            with pytest.raises(UnavailableError, match="extension vector") as refused:
                await call
            assert refused.value.hint.startswith("install pgvector")
        assert await pg.queue.enqueue("email", {})
        await pg.kv.set("k", "v")
        snapshot = await collect(pg.db)
    missing = {name: part for name in Snapshot.__slots__ if isinstance(part := getattr(snapshot, name), Unavailable)}
    assert missing.keys() == {"vectors", "pgmq"}
    assert missing["vectors"] == Unavailable("the server does not have the extension vector", REMEDY)


@pytest.mark.parametrize(
    "line",
    [
        "list",
        "create docs 3",
        "add docs",
        "search docs hello",
        "recall docs",
        "build docs",
        "rebuild docs",
        "drop docs",
    ],
)
def test_every_command_of_vectors_is_refused_with_the_remedy(
    fifteen: str, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert run(["vector", *line.split()]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert [one.partition(": ")[0] for one in told.err.splitlines()] == ["target", "error", "hint"]
    assert "hint: install pgvector" in told.err


def test_the_status_names_the_remedy(fifteen: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    check(document)
    assert document["vectors"]["unavailable"]["remedy"] == REMEDY
    assert document["server"]["pgvector"] is None
    version = document["server"]["version_num"]
    codes = {finding["code"] for finding in document["findings"]}
    assert ("server.minor" in codes) is (behind(version) is not None and not flaws(version))
    assert run(["status"]) == 0
    assert f"Vector indexes: unavailable: the server does not have the extension vector ({REMEDY})" in (
        capsys.readouterr().out
    )
    assert run(["check"]) == 0, "what was never there is nothing to be woken for"


async def test_the_dashboard_names_the_remedy(fifteen: str) -> None:
    app = PgopsApp(LiveSource(Target(fifteen, "test")))
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: "● live" in screen(pilot))
        await pilot.press("3")
        await until(pilot, lambda: "apt-get install postgresql-15-pgvector" in screen(pilot))
        await pilot.press("1", "R", "B", "D", "enter", "slash", "escape")
        await until(pilot, lambda: "● live" in screen(pilot))


@pytest.mark.slow
def test_the_demo_runs_without_a_search(fifteen: str) -> None:
    command = [sys.executable, "-m", "pgops", "demo", "--headless", "--seconds", "4", "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert len(done.stderr.splitlines()) == 1, "the target, and no warnings"
    document = json.loads(done.stdout)
    assert document["vectors"]["unavailable"]["remedy"] == REMEDY
    assert sum(queue["completed_total"] for queue in document["queues"]) > 0
    assert document["cache"]["hits"] > 0


@pytest.mark.slow
def test_a_bench_of_vectors_is_refused_and_leaves_no_database(fifteen: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "vector", "--runs", "1", "--jobs", "100"]) == 1
    assert "hint: install pgvector" in capsys.readouterr().err
    with psycopg.connect(fifteen) as conn:
        assert conn.execute("select from pg_database where datname like 'pgops_bench%'").fetchone() is None
