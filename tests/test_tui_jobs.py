"""The jobs of a queue in the dashboard: a window on more than it holds, and a search that goes beyond it."""

from datetime import timedelta

import pytest
from dashboard_story import SMALL, USUAL, Story, dashboard, screen, until
from snapshots_literal import BUSY, NOW, LiteralSource, job
from textual.widgets import Input

from pgops.services.models import JobMatch, JobPage
from pgops.tui.job_terms import beyond_lines, job_match, told
from pgops.tui.job_window import MOST_PAGES, JobWindow
from pgops.tui.screens.jobs import JobsRoom
from pgops.tui.widgets.long_ledger import LongLedger

MANY = tuple(job(1_000 + at, kind="rare" if at % 150 == 149 else "welcome", created_at=NOW) for at in range(450))


def page(*ids: int, next: str | None = "n", previous: str | None = "p", cut: bool = False) -> JobPage:
    return JobPage(tuple(job(id) for id in ids), next, previous, f"a{ids[0] if ids else ''}", 10, cut)


def held(window: JobWindow) -> list[int]:
    return [one.id for one in window.jobs]


def test_a_window_holds_a_bounded_number_of_pages() -> None:
    window = JobWindow()
    window.begin(page(1, 2, previous=None))
    for at in range(3, 11, 2):
        window.append(page(at, at + 1))
    assert held(window) == [5, 6, 7, 8, 9, 10]
    assert len(window.pages) == MOST_PAGES
    window.prepend(page(3, 4))
    assert held(window) == [3, 4, 5, 6, 7, 8]
    assert window.span({6, 7}) == (1, 2)
    assert window.span({99}) == (0, 0)
    window.renew(1, [page(6, 7)])
    assert held(window) == [3, 4, 6, 7], "what was read before its place was read again is let go"
    window.append(page(3, 8))
    assert held(window) == [4, 6, 7, 3, 8], "a job that has moved stands where it was read last"
    assert not window.whole
    window.begin(page(1, next=None, previous=None))
    assert window.whole


def test_a_search_that_found_nothing_yet_remembers_what_it_looked_at() -> None:
    window = JobWindow()
    window.begin(page(previous=None, cut=True))
    window.append(page(cut=True))
    assert (window.searched, len(window.pages), window.previous) == (20, 1, None)
    window.append(page(1, 2))
    assert (window.searched, held(window)) == (0, [1, 2])


@pytest.mark.parametrize(
    ("query", "match"),
    [
        ("", None),
        ("timeout", JobMatch(words=("timeout",))),
        ("kind:report no answer", JobMatch(kind="report", words=("no", "answer"))),
        ('kind:"a b" "no answer"', JobMatch(kind="a b", words=("no answer",))),
        ("!ping !kind:a !kind:b", JobMatch(not_words=("ping",), not_kinds=("a", "b"))),
        ("args.user_id:42", JobMatch(payload={"user_id": 42})),
        ('args.user.id:"42" args.user.name:ann', JobMatch(payload={"user": {"id": "42", "name": "ann"}})),
        ("age>5m age<2.5h", JobMatch(older_than_s=300, younger_than_s=9_000)),
        ("id:77", JobMatch(id=77)),
        ("http://x", JobMatch(words=("http://x",))),
        ("error:a error:b", None),
        ("error:", None),
        ("!error:a", None),
        ("state:dead", None),
        ("id:77 kind:a", None),
        ("id:x", None),
        ("id:9223372036854775808", None),
        ("args.a:1 args.a.b:2", None),
        ("args.a:1 args.a:2", None),
        ("!", None),
    ],
)
def test_what_the_server_can_be_asked(query: str, match: JobMatch | None) -> None:
    assert job_match(query) == match


def test_what_the_lines_of_a_table_cannot_tell_and_what_is_asked_in_words() -> None:
    assert [beyond_lines(one) for one in ("ping", "kind:a !b", "age>5m", "args.a:1")] == [False, False, False, True]
    match = job_match("kind:a !kind:b error:c d !e args.f:1 age>5m age<1h")
    assert match is not None
    assert told(match) == (
        "of kind a, not of kind b, with 'c' in the error, with 'd' in it, without 'e', with {\"f\": 1},"
        " added 5m 00s ago, added since 1h 00m"
    )


