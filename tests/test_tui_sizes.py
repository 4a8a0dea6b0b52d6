"""Small, large and without colour: nothing crashes, no question is hidden, and what is selected is seen."""

import os
from collections.abc import Mapping

import pytest
from dashboard_story import SMALL, USUAL, Story, dashboard, screen, until
from snapshots_literal import BUSY, LiteralSource
from textual.widgets import Button

from pgops.ops.act.actions import Action
from pgops.ops.thresholds import Thresholds
from pgops.tui.app import PgopsApp
from pgops.tui.colorless import colorless
from pgops.tui.screens.ask import Question
from pgops.tui.screens.editor import Editor
from pgops.tui.screens.finding import FindingNote
from pgops.tui.screens.help import Help
from pgops.tui.screens.migrations import MigrationsNote
from pgops.tui.screens.probe import ProbeNote
from pgops.tui.screens.profiles import ProfilesNote
from pgops.tui.screens.settings import InForce, SettingsNote
from pgops.tui.screens.small import TooSmall, too_small
from pgops.tui.screens.unlock import UnlockNote
from pgops.tui.standing import Standing
from pgops.tui.widgets.ledger import Ledger

SHORT, WIDE = (60, 15), (300, 80)
FIRST = {
    "1": "finding", "2": "queue", "3": "collection", "4": "pid", "5": "subscription", "6": "cache name",
    "7": "collection", "8": "", "9": "",
}  # fmt: skip


def fits(pilot: Story) -> bool:
    width, height = pilot.app.size
    lines = screen(pilot).splitlines()
    return len(lines) <= height and all(len(line) <= width for line in lines)


async def test_every_screen_takes_any_size_while_it_runs() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        for key, column in FIRST.items():
            await pilot.press(key)
            for size in (SHORT, WIDE, SHORT):
                await pilot.resize_terminal(*size)
                await until(pilot, lambda size=size: tuple(pilot.app.size) == size and fits(pilot))
            assert column[:6] in screen(pilot), key
            if tables := pilot.app.screen.query(Ledger):
                assert tables.first().region.bottom <= pilot.app.size.height


INSIDE = {
    "jobs": "2 down enter", "job": "2 down enter enter", "failures": "2 f", "crons": "2 t", "trail": "u",
    "subscription": "5 enter", "channels": "5 l", "collection": "7 enter",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_what_is_opened_from_a_screen_takes_any_size_too() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        for name, ways in INSIDE.items():
            await pilot.resize_terminal(*SMALL)
            for key in ways.split():
                await pilot.press(key)
                await pilot.pause(0.2)
            assert len(pilot.app.screen_stack) > 1, name
            for size in (SHORT, WIDE, (40, 10), SHORT):
                await pilot.resize_terminal(*size)
                await until(pilot, lambda size=size: tuple(pilot.app.size) == size and fits(pilot))
            assert "\u2026" in screen(pilot) or len(screen(pilot).split()) > 10, name
            while len(pilot.app.screen_stack) > 1:
                await pilot.press("escape")
                await pilot.pause()


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_no_note_stands_out_of_the_screen() -> None:
    source = LiteralSource(BUSY)
    notes = (
        lambda: Help({}), lambda: FindingNote(BUSY.findings[0], lambda _: None), lambda: ProbeNote(source),
        lambda: MigrationsNote(source), lambda: ProfilesNote(None, {"XDG_CONFIG_HOME": "/nowhere"}),
        lambda: SettingsNote(InForce("/x", "night", {}, 1.0, Thresholds())),
        lambda: Editor(source, Action("set_queue", "email")), lambda: UnlockNote(source, "an act"),
    )  # fmt: skip
    async with dashboard(source) as pilot:
        for make in notes:
            await pilot.app.push_screen(make())
            for size in (SHORT, WIDE, (40, 10), SHORT):
                await pilot.resize_terminal(*size)
                await until(pilot, lambda size=size: tuple(pilot.app.size) == size and fits(pilot))
                await pilot.pause(0.1)
                note = pilot.app.screen.query_one(".note")
                assert pilot.app.screen.region.contains_region(note.region), f"{make()} {size}"
                for button in pilot.app.screen.query(Button) if size != (40, 10) else ():
                    assert note.region.contains_region(button.region), f"{make()} {size}\n{screen(pilot)}"
            pilot.app.pop_screen()


async def shown(pilot: Story, *labels: str) -> bool:
    """Whether these buttons stand on the screen, whole."""
    found = {str(one.label): one.region for one in pilot.app.screen.query(Button)}
    inside = pilot.app.screen.region
    return all(
        inside.contains_region(found[label]) and found[label].area and label in screen(pilot) for label in labels
    )


async def test_a_question_and_its_buttons_are_reached_at_any_size() -> None:
    source = LiteralSource(BUSY)
    source.stands = Standing("locked", "prod", "red")
    async with dashboard(source, USUAL) as pilot:
        await pilot.press("P")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        for size in (SHORT, WIDE, (40, 10), SMALL, SHORT):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda size=size: tuple(pilot.app.size) == size)
            await pilot.pause(0.1)
            assert await shown(pilot, "Cancel", "y  Do it"), f"{size}\n{screen(pilot)}"
        assert "as a command" not in screen(pilot)
        for _ in range(8):
            await pilot.press("down")
        await until(pilot, lambda: "pgops cache purge" in screen(pilot))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, UnlockNote))
        await until(pilot, lambda: "enter  Unlock" in screen(pilot))
        assert await shown(pilot, "Cancel", "enter  Unlock")


