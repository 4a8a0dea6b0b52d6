"""Room 8 on literal snapshots."""

from dataclasses import replace
from functools import partial

import pytest
from dashboard_story import SMALL, USUAL, Story, dashboard, screen, until
from server_literal import HOLDERS, STANDBY, suffering
from snapshots_literal import BUSY, LiteralSource

from pgops.ops.act.actions import Action
from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.tui.screens.ask import Question
from pgops.tui.screens.session import SessionNote
from pgops.tui.widgets.ledger import Ledger

BAD = suffering(BUSY)


def ledger(pilot: Story, id: str) -> Ledger:
    return pilot.app.screen.query_one(f"#{id}", Ledger)


def order(pilot: Story, id: str) -> list[str]:
    return [str(row.key.value) for row in ledger(pilot, id).ordered_rows]


@pytest.mark.parametrize("size", [SMALL, USUAL], ids=["80x24", "120x40"])
async def test_log_replicas_holders_tables_and_indexes_are_seen_at_once(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(BAD), size) as pilot:
        await pilot.press("8")
        await until(pilot, lambda: "8 Server" in screen(pilot) and "vacuum waits for · 3" in screen(pilot))
        seen = screen(pilot)
        for words in (
            "5.3 MB/s (1.1 MB/s usual) · ✕ archive fails, 3 times", "second streaming async, 6.0 MB 1.4s behind",
            "◆ old physical inactive, keeps 8.8 GB", "2.2% used", "backend", "billing", "4711", "◆ idle tx",
            "12m 14s", "order-7", "pgops.job_running", "~51.0k", "42%", "◆ due", "~4.1M",
            "indexes that only cost · 3", "✕ invalid", "public.orders_mail_idx", "K Terminate",
        ):  # fmt: skip
            assert words in seen, words
        assert order(pilot, "tables")[:2] == ["pgops.job_running", "public.orders"], "the name that an act takes"
        assert order(pilot, "holders")[0] == "backend/billing/4711"
        if size == USUAL:
            for words in (
                "public.scratch unlogged",
                "✕ off",
                "4m 00s",
                "1.9 GB",
                "as public.orders_paid",
                "slot, catalogs only",
            ):
                assert words in seen, words


async def test_a_session_that_holds_vacuum_back_is_opened_and_ended_and_what_is_none_says_so() -> None:
    source = LiteralSource(BAD)
    source.sql = "select pg_terminate_backend(pid)"
    async with dashboard(source) as pilot:
        await pilot.press("8")
        await until(pilot, lambda: ledger(pilot, "holders").row_count == 3)
        ledger(pilot, "holders").focus()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, SessionNote))
        assert "update orders" in screen(pilot)
        await pilot.press("escape", "K")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        assert isinstance(pilot.app.screen, Question)
        assert pilot.app.screen.action == Action("terminate_backend", "4711", started_at=HOLDERS[0].started_at)
        await pilot.press("escape", "down", "K")
        await until(pilot, lambda: "No session is under the cursor." in screen(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "A prepared transaction is no session" in screen(pilot))


async def test_tables_are_filtered_and_sorted_and_their_name_is_copied() -> None:
    async with dashboard(LiteralSource(BAD)) as pilot:
        await pilot.press("8")
        await until(pilot, lambda: ledger(pilot, "tables").row_count == 4)
        await pilot.press("y")
        assert pilot.app.clipboard == "pgops.job_running"
        await pilot.press("slash", *"vacuum:off")
        await until(pilot, lambda: order(pilot, "tables") == ["public.scratch"])


HIDDEN = Unavailable("hidden", "grant pg_monitor to app")
MISSING: tuple[tuple[Snapshot, tuple[str, ...]], ...] = (
    (BUSY, ("◌ not looked at → look again",)),
    (replace(BAD, xmin_holders=(), indexes=()), ("vacuum waits for · nobody", "indexes that only cost · none")),
    (replace(BAD, xmin_holders=HIDDEN, replication=HIDDEN), ("◌ hidden → grant pg_monitor", "pgops.job_running")),
    (replace(BAD, tables=Unavailable("locked", "wait")), ("◌ unavailable", "→ wait")),
    (replace(BAD, tables=()), ("○ No table yet.", "pgops migrate")),
    (replace(BAD, replication=STANDBY), ("this standby: paused, 1m 30s behind", "slots     none")),
)


def says(pilot: Story, words: tuple[str, ...]) -> bool:
    seen = screen(pilot)
    return all(each in seen for each in words)


async def test_what_is_missing_is_told_in_place() -> None:
    source = LiteralSource(MISSING[0][0])
    async with dashboard(source) as pilot:
        await pilot.press("8")
        for snapshot, words in MISSING:
            source.script = [snapshot]
            await pilot.press("ctrl+r")
            await until(pilot, partial(says, pilot, words))
            assert not isinstance(pilot.app.screen, Question)
        await pilot.press("c")
        await until(pilot, lambda: pilot.app.clipboard == "pgops status")
