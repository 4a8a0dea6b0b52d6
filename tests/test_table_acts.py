"""Acts on tables and indexes of the database: what their previews say, what they do, and whom they refuse."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest
import this_server
from cli_call import caller, spawned
from psycopg import sql
from psycopg.conninfo import make_conninfo
from test_roles import role

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, PgopsError, RefusedError, UsageError
from pgops.ops.act import audit
from pgops.ops.act.acting import Action, ActionName
from pgops.ops.act.actions import preview, run
from pgops.ops.act.backends import protected
from pgops.ops.collector import collect
from pgops.ops.observe.snapshot import items

OLD = (
    b"create table notes (id bigint primary key, word text) with (autovacuum_enabled = off);"
    b"create index notes_word on notes (word);"
    b"insert into notes select n, 'word ' || n from generate_series(1, 2000) n;"
    b"delete from notes where id % 2 = 0"
)


@pytest.fixture
def notes(dsn: str) -> str:
    """A table with 2,000 rows, half of them dead, and an index."""
    written(dsn, OLD)
    return "notes"


def written(dsn: str, statements: bytes) -> None:
    """By a session that ends, and leaves its counters."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        for statement in statements.split(b";"):
            conn.execute(statement)


@contextmanager
def reader(dsn: str) -> Iterator[psycopg.Connection]:
    """A transaction that reads, and goes on."""
    with psycopg.connect(dsn, application_name="a long report") as conn:
        conn.execute("set transaction isolation level repeatable read")
        conn.execute("select count(*) from notes")
        yield conn


async def last(db: AsyncPool) -> audit.AuditRow:
    return (await audit.list(db, 1))[0]


async def test_a_vacuum_says_what_it_would_read_and_who_is_in_its_way(db: AsyncPool, dsn: str, notes: str) -> None:
    with reader(dsn) as report:
        written(dsn, b"update notes set word = 'new'")
        look = await preview(db, Action("vacuum_table", notes))
        said = "\n".join(look.samples)
        assert look.sql.endswith('vacuum (analyze) "public"."notes"')
        assert "dead ones" in said
        assert "SHARE UPDATE EXCLUSIVE" in said
        assert f"held by pid {report.info.backend_pid} (a long report, idle in transaction) for" in said
        assert "nothing to undo" in look.undo
        held = await run(db, look.action)
        assert f"kept from going by pid {report.info.backend_pid} (a long report" in held.message
        row = await last(db)
        assert (row.action, row.target, row.status) == ("vacuum_table", "notes", "done")
        assert row.detail["dead_after"] >= 1000, "PostgreSQL 15 may count what was updated once more, later"
    done = await run(db, Action("vacuum_table", "public.notes"))
    assert done.message.endswith(" dead rows before, 0 after")
    assert (await last(db)).detail["held_by"] is None
    only = await run(db, Action("vacuum_table", notes, analyze_only=True))
    assert only.message == "analyzed public.notes"
    with pytest.raises(NotFoundError) as missing:
        await preview(db, Action("vacuum_table", "nodes"))
    assert "notes" in missing.value.hint
    await db.execute(b"create schema a")
    await db.execute(b"create schema b")
    for name in (b"a", b"b"):
        await db.execute(b"create table " + name + b'."odd NAME" (id int)')
    with pytest.raises(UsageError, match=r'a\."odd NAME" or b\."odd NAME"'):
        await preview(db, Action("vacuum_table", "odd NAME"))
    assert (await run(db, Action("vacuum_table", "a.odd NAME"))).changed == 1
    assert (await run(db, Action("vacuum_table", "job_history"))).changed == 1, "with all its partitions"


