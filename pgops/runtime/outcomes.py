"""What a worker holds and how it ended: batches by token, flushed to the database together.

The runners only append to lists. One flusher sends them, a statement a batch and kind; while the database is away
nothing is dropped, and what outlives its lease meanwhile is refused there and counted as stale.
"""

import asyncio
import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic

from pgops.services.arguments import Encoded
from pgops.services.models import Claim, FailedJob, Job
from pgops.services.queue import AsyncQueue

log = logging.getLogger("pgops.worker")

MAX_RESULTS_BYTES = 8_000_000


@dataclass(slots=True)
class Stats:
    """What a worker has done since it started; `batches` are the claims that got anything."""

    claimed: int = 0
    batches: int = 0
    completed: int = 0
    retried: int = 0
    dead: int = 0
    snoozed: int = 0
    cancelled: int = 0
    stale: int = 0
    released: int = 0

    @property
    def ended(self) -> int:
        """How many of the claimed are off the worker's hands."""
        return self.completed + self.retried + self.dead + self.snoozed + self.cancelled + self.stale + self.released


@dataclass(slots=True)
class HeldBatch:
    """One claim: its jobs that have not been flushed yet, and those whose end waits for the next flush."""

    queue: str
    token: int
    open: set[int]
    extended_at: float
    lost: set[int] = field(default_factory=set)
    lapsed: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    failed: list[FailedJob] = field(default_factory=list)
    results: dict[int, Encoded] = field(default_factory=dict)

    def next_done(self) -> list[int]:
        """What to complete in one statement: all, but of large results not too many."""
        size = 0
        for place, id in enumerate(self.done if self.results else ()):
            size += len(self.results.get(id, ""))
            if place and size > MAX_RESULTS_BYTES:
                return self.done[:place]
        return self.done


class Outcomes:
    """The batches that a worker holds. `leases` is how long each queue's last."""

    def __init__(self, stats: Stats) -> None:
        self.batches: dict[int, HeldBatch] = {}
        self.leases: dict[str, float] = {}
        self.stats = stats
        self._dirty = asyncio.Event()

    @property
    def held(self) -> int:
        return sum(len(batch.open) for batch in self.batches.values())

    def holds(self, queue: str, id: int) -> bool:
        """Whether this worker has the job."""
        return any(batch.queue == queue and id in batch.open for batch in self.batches.values())

    def claimed(self, claim: Claim) -> None:
        ids = {job.id for job in claim.jobs}
        self.batches[claim.token] = HeldBatch(claim.queue, claim.token, ids, monotonic())
        self.stats.claimed += len(ids)
        self.stats.batches += 1

    def lapsed(self, job: Job) -> bool:
        """Whether its lease has run out before it was started: the worker stood still. It is handed back then, unless
        somebody has it already."""
        batch = self.batches[job.token]
        if job.id not in batch.lost and monotonic() - batch.extended_at < self.leases.get(job.queue, math.inf):
            return False
        batch.lapsed.append(job.id)
        self._dirty.set()
        return True

    def done(self, job: Job) -> None:
        self.batches[job.token].done.append(job.id)
        self._dirty.set()

    def result(self, job: Job, result: Encoded) -> None:
        """What a job that is done has returned, for the history."""
        self.batches[job.token].results[job.id] = result

    def completed(self, job: Job) -> None:
        """The handler has completed it in its own transaction: there is nothing left to say."""
        self.stats.completed += 1
        self._close(self.batches[job.token], [job.id])

    def failed(self, job: Job, failed: FailedJob) -> None:
        self.batches[job.token].failed.append(failed)
        self._dirty.set()

    async def wait(self) -> None:
        """Until there is something to flush."""
        await self._dirty.wait()

    def wake(self) -> None:
        """Let a waiting flusher look again."""
        self._dirty.set()

    async def flush(self, queue: AsyncQueue) -> None:
        """Send all that has ended. What fails to be sent stays for the next time."""
        self._dirty.clear()
        for batch in list(self.batches.values()):
            while batch.done:
                ids = batch.next_done()
                batch.done = batch.done[len(ids) :]
                results = {id: batch.results[id] for id in ids if id in batch.results} if batch.results else {}
                try:
                    completed = await queue.complete(batch.queue, ids, batch.token, results=results)
                except BaseException:
                    batch.done = ids + batch.done
                    self._dirty.set()
                    raise
                self.stats.completed += len(completed)
                for id in results:
                    del batch.results[id]
                self._stale(batch, set(ids).difference(completed) if len(completed) < len(ids) else ())
                self._close(batch, ids)
            if batch.lapsed:
                ids, batch.lapsed = batch.lapsed, []
                try:
                    released = await queue.release(batch.queue, ids, batch.token)
                except BaseException:
                    batch.lapsed = ids + batch.lapsed
                    self._dirty.set()
                    raise
                self.stats.released += len(released)
                self._stale(batch, set(ids).difference(released))
                self._close(batch, ids)
            if batch.failed:
                jobs, batch.failed = batch.failed, []
                try:
                    failed = await queue.fail(batch.queue, batch.token, jobs)
                except BaseException:
                    batch.failed = jobs + batch.failed
                    self._dirty.set()
                    raise
                self.stats.retried += len(failed.retried)
                self.stats.dead += len(failed.dead)
                self.stats.snoozed += len(failed.snoozed)
                self.stats.cancelled += len(failed.cancelled)
                self._stale(batch, failed.stale)
                self._close(batch, [job.id for job in jobs])

    async def release(self, queue: AsyncQueue, jobs: Sequence[Job]) -> None:
        """Hand back jobs that were not started."""
        for token in {job.token for job in jobs}:
            batch = self.batches[token]
            ids = [job.id for job in jobs if job.token == token]
            self.stats.released += len(await queue.release(batch.queue, ids, token))
            self._close(batch, ids)

    async def extend(self, queue: AsyncQueue, older_than_s: float, ending: Collection[tuple[str, int]] = ()) -> None:
        """Extend the leases of what takes long, but not of what is `ending` in its handler's transaction: that would
        have to wait for it."""
        now = monotonic()
        for batch in list(self.batches.values()):
            alone = (id for its, id in tuple(ending) if its == batch.queue)
            waiting = batch.open.difference(batch.done, (job.id for job in batch.failed), alone)
            if waiting and now - batch.extended_at >= older_than_s:
                kept = await queue.heartbeat(batch.queue, list(waiting), batch.token)
                batch.extended_at = now
                if len(kept) < len(waiting):
                    batch.lost = waiting.difference(kept)
                    log.warning("%s: %d leases were lost while their jobs ran", batch.queue, len(batch.lost))

    def _stale(self, batch: HeldBatch, ids: Sequence[int] | set[int]) -> None:
        if ids:
            self.stats.stale += len(ids)
            log.warning("%s: refused as stale, their leases had run out: %s", batch.queue, sorted(ids))

    def _close(self, batch: HeldBatch, ids: Sequence[int]) -> None:
        batch.open.difference_update(ids)
        if not batch.open:
            self.batches.pop(batch.token, None)
