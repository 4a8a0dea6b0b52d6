"""The schema gets there once, whole, in order, and never by accident; also from an installed wheel."""

import asyncio
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import psycopg
import pytest
import this_server
from cli_call import spawned
from test_roles import role

from pgops import migrate
from pgops.database import AsyncPool
from pgops.errors import PgopsError, RefusedError, SchemaError, UnreachableError
from pgops.migrate import Migration, Step

ROOT = Path(__file__).resolve().parent.parent
TABLES = {
    "0001_base": ["audit"],
    "0002_queue": ["queues", "job_available", "job_scheduled", "job_running", "job_dead", "job_history", "queue_delta"],
    "0003_events": ["event_log", "subscriptions", "subscription_parts"],
    "0004_cache": ["cache_store", "rate_limits"],
    "0005_kv": ["kv_store", "kv_ephemeral"],
    "0006_documents": ["collections"],
    "0007_vectors": ["vector_collections"],
    "0008_event_log": ["event_home", "event_retention", "parked_keys"],
    "0009_undo": ["audit_undo"],
    "0010_judge": ["limit_stats", "recall_before"],
    "0011_growth": ["growth"],
}
POSSIBLE = [name for name in TABLES if name != "0007_vectors" or this_server.has_pgvector()]


def states(steps: list[Step]) -> set[str]:
    return {step.state for step in steps}


