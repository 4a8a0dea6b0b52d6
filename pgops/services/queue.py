"""The job queue: at-least-once jobs with leases, on split tables.

Producers and operators stand here, the worker's half in leases.py. Depth is kept by deltas, never counted.
See schema/0002_queue.sql for the tables, runtime/worker.py for the loop around claim and complete.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from difflib import get_close_matches

from pgops.database import Row
from pgops.errors import NotFoundError
from pgops.queries import load
from pgops.services.arguments import (
    MAX_PAYLOAD_BYTES,
    check_attempts,
    check_delay,
    check_kind,
    check_moment,
    check_priority,
    check_queue,
    copy_text,
    encode_json,
)
from pgops.services.leases import AsyncLeases
from pgops.services.models import (
    JobRow,
    JobState,
    JsonValue,
    QueueSettings,
)

Q = load("pgops.services", "queue.sql")

STATES: tuple[JobState, ...] = ("running", "available", "scheduled", "dead")
CUT = '"(a large payload: open the job to see it)"'
_COPY_CHUNK = 1_000


class AsyncQueue(AsyncLeases):
    """Jobs over one database object: the pool's, or the caller's transaction (`pg.bind(conn).queue`).

    The worker's half (claim, complete, fail, …) stands in leases.py.
    """

    # --- producers ---------------------------------------------------------------------------------------------

    async def enqueue(
        self,
        queue: str,
        payload: JsonValue,
        *,
        kind: str = "default",
        priority: int = 2,
        delay_s: float | None = None,
        run_at: datetime | None = None,
        max_attempts: int | None = None,
    ) -> int:
        """Add one job and return its id; a new queue is made with defaults. `priority` 1 is first, 4 last.

        Raises UsageError for a bad name, priority, delay, a naive `run_at`, or a payload that is no JSON or over 1 MB.
        """
        values: dict[str, object] = {
            "queue": check_queue(queue),
            "kind": check_kind(kind),
            "payload": encode_json(payload),
            "priority": check_priority(priority),
            "max_attempts": check_attempts(max_attempts),
        }
        if delay_s is None and run_at is None:
            row = await self._db.one(Q["enqueue"], values)
        else:
            values |= {"delay_s": check_delay(delay_s), "run_at": check_moment(run_at)}
            row = await self._db.one(Q["schedule"], values)
        assert row is not None
        return int(row[0])

    async def enqueue_many(
        self, queue: str, payloads: Iterable[JsonValue], *, kind: str = "default", priority: int = 2
    ) -> int:
        """Add many jobs by COPY, all or none; how many they were. Raises UsageError as `enqueue` does."""
        prefix = f"{copy_text(check_queue(queue))}\t{copy_text(check_kind(kind))}\t{check_priority(priority)}\t"
        async with self._db.transaction() as tx:
            jobs = await tx.copy_text(Q["copy_jobs"], _copy_chunks(prefix, payloads))
            if jobs:
                await tx.execute(Q["count_enqueued"], {"queue": queue, "jobs": jobs})
        return jobs

    # --- operators ---------------------------------------------------------------------------------------------

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
    ) -> None:
        """Set a queue's settings, making the queue if it is new; None leaves one as it is."""
        await self._db.execute(
            Q["set_queue"],
            {
                "queue": check_queue(queue), "max_attempts": check_attempts(max_attempts), "lease_s": lease_s,
                "max_runtime_s": max_runtime_s, "backoff_s": backoff_s, "backoff_max_s": backoff_max_s,
                "history": history,
            },
        )  # fmt: skip

    async def pause(self, queue: str) -> None:
        """Claim nothing from it until `resume`. Raises NotFoundError for an unknown queue."""
        await self._set_paused(queue, True)

    async def resume(self, queue: str) -> None:
        """Claim from it again. Raises NotFoundError for an unknown queue."""
        await self._set_paused(queue, False)

    async def requeue_dead(self, queue: str, ids: Sequence[int] = ()) -> int:
        """Dead letters start over, with their errors kept: those named, or all; how many they were."""
        await self.require(queue)
        row = await self._db.one(Q["requeue_dead"], {"queue": queue, "ids": list(ids), "all": not ids})
        return int(row[0]) if row else 0

    async def requeue_stuck(self, queue: str, ids: Sequence[int] = ()) -> int:
        """Take running jobs whose lease ran out or that run too long from their worker, whose late completion will
        be refused; those named, or all; how many they were."""
        await self.require(queue)
        row = await self._db.one(Q["requeue_stuck"], {"queue": queue, "ids": list(ids), "all": not ids})
        return int(row[0]) if row else 0

    async def jobs(
        self, queue: str, *, state: JobState | None = None, limit: int = 50, cut_bytes: int = MAX_PAYLOAD_BYTES
    ) -> list[JobRow]:
        """Jobs of one state in the order that matters there (claim order, due time, start, death), or the first of
        each state. A payload of more than `cut_bytes` comes as a text that says so. Raises NotFoundError for an
        unknown queue."""
        await self.require(queue)
        found: list[JobRow] = []
        values = {"queue": queue, "cut_bytes": cut_bytes, "cut": CUT}
        for each in STATES if state is None else (state,):
            rows = await self._db.all(Q[f"list_{each}"], {**values, "limit": limit - len(found)})
            found += [_job_row(queue, row) for row in rows]
        return found

    async def job(self, queue: str, id: int) -> JobRow:
        """One job, wherever it stands. Raises NotFoundError."""
        await self.require(queue)
        row = await self._db.one(Q["find_job"], {"queue": queue, "id": id})
        if row is None:
            raise NotFoundError(
                f"queue {queue!r} has no job {id}",
                "it may be completed; a queue keeps completed jobs only with history 'all'",
            )
        return _job_row(queue, row)

    async def require(self, queue: str) -> None:
        """Raise NotFoundError, with near names, unless the queue exists."""
        names = [row[0] for row in await self._db.all(Q["queue_names"])]
        if queue not in names:
            near = get_close_matches(queue, names, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "see: pgops queue list"
            raise NotFoundError(f"there is no queue {queue!r}", hint)

    async def _set_paused(self, queue: str, paused: bool) -> None:
        await self.require(queue)
        await self._db.execute(Q["set_paused"], {"queue": queue, "paused": paused})


def _job_row(queue: str, row: Row) -> JobRow:
    (
        state,
        id,
        kind,
        priority,
        attempt,
        of,
        payload,
        errors,
        created_at,
        run_at,
        started_at,
        lease_until,
        owner,
    ) = row
    return JobRow(
        queue=queue, id=id, state=state, kind=kind, priority=priority, attempt=attempt, max_attempts=of,
        payload=json.loads(payload), errors=tuple(json.loads(errors)) if errors else (), created_at=created_at,
        run_at=run_at, started_at=started_at, lease_until=lease_until, owner=owner,
    )  # fmt: skip


def _copy_chunks(prefix: str, payloads: Iterable[JsonValue]) -> Iterator[bytes]:
    lines: list[str] = []
    for payload in payloads:
        lines.append(prefix + copy_text(encode_json(payload)))
        if len(lines) == _COPY_CHUNK:
            yield ("\n".join(lines) + "\n").encode()
            lines.clear()
    if lines:
        yield ("\n".join(lines) + "\n").encode()
