"""Key stories of one subscription: what is put aside for it and why, keys that are held, and going back in time."""

from dataclasses import replace

import pytest
from dashboard_story import LARGE, SMALL, USUAL, Story, dashboard, screen, until
from snapshots_literal import BUSY, SUBSCRIBED, LiteralSource

from pgops.errors import NotFoundError
from pgops.ops.act.actions import Action
from pgops.ops.observe.snapshot import items
from pgops.tui.screens.ask import Choose, Question
from pgops.tui.screens.editor import Editor
from pgops.tui.screens.outbox import OutboxRoom
from pgops.tui.screens.subscription import EventNote, SubscriptionRoom
from pgops.tui.widgets.ledger import Ledger

SIZES = pytest.mark.parametrize(
    "size",
    [
        pytest.param(SMALL, id="80x24"),
        pytest.param(USUAL, id="120x40", marks=pytest.mark.slow),
        pytest.param(LARGE, id="200x50", marks=pytest.mark.slow),
    ],
)
NAME = items(BUSY.outbox)[0].name


async def in_the_room(pilot: Story) -> Ledger:
    await pilot.press("5")
    await until(pilot, lambda: isinstance(pilot.app.screen, OutboxRoom) and NAME in screen(pilot))
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, SubscriptionRoom) and "looking" not in screen(pilot))
    return pilot.app.screen.query_one("#parked", Ledger)


async def asked(pilot: Story) -> Action:
    await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
    question = pilot.app.screen
    assert isinstance(question, Question)
    await pilot.press("escape")
    return question.action


@SIZES
async def test_it_shows_who_holds_its_parts_and_what_waits_behind_what(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(BUSY), size) as pilot:
        table = await in_the_room(pilot)
        seen = screen(pilot)
        for words in ("orders", "relay-1:77 30 parts", "relay-2:78 30 parts", "4 parts free", "replaying"):
            assert words in seen, words
        assert "refused 5x its key waits" in seen
        lines = [line for line in seen.splitlines() if "customer-" in line]
        assert [("held" in line or "‖ key" in line) for line in lines].count(True) == 2
        assert sum("✕ refused" in line and "HTTP 500" in line for line in lines) == 1
        assert table.row_count == 4


async def test_enter_shows_an_event_in_full_and_y_copies_its_payload() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        table = await in_the_room(pilot)
        table.move_cursor(row=1)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, EventNote))
        assert '"order": 101' in screen(pilot) and "order.paid" in screen(pilot)
        await pilot.press("y")
        await until(pilot, lambda: pilot.app.clipboard == '{"order": 101}')


async def test_its_keys_ask_about_the_event_and_the_key_under_the_cursor() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        table = await in_the_room(pilot)
        table.move_cursor(row=1)
        await pilot.press("D")
        assert await asked(pilot) == Action("outbox_discard", NAME, (101,))
        await pilot.press("K")
        assert await asked(pilot) == Action("outbox_park", NAME, key="customer-7")
        table.move_cursor(row=0)
        await pilot.press("K")
        assert await asked(pilot) == Action("outbox_unpark", NAME, key="customer-9")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await pilot.press("down", "enter")
        assert await asked(pilot) == Action("outbox_unpark", NAME, key="customer-9")


async def test_going_back_asks_how_far() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        await in_the_room(pilot)
        await pilot.press("B")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await pilot.press("down", "enter")
        action = await asked(pilot)
        assert (action.name, action.target) == ("outbox_replay", NAME)
        assert action.since is not None and (BUSY.taken_at - action.since).total_seconds() == 3_600


async def test_nothing_put_aside_is_said_and_r_has_nothing_to_try() -> None:
    source = LiteralSource(BUSY)
    source.subscription_held = replace(SUBSCRIBED, parked=(), held=())
    async with dashboard(source) as pilot:
        await in_the_room(pilot)
        assert "nothing is put aside" in screen(pilot)
        await pilot.press("R")
        await until(pilot, lambda: "Nothing is put aside." in screen(pilot))
        assert not isinstance(pilot.app.screen, Choose)


async def test_a_subscription_that_is_gone_says_so() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await in_the_room(pilot)
        source.fails = NotFoundError(f"there is no subscription {NAME}", "make it with subscribe")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "there is no subscription" in screen(pilot))


async def test_how_long_events_are_kept_is_written_by_hand() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: isinstance(pilot.app.screen, OutboxRoom))
        await pilot.press("E")
        await until(pilot, lambda: isinstance(pilot.app.screen, Editor))
