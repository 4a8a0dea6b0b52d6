"""What hands do in every room: filter, mark, act on what is marked, export, steer by keys of one's own and by mouse."""

import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from dashboard_story import USUAL, Story, dashboard, screen, until
from rich.text import Text
from snapshots_literal import BUSY, FAILURES, NOW, SUBSCRIBED, LiteralSource, job
from textual.widgets import Input, Tree

from pgops.errors import UsageError
from pgops.ops.act.actions import Action
from pgops.tui.app import PgopsApp
from pgops.tui.export import as_csv, as_json, file_name, rows_of, write
from pgops.tui.screens.ask import Choose, Question
from pgops.tui.screens.base import Room
from pgops.tui.screens.finding import FindingNote
from pgops.tui.screens.help import Help
from pgops.tui.screens.jobs import JobsRoom
from pgops.tui.screens.queues import QueuesRoom
from pgops.tui.widgets.foot import Foot
from pgops.tui.widgets.ledger import Column, Ledger, Line


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
        await until(pilot, lambda: "● 7 marked, 4 of them out of sight" in screen(pilot))
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


# --- letters that move -----------------------------------------------------------------------------------------


async def test_letters_move_in_tables_trees_lists_and_notes() -> None:
    async with dashboard(jobs_source(60)) as pilot:
        await at_jobs(pilot)
        held = table(pilot, "jobs")
        for keys, row in (("jjj", 3), ("k", 2), ("G", 59), ("g", 0)):
            await pilot.press(*keys)
            await until(pilot, lambda row=row: held.cursor_row == row)
        await pilot.press("}")
        half = held.cursor_row
        assert 5 <= half <= 15
        await pilot.press("}", "{")
        assert held.cursor_row == half
        await pilot.press("l")
        await until(pilot, lambda: "▸ available" in screen(pilot))
        await pilot.press("h", "enter")
        await until(pilot, lambda: bool(pilot.app.screen.query("#payload")))
        tree: Tree[None] = pilot.app.screen.query_one("#payload", Tree)
        tree.focus()
        await until(pilot, lambda: tree.last_line > 3)
        await pilot.press("G")
        assert tree.cursor_line == tree.last_line
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))
        words = pilot.app.screen.query_one(".words")
        await pilot.press("G")
        await until(pilot, lambda: words.scroll_y == words.max_scroll_y > 0)
        await pilot.press("{", "g", "j", "j")
        await until(pilot, lambda: words.scroll_y == 2)


# --- the export ------------------------------------------------------------------------------------------------


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_what_is_shown_goes_into_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.csv").write_text("mine")
    async with dashboard(jobs_source()) as pilot:
        await at_jobs(pilot)
        await pilot.press("slash", *"kind:mail id>6", "enter", "s", "r", "e")
        await until(pilot, lambda: "export 3 lines" in screen(pilot) and "kind:mail id>6" in screen(pilot))
        box = pilot.app.screen.query_one("#path", Input)
        assert Path(box.value).parent == tmp_path
        assert Path(box.value).name.startswith("pgops-jobs-")
        box.value = str(tmp_path / "taken.csv")
        await pilot.press("enter")
        await until(pilot, lambda: "is there already" in screen(pilot))
        await pilot.click("#json")
        await until(pilot, lambda: "✓ Exported" in screen(pilot))
        rows = json.loads(read(tmp_path / "taken.json"))
        assert read(tmp_path / "taken.csv") == "mine"
    assert written(tmp_path) == ["taken.csv", "taken.json"]
    assert [row["id"] for row in rows] == [11, 9, 7], "in the order of the screen"
    assert [*rows[0]] == ["id", "state", "kind", "try", "age", "payload", "error"]
    assert (rows[0]["state"], rows[0]["try"], rows[0]["age"]) == ("dead", 3, 311.0)
    assert rows[0]["payload"]["to"] == "user11@example.org", "whole, though it is cut on screen"


def test_a_file_is_written_once_and_says_why_it_cannot_be(tmp_path: Path) -> None:
    rows = [{"name": "a"}]
    write(tmp_path / "a.csv", rows)
    (tmp_path / "link.csv").symlink_to(tmp_path / "elsewhere")
    for name, said in (
        ("a.csv", "is there already"), ("link.csv", "is there already"), ("a.txt", "neither in .csv nor in .json"),
        ("none/a.csv", "cannot be written"), ("", "neither"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            write(tmp_path / name, rows)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_could_not_be_written_whole_is_not_left(tmp_path: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, usual[1]))
    try:
        with pytest.raises(UsageError, match="cannot be written: File too large"):
            write(tmp_path / "a.csv", [{"name": "x" * 5_000}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not list(tmp_path.iterdir())


COLUMNS = (Column("name", "name", 0), Column("age", "age", 7), Column("rank", "rank", 7, ranked=True))


def line(name: str, age: float, shown: str = "5m", rank: str = "▲ bad") -> Line:
    return Line(name, (Text(name), Text(shown), Text(rank)), (name, age, 0.0), name)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("plain", "plain"), ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"), ("＝1", "'＝1"),
        ("  =1", "'  =1"), ("\t=1", "␉=1"), ("\r=1", "␍=1"), ("a,b", '"a,b"'), ('"', '""""'), ("\x1b[2J", "␛[2J"),
        ("\x9b2J", "�2J"), ("a\nb", "a␊b"), ("–x", "–x"),
    ],
)  # fmt: skip
def test_csv_is_text_for_a_spreadsheet_and_a_terminal(name: str, cell: str) -> None:
    assert as_csv(rows_of(COLUMNS, [line(name, 300.5)])) == f"name,age,rank\r\n{cell},300.5,bad\r\n"


def test_json_is_exact_and_unknown_is_null() -> None:
    hostile = "=\x1b[2J\x9b\u202eé"
    whole = Line("k", (Text("k"), Text("–"), Text("bad")), ("k", -1.0, 0.0), raw={"name": {"to": [hostile]}})
    text = as_json(rows_of(COLUMNS, [whole, line("-5", -5.0)]))
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text) == [
        {"name": {"to": [hostile]}, "age": None, "rank": "bad"},
        {"name": "-5", "age": -5.0, "rank": "bad"},
    ]
    assert as_csv(rows_of(COLUMNS, [line("-5", -5.0)])).endswith("'-5,-5.0,bad\r\n"), "a number is no formula"
    assert json.loads(as_json([])) == []
    assert as_csv([]) == ""


