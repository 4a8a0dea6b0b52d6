"""The job queue: at-least-once jobs with leases, on split tables.

The operators' half stands here and in job_pages.py, the producers' in enqueue.py, the worker's in leases.py. Depth is
kept by deltas, never counted. See schema/0002_queue.sql for the tables, runtime/worker.py for the loop around claim and
complete.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from psycopg import sql

from pgops.database import Row
from pgops.errors import NotFoundError, UsageError
from pgops.queries import load
from pgops.services.arguments import (
    check_attempts,
    check_delay,
    check_limits,
    check_queue,
    check_setting,
    check_word,
    encode_json,
    error_text,
)
from pgops.services.enqueue import AsyncProducers
from pgops.services.error_rules import grouped
from pgops.services.job_match import conditions, values
from pgops.services.job_pages import AsyncJobPages
from pgops.services.leases import AsyncLeases
from pgops.services.models import (
    Cancelled,
    FailureGroup,
    JobMatch,
    JobState,
    JsonValue,
    PastJob,
    QueueSettings,
    read_json,
)

if TYPE_CHECKING:
    from pgops.services.cron import AsyncCron

Q = load("pgops.services", "queue.sql")

MOST_DEAD = 1_000_000
MOST_NEWEST = 10_000
HISTORIES = ("none", "failures", "all")
DURABILITIES = ("durable", "relaxed")


class AsyncQueue(AsyncLeases, AsyncProducers, AsyncJobPages):
    """Jobs over one database object: the pool's, or the caller's transaction (`pg.bind(conn).queue`)."""

    @property
    def cron(self) -> "AsyncCron":
        """Recurring jobs."""
        from pgops.services.cron import AsyncCron

        return AsyncCron(self._db)

    async def queues(self) -> list[QueueSettings]:
        """Every queue with its settings."""
        return [QueueSettings(*row) for row in await self._db.all(Q["list_queues"])]

    async def configure(
        self,
        queue: str,
        *,
        max_attempts: int | None = None,
        lease_s: float | None = None,
        max_runtime_s: float | None = None,
        backoff_s: float | None = None,
        backoff_max_s: float | None = None,
        history: str | None = None,
        aging_s: float | None = None,
        durability: str | None = None,
    ) -> None:
        """Set a queue's settings, making the queue if it is new; None leaves one as it is. `aging_s` 0 is no aging.

        With `durability` "relaxed" a crash of the server may lose what was enqueued or completed in the last second.
        A lease has at least 1 second. Raises UsageError."""
        await self._db.execute(
            Q["set_queue"],
            {
                "queue": check_queue(queue), "max_attempts": check_attempts(max_attempts),
                "lease_s": check_setting("lease_s", lease_s, least=1.0),
                "max_runtime_s": check_setting("max_runtime_s", max_runtime_s),
                "backoff_s": check_setting("backoff_s", backoff_s),
                "backoff_max_s": check_setting("backoff_max_s", backoff_max_s),
                "history": check_word("history", history, HISTORIES), "aging_s": check_setting("aging_s", aging_s),
                "durability": check_word("durability", durability, DURABILITIES),
            },
        )  # fmt: skip

    async def limit(
        self, queue: str, *, max_running: int | None = None, rate_per_s: float | None = None, burst: int | None = None
    ) -> None:
        """Let at most `max_running` of its jobs run at once and at most `rate_per_s` start a second, `burst` of them
        together, whatever the number of workers; None is no limit. Raises NotFoundError for an unknown queue."""
        check_limits(max_running, rate_per_s, burst)
        await self.require(queue)
        values = {"queue": queue, "max_running": max_running, "rate_per_s": rate_per_s, "burst": burst}
        await self._db.execute(Q["limit_queue"], values)

    async def pause(self, queue: str, *, for_s: float | None = None) -> None:
        """Claim nothing from it until `resume`, or for `for_s` seconds. Raises NotFoundError for an unknown queue."""
        await self._set_paused(queue, True, None if for_s is None else check_delay(for_s))

    async def resume(self, queue: str) -> None:
        """Claim from it again. Raises NotFoundError for an unknown queue."""
        await self._set_paused(queue, False, None)

    async def cancel(self, queue: str, ids: Sequence[int], *, reason: str = "cancelled") -> Cancelled:
        """End jobs: those that have not started are gone, the workers of running ones are told. The history keeps
        them. An id that is neither is left out of the count. Raises NotFoundError for an unknown queue."""
        await self.require(queue)
        values = {"queue": queue, "ids": list(ids), "reason": error_text(reason)}
        row = await self._db.one(Q["cancel_jobs"], values)
        return Cancelled(row[0], row[1]) if row else Cancelled(0, 0)

    async def dead_matching(self, queue: str, match: JobMatch) -> list[int]:
        """The ids of the dead letters that match, the oldest first, at most a million. Raises NotFoundError for an
        unknown queue."""
        await self.require(queue)
        statement, params = dead_matching(queue, match)
        return [row[0] for row in await self._db.all(statement, params)]

    async def failures(self, queue: str | None = None, *, cap: int = 1_000) -> list[FailureGroup]:
        """Why jobs died: the newest `cap` dead letters of a queue, or of each, grouped by kind and by what their last
        error says without what differs from job to job; the largest group first. Raises NotFoundError for an unknown
        queue."""
        if not 1 <= cap <= MOST_NEWEST:
            raise UsageError(f"a cap is 1 to {MOST_NEWEST:,}, not {cap}", "leave it out for 1,000")
        if queue is not None:
            await self.require(queue)
        names = [queue] if queue is not None else [row[0] for row in await self._db.all(Q["queue_names"])]
        return list(grouped(await self._db.all(Q["newest_dead"], {"queues": names, "cap": cap, "bytes": 2_000}), cap))

    async def discard_dead(self, queue: str, ids: Sequence[int] = (), *, match: JobMatch | None = None) -> int:
        """Give dead letters up: those named, those that match, or all; how many they were. The history keeps them."""
        await self.require(queue)
        if match is not None and not (ids := await self.dead_matching(queue, match)):
            return 0
        row = await self._db.one(Q["discard_dead"], {"queue": queue, "ids": list(ids), "all": not ids})
        return int(row[0]) if row else 0

    async def edit(self, queue: str, id: int, payload: JsonValue) -> JobState:
        """Give a job that does not run another payload; the state it is in. Raises NotFoundError, also for a job that
        is running, and UsageError for a payload that is no JSON."""
        await self.require(queue)
        row = await self._db.one(Q["edit_job"], {"queue": queue, "id": id, "payload": encode_json(payload)})
        if row is None:
            raise NotFoundError(
                f"queue {queue!r} has no job {id} that could be edited", "a running job keeps its payload"
            )
        state: JobState = row[0]
        return state

    async def requeue_dead(self, queue: str, ids: Sequence[int] = (), *, match: JobMatch | None = None) -> int:
        """Dead letters start over, with their errors kept: those named, those that match, or all; how many they
        were."""
        await self.require(queue)
        if match is not None and not (ids := await self.dead_matching(queue, match)):
            return 0
        row = await self._db.one(Q["requeue_dead"], {"queue": queue, "ids": list(ids), "all": not ids})
        return int(row[0]) if row else 0

    async def requeue_stuck(self, queue: str, ids: Sequence[int] = ()) -> int:
        """Take running jobs whose lease ran out or that run too long from their worker, whose late completion will
        be refused; those named, or all; how many they were."""
        await self.require(queue)
        row = await self._db.one(Q["requeue_stuck"], {"queue": queue, "ids": list(ids), "all": not ids})
        return int(row[0]) if row else 0

    async def history(self, queue: str, *, limit: int = 50) -> list[PastJob]:
        """Jobs that have ended, the youngest first, as far as the queue's history keeps them."""
        await self.require(queue)
        rows = await self._db.all(Q["list_past"], {"queue": queue, "limit": limit})
        return [_past_job(queue, row) for row in rows]

    async def past_job(self, queue: str, id: int) -> PastJob:
        """How a job ended, and what it returned. Raises NotFoundError where the history does not have it."""
        await self.require(queue)
        row = await self._db.one(Q["find_past"], {"queue": queue, "id": id})
        if row is None:
            raise NotFoundError(
                f"queue {queue!r} has no job {id} in its history",
                "a queue keeps completed jobs only with history 'all'",
            )
        return _past_job(queue, row)

    async def _set_paused(self, queue: str, paused: bool, for_s: float | None) -> None:
        await self.require(queue)
        await self._db.execute(Q["set_paused"], {"queue": queue, "paused": paused, "for_s": for_s})


def _past_job(queue: str, row: Row) -> PastJob:
    outcome, id, kind, attempt, payload, errors, result, created_at, started_at, finished_at = row
    return PastJob(
        queue=queue, id=id, outcome=outcome, kind=kind, attempt=attempt, payload=read_json(payload),
        errors=tuple(read_json(errors) or ()), result=read_json(result),
        created_at=created_at, started_at=started_at, finished_at=finished_at,
    )  # fmt: skip


def dead_matching(queue: str, match: JobMatch) -> tuple[sql.Composed, dict[str, object]]:
    """The statement that finds what matches among dead letters, and its parameters. Raises UsageError as `values`."""
    statement = sql.SQL(Q["dead_matching"].decode()).format(matching=conditions(match))
    return statement, {"queue": queue, "limit": MOST_DEAD, **values(match)}
