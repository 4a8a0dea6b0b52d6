"""Waiting for some time: the one thing in which the async floors and their blocking twin differ by more than words.

Floor 0. The twin's generator turns `async_pause` into `pause`.
"""

import asyncio
import time


async def async_pause(seconds: float) -> None:
    """Let others run for `seconds`."""
    await asyncio.sleep(seconds)


def pause(seconds: float) -> None:
    """Block for `seconds`."""
    time.sleep(seconds)
