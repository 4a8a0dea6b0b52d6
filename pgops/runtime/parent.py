"""Ending with whoever started this process: stdin is a pipe from it and ends when it is gone, however it went.

Beside the loops, for programs that start others of their own.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STDIN = 0


@contextmanager
def at_end_of_stdin(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` once, when stdin has ended; needs a running loop."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(STDIN, 4096):
            loop.remove_reader(STDIN)
            stop()

    loop.add_reader(STDIN, look)
    try:
        yield
    finally:
        loop.remove_reader(STDIN)
