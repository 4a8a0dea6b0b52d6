"""The producers' half of the job queue: one job, many by COPY, or many with keys.

Everything here is one statement in whoever's transaction; see schema/0002_queue.sql for what it does.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from time import monotonic

from pgops.database import AsyncDatabase
from pgops.queries import load
from pgops.services.arguments import (
    check_attempts,
    check_delay,
    check_job_key,
    check_kind,
    check_moment,
    check_priority,
    check_queue,
    check_unique,
    copy_text,
    encode_json,
)
from pgops.services.models import Enqueued, JsonValue, KeyState, NewJob

Q = load("pgops.services", "enqueue.sql")

WHILE_ALIVE: tuple[KeyState, ...] = ("available", "scheduled", "running")
HINT_EVERY_S = 0.02
_COPY_CHUNK = 1_000


class AsyncProducers:
    """Jobs into queues, over one database object; a base of `AsyncQueue`."""

    _db: AsyncDatabase
    _own: bool
    _hinted: dict[str, float]

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
        headers: Mapping[str, JsonValue] | None = None,
        group_key: str | None = None,
        unique_key: str | None = None,
        unique_states: Collection[KeyState] = WHILE_ALIVE,
        unique_for_s: float | None = None,
        hint: bool = False,
    ) -> int:
        """Add one job and return its id; a new queue is made with defaults. `priority` 1 is first, 4 last.

        Jobs of one `group_key` run one at a time, in order of arrival. While a job with the same `unique_key` is in one
        of `unique_states`, but for at most `unique_for_s` seconds, none is added and that job's id is returned.

        Workers that wait are told at once, or else find the job when they look next: within 50 ms, or 100 after ten
        quiet seconds. In a caller's own transaction only `hint=True` tells them, since it makes his commit take its
        turn with everybody's NOTIFY.

        Raises UsageError for a bad name, key, priority, delay, a naive `run_at`, or a payload that is no
        JSON or over 1 MB.
        """
        values: dict[str, object] = {
            "queue": check_queue(queue),
            "kind": check_kind(kind),
            "payload": encode_json(payload),
            "priority": check_priority(priority),
            "max_attempts": check_attempts(max_attempts),
            "own": self._own,
        }
        if headers or group_key is not None or unique_key is not None:
            values |= {
                "delay_s": check_delay(delay_s), "run_at": check_moment(run_at),
                "headers": None if headers is None else encode_json(dict(headers)),
                "group_key": check_job_key(group_key, "group key"),
                "unique_key": check_job_key(unique_key, "unique key"),
                "unique_states": check_unique(unique_states, unique_for_s), "unique_for_s": unique_for_s,
            }  # fmt: skip
            row = await self._db.one(Q["enqueue_job"], values)
        elif delay_s is None and run_at is None:
            row = await self._db.one(Q["enqueue"], values)
        else:
            values |= {"delay_s": check_delay(delay_s), "run_at": check_moment(run_at)}
            row = await self._db.one(Q["schedule"], values)
        assert row is not None
        if not self._own:
            if hint:
                await self._db.execute(Q["hint_in_transaction"], {"queue": queue})
        elif len(row) > 2 and row[2]:
            await self._hint(queue)
        return int(row[0])

    async def enqueue_many(
        self, queue: str, payloads: Iterable[JsonValue], *, kind: str = "default", priority: int = 2
    ) -> int:
        """Add many jobs by COPY, all or none; how many they were. Raises UsageError as `enqueue` does."""
        prefix = f"{copy_text(check_queue(queue))}\t{copy_text(check_kind(kind))}\t{check_priority(priority)}\t"
        async with self._db.transaction() as tx:
            jobs = await tx.copy_text(Q["copy_jobs"], _copy_chunks(prefix, payloads))
            row = None
            if jobs:
                row = await tx.one(Q["count_enqueued"], {"queue": queue, "jobs": jobs, "own": self._own})
        if self._own and row is not None and row[2]:
            await self._hint(queue)
        return jobs

    async def enqueue_jobs(
        self,
        queue: str,
        jobs: Sequence[NewJob],
        *,
        unique_states: Collection[KeyState] = WHILE_ALIVE,
        unique_for_s: float | None = None,
    ) -> list[Enqueued]:
        """Add jobs that differ in more than their payload, all or none, in one statement; where each of them is, in the
        order given. Keys as in `enqueue`, and UsageError too."""
        values: dict[str, object] = {
            "queue": check_queue(queue),
            "payloads": [encode_json(job.payload) for job in jobs],
            "kinds": [check_kind(job.kind) for job in jobs],
            "priorities": [check_priority(job.priority) for job in jobs],
            "run_ats": [check_moment(job.run_at) for job in jobs],
            "max_attempts": [check_attempts(job.max_attempts) for job in jobs],
            "headers": [None if job.headers is None else encode_json(dict(job.headers)) for job in jobs],
            "group_keys": [check_job_key(job.group_key, "group key") for job in jobs],
            "unique_keys": [check_job_key(job.unique_key, "unique key") for job in jobs],
            "unique_states": check_unique(unique_states, unique_for_s),
            "unique_for_s": unique_for_s,
        }
        return [Enqueued(*row) for row in await self._db.all(Q["enqueue_jobs"], values)]

    async def _hint(self, queue: str) -> None:
        """Tell the workers that wait for this queue, at most 50 times a second. Correctness does not rest on it."""
        now = monotonic()
        if now - self._hinted.get(queue, 0.0) >= HINT_EVERY_S:
            self._hinted[queue] = now
            await self._db.execute(Q["hint"], {"queue": queue})


def _copy_chunks(prefix: str, payloads: Iterable[JsonValue]) -> Iterator[bytes]:
    lines: list[str] = []
    for payload in payloads:
        lines.append(prefix + copy_text(encode_json(payload)))
        if len(lines) == _COPY_CHUNK:
            yield ("\n".join(lines) + "\n").encode()
            lines.clear()
    if lines:
        yield ("\n".join(lines) + "\n").encode()
