"""Handlers by kind: what a worker can do.

    registry = Registry()

    @registry.job("send_email")
    async def send_email(job: Job) -> None: ...

Async handlers run in the worker's loop, blocking ones in its threads.
"""

import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pgops.errors import UsageError
from pgops.services.models import Job

Handler = Callable[[Job], object]


@dataclass(frozen=True, slots=True)
class Registered:
    """A handler, either awaited in the loop or called in a thread; `timeout_s` None waits for ever."""

    awaited: Callable[[Job], Awaitable[object]] | None
    called: Handler
    timeout_s: float | None


class Registry:
    """The handlers of one application."""

    def __init__(self) -> None:
        self._handlers: dict[str, Registered] = {}

    def job(self, kind: str = "default", *, timeout_s: float | None = None) -> Callable[[Handler], Handler]:
        """Register the decorated function for `kind`. Raises UsageError if the kind has a handler already."""

        def register(function: Handler) -> Handler:
            if kind in self._handlers:
                raise UsageError(f"kind {kind!r} has a handler already", "give one of them another kind")
            awaited = cast(Callable[[Job], Awaitable[object]], function)
            is_async = inspect.iscoroutinefunction(function)
            self._handlers[kind] = Registered(awaited if is_async else None, function, timeout_s)
            return function

        return register

    def get(self, kind: str) -> Registered | None:
        return self._handlers.get(kind)

    @property
    def kinds(self) -> list[str]:
        return sorted(self._handlers)


def load_registry(spec: str) -> Registry:
    """The Registry that `module:name` means, looked for beside the current folder too. Raises UsageError."""
    module_name, colon, name = spec.partition(":")
    if not colon or not module_name or not name:
        raise UsageError(f"{spec!r} is not module:registry", "for example: pgops queue work myapp.jobs:registry")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except Exception as error:
        raise UsageError(f"{module_name} cannot be imported: {error}", "run it where python can import it") from error
    if not isinstance(found, Registry):
        raise UsageError(f"{spec!r} is not a pgops.Registry", f"define {name} = pgops.Registry() in {module_name}")
    return found
