"""A guarded profile: the server refuses every change until somebody says why, and that is written down first."""

import os
from pathlib import Path

import psycopg
import pytest
from cli_call import Run, caller

from pgops.bench import Report
from pgops.bench.contract import Environment, Params
from pgops.config import Target, resolve_target
from pgops.database import AsyncPool
from pgops.errors import RefusedError, UsageError
from pgops.ops.act import audit
from pgops.ops.act.unlocking import MAX_REASON, check_reason, unlock
from pgops.profiles import load_config
from pgops.services.client import AsyncPgops

MEASURED = Report(
    "kv",
    Params(1, 1, 1, 1, 1, 1.0),
    Environment({"postgresql": "15"}, {"fsync": "on", "synchronous_commit": "on"}, 2, "x", None, None),
    (),
)
CONFIG = """
[profiles.prod]
dsn = "{dsn}"
guard = true
color = "red"

[profiles.fixed]
dsn = "{dsn}"
guard = true
read_only = true

[profiles.plain]
dsn = "{dsn}"
"""


def write_config(folder: Path, dsn: str) -> dict[str, str]:
    (folder / "pgops").mkdir()
    (folder / "pgops" / "config.toml").write_text(CONFIG.replace("{dsn}", dsn.replace("\\", "\\\\")))
    return {"XDG_CONFIG_HOME": str(folder)}


@pytest.fixture
def pgops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, dsn: str) -> Run:
    """Commands with these profiles, on the fresh database."""
    monkeypatch.setenv("XDG_CONFIG_HOME", write_config(tmp_path, dsn)["XDG_CONFIG_HOME"])
    return caller(monkeypatch, capsys)


