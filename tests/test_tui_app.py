"""Key stories on literal snapshots, at the small and the usual size of a terminal."""

from dataclasses import replace

import pytest
from dashboard_story import LARGE, SMALL, USUAL, Story, dashboard, screen, until
from snapshots_literal import BUSY, CALM, EMPTY, FINDINGS, HOSTILE, JOBS, NO_SCHEMA, LiteralSource, job, queue
from textual.widgets import Input, Static

from pgops.errors import RefusedError, UnreachableError
from pgops.ops.act.actions import Action, ActionName
from pgops.ops.observe.snapshot import Finding
from pgops.services.models import DeadMatch
from pgops.tui.app import PgopsApp
from pgops.tui.keymap import GROUPS, KEYS
from pgops.tui.screens.ask import Choose, Question
from pgops.tui.screens.finding import FindingNote
from pgops.tui.screens.help import Help, all_keys
from pgops.tui.screens.job import JobRoom
from pgops.tui.screens.jobs import JobsRoom
from pgops.tui.screens.overview import headline
from pgops.tui.widgets.foot import Foot
from pgops.tui.widgets.ledger import Ledger

SIZES = pytest.mark.parametrize(
    "size",
    [
        pytest.param(SMALL, id="80x24"),
        pytest.param(USUAL, id="120x40", marks=pytest.mark.slow),
        pytest.param(LARGE, id="200x50", marks=pytest.mark.slow),
    ],
)
LOST = UnreachableError("connection refused", "check host and port")
TWO_SIZES = [pytest.param(SMALL, id="80x24"), pytest.param(USUAL, id="120x40", marks=pytest.mark.slow)]


def app_of(pilot: Story) -> PgopsApp:
    assert isinstance(pilot.app, PgopsApp)
    return pilot.app


# --- what is seen ----------------------------------------------------------------------------------------------


@SIZES
async def test_what_needs_a_human_and_every_part_are_seen_at_once(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(BUSY), size) as pilot:
        seen = screen(pilot)
        for words in (
            "▲ critical", "3 jobs of email are stuck", "◆ warning", "212,400 expired cache entries", "● info",
            "~14.7k ready", "in 471/s  out 410/s", "oldest 1h 30m", "◆ stuck 3", "◆ dead 41", "events behind",
            "oldest waits 13m 32s", "relayed 67/s", "◆ parked 4", "95.7% app hit ratio",
            "buffer hits 99.9%",
            "◆ expired 212k", "2 indexes", "searches", "recall 96.2%", "61 of 100 · 61%", "7 active  51 idle",
            "◆ idle in tx 3", "oldest tx 12m 14s", "5.8 ms to look", "14 statements", "most: queues 1.9 ms",
            "postgresql://app:***@db.internal:5432/shop", "PostgreSQL 18.1", "● live 1s", "03:12:45 UTC", "? Help",
        ):  # fmt: skip
            assert words in seen, words


async def test_nothing_wrong_is_calm() -> None:
    async with dashboard(LiteralSource(CALM)) as pilot:
        seen = screen(pilot)
        assert "✓ nothing needs a human" in seen
        assert "stuck 0  dead 0" in seen
        assert "◆ stuck" not in seen


@pytest.mark.parametrize(
    ("findings", "told"),
    [
        ((), "✓ nothing needs a human"),
        (FINDINGS[2:], "✓ nothing needs a human · 1 to know"),
        (FINDINGS[:2], "needs a human · 2"),
        (FINDINGS, "needs a human · 2 · 1 to know"),
    ],
)
def test_what_is_only_to_know_needs_nobody(findings: tuple[Finding, ...], told: str) -> None:
    assert headline(replace(CALM, findings=findings)) == told


@SIZES
async def test_an_empty_database_tells_the_first_command(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(EMPTY), size) as pilot:
        seen = screen(pilot)
        assert "no queues yet" in seen
        assert "pgops queue enqueue" in seen
        assert "pgops vector create" in seen
        await pilot.press("2")
        await until(pilot, lambda: "No queue yet." in screen(pilot))
        await pilot.press("3")
        await until(pilot, lambda: "No vector index yet." in screen(pilot))


@SIZES
async def test_without_the_schema_the_way_to_it_is_shown_and_the_rest_works(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(NO_SCHEMA), size) as pilot:
        seen = screen(pilot)
        assert "the pgops schema is missing here" in seen
        assert "run: pgops migrate" in seen
        assert "61 of 100" in seen
        assert "nothing needs a human" not in seen
        await pilot.press("3")
        await until(pilot, lambda: "the extension vector is not installed" in screen(pilot))