def test_a_file_is_named_after_what_it_holds_and_when() -> None:
    assert file_name("jobs ../x", NOW) == "pgops-jobs----x-20260301T031245Z.csv"


# --- the mouse -------------------------------------------------------------------------------------------------


async def press_foot(pilot: Story, words: str) -> None:
    """Click a key at the foot of the room."""
    at = pilot.app.screen.query_one(Foot).line.plain.index(words)
    await pilot.click(Foot, offset=(at + 2, 0))


async def row(pilot: Story, id: str, at: int, *, times: int = 1) -> None:
    """Click a row of a table: under its border and its head."""
    await pilot.click(f"#{id}", offset=(12, 2 + at), times=times)


async def test_all_is_reached_by_clicks_alone() -> None:
    async with dashboard(LiteralSource(BUSY), USUAL) as pilot:
        await pilot.click("#queue")
        await until(pilot, lambda: isinstance(pilot.app.screen, QueuesRoom) and table(pilot, "queues").row_count == 4)
        await until(pilot, lambda: table(pilot, "queues").ordered_columns != [])
        ready = shown(pilot, "queues")
        await pilot.click("#queues", offset=(6, 1))
        assert shown(pilot, "queues") == ready[::-1], "the column it was sorted by is turned round"
        await pilot.click("#queues", offset=(6, 1))
        await row(pilot, "queues", 1)
        assert table(pilot, "queues").current == ready[1]
        assert isinstance(pilot.app.screen, QueuesRoom), "one click is to choose"
        await row(pilot, "queues", 1)
        await until(pilot, lambda: isinstance(pilot.app.screen, JobsRoom) and table(pilot, "jobs").row_count > 5)
        await row(pilot, "jobs", 3, times=2)
        await until(pilot, lambda: bool(pilot.app.screen.query("#payload")))
        await press_foot(pilot, "Back")
        await until(pilot, lambda: isinstance(pilot.app.screen, JobsRoom))
        await press_foot(pilot, "Discard")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question | Choose))
        if isinstance(pilot.app.screen, Choose):
            await pilot.click("OptionList", offset=(3, 0))
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and "as a command" in screen(pilot))
        await pilot.click("#cancel")
        await until(pilot, lambda: isinstance(pilot.app.screen, JobsRoom))
        at = screen(pilot).split("\n")[0].index("6")
        await pilot.click("#rooms", offset=(at - 1, 0))
        await until(pilot, lambda: pilot.app.current_mode == "stores")
        at = screen(pilot).split("\n")[0].index("Overview")
        await pilot.click("#rooms", offset=(at, 0))
        await until(pilot, lambda: pilot.app.current_mode == "overview")
        await pilot.click("#subscriptions", offset=(6, 2))
        await until(pilot, lambda: bool(pilot.app.screen.query("#parked")))
        await press_foot(pilot, "Back")
        await row(pilot, "findings", 1, times=2)
        await until(pilot, lambda: pilot.app.current_mode == "stores")
        await pilot.click("#rooms", offset=(at, 0))
        await press_foot(pilot, "Why")
        await until(pilot, lambda: isinstance(pilot.app.screen, FindingNote))
        await pilot.click("#go")
        await until(pilot, lambda: pilot.app.current_mode == "stores")


COMMANDS = {
    "1": "pgops queue requeue email --stuck", "2": "pgops queue jobs billing", "3": "pgops vector list",
    "4": "pgops sessions list", "5": "pgops outbox show search-index", "6": "pgops cache stats",
    "7": "pgops doc index carts", "8": "pgops status", "9": "pgops outgrow", "u": "pgops audit show 12",
}  # fmt: skip


async def test_every_room_is_copied_as_a_command_and_every_table_by_value() -> None:
    async with dashboard(LiteralSource(BUSY), USUAL) as pilot:
        for key, command in COMMANDS.items():
            await pilot.press(key)
            await until(pilot, lambda: isinstance(pilot.app.screen, Room) and pilot.app.screen.view is not None)
            held = pilot.app.screen
            assert isinstance(held, Room)
            await until(
                pilot, lambda held=held: held.aimed is None or not held.aimed.display or held.aimed.row_count > 0
            )
            await pilot.press("c")
            await until(pilot, lambda: bool(app_of(pilot).clipboard))
            assert app_of(pilot).clipboard == command, key
            app_of(pilot).copy_to_clipboard("")
            if held.aimed is not None and held.aimed.display:
                value = held.aimed.current_line
                await pilot.press("y")
                assert value is not None
                assert app_of(pilot).clipboard == value.value, key
            app_of(pilot).copy_to_clipboard("")
            app_of(pilot).clear_notifications()