def trail(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as conn:
        return conn.execute("select action, target, detail ->> 'reason' from pgops.audit order by id").fetchall()


# --- what config.toml says ---------------------------------------------------------------------------------------


def test_a_guard_is_read_only_until_it_is_unlocked_and_what_is_read_only_needs_none(tmp_path: Path) -> None:
    env = write_config(tmp_path, "host=x")
    prod = resolve_target(None, env, profile="prod")
    assert (prod.read_only, prod.guard, prod.color, prod.profile) == (True, True, "red", "prod")
    assert not prod.unlocked.read_only
    for fixed in (
        resolve_target(None, env, profile="fixed"), resolve_target(None, env, profile="prod", read_only=True),
    ):  # fmt: skip
        assert (fixed.read_only, fixed.guard, fixed.unlocked.read_only) == (True, False, True)
    plain = resolve_target(None, env, profile="plain")
    assert (plain.read_only, plain.guard, plain.color) == (False, False, None)


@pytest.mark.parametrize(
    ("line", "words"),
    [("color = 'pink'", "is not 'pink'"), ("color = 3", "is a text"), ("guard = 'yes'", "is true or false")],
)
def test_what_is_wrong_with_it_is_one_line(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"[profiles.prod]\n{line}")
    with pytest.raises(UsageError, match=words) as caught:
        load_config(path)
    assert caught.value.hint


@pytest.mark.parametrize("reason", ["", " \n", "x" * (MAX_REASON + 1)])
def test_a_reason_says_something(reason: str) -> None:
    with pytest.raises(UsageError):
        check_reason(reason)
    assert check_reason("  ticket\n4711 ") == "ticket 4711"


# --- the server refuses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", [False, True], ids=["direct", "pooled"])
async def test_the_server_itself_refuses_until_it_is_unlocked(through: bool, dsn: str, pooled_dsn: str) -> None:
    target = Target(pooled_dsn if through else dsn, "profile prod", True, "prod", True, "red")
    async with AsyncPgops.open(target) as pg:
        assert pg.db.pooler == through
        with pytest.raises(RefusedError) as caught:
            await pg.kv.set("k", b"v")
        assert getattr(caught.value.__cause__, "sqlstate", None) == "25006"
    async with AsyncPgops.open(target.unlocked) as pg:
        done = await unlock(pg.db, "prod", "ticket 4711", seconds=600)
        await pg.kv.set("k", b"v")
        (row,) = await audit.list(pg.db)
        assert (row.id, row.action, row.target, row.status, row.reason) == (
            done.audit_id, "unlock", "prod", "done", "ticket 4711",
        )  # fmt: skip
        assert done.until is not None
        assert 590 < (done.until - row.started_at).total_seconds() < 610
        assert isinstance(row.detail, dict)
        assert "@" in str(row.detail["by"])
    async with AsyncPgops.open(target) as pg:
        with pytest.raises(RefusedError):
            await pg.kv.set("k", b"w")
        assert await pg.kv.get("k") == b"v"


async def test_a_reason_that_cannot_be_written_down_unlocks_nothing(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as db:
        with pytest.raises(Exception, match="schema is missing"):
            await unlock(db, "prod", "ticket 4711")


# --- commands ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [("kv", "set", "k", "v"), ("queue", "enqueue", "q", "{}"), ("cache", "purge", "--yes"), ("migrate",)]
)
def test_a_command_that_changes_something_is_refused_without_a_reason(
    line: tuple[str, ...], pgops: Run, dsn: str
) -> None:
    if line == ("migrate",):
        with psycopg.connect(dsn) as conn:
            conn.execute("delete from pgops.migrations where name = (select max(name) from pgops.migrations)")
    done = pgops(*line, "--profile", "prod", "--json")
    assert done.code == 4, done.err
    assert done.error["message"] == "profile prod is guarded: this session is read-only"
    assert "--unlock" in done.error["hint"]
    assert trail(dsn) == []


def test_a_reason_is_written_down_and_the_command_runs(pgops: Run, dsn: str) -> None:
    done = pgops("kv", "set", "k", "v", "--profile", "prod", "--unlock", "ticket 4711")
    assert done.code == 0, done.err
    assert "guarded, unlocked" in done.err
    assert trail(dsn) == [("unlock", "prod", "ticket 4711")]
    assert pgops("--unlock", "again", "--profile", "prod", "cache", "purge", "--yes").code == 0
    assert [row[0] for row in trail(dsn)] == ["unlock", "unlock", "purge_expired"]
    seen = pgops("audit", "list", "--profile", "prod")
    assert seen.code == 0
    assert "prod: ticket 4711" in seen.out
    assert "guarded, read-only" in seen.err
    document = pgops("audit", "list", "--profile", "prod", "--json").document
    assert document["target"]["read_only"] is True
    assert document["items"][-1]["detail"]["reason"] == "ticket 4711"


def test_workers_that_may_not_work_are_not_started_over_and_over(
    pgops: Run, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "handlers_here.py").write_text("from pgops import Registry\nregistry = Registry()\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert pgops("queue", "enqueue", "q", "{}", "--profile", "plain").code == 0
    for processes in ("1", "2"):
        done = pgops(
            "queue", "work", "handlers_here:registry", "-q", "q", "--processes", processes, "--profile", "prod"
        )
        assert done.code == 4, done.err
        assert "--unlock" in done.err


def test_what_makes_the_trail_stands_in_it_too(pgops: Run, empty_dsn: str) -> None:
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "pgops" / "config.toml"
    config.write_text(CONFIG.replace("{dsn}", empty_dsn.replace("\\", "\\\\")))
    done = pgops("migrate", "--profile", "prod", "--unlock", "ticket 4711")
    assert done.code == 0, done.err
    assert trail(empty_dsn) == [("unlock", "prod", "ticket 4711")]
    assert pgops("migrate", "--profile", "prod", "--unlock", "ticket 4712").code == 0
    assert len(trail(empty_dsn)) == 2


def test_a_reason_holds_no_password_and_what_is_no_text_unlocks_nothing(pgops: Run, dsn: str) -> None:
    assert (
        pgops("kv", "set", "k", "v", "--profile", "prod", "--unlock", "as postgresql://me:s3cret@h/db says").code == 0
    )
    assert trail(dsn) == [("unlock", "prod", "as postgresql://me:***@h/db says")]
    for reason in ("a\udcffb", "a\0b"):
        done = pgops("kv", "set", "k", "v", "--profile", "prod", "--unlock", reason)
        assert done.code == 2, done.err
    assert len(trail(dsn)) == 1


def test_the_document_says_whether_data_could_be_changed(pgops: Run, dsn: str) -> None:
    done = pgops("kv", "set", "k", "v", "--profile", "prod", "--unlock", "ticket 4711", "--json")
    assert done.document["target"]["read_only"] is False


def test_a_dry_run_unlocks_nothing(pgops: Run, dsn: str) -> None:
    for reason in ((), ("--unlock", "only looking")):
        done = pgops("cache", "purge", "--dry-run", "--profile", "prod", *reason)
        assert done.code == 0, done.err
    assert trail(dsn) == []


@pytest.mark.parametrize("line", [("bench", "kv", "--jobs", "1"), ("demo", "--headless", "--seconds", "1")])
def test_what_makes_a_database_of_its_own_heeds_read_only(line: tuple[str, ...], pgops: Run, dsn: str) -> None:
    done = pgops(*line, "--dsn", dsn, "--read-only", "--yes")
    assert done.code == 4, done.out
    assert "writes, and this session is read-only" in done.err


def test_a_document_names_the_server_that_was_measured(pgops: Run, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgops.bench.run_bench", lambda *_: MEASURED)
    for profile in ("prod", "plain"):
        done = pgops("bench", "kv", "--profile", profile, "--json")
        assert done.code == 0, done.err
        assert done.document["target"]["display"] == "embedded server"


def test_where_nothing_is_guarded_a_reason_changes_nothing(pgops: Run, dsn: str) -> None:
    assert pgops("kv", "set", "k", "v", "--profile", "plain", "--unlock", "why not").code == 0
    assert trail(dsn) == []


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--profile", "prod", "--unlock", " "), 2, "wants a reason"),
        (("--profile", "fixed", "--unlock", "please"), 4, "profile fixed is read-only"),
        (("--read-only", "--unlock", "please"), 4, "cannot be unlocked"),
    ],
)
def test_what_no_reason_unlocks_says_so(options: tuple[str, ...], code: int, words: str, pgops: Run, dsn: str) -> None:
    done = pgops("kv", "set", "k", "v", *options)
    assert done.code == code
    assert words in done.err
    assert trail(dsn) == []