async def test_markup_and_terminal_sequences_in_data_are_only_text() -> None:
    async with dashboard(LiteralSource(HOSTILE), USUAL) as pilot:
        assert "[bold]x[/bold]␛[2J" in screen(pilot)
        await pilot.press("2")
        await until(pilot, lambda: "[red]boo[/red]␛[31m␛]0;pwned␇" in screen(pilot))
        seen = screen(pilot)
        assert "�evil" in seen
        assert not {"\x1b", "\x07", "\u202e"} & set(seen)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, JobsRoom))
        assert "[red]boo[/red]" in screen(pilot)


async def test_several_findings_about_one_thing_are_all_shown() -> None:
    twins = tuple(replace(BUSY.findings[0], title=f"twin {at}", target=None) for at in range(3))
    async with dashboard(LiteralSource(replace(BUSY, findings=twins))) as pilot:
        await until(pilot, lambda: all(f"twin {at}" in screen(pilot) for at in range(3)))


# --- lost and found --------------------------------------------------------------------------------------------


@SIZES
async def test_a_lost_connection_keeps_the_last_snapshot_and_comes_back(size: tuple[int, int]) -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source, size) as pilot:
        source.script[:] = [LOST]
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "✕ connection refused" in screen(pilot))
        seen = screen(pilot)
        assert "✕ lost" in seen
        assert "trying again in" in seen
        assert "last seen 03:12:45 UTC" in seen
        assert "check host and port" in seen
        assert "3 jobs of email are stuck" in seen
        assert pilot.app.screen.query_one("#body").has_class("-stale")
        source.script[:] = [CALM]
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "● live" in screen(pilot) and "connection refused" not in screen(pilot))
        assert not pilot.app.screen.query_one("#body").has_class("-stale")


async def test_a_database_that_was_never_reached_is_a_state_and_not_an_end() -> None:
    source = LiteralSource(LOST)
    async with dashboard(source) as pilot:
        await until(pilot, lambda: "✕ connection refused" in screen(pilot))
        for key in ("2", "3", "1", "R", "enter", "question_mark", "escape"):
            await pilot.press(key)
        source.script[:] = [BUSY]
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "3 jobs of email are stuck" in screen(pilot))


async def test_a_failure_of_our_own_is_told_and_the_app_goes_on() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        source.script.clear()
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "IndexError" in screen(pilot))
        source.script[:] = [BUSY]
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "● live" in screen(pilot))


async def test_paused_holds_still_and_says_so() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await pilot.press("p")
        await until(pilot, lambda: "‖ paused" in screen(pilot))
        looks = source.snapshots
        await pilot.pause(1.2)
        assert source.snapshots == looks
        await pilot.press("p", "minus")
        await until(pilot, lambda: "● live 2s" in screen(pilot))


# --- rows ------------------------------------------------------------------------------------------------------


async def test_rows_are_updated_in_place_and_the_cursor_stays_on_its_row() -> None:
    source = LiteralSource(replace(BUSY, queues=(queue("b"), queue("c"))))
    async with dashboard(source) as pilot:
        await pilot.press("2", "down")
        table = pilot.app.screen.query_one("#queues", Ledger)
        await until(pilot, lambda: table.current == "c")
        kept = table.ordered_rows[0].key
        source.script[:] = [replace(BUSY, queues=(queue("a", dead=7), queue("b", available=5_555), queue("c")))]
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "5,555" in screen(pilot))
        assert table.current == "c"
        assert [row.key.value for row in table.ordered_rows] == ["a", "b", "c"]
        assert table.ordered_rows[1].key is kept, "the row of b was not made anew"
        source.script[:] = [replace(BUSY, queues=(queue("c"),))]
        await pilot.press("ctrl+r")
        await until(pilot, lambda: table.row_count == 1)


async def test_sort_and_reverse() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        await pilot.press("2", "s")
        table = pilot.app.screen.query_one("#queues", Ledger)
        await until(pilot, lambda: table.sort_by == "ready")
        assert [row.key.value for row in table.ordered_rows] == ["billing", "webhooks", "thumbnails", "email"]
        await pilot.press("r")
        assert [row.key.value for row in table.ordered_rows] == ["email", "thumbnails", "webhooks", "billing"]


async def test_the_filter_hides_lines_and_escape_brings_them_back() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        await pilot.press("2", "slash", *"ai !bi")
        table = pilot.app.screen.query_one("#queues", Ledger)
        await until(pilot, lambda: table.row_count == 2)
        await pilot.press("enter")
        assert pilot.app.focused is table
        assert {row.key.value for row in table.ordered_rows} == {"email", "thumbnails"}
        await pilot.press("escape")
        await until(pilot, lambda: table.row_count == 4)


# --- ways ------------------------------------------------------------------------------------------------------


