"""Every command of the tree: it says what it does, its example runs, and its JSON keeps the contract."""

import asyncio
import json
import shlex
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import this_server
import typer
from cli_call import Run, caller, spawned
from pgmq import get_embedded_install_sql

from pgops.cli.app import tree
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
RUNS_UNTIL_STOPPED = {"queue work", "outbox relay", "pubsub listen"}
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


COMMANDS = dict(leaves(typer.main.get_command(tree())))
EXAMPLES = [
    Example(path, (getattr(command, "epilog", None) or "").removeprefix("Example: "))
    for path, command in COMMANDS.items()
]
NEEDS_THE_EMBEDDED_SERVER = {"demo", "bench"} | {path for path in COMMANDS if path.startswith("server ")}
APART = RUNS_UNTIL_STOPPED | NEEDS_THE_EMBEDDED_SERVER | NEEDS_A_SESSION | SAYS_HOW_IT_IS
QUICK = [
    pytest.param(example, id=example.path, marks=[pytest.mark.vectors] if example.path.startswith("vector ") else [])
    for example in EXAMPLES
    if example.path not in APART
]


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
    with this_server.database(server_dsn, template) as dsn:
        yield dsn


@pytest.fixture
def shared(shared_dsn: str, command: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one command line in this process, against the database that the quick tests share."""
    monkeypatch.setenv("PGOPS_DSN", shared_dsn)
    return command


# Job 1 is there again after it was cancelled.
AGAIN = b"""insert into pgops.job_available (queue, seq, payload) select 'email', 1, '{"to": "a@example.org"}'
where not exists (select from pgops.job_queue where queue = 'email' and id = 1)"""

# Act 1 has resumed a queue, which can be undone.
ACTED = (
    b"insert into pgops.audit (action, target, status) select 'pause', 'email', 'done' "
    b"where not exists (select from pgops.audit where id = 1)",
    b"update pgops.audit set action = 'resume', status = 'done', matched = 1, changed = 1, undone_by = null, "
    b"undo_until = statement_timestamp() + interval '7 days' where id = 1",
    b"delete from pgops.audit_undo where audit_id = 1",
    b"insert into pgops.audit_undo select 1, 1, 'queues', to_jsonb(q) || '{\"paused\": true}', to_jsonb(q) "
    b"from pgops.queues q where queue = 'email'",
)
HALF_BUILT = (
    b"create index if not exists half_built on pgops.job_dead (kind)",
    b"update pg_index set indisvalid = false where indexrelid = 'pgops.half_built'::regclass",
)


def seed(dsn: str, path: str = "") -> None:
    """What the examples speak of, whatever the one before has left: jobs in `email` of which 1 waits and 2 is dead,
    nightly that recurs, a greeting, user:1 but no leader and no lock, a limit that was hit, the subscription billing,
    the documents e1 and e2 of events, and docs, with an index for the commands that need one."""

    asyncio.run(planted(dsn, path))
    if path.startswith("queue pgmq"):
        asyncio.run(planted_in_pgmq(dsn, path))


async def planted(dsn: str, path: str = "") -> None:
    """What `seed` makes."""
    async with AsyncPgops.open(dsn) as pg:
        if not await pg.queue.queues():
            await pg.queue.enqueue("email", {"to": "a@example.org"})
            await pg.queue.enqueue("email", {"to": "b@example.org"}, max_attempts=1, priority=1)
            claim = await pg.queue.claim("email", owner=1, token=7, limit=1)
            await pg.queue.fail("email", 7, [FailedJob(claim.jobs[0].id, "it broke")])
        await pg.db.execute(AGAIN)
        await pg.queue.cron.add("nightly", "0 3 * * *", "email", kind="report")
        await pg.cache.set("greeting", b"hello")
        await pg.kv.set("user:1", "Ann", ttl_s=600)
        await pg.kv.delete("leader", "lock:report")
        await pg.limits.reset("login:ann")
        await pg.limits.hit("login:ann", 1_000, 600)
        await pg.events.subscribe("billing", topics=["orders"], start="beginning")
        for statement in ACTED if path.startswith(("audit ", "queue pgmq")) else ():
            await pg.db.execute(statement)
        for statement in HALF_BUILT if path == "index drop-invalid" else ():
            await pg.db.execute(statement)
        await _seed_documents(pg, path)
        if this_server.has_pgvector() or path.startswith("vector "):
            await _seed_vectors(pg, path)


async def _seed_documents(pg: AsyncPgops, path: str) -> None:
    known = {collection.name for collection in await pg.documents.list()}
    if path == "doc create" and "orders" in known:
        await pg.documents.drop("orders")
    for name in {"events", "notes"} - known:
        await pg.documents.create(name)
    for id, amount in (("e1", 80), ("e2", 20)):
        await pg.documents.put("events", {"type": "purchase", "amount": amount}, id)
    for index in await pg.documents.list_indexes("events") if path == "doc index" else ():
        await pg.documents.drop_index("events", index.name)


async def _seed_vectors(pg: AsyncPgops, path: str) -> None:
    known = {collection.name: collection for collection in await pg.vectors.list()}
    for stale in {"vector create": ("notes",), "vector build": ("docs",)}.get(path, ()):
        if known.pop(stale, None):
            await pg.vectors.drop(stale)
    if "docs" not in known:
        await pg.vectors.create("docs", 16, embedder="hashing")
        texts = [f"text number {number}" for number in range(250)]
        vectors = HashingEmbedder(16).embed(texts)
        await pg.vectors.add_many(
            "docs", [VectorRow(text, vector) for text, vector in zip(texts, vectors, strict=True)]
        )
    if path in NEEDS_AN_INDEX and (await pg.vectors.stats("docs")).index is None:
        await pg.vectors.build_index("docs", lists=4)


async def planted_in_pgmq(dsn: str, path: str) -> None:
    """A queue orders of pgmq, new each time: message 1 was read once, 2 six times, and a third died of it."""
    async with AsyncPgops.open(dsn) as pg:
        if await pg.db.one(b"select from pg_namespace where nspname = 'pgmq'") is None:
            async with pg.db.lend() as conn:
                await conn.execute(get_embedded_install_sql().encode())
        await pg.db.all(b"select pgmq.drop_queue(queue_name) from pgmq.meta")
        if path != "queue pgmq create":
            await pg.pgmq.create("orders")
            await pg.pgmq.send_many("orders", [{"order": n} for n in (1, 2, 3)])
            *_, last = await pg.pgmq.read("orders", limit=3, vt_s=0)
            await pg.pgmq.dead_letter("orders", last.msg_id, last.read_ct)
            await pg.db.execute(b"update pgmq.q_orders set read_ct = 6 where msg_id = 2")


def check_envelope(document: dict[str, object]) -> None:
    assert document["schema_version"] == 1
    assert isinstance(document["pgops_version"], str)
    assert str(document["taken_at"]).endswith("Z")
    target = document["target"]
    assert isinstance(target, dict) and set(target) == {"display", "source", "read_only"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.path)
def test_every_command_has_help_and_an_example_of_itself(example: Example) -> None:
    command = COMMANDS[example.path]
    assert len(getattr(command, "help", None) or "") > 10
    assert example.argv[: len(example.path.split())] == example.path.split()


@pytest.mark.parametrize("example", QUICK)
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


@pytest.mark.parametrize("example", QUICK)
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
    opened: list[tuple[Target, bool]] = []

    def dashboard(target: Target, *, read_only: bool) -> int:
        opened.append((target, read_only))
        return 7

    monkeypatch.setattr("pgops.tui.run_dashboard", dashboard)
    monkeypatch.setattr("pgops.cli.app.at_terminal", lambda *streams: True)
    assert command("--dsn", "host=h").code == 7
    assert command("--dsn", "host=h", "--read-only").code == 7
    assert opened == [(Target("host=h", "--dsn"), False), (Target("host=h", "--dsn", True), True)]


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
    waiting = [item for item in plan.document["items"] if item["state"] == "waiting"]
    assert [item["name"] for item in waiting] == ([] if this_server.has_pgvector() else ["0007_vectors"])
    assert plan.document["changed"] == 0
    assert plan.document["matched"] == len(plan.document["items"]) - len(waiting)
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
    none = pgops("queue", "requeue", "email", "--dead", "--error", "no such error", "--yes", "--json")
    assert none.document["changed"] == 0, "what matches nothing is not everything"
    for wrong in (["--stuck", "--error", "x"], ["--dead", "1", "--kind", "k"], ["--dead", "--payload", "{"]):
        assert pgops("queue", "requeue", "email", *wrong, "--yes").code == 2
    by = ("--kind", "default", "--error", "", "--payload", "{}")
    assert pgops("queue", "requeue", "email", "--dead", *by, "--dry-run", "--json").document["matched"] == 1
    assert pgops("queue", "discard", "email", "--word", "nowhere", "--yes", "--json").document["changed"] == 0
    done = pgops("queue", "requeue", "email", "--dead", "--yes", "--json")
    assert (done.document["matched"], done.document["changed"], done.document["dry_run"]) == (1, 1, False)
    assert isinstance(done.document["audit_id"], int)
    assert pgops("queue", "jobs", "email", "--state", "dead", "--json").document["items"] == []


@pytest.mark.vectors
def test_a_drop_needs_a_yes(shared: Run) -> None:
    shared("vector", "create", "gone", "16", "--embedder", "hashing")
    assert shared("vector", "add", "gone", stdin='{"content": "a"}\n{"content": "b"}\n').code == 0
    assert shared("vector", "drop", "gone").code == 4
    assert shared("vector", "drop", "gone", "--dry-run", "--json").document["changed"] == 0
    assert shared("vector", "drop", "gone", "--yes", "--json").document["changed"] == 2
    assert shared("vector", "drop", "gone", "--yes").code == 5


def test_dropping_documents_shows_first_needs_a_yes_and_leaves_a_trail(shared: Run) -> None:
    shared("doc", "create", "gone")
    lines = "".join(f'{{"id": "d{n}", "data": {{"n": {n}}}}}\n' for n in range(3))
    assert shared("doc", "put", "gone", "--many", "--json", stdin=lines).document["changed"] == 3
    made = shared("doc", "index", "gone", "n", "--json").document["index"]["name"]
    assert shared("doc", "index", "gone", "--drop", made).code == 4
    assert shared("doc", "index", "gone", "--drop", made, "--dry-run", "--json").document["changed"] == 0
    dropped = shared("doc", "index", "gone", "--drop", made, "--yes", "--json")
    assert dropped.code == 0, dropped.err
    refused = shared("doc", "drop", "gone")
    assert refused.code == 4
    assert "drop table" in refused.err
    assert "d2" in refused.err
    look = shared("doc", "drop", "gone", "--dry-run", "--json").document
    assert (look["matched"], look["changed"], look["dry_run"]) == (3, 0, True)
    done = shared("doc", "drop", "gone", "--yes", "--json").document
    assert (done["matched"], done["changed"]) == (3, 3)
    trail = {act["id"]: act for act in shared("audit", "list", "--json").document["items"]}
    assert (trail[done["audit_id"]]["action"], trail[done["audit_id"]]["target"]) == ("drop_documents", "gone")
    assert trail[dropped.document["audit_id"]]["status"] == "done"
    assert shared("doc", "drop", "gone", "--yes").code == 5


def test_documents_are_changed_found_and_paged(shared: Run) -> None:
    shared("doc", "create", "people")
    for n, name in enumerate(("ann", "bob", "cid")):
        assert shared("doc", "put", "people", json.dumps({"name": name, "n": n}), "--id", name).code == 0
    again = '{"name": "ann", "n": 7}'
    assert shared("doc", "put", "people", "-", "--id", "ann", "--version", "1", stdin=again).code == 0
    stale = shared("doc", "put", "people", "{}", "--id", "ann", "--version", "1")
    assert stale.code == 5
    assert "has version 2, not 1" in stale.err
    assert shared("doc", "patch", "people", "bob", '{"n": null, "x": {"y": 1}}', "--json").document["version"] == 2
    bob = shared("doc", "get", "people", "bob", "--json").document["document"]
    assert bob["data"] == {"name": "bob", "x": {"y": 1}}
    page = shared("doc", "find", "people", "--sort", "-n", "--limit", "1", "--json").document
    assert [one["id"] for one in page["items"]] == ["ann"]
    rest = shared("doc", "find", "people", "--sort", "-n", "--after", page["next"], "--json").document
    assert [one["id"] for one in rest["items"]] == ["cid", "bob"]
    both = shared("doc", "find", "people", "--contains", '{"x": {"y": 1}}', "--where", "name=bob", "--json").document
    assert [one["id"] for one in both["items"]] == ["bob"]
    assert shared("doc", "find", "people", "--where", "n>=2", "--count", "--json").document["count"] == 2
    assert shared("doc", "delete", "people", "cid", "--version", "9").code == 5
    assert shared("doc", "delete", "people", "cid").code == 0
    assert shared("doc", "delete", "people", "cid").code == 5
    assert {one["name"] for one in shared("status", "--json").document["documents"]} >= {"people"}


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


def test_a_value_is_touched_and_its_time_may_slide(shared: Run) -> None:
    assert shared("cache", "touch", "none", "--ttl", "60").code == 5
    assert shared("cache", "set", "s", "x", "--ttl", "60", "--sliding", "--jitter", "0.1").code == 0
    assert shared("cache", "touch", "s", "--json").document["action"] == "touch"
    assert shared("cache", "touch", "s", "--ttl", "600").out == "touched s\n"


def test_a_namespace_is_capped_shown_and_invalidated(pgops: Run) -> None:
    capped = pgops("cache", "cap", "pages", "--entries", "1000", "--bytes", "5000000", "--json").document
    assert (capped["action"], capped["max_entries"], capped["max_bytes"]) == ("cap", 1_000, 5_000_000)
    for key in ("a", "b"):
        assert pgops("cache", "set", key, "hello", "-n", "pages").code == 0
    assert pgops("cache", "get", "a", "-n", "pages").out == "hello"
    (pages,) = pgops("cache", "stats", "--json").document["namespaces"]
    assert pages == {
        "name": "pages", "hits": 1, "misses": 0, "hit_ratio": 1.0, "sets": 2, "expired": 0, "evicted": 0, "entries": 2,
        "bytes": 12, "max_entries": 1_000, "max_bytes": 5_000_000, "invalidated_at": None,
    }  # fmt: skip
    assert "1,000 entries, 4.8 MB" in pgops("cache", "stats").out
    look = pgops("cache", "invalidate", "pages", "--dry-run", "--json").document
    assert (look["matched"], look["dry_run"]) == (2, True)
    assert pgops("cache", "invalidate", "pages").code == 4, "not confirmed"
    assert pgops("cache", "get", "a", "-n", "pages").code == 0
    done = pgops("cache", "invalidate", "pages", "--yes", "--json").document
    assert (done["action"], done["changed"], done["audit_id"]) == ("invalidate", 2, 1)
    assert pgops("cache", "get", "a", "-n", "pages").code == 5
    status = pgops("status", "--json").document
    assert [one["name"] for one in status["cache_namespaces"]] == ["pages"]
    assert status["cache"]["expired_backlog"] == 2
    assert pgops("cache", "purge", "--yes", "--json").document["changed"] == 2
    assert pgops("cache", "cap", "pages", "--none").out == "pages may grow\n"
    assert pgops("cache", "stats", "--json").document["namespaces"][0]["max_entries"] is None


def test_a_lost_race_a_missing_key_and_a_denial_are_a_well_formed_no(shared: Run) -> None:
    first = shared("kv", "set", "doc", "one", "--json").document["version"]
    second = shared("kv", "cas", "doc", str(first), "two", "--json").document["version"]
    lost = shared("kv", "cas", "doc", str(first), "three", "--json")
    assert (lost.code, lost.out, lost.error["kind"]) == (5, "", "ConflictError")
    assert str(second) in lost.error["message"]
    assert shared("kv", "get", "doc").out == "two"
    assert shared("kv", "add", "doc", "x").code == 5
    for argv in (["get", "none"], ["ttl", "none"], ["get", "doc", "--ephemeral"]):
        assert shared("kv", *argv).code == 5
    hit = ("limit", "hit", "once", "--limit", "1", "--per", "3600", "--json")
    assert shared(*hit).document["allowed"] is True
    denied = shared(*hit)
    assert (denied.code, denied.document["allowed"]) == (5, False), "a denial is an answer, with its time to wait"
    assert 3590 < denied.document["retry_after_s"] <= 3600
    assert shared("limit", "peek", *hit[2:]).code == 5
    assert shared("limit", "reset", "once").code == 0
    assert shared("limit", "reset", "once").code == 5


def test_a_scan_takes_a_literal_star_and_goes_on_where_it_stopped(shared: Run) -> None:
    for key in ("p*1", "p:1", "p:2", "p:3"):
        shared("kv", "set", key, "\x1b[31mred", "--ephemeral")
    found = shared("kv", "scan", "--glob", r"p\**", "--ephemeral", "--json").document
    assert [item["key"] for item in found["items"]] == ["p*1"]
    page = shared("kv", "scan", "--prefix", "p:", "--limit", "2", "--ephemeral", "--json").document
    rest = shared("kv", "scan", "--prefix", "p:", "--after", page["next"], "--ephemeral", "--json").document
    assert [item["key"] for item in rest["items"]] == ["p:3"]
    assert "\x1b" not in shared("kv", "scan", "--prefix", "p:", "--ephemeral").out


def test_a_key_gets_an_end_and_loses_it(shared: Run) -> None:
    shared("kv", "set", "t", "x")
    assert shared("kv", "ttl", "t", "--json").document["ttl_s"] == -1
    assert 59 < shared("kv", "ttl", "t", "--set", "60", "--json").document["ttl_s"] <= 60
    assert shared("kv", "ttl", "t", "--persist", "--json").document["ttl_s"] == -1
    assert shared("kv", "ttl", "t", "--persist", "--set", "60").code == 2


@pytest.mark.vectors
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
        assert done.document["target"] == {"display": "embedded server", "source": "embedded", "read_only": False}
    finally:
        Server().destroy(force=True)


@pytest.mark.slow
def test_a_listener_prints_what_comes_and_stops_when_it_is_told_to(dsn: str, pgops: Run) -> None:
    with spawned(["pubsub", "listen", "orders", "mail", "--json"], dsn) as process:
        assert process.stderr is not None and process.stdout is not None
        while "listening" not in process.stderr.readline():
            pass
        assert {one["channel"] for one in pgops("pubsub", "channels", "--json").document["items"]} == {"orders", "mail"}
        listening = pgops("status", "--json").document["pubsub"]
        assert (listening["listeners"], listening["channels"]) == (1, 2)
        sent = pgops("pubsub", "publish", "orders", '{"id": 7}', "--json").document
        pgops("pubsub", "publish", "mail", "a\nb", "--text")
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
    for line in lines:
        check_envelope(line)
    assert [line["payload"] for line in lines] == [{"id": 7}, "a\nb"]
    assert lines[0]["id"] == sent["id"]


@pytest.mark.slow
def test_ctrl_c_ends_a_listener_as_interrupted(dsn: str) -> None:
    with spawned(["pubsub", "listen", "orders"], dsn) as process:
        assert process.stderr is not None
        while "listening" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=15) == 130


def test_a_durable_listener_counts_and_says_when_nothing_came(pgops: Run) -> None:
    listen = ("pubsub", "listen", "orders", "--durable", "billing", "--timeout", "0.4")
    assert pgops(*listen).code == 0, "nothing was asked for, nothing came"
    pgops("pubsub", "publish", "orders", '"one"', "--durable")
    pgops("pubsub", "publish", "orders", "one\ntwo", "--text", "--durable")
    done = pgops(*listen, "--count", "2")
    assert done.code == 0, done.err
    assert done.out == "orders\tone\norders\tone\\ntwo\n"
    again = pgops(*listen, "--count", "1")
    assert again.code == 5
    assert again.out == ""


@pytest.mark.parametrize(
    "argv",
    [
        ("publish", "x" * 100, "1"),
        ("publish", "", "1"),
        ("publish", "orders", "{nonsense"),
        ("listen", "x" * 100),
        ("listen", "orders", "--timeout", "0"),
    ],
)
def test_bad_pubsub_input_is_a_usage_error(shared: Run, argv: tuple[str, ...]) -> None:
    done = shared("pubsub", *argv)
    assert done.code == 2
    assert "error: " in done.err
    assert done.out == ""


def test_a_listener_through_a_pooler_is_refused_with_the_remedy(pooled_dsn: str, command: Run) -> None:
    done = command("pubsub", "listen", "orders", "--dsn", pooled_dsn, "--json")
    assert done.code == 4
    assert "direct DSN" in done.error["hint"]