@pytest.mark.parametrize(("size", "small"), [((40, 10), False), ((39, 10), True), ((40, 9), True), ((1, 1), True)])
def test_what_is_too_small(size: tuple[int, int], small: bool) -> None:
    assert too_small(*size) == small


async def test_where_nothing_fits_it_says_so_and_goes_on_as_it_was() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        await pilot.press("2", "P")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        await pilot.resize_terminal(38, 9)
        await until(pilot, lambda: "pgops needs 40x10" in screen(pilot))
        await pilot.press("y", "2", "P")
        assert isinstance(pilot.app.screen, TooSmall), "no key reaches what is not seen"
        await pilot.resize_terminal(*SMALL)
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and "y  Do it" in screen(pilot))
        await pilot.resize_terminal(20, 5)
        await until(pilot, lambda: isinstance(pilot.app.screen, TooSmall))
        await pilot.press("q")
    assert pilot.app.return_value == 0


# --- without colour ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "bare"),
    [
        ({"TERM": "xterm-256color"}, False), ({"TERM": "tmux-256color", "NO_COLOR": ""}, False),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, True), ({"TERM": "vt100"}, True), ({"TERM": "dumb"}, True),
        ({"TERM": "xterm-mono"}, True), ({"TERM": "linux-m"}, True), ({"TERM": "no-such-terminal"}, False),
    ],
)  # fmt: skip
def test_a_terminal_without_colour(env: Mapping[str, str], bare: bool) -> None:
    assert colorless(env) == bare


async def test_without_colour_nothing_is_coloured_and_the_selection_is_turned_over() -> None:
    source = LiteralSource(BUSY)
    source.stands = Standing("unlocked", "prod", "red", 60)
    app = PgopsApp(source, color=False)
    assert "NO_COLOR" not in os.environ
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "email" in screen(pilot))
        await pilot.press("down")
        await until(pilot, lambda: "email" in turned_over(pilot))
        assert "billing" not in turned_over(pilot)
        colors = {
            color.name
            for segment in segments(pilot)
            if segment.style is not None
            for color in (segment.style.color, segment.style.bgcolor)
            if color is not None
        }
        assert colors <= {"default"}
        seen = screen(pilot)
        for words in ("◆3", "‖ webhooks paused", "✕ gone", "◆ unlocked 1:00", " prod "):
            assert words in seen, words
        await pilot.press("P")
        await until(pilot, lambda: "Cancel" in turned_over(pilot))


def segments(pilot: Story) -> list[object]:
    strips = pilot.app.screen._compositor.render_strips()
    filters = pilot.app._filters
    background = pilot.app.screen.background_colors[1]
    drawn = []
    for strip in strips:
        for filter in filters:
            if filter.enabled:
                strip = strip.apply_filter(filter, background)
        drawn += list(strip)
    return drawn


def turned_over(pilot: Story) -> str:
    return " ".join(one.text for one in segments(pilot) if one.style is not None and one.style.reverse)