@SIZES
async def test_from_a_queue_to_its_dead_jobs_to_one_job_and_back(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(BUSY), size) as pilot:
        await pilot.press("2", "down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, JobsRoom) and "93000" in screen(pilot))
        await pilot.press("left")
        await until(pilot, lambda: "▸ dead 41" in screen(pilot) and "90100" in screen(pilot))
        assert "last error" in screen(pilot), "of a dead letter that is what one looks for, however narrow it is"
        assert "TimeoutError" in screen(pilot)
        assert "93000" not in screen(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, JobRoom) and "TimeoutError" in screen(pilot))
        seen = screen(pilot)
        for words in ("3 of 3", "user90100@example.org", "SMTPServerDisconnected", "2026-03-01 03:06"):
            assert words in seen, words
        await pilot.press("q", "escape")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
        assert "thumbnails" in screen(pilot)


async def test_a_job_that_is_gone_says_so() -> None:
    source = LiteralSource(BUSY, jobs=(job(1),))
    async with dashboard(source) as pilot:
        await pilot.press("2", "down", "enter")
        await until(pilot, lambda: "user1@" in screen(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "template" in screen(pilot))
        source.jobs_held = ()
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "no longer in the queue" in screen(pilot))
        assert "template" in screen(pilot)


async def test_search_by_likeness_shows_scores_and_texts() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await pilot.press("3", "slash", *"list", "enter")
        await until(pilot, lambda: "0.913" in screen(pilot))
        assert source.ran == [Action("search", "docs", query="list", limit=20)]
        seen = screen(pilot)
        assert "━" in seen
        assert "sorted(iterable" in seen
        await pilot.press("enter")
        await until(pilot, lambda: "return a new sorted list" in screen(pilot))
        await pilot.press("escape", "escape")
        await until(pilot, lambda: pilot.app.focused is not None and pilot.app.focused.id == "indexes")


async def test_the_vectors_room_tells_lists_built_and_set_and_what_is_not_measured() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        await pilot.press("3", "down")
        await until(pilot, lambda: "◆ set to 120, B rebuilds" in screen(pilot))
        seen = screen(pilot)
        for words in ("84→120", "1,433", "not measured", "96.2%", "✓ yes"):
            assert words in seen, words


# --- acts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "act"), [("R", "requeue_dead"), ("D", "discard_dead")])
async def test_what_the_filter_asks_for_may_be_asked_of_all_dead(key: str, act: ActionName) -> None:
    source = LiteralSource(BUSY, jobs=tuple(one for one in JOBS if one.state == "dead"))
    async with dashboard(source) as pilot:
        await pilot.press("2", "down", "enter")
        await until(pilot, lambda: "90104" in screen(pilot))
        await pilot.press("slash", *"error:550", "enter", key)
        await until(pilot, lambda: "all dead with '550' in the error" in screen(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: bool(source.previewed))
        assert source.previewed == [Action(act, "email", match=DeadMatch(error="550"))]


@pytest.mark.parametrize("size", TWO_SIZES)
async def test_requeue_asks_which_shows_what_it_hits_and_does_it_on_y_alone(size: tuple[int, int]) -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source, size) as pilot:
        await pilot.press("2", "down", "R")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "matches 41" in screen(pilot))
        seen = screen(pilot)
        for words in ("90100  welcome", "delete from pgops.job_dead", "pgops queue requeue email --dead", "Cancel"):
            assert words in seen, words
        assert pilot.app.focused is not None
        assert pilot.app.focused.id == "cancel", "enter alone does nothing"
        looks = source.snapshots
        await pilot.press("y")
        await until(pilot, lambda: "41 jobs of email requeued (audit 12)" in screen(pilot))
        assert source.ran == [Action("requeue_dead", "email")]
        await until(pilot, lambda: source.snapshots > looks)


@pytest.mark.parametrize("key", ["escape", "enter"])
async def test_an_act_that_is_not_confirmed_does_nothing(key: str) -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await pilot.press("P")
        await until(pilot, lambda: "matches 41" in screen(pilot))
        await pilot.press(key)
        await until(pilot, lambda: not isinstance(pilot.app.screen, Question))
        assert source.previewed == [Action("purge_expired", "")]
        assert source.ran == []


async def test_an_act_with_nothing_to_do_cannot_be_confirmed() -> None:
    source = LiteralSource(BUSY)
    source.matched = 0
    async with dashboard(source) as pilot:
        await pilot.press("P")
        await until(pilot, lambda: "matches 0" in screen(pilot))
        await pilot.press("y")
        assert isinstance(pilot.app.screen, Question)
        assert source.ran == []


