"""Room 4 on literal snapshots, and once over a real chain of three sessions."""

from dataclasses import replace

import psycopg
import pytest
from dashboard_story import LARGE, SMALL, USUAL, Story, dashboard, screen, until
from lock_chain import waiting
from snapshots_literal import BUSY, CALM, LOCKS, NOW, SESSION_LIST, LiteralSource, lock_backend, session
from textual.widgets import Static

from pgops.config import Target
from pgops.ops.act.actions import Action
from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.tui.app import PgopsApp
from pgops.tui.commands import act_command
from pgops.tui.live import LiveSource
from pgops.tui.screens.ask import Question
from pgops.tui.screens.connections import tree
from pgops.tui.screens.session import SessionNote
from pgops.tui.widgets.ledger import Ledger

BEGAN = SESSION_LIST[0].started_at
SIZES = pytest.mark.parametrize(
    "size",
    [
        pytest.param(SMALL, id="80x24"),
        pytest.param(USUAL, id="120x40", marks=pytest.mark.slow),
        pytest.param(LARGE, id="200x50", marks=pytest.mark.slow),
    ],
)


def source(snapshot: Snapshot = BUSY) -> LiteralSource:
    found = LiteralSource(snapshot)
    found.sql = "select pg_terminate_backend(pid)"
    return found


def ledger(pilot: Story, id: str) -> Ledger:
    return pilot.app.screen.query_one(f"#{id}", Ledger)


def order(pilot: Story, id: str) -> list[str]:
    return [str(row.key.value) for row in ledger(pilot, id).ordered_rows]


@SIZES
async def test_sessions_and_the_blocking_tree_are_seen_together(size: tuple[int, int]) -> None:
    async with dashboard(source(), size) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "sessions · 61 of 100" in screen(pilot))
        seen = screen(pilot)
        for words in (
            "4 Connections", "4711", "◆ idle tx", "12m 14s", "billing", "◆ waits", "● active", "○ idle", "deploy",
            "locks · 2 waiting", "└ 4712", "  └ 4713", "orders", "1m 00s", "update orders", "C Cancel", "K Terminate",
        ):  # fmt: skip
            assert words in seen, words
        assert order(pilot, "sessions")[:3] == ["4711", "4712", "4713"], "the longest transaction first"
        assert order(pilot, "blocking") == ["4711", "4712", "4713"]


@SIZES
async def test_where_nobody_waits_one_line_says_so(size: tuple[int, int]) -> None:
    async with dashboard(source(replace(CALM, locks=())), size) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "locks · nobody waits" in screen(pilot))
        assert ledger(pilot, "blocking").size.height <= 1
        assert not ledger(pilot, "blocking").can_focus


@SIZES
async def test_a_role_that_may_not_see_them_reads_the_remedy(size: tuple[int, int]) -> None:
    hidden = Unavailable("the sessions of other roles are hidden from this role", "grant pg_monitor to app")
    async with dashboard(source(replace(BUSY, sessions=hidden, locks=hidden, session_list=hidden)), size) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "grant pg_monitor to app" in screen(pilot))
        await pilot.press("K")
        await until(pilot, lambda: "No session is under the cursor." in screen(pilot))


async def test_sessions_are_filtered_and_sorted() -> None:
    async with dashboard(source()) as pilot:
        await pilot.press("4", "slash", *"state:idle")
        await until(pilot, lambda: order(pilot, "sessions") == ["4711", "4715"])
        await pilot.press("enter", "escape")
        await until(pilot, lambda: len(order(pilot, "sessions")) == 5)
        await pilot.press("s", "r")
        await until(pilot, lambda: ledger(pilot, "sessions").sort_by != "tx")


@pytest.mark.parametrize(("key", "name", "size"), [("K", "terminate_backend", SMALL), ("C", "cancel_backend", USUAL)])
async def test_an_act_asks_first_and_means_the_session_that_is_shown(
    key: str, name: str, size: tuple[int, int]
) -> None:
    held = source()
    async with dashboard(held, size) as pilot:
        await pilot.press("4", "down", key)
        await until(pilot, lambda: "pg_terminate_backend" in screen(pilot))
        verb = name.removesuffix("_backend")
        assert f"pgops sessions {verb} 4712" in screen(pilot)
        assert held.ran == []
        await pilot.press("y")
        await until(pilot, lambda: bool(held.ran))
        (ran,) = held.ran
        assert (ran.name, ran.target, ran.started_at) == (name, "4712", BEGAN)


