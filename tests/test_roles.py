"""Least privilege: what a plain role sees and may do, that it is told what it lacks, and what `pgops grants` gives."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import psycopg
import pytest
import this_server
from cli_call import Done, Run, caller
from dashboard_story import SMALL, screen, until
from psycopg import sql
from psycopg.conninfo import make_conninfo
from status_document import check as check_status
from test_cli import COMMANDS, EXAMPLES, QUICK, Example, check_envelope, planted, seed

from pgops.config import Target
from pgops.database import AsyncPool
from pgops.errors import RefusedError, SchemaError, UsageError
from pgops.ops.act import actions, audit
from pgops.ops.act.actions import Action
from pgops.ops.collector import collect
from pgops.ops.observe.pgmq import ABSENT
from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.ops.tell.grants import grants
from pgops.runtime.maintenance import Maintenance
from pgops.services.client import AsyncPgops
from pgops.services.models import FailedJob, VectorRow
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource

SCHEMA, TABLES = "grant usage on schema pgops to {}", "grant select on all tables in schema pgops to {}"
MONITOR = "grant pg_monitor to {}"
ROLES: dict[str, Sequence[str]] = {
    "nothing": (),
    "pg_monitor": (MONITOR,),
    "the schema but no table": (MONITOR, SCHEMA),
    "all but pg_monitor": (SCHEMA, TABLES),
    "all of it": (MONITOR, SCHEMA, TABLES),
}
LOOKS = {
    "migrate", "grants", "status", "check", "metrics", "advise", "queue list", "queue jobs", "queue show",
    "queue failures", "limit stats",
    "queue history", "queue cron list", "queue cron next", "queue pgmq list", "queue pgmq metrics", "queue pgmq peek",
    "cache get", "cache stats", "limit peek", "kv get", "kv ttl", "kv scan", "doc list", "doc get", "doc find",
    "vector list", "vector search", "outbox list", "outbox parked", "outbox show", "outbox lag", "outbox events",
    "pubsub channels", "audit list", "audit ls", "audit show", "sessions list", "locks list", "outgrow",
}  # fmt: skip
ACTS = {
    "queue enqueue", "queue requeue", "queue cancel", "queue discard", "queue edit", "queue set", "queue pause",
    "queue resume", "queue work", "queue cron add", "queue cron remove", "queue cron pause",
    "queue cron resume", "queue cron run", "queue pgmq create", "queue pgmq send", "queue pgmq read", "queue pgmq ack",
    "queue pgmq archive", "queue pgmq extend", "queue pgmq dead", "queue pgmq redrive", "queue pgmq purge",
    "cache set", "cache cap", "cache invalidate", "cache touch", "cache delete", "cache purge", "limit hit",
    "limit reset", "limit purge", "kv set", "kv add", "kv delete", "kv incr", "kv cas", "kv purge",
    "doc create", "doc put", "doc patch", "doc delete", "doc index",
    "doc drop", "vector create", "vector add", "vector set-embedder", "vector recall", "vector build",
    "vector rebuild", "vector drop", "outbox append", "outbox subscribe", "outbox unsubscribe", "outbox relay",
    "outbox pause", "outbox resume", "outbox replay", "outbox park", "outbox unpark", "outbox discard", "outbox keep",
    "outbox purge", "outbox rebase",
    "pubsub publish", "pubsub probe", "sessions cancel", "sessions terminate", "audit undo", "table vacuum",
    "table tune", "table reset-stats", "index reindex", "index drop-invalid",
}  # fmt: skip
OF_NO_DATABASE = {
    "server start", "server stop", "server status", "server url", "server psql", "server reset", "demo",
    "bench", "pubsub listen",
}  # fmt: skip
OF_THE_OWNER = {
    "doc index", "doc drop", "vector build", "vector rebuild", "vector drop", "table vacuum", "index reindex",
    "index drop-invalid",
}  # fmt: skip
_numbers = count()


@contextmanager
def role(dsn: str, granted: Sequence[str] = (), name: str = "") -> Iterator[str]:
    """The DSN of a fresh role with these grants."""
    name = name or f"pgops_role_{this_server.run_id()}_{id(dsn)}_{next(_numbers)}"
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
        try:
            for grant in granted:
                conn.execute(sql.SQL(grant).format(sql.Identifier(name)))
            yield make_conninfo(dsn, user=name)
        finally:
            conn.execute(sql.SQL("drop owned by {}; drop role {}").format(*[sql.Identifier(name)] * 2))


def name_of(dsn: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["user"])


def run_as_owner(dsn: str, statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(statements.encode())


def missing(snapshot: Snapshot) -> dict[str, Unavailable]:
    """The parts that cannot be had, but for what no role could see on this server, or in this database."""
    parts = {name: getattr(snapshot, name) for name in Snapshot.__slots__}
    gone = {name: part for name, part in parts.items() if isinstance(part, Unavailable)}
    if not this_server.has_pgvector():
        gone.pop("vectors")
    return {name: part for name, part in gone.items() if part != ABSENT}


async def snapshot_of(dsn: str) -> Snapshot:
    async with AsyncPool.open(dsn) as db:
        return await collect(db)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


@pytest.fixture
def seeded(dsn: str) -> str:
    """A database with what the examples of the commands speak of."""
    seed(dsn, "queue pgmq")
    return dsn


QUICK_ROLES = ("nothing", "all of it")


@pytest.fixture(params=[pytest.param(one, marks=[] if one in QUICK_ROLES else pytest.mark.slow) for one in ROLES])
def plain(request: pytest.FixtureRequest, seeded: str, dsn: str) -> Iterator[str]:
    """The DSN of each kind of role, which came later than the data."""
    with role(dsn, ROLES[request.param]) as mine:
        yield mine


# --- looking -----------------------------------------------------------------------------------------------------


async def test_a_part_that_cannot_be_had_names_the_grant_that_brings_it(dsn: str, plain: str) -> None:
    for name, part in missing(await snapshot_of(plain)).items():
        assert part.reason, name
        assert part.remedy.startswith("grant "), name
        run_as_owner(dsn, part.remedy)
    assert missing(await snapshot_of(plain)) == {}


async def test_a_name_that_must_be_quoted_is_quoted_in_the_remedy(dsn: str) -> None:
    with role(dsn, name=f'Odd "{this_server.run_id()}" {id(dsn)}; drop') as mine:
        for part in missing(await snapshot_of(mine)).values():
            run_as_owner(dsn, part.remedy)
        assert missing(await snapshot_of(mine)) == {}


def test_every_command_either_looks_or_acts() -> None:
    assert set(COMMANDS) == LOOKS | ACTS | OF_NO_DATABASE
    assert not LOOKS & ACTS


def test_every_command_that_looks_answers_or_says_what_to_grant(dsn: str, plain: str, command: Run) -> None:
    granted = name_of(plain)
    with psycopg.connect(dsn) as conn:
        sees_all = "pg_monitor" in str(conn.execute(
            "select array_agg(r.rolname) from pg_auth_members m join pg_roles r on r.oid = m.roleid "
            "where pg_get_userbyid(m.member) = %s", [granted]).fetchone())  # fmt: skip
        reads, reads_pgmq = conn.execute(
            "select has_table_privilege(%(role)s, 'pgops.migrations', 'select'), "
            "has_schema_privilege(%(role)s, 'pgmq', 'usage')", {"role": granted}).fetchone() or ()  # fmt: skip
    for example in [one for one in EXAMPLES if one.path in LOOKS]:
        if example.path.startswith("vector ") and not this_server.has_pgvector():
            continue
        done = command(*example.argv, "--dsn", plain)
        assert "Traceback" not in done.err
        if example.path in ("status", "check", "grants", "metrics", "advise"):
            assert done.code in (0, 1, 3) and done.out, example.path
            if example.path == "status":
                check_status(done.document)
            if example.path == "advise":
                assert sees_all or "remedy: `grant pg_monitor to" in done.out
            continue
        may = {"sessions list": sees_all, "locks list": sees_all, "queue list": reads or reads_pgmq}
        if not may.get(example.path, reads_pgmq if example.path.startswith("queue pgmq ") else reads):
            check_refused(done, example.path)
        else:
            assert done.code == 0, f"{example.path}: {done.err}"


def check_refused(done: Done, path: str) -> None:
    assert done.code == 4, f"{path}: {done.out}{done.err}"
    assert done.out == "", path
    assert "grant" in done.err.partition("hint")[2], f"{path}: {done.err}"


ROOMS = {
    "2": ("queues", "RPX"), "3": ("", "BD"), "4": ("session_list", "CK"), "5": ("outbox", "D"), "6": ("kv", "P"),
    "7": ("documents", "D"), "8": ("xmin_holders", "K"), "1": ("", "RP"),
}  # fmt: skip


@pytest.mark.slow
async def test_every_room_says_what_to_grant_and_opens_once_it_is_granted(dsn: str, seeded: str) -> None:
    """One dashboard while a role that may only connect is given more and more. A room shows its own part, so each is
    opened without it and with it; the sessions' with pg_monitor alone too."""
    with role(dsn) as mine:
        app = PgopsApp(LiveSource(Target(mine, "test")))
        async with app.run_test(size=SMALL, notifications=True) as pilot:
            await until(pilot, lambda: "● live" in screen(pilot))
            for granted, rooms in (((), ROOMS), ((MONITOR,), "41"), ((SCHEMA, TABLES), ROOMS)):
                for grant in granted:
                    run_as_owner(dsn, sql.SQL(grant).format(sql.Identifier(name_of(mine))).as_string(None))
                gone = missing(await snapshot_of(mine))
                await pilot.press("ctrl+r")
                for key in rooms:
                    part, its_acts = ROOMS[key]
                    await pilot.press(key)
                    await until(pilot, lambda p=part, g=gone: ("grant " in screen(pilot)) is (p in g) or not p)
                    for act in its_acts:
                        await pilot.press(act, "escape")
                    await pilot.press("enter", "escape")
                await until(pilot, lambda: "● live" in screen(pilot))
        assert set(gone) <= {"pgmq"}


