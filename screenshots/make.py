"""The screenshots, from the running product: `python screenshots/make.py [SECONDS]`.

The demo runs for some seconds behind the dashboard, keys are pressed, and what is on the screen is saved as SVG, and of
every room as PNG too, for those who show no SVG.
"""

import asyncio
import sys
from pathlib import Path

from picture import draw, drawn_by
from textual.pilot import Pilot

from pgops.config import Target
from pgops.demo import run_interactive
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource
from pgops.tui.themes import THEMES

HERE = Path(__file__).resolve().parent
WIDE, NARROW = (120, 40), (80, 24)
SETTLE_S = 2.5
ROOMS = {
    "overview": ["1"], "queues": ["2"], "diagram": ["d"], "jobs": ["escape", "enter"], "job": ["enter"],
    "failures": ["escape", "escape", "f"], "question": ["R", "enter"], "crons": ["escape", "escape", "t"],
    "vectors": ["escape", "3"], "connections": ["4"], "outbox": ["5"], "subscription": ["enter"],
    "channels": ["escape", "l"], "stores": ["escape", "6"], "documents": ["7"], "collection": ["enter"],
    "server": ["escape", "8"], "outgrow": ["9"], "audit": ["u"], "palette": ["escape", "1", "colon"],
    "help": ["escape", "question_mark"],
}  # fmt: skip


async def photograph(target: Target, seconds: float) -> None:
    """Every room in a wide terminal, and the overview in a small one."""
    app = PgopsApp(LiveSource(target))
    async with app.run_test(size=WIDE) as pilot:
        await asyncio.sleep(seconds)
        for name, keys in ROOMS.items():
            await pilot.press(*keys)
            draw(await shoot(pilot, name))
        await pilot.press("escape")
        app.theme = THEMES["day"].name
        draw(await shoot(pilot, "overview-day"))
        app.theme = THEMES["night"].name
        await pilot.resize_terminal(*NARROW)
        await shoot(pilot, "overview-80x24")


async def shoot(pilot: Pilot[int], name: str) -> Path:
    """Save what is on the screen once it has settled."""
    await asyncio.sleep(SETTLE_S)
    await pilot.pause()
    picture = HERE / f"{name}.svg"
    picture.write_text(pilot.app.export_screenshot(title="pgops demo"), encoding="utf-8")
    return picture


def dashboard(target: Target) -> int:
    """In place of the dashboard: one that is photographed."""
    asyncio.run(photograph(target, float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
    return 0


if __name__ == "__main__":
    drawn_by()
    sys.exit(run_interactive(Target(None, "embedded"), dashboard))
