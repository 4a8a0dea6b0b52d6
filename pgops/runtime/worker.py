"""The worker: claim, run, complete, in batches, until it is told to stop.

    feed.py       claims ahead of the runners, from the floor, and sweeps now and then
    runners.py    call the handlers; job.py is what a handler sees
    outcomes.py   completes and fails what has ended, a statement a batch
    pulse         here: heartbeats, leases extended for what takes long, progress written, cancels heard
    watch.py      names the handler that blocks the loop
    maintenance   promotes, reaps and folds beside it

At least once: a job that was claimed and not completed is taken back when its lease ends, and the late completion of a
worker that was only slow is refused by its token, counted and logged. `stop` hands back what was not started, gives
the rest `grace_s` to finish, and leaves.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

from pgops.database import AsyncPool
from pgops.errors import PgopsError, UsageError
from pgops.runtime.feed import Feed
from pgops.runtime.hints import WANTED_FOR_S, Hints
from pgops.runtime.job import Desk
from pgops.runtime.maintenance import Maintenance
from pgops.runtime.outcomes import Outcomes, Stats
from pgops.runtime.registry import Registry
from pgops.runtime.runners import Runners
from pgops.runtime.sessions import worker_session
from pgops.runtime.tidying import Tidying
from pgops.runtime.watch import BlockWatch
from pgops.services.models import Job, WorkerState
from pgops.services.queue import AsyncQueue

log = logging.getLogger("pgops.worker")

FLUSH_EVERY_S = 0.003
TELL_AFTER_JOBS = 10_000
RECONNECT_S = 1.0
LISTEN_TO_WISHES_S = 1.0


class Worker:
    """Runs the jobs of `queues` through the handlers of `registry`, `concurrency` at a time. `direct_dsn` is a way
    around a pooler, for hints of new jobs."""

    def __init__(
        self,
        db: AsyncPool,
        registry: Registry,
        queues: Sequence[str],
        *,
        concurrency: int = 10,
        grace_s: float = 25.0,
        direct_dsn: str | None = None,
    ) -> None:
        if not queues or concurrency < 1:
            raise UsageError("a worker needs at least one queue and a concurrency of 1", "for example: -q email")
        self.stats = Stats()
        self._db = db
        self._queue = AsyncQueue(db)
        self._queues = tuple(queues)
        self._concurrency = concurrency
        self._grace_s = grace_s
        self._lease_s = 30.0
        self._ask_at = 0.0
        self._told = 0
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._buffer: asyncio.Queue[Job | None] = asyncio.Queue()
        self._desk = Desk(db)
        self._outcomes = Outcomes(self.stats)
        self._hints = Hints(db, queues, direct_dsn)
        self._feed = Feed(db, queues, concurrency, self._buffer, self._outcomes, self._desk, self._hints.heard)
        self._crons = registry.crons
        self._runners = Runners(registry, self._buffer, self._outcomes, self._desk, concurrency)

    @property
    def running(self) -> int:
        """How many jobs handlers have."""
        return len(self._runners.serving)

    @property
    def prefetched(self) -> int:
        """How many are claimed and not started."""
        return self._buffer.qsize()

    def stop(self) -> None:
        """Begin to stop; `run` returns when all is handed back or finished. May be called from a signal handler."""
        self._stopping.set()

    async def run(self) -> Stats:
        """Work until `stop`. A lost connection is waited out; at the start it raises UnreachableError."""
        await self._read_settings(self._queue)
        for entry in self._crons:
            await self._queue.cron.put(entry)
        self._desk.owner = await self._queue.register_worker(self._state())
        log.info("worker %d on %s", self._desk.owner, ", ".join(self._queues))
        watch = BlockWatch(self._runners.serving.get)
        watch.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                feed = tasks.create_task(self._keep(lambda: self._feed.run(self._stopping), self._stopping))
                flush = tasks.create_task(self._keep(self._flush, self._ended))
                pulse = tasks.create_task(self._keep(self._attend, self._ended))
                duties = Maintenance(self._db, self._queues, self._feed.sweep)
                maintenance = tasks.create_task(self._keep(lambda: duties.run(self._stopping), self._stopping))
                hints = tasks.create_task(self._keep(lambda: self._hints.run(self._stopping), self._stopping))
                self._runners.start(tasks)
                tidying = Tidying(self._db)
                tasks.create_task(self._keep(lambda: tidying.run(self._stopping), self._stopping))
                await self._stopping.wait()
                await asyncio.gather(feed, maintenance, hints)
                await self._hand_back()
                await self._runners.wind_down(self._grace_s)
                self._ended.set()
                self._outcomes.wake()
                await asyncio.gather(flush, pulse)
            await self._outcomes.flush(self._queue)
            await self._queue.forget_worker(self._desk.owner)
        except PgopsError as error:
            log.warning("stopped without a farewell, leases will run out: %s", error)
        finally:
            watch.stop()
            self._runners.close()
        return self.stats

    async def _flush(self) -> None:
        async with worker_session(self._db) as queue:
            while not self._ended.is_set():
                await self._outcomes.wait()
                await self._outcomes.flush(queue)
                await asyncio.sleep(FLUSH_EVERY_S)

    async def _attend(self) -> None:
        """The pulse, and what is to be heard, on a connection beside the pool: handlers may hold all of that."""
        async with self._db.apart() as conn:
            queue, pulse_at, hear_at = AsyncQueue(conn, own=True), 0.0, 0.0
            while not self._ended.is_set():
                if monotonic() >= pulse_at:
                    await self._pulse(queue)
                    pulse_at = monotonic() + min(self._lease_s / 6, 5.0)
                elif self.stats.claimed - self._told >= TELL_AFTER_JOBS:
                    await self._beat(queue)
                if monotonic() >= hear_at:
                    await self._hear(queue)
                    hear_at = monotonic() + LISTEN_TO_WISHES_S
                await _wait(self._ended, max(min(pulse_at, hear_at) - monotonic(), 0.01))

    async def _pulse(self, queue: AsyncQueue) -> None:
        await self._read_settings(queue)
        await self._beat(queue)
        await self._outcomes.extend(queue, self._lease_s / 3, self._desk.completed)

    async def _beat(self, queue: AsyncQueue) -> None:
        """Also how far it has claimed: whoever looks for a queue's head begins above that, not in what is dead."""
        self._told = self.stats.claimed
        await queue.beat_worker(self._desk.owner, self._state())

    async def _hear(self, queue: AsyncQueue) -> None:
        """Write what handlers say of their progress, hear which jobs are to end, and ask to be told of new ones."""
        if self._hints.wanted and self._feed.waiting and monotonic() >= self._ask_at:
            asked = await queue.want_hints(self._queues, WANTED_FOR_S)
            self._ask_at = monotonic() + (WANTED_FOR_S / 3 if asked == len(self._queues) else 0.0)
        said = {key: self._desk.progress.pop(key) for key in list(self._desk.progress)}
        said = {key: value for key, value in said.items() if key[:2] not in self._desk.completed}
        for name in {key[0] for key in said}:
            mine = {(id, token): value for (its, id, token), value in said.items() if its == name}
            await queue.report_progress(name, mine)
        if self._outcomes.held:
            for wish in await queue.cancelled(self._queues):
                if self._outcomes.holds(wish.queue, wish.id):
                    self._runners.cancel(wish.queue, wish.id, wish.reason)

    async def _hand_back(self) -> None:
        """Give back what was not started."""
        unstarted = []
        while not self._buffer.empty():
            job = self._buffer.get_nowait()
            if job is not None:
                unstarted.append(job)
        try:
            async with self._db.apart() as conn:
                queue = AsyncQueue(conn, own=True)
                await self._outcomes.release(queue, unstarted)
                await self._feed.settle(queue)
        except PgopsError as error:
            log.warning("%d jobs could not be handed back, their leases will run out: %s", len(unstarted), error)

    async def _keep(self, work: Callable[[], Awaitable[None]], until: asyncio.Event) -> None:
        """Do `work` again when the database was away."""
        while not until.is_set():
            try:
                await work()
            except PgopsError as error:
                log.warning("%s; trying again in %.0f s", error, RECONNECT_S)
                await _wait(until, RECONNECT_S)

    async def _read_settings(self, queues: AsyncQueue) -> None:
        mine = [queue for queue in await queues.queues() if queue.queue in self._queues]
        self._outcomes.leases = {queue.queue: queue.lease_s for queue in mine}
        self._lease_s = min(self._outcomes.leases.values(), default=30.0)
        self._runners.keep_results = {queue.queue for queue in mine if queue.history == "all"}

    def _state(self) -> WorkerState:
        return WorkerState(
            host=socket.gethostname(), pid=os.getpid(), queues=self._queues, concurrency=self._concurrency,
            lease_s=self._lease_s, running=self.running,
            stopping=self._stopping.is_set(), floors=self._feed.floors,
        )  # fmt: skip


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
