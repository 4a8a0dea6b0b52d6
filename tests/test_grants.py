"""The three roles of `pgops grants`: what each may do with every statement and every service, and nothing beyond."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pytest
import this_server
from cli_call import Run, caller
from psycopg import sql
from test_roles import name_of, role, run_as_owner
from test_statements import UTILITIES, VECTORS, _prepare, statements

from pgops.database import AsyncPool
from pgops.errors import RefusedError
from pgops.ops.act.actions import Action, run
from pgops.ops.tell import grants as ops
from pgops.ops.tell.grants import NOBODYS, OWN, REGISTERS, SUBSYSTEMS, grants
from pgops.runtime.maintenance import Maintenance
from pgops.runtime.relay import Relay
from pgops.runtime.tidying import Tidying
from pgops.services.client import AsyncPgops
from pgops.services.models import Event, FailedJob, VectorRow

KINDS: tuple[ops.Kind, ...] = ("reader", "operator", "application")
WRITES = re.compile(
    rb"\b(insert into|update (pgops\.|\{|only)|delete from|for (no key )?update|from pgops\.(job_seq|event_id))", re.I
)
OLD_HISTORY = b"""
insert into pgops.job_history (slot, queue, id, attempt, kind, payload, outcome, created_at, finished_at)
select 5, 'email', 1, 1, 'x', '{}', 'completed', now() - interval '99 days', now() - interval '99 days'"""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


async def granted(dsn: str, name: str, **options: object) -> str:
    """The SQL, as the owner runs it."""
    async with AsyncPool.open(dsn) as db:
        return ";\n".join((await grants(db, name, **options)).statements)  # type: ignore[arg-type]


@contextmanager
def granted_role(dsn: str, **options: object) -> Iterator[str]:
    with role(dsn) as mine:
        run_as_owner(dsn, asyncio.run(granted(dsn, name_of(mine), **options)))
        yield mine


@pytest.fixture
def application(dsn: str) -> Iterator[str]:
    """The DSN of a role that works with everything."""
    with granted_role(dsn, kind="application") as mine:
        yield mine


async def test_every_table_and_sequence_has_its_room(db: AsyncPool) -> None:
    for name, _, _ in await db.all(ops.Q["relations"]):
        rooms = [room for room, own in OWN.items() if own.fullmatch(name)]
        apart = (name in REGISTERS) + bool(NOBODYS.fullmatch(name))
        assert len(rooms) + apart == 1, f"{name}: {rooms}; who may write it stands in ops/tell/grants.py"


def test_each_may_be_run_again_whatever_the_name_and_none_before_the_other_is_needed(dsn: str, command: Run) -> None:
    with role(dsn, name=f'Odd "{this_server.run_id()}" {id(dsn)}; drop') as mine:
        said = [command("grants", kind, "--role", name_of(mine), "--dsn", dsn) for kind in KINDS]
        for done in [*said, *reversed(said)]:
            assert done.code == 0, done.err
            run_as_owner(dsn, done.out)
    default = command("grants", "--role", "someone", "--dsn", dsn).out
    assert default == command("grants", "operator", "--role", "someone", "--dsn", dsn).out
    looks = command("grants", "--role", "someone", "--read-only", "--json", "--dsn", dsn).document
    assert looks["kind"] == "reader"
    near = command("grants", "application", "--only", "kv,quue", "--dsn", dsn)
    assert (near.code, "did you mean queue?" in near.err) == (2, True)
    assert command("grants", "reader", "--only", "kv", "--dsn", dsn).code == 2


# --- every statement ------------------------------------------------------------------------------------------------

OWNERS = {"migrate.sql:record_migration"}
SUPERUSERS = {"ops/act/table_acts.sql:reset_all_stats", "ops/act/table_acts.sql:reset_table_stats"}
OPERATORS = {
    "ops/act/audit.sql:record_act", "ops/act/audit.sql:start_act", "ops/act/audit.sql:finish_act",
    "ops/act/audit.sql:list_acts", "services/documents.sql:register_collection",
    "services/documents.sql:unregister_collection", "services/vectors.sql:forget_recall_before",
}  # fmt: skip
TRAIL = re.compile(rb"\b(from|join|into|update) pgops\.audit")
OPERATORS_WITH_VECTORS = {
    f"services/vectors.sql:{name}"
    for name in (
        "register_collection",
        "unregister_collection",
        "set_embedder",
        "record_recall",
        "forget_recall",
        "keep_recall",
    )
}


async def test_every_statement_is_allowed_to_whom_it_is_meant_for(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.documents.create("fixture")
        if this_server.has_pgvector():
            await pg.vectors.create("fixture", 3)
    allowed: dict[str, set[str]] = {}
    refused: dict[str, set[str]] = {}
    for kind in KINDS:
        with role(dsn) as mine:
            run_as_owner(dsn, await granted(dsn, name_of(mine), kind=kind))
            tried = dict(tries(dsn, name_of(mine)))
        allowed[kind] = {name for name, may in tried.items() if may}
        refused[kind] = set(tried) - allowed[kind]
    writes = {f"{where}:{one.name}" for where, one in statements(999_999) if WRITES.search(one.sql)}
    assert len(allowed["reader"]) > 60 and len(refused["reader"]) > 60
    assert refused["reader"] == writes & (refused["reader"] | allowed["reader"]) | SUPERUSERS
    assert refused["operator"] == OWNERS | SUPERUSERS
    trail = {f"{where}:{one.name}" for where, one in statements(999_999) if TRAIL.search(one.sql)}
    vectors = OPERATORS_WITH_VECTORS if this_server.has_pgvector() else set()
    assert refused["application"] == OWNERS | SUPERUSERS | OPERATORS | trail | vectors


def tries(dsn: str, role: str) -> Iterator[tuple[str, bool]]:
    """Each statement, and whether this role may run it: the server checks that before it would begin."""
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as conn:
        conn.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        conn.execute("set plan_cache_mode = force_generic_plan")
        for where, statement in statements(conn.info.server_version):
            if UTILITIES.match(statement.sql) or b"pgmq" in statement.sql or where.endswith("pgmq.sql"):
                continue
            if where.startswith(("bench/", "demo/")):
                continue
            if VECTORS.search(statement.sql) and not this_server.has_pgvector():
                continue
            conn.execute(_prepare(statement.sql))
            row = conn.execute("select cardinality(parameter_types) from pg_prepared_statements").fetchone()
            nulls = ", ".join(["null"] * (row or [0])[0])
            may = True
            try:
                conn.execute(f"explain execute statement_under_test{f'({nulls})' if nulls else ''}".encode())
            except psycopg.errors.InsufficientPrivilege:
                may = False
            yield f"{where}:{statement.name}", may
            conn.execute("deallocate all")


# --- every service --------------------------------------------------------------------------------------------------


async def work_on_queues(pg: AsyncPgops) -> None:
    for number in range(3):
        await pg.queue.enqueue("email", {"n": number}, max_attempts=1, delay_s=0.01 if number == 2 else None)
    claim = await pg.queue.claim("email", owner=1, token=7, limit=2)
    await pg.queue.complete("email", [claim.jobs[0].id], 7)
    await pg.queue.fail("email", 7, [FailedJob(claim.jobs[1].id, "it broke")])
    await pg.queue.cron.add("nightly", "0 3 * * *", "email", kind="report")
    maintenance = Maintenance(pg.db, ["email"])
    maintenance._due = dict.fromkeys(maintenance._due, 0.0)
    await maintenance.tick(pg.queue)


async def append_and_relay(pg: AsyncPgops) -> None:
    got: list[Event] = []

    class Sink:
        async def deliver(self, events: Sequence[Event]) -> Sequence[None]:
            got.extend(events)
            relay.stop()
            return [None] * len(events)

    await pg.events.subscribe("all", start="beginning")
    await pg.events.append("orders", {"id": 1})
    relay = Relay(pg.db, "all", Sink())
    await relay.run()
    assert len(got) == 1
    await pg.events.purge_events()


async def publish(pg: AsyncPgops) -> None:
    await pg.pubsub.publish("orders", "x" * 20_000)


async def use_the_cache(pg: AsyncPgops) -> None:
    await pg.cache.set("k", b"v")
    assert await pg.cache.get("k") == b"v"
    await pg.flush()
    await pg.cache.purge_expired()


async def use_limits(pg: AsyncPgops) -> None:
    assert (await pg.limits.hit("ann", 5, 60)).allowed
    await pg.limits.purge_expired()


async def use_kv(pg: AsyncPgops) -> None:
    await pg.kv.set("k", "v")
    assert await pg.kv.get("k") is not None
    await pg.kv.purge_expired()


async def use_documents(pg: AsyncPgops) -> None:
    id = (await pg.documents.put("early", {"a": 1})).id
    await pg.documents.put("late", {"a": 1})
    assert (await pg.documents.get("early", id)) is not None
    assert {one.name for one in await pg.documents.list()} == {"early", "late"}


SERVICES: dict[ops.Subsystem, Callable[[AsyncPgops], Awaitable[None]]] = {
    "queue": work_on_queues, "outbox": append_and_relay, "pubsub": publish, "cache": use_the_cache,
    "limit": use_limits, "kv": use_kv, "doc": use_documents,
}  # fmt: skip


async def test_an_application_works_with_what_it_was_given_and_is_refused_the_rest(dsn: str) -> None:
    assert set(SERVICES) | {"vector"} == set(SUBSYSTEMS)
    async with AsyncPgops.open(dsn) as owner:
        await owner.documents.create("early")
        with role(dsn) as everything, role(dsn) as nothing:
            run_as_owner(dsn, await granted(dsn, name_of(everything), kind="application"))
            run_as_owner(dsn, await granted(dsn, name_of(nothing), kind="application", only=()))
            await owner.documents.create("late")
            await owner.db.execute(OLD_HISTORY)
            for subsystem, works in SERVICES.items():
                with role(dsn) as mine:
                    run_as_owner(dsn, await granted(dsn, name_of(mine), kind="application", only=[subsystem]))
                    async with AsyncPgops.open(mine) as pg:
                        await works(pg)
                async with AsyncPgops.open(nothing) as pg:
                    with pytest.raises(RefusedError) as refused:
                        await works(pg)
                assert refused.value.exit_code == 4, subsystem
                assert "pgops grants" in refused.value.hint, subsystem
            assert await owner.db.one(b"select count(*) from pgops.job_history where id = 1") == (0,), "history goes"
            async with AsyncPgops.open(everything) as pg:
                await asyncio.gather(*[works(pg) for name, works in SERVICES.items() if name != "outbox"])


@pytest.mark.vectors
async def test_an_application_has_vectors_that_its_owner_made(dsn: str, application: str) -> None:
    async with AsyncPgops.open(dsn) as owner:
        await owner.vectors.create("docs", 3)
    async with AsyncPgops.open(application) as pg:
        await pg.vectors.add_many("docs", [VectorRow("a", [1.0, 0.0, 0.0]), VectorRow("b", [0.0, 1.0, 0.0])])
        assert [one.content for one in await pg.vectors.search("docs", [1.0, 0.1, 0.0], limit=1)] == ["a"]
        with pytest.raises(RefusedError):
            await pg.vectors.create("mine", 3)


async def test_an_application_makes_no_tables_and_leaves_ledger_and_trail_alone(dsn: str, application: str) -> None:
    async with AsyncPgops.open(application) as pg:
        for call in (pg.documents.create("mine"), run(pg.db, Action("purge_expired", ""))):
            with pytest.raises(RefusedError) as refused:
                await call
            assert refused.value.exit_code == 4
            assert "grant" in refused.value.hint
    with psycopg.connect(application, autocommit=True) as conn:
        for forbidden in (
            "create table pgops.mine (x int)", "drop table pgops.queues", "truncate pgops.job_available",
            "delete from pgops.audit", "insert into pgops.audit default values", "select from pgops.audit",
            "delete from pgops.migrations", "update pgops.migrations set name = 'x'",
            "delete from pgops.collections",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(forbidden)


async def test_a_worker_of_an_operator_s_role_empties_old_history_too(dsn: str, db: AsyncPool) -> None:
    await db.execute(OLD_HISTORY)
    with role(dsn) as mine:
        run_as_owner(dsn, await granted(dsn, name_of(mine)))
        async with AsyncPgops.open(mine) as pg:
            await pg.queue.trim_history()
    assert await db.one(b"select count(*) from pgops.job_history") == (0,)


async def test_who_was_not_given_cache_and_events_leaves_them_and_the_ledger_to_others(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    with role(dsn) as mine:
        run_as_owner(dsn, await granted(dsn, name_of(mine), kind="application", only=["queue"]))
        async with AsyncPool.open(mine) as db:
            tidying = Tidying(db)
            with caplog.at_level("INFO", "pgops.tidying"):
                await tidying.tidy()
                await tidying.tidy()
    assert [record.levelname for record in caplog.records] == ["INFO"] * 4, "each is said once"