async def test_who_may_not_read_pgmq_sees_ours_and_what_to_grant(dsn: str, seeded: str) -> None:
    with role(dsn, (SCHEMA, TABLES)) as mine:
        app = PgopsApp(LiveSource(Target(mine, "test")))
        async with app.run_test(size=SMALL, notifications=True) as pilot:
            await pilot.press("2")
            await until(pilot, lambda: "pgmq unavailable" in screen(pilot) and "email" in screen(pilot))
            assert f"grant usage on schema pgmq to {name_of(mine)}" in " ".join(screen(pilot).split())
            await pilot.press("X", "escape")
            part = (await snapshot_of(mine)).pgmq
            assert isinstance(part, Unavailable)
            run_as_owner(dsn, part.remedy)
            await pilot.press("ctrl+r")
            await until(pilot, lambda: "orders pgmq" in screen(pilot))


# --- pgops grants ------------------------------------------------------------------------------------------------


def printed(command: Run, dsn: str, *options: str) -> str:
    done = command("grants", "--dsn", dsn, *options)
    assert done.code == 0, done.err
    return done.out


@pytest.fixture
def watcher(dsn: str, command: Run) -> Iterator[str]:
    """The DSN of a role with what `pgops grants --read-only` prints."""
    with role(dsn) as mine:
        run_as_owner(dsn, printed(command, dsn, "--role", name_of(mine), "--read-only"))
        yield mine


