"""The whole dashboard over a real database: what it shows is there, what it does is done."""

import asyncio

import psycopg
import pytest
from dashboard_story import USUAL, Story, screen, until
from textual._styles_cache import StylesCache
from textual.color import Color

from pgops.config import Target
from pgops.services.client import AsyncPgops
from pgops.services.models import FailedJob
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource
from pgops.tui.memory import forget_drawn


def dashboard(dsn: str) -> PgopsApp:
    return PgopsApp(LiveSource(Target(dsn, "test")))


async def kill_one(pg: AsyncPgops, queue: str) -> int:
    """Enqueue a job and let it die."""
    id = await pg.queue.enqueue(queue, {"to": "someone@example.org"}, kind="welcome", max_attempts=1)
    claim = await pg.queue.claim(queue, owner=1, token=77, limit=10, floors=(0, 0, 0, 0))
    assert [one.id for one in claim.jobs] == [id]
    failed = await pg.queue.fail(queue, 77, [FailedJob(id, "TimeoutError: no answer")])
    assert failed.dead == (id,)
    return id


async def test_a_dead_job_is_seen_opened_and_requeued(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        id = await kill_one(pg, "email")
        async with dashboard(dsn).run_test(size=USUAL, notifications=True) as pilot:
            await until(pilot, lambda: "● live" in screen(pilot))
            assert "dead 1" in screen(pilot)
            await pilot.press("2")
            await until(pilot, lambda: "email" in screen(pilot))
            await pilot.press("enter")
            await until(pilot, lambda: str(id) in screen(pilot) and "✕ dead" in screen(pilot))
            await pilot.press("enter")
            await until(pilot, lambda: "TimeoutError: no answer" in screen(pilot))
            assert "someone@example.org" in screen(pilot)
            await pilot.press("R")
            await until(pilot, lambda: "matches 1" in screen(pilot))
            await pilot.press("y")
            await until(pilot, lambda: "✓ Done" in screen(pilot))
        assert (await pg.queue.job("email", id)).state == "available"


async def test_expired_entries_are_purged(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.cache.set("short", b"x", ttl_s=0.01)
        await pg.cache.set("long", b"x", ttl_s=3_600)
        await asyncio.sleep(0.05)
        async with dashboard(dsn).run_test(size=USUAL, notifications=True) as pilot:
            await until(pilot, lambda: "◆ expired 1" in screen(pilot) or "expired 1" in screen(pilot))
            await pilot.press("P")
            await until(pilot, lambda: "matches 1" in screen(pilot))
            await pilot.press("y")
            await until(pilot, lambda: "✓ Done" in screen(pilot))
        assert await pg.cache.get("long") == b"x"
        assert (await pg.cache.count_expired()).count == 0


async def test_without_the_schema_it_opens_and_says_what_to_run(empty_dsn: str) -> None:
    async with dashboard(empty_dsn).run_test(size=USUAL) as pilot:
        await until(pilot, lambda: "● live" in screen(pilot))
        assert "pgops migrate" in screen(pilot)
        for key in ("2", "3", "1"):
            await pilot.press(key)
            await pilot.pause()
        assert "PostgreSQL" in screen(pilot)


async def test_an_empty_database_is_friendly(dsn: str) -> None:
    async with dashboard(dsn).run_test(size=USUAL) as pilot:
        await until(pilot, lambda: "no queues yet" in screen(pilot))
        assert "pgops queue enqueue" in screen(pilot)


@pytest.mark.slow
async def test_killed_connections_come_back(dsn: str) -> None:
    async with dashboard(dsn).run_test(size=USUAL) as pilot:
        await until(pilot, lambda: "● live" in screen(pilot))
        for _ in range(3):
            _terminate(dsn)
            await pilot.press("ctrl+r")
            await pilot.pause(0.2)
        before = _taken(pilot)
        await until(pilot, lambda: _taken(pilot) is not before and "● live" in screen(pilot))


def _terminate(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )


def _taken(pilot: Story) -> object:
    assert isinstance(pilot.app, PgopsApp)
    return pilot.app.now_view.snapshot


async def test_a_server_that_is_not_there_is_a_state(tmp_path: object) -> None:
    app = PgopsApp(LiveSource(Target(f"host={tmp_path} dbname=nothing", "test")))
    async with app.run_test(size=USUAL) as pilot:
        await until(pilot, lambda: "✕ lost" in screen(pilot))
        assert "trying" in screen(pilot)


def test_what_textual_remembers_of_what_was_drawn_can_be_forgotten() -> None:
    """Its name is none of the public ones: who upgrades Textual hears here whether it is still there."""
    remembered = StylesCache.get_inner_outer
    remembered(StylesCache(), Color(1, 2, 3), Color(4, 5, 6))
    assert remembered.cache_info().currsize > 0
    forget_drawn()
    assert remembered.cache_info().currsize == 0
