"""Handlers by kind: what a worker can do.

    registry = Registry()

    @registry.job("send_email", timeout_s=30)
    async def send_email(job: RunningJob) -> None: ...

Async handlers run in the worker's loop, blocking ones in its threads. What a handler returns is the job's result, what
it raises its error; Snooze, Retry and Discard say what shall become of the job.
"""

import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import random
from typing import Any, cast

from pgops.errors import UsageError
from pgops.runtime.job import RunningJob
from pgops.services.arguments import MAX_SECONDS
from pgops.services.cron_rules import new_cron
from pgops.services.models import JsonValue, NewCron, WhenMissed

Handler = Callable[[Any], object]
Awaited = Callable[[RunningJob], Awaitable[object]]
Middleware = Callable[[RunningJob, Awaited], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a kind's jobs wait for their next try: `first_s`, then `factor` times as long each time, at most
    `max_s` and never more than 100 years, give or take the share `jitter`. Raises UsageError for what is no number."""

    first_s: float = 1.0
    factor: float = 2.0
    max_s: float = 3600.0
    jitter: float = 0.25

    def __post_init__(self) -> None:
        if not (self.first_s >= 0 and 0 <= self.factor <= 1_000 and self.max_s >= 0 and 0 <= self.jitter <= 1):
            raise UsageError(
                f"{self} is no back-off", "times are not negative, the factor is at most 1,000, the jitter at most 1"
            )

    def after(self, attempt: int) -> float:
        """Seconds to wait after this attempt, counted from 1."""
        whole = min(self.first_s * self.factor ** min(attempt - 1, 64), self.max_s, MAX_SECONDS)
        return whole * (1 + self.jitter * (2 * random() - 1))


@dataclass(frozen=True, slots=True)
class Registered:
    """A handler, either awaited in the loop or called in a thread; `timeout_s` None waits for ever."""

    awaited: Awaited | None
    called: Handler
    timeout_s: float | None
    max_attempts: int | None
    backoff: Backoff | None
    discard_on: tuple[type[BaseException], ...]


class Registry:
    """The handlers of one application."""

    def __init__(self) -> None:
        self._handlers: dict[str, Registered] = {}
        self.middlewares: list[Middleware] = []
        self.crons: list[NewCron] = []

    def job(
        self,
        kind: str = "default",
        *,
        timeout_s: float | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        discard_on: tuple[type[BaseException], ...] = (),
    ) -> Callable[[Handler], Handler]:
        """Register the decorated function for `kind`. `max_attempts` and `backoff` go before the queue's own; an
        exception of `discard_on` ends a job in the dead letter at once. Raises UsageError if the kind has a handler
        already, and for a generator, whose body would never run."""

        def register(function: Handler) -> Handler:
            if kind in self._handlers:
                raise UsageError(f"kind {kind!r} has a handler already", "give one of them another kind")
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                raise UsageError(f"the handler of kind {kind!r} is a generator", "return what it shall give, not yield")
            awaited = cast(Awaited, function) if inspect.iscoroutinefunction(function) else None
            self._handlers[kind] = Registered(awaited, function, timeout_s, max_attempts, backoff, discard_on)
            return function

        return register

    def cron(
        self,
        expression: str,
        *,
        queue: str,
        kind: str | None = None,
        name: str | None = None,
        payload: JsonValue = None,
        priority: int = 2,
        timezone: str = "UTC",
        missed: WhenMissed = "skip",
        overlap: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Let a job of the decorated function recur, as `pg.queue.cron.add` says: every worker that starts installs it,
        and leaves it paused where an operator has paused it. `kind` is the function's name and `name` the kind, unless
        given; the function becomes the kind's handler if it has none. Raises UsageError."""

        def register(function: Handler) -> Handler:
            of_kind = kind or function.__name__
            entry = new_cron(
                name or of_kind, expression, queue, payload, kind=of_kind, priority=priority, timezone=timezone,
                missed=missed, overlap=overlap,
            )  # fmt: skip
            if any(entry.name == other.name for other in self.crons):
                raise UsageError(f"there is a recurring job {entry.name!r} already", "give one of them another name")
            if of_kind not in self._handlers:
                self.job(of_kind)(function)
            self.crons.append(entry)
            return function

        return register

    def middleware(self, function: Middleware) -> Middleware:
        """Put the decorated `async def around(job, call_next)` around every handler, the first registered outermost. It
        awaits `call_next(job)` and returns what that returned; around a blocking handler it runs in the loop."""
        self.middlewares.append(function)
        return function

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
    except (Exception, SystemExit) as error:
        raise UsageError(f"{module_name} cannot be imported: {error}", "run it where python can import it") from error
    if not isinstance(found, Registry):
        raise UsageError(f"{spec!r} is not a pgops.Registry", f"define {name} = pgops.Registry() in {module_name}")
    return found
