"""What hands do in every room: filter, mark, act on what is marked, export, steer by keys of one's own and by mouse."""

from dataclasses import replace

from dashboard_story import USUAL, Story, dashboard, screen, until
from snapshots_literal import BUSY, FAILURES, SUBSCRIBED, LiteralSource, job
from textual.widgets import Input

from pgops.ops.act.actions import Action
from pgops.tui.app import PgopsApp
from pgops.tui.screens.base import Room
from pgops.tui.screens.jobs import JobsRoom
from pgops.tui.screens.queues import QueuesRoom
from pgops.tui.widgets.ledger import Ledger


def app_of(pilot: Story) -> PgopsApp:
    assert isinstance(pilot.app, PgopsApp)
    return pilot.app


def table(pilot: Story, id: str) -> Ledger:
    return pilot.app.screen.query_one(f"#{id}", Ledger)


def shown(pilot: Story, id: str) -> list[str]:
    return [str(row.key.value) for row in table(pilot, id).ordered_rows]


def jobs_source(many: int = 12) -> LiteralSource:
    """Dead jobs 1 to `many`, of two kinds by turns."""
    held = tuple(job(id, "dead", kind="mail" if id % 2 else "send report") for id in range(1, many + 1))
    return LiteralSource(BUSY, jobs=held)


async def at_jobs(pilot: Story) -> None:
    await pilot.press("2", "enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, JobsRoom) and table(pilot, "jobs").row_count > 0)


# --- the filter ------------------------------------------------------------------------------------------------


async def test_a_filter_goes_on_by_itself_compares_and_tells_what_it_hides() -> None:
    async with dashboard(jobs_source()) as pilot:
        await at_jobs(pilot)
        await pilot.press("slash", *"ki")
        box = pilot.app.screen.query_one("#filter", Input)
        await until(pilot, lambda: box._suggestion == "kind:")
        await pilot.press("tab")
        assert box.value == "kind:"
        await until(pilot, lambda: bool(box._suggestion))
        await pilot.press("right")
        assert box.value in ("kind:mail", 'kind:"send report"')
        await until(pilot, lambda: table(pilot, "jobs").row_count == 6 and "6 hidden" in screen(pilot))
        box.value = ""
        await pilot.press(*"id>=11 try>0")
        await until(pilot, lambda: sorted(shown(pilot, "jobs")) == ["11", "12"])
        await pilot.press("enter", "slash", *" kid:x")
        await until(pilot, lambda: "no column kid, so “kid:x” is looked for" in screen(pilot))
        assert pilot.app.focused is box
        await pilot.press("escape")
        await until(pilot, lambda: table(pilot, "jobs").row_count == 12)
        assert "hidden" not in screen(pilot)
        assert isinstance(pilot.app.screen, JobsRoom)


async def test_each_table_of_a_room_has_its_own_filter() -> None:
    async with dashboard(LiteralSource(BUSY), USUAL) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: table(pilot, "blocking").row_count == 3)
        sessions = table(pilot, "sessions").row_count
        table(pilot, "blocking").focus()
        await pilot.press("slash", *"4712", "enter")
        await until(pilot, lambda: shown(pilot, "blocking") == ["4712"])
        assert pilot.app.focused is table(pilot, "blocking")
        assert table(pilot, "sessions").row_count == sessions
        await pilot.press("escape")
        await until(pilot, lambda: table(pilot, "blocking").row_count == 3)
        await pilot.press("3", "ampersand", *"nothing like it", "enter")
        await until(pilot, lambda: table(pilot, "indexes").row_count == 0)
        await pilot.press("escape")
        await until(pilot, lambda: table(pilot, "indexes").row_count > 0)


# --- marks -----------------------------------------------------------------------------------------------------


async def test_marks_one_a_range_and_all_that_match_live_on_and_go_first() -> None:
    source = jobs_source()
    async with dashboard(source) as pilot:
        await at_jobs(pilot)
        held = table(pilot, "jobs")
        await pilot.press("space", "down", "down", "v")
        assert held.marks == {"1", "2", "3", "4"}
        assert "● 4 marked" in screen(pilot)
        await pilot.press("s", "r")
        seen = source.snapshots
        await pilot.press("ctrl+r")
        await until(pilot, lambda: source.snapshots > seen and not app_of(pilot).feed.looking)
        assert held.marks == {"1", "2", "3", "4"}
        await pilot.press("slash", *"kind:mail id>6", "enter", "a")
        assert held.marks == {"1", "2", "3", "4", "7", "9", "11"}
        await until(pilot, lambda: "● 7 marked, 4 of them hidden" in screen(pilot))
        await pilot.press("D")
        await until(pilot, lambda: bool(source.previewed))
        assert source.previewed == [Action("discard_dead", "billing", (1, 2, 3, 4, 7, 9, 11))]
        await pilot.press("escape", "escape")
        await until(pilot, lambda: not held.marks)
        assert held.row_count == 3, "the filter is still there"
        await pilot.press("escape")
        await until(pilot, lambda: held.row_count == 12)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, QueuesRoom))


async def test_all_is_not_marked_by_a_filter_that_cannot_be_meant() -> None:
    async with dashboard(jobs_source()) as pilot:
        await at_jobs(pilot)
        await pilot.press("slash", *"kind>5", "enter")
        await until(pilot, lambda: table(pilot, "jobs").row_count == 0)
        await pilot.press("a")
        await until(pilot, lambda: "Not marked" in screen(pilot))
        await pilot.press("escape", "a", "y")
        assert len(table(pilot, "jobs").marks) == 12
        assert sorted(app_of(pilot).clipboard.split("\n"), key=int) == [str(id) for id in range(1, 13)]
        await pilot.press("a")
        assert not table(pilot, "jobs").marks


async def test_acts_on_several_marked_rows_where_an_act_takes_several() -> None:
    source = LiteralSource(BUSY)
    source.failures_held = (*FAILURES, replace(FAILURES[0], fingerprint="Timeout", jobs=2, ids=(95_000, 95_001)))
    async with dashboard(source, USUAL) as pilot:
        await pilot.press("2", "f")
        await until(pilot, lambda: bool(pilot.app.screen.query("#failures")) and table(pilot, "failures").row_count > 1)
        await pilot.press("a", "R")
        await until(pilot, lambda: "email: 7 dead of 2 groups that are marked" in screen(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: bool(source.previewed))
        assert source.previewed[0] == Action("requeue_dead", "email", (*sorted(FAILURES[0].ids), 95_000, 95_001))
        await pilot.press("escape", "escape", "escape", "5", "enter")
        await until(pilot, lambda: bool(pilot.app.screen.query("#parked")) and table(pilot, "parked").row_count > 1)
        await pilot.press("a", "D")
        await until(pilot, lambda: len(source.previewed) == 2)
        assert source.previewed[1].ids == tuple(sorted(one.event.id for one in SUBSCRIBED.parked))


async def test_of_several_marked_sessions_one_is_chosen() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source, USUAL) as pilot:
        await pilot.press("4", "space", "space", "K")
        await until(pilot, lambda: "terminate backend" in screen(pilot))
        assert source.previewed == []
        await pilot.press("down", "enter")
        await until(pilot, lambda: bool(source.previewed))
        assert isinstance(pilot.app.screen_stack[0], Room)
        assert source.previewed[0].target == shown_of(pilot, "sessions")[1]


def shown_of(pilot: Story, id: str) -> list[str]:
    rows = pilot.app.screen_stack[0].query_one(f"#{id}", Ledger).ordered_rows
    return [str(row.key.value) for row in rows]
