"""The recurring jobs in the dashboard: seen, steered, and told in words; on literal entries and on a real database."""

from dataclasses import replace

import pytest
from dashboard_story import SMALL, USUAL, Story, dashboard, foot_fits, screen, until
from snapshots_literal import BUSY, CRONS, EMPTY, LiteralSource
from test_tui_stores import do, live

from pgops.errors import SchemaError
from pgops.ops.act.actions import Action
from pgops.services.client import AsyncPgops
from pgops.tui.screens.ask import Question
from pgops.tui.screens.jobs import JobsRoom
from pgops.tui.widgets.ledger import Ledger

SIZES = pytest.mark.parametrize("size", [SMALL, USUAL], ids=["80x24", "120x40"])


async def open_crons(pilot: Story) -> None:
    await pilot.press("2")
    await until(pilot, lambda: "t Cron" in screen(pilot))
    await pilot.press("t")
    await until(pilot, lambda: "looking…" not in screen(pilot) and "recurring jobs" in screen(pilot))


@SIZES
async def test_when_each_runs_next_and_did_last(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(BUSY), size) as pilot:
        await open_crons(pilot)
        seen = screen(pilot)
        for words in (
            "nightly", "0 3 * * *", "2h 37m", "21h 00m", "412", "◆ due", "‖ month-end paused", "stalled",
            "*/5 * * * * UTC  adds report to email  missed once  overlaps", "next 2026-03-01 03:00:45Z",
            "P Pause", "N Run now", "D Remove",
        ):  # fmt: skip
            assert words in seen, words
        assert foot_fits(pilot)
        await pilot.press("down")
        await until(pilot, lambda: "last 2026-02-28 06:12:45Z job 90122" in screen(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: "t Cron" in screen(pilot))


async def test_enter_opens_the_jobs_of_its_queue() -> None:
    async with dashboard(LiteralSource(EMPTY)) as pilot:
        await open_crons(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, JobsRoom))
        assert "email" in screen(pilot).splitlines()[0]


async def test_without_any_the_first_command_is_told_and_without_the_schema_the_remedy() -> None:
    source = LiteralSource(BUSY)
    source.crons_held = ()
    async with dashboard(source) as pilot:
        await open_crons(pilot)
        assert "pgops queue cron add nightly" in screen(pilot)
        await pilot.press("P")
        await until(pilot, lambda: "There is no recurring job under the cursor." in screen(pilot))
        source.fails = SchemaError("the pgops schema is older here", "run: pgops migrate")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "run: pgops migrate" in screen(pilot))


async def test_terminal_sequences_in_an_entry_are_only_text() -> None:
    source = LiteralSource(BUSY)
    source.crons_held = (replace(CRONS[0], name="[red]x[/red]\x1b[2J", queue="q\x1b]0;pwned\x07", kind="\u202ek"),)
    async with dashboard(source, USUAL) as pilot:
        await open_crons(pilot)
        assert "[red]x[/red]␛[2J" in screen(pilot)
        assert not {"\x1b", "\x07", "\u202e"} & set(screen(pilot))


@pytest.mark.parametrize(
    ("keys", "action", "command"),
    [
        ("P", Action("cron_pause", "stalled"), "pgops queue cron pause stalled"),
        ("N", Action("cron_run", "stalled"), "pgops queue cron run stalled"),
        ("D", Action("cron_remove", "stalled"), "pgops queue cron remove stalled"),
    ],
)
async def test_an_act_shows_what_it_hits_and_is_done_on_y_alone(keys: str, action: Action, command: str) -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await open_crons(pilot)
        await pilot.press(keys)
        await until(pilot, lambda: "matches" in screen(pilot) and command in screen(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Question))
        assert source.ran == []
        await pilot.press(keys)
        await until(pilot, lambda: "matches" in screen(pilot))
        await pilot.press("y")
        await until(pilot, lambda: source.ran == [action])


async def test_the_list_stands_in_the_palette() -> None:
    async with dashboard(LiteralSource(BUSY), USUAL) as pilot:
        await pilot.press("2", "colon")
        await pilot.pause(0.3)
        await pilot.press(*"cron")
        await until(pilot, lambda: "Recurring jobs: when" in screen(pilot))


async def test_live_an_entry_is_paused_resumed_run_and_removed(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.queue.cron.add("nightly", "0 3 * * *", "email", kind="report")
        app = live(dsn)
        async with app.run_test(size=SMALL, notifications=True) as pilot:
            await until(pilot, lambda: not app.feed.looking)
            await open_crons(pilot)
            await until(pilot, lambda: pilot.app.screen.query_one("#crons", Ledger).current == "nightly")
            await do(pilot, "P", "1")
            await until(pilot, lambda: "‖ nightly paused" in screen(pilot))
            assert (await pg.queue.cron.get("nightly")).paused
            app.clear_notifications()
            await do(pilot, "N", "1")
            (job,) = await pg.queue.jobs("email")
            assert job.kind == "report"
            app.clear_notifications()
            await do(pilot, "P", "1")
            await until(pilot, lambda: "‖ nightly" not in screen(pilot))
            assert not (await pg.queue.cron.get("nightly")).paused
            app.clear_notifications()
            await do(pilot, "D", "1")
            await until(pilot, lambda: "No recurring job yet." in screen(pilot))
            assert await pg.queue.cron.list() == ()