async def test_a_vacuum_in_a_clone_of_this_database_is_not_this_ones(
    db: AsyncPool, server_dsn: str, template: str
) -> None:
    """Tables of databases with the same template have the same oids."""
    with this_server.database(server_dsn, template) as clone:
        async with await psycopg.AsyncConnection.connect(clone, autocommit=True) as conn:
            await conn.execute("insert into pgops.queue_delta (queue) select 'q' from generate_series(1, 20000)")
            await conn.execute("set vacuum_cost_delay = 100")
            await conn.execute("set vacuum_cost_limit = 1")
            vacuum = asyncio.create_task(conn.execute("vacuum pgops.queue_delta"))
            try:
                async with asyncio.timeout(10):
                    while await db.one(b"select from pg_stat_progress_vacuum") is None:
                        await db.execute(b"select pg_sleep(0.02)")
                assert (await preview(db, Action("vacuum_table", "pgops.queue_delta"))).matched == 1
                tables = items((await collect(db)).tables)
                assert not next(one for one in tables if one.table == "pgops.queue_delta").vacuuming
                assert await db.one(b"select from pg_stat_progress_vacuum") is not None, "it went on all the while"
            finally:
                vacuum.cancel()
                with suppress(asyncio.CancelledError):
                    await vacuum


async def test_an_index_is_built_anew_and_what_was_left_goes(db: AsyncPool, dsn: str, notes: str) -> None:
    before = await db.one(b"select 'notes_word'::regclass::oid")
    look = await preview(db, Action("reindex_index", "notes_word"))
    assert "needs about" in look.samples[1]
    assert "free" in look.samples[1]
    done = await run(db, look.action)
    assert "built public.notes_word anew" in done.message
    assert await db.one(b"select 'notes_word'::regclass::oid") != before
    await fail_to_build(dsn, "create index concurrently notes_word_ccnew on notes (word)")
    await fail_to_build(dsn, "create index concurrently another on notes (word)")
    look = await preview(db, Action("reindex_index", "notes_word"))
    assert look.samples[-1] == "first drops public.notes_word_ccnew, left by an interrupted rebuild"
    done = await run(db, look.action)
    assert "dropped public.notes_word_ccnew" in done.message
    assert await invalid(db) == ["another"], "which has a name of its own"


async def fail_to_build(dsn: str, statement: str) -> None:
    """A build that waits for a reader, and is given up."""
    with reader(dsn), psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("set lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            conn.execute(statement.encode())


async def invalid(db: AsyncPool) -> list[str]:
    rows = await db.all(b"select indexrelid::regclass::text from pg_index where not indisvalid order by 1")
    return [row[0] for row in rows]


async def test_a_rebuild_that_fails_leaves_nothing(db: AsyncPool, dsn: str, notes: str) -> None:
    await db.execute(
        b"create function picky(word text) returns text immutable language plpgsql as $$ begin "
        b"if current_setting('app.picky', true) = 'yes' then raise 'no'; end if; return word; end $$"
    )
    await db.execute(b"create index notes_picky on notes (picky(word))")
    async with AsyncPool.open(make_conninfo(dsn, options="-c app.picky=yes")) as failing:
        with pytest.raises(PgopsError):
            await run(failing, Action("reindex_index", "notes_picky"))
    row = await last(db)
    assert (row.status, row.changed, row.detail["error"]) == ("failed", 0, "no")
    assert await invalid(db) == []


async def test_one_that_was_killed_is_cleaned_up_by_the_next(db: AsyncPool, dsn: str, notes: str) -> None:
    with reader(dsn) as report:
        with spawned(["index", "reindex", "notes_word", "--yes"], dsn) as process:
            await until_waiting(db, "reindex")
            with pytest.raises(RefusedError, match="is being built right now"):
                await preview(db, Action("reindex_index", "notes_word"))
            assert await invalid(db) == ["notes_word_ccnew"]
            with pytest.raises(RefusedError, match="is being built right now"):
                await preview(db, Action("drop_invalid_index", "notes_word_ccnew"))
            process.send_signal(signal.SIGKILL)
            process.wait()
            await db.all(
                b"select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                b" where datname = current_database() and application_name = 'pgops cli'"
            )
        assert await invalid(db) == ["notes_word_ccnew"]
        assert (await last(db)).status == "interrupted"
        report.rollback()
    done = await run(db, Action("reindex_index", "notes_word"))
    assert "dropped public.notes_word_ccnew" in done.message
    assert await invalid(db) == []


async def test_an_index_that_is_named_like_a_leftover_is_not_its_own(db: AsyncPool, dsn: str, notes: str) -> None:
    """PostgreSQL cuts a long name, so that nobody can tell a leftover of it by its whole name."""
    name = f"{'n' * 57}_ccnew"
    await fail_to_build(dsn, f"create index concurrently {name} on notes (id)")
    assert (await run(db, Action("reindex_index", name))).changed == 1
    assert await invalid(db) == []
    assert await db.one(b"select indisvalid from pg_index where indexrelid = %s::regclass", [name]) == (True,)


def test_an_empty_name_is_not_the_whole_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dsn: str
) -> None:
    done = caller(monkeypatch, capsys)("table", "reset-stats", "", "--yes", "--dsn", dsn)
    assert (done.code, done.out) == (2, "")
    assert "leave it out for all of the database" in done.err


