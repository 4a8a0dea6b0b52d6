"""What is shown and goes away says so and stays readable; and what is shown may be as nasty as a database allows."""

import unicodedata
from dataclasses import replace
from datetime import timedelta

import pytest
from dashboard_story import SMALL, Story, dashboard, screen, until
from rich.cells import cell_len
from snapshots_literal import BUSY, NOW, SUBSCRIBED, WITH_PGMQ, LiteralSource, job, queue

from pgops.errors import NotFoundError
from pgops.services.models import FailureGroup
from pgops.tui.formats import clean
from pgops.tui.screens.jobs import JobsRoom

GONE = NotFoundError("it is not there", "")
LARGEST = 2**63 - 1
NASTY = (
    "\x1b[2J\x1b]0;pwned\x07",
    "\x00\x7f\x85\u2028\ud800", "\u202eabc\u2066\u200f", "שלום עולם", "مرحبا", "日本語テキスト",
    "👩‍💻👨‍👩‍👧‍👦❤️", "a" + "\u0301" * 60, "\u0301\u0301lone", "\u200b\ufeff\u00ad", "ㅤᅟ⠀", "[red]x[/red]", "\t\r\n",
)  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_a_nasty_text_is_as_wide_as_it_is_told_and_has_nothing_that_steers(text: str) -> None:
    shown = clean(text)
    assert cell_len(shown) == sum(cell_len(one) for one in shown), "no character joins another"
    assert not {"Cc", "Cf", "Cs", "Zl", "Zp"} & {unicodedata.category(one) for one in shown}
    assert "\u0301" * 4 not in shown
    assert clean(shown) == shown


def assert_drawn_well(pilot: Story) -> None:
    """Every line is as wide as the screen, and the frame stands where it should."""
    lines = [line.text for line in pilot.app.screen._compositor.render_strips()]
    assert {cell_len(line) for line in lines} == {SMALL[0]}
    assert not {"Cc", "Cf", "Cs"} & {unicodedata.category(one) for line in lines for one in line}
    for line in lines:
        assert line.startswith("│") == line.endswith("│"), line


async def test_nasty_rows_are_drawn_safely_from_room_to_room() -> None:
    rows = [
        job(LARGEST - at, kind=text, payload={text: [text, {text: text}], "": None}, created_at=NOW)
        for at, text in enumerate(NASTY)
    ]
    dead = [
        job(at, "dead", kind=text, errors=({"error": text, "at": text, "traceback": f"{text}\n{text}"},))
        for at, text in enumerate(NASTY)
    ]
    groups = tuple(
        FailureGroup(text, text, text, 1, 1, NOW - timedelta(hours=1), NOW, text, LARGEST, (at,))
        for at, text in enumerate(NASTY)
    )
    queues = tuple(queue(text, dead=1) for text in NASTY)
    source = LiteralSource(replace(BUSY, queues=queues), jobs=(*rows, *dead))
    source.failures_held = groups
    async with dashboard(source, SMALL) as pilot:
        await pilot.press("2")
        assert_drawn_well(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: str(LARGEST) in screen(pilot))
        assert_drawn_well(pilot)
        await pilot.press("space")
        await until(pilot, lambda: f"● {LARGEST}" in screen(pilot))
        assert_drawn_well(pilot)
        for _ in NASTY[:3]:
            await pilot.press("enter")
            await until(pilot, lambda: "payload" in screen(pilot) and "attempt" in screen(pilot))
            assert_drawn_well(pilot)
            await pilot.press("escape", "down", "down", "down")
        await pilot.press("left")
        await until(pilot, lambda: "▸ dead" in screen(pilot) and str(LARGEST) not in screen(pilot))
        assert_drawn_well(pilot)
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: "attempt" in screen(pilot))
        assert_drawn_well(pilot)
        await pilot.press("escape", "escape", "f")
        await until(pilot, lambda: f"job {LARGEST}" in screen(pilot))
        assert_drawn_well(pilot)
        await pilot.press("R")
        await until(pilot, lambda: "ladder" in screen(pilot))
        await pilot.press("escape", "enter")
        await until(pilot, lambda: "last error" in screen(pilot))
        assert_drawn_well(pilot)


async def test_a_note_says_that_what_it_shows_is_gone_and_stays() -> None:
    source = LiteralSource(WITH_PGMQ)
    async with dashboard(source, SMALL) as pilot:

        async def then(words: str) -> None:
            await pilot.press("ctrl+r")
            await until(pilot, lambda: words in screen(pilot))
            await pilot.press("escape")
            source.script[:] = [WITH_PGMQ]

        await pilot.press("i")
        await until(pilot, lambda: "evidence" in screen(pilot))
        source.script[:] = [replace(WITH_PGMQ, findings=())]
        await then("it is found no longer; this is how it was last seen")
        await pilot.press("4", "enter")
        await until(pilot, lambda: "connected" in screen(pilot))
        sessions = WITH_PGMQ.sessions
        source.script[:] = [replace(WITH_PGMQ, session_list=(), sessions=replace(sessions, total=0))]  # type: ignore[type-var]
        await then("the session has ended")
        await pilot.press("5", "enter")
        await until(pilot, lambda: "customer-7" in screen(pilot))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "topic" in screen(pilot))
        source.subscription_held = replace(SUBSCRIBED, parked=())
        await then("the event is put aside no longer")


async def test_a_room_whose_thing_was_dropped_says_so_and_stays() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source, SMALL) as pilot:
        await pilot.press("5", "enter")
        await until(pilot, lambda: "customer-7" in screen(pilot))
        source.fails = GONE
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "○ it is not there; this is how it was last seen" in screen(pilot))
        assert "customer-7" in screen(pilot)
        source.fails = None
        await pilot.press("escape", "7", "down", "down", "enter")
        await until(pilot, lambda: "indexes beside the primary key" in screen(pilot))
        before = screen(pilot).splitlines()[3:7]
        source.fails = GONE
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "○ it is not there; this is how it was last seen" in screen(pilot))
        assert screen(pilot).splitlines()[3:7] == before


async def test_paused_one_step_looks_once() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source, SMALL) as pilot:
        await pilot.press("2", "down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, JobsRoom) and "93000" in screen(pilot))
        await pilot.press("p")
        await until(pilot, lambda: "‖ paused" in screen(pilot))
        looks = source.snapshots
        source.jobs_held = source.jobs_held[5:]
        await pilot.press("full_stop")
        await until(pilot, lambda: "93000" not in screen(pilot) and "93005" in screen(pilot))
        assert source.snapshots == looks + 1
        assert "‖ paused" in screen(pilot)
