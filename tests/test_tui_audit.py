"""The trail on screen, and undoing from it and from anywhere."""

from dataclasses import replace

import pytest
from dashboard_story import SMALL, USUAL, dashboard, screen, until
from snapshots_literal import ACTS, BUSY, NOW, LiteralSource
from test_undo import BOOKS, STATE

from pgops.config import Target
from pgops.database import AsyncPool
from pgops.errors import RefusedError
from pgops.ops.act.actions import Action
from pgops.services.models import FailedJob
from pgops.services.queue import AsyncQueue
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource
from pgops.tui.screens.ask import Question
from pgops.tui.screens.audit import AuditRoom, act_line, state_words

UNDO = Action("undo", "12")


def test_an_act_is_a_line_that_tells_whether_it_can_be_undone() -> None:
    assert [state_words(one)[0] for one in ACTS] == ["↶ U undoes", "done", "↶ by 13", "interrupted"]
    line = act_line(replace(ACTS[0], target="a\x1b[31m"), NOW)
    assert "\x1b" not in "".join(str(cell) for cell in line.cells)


@pytest.mark.parametrize("size", [SMALL, USUAL])
async def test_the_trail_is_read_one_is_opened_and_undone(size: tuple[int, int]) -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source, size) as pilot:
        await pilot.press("2", "u")
        await until(pilot, lambda: "requeue dead" in screen(pilot) and "↶ U undoes" in screen(pilot))
        assert "interrupted" in screen(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "kept of job_dead" in screen(pilot))
        assert "a@example.org" in screen(pilot)
        await pilot.press("U")
        await until(pilot, lambda: "undo 12" in screen(pilot) and "matches" in screen(pilot))
        await pilot.press("escape")
        assert source.ran == []
        await pilot.press("down", "U")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        assert source.previewed[-1] == Action("undo", "11")
        await pilot.press("y")
        await until(pilot, lambda: source.ran == [Action("undo", "11")])
        await pilot.press("u", "escape")
        assert not isinstance(pilot.app.screen, AuditRoom), "it opens once"


async def test_what_was_just_done_is_undone_from_anywhere() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await pilot.press("U")
        await until(pilot, lambda: "Nothing was done here that can be undone" in screen(pilot))
        source.undoable = True
        await pilot.press("2", "P")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        await pilot.press("y")
        await until(pilot, lambda: "(audit 12); U undoes it" in screen(pilot))
        source.undoable = False
        await pilot.press("5", "U")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        assert source.previewed[-1] == UNDO
        await pilot.press("y")
        await until(pilot, lambda: source.ran[-1] == UNDO and not pilot.app.screen.is_modal)
        pilot.app.clear_notifications()
        await pilot.press("U")
        await until(pilot, lambda: "Nothing was done here that can be undone" in screen(pilot))


async def test_a_trail_that_may_not_be_read_says_why() -> None:
    source = LiteralSource(BUSY)
    source.fails = RefusedError("permission denied for table audit", "pgops grants prints what it needs")
    async with dashboard(source) as pilot:
        await pilot.press("u")
        await until(pilot, lambda: "pgops grants prints" in screen(pilot))
        source.fails, source.acts_held = None, ()
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "Nobody has done anything yet" in screen(pilot))
        await pilot.press("enter", "U")
        assert source.previewed == []


async def test_live_what_was_discarded_by_key_is_brought_back_by_key(dsn: str, db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue("email", {"to": "a"}, max_attempts=1)
    claim = await queue.claim("email", owner=1, token=1, limit=1)
    await queue.fail("email", 1, [FailedJob(claim.jobs[0].id, "broke")])
    before = await db.all(STATE)
    async with PgopsApp(LiveSource(Target(dsn, "test"))).run_test(size=SMALL, notifications=True) as pilot:
        await until(pilot, lambda: "● live" in screen(pilot))
        for key in ("D", "U"):
            await pilot.press("2", key)
            await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
            await pilot.press("y")
            await until(pilot, lambda: not isinstance(pilot.app.screen, Question))
            wanted = "U undoes it" if key == "D" else "back among the dead letters"
            await until(pilot, lambda wanted=wanted: wanted in screen(pilot))  # type: ignore[misc]
            pilot.app.clear_notifications()
        await pilot.press("u")
        await until(pilot, lambda: "↶ by 2" in screen(pilot))
    assert await db.all(STATE) == before
    noted, there = await db.one(BOOKS) or ([], [])
    assert noted == there
