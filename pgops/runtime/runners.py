"""The runners: take a job from the buffer, call its handler, say how it ended.

A handler that does not wait costs no task switch. Whatever a handler raises ends its job and never the runner; only the
worker's own stop does that.
"""

import asyncio
import contextvars
import inspect
import logging
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from pgops.errors import UsageError
from pgops.runtime.job import Desk, Discard, JobCancelledError, Retry, RunningJob, Snooze
from pgops.runtime.outcomes import Outcomes
from pgops.runtime.registry import Awaited, Handler, Middleware, Registered, Registry
from pgops.services.arguments import Encoded, encode_json, error_text
from pgops.services.models import FailedJob, Job, JsonValue

log = logging.getLogger("pgops.worker")

YIELD_EVERY = 100


class Runners:
    """Runs jobs of `buffer`, `concurrency` at a time, each runner until it finds None."""

    def __init__(
        self, registry: Registry, buffer: "asyncio.Queue[Job | None]", outcomes: Outcomes, desk: Desk, concurrency: int
    ) -> None:
        self.keep_results: set[str] = set()
        self.tasks: list[asyncio.Task[None]] = []
        self.serving: dict[asyncio.Task[None], Job] = {}
        self._registry = registry
        self._buffer = buffer
        self._outcomes = outcomes
        self._desk = desk
        self._concurrency = concurrency
        self._threads = self._new_threads()
        self._told: set[tuple[str, int]] = set()
        self._warned: set[str] = set()

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin."""
        self.tasks = [group.create_task(self._run_jobs()) for _ in range(self._concurrency)]

    async def wind_down(self, grace_s: float) -> None:
        """Let each runner finish what it has, but not for ever."""
        for _ in self.tasks:
            self._buffer.put_nowait(None)
        _, late = await asyncio.wait(self.tasks, timeout=grace_s)
        for runner in late:
            runner.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _new_threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._concurrency, thread_name_prefix="pgops-job")

    def close(self) -> None:
        """Give the threads up; one that still runs a handler is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def cancel(self, queue: str, id: int, reason: str) -> None:
        """Tell a job that it is to end: an async handler is cancelled where it waits, a blocking one hears it from its
        next `job.progress`."""
        self._desk.wishes[(queue, id)] = reason
        for task, job in self.serving.items():
            if job.queue == queue and job.id == id:
                handler = self._registry.get(job.kind)
                if handler is not None and handler.awaited is not None and (queue, id) not in self._told:
                    self._told.add((queue, id))
                    task.cancel()

    async def _run_jobs(self) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        count = 0
        while (job := await self._buffer.get()) is not None:
            self.serving[task] = job
            await self._run_job(job, task)
            del self.serving[task]
            self._desk.completed.discard((job.queue, job.id))
            if (job.queue, job.id) in self._told:
                self._told.discard((job.queue, job.id))
                task.uncancel()
            count += 1
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)  # handlers that never wait must leave the loop to feed, flush and pulse

    async def _run_job(self, job: Job, task: "asyncio.Task[None]") -> None:
        if self._outcomes.lapsed(job):
            return
        handler = self._registry.get(job.kind)
        if handler is None:
            known = ", ".join(self._registry.kinds) or "none"
            self._failed(job, None, f"no handler for kind {job.kind!r} (known: {known})")
            return
        try:
            if self._desk.wishes and (job.queue, job.id) in self._desk.wishes:
                raise JobCancelledError
            result = await self._call(handler, cast(RunningJob, job))
        except asyncio.CancelledError:
            told = (job.queue, job.id) in self._told
            if task.cancelling() > told:
                self._outcomes.failed(
                    job, FailedJob(job.id, "the worker was stopped before the job was done", retry_in_s=0.0)
                )
                raise
            if told:
                self._cancelled(job)
            else:
                self._failed(job, handler, "the handler cancelled itself", traceback.format_exc())
        except JobCancelledError:
            self._cancelled(job)
        except Snooze as wish:
            self._outcomes.failed(job, FailedJob(job.id, "", retry_in_s=wish.in_s, verdict="snooze"))
        except Retry as wish:
            self._failed(job, handler, _words(wish), retry_in_s=wish.in_s)
        except Discard as error:
            self._outcomes.failed(job, FailedJob(job.id, _words(error) or "discarded by its handler", verdict="dead"))
        except TimeoutError as error:
            self._failed(
                job, handler, _words(error) or f"timed out after {handler.timeout_s} s", traceback.format_exc()
            )
        except BaseException as error:
            verdict = "dead" if isinstance(error, handler.discard_on) else "retry"
            said = f"{type(error).__name__}: {_words(error)}"
            self._failed(job, handler, said, traceback.format_exc(), verdict=verdict)
        else:
            self._done(job, result)

    async def _call(self, handler: Registered, job: RunningJob) -> object:
        call = handler.awaited or self._in_thread(handler)
        for around in reversed(self._registry.middlewares):
            call = _wrapped(around, call)
        if handler.timeout_s is None:
            return await call(job)
        async with asyncio.timeout(handler.timeout_s):
            return await call(job)

    def _in_thread(self, handler: Registered) -> Awaited:
        async def call(job: RunningJob) -> object:
            run = contextvars.copy_context().run
            threads = self._threads
            try:
                found = await asyncio.get_running_loop().run_in_executor(threads, run, _called, handler.called, job)
            except asyncio.CancelledError:
                if threads is self._threads:  # this one goes on, and the next jobs must not wait for it
                    threads.shutdown(wait=False)
                    self._threads = self._new_threads()
                raise
            return await found if inspect.isawaitable(found) else found

        return call

    def _done(self, job: Job, result: object) -> None:
        if (job.queue, job.id) in self._desk.completed:
            self._outcomes.completed(job)
            return
        if result is not None and job.queue in self.keep_results:
            self._outcomes.result(job, self._presentable(job, cast(JsonValue, result)))
        self._outcomes.done(job)
        self._forget(job)

    def _presentable(self, job: Job, result: JsonValue) -> Encoded:
        """The result as JSON, or why it is none: the job has had its effect, so it is not failed for that."""
        try:
            return Encoded(encode_json(result))
        except UsageError as error:
            why = str(error).replace("the payload", "the result", 1)
            if job.kind not in self._warned:
                self._warned.add(job.kind)
                log.warning("the results of kind %s are not kept: %s", job.kind, why)
            return Encoded(encode_json({"error": error_text(why)}))

    def _failed(
        self,
        job: Job,
        handler: Registered | None,
        error: str,
        trace: str = "",
        *,
        retry_in_s: float | None = None,
        verdict: str = "retry",
    ) -> None:
        if (job.queue, job.id) in self._desk.wishes:
            self._cancelled(job)
            return
        if handler is not None and handler.max_attempts is not None and job.attempt >= handler.max_attempts:
            verdict = "dead"
        if retry_in_s is None and handler is not None and handler.backoff is not None:
            retry_in_s = handler.backoff.after(job.attempt)
        self._outcomes.failed(
            job, FailedJob(job.id, error, trace, retry_in_s, verdict="dead" if verdict == "dead" else "retry")
        )
        self._forget(job)

    def _cancelled(self, job: Job) -> None:
        reason = self._desk.wishes.get((job.queue, job.id), "cancelled")
        self._outcomes.failed(job, FailedJob(job.id, reason, verdict="cancelled"))
        self._forget(job)

    def _forget(self, job: Job) -> None:
        if self._desk.wishes:
            self._desk.wishes.pop((job.queue, job.id), None)
        if self._desk.progress:
            self._desk.progress.pop((job.queue, job.id, job.token), None)


def _wrapped(around: Middleware, inner: Awaited) -> Awaited:
    async def call(job: RunningJob) -> object:
        return await around(job, inner)

    return call


def _called(function: Handler, job: RunningJob) -> object:
    """In a thread, whose future can hand over whatever a handler raises but these."""
    try:
        return function(job)
    except (StopIteration, GeneratorExit) as error:
        raise RuntimeError(f"the handler raised {type(error).__name__}") from error


def _words(error: BaseException) -> str:
    """What an error says, also of one that fails at it."""
    try:
        return str(error)
    except Exception as another:
        return f"({type(another).__name__} while saying why)"