def table_of(pilot: Story) -> LongLedger:
    return pilot.app.screen.query_one("#jobs", LongLedger)


async def opened(pilot: Story) -> LongLedger:
    await pilot.press("2", "down", "enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, JobsRoom) and table_of(pilot).row_count > 0)
    return table_of(pilot)


async def test_going_past_the_last_row_reads_on_and_past_the_first_reads_back() -> None:
    source = LiteralSource(BUSY, jobs=MANY)
    async with dashboard(source, SMALL) as pilot:
        table = await opened(pilot)
        assert table.row_count == 100
        assert "from id 1000" in screen(pilot)
        table.go(1, None)
        for last in (1_100, 1_200, 1_300):
            await pilot.press("down")
            await until(pilot, lambda last=last: table.current == str(last))
            assert str(last) in screen(pilot)
            assert table.row_count <= 300
            table.go(1, None)
        assert "from id 1100" in screen(pilot)
        table.go(-1, None)
        await pilot.press("pageup")
        await until(pilot, lambda: table.current == "1099")
        assert "1099" in screen(pilot)
        await pilot.press("end")
        await until(pilot, lambda: table.current == "1449")
        assert table.row_count == 100
        await pilot.press("g")
        await until(pilot, lambda: table.current == "1000")


async def test_the_cursor_stays_on_its_job_while_others_come_and_go() -> None:
    source = LiteralSource(BUSY, jobs=MANY)
    async with dashboard(source, SMALL) as pilot:
        table = await opened(pilot)
        table.go(1, "1039")
        await pilot.press("space")
        await until(pilot, lambda: table.current == "1041" and table.marks == {"1040"})
        line = screen(pilot).splitlines().index(next(one for one in screen(pilot).splitlines() if " 1041 " in one))
        source.jobs_held = MANY[20:]
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "from id 1020" in screen(pilot))
        await until(pilot, lambda: " 1041 " in screen(pilot).splitlines()[line])
        assert table.current == "1041"
        source.jobs_held = MANY[60:]
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "from id 1060" in screen(pilot))
        source.jobs_held = ()
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "no jobs here" in screen(pilot))
        source.jobs_held = MANY[:1]
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "1000" in screen(pilot))
        assert table.marks == set(), "of what is not there any more nothing is marked"


async def test_a_filter_asks_the_server_where_the_page_does_not_hold_all() -> None:
    source = LiteralSource(BUSY, jobs=MANY)
    source.scan = 140
    async with dashboard(source, USUAL) as pilot:
        table = await opened(pilot)
        await pilot.press("slash", *"kind:rare", "enter")
        await until(pilot, lambda: "0 found, searched 140 of 12.5k, more with ↓" in screen(pilot))
        assert "no jobs match" in screen(pilot)
        assert source.asked[-1] == JobMatch(kind="rare")
        await pilot.press("down")
        await until(pilot, lambda: table.current == "1149")
        await pilot.press("down")
        await until(pilot, lambda: table.current == "1299")
        await pilot.press("slash")
        pilot.app.screen.query_one(Input).value = "state:available 1003"
        await until(pilot, lambda: [row.key.value for row in table.ordered_rows] == ["1003"])
        assert source.asked[-1] is None, "what the server cannot be asked is looked for among what is here"
        await pilot.press("escape")
        await until(pilot, lambda: table.row_count == 100)


async def test_where_the_page_holds_all_only_what_lines_cannot_tell_is_asked_of_the_server() -> None:
    source = LiteralSource(BUSY, jobs=(job(1, created_at=NOW - timedelta(hours=2)), job(2, kind="rare")))
    async with dashboard(source, SMALL) as pilot:
        table = await opened(pilot)
        await pilot.press("slash", *"kind:rar")
        await until(pilot, lambda: table.row_count == 1)
        assert set(source.asked) == {None}
        pilot.app.screen.query_one(Input).value = "age>1h"
        await until(pilot, lambda: table.current == "1")
        assert set(source.asked) == {None}
        pilot.app.screen.query_one(Input).value = "args.toWhom:7"
        await until(pilot, lambda: JobMatch(payload={"toWhom": 7}) in source.asked)
