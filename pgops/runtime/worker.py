"""The worker: claim, run, complete, in batches, until it is told to stop.

    feed.py       claims ahead of the runners, from the floor, and sweeps now and then
    runners       here; one whose handler does not wait costs no task switch
    outcomes.py   completes and fails what has ended, a statement a batch
    pulse         here: heartbeats, and leases extended for what takes long
    maintenance   promotes, reaps and folds beside it

At least once: a job that was claimed and not completed is taken back when its lease ends, and the late completion of a
worker that was only slow is refused by its token, counted and logged. `stop` hands back what was not started, gives
the rest `grace_s` to finish, and leaves.
"""

import asyncio
import logging
import os
import socket
import traceback
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pgops.database import AsyncPool
from pgops.errors import PgopsError, UsageError
from pgops.runtime.feed import Feed
from pgops.runtime.maintenance import Maintenance
from pgops.runtime.outcomes import Outcomes, Stats
from pgops.runtime.registry import Registered, Registry
from pgops.runtime.sessions import worker_session
from pgops.runtime.tidying import Tidying
from pgops.services.models import Job, WorkerState
from pgops.services.queue import AsyncQueue

log = logging.getLogger("pgops.worker")

FLUSH_EVERY_S = 0.003
RECONNECT_S = 1.0
YIELD_EVERY = 100


class Worker:
    """Runs the jobs of `queues` through the handlers of `registry`, `concurrency` at a time."""

    def __init__(
        self,
        db: AsyncPool,
        registry: Registry,
        queues: Sequence[str],
        *,
        concurrency: int = 10,
        grace_s: float = 25.0,
    ) -> None:
        if not queues or concurrency < 1:
            raise UsageError("a worker needs at least one queue and a concurrency of 1", "for example: -q email")
        self.stats = Stats()
        self._db = db
        self._queue = AsyncQueue(db)
        self._registry = registry
        self._queues = tuple(queues)
        self._concurrency = concurrency
        self._grace_s = grace_s
        self._lease_s = 30.0
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._buffer: asyncio.Queue[Job | None] = asyncio.Queue()
        self._outcomes = Outcomes(self.stats)
        self._feed = Feed(db, queues, concurrency, self._buffer, self._outcomes)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="pgops-job")

    def stop(self) -> None:
        """Begin to stop; `run` returns when all is handed back or finished. May be called from a signal handler."""
        self._stopping.set()

    async def run(self) -> Stats:
        """Work until `stop`. A lost connection is waited out; at the start it raises UnreachableError."""
        await self._read_lease()
        self._feed.owner = await self._queue.register_worker(self._state())
        log.info("worker %d on %s", self._feed.owner, ", ".join(self._queues))
        try:
            async with asyncio.TaskGroup() as tasks:
                feed = tasks.create_task(self._keep(lambda: self._feed.run(self._stopping), self._stopping))
                flush = tasks.create_task(self._keep(self._flush, self._ended))
                pulse = tasks.create_task(self._keep(self._pulse, self._ended))
                duties = Maintenance(self._db, self._queues)
                maintenance = tasks.create_task(self._keep(lambda: duties.run(self._stopping), self._stopping))
                tidying = Tidying(self._db)
                tasks.create_task(self._keep(lambda: tidying.run(self._stopping), self._stopping))
                runners = [tasks.create_task(self._run_jobs()) for _ in range(self._concurrency)]
                await self._stopping.wait()
                await asyncio.gather(feed, maintenance)
                await self._wind_down(runners)
                self._ended.set()
                self._outcomes.wake()
                await asyncio.gather(flush, pulse)
            await self._outcomes.flush(self._queue)
            await self._queue.forget_worker(self._feed.owner)
        except PgopsError as error:
            log.warning("stopped without a farewell, leases will run out: %s", error)
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)
        return self.stats

    async def _run_jobs(self) -> None:
        """One runner: jobs from the buffer, one after the other, until None."""
        count = 0
        while (job := await self._buffer.get()) is not None:
            await self._run_job(job)
            count += 1
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)  # handlers that never wait must leave the loop to feed, flush and pulse

    async def _run_job(self, job: Job) -> None:
        handler = self._registry.get(job.kind)
        if handler is None:
            known = ", ".join(self._registry.kinds) or "none"
            self._outcomes.failed(job, f"no handler for kind {job.kind!r} (known: {known})")
            return
        try:
            await self._call(handler, job)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._outcomes.failed(job, "the worker was stopped before the job was done", retry_in_s=0.0)
                raise
            self._outcomes.failed(job, "the handler cancelled itself", traceback.format_exc())
        except TimeoutError as error:
            self._outcomes.failed(job, str(error) or f"timed out after {handler.timeout_s} s", traceback.format_exc())
        except BaseException as error:
            self._outcomes.failed(job, f"{type(error).__name__}: {error}", traceback.format_exc())
        else:
            self._outcomes.done(job)

    async def _call(self, handler: Registered, job: Job) -> None:
        if handler.awaited is not None and handler.timeout_s is None:
            await handler.awaited(job)
            return
        async with asyncio.timeout(handler.timeout_s):
            if handler.awaited is not None:
                await handler.awaited(job)
            else:
                await asyncio.get_running_loop().run_in_executor(self._threads, handler.called, job)

    async def _flush(self) -> None:
        async with worker_session(self._db) as queue:
            while not self._ended.is_set():
                await self._outcomes.wait()
                await self._outcomes.flush(queue)
                await asyncio.sleep(FLUSH_EVERY_S)

    async def _pulse(self) -> None:
        while not self._ended.is_set():
            await self._read_lease()
            await self._queue.beat_worker(self._feed.owner, self._state())
            await self._outcomes.extend(self._queue, self._lease_s / 3)
            await _wait(self._ended, min(self._lease_s / 6, 5.0))

    async def _wind_down(self, runners: Sequence["asyncio.Task[None]"]) -> None:
        """Hand back what was not started; let the runners finish what they have, but not for ever."""
        unstarted = []
        while not self._buffer.empty():
            job = self._buffer.get_nowait()
            if job is not None:
                unstarted.append(job)
        for _ in runners:
            self._buffer.put_nowait(None)
        try:
            await self._outcomes.release(self._queue, unstarted)
        except PgopsError as error:
            log.warning("%d jobs could not be handed back, their leases will run out: %s", len(unstarted), error)
        _, late = await asyncio.wait(runners, timeout=self._grace_s)
        for runner in late:
            runner.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _keep(self, work: Callable[[], Awaitable[None]], until: asyncio.Event) -> None:
        """Do `work` again when the database was away."""
        while not until.is_set():
            try:
                await work()
            except PgopsError as error:
                log.warning("%s; trying again in %.0f s", error, RECONNECT_S)
                await _wait(until, RECONNECT_S)

    async def _read_lease(self) -> None:
        leases = [queue.lease_s for queue in await self._queue.queues() if queue.queue in self._queues]
        self._lease_s = min(leases, default=30.0)

    def _state(self) -> WorkerState:
        return WorkerState(
            host=socket.gethostname(), pid=os.getpid(), queues=self._queues, concurrency=self._concurrency,
            lease_s=self._lease_s, running=self._outcomes.held - self._buffer.qsize(),
            stopping=self._stopping.is_set(), floors=self._feed.floors,
        )  # fmt: skip


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
