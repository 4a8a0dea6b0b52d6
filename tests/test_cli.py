"""Every command of the tree: it says what it does, its example runs, and its JSON keeps the contract."""

import asyncio
import json
import os
import shlex
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import typer
from cli_call import Run, caller, spawned
from psycopg.conninfo import make_conninfo

from pgops.cli.app import app
from pgops.config import Target
from pgops.server import Server
from pgops.services.client import AsyncPgops
from pgops.services.embedders import HashingEmbedder
from pgops.services.models import FailedJob, VectorRow

JOBS = """
from pgops import Registry

registry = Registry()

@registry.job("default")
async def default(job):
    pass
"""
RUNS_UNTIL_STOPPED = {"queue work", "outbox relay"}
NEEDS_THE_EMBEDDED_SERVER = {"server start", "server stop", "server status", "server url", "demo"}
SAYS_HOW_IT_IS = {"check"}
NEEDS_A_SESSION = {"sessions cancel", "sessions terminate"}
NEEDS_AN_INDEX = {"vector recall", "vector rebuild"}


@dataclass(frozen=True, slots=True)
class Example:
    path: str
    line: str

    @property
    def argv(self) -> list[str]:
        return shlex.split(self.line.rpartition(" | ")[2])[1:]

    @property
    def stdin(self) -> str:
        said, pipe, _ = self.line.rpartition(" | ")
        return shlex.split(said)[1] + "\n" if pipe else ""


def leaves(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(path), command
    else:
        for name, each in below.items():
            yield from leaves(each, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))
EXAMPLES = [
    Example(path, (getattr(command, "epilog", None) or "").removeprefix("Example: "))
    for path, command in COMMANDS.items()
]
APART = RUNS_UNTIL_STOPPED | NEEDS_THE_EMBEDDED_SERVER | NEEDS_A_SESSION | SAYS_HOW_IT_IS
QUICK = [example for example in EXAMPLES if example.path not in APART]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process."""
    return caller(monkeypatch, capsys)


@pytest.fixture
def pgops(dsn: str, command: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one command line in this process, against a fresh database."""
    monkeypatch.setenv("PGOPS_DSN", dsn)
    return command


