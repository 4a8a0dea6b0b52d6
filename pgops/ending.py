"""How tasks are ended: with pause.py and flights.py, what asyncio alone does not give.

Floor 0. One cancellation may be lost on its way: in a wait for a pool's connection that was handed over in the same
moment, in `asyncio.wait_for` before Python 3.12, in a statement whose connection died while it was being cancelled. A
task that goes on after that is asked again.
"""

import asyncio
from collections.abc import Iterable

AGAIN_S = 0.2


async def ended(tasks: Iterable[asyncio.Task[object]]) -> None:
    """Cancel `tasks` until each of them has ended, however it ended."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
