"""psql on the embedded server, and removing all that it holds: on a server of this module's own."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from cli_call import PGOPS, ROOT, Done, Run, caller, spawned
from test_cli import EXAMPLES

from pgops.errors import UnavailableError
from pgops.server import Server, process
from pgops.server.config import client_environment

OLD_POSTGRES = Path("/usr/lib/postgresql/15/bin")
HELD = "select pg_sleep(600)"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder for the server that its user can enter, so that nothing of it stands elsewhere."""
    with tempfile.TemporaryDirectory(prefix="pgops-test-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PGOPS_HOME", name)
            yield Path(name)
            Server().destroy(force=True)


@pytest.fixture
def pgops(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process, where nothing names another database."""
    monkeypatch.delenv("PGOPS_DSN", raising=False)
    return caller(monkeypatch, capsys)


def called(*argv: str) -> Done:
    """One command line as a process of its own: psql takes the process's place."""
    with spawned(argv, "") as child:
        out, err = child.communicate("", timeout=30)
    return Done(child.returncode, out, err)


def psql(*arguments: str) -> Done:
    return called("server", "psql", "--", "-X", *arguments)


def example(path: str) -> list[str]:
    return next(each for each in EXAMPLES if each.path == path).argv


def users_become(number: int) -> bool:
    """Whether so many use the server, at the latest in some seconds."""
    end = time.monotonic() + 10
    while (known := Server().status().users) != number and time.monotonic() < end:
        time.sleep(0.05)
    return known == number


# --- psql ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_example_of_psql_runs(home: Path) -> None:
    done = called(*example("server psql"))
    assert done.code == 0, done.err
    assert "PostgreSQL" in done.out


@pytest.mark.slow
def test_psql_is_on_the_embedded_server_whatever_the_environment_names(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGHOST": "nowhere", "PGHOSTADDR": "127.0.0.1", "PGPORT": "1", "PGSERVICE": "none"}.items():
        monkeypatch.setenv(name, value)
    asked = "select current_user || '@' || current_database() || ' ' || current_setting('unix_socket_directories')"
    done = psql("-Atc", asked)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f'postgres@postgres "{home}')
    assert psql("-Atc", "select current_database()", "-d", "template1").out == "template1\n"


@pytest.mark.slow
def test_its_exit_code_is_psqls_and_a_closed_pipe_ends_it_without_a_word(home: Path) -> None:
    assert psql("-c", "select nonsense").code == 1
    assert psql("-v", "ON_ERROR_STOP=1", "-f", "/nowhere").code == 1
    line = shlex.join([*PGOPS, "server", "psql", "--", "-XAtc", "select generate_series(1, 100000)"])
    done = subprocess.run(
        ["bash", "-c", f"{line} | head -1"], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["terminate", "kill"])
def test_the_server_is_in_use_while_psql_is_open(ends: str, home: Path, pgops: Run) -> None:
    with spawned(["server", "psql", "--", "-X"], "") as child:
        assert users_become(1)
        refused = pgops("server", "stop")
        assert refused.code == 4
        assert "in use by 1" in refused.err
        getattr(child, ends)()
        child.wait(timeout=10)
    assert users_become(0)


@pytest.mark.slow
def test_read_only_is_kept_by_the_server(home: Path) -> None:
    done = called("--read-only", "server", "psql", "--", "-Xc", "create table t ()")
    assert done.code == 1
    assert "read-only transaction" in done.err


@pytest.mark.slow
@pytest.mark.skipif(not OLD_POSTGRES.is_dir(), reason="needs Debian's postgresql-15")
def test_the_programs_that_are_named_bring_their_own_psql(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server().use():
        monkeypatch.setenv("PGOPS_PG_BIN", str(OLD_POSTGRES))
        assert psql("--version").out.startswith("psql (PostgreSQL) 15")


def test_a_psql_that_is_not_there_or_does_not_run_is_told_before_anything_starts(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 18.6'\n")
    (tmp_path / "postgres").chmod(0o755)
    monkeypatch.setenv("PGOPS_PG_BIN", str(tmp_path))
    for make in (lambda: None, lambda: (tmp_path / "psql").write_text("#!/bin/sh\n"), lambda: _break(tmp_path)):
        make()
        done = called("server", "psql")
        assert done.code == 1
        assert f"cannot run {tmp_path / 'psql'}" in done.err
        assert "PGOPS_PG_BIN" in done.err
        assert "Traceback" not in done.err
    with pytest.raises(UnavailableError, match="cannot run /nowhere"):
        process.become("/nowhere", [], {})
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN, "or the next broken pipe would end us without a word"


def _break(folder: Path) -> None:
    (folder / "psql").write_text("#!/bin/sh\nexit 127\n")
    (folder / "psql").chmod(0o755)


def test_psql_writes_no_document(pgops: Run) -> None:
    done = pgops("server", "psql", "--json")
    assert done.code == 2
    assert "--csv" in done.error["hint"]


@pytest.mark.parametrize(
    ("around", "read_only", "options"),
    [
        ({}, False, ""),
        ({}, True, "-c default_transaction_read_only=on"),
        ({"PGOPTIONS": "-c work_mem=1MB"}, True, "-c work_mem=1MB -c default_transaction_read_only=on"),
    ],
)
def test_what_psql_is_told(around: Mapping[str, str], read_only: bool, options: str) -> None:
    found = client_environment(Path("/run/x"), {"PATH": "/bin", "PGSERVICE": "s", **around}, read_only=read_only)
    assert (found["PGHOST"], found["PGUSER"], found["PATH"]) == ("/run/x", "postgres", "/bin")
    assert found["PGOPTIONS"] == options
    assert "PGSERVICE" not in found


# --- reset -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_reset_shows_what_is_there_asks_and_leaves_nothing(home: Path, pgops: Run) -> None:
    with Server().use() as url, psycopg.connect(url, autocommit=True) as conn:
        conn.execute("create database precious")
    look = pgops(*example("server reset"))
    assert look.code == 0, look.err
    assert (look.document["action"], look.document["dry_run"], look.document["changed"]) == ("reset", True, 0)
    assert {one["name"] for one in look.document["holds"]["databases"]} == {"precious", "postgres"}
    assert all(one["bytes"] > 1_000_000 for one in look.document["holds"]["databases"])
    assert look.document["bytes"] > 20_000_000
    assert look.document["users"] == 0
    refused = pgops("server", "reset")
    assert refused.code == 4
    assert "database precious, " in refused.err
    assert "--yes" in refused.err
    with Server().use() as url, psycopg.connect(url) as conn:
        assert conn.execute("select from pg_database where datname = 'precious'").fetchone() is not None
    done = pgops("server", "reset", "--yes", "--json")
    assert (done.document["matched"], done.document["changed"], done.document["dry_run"]) == (1, 1, False)
    assert done.err == "target: embedded server\n"
    assert not (home / "server").exists()
    again = pgops("server", "reset", "--yes", "--json")
    assert (again.code, again.document["matched"]) == (0, 0)
    assert not (home / "server").exists(), "looking makes nothing"
    with Server().use() as url, psycopg.connect(url) as conn:
        assert conn.execute("select from pg_database where datname = 'precious'").fetchone() is None


@pytest.mark.slow
def test_reset_is_refused_while_programs_use_it_unless_it_is_forced(home: Path, pgops: Run) -> None:
    with spawned(["server", "psql", "--", "-Xc", HELD], ""):
        assert users_become(1)
        look = _reset_that_sees("psql", pgops)
        assert look["users"] == 1
        assert {"application": "psql", "database": "postgres", "sessions": 1} in look["holds"]["applications"]
        for argv in (["--yes"], ["--yes", "--json"], []):
            refused = pgops("server", "reset", *argv)
            assert refused.code == 4
            assert "in use by 1" in refused.err
        assert Server().status().running
        done = pgops("server", "reset", "--yes", "--force", "--json")
        assert (done.code, done.document["changed"]) == (0, 1)
    assert not (home / "server" / "data").exists()


def _reset_that_sees(application: str, pgops: Run) -> dict[str, object]:
    """A look at what is there once psql has connected."""
    end = time.monotonic() + 10
    while True:
        look = pgops("server", "reset", "--dry-run", "--json").document
        if any(one["application"] == application for one in look["holds"]["applications"]):
            return look
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_data_that_does_not_start_can_be_removed_all_the_same(home: Path, pgops: Run) -> None:
    Server().start()
    Server().stop()
    (home / "server" / "data" / "global" / "pg_control").unlink()
    shutil.rmtree(home / "server" / "log")
    look = pgops("server", "reset", "--dry-run", "--json")
    assert look.code == 0, look.err
    assert "does not start" in look.document["holds"]["unavailable"]["reason"]
    assert "cannot be listed" in pgops("server", "reset").err
    assert pgops("server", "reset", "--yes").code == 0
    assert not (home / "server").exists()


def test_reset_is_refused_where_read_only_was_asked_for(home: Path, pgops: Run) -> None:
    Server().start()
    refused = pgops("--read-only", "server", "reset", "--yes")
    assert refused.code == 4
    assert "--read-only" in refused.err
    assert Server().status().running
