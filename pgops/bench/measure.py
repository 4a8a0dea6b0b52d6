"""How things are timed: rates, quantiles, and two ways of doing the same, taken in turns.

The rule: a comparison is of medians of rounds that alternate, so that whatever else the machine does meets both.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from statistics import median, quantiles
from time import perf_counter

import psycopg

from pgops.bench.site import Q
from pgops.errors import PgopsError
from pgops.runtime.relay import Relay
from pgops.runtime.worker import Worker
from pgops.services.models import JsonValue

Work = Callable[[], Awaitable[object]]

PER_S = 200
ROUND_S = 0.03


def payload(bytes: int) -> dict[str, JsonValue]:
    """A JSON object of about so many bytes."""
    return {"user_id": 123, "text": "x" * max(bytes - 27, 0)}


def quantile(values: Sequence[float], share: int) -> float:
    """The value that `share` percent of `values` do not exceed; 50 is the median. Raises PgopsError for none."""
    if not values:
        raise PgopsError("nothing was measured in that time", "raise --seconds")
    return quantiles(values, n=100, method="inclusive")[share - 1] if len(values) > 1 else values[0]


async def seconds_of(work: Awaitable[object]) -> float:
    """How long it took."""
    began = perf_counter()
    await work
    return perf_counter() - began


async def rate(work: Work, seconds: float, each: int = 1) -> float:
    """How often a second `work` is done, one after the other for `seconds`, times `each`."""
    await work()
    count, began = 0, perf_counter()
    while (now := perf_counter()) - began < seconds:
        await work()
        count += 1
    return count * each / (now - began)


async def interleaved(first: Work, second: Work, seconds: float) -> float:
    """The time of `first` over that of `second`: medians of short rounds that alternate, for `seconds` in all."""
    spent: tuple[list[float], list[float]] = ([], [])
    counts = [await _per_round(work) for work in (first, second)]
    until = perf_counter() + seconds
    while perf_counter() < until or not spent[1]:
        for work, count, found in zip((first, second), counts, spent, strict=True):
            began = perf_counter()
            for _ in range(count):
                await work()
            found.append((perf_counter() - began) / count)
    return median(spent[0]) / median(spent[1])


async def _per_round(work: Work) -> int:
    """How often it fits into a round; also warms it up."""
    for _ in range(6):
        await work()
    return max(round(ROUND_S / await seconds_of(work())), 1)


async def paced(work: Work, seconds: float) -> int:
    """Do `work` PER_S times a second for `seconds`; how often that was."""
    count = max(round(seconds * PER_S), 1)
    began = perf_counter()
    for number in range(count):
        await asyncio.sleep(max(began + number / PER_S - perf_counter(), 0))
        await work()
    return count


@asynccontextmanager
async def running(runner: Worker | Relay) -> AsyncIterator["asyncio.Task[object]"]:
    """A worker or a relay beside the block; told to stop when the block ends."""
    task: asyncio.Task[object] = asyncio.create_task(runner.run())
    try:
        yield task
    finally:
        runner.stop()
        await task


async def until(done: Callable[[], bool], *tasks: "asyncio.Task[object]") -> None:
    """Wait until `done`. Raises what has ended one of `tasks`, on which it depends."""
    while not done():
        for task in tasks:
            if not task.done():
                continue
            await task
            raise PgopsError("it has stopped before all was done", "its log says why")
        await asyncio.sleep(0.005)


@asynccontextmanager
async def held_xmin(dsn: str) -> AsyncIterator[None]:
    """A transaction that somebody has forgotten, as long as the block lasts: vacuum removes nothing."""
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        await conn.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await conn.execute(Q["hold_xmin"])
        try:
            yield
        finally:
            await conn.rollback()