@pytest.mark.parametrize("key", ["escape", "enter"])
async def test_an_act_that_is_not_confirmed_ends_nobody(key: str) -> None:
    held = source()
    async with dashboard(held) as pilot:
        await pilot.press("4", "K")
        await until(pilot, lambda: "pg_terminate_backend" in screen(pilot))
        await pilot.press(key)
        await until(pilot, lambda: not isinstance(pilot.app.screen, Question))
        assert held.ran == []


async def test_acts_in_the_tree_mean_its_row() -> None:
    held = source()
    async with dashboard(held) as pilot:
        await pilot.press("4", "tab")
        await until(pilot, lambda: pilot.app.focused is ledger(pilot, "blocking"))
        await pilot.press("down", "down", "K")
        await until(pilot, lambda: bool(held.previewed))
        assert held.previewed == [Action("terminate_backend", "4713", started_at=BEGAN)]


async def test_a_session_is_opened() -> None:
    async with dashboard(source()) as pilot:
        await pilot.press("4", "down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, SessionNote))
        told = str(pilot.app.screen.query_one(".words Static", Static).content)
        for words in (
            "waits for   4711",
            "holds up    4713",
            "10.0.0.7",
            "update orders set paid = false where id = 7",
        ):
            assert words in told, words


@pytest.mark.slow
async def test_the_palette_knows_the_room_and_its_acts() -> None:
    held = source()
    async with dashboard(held, USUAL) as pilot:
        await pilot.press("colon")
        await pilot.pause(0.3)
        await pilot.press(*"connections")
        await until(pilot, lambda: "Sessions, and who waits for whom" in screen(pilot))
        await pilot.pause(0.3)
        await pilot.press("enter")
        await until(pilot, lambda: "sessions · 61 of 100" in screen(pilot))
        await pilot.press("colon")
        await pilot.pause(0.3)
        await pilot.press(*"terminate")
        await until(pilot, lambda: "End a session" in screen(pilot))
        await pilot.pause(0.3)
        await pilot.press("enter")
        await until(pilot, lambda: bool(held.previewed))


async def test_terminal_sequences_in_sessions_are_only_text() -> None:
    bad = session(1, application="[red]x[/red]\x1b[2J", query="\x1b]0;pwned\x07", user="‮evil", transaction_s=9e9)
    held = source(replace(BUSY, session_list=(bad,), locks=(lock_backend(1, query="\x1b[2J"),)))
    async with dashboard(held, USUAL) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "[red]x[/red]" in screen(pilot))
        assert not {"\x1b", "\x07", "\u202e"} & set(screen(pilot))


def test_the_tree_has_everybody_once_also_in_a_ring() -> None:
    ring = (lock_backend(8, 9, root=None), lock_backend(9, 8, root=None))
    found = [(depth, one.pid) for depth, one in tree((*ring, *LOCKS, lock_backend(4716, 4711)))]
    assert sorted(pid for _, pid in found) == [8, 9, 4711, 4712, 4713, 4716]
    assert found[:3] == [(0, 4711), (1, 4712), (2, 4713)]
    assert (1, 4716) in found


def test_the_command_of_an_act() -> None:
    assert act_command(Action("terminate_backend", "7", started_at=NOW)) == "pgops sessions terminate 7"
    assert act_command(Action("cancel_backend", "7")) == "pgops sessions cancel 7"


async def test_a_real_chain_is_seen_and_freed_by_ending_its_root(dsn: str) -> None:
    app = PgopsApp(LiveSource(Target(dsn, "test")))
    async with waiting(dsn) as chain, app.run_test(size=USUAL, notifications=True) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "locks · 2 waiting" in screen(pilot))
        await until(pilot, lambda: order(pilot, "blocking") == [str(pid) for pid in chain.pids])
        seen = screen(pilot)
        for words in (str(chain.root), f"└ {chain.middle}", f"  └ {chain.last}", "chained", "held", "chain root"):
            assert words in seen, words
        await pilot.press("tab", "K")
        await until(pilot, lambda: f"terminate session {chain.root}" in screen(pilot))
        assert f"holds up 1 session: {chain.middle}" in screen(pilot)
        await pilot.press("y")
        await until(pilot, lambda: f"terminated session {chain.root} (audit" in screen(pilot))
        await until(pilot, lambda: str(chain.root) not in order(pilot, "blocking"))
    with psycopg.connect(dsn) as conn:
        rows = conn.execute("select action, target, status from pgops.audit").fetchall()
    assert rows == [("terminate_backend", str(chain.root), "done")]
