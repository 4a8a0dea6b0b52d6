"""One flight for all who ask meanwhile: async, and over threads."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgops.errors import UsageError
from pgops.flights import AsyncFlights, Flights


async def test_all_who_ask_meanwhile_get_the_one_result() -> None:
    flights: AsyncFlights[object] = AsyncFlights()
    flown = []

    async def fly() -> object:
        flown.append(1)
        await asyncio.sleep(0.02)
        return object()

    results = await asyncio.gather(*(flights.share("k", fly) for _ in range(50)))
    assert len(flown) == 1 and len(set(map(id, results))) == 1
    assert not flights.aloft("k")
    assert await flights.share("k", fly) is not results[0], "what has landed is forgotten"


async def test_who_is_cancelled_leaves_alone_also_if_he_was_the_first() -> None:
    flights: AsyncFlights[int] = AsyncFlights()
    landing = asyncio.Event()

    async def fly() -> int:
        await landing.wait()
        return 7

    first, *others = [asyncio.create_task(flights.share("k", fly)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0.01)
    assert first.cancelled() and not any(task.done() for task in others)
    landing.set()
    assert await asyncio.gather(*others) == [7, 7]


async def test_the_last_to_leave_ends_the_flight_and_a_new_one_starts() -> None:
    flights: AsyncFlights[int] = AsyncFlights()
    ended: list[str] = []

    async def forever() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")
            await asyncio.sleep(0.02)
            ended.append("cleaned up")
        return 1

    async def at_once() -> int:
        return 2

    tasks = [asyncio.create_task(flights.share("k", forever)) for _ in range(3)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.sleep(0.01)
    assert ended == ["cancelled"]
    assert await flights.share("k", at_once) == 2, "nobody joins what is being ended"
    await asyncio.wait(tasks)
    assert ended == ["cancelled", "cleaned up"], "nobody has left before it was over"


async def test_an_error_reaches_all_and_the_next_one_tries_again() -> None:
    flights: AsyncFlights[int] = AsyncFlights()
    tries = []

    async def fail() -> int:
        tries.append(1)
        await asyncio.sleep(0.01)
        raise KeyError("why")

    results = await asyncio.gather(*(flights.share("k", fail) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [KeyError] * 5 and len(tries) == 1
    with pytest.raises(KeyError):
        await flights.share("k", fail)
    assert len(tries) == 2


async def test_a_flight_that_waits_for_itself_is_refused() -> None:
    flights: AsyncFlights[int] = AsyncFlights()

    async def inner() -> int:
        return await flights.share("outer", outer)

    async def outer() -> int:
        return await flights.share("inner", inner)

    with pytest.raises(UsageError, match="asks for itself"):
        await asyncio.wait_for(flights.share("outer", outer), 2)


def together(count: int, work: Callable[[], object]) -> list[object]:
    """`work` in so many threads at once: results, or the exceptions."""
    barrier = threading.Barrier(count)

    def run() -> object:
        barrier.wait()
        try:
            return work()
        except BaseException as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(run) for _ in range(count)]]


def test_threads_share_a_result_and_an_error() -> None:
    flights: Flights[object] = Flights()
    flown = []

    def fly() -> object:
        flown.append(1)
        time.sleep(0.1)
        return object()

    def fail() -> object:
        flown.append(1)
        time.sleep(0.1)
        raise KeyError("why")

    assert len(set(map(id, together(20, lambda: flights.share("k", fly))))) == 1 and len(flown) == 1
    assert {type(one) for one in together(20, lambda: flights.share("k", fail))} == {KeyError} and len(flown) == 2
    assert not flights.aloft("k")


def test_where_the_first_thread_is_interrupted_the_next_one_flies() -> None:
    flights: Flights[str] = Flights()
    flown = []

    def fly() -> str:
        flown.append(1)
        time.sleep(0.1)
        if len(flown) == 1:
            raise KeyboardInterrupt
        return "landed"

    results = together(5, lambda: flights.share("k", fly))
    assert sorted(map(repr, results)) == ["'landed'"] * 4 + ["KeyboardInterrupt()"]
    assert len(flown) == 2


def test_a_thread_that_waits_for_its_own_flight_is_refused() -> None:
    flights: Flights[int] = Flights()

    def fly() -> int:
        return flights.share("k", fly)

    with pytest.raises(UsageError, match="asks for itself"):
        flights.share("k", fly)
    assert not flights.aloft("k")