async def test_an_empty_database_gets_every_file_and_its_tables(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as db:
        before = await migrate.plan(db)
        assert [step.name for step in before] == list(TABLES)
        assert {step.name for step in before if step.state == "pending"} == set(POSSIBLE)
        done = await migrate.apply(db)
        assert {step.name for step in done if step.state == "applied"} == set(POSSIBLE)
        assert {step.name for step in done if step.duration_s is not None} == set(POSSIBLE)
        for name, tables in TABLES.items():
            for table in tables:
                row = await db.one(b"select to_regclass(%s) is not null", [f"pgops.{table}"])
                assert row == (name in POSSIBLE,), table
        again = await migrate.apply(db)
        assert [step.state for step in again] == [step.state for step in done]
        assert all(step.duration_s is None for step in again), "nothing is done twice"
        await migrate.require(db)


async def test_planning_changes_nothing(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as db:
        await migrate.plan(db)
        assert await db.one(b"select to_regnamespace('pgops') is null") == (True,)


async def test_two_at_once_are_safe(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as one, AsyncPool.open(empty_dsn) as two:
        first, second = await asyncio.gather(migrate.apply(one), migrate.apply(two))
        by_whom = {a.name: (a.duration_s is None) + (b.duration_s is None) for a, b in zip(first, second, strict=True)}
        assert {name for name, misses in by_whom.items() if misses == 1} == set(POSSIBLE), "applied by exactly one"
        assert {step.name for step in first if step.state == "applied"} == set(POSSIBLE)


async def test_a_changed_file_is_refused_before_anything_is_done(empty_dsn: str) -> None:
    first, second = (
        Migration("0001_a", "create table pgops.a (x int);\n", None),
        Migration("0002_b", "select 1;\n", None),
    )
    changed = Migration("0001_a", "create table pgops.a (x bigint);\n", None)
    async with AsyncPool.open(empty_dsn) as db:
        await migrate.apply(db, [first])
        assert [step.state for step in await migrate.plan(db, [changed, second])] == ["changed", "pending"]
        with pytest.raises(SchemaError, match="0001_a was changed") as caught:
            await migrate.apply(db, [changed, second])
        assert "a new migration" in caught.value.hint
        assert [step.state for step in await migrate.plan(db, [first, second])] == ["applied", "pending"]


async def test_a_process_killed_in_the_middle_leaves_nothing_half_done_and_the_next_goes_on(empty_dsn: str) -> None:
    """It hangs in 0003 behind a table of the same name that was never committed; the next one waits for what is left
    of it on the server."""
    async with AsyncPool.open(empty_dsn) as db:
        await migrate.apply(db, migrate.migrations()[:2])
        with psycopg.connect(empty_dsn) as obstacle:
            obstacle.execute("create table pgops.event_log (x int)")
            with spawned(["migrate"], empty_dsn) as killed:
                await hangs(db, "create table pgops.event_log")
                killed.kill()
                killed.wait()
            assert [step.state for step in await migrate.plan(db)][:3] == ["applied", "applied", "pending"]
            with spawned(["migrate", "--json"], empty_dsn) as following:
                await hangs(db, "pg_advisory_xact_lock")
                obstacle.rollback()
                out, err = following.communicate(timeout=30)
        assert following.returncode == 0, err
        states_after = {item["name"]: item["state"] for item in json.loads(out)["items"]}
        assert {name for name, state in states_after.items() if state == "applied"} == set(POSSIBLE)
        for name in POSSIBLE:
            for table in TABLES[name]:
                assert await db.one(b"select to_regclass(%s) is not null", [f"pgops.{table}"]) == (True,), table
        slots = await db.one(b"select count(*) from pg_inherits where inhparent = 'pgops.event_log'::regclass")
        assert slots == (32,)


async def hangs(db: AsyncPool, statement: str) -> None:
    """Until somebody waits for a lock in this statement."""
    async with asyncio.timeout(15):
        while not await db.all(  # noqa: ASYNC110
            b"select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' "
            b"and strpos(query, %s) > 0",
            [statement],
        ):
            await asyncio.sleep(0.02)


async def test_a_lost_connection_in_the_middle_is_told_and_the_next_run_goes_on(empty_dsn: str) -> None:
    suicide = Migration(
        "0002_b", "create table pgops.b (x int);\nselect pg_terminate_backend(pg_backend_pid());\n", None
    )
    first = Migration("0001_a", "create table pgops.a (x int);\n", None)
    async with AsyncPool.open(empty_dsn) as db:
        with pytest.raises(UnreachableError, match="0002_b"):
            await migrate.apply(db, [first, suicide])
        steps = await migrate.apply(db, [first, Migration("0002_b", "create table pgops.b (x int);\n", None)])
        assert [step.duration_s is None for step in steps] == [True, False], "the first stands, the second is new"


async def test_a_newer_database_is_refused(db: AsyncPool) -> None:
    await db.execute(b"insert into pgops.migrations values ('0099_future', 'x', default, 1, '9.9')")
    with pytest.raises(SchemaError, match="0099_future"):
        await migrate.apply(db)
    with pytest.raises(SchemaError, match="0099_future"):
        await migrate.require(db)


async def test_a_missing_and_an_older_schema_are_told_apart(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as db:
        with pytest.raises(SchemaError, match="no pgops schema") as caught:
            await migrate.require(db)
        assert caught.value.hint == "run: pgops migrate"
        await migrate.apply(db, migrate.migrations()[:2])
        with pytest.raises(SchemaError, match="0003_events is missing"):
            await migrate.require(db)


async def test_a_failing_file_leaves_nothing_behind(empty_dsn: str) -> None:
    bad = Migration("0001_a", "create table pgops.a (x int);\nselect 1/0;\n", None)
    async with AsyncPool.open(empty_dsn) as db:
        with pytest.raises(PgopsError, match="0001_a: division by zero"):
            await migrate.apply(db, [bad])
        assert await db.one(b"select to_regclass('pgops.a') is null") == (True,)
        good = Migration("0001_a", "create table pgops.a (x int);\n", None)
        assert states(await migrate.apply(db, [good])) == {"applied"}


async def test_a_file_waits_for_its_extension_and_comes_later(empty_dsn: str) -> None:
    waiting = Migration("0001_a", "create table pgops.a (x int);\n", "no_such_extension")
    after = Migration("0002_b", "create table pgops.b (x int);\n", None)
    async with AsyncPool.open(empty_dsn) as db:
        first, second = await migrate.apply(db, [waiting, after])
        assert (first.state, second.state) == ("waiting", "applied")
        assert "no_such_extension" in first.reason
        there = Migration("0001_a", "create table pgops.a (x int);\n", "pageinspect")
        assert states(await migrate.apply(db, [there, after])) == {"applied"}


async def test_without_the_privilege_for_an_extension_the_rest_works(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("drop role if exists pgops_plain_owner")
        conn.execute("create role pgops_plain_owner login")
        try:
            conn.execute(f'grant create on database "{conn.info.dbname}" to pgops_plain_owner')
            async with AsyncPool.open(psycopg.conninfo.make_conninfo(empty_dsn, user="pgops_plain_owner")) as db:
                needy = Migration("0001_a", "create table pgops.a (x int);\n", "pageinspect")
                plain = Migration("0002_b", "create table pgops.b (x int);\n", None)
                steps = await migrate.apply(db, [needy, plain])
                assert [step.state for step in steps] == ["waiting", "applied"]
                assert "a superuser can run: create extension pageinspect" in steps[0].reason
                conn.execute("create extension pageinspect")
                assert states(await migrate.apply(db, [needy, plain])) == {"applied"}, "once a superuser has made it"
        finally:
            conn.execute("drop owned by pgops_plain_owner")
            conn.execute("drop role pgops_plain_owner")


async def test_without_the_privilege_for_the_schema_it_is_refused_with_the_remedy(empty_dsn: str) -> None:
    with role(empty_dsn) as plain:
        async with AsyncPool.open(plain) as db:
            with pytest.raises(RefusedError, match="0001_base: permission denied for database") as caught:
                await migrate.apply(db)
            assert "CREATE on it" in caught.value.hint
            assert await db.one(b"select to_regnamespace('pgops') is null") == (True,)


async def test_the_owner_of_the_schema_needs_no_right_on_the_database(empty_dsn: str) -> None:
    with role(empty_dsn, ["create schema pgops authorization {}"]) as plain:
        async with AsyncPool.open(plain) as db:
            steps = await migrate.apply(db, [step for step in migrate.migrations() if step.extension is None])
            assert states(steps) == {"applied"}


async def test_where_nothing_is_pending_a_role_without_any_right_but_to_look_may_ask(dsn: str, db: AsyncPool) -> None:
    with role(dsn, ["grant usage on schema pgops to {}", "grant select on pgops.migrations to {}"]) as plain:
        async with AsyncPool.open(plain, read_only=True) as mine:
            steps = await migrate.apply(mine)
            assert [step.state for step in steps] == [step.state for step in await migrate.plan(db)]


async def test_in_somebody_elses_schema_it_is_refused_and_changes_nothing(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as owner:
        await migrate.apply(owner, migrate.migrations()[:2])
        with role(empty_dsn, ["grant usage on schema pgops to {}", "grant select on pgops.migrations to {}"]) as plain:
            async with AsyncPool.open(plain) as db:
                with pytest.raises(RefusedError, match="permission denied"):
                    await migrate.apply(db)
        assert [step.state for step in await migrate.plan(owner)][:3] == ["applied", "applied", "pending"]


def test_statements_end_at_their_own_semicolons() -> None:
    text = "create table a (x text default ';');\n-- a comment; still\ndo $$ begin; end $$;\nselect $x$;$x$;\n"
    found = [statement.decode() for statement in Migration("m", text, None).statements()]
    assert found == [
        "create table a (x text default ';')",
        "-- a comment; still\ndo $$ begin; end $$",
        "select $x$;$x$",
    ]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_installed_wheel_migrates_from_an_empty_folder(empty_dsn: str, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    home = tmp_path / "env"
    venv.create(home)
    pip = [sys.executable, "-m", "pip", "--python", home / "bin/python"]
    subprocess.run([*pip, "install", "-q", "--no-compile", wheel], check=True, capture_output=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [home / "bin/pgops", "migrate", "--json", "--dsn", empty_dsn],
        cwd=empty,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {item["state"] for item in json.loads(done.stdout)["items"]} == {"applied"}
    where = subprocess.run(
        [home / "bin/python", "-c", "import pgops; print(pgops.__file__)"],
        cwd=empty,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(home)), "the wheel's own files were used"