async def until_waiting(db: AsyncPool, verb: str) -> None:
    waiting = b"select from pg_stat_activity where query ~* %s and wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while not await db.all(waiting, [f"{verb} index"]):
            await db.execute(b"select pg_sleep(0.02)")


async def test_only_an_index_that_never_became_valid_is_dropped(db: AsyncPool, dsn: str, notes: str) -> None:
    await fail_to_build(dsn, "create index concurrently half_built on notes (lower(word))")
    look = await preview(db, Action("drop_invalid_index", "half_built"))
    assert look.samples[0] == "CREATE INDEX half_built ON public.notes USING btree (lower(word))"
    assert "cannot be undone" in look.undo
    await db.execute(b"create table days (day int, word text) partition by list (day)")
    await db.execute(b"create table days_1 partition of days for values in (1)")
    await db.execute(b"create index days_word on only days (word)")
    await db.execute(b"create index lonely on days_1 (word)")
    refused = {
        "notes_word": "is valid", "notes_pkey": "is valid", "days_word": "belongs to an index of all partitions",
    }  # fmt: skip
    for index, why in refused.items():
        with pytest.raises(RefusedError, match=why):
            await run(db, Action("drop_invalid_index", index))
    await db.execute(b"update pg_index set indisvalid = false where indexrelid = 'notes_pkey'::regclass")
    with pytest.raises(RefusedError, match="backs constraint notes_pkey"):
        await run(db, Action("drop_invalid_index", "notes_pkey"))
    assert await audit.list(db) == ()
    assert (await run(db, look.action)).changed == 1
    assert (await last(db)).detail["definition"] == look.samples[0]
    assert await invalid(db) == ["days_word", "notes_pkey"]


async def test_what_cannot_be_built_anew_says_what_can(db: AsyncPool) -> None:
    await db.execute(b"create table spans (during int4range, exclude using gist (during with &&))")
    with pytest.raises(UsageError, match="index of all partitions"):
        await preview(db, Action("reindex_index", "job_history_job"))
    for index, why in (
        ("spans_during_excl", "exclusion constraint"),
        ("pg_catalog.pg_class_oid_index", "server's own"),
    ):
        with pytest.raises(RefusedError, match=why):
            await preview(db, Action("reindex_index", index))
    assert (await run(db, Action("reindex_index", "pgops.job_history_00_queue_id_idx"))).changed == 1


@pytest.mark.vectors
async def test_the_index_of_a_vector_collection_has_a_rebuild_of_its_own(db: AsyncPool) -> None:
    from pgops.services.vectors import AsyncVectors

    await AsyncVectors(db).create("docs", 3)
    await db.execute(b"create index docs_hnsw on pgops.vec_docs using hnsw (embedding vector_l2_ops)")
    with pytest.raises(RefusedError) as refused:
        await preview(db, Action("reindex_index", "docs_hnsw"))
    assert "pgops vector rebuild docs" in refused.value.hint
    await db.execute(b"create table mine (v vector(3))")
    await db.execute(b"create index mine_hnsw on mine using hnsw (v vector_l2_ops)")
    assert (await run(db, Action("reindex_index", "mine_hnsw"))).changed == 1


