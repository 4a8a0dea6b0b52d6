"""A guarded profile in the dashboard: locked at first, unlocked for a while with a reason, and always said so."""

import asyncio
from dataclasses import replace

import psycopg
import pytest
from dashboard_story import SMALL, USUAL, Story, dashboard, screen, until
from snapshots_literal import BUSY, LiteralSource

from pgops.config import Target
from pgops.errors import RefusedError
from pgops.ops.act.actions import Action
from pgops.ops.observe.snapshot import ServerPart
from pgops.services.client import AsyncPgops
from pgops.tui import live
from pgops.tui.app import PgopsApp
from pgops.tui.feed import Feed
from pgops.tui.live import LiveSource
from pgops.tui.screens.ask import Question
from pgops.tui.screens.unlock import UnlockNote
from pgops.tui.standing import Standing, standing_of
from pgops.tui.unlocking import Unlocking
from pgops.tui.widgets.status_line import mode

LOCKED = Standing("locked", "prod", "red")
LONG = "postgresql://someone:***@a-very-long-name.of-a-host.in-some-region.example.internal:5432/a_database_of_ours"


def guarded(dsn: str) -> Target:
    return Target(dsn, "profile prod", True, "prod", True, "red")


# --- what is said ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "left_s", "told"),
    [
        (Target("x", "--dsn"), None, Standing()),
        (Target("x", "--dsn", True), None, Standing("read only")),
        (Target("x", "p", False, "dev", False, "green"), None, Standing("open", "dev", "green")),
        (guarded("x"), None, LOCKED),
        (guarded("x"), 599.2, Standing("unlocked", "prod", "red", 600)),
        (replace(guarded("x"), color=None), None, LOCKED),
    ],
)
def test_where_one_stands(target: Target, left_s: float | None, told: Standing) -> None:
    assert standing_of(target, left_s) == told


@pytest.mark.parametrize(
    ("standing", "standby", "words"),
    [
        (Standing(), False, ""), (Standing("open", "dev", "green"), False, " dev "),
        (Standing("read only"), False, "read only"), (LOCKED, False, " prod  ⊘ locked"),
        (Standing("unlocked", "prod", "red", 65), False, " prod  ◆ unlocked 1:05"),
        (Standing(), True, "standby, read only"), (LOCKED, True, " prod  ⊘ locked standby, read only"),
    ],
)  # fmt: skip
def test_the_mode_in_words(standing: Standing, standby: bool, words: str) -> None:
    assert isinstance(BUSY.server, ServerPart)
    feed = Feed("x")
    feed.standing = standing
    feed.took(replace(BUSY, server=replace(BUSY.server, in_recovery=standby)))
    assert mode(feed.view(0.0)).plain == words


def second_line(pilot: Story) -> str:
    return screen(pilot).splitlines()[1]


@pytest.mark.parametrize("size", [SMALL, USUAL], ids=["80x24", "120x40"])
async def test_profile_and_mode_stand_on_every_screen_and_are_never_cut(size: tuple[int, int]) -> None:
    source = LiteralSource(BUSY, target=LONG)
    source.stands = LOCKED
    async with dashboard(source, size) as pilot:
        for key in "1234567892":
            await pilot.press(key)
            await until(pilot, lambda: "⊘ locked" in second_line(pilot))
            assert " prod " in second_line(pilot)
            assert "postgresql://" in second_line(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2 and "⊘ locked" in second_line(pilot))
        source.stands = Standing("read only")
        await until(pilot, lambda: "read only" in second_line(pilot))


# --- the way of an act -------------------------------------------------------------------------------------------


async def test_an_act_that_is_confirmed_while_locked_asks_why_and_runs_then() -> None:
    source = LiteralSource(BUSY)
    source.stands = LOCKED
    async with dashboard(source) as pilot:
        await pilot.press("P")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        assert "prod · nothing is changed yet" in screen(pilot)
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, UnlockNote))
        assert "then runs, as confirmed: purge expired" in screen(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "a reason is needed" in screen(pilot))
        assert (source.reasons, source.ran) == ([], [])
        await pilot.press(*"4711", "enter")
        await until(pilot, lambda: "✓ Done" in screen(pilot))
        assert source.reasons == ["4711"]
        assert source.ran == [Action("purge_expired", "")]
        await until(pilot, lambda: "◆ unlocked" in second_line(pilot))
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "⊘ locked" in second_line(pilot) and "Locked again" in screen(pilot))


async def test_escape_leaves_it_locked_and_the_act_undone() -> None:
    source = LiteralSource(BUSY)
    source.stands = LOCKED
    async with dashboard(source) as pilot:
        await pilot.press("P")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, UnlockNote))
        await pilot.press(*"why", "escape")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
        assert (source.reasons, source.ran) == ([], [])


