"""How a test reads and steers the dashboard: open it on a Source, press keys, wait until the screen says so."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

from snapshots_literal import LiteralSource
from textual.pilot import Pilot

from pgops.tui.app import PgopsApp
from pgops.tui.rebinding import Settings
from pgops.tui.screens.ask import Question
from pgops.tui.widgets.foot import Foot

Story = Pilot[int]
SMALL, USUAL, LARGE = (80, 24), (120, 40), (200, 50)


@asynccontextmanager
async def dashboard(
    source: LiteralSource, size: tuple[int, int] = SMALL, *, settings: Settings | None = None
) -> AsyncIterator[Story]:
    """The app, after its first look."""
    app = PgopsApp(source, settings)
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: source.snapshots > 0 and not app.feed.looking)
        yield pilot


async def until(pilot: Story, true: Callable[[], bool]) -> None:
    """Let the app run until it is so, for ten seconds at most."""
    end = monotonic() + 10
    while monotonic() < end:
        await pilot.pause()
        if true():
            return
        await pilot.pause(0.02)
    raise AssertionError(f"never came true; the screen says:\n{screen(pilot)}")


async def say_yes(pilot: Story) -> None:
    """Answer the question that is open, as it wants to be answered."""
    question = pilot.app.screen
    assert isinstance(question, Question)
    await until(pilot, lambda: question.ready)
    await pilot.press(*question.typed or "y")
    if question.typed:
        await until(pilot, lambda: question.sure)
        await pilot.press("enter")


def screen(pilot: Story) -> str:
    """What stands on the screen, as text."""
    lines = pilot.app.screen._compositor.render_strips()
    return "\n".join(line.text.rstrip() for line in lines)


def foot_fits(pilot: Story) -> bool:
    """Whether all the keys of the room stand at its foot."""
    foot = pilot.app.screen.query_one(Foot)
    return 0 < foot.line.cell_len <= foot.content_size.width