async def test_counters_begin_anew(db: AsyncPool, notes: str) -> None:
    async def counted() -> tuple[object, ...]:
        return (
            await db.one(
                b"select pg_stat_get_dead_tuples('notes'::regclass), pg_stat_get_tuples_inserted('notes'::regclass), "
                b"pg_stat_get_tuples_inserted('pg_class'::regclass) > 0"
            )
            or ()
        )

    await run(db, Action("reset_stats", notes))
    assert await counted() == (0, 0, True)
    look = await preview(db, Action("reset_stats", ""))
    assert "never used so far" in look.samples[1]
    assert "nobody keeps the old counters" in look.undo
    await run(db, look.action)
    assert [(row.action, row.target) for row in await audit.list(db)] == [("reset_stats", ""), ("reset_stats", notes)]


ACTS: tuple[tuple[ActionName, str], ...] = (
    ("vacuum_table", "notes"), ("reindex_index", "notes_word"), ("drop_invalid_index", "half_built"),
    ("tune_queue_tables", ""), ("reset_stats", ""), ("reset_stats", "notes"),
)  # fmt: skip


async def test_whoever_may_not_is_told_what_he_lacks(db: AsyncPool, dsn: str, notes: str) -> None:
    await fail_to_build(dsn, "create index concurrently half_built on notes (lower(word))")
    await db.execute(b"alter table pgops.queues reset (fillfactor)")
    catalog = await db.all(b"select relname, relfilenode from pg_class order by 1")
    async with AsyncPool.open(dsn, read_only=True) as only:
        for name, target in ACTS:
            assert (await preview(only, Action(name, target))).matched == 1
            with pytest.raises(RefusedError, match="read-only"):
                await run(only, Action(name, target))
    rights = (
        "grant usage on schema pgops to {}", "grant select, insert, update on all tables in schema pgops to {}",
        "grant usage on all sequences in schema pgops to {}",
    )  # fmt: skip
    with role(dsn, rights) as mine:
        async with AsyncPool.open(mine) as plain:
            for name, target in ACTS:
                for attempt in (preview, run):
                    with pytest.raises(RefusedError) as refused:
                        await attempt(plain, Action(name, target))
                    assert "own" in str(refused.value) or "grant execute on" in refused.value.hint, name
            name = str(psycopg.conninfo.conninfo_to_dict(mine)["user"])
            for grant in (
                "grant execute on function pg_catalog.pg_stat_reset() to {}",
                "grant execute on function pg_catalog.pg_stat_reset_single_table_counters(oid) to {}",
            ):
                await db.execute(sql.SQL(grant).format(sql.Identifier(name)))
            for target in ("", "notes"):
                assert (await run(plain, Action("reset_stats", target))).changed == 1
    assert await db.all(b"select relname, relfilenode from pg_class order by 1") == catalog
    assert [row.action for row in await audit.list(db)] == ["reset_stats"] * 2


@pytest.mark.parametrize(
    ("kind", "application", "query", "why"),
    [
        ("client backend", "psql", "select 1", None),
        ("client backend", "psql", "-- (to prevent wraparound)", None),
        ("client backend", "pgops dashboard", "select 1", "is a pgops dashboard"),
        ("autovacuum worker", "", "autovacuum: VACUUM ANALYZE public.orders", None),
        ("autovacuum worker", "", "autovacuum: VACUUM public.orders (to prevent wraparound)", "do not run out"),
        ("walsender", "replica", "START_REPLICATION", "is a walsender"),
        ("checkpointer", "", "", "is a checkpointer"),
    ],
)
def test_who_must_not_be_hit(kind: str, application: str, query: str, why: str | None) -> None:
    found = protected(7, kind, application, query)
    assert (found is None) if why is None else (found is not None and why in found[0])


def test_progress_is_only_for_who_is_there(dsn: str) -> None:
    env = os.environ | {"PGOPS_DSN": dsn}
    done = subprocess.run(
        [sys.executable, "-m", "pgops", "table", "vacuum", "pgops.job_dead", "--yes"],
        env=env, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr
