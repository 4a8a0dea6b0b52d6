"""Trouble, provoked for real: the dashboard tells the reason and what to do, keeps what it saw, and goes on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import dashboard_story as story
import psycopg
import pytest
import this_server
from dashboard_story import SMALL, USUAL, Story, dashboard, screen
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from snapshots_literal import BUSY, LiteralSource
from standby import servers

from pgops import migrate
from pgops.config import Target
from pgops.database import AsyncPool
from pgops.errors import UnreachableError
from pgops.migrate import State, Step
from pgops.ops.act.actions import Action, Result
from pgops.ops.observe.snapshot import ServerPart
from pgops.server import Server
from pgops.services.client import AsyncPgops
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource
from pgops.tui.news import TOLD_FOR, News, news_of, schema_seen
from pgops.tui.screens.migrations import MigrationsNote

PATIENCE_S = 40.0


@asynccontextmanager
async def over(dsn: str, size: tuple[int, int] = USUAL) -> AsyncIterator[Story]:
    """The dashboard over this database, once it is live."""
    app = PgopsApp(LiveSource(Target(dsn, "test")))
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, "● live")
        yield pilot


async def until(pilot: Story, *words: str) -> None:
    """Let it run until all of these stand on the screen."""
    end = monotonic() + PATIENCE_S
    while monotonic() < end:
        await pilot.pause(0.05)
        seen = screen(pilot) + " ".join(one.message for one in pilot.app._notifications)
        if all(one in seen for one in words):
            return
    raise AssertionError(f"{words} never came; the screen says:\n{screen(pilot)}")


# --- what is told, by cases --------------------------------------------------------------------------------------

SERVER = ServerPart("18.1", 180001, "shop", 1, 1.0, False, None, datetime(2026, 3, 1, tzinfo=UTC), "a:5432")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"address": "b:5432"}, "another server answers now: b:5432 (before: a:5432)"),
        ({"started_at": datetime(2026, 3, 1, 1, 2, 3, tzinfo=UTC)}, "the server was started anew at 01:02:03 UTC"),
        ({"started_at": None}, None),
    ],
)
def test_news_of_a_server(changes: dict[str, object], words: str | None) -> None:
    before, now = (replace(BUSY, server=one) for one in (SERVER, replace(SERVER, **changes)))
    found = news_of(before, now)
    assert (found and found.words) == words
    assert news_of(None, now) is None


def test_a_promoted_standby_is_news_and_news_grow_old() -> None:
    before = replace(BUSY, server=replace(SERVER, in_recovery=True))
    found = news_of(before, replace(BUSY, server=SERVER))
    assert found == News(BUSY.taken_at, "the standby was promoted: it can be changed now")
    assert found.fresh(BUSY.taken_at)
    assert not found.fresh(BUSY.taken_at + TOLD_FOR + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("states", "words", "pending"),
    [
        (("applied", "applied"), None, False), (("applied", "waiting"), None, False),
        (("pending", "pending"), "the database has no pgops schema", True),
        (("applied", "pending"), "the schema is older: 1 is missing", True),
        (("applied", "pending", "pending"), "the schema is older: 1 and 1 more are missing", True),
        (("applied", "newer"), "the schema is newer than this pgops, which does not know 1", False),
        (("changed", "pending"), "migration 0 was changed after it had been applied", False),
    ],
)  # fmt: skip
def test_what_is_said_of_a_schema(states: tuple[State, ...], words: str | None, pending: bool) -> None:
    seen = schema_seen([Step(str(at), state) for at, state in enumerate(states)])
    assert (seen and seen.words) == words
    assert (seen is not None and seen.pending) == pending


# --- the connection and the server -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_server_that_is_restarted_is_lost_and_found_and_said_so(tmp_path: Path) -> None:
    server = Server(this_server.root().with_name(f"{this_server.root().name}-restart"), settings=this_server.SETTINGS)
    try:
        server.start(pin=True)
        async with over(server.url, SMALL) as pilot:
            await until(pilot, "no pgops schema", "pgops migrate")
            await asyncio.to_thread(server.stop, force=True)
            await until(pilot, "✕ lost", "✕ ", "trying", "last seen")
            assert pilot.app.screen.query_one("#body").has_class("-stale")
            assert "connections" in screen(pilot), "the last snapshot stays"
            for key in ("2", "4", "8", "1"):
                await pilot.press(key)
            await until(pilot, "✕ lost")
            await asyncio.to_thread(server.start, pin=True)
            await pilot.press("ctrl+r")
            await until(pilot, "● live")
            async with AsyncPool.open(server.url) as db:
                await migrate.apply(db)
            await until(pilot, "the server was started anew")
            assert "Traceback" not in screen(pilot)
    finally:
        server.destroy(force=True)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_after_a_failover_the_second_server_is_seen_and_named() -> None:
    with servers() as (primary, standby):
        async with AsyncPool.open(primary.url) as db:
            await migrate.apply(db)
        hosts = [str(conninfo_to_dict(one.url)["host"]) for one in (primary, standby)]
        port = conninfo_to_dict(primary.url)["port"]
        await _await_replay(standby.url)
        async with over(standby.url) as pilot:
            await until(pilot, "standby, read only")
            await pilot.press("P")
            await until(pilot, "during recovery", "use the primary")
        both = make_conninfo(
            host=",".join(hosts), port=f"{port},{port}", user="postgres", dbname="postgres",
            target_session_attrs="read-write",
        )  # fmt: skip
        async with over(both) as pilot:
            await until(pilot, "no queues yet")
            await asyncio.to_thread(primary.stop, force=True)
            await until(pilot, "✕ lost", "trying")
            async with AsyncPool.open(standby.url) as db:
                await db.one(b"select pg_promote()")
            await pilot.press("ctrl+r")
            await until(pilot, "● live", "another server answers now")
            assert f"{hosts[1][:40]}" in screen(pilot).replace("\n", "")
            await pilot.press("P")
            await until(pilot, "nothing is changed yet")


async def _await_replay(dsn: str) -> None:
    """Until the standby has the schema."""
    async with AsyncPool.open(dsn, read_only=True) as db, asyncio.timeout(PATIENCE_S):
        while not any(step.state == "applied" for step in await migrate.plan(db)):
            await db.one(b"select pg_sleep(0.1)")


# --- acts and looks that are refused -----------------------------------------------------------------------------


@contextmanager
def held(dsn: str, table: str) -> Iterator[None]:
    """Nobody else gets at the table."""
    with psycopg.connect(dsn) as conn:
        conn.execute(sql.SQL("lock table {} in access exclusive mode").format(sql.Identifier("pgops", table)))
        yield


async def pause_a_queue(pilot: Story) -> None:
    await pilot.press("2")
    await until(pilot, "email")
    await pilot.press("P")
    await until(pilot, "matches 1")
    await pilot.press("y")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("lock_timeout=100ms", ("lock timeout", "somebody holds a lock")),
        ("statement_timeout=100ms", ("statement timeout", "it took longer")),
    ],
)
async def test_an_act_that_waits_too_long_says_why_and_changes_nothing(
    dsn: str, option: str, words: tuple[str, ...]
) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.queue.enqueue("email", {})
        async with over(make_conninfo(dsn, options=f"-c {option}")) as pilot:
            await pilot.press("2")
            await until(pilot, "email")
            await pilot.press("P")
            await until(pilot, "matches 1")
            with held(dsn, "audit"):
                await pilot.press("y")
                await until(pilot, *words)
            await until(pilot, "● live")
        assert await pg.db.one(b"select paused from pgops.queues") == (False,)


async def test_a_look_that_meets_a_lock_is_a_part_that_cannot_be_had(dsn: str) -> None:
    async with over(dsn) as pilot:
        with held(dsn, "queues"):
            await pilot.press("ctrl+r")
            await until(pilot, "unavailable", "lock")
            assert "● live" in screen(pilot), "the rest goes on"
        await until(pilot, "no queues yet")


@contextmanager
def role(dsn: str, *grants: str) -> Iterator[str]:
    """The DSN of a plain role that has been granted only this."""
    name = f"pgops_trouble_{conninfo_to_dict(dsn)['dbname']}"
    me = sql.Identifier(name)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("create role {} login").format(me))
        try:
            for one in grants:
                conn.execute(sql.SQL(one).format(me))  # type: ignore[arg-type]
            yield make_conninfo(dsn, options=f"-c role={name}")
        finally:
            conn.execute(sql.SQL("drop owned by {}").format(me))
            conn.execute(sql.SQL("drop role {}").format(me))


async def test_an_act_that_a_role_may_not_do_tells_the_remedy(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.queue.enqueue("email", {})
    with role(dsn, "grant usage on schema pgops to {}", "grant select on all tables in schema pgops to {}") as plain:
        async with over(plain) as pilot:
            await pause_a_queue(pilot)
            await until(pilot, "permission denied", "pgops grants")


# --- the schema --------------------------------------------------------------------------------------------------


async def test_a_missing_schema_is_applied_from_here(empty_dsn: str) -> None:
    async with over(empty_dsn, SMALL) as pilot:
        await until(pilot, "◆ the database has no pgops schema", "pgops migrate")
        await pilot.app.push_screen(MigrationsNote(pilot.app.source))  # type: ignore[attr-defined]
        await until(pilot, "○ 0001_base", "y  Apply")
        await pilot.press("y")
        await until(pilot, "applied now", "nothing to apply")
        await pilot.press("escape")
        await until(pilot, "no queues yet")
        await story.until(pilot, lambda: "no pgops schema" not in screen(pilot))
    async with AsyncPool.open(empty_dsn) as db:
        await migrate.require(db)


async def test_an_older_schema_says_what_is_missing(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as db:
        await migrate.apply(db, [one for one in migrate.migrations() if one.name < "0009" and one.extension is None])
    async with over(empty_dsn) as pilot:
        await until(pilot, "◆ the schema is older: 00", "run: pgops migrate", "no queues yet")


async def test_a_newer_schema_is_said_and_nothing_is_applied(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("insert into pgops.migrations select '0999_later', 'x', now(), 1, '9'")
    async with over(dsn) as pilot:
        await until(pilot, "◆ the schema is newer than this pgops", "upgrade pgops")
        await pilot.app.push_screen(MigrationsNote(pilot.app.source))  # type: ignore[attr-defined]
        await until(pilot, "▲ 0999_later", "nothing to apply")


async def test_the_migrations_are_opened_from_the_palette() -> None:
    source = LiteralSource(BUSY)
    states: tuple[State, ...] = ("applied", "pending", "waiting")
    source.steps_held = tuple(Step(f"000{at}_x", state) for at, state in enumerate(states))
    async with dashboard(source) as pilot:
        await pilot.press("colon", *"migrations")
        await until(pilot, "What of the schema")
        await pilot.pause(0.3)
        await pilot.press("enter")
        await until(pilot, "✓ 0000_x", "○ 0001_x", "◌ 0002_x", "y  Apply 1")


# --- an act that ends in trouble ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UnreachableError("the connection was lost", "is the server up?"), "Whether it was done, the trail tells: u"),
        (RuntimeError("a mistake of our own"), "RuntimeError: a mistake of our own. Please report this"),
    ],
)
async def test_an_act_that_is_cut_off_says_where_its_end_is_told(error: Exception, words: str) -> None:
    class Broken(LiteralSource):
        async def run(self, action: Action) -> Result:
            raise error

    async with dashboard(Broken(BUSY)) as pilot:
        await pilot.press("P")
        await until(pilot, "matches")
        await pilot.press("y")
        await until(pilot, words)
        assert not pilot.app.feed.busy  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [(60, 15), SMALL], ids=["60x15", "80x24"])
async def test_however_long_the_reason_is_the_next_try_is_told(size: tuple[int, int]) -> None:
    reason = 'connection to server on socket "/a/very/long/path/.s.PGSQL.5432" failed: ' + "and so on " * 30
    source = LiteralSource(BUSY)
    async with dashboard(source, size) as pilot:
        source.script[:] = [UnreachableError(reason, "check host and port")]
        await pilot.press("ctrl+r")
        await until(pilot, "✕ connection to server", "trying", "last seen")
