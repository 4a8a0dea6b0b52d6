"""The dashboard on the embedded server while that is being started: every key works, and so does leaving."""

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dashboard_story import SMALL, USUAL, screen, until

from pgops.config import Target
from pgops.server import Server
from pgops.server.locks import lock
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource
from pgops.tui.screens.queues import QueuesRoom

EMBEDDED = Target(None, "embedded")
LONGEST_PAUSE_S = 0.5


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an embedded server that was never started."""
    with tempfile.TemporaryDirectory(prefix="pgops-test-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        monkeypatch.setenv("PGOPS_HOME", name)
        (Path(name) / "server").mkdir(mode=0o755)
        yield Path(name) / "server"
        Server().destroy(force=True)


@pytest.mark.parametrize("size", [SMALL, USUAL], ids=["80x24", "120x40"])
async def test_keys_work_while_it_starts_and_q_leaves_at_once(size: tuple[int, int], home: Path) -> None:
    with lock(home / "start.lock"):
        app = PgopsApp(LiveSource(EMBEDDED))
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: "◌ starting PostgreSQL …" in screen(pilot))
            await pilot.press("2")
            await until(pilot, lambda: isinstance(app.screen, QueuesRoom))
            assert "◌ starting PostgreSQL …" in screen(pilot)
            began = time.monotonic()
            await pilot.press("q")
            await pilot.pause()
            assert app.return_value == 0
        assert time.monotonic() - began < 5
        (starter,) = _starters()
        assert starter.daemon, "it keeps nobody from leaving"
    await asyncio.to_thread(starter.join, 30)
    assert Server().status().users == 0, "what came too late was let go"


def _starters() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pgops server"]


@pytest.mark.slow
async def test_the_screen_goes_on_while_the_first_start_takes_its_time(home: Path) -> None:
    app = PgopsApp(LiveSource(EMBEDDED))
    async with app.run_test(size=USUAL) as pilot:
        pauses = asyncio.create_task(_longest_pause(lambda: app.now_view.snapshot is not None))
        await until(pilot, lambda: "◌ starting PostgreSQL …" in screen(pilot))
        await until(pilot, lambda: "● live" in screen(pilot))
        assert Server().status().users == 1
        assert await pauses < LONGEST_PAUSE_S
        await pilot.press("q")
    assert Server().status().users == 0


async def _longest_pause(done: Callable[[], bool]) -> float:
    """How long the event loop stood still at most, until it is so."""
    longest = 0.0
    while not done():
        began = time.monotonic()
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - began)
    return longest


async def test_a_start_that_fails_is_a_state_and_is_tried_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPS_PG_BIN", "/nowhere")
    app = PgopsApp(LiveSource(EMBEDDED))
    async with app.run_test(size=USUAL) as pilot:
        await until(pilot, lambda: "✕ lost" in screen(pilot))
        assert "cannot run /nowhere/postgres" in screen(pilot)
        assert "trying" in screen(pilot)
    assert _starters() == []