@pytest.fixture(scope="module")
def shared_dsn(server_dsn: str, template: str) -> Iterator[str]:
    """One database for all that can share it: to make one each would take longer than the tests do."""
    name = f"pgops_examples_{os.getpid()}"
    with psycopg.connect(server_dsn, autocommit=True) as conn:
        conn.execute(f'create database "{name}" template "{template}" strategy file_copy')
        yield make_conninfo(server_dsn, dbname=name)
        conn.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def shared(shared_dsn: str, command: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one command line in this process, against the database that the quick tests share."""
    monkeypatch.setenv("PGOPS_DSN", shared_dsn)
    return command


def seed(dsn: str, path: str = "") -> None:
    """What the examples speak of, whatever the one before has left: jobs in `email` of which 1 waits and 2 is dead,
    a greeting, the subscription billing, and docs, with an index for the commands that need one."""

    async def fill() -> None:
        async with AsyncPgops.open(dsn) as pg:
            if not await pg.queue.queues():
                await pg.queue.enqueue("email", {"to": "a@example.org"})
                await pg.queue.enqueue("email", {"to": "b@example.org"}, max_attempts=1, priority=1)
                claim = await pg.queue.claim("email", owner=1, token=7, limit=1)
                await pg.queue.fail("email", 7, [FailedJob(claim.jobs[0].id, "it broke")])
            await pg.cache.set("greeting", b"hello")
            await pg.events.subscribe("billing", topics=["orders"], start="beginning")
            await _seed_vectors(pg, path)

    asyncio.run(fill())


async def _seed_vectors(pg: AsyncPgops, path: str) -> None:
    known = {collection.name: collection for collection in await pg.vectors.list()}
    for stale in {"vector create": ("notes",), "vector build": ("docs",)}.get(path, ()):
        if known.pop(stale, None):
            await pg.vectors.drop(stale)
    if "docs" not in known:
        await pg.vectors.create("docs", 16)
        texts = [f"text number {number}" for number in range(250)]
        vectors = HashingEmbedder(16).embed(texts)
        await pg.vectors.add_many(
            "docs", [VectorRow(text, vector) for text, vector in zip(texts, vectors, strict=True)]
        )
    if path in NEEDS_AN_INDEX and (await pg.vectors.stats("docs")).index is None:
        await pg.vectors.build_index("docs", lists=4)


def check_envelope(document: dict[str, object]) -> None:
    assert document["schema_version"] == 1
    assert isinstance(document["pgops_version"], str)
    assert str(document["taken_at"]).endswith("Z")
    target = document["target"]
    assert isinstance(target, dict) and set(target) == {"display", "source"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.path)
def test_every_command_has_help_and_an_example_of_itself(example: Example) -> None:
    command = COMMANDS[example.path]
    assert len(getattr(command, "help", None) or "") > 10
    assert example.argv[: len(example.path.split())] == example.path.split()


@pytest.mark.parametrize("example", QUICK, ids=lambda example: example.path)
def test_the_example_runs_and_its_json_keeps_the_contract(example: Example, shared: Run, shared_dsn: str) -> None:
    seed(shared_dsn, example.path)
    argv = example.argv if "--json" in example.argv else [*example.argv, "--json"]
    done = shared(*argv, stdin=example.stdin)
    assert done.code == 0, done.err
    check_envelope(done.document)
    if "items" in done.document:
        assert "next" in done.document
    if "action" in done.document:
        assert {"matched", "changed", "audit_id", "dry_run"} <= set(done.document)
    assert done.err.startswith("target: ")


@pytest.mark.parametrize("example", QUICK, ids=lambda example: example.path)
def test_the_example_also_speaks_to_people(example: Example, shared: Run, shared_dsn: str) -> None:
    seed(shared_dsn, example.path)
    done = shared(*[word for word in example.argv if word != "--json"], stdin=example.stdin)
    assert done.code == 0, done.err
    assert done.out
    assert not done.out.startswith("{")


def test_the_target_may_be_named_before_and_after_the_command(
    shared_dsn: str, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPS_DSN", "host=127.0.0.1 port=1")
    for argv in (["--dsn", shared_dsn, "queue", "list", "--json"], ["queue", "list", "--json", "--dsn", shared_dsn]):
        done = command(*argv)
        assert done.code == 0, done.err
        assert done.document["target"]["source"] == "--dsn"


def test_without_a_command_and_without_a_terminal_one_status_is_printed(shared: Run) -> None:
    done = shared()
    assert done.code == 0, done.err
    assert "sessions" in done.out


def test_without_a_command_a_terminal_gets_the_dashboard(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Target] = []

    def dashboard(target: Target) -> int:
        opened.append(target)
        return 7

    monkeypatch.setattr("pgops.tui.run_dashboard", dashboard)
    monkeypatch.setattr("pgops.cli.app.at_terminal", lambda *streams: True)
    assert command("--dsn", "host=h").code == 7
    assert opened == [Target("host=h", "--dsn")]


def test_a_group_alone_shows_its_help_and_is_a_usage_error(command: Run) -> None:
    done = command("queue")
    assert done.code == 2
    assert "enqueue" in done.err
    assert done.out == ""


def test_a_database_without_schema_has_a_status_too(command: Run, empty_dsn: str) -> None:
    done = command("status", "--json", "--dsn", empty_dsn)
    assert done.code == 0, done.err
    assert done.document["queues"]["unavailable"]["remedy"] == "run: pgops migrate"
    assert isinstance(done.document["sessions"]["total"], int)
    assert "unavailable" in command("status", "--dsn", empty_dsn).out


def test_a_demo_writes_into_a_database_that_was_named_only_after_a_yes(command: Run) -> None:
    done = command("demo", "--headless", "--seconds", "1", "--dsn", "host=h")
    assert done.code == 4
    assert "--yes" in done.err


def test_the_version_is_printed(command: Run) -> None:
    assert command("--version").out.startswith("pgops ")


def test_migrate_plans_applies_and_verifies(empty_dsn: str, pgops: Run) -> None:
    plan = pgops("migrate", "--plan", "--json", "--dsn", empty_dsn)
    assert plan.document["changed"] == 0
    assert plan.document["matched"] == len(plan.document["items"])
    assert pgops("migrate", "--verify", "--dsn", empty_dsn).code == 1
    applied = pgops("migrate", "--json", "--dsn", empty_dsn)
    assert applied.document["changed"] == plan.document["matched"]
    assert pgops("migrate", "--verify", "--dsn", empty_dsn).code == 0
    assert pgops("migrate", "--json", "--dsn", empty_dsn).document["changed"] == 0


def test_a_requeue_shows_first_then_does_it(pgops: Run, dsn: str) -> None:
    seed(dsn)
    look = pgops("queue", "requeue", "email", "--dead", "--dry-run", "--json")
    assert (look.document["matched"], look.document["changed"], look.document["dry_run"]) == (1, 0, True)
    assert look.document["sql"]
    refused = pgops("queue", "requeue", "email", "--dead")
    assert refused.code == 4
    assert "--yes" in refused.err
    assert len(pgops("queue", "jobs", "email", "--state", "dead", "--json").document["items"]) == 1
    other = pgops("queue", "requeue", "email", "--dead", "1", "--yes", "--json")
    assert other.document["changed"] == 0, "job 1 was named, and is not dead"
    done = pgops("queue", "requeue", "email", "--dead", "--yes", "--json")
    assert (done.document["matched"], done.document["changed"], done.document["dry_run"]) == (1, 1, False)
    assert isinstance(done.document["audit_id"], int)
    assert pgops("queue", "jobs", "email", "--state", "dead", "--json").document["items"] == []


def test_a_drop_needs_a_yes(shared: Run) -> None:
    shared("vector", "create", "gone", "16")
    assert shared("vector", "add", "gone", stdin='{"content": "a"}\n{"content": "b"}\n').code == 0
    assert shared("vector", "drop", "gone").code == 4
    assert shared("vector", "drop", "gone", "--dry-run", "--json").document["changed"] == 0
    assert shared("vector", "drop", "gone", "--yes", "--json").document["changed"] == 2
    assert shared("vector", "drop", "gone", "--yes").code == 5


def test_many_jobs_come_from_stdin_all_or_none(shared: Run) -> None:
    bad = shared("queue", "enqueue", "other", "--many", stdin='{"a": 1}\n{"b" 2}\n')
    assert bad.code == 2
    assert "line 2" in bad.err
    assert "column 6" in bad.err
    good = shared("queue", "enqueue", "other", "--many", "--json", stdin='{"a": 1}\n\n{"b": 2}\n')
    assert good.document["changed"] == 2
    found = shared("queue", "jobs", "other", "--json").document["items"]
    assert [job["payload"] for job in found] == [{"a": 1}, {"b": 2}]


def test_a_payload_may_come_from_stdin(shared: Run) -> None:
    job = shared("queue", "enqueue", "other", "-", "--json", stdin='{"from": "stdin"}').document["id"]
    shown = shared("queue", "show", "other", str(job), "--json").document["job"]
    assert shown["payload"] == {"from": "stdin"}


def test_a_value_comes_back_as_it_was(shared: Run) -> None:
    assert shared("cache", "set", "k", "grüße", "--ttl", "60").code == 0
    assert shared("cache", "get", "k").out == "grüße"
    assert shared("cache", "get", "k", "--json").document["value"] == "grüße"
    assert shared("cache", "get", "k", "--namespace", "other").code == 5
    assert shared("cache", "delete", "k", "none", "--json").document["changed"] == 1


def test_the_best_match_of_a_search_comes_first(shared: Run, shared_dsn: str) -> None:
    seed(shared_dsn)
    found = shared("vector", "search", "docs", "text number 7", "--exact", "--limit", "3", "--json").document
    assert found["items"][0]["content"] == "text number 7"
    assert found["items"][0]["score"] > found["items"][1]["score"]
    vector = json.dumps(HashingEmbedder(16).embed(["text number 7"])[0])
    same = shared("vector", "search", "docs", vector, "--exact", "--limit", "3", "--json").document
    assert [match["id"] for match in same["items"]] == [match["id"] for match in found["items"]]


def test_a_worker_does_the_jobs_and_stops_when_it_is_told_to(dsn: str, tmp_path: Path, pgops: Run) -> None:
    (tmp_path / "myjobs.py").write_text(JOBS)
    example = next(example for example in EXAMPLES if example.path == "queue work")
    for _ in range(3):
        pgops("queue", "enqueue", "email", "{}")
    with spawned([*example.argv, "--json"], dsn, cwd=tmp_path) as process:
        deadline = time.monotonic() + 10
        while pgops("queue", "jobs", "email", "--json").document["items"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=15)
    assert process.returncode == 0, err
    document = json.loads(out)
    check_envelope(document)
    assert document["completed"] == 3


def test_a_relay_writes_events_to_stdout_and_stops_when_it_is_told_to(dsn: str, pgops: Run) -> None:
    pgops("outbox", "subscribe", "billing", "--from", "beginning")
    pgops("outbox", "append", "orders", '{"id": 7}')
    example = next(example for example in EXAMPLES if example.path == "outbox relay")
    with spawned(example.argv, dsn) as process:
        assert process.stdout is not None
        event = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=15)
    assert event["data"] == {"id": 7}
    assert (process.returncode, out) == (0, ""), err
    assert "delivered 1" in err
    assert pgops("outbox", "list", "--json").document["items"][0]["lag_events"] == 0


@pytest.mark.slow
def test_the_embedded_server_starts_tells_of_itself_and_stops(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPS_HOME", str(tmp_path / "home"))
    try:
        for path, running in (("start", True), ("status", True), ("url", None), ("stop", False), ("status", False)):
            example = next(example for example in EXAMPLES if example.path == f"server {path}")
            done = command(*[word for word in example.argv if word != "--json"], "--json")
            assert done.code == 0, done.err
            check_envelope(done.document)
            assert done.document.get("running") == running
        assert command("server", "url").out.startswith("postgresql://")
    finally:
        Server().destroy(force=True)


@pytest.mark.slow
def test_the_demo_ends_with_one_status_of_what_it_did(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPS_HOME", str(tmp_path / "home"))
    try:
        done = command(*next(example for example in EXAMPLES if example.path == "demo").argv)
        assert done.code == 0, done.err
        check_envelope(done.document)
        assert done.document["queues"]
        assert done.document["target"] == {"display": "embedded server", "source": "embedded"}
    finally:
        Server().destroy(force=True)