@pytest.fixture
def actor(dsn: str, command: Run) -> Iterator[str]:
    """The DSN of a role with what `pgops grants` prints."""
    with role(dsn) as mine:
        run_as_owner(dsn, printed(command, dsn, "--role", name_of(mine)))
        yield mine


def test_the_sql_is_printed_and_nothing_is_granted(dsn: str, command: Run) -> None:
    with role(dsn) as mine:
        said = printed(command, dsn, "--role", name_of(mine))
        assert f'to "{name_of(mine)}"' in said
        document = command("grants", "--role", name_of(mine), "--json", "--dsn", dsn).document
        check_envelope(document)
        assert document["role"] == name_of(mine)
        assert "".join(f"{statement};\n" for statement in document["items"]) == said
        with psycopg.connect(mine) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("select from pgops.queues")
        asked = command("grants", "--dsn", mine)
        assert asked.out == said, "a role may ask for itself"


async def test_nobody_grants_to_the_owner_or_without_a_schema(db: AsyncPool, empty_dsn: str) -> None:
    with pytest.raises(UsageError, match="owns the schema"):
        await grants(db)
    with pytest.raises(UsageError, match="name of a role"):
        await grants(db, "")
    async with AsyncPool.open(empty_dsn) as empty:
        with pytest.raises(SchemaError, match="no pgops schema"):
            await grants(empty, "watcher")


async def test_who_may_look_sees_everything_also_what_is_made_later(watcher: str, dsn: str) -> None:
    await planted(dsn)
    assert missing(await snapshot_of(watcher)) == {}
    async with AsyncPgops.open(watcher) as pg:
        assert (await pg.documents.get("events", "e1")) is not None
        assert await pg.queue.jobs("email")


