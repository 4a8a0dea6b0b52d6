"""A process that sends jobs at a steady pace, 200 times a second, so that no worker shares its time with a producer.

`sender` starts it and tells it on stdin who takes part and where, and then line by line for how long to send how many
at a time. It ends when stdin does, so a kill -9 of its starter leaves it no longer than the order it works on.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from contest import Contestant
from entrants import ENTRANTS

from pgops.bench.measure import paced

Send = Callable[[float, int], Awaitable[int]]


@asynccontextmanager
async def sender(name: str, address: str) -> AsyncIterator[Send]:
    """The process, connected; `await send(seconds, size)` is how many jobs were sent. Gone after the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__)), start_new_session=True, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip

    async def order(*what: object) -> int:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(what).encode() + b"\n")
        await process.stdin.drain()
        if answer := await process.stdout.readline():
            return int(answer)
        raise RuntimeError(f"the process that sends to {name} has ended; it says why above")

    try:
        await order(name, address)
        yield order
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def obey(entrant: Contestant, address: str) -> None:
    """Connect and do what is ordered, one order after the other."""
    async with entrant.connect(address):
        say(0)
        for line in sys.stdin:  # nothing else is to be done meanwhile
            seconds, size = json.loads(line)
            say(size * await paced(lambda size=size: entrant.send(size), seconds))


def say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    name, address = json.loads(sys.stdin.readline())
    entrant = ENTRANTS[name]()
    with asyncio.Runner(loop_factory=entrant.loop) as runner:
        runner.run(obey(entrant, address))
