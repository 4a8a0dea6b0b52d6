"""The job as its handler sees it, and what the handler can say of it.

job.progress({"done": 3, "of": 10})         seen in dashboard and commands; where the job gets to know of a cancel
async with job.connection() as conn:        a transaction whose session is named after the job
    await conn.execute(…)
    await job.complete(conn)                the effect and the completion, both or neither
raise Snooze(60) / Retry(5) / Discard("why")
"""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, overload

import psycopg

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import PgopsError, UsageError
from pgops.services.arguments import MAX_SECONDS, Encoded, encode_json, session_name
from pgops.services.models import Job, JsonValue
from pgops.services.queue import AsyncQueue
from pgops.sync.database import Bound
from pgops.sync.services.queue import Queue
from pgops.unwrapping import Holder


class Snooze(Exception):
    """Not now: again in `in_s` seconds, and this attempt does not count. Raises UsageError for what is no time."""

    def __init__(self, in_s: float) -> None:
        self.in_s = _seconds(in_s)
        super().__init__(f"snoozed for {self.in_s:g} s")


class Retry(Exception):
    """This attempt failed: again in `in_s` seconds, if attempts are left. Raises UsageError for what is no time."""

    def __init__(self, in_s: float, reason: str = "asked for another try") -> None:
        super().__init__(reason)
        self.in_s = _seconds(in_s)


def _seconds(in_s: float) -> float:
    """No less than 0; NaN fails the comparison, as it should."""
    if not isinstance(in_s, int | float) or not in_s <= MAX_SECONDS:
        raise UsageError(f"a job comes back in 0 seconds to 100 years, not {in_s!r}", "give a number of seconds")
    return max(float(in_s), 0.0)


class Discard(Exception):
    """This job can never succeed: into the dead letter, whatever attempts are left."""


class JobCancelledError(Exception):
    """Somebody wants this job to end."""


class StaleLeaseError(PgopsError):
    """The job is not ours any more: its lease ran out, and another worker may have it. Nothing of it must commit."""


@dataclass(slots=True)
class Desk:
    """What handlers and worker tell each other: progress to be written, jobs that are to end, jobs that were completed
    inside their handler's transaction. Keys are (queue, id)."""

    db: AsyncPool
    owner: int = 0
    progress: dict[tuple[str, int, int], Encoded] = field(default_factory=dict)
    wishes: dict[tuple[str, int], str] = field(default_factory=dict)
    completed: set[tuple[str, int]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class RunningJob(Job):
    """A job in the hands of its handler."""

    desk: Desk | None = None

    @property
    def session_name(self) -> str:
        """What `connection` calls its session. As the application_name of a connection of the handler's own it lets an
        operator find from the job to the session, and to whoever that waits for."""
        return session_name(self.desk.owner if self.desk is not None else 0, self.queue, self.id)

    @property
    def cancelled(self) -> bool:
        """Whether somebody wants it to end."""
        return self.desk is not None and (self.queue, self.id) in self.desk.wishes

    def progress(self, value: JsonValue) -> None:
        """Say how far it is; the worker writes the latest once a second. May be called from a thread.

        Raises JobCancelledError where somebody wants the job to end, and UsageError for what is no JSON.
        """
        if self.desk is None:
            return
        if (wish := self.desk.wishes.get((self.queue, self.id))) is not None:
            raise JobCancelledError(wish)
        self.desk.progress[(self.queue, self.id, self.token)] = Encoded(encode_json(value))

    @overload
    def complete(self, conn: "psycopg.AsyncConnection[Any]", *, result: JsonValue = None) -> Awaitable[None]: ...

    @overload
    def complete(self, conn: "psycopg.Connection[Any]", *, result: JsonValue = None) -> None: ...

    @overload
    def complete(self, conn: Holder, *, result: JsonValue = None) -> Any: ...

    def complete(
        self, conn: "psycopg.AsyncConnection[Any] | psycopg.Connection[Any] | Holder", *, result: JsonValue = None
    ) -> Awaitable[None] | None:
        """Complete the job inside the transaction of `conn`, so that its effect happens exactly once: both commit, or
        the job runs again. Await it with an async connection. Of SQLAlchemy it takes what `pg.bind` takes.

        Raises StaleLeaseError where the job was taken back meanwhile; let it end the transaction.
        """
        results = {} if result is None else {self.id: result}
        if isinstance(conn, psycopg.AsyncConnection) or hasattr(conn, "sync_connection"):
            return self._complete_async(AsyncQueue(AsyncBound(conn, foreign=True)), results)
        self._completed(Queue(Bound(conn, foreign=True)).complete(self.queue, [self.id], self.token, results=results))
        return None

    async def _complete_async(self, queue: AsyncQueue, results: dict[int, JsonValue]) -> None:
        self._completed(await queue.complete(self.queue, [self.id], self.token, results=results))

    def _completed(self, ids: list[int]) -> None:
        if not ids:
            raise StaleLeaseError(
                f"the lease of job {self.queue}/{self.id} has run out",
                "give the queue a longer lease, or do less in one job",
            )
        if self.desk is not None:
            self.desk.completed.add((self.queue, self.id))

    @asynccontextmanager
    async def connection(self) -> "AsyncIterator[psycopg.AsyncConnection[Any]]":
        """One of the worker's connections in a transaction that commits at the end; its application_name says which
        worker and job it serves. For async handlers."""
        if self.desk is None:
            raise PgopsError("a job has a connection only in its worker", "open one of your own")
        async with self.desk.db.lend() as conn, conn.transaction():
            await conn.execute("select set_config('application_name', %s, true)", [self.session_name])
            try:
                yield conn
            except BaseException:
                self.desk.completed.discard((self.queue, self.id))
                raise
