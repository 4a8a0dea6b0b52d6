"""One flight for all who want the same at the same time: with pause.py, where the async floors and their blocking twin
differ by more than words.

Floor 0. The twin's generator turns `AsyncFlights` into `Flights`, `AsyncCompute` into `Compute` and `async_called` into
`called`. The rule of both: what a flight gives or raises, all get who asked while it was under way, and it is
forgotten when it has landed. Async, a flight is a task of its own: who is cancelled leaves alone, and the last one to
leave ends it. Blocking, the first to ask flies it in his own thread; if that thread is interrupted, the next one does.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from threading import Event, Lock
from typing import Generic, TypeVar

from pgops.errors import UsageError

T = TypeVar("T")
AsyncCompute = Callable[[], Awaitable[bytes]]
Compute = Callable[[], bytes]
_aboard: ContextVar[frozenset[object]] = ContextVar("_aboard", default=frozenset())


async def async_called(compute: AsyncCompute) -> object:
    """What `compute` gives."""
    given: object = compute()
    if not inspect.isawaitable(given):
        raise UsageError("compute is an async function here", "write async def, or use the blocking Pgops")
    return await given


def called(compute: Compute) -> object:
    """What `compute` gives."""
    given: object = compute()
    if inspect.iscoroutine(given):
        given.close()
        raise UsageError("compute is a plain function here, not an async one", "write def, or use AsyncPgops")
    return given


class _Airborne(Generic[T]):
    task: "asyncio.Task[T]"
    waiting = 0


class AsyncFlights(Generic[T]):
    """Flights under way, by key."""

    def __init__(self) -> None:
        self._aloft: dict[Hashable, _Airborne[T]] = {}

    def aloft(self, key: Hashable) -> bool:
        """Whether one is under way."""
        return key in self._aloft

    async def share(self, key: Hashable, fly: Callable[[], Awaitable[T]]) -> T:
        """What `fly` gives or raises; it is called once for all who ask meanwhile. Raises UsageError where a flight
        asks for itself."""
        flight = self._aloft.get(key)
        _refuse_itself(flight)
        if flight is None:
            flight = self._aloft[key] = _Airborne()
            flight.task = asyncio.ensure_future(self._fly(key, flight, fly))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()
                await asyncio.wait([flight.task])
                _ = flight.task.cancelled() or flight.task.exception()

    async def _fly(self, key: Hashable, flight: _Airborne[T], fly: Callable[[], Awaitable[T]]) -> T:
        _aboard.set(_aboard.get() | {flight})
        try:
            return await fly()
        finally:
            self._forget(key, flight)

    def _forget(self, key: Hashable, flight: _Airborne[T]) -> None:
        if self._aloft.get(key) is flight:
            del self._aloft[key]


class _Landing(Generic[T]):
    def __init__(self) -> None:
        self.landed = Event()
        self.given: tuple[T] | None = None
        self.error: Exception | None = None


class Flights(Generic[T]):
    """Flights under way, by key."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._aloft: dict[Hashable, _Landing[T]] = {}

    def aloft(self, key: Hashable) -> bool:
        """Whether one is under way."""
        return key in self._aloft

    def share(self, key: Hashable, fly: Callable[[], T]) -> T:
        """What `fly` gives or raises; it is called once for all who ask meanwhile. Raises UsageError where a flight
        asks for itself."""
        while True:
            with self._lock:
                flight = self._aloft.get(key)
                if flight is None:
                    mine = self._aloft[key] = _Landing()
            if flight is None:
                return self._fly(key, mine, fly)
            _refuse_itself(flight)
            flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            if flight.given is not None:
                return flight.given[0]

    def _fly(self, key: Hashable, flight: _Landing[T], fly: Callable[[], T]) -> T:
        before = _aboard.set(_aboard.get() | {flight})
        try:
            flight.given = (fly(),)
            return flight.given[0]
        except Exception as error:
            flight.error = error
            raise
        finally:
            _aboard.reset(before)
            with self._lock:
                del self._aloft[key]
            flight.landed.set()


def _refuse_itself(flight: object) -> None:
    """Waiting for the flight that one is aboard of would never end."""
    if flight in _aboard.get():
        raise UsageError("what is being computed asks for itself", "compute must not read the key it is computed for")