async def test_a_long_preview_keeps_its_buttons_and_can_be_read_to_its_end() -> None:
    source = LiteralSource(BUSY)
    source.sql = "\n".join(f"line {at}" for at in range(60))
    async with dashboard(source) as pilot:
        await pilot.press("P")
        await until(pilot, lambda: "line 1" in screen(pilot))
        assert "y  Do it" in screen(pilot)
        assert "pgops cache purge" not in screen(pilot)
        await pilot.press(*["down"] * 20)
        await until(pilot, lambda: "pgops cache purge" in screen(pilot))
        assert "y  Do it" in screen(pilot)


async def test_a_refused_act_tells_why_and_what_to_do() -> None:
    source = LiteralSource(BUSY)
    source.fails = RefusedError("this session is read-only", "leave out --read-only")
    async with dashboard(source) as pilot:
        await pilot.press("P")
        await until(pilot, lambda: "matches 41" in screen(pilot))
        await pilot.press("y")
        await until(pilot, lambda: "this session is read-only" in screen(pilot))
        assert "✕ Not done" in screen(pilot)


async def test_a_finding_offers_the_act_that_cures_it() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await pilot.press("i")
        await until(pilot, lambda: isinstance(pilot.app.screen, FindingNote))
        seen = screen(pilot)
        assert "Their worker is gone" in seen
        assert "pgops queue requeue email --stuck" in seen
        await pilot.press("enter")
        await until(pilot, lambda: "matches 41" in screen(pilot))
        await pilot.press("y")
        await until(pilot, lambda: source.ran == [Action("requeue_stuck", "email")])


async def test_marked_jobs_are_requeued_together() -> None:
    source = LiteralSource(BUSY, jobs=tuple(one for one in JOBS if one.state == "dead"))
    async with dashboard(source) as pilot:
        await pilot.press("2", "down", "enter")
        await until(pilot, lambda: "90104" in screen(pilot))
        await pilot.press("space", "space", "R")
        await until(pilot, lambda: "marked: 2 jobs (dead)" in screen(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: bool(source.previewed))
        assert source.previewed == [Action("requeue_dead", "email", (90_100, 90_101))]


async def test_rebuild_offers_the_usual_number_of_lists_and_the_one_set() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await pilot.press("3", "down", "B")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose) or bool(source.previewed))
        if isinstance(pilot.app.screen, Choose):
            await pilot.press("enter")
        await until(pilot, lambda: bool(source.previewed))
        assert source.previewed == [Action("rebuild_index", "products", lists=120)]


# --- keys ------------------------------------------------------------------------------------------------------


async def test_the_help_lists_every_key() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))
        shown = str(pilot.app.screen.query_one(".words Static", Static).content)
        for key in KEYS.values():
            assert key.tooltip in shown
            assert key.key_display is not None
            assert key.key_display in shown
        assert shown == all_keys().plain


def test_every_key_has_an_id_a_tooltip_and_a_way_to_write_it() -> None:
    every = [key for group in GROUPS for key in group.keys]
    assert len(KEYS) == len(every), "an id stands twice"
    for key in every:
        assert key.id
        assert key.tooltip
        assert key.key_display


def test_acts_are_upper_case_and_nothing_else_is() -> None:
    acts = {key.id for group in GROUPS if group.title.startswith("Act") for key in group.keys} - {"confirm"}
    assert {key.id for key in KEYS.values() if len(key.key) == 1 and key.key.isupper()} == acts | {"bottom"}


@pytest.mark.slow
async def test_the_palette_does_what_a_key_does() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source, USUAL) as pilot:
        await pilot.press("colon")
        await pilot.pause(0.3)
        await pilot.press(*"purge")
        await until(pilot, lambda: "Purge cache" in screen(pilot))
        await pilot.pause(0.3)
        await pilot.press("enter")
        await until(pilot, lambda: bool(source.previewed))


async def test_copying_an_act_as_a_command() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        await pilot.press("c")
        await until(pilot, lambda: app_of(pilot).clipboard == "pgops queue requeue email --stuck")
        await pilot.press("2", "down", "c")
        await until(pilot, lambda: app_of(pilot).clipboard == "pgops queue jobs email")
        await pilot.press("y")
        await until(pilot, lambda: app_of(pilot).clipboard == "email")


async def test_letters_typed_into_the_prompt_are_text() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await pilot.press("3", "slash", *"qR1p?")
        assert pilot.app.screen.query_one("#prompt", Input).value == "qR1p?"
        assert source.previewed == []


async def test_q_leaves_at_the_top() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        await pilot.press("q")
        await pilot.pause()
        assert pilot.app.return_value == 0


async def test_a_key_at_the_foot_is_pressed_by_a_click() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        at = pilot.app.screen.query_one(Foot).line.plain.index("? Help")
        await pilot.click(Foot, offset=(at + 2, 0))
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))