@pytest.mark.slow
def test_who_may_look_changes_nothing(dsn: str, watcher: str, command: Run) -> None:
    for example in acts():
        seed(dsn, example.path)
        check_refused(command(*example.argv, "--dsn", watcher, stdin=example.stdin), example.path)
    with psycopg.connect(watcher) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("create table pgops.mine (x int)")


def acts() -> list[Example]:
    """Examples of commands that act, as this server can run them; a NOTIFY needs no right, and a probe answers."""
    quick = {param.values[0].path for param in QUICK}
    known = [one for one in EXAMPLES if one.path in ACTS & quick and one.path not in ("pubsub publish", "pubsub probe")]
    return [one for one in known if this_server.has_pgvector() or not one.path.startswith("vector ")]


@pytest.mark.slow
def test_who_may_act_runs_every_command_but_what_is_its_owners_alone(dsn: str, actor: str, command: Run) -> None:
    for example in acts():
        seed(dsn, example.path)
        done = command(*example.argv, "--dsn", actor, stdin=example.stdin)
        if example.path in OF_THE_OWNER:
            assert done.code == 4, f"{example.path}: {done.out}{done.err}"
            assert "only its owner may do that" in done.err, example.path
        elif example.path == "table reset-stats":
            check_refused(done, example.path)
        elif example.path.startswith("queue pgmq "):
            told = []
            while done.code == 4 and len(told) < 2:
                check_refused(done, example.path)
                told.append(done.error["hint"])
                run_as_owner(dsn, told[-1])
                done = command(*example.argv, "--dsn", actor, stdin=example.stdin)
            assert done.code == 0, f"{example.path}: {done.err}, {told}"
        else:
            assert done.code == 0, f"{example.path}: {done.err}"


async def test_who_may_act_works_and_keeps_house(dsn: str, actor: str, db: AsyncPool) -> None:
    async with AsyncPgops.open(actor) as pg:
        for number in range(3):
            await pg.queue.enqueue("email", {"n": number}, max_attempts=1, delay_s=0.01 if number == 2 else None)
        claim = await pg.queue.claim("email", owner=1, token=7, limit=2)
        await pg.queue.complete("email", [claim.jobs[0].id], 7)
        await pg.queue.fail("email", 7, [FailedJob(claim.jobs[1].id, "it broke")])
        maintenance = Maintenance(pg.db, ["email"])
        maintenance._due = dict.fromkeys(maintenance._due, 0.0)
        await maintenance.tick(pg.queue)
        assert (await actions.run(pg.db, Action("requeue_dead", "email"))).changed == 1
        await pg.events.subscribe("all", start="beginning")
        await pg.events.append("orders", 1)
        await pg.documents.create("mine")
        await pg.documents.put("mine", {"a": 1})
        await pg.documents.create_index("mine", "a")
        await pg.documents.drop("mine")
    assert (await audit.list(db))[0].actor == name_of(actor)
    with psycopg.connect(actor, autocommit=True) as conn:
        for forbidden in ("delete from pgops.audit", "delete from pgops.migrations", "drop table pgops.queues"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(forbidden)


@pytest.mark.vectors
async def test_who_may_act_has_vectors_of_its_own(actor: str) -> None:
    async with AsyncPgops.open(actor) as pg:
        await pg.vectors.create("mine", 3)
        await pg.vectors.add_many("mine", [VectorRow(f"t{n}", [1.0, n / 100, 0.0]) for n in range(100)])
        await pg.vectors.build_index("mine", lists=2)
        assert (await pg.vectors.measure_recall("mine", sample=3)).recall > 0
        await pg.vectors.rebuild("mine", lists=1)
        await pg.vectors.drop("mine")


async def test_who_may_act_ends_the_sessions_of_others(dsn: str, actor: str) -> None:
    with role(dsn) as other, psycopg.connect(other, autocommit=True) as victim:
        async with AsyncPool.open(actor) as db:
            await actions.run(db, Action("terminate_backend", str(victim.info.backend_pid)))
        with pytest.raises(psycopg.OperationalError):
            victim.execute("select 1")


async def test_what_a_role_lacks_is_told_by_the_library_too(watcher: str) -> None:
    async with AsyncPgops.open(watcher) as pg:
        for call in (pg.queue.enqueue("email", {}), pg.kv.set("k", "v"), pg.documents.create("mine")):
            with pytest.raises(RefusedError) as refused:
                await call
            assert "pgops grants" in refused.value.hint
