"""A Python function, called for each event: async ones in the relay's loop, blocking ones in a thread.

What it raises is that event's failure; the events of other keys go on.
"""

import asyncio
import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

from pgops.errors import UnreachableError, UsageError
from pgops.runtime.sinks.contract import DeliveryError
from pgops.services.models import Event

Function = Callable[[Event], object]
FAILURES = (Exception, SystemExit)


class FunctionSink:
    """Calls `function(event)`. Raising UnreachableError, ConnectionError or TimeoutError says that all must wait;
    anything else, that this event failed."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._awaited = cast(Callable[[Event], Awaitable[object]], function)
        self._is_async = inspect.iscoroutinefunction(function)

    async def deliver(self, events: Sequence[Event]) -> None:
        progress = _Progress(events)
        if self._is_async:
            for event in progress.upcoming():
                try:
                    await self._awaited(event)
                except FAILURES as error:
                    progress.fail(event, error)
        else:
            await asyncio.to_thread(self._call_all, progress, asyncio.get_running_loop())
        progress.finish()

    async def close(self) -> None:
        """Nothing is held."""

    def _call_all(self, progress: "_Progress", loop: asyncio.AbstractEventLoop) -> None:
        """In a thread; what turns out to be async after all runs in the relay's loop."""
        for event in progress.upcoming():
            try:
                found = self._function(event)
                if inspect.isawaitable(found):
                    asyncio.run_coroutine_threadsafe(_awaited(found), loop).result()
            except FAILURES as error:
                progress.fail(event, error)


async def _awaited(found: Awaitable[object]) -> None:
    """SystemExit would end the loop itself."""
    try:
        await found
    except SystemExit as error:
        raise RuntimeError(f"SystemExit: {error}") from error


class _Progress:
    """How far a batch is: a key whose event has failed is left alone, and an outage ends the batch."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self._delivered: list[int] = []
        self._failed: dict[int, str] = {}
        self._blocked: set[str] = set()
        self._outage: Exception | None = None

    def upcoming(self) -> Iterator[Event]:
        for event in self._events:
            if self._outage is not None:
                return
            if event.key is None or event.key not in self._blocked:
                yield event
                if event.id not in self._failed and self._outage is None:
                    self._delivered.append(event.id)

    def fail(self, event: Event, error: Exception | SystemExit) -> None:
        if isinstance(error, UnreachableError | ConnectionError | TimeoutError):
            self._outage = error
            return
        self._failed[event.id] = f"{type(error).__name__}: {error}"
        if event.key is not None:
            self._blocked.add(event.key)

    def finish(self) -> None:
        if self._failed or (self._outage is not None and self._delivered):
            raise DeliveryError("some events failed", delivered=self._delivered, failed=self._failed)
        if self._outage is not None:
            raise self._outage


def load_function(name: str) -> Function:
    """The function that `module:function` means, looked for beside the current folder too. Raises UsageError."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"{name!r} is not module:function", "for example: myapp.events:publish")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module_name), attribute, None)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{module_name} cannot be imported: {error}", "run it where python can import it") from error
    if not callable(found):
        raise UsageError(f"{module_name} has no function {attribute}", f"define {attribute}(event) there")
    return cast(Function, found)