@pytest.mark.parametrize(
    ("stands", "words"), [(Standing(), "Nothing is guarded"), (Standing("read only", "report"), "stays read-only")]
)
async def test_what_cannot_be_unlocked_says_so(stands: Standing, words: str) -> None:
    source = LiteralSource(BUSY)
    source.stands = stands
    async with dashboard(source) as pilot:
        await pilot.press("ctrl+l")
        await until(pilot, lambda: words in screen(pilot))
        assert len(pilot.app.screen_stack) == 1


# --- over a real database ----------------------------------------------------------------------------------------


def trail(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as conn:
        return conn.execute("select action, target, detail ->> 'reason' from pgops.audit order by id").fetchall()


async def test_unlocked_with_a_reason_an_act_runs_and_a_lost_connection_locks(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.cache.set("short", b"x", ttl_s=0.01)
        await asyncio.sleep(0.05)
    app = PgopsApp(LiveSource(guarded(dsn)))
    async with app.run_test(size=USUAL, notifications=True) as pilot:
        await until(pilot, lambda: "● live" in screen(pilot) and "⊘ locked" in second_line(pilot))
        with pytest.raises(RefusedError) as caught:
            await app.source.run(Action("purge_expired", ""))
        assert "ctrl+l" in caught.value.hint
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, UnlockNote))
        await pilot.press(*"4711", "enter")
        await until(pilot, lambda: "◆ unlocked 9:5" in second_line(pilot))
        assert trail(dsn) == [("unlock", "prod", "4711")], "before anything else"
        await pilot.press("P")
        await until(pilot, lambda: "matches 1" in screen(pilot))
        await pilot.press("y")
        await until(pilot, lambda: "✓ Done" in screen(pilot))
        assert trail(dsn)[1][0] == "purge_expired"
        await pilot.press("u")
        await until(pilot, lambda: "prod: 4711" in screen(pilot))
        await pilot.press("escape")
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "⊘ locked" in second_line(pilot))
        await until(pilot, lambda: "● live" in screen(pilot))
        assert "⊘ locked" in second_line(pilot)


async def test_when_its_time_is_over_no_act_begins_and_the_one_under_way_is_finished(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "UNLOCK_S", 0.3)
    source = LiveSource(guarded(dsn))
    try:
        await source.unlock("ticket 4711")
        assert source.standing.mode == "unlocked"
        unlocking = source._unlocking
        async with unlocking.writing("prod") as pg:
            assert unlocking._timer is not None
            await asyncio.wait_for(unlocking._timer, 10)
            assert source.standing.mode == "locked"
            await pg.kv.set("late", b"1")
            with pytest.raises(RefusedError):
                async with unlocking.writing("prod"):
                    raise AssertionError("it began")
        await asyncio.sleep(0)
        assert unlocking._all == set(), "its pool is closed behind it"
        assert await source.snapshot()
    finally:
        await source.close()


async def test_two_that_unlock_at_once_leave_one_pool(dsn: str) -> None:
    unlocking = Unlocking()
    try:
        await asyncio.gather(*(unlocking.unlock(guarded(dsn), f"ticket {number}", 600) for number in (1, 2)))
        assert len(unlocking._all) == 1
        await unlocking.lock()
        assert (unlocking.left_s, unlocking._all) == (None, set())
    finally:
        await unlocking.close()


async def test_without_a_reason_or_where_it_cannot_be_written_down_it_stays_locked(empty_dsn: str) -> None:
    unlocking = Unlocking()
    for reason in (" ", "ticket 4711"):
        with pytest.raises(Exception, match=r"reason|schema is missing"):
            await unlocking.unlock(guarded(empty_dsn), reason, 600)
        assert unlocking.left_s is None


async def test_what_is_read_only_for_good_is_not_unlocked(dsn: str) -> None:
    source = LiveSource(replace(guarded(dsn), guard=False))
    assert source.standing.mode == "read only"
    with pytest.raises(RefusedError):
        await source.unlock("please")


async def test_through_a_pooler_too_the_server_refuses_and_the_second_pool_writes(pooled_dsn: str) -> None:
    source = LiveSource(guarded(pooled_dsn))
    try:
        pg, _ = await source._connected()
        assert pg.db.pooler
        with pytest.raises(RefusedError) as caught:
            await pg.cache.set("k", b"x")
        assert getattr(caught.value.__cause__, "sqlstate", None) == "25006"
        await source.unlock("ticket 4711")
        done = await source.run(Action("purge_expired", ""))
        assert done.audit_id is not None
        with pytest.raises(RefusedError):
            await pg.cache.set("k", b"x")
    finally:
        await source.close()
