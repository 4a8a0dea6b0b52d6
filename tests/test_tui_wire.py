"""Over a long wire (200 ms there and back): it becomes live, every part has its turn, and no key waits."""

import pytest
from dashboard_story import USUAL, screen, until
from slow_wire import slow_wire

from pgops.config import Target
from pgops.database import AsyncPool
from pgops.ops.collector import Collector
from pgops.ops.observe.snapshot import NOT_TAKEN, Snapshot
from pgops.services.client import AsyncPgops
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource
from pgops.tui.screens.ask import Question
from pgops.tui.screens.queues import QueuesRoom

MOST_LOOKS = 40


def left_out(snapshot: Snapshot) -> list[str]:
    return [name for name in snapshot.__dataclass_fields__ if getattr(snapshot, name) == NOT_TAKEN]


async def test_of_a_look_that_is_cut_each_part_has_its_turn(db: AsyncPool) -> None:
    collector = Collector(db, within_s=0.0)
    first = await collector.collect()
    assert "queues" in left_out(first)
    assert "sessions" not in left_out(first) or "server" not in left_out(first)
    for _ in range(MOST_LOOKS):
        found = await collector.collect()
        assert len(found.cost.parts_ms) <= 1
        if not left_out(found):
            return
    raise AssertionError(f"never: {left_out(found)}")


async def test_without_an_end_every_part_is_taken_at_once(db: AsyncPool) -> None:
    assert left_out(await Collector(db).collect()) == []


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_no_key_waits_for_a_far_database(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.queue.enqueue("email", {})
    async with slow_wire(dsn, 0.1) as far:
        app = PgopsApp(LiveSource(Target(far, "test")))
        async with app.run_test(size=USUAL, notifications=True) as pilot:
            await until(pilot, lambda: app.feed.looking)
            await pilot.press("2")
            assert isinstance(app.screen, QueuesRoom)
            assert app.now_view.snapshot is None, "it was not waited for"
            await until(pilot, lambda: "● live" in screen(pilot) and "email" in screen(pilot))
            await until(pilot, lambda: app.feed.looking)
            await pilot.press("question_mark", "escape", "P")
            assert isinstance(app.screen, Question)
            await until(pilot, lambda: "matches 1" in screen(pilot))
            await pilot.press("y")
            await until(pilot, lambda: "✓ Done" in screen(pilot))
            await pilot.press("1")
            for _ in range(3):
                await until(pilot, lambda: not app.feed.looking)
                await pilot.press("ctrl+r")
            await until(pilot, lambda: app.now_view.snapshot is not None and not left_out(app.now_view.snapshot))
            assert app.now_view.lost is None
