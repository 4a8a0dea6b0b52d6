"""The job queue: in by COPY, out through one worker process, the same under a held xmin, and how soon a job starts."""

import asyncio
from json import loads
from time import perf_counter

from pgops.bench.contract import Note, Params, Scenario
from pgops.bench.measure import held_xmin, paced, payload, quantile, running, seconds_of, until
from pgops.bench.site import Q
from pgops.runtime.registry import Registry
from pgops.runtime.worker import Worker
from pgops.services.client import AsyncPgops
from pgops.services.models import Job

QUEUE = "bench"


async def run(dsn: str, params: Params, note: Note) -> None:
    async with AsyncPgops.open(dsn) as pg:
        note.doing("enqueue")
        note.figure("enqueue_per_s", await _enqueue(pg, params))
        await pg.db.execute(Q["vacuum"])
        note.doing("drain")
        free, _ = await _drain(pg, params)
        note.figure("drain_per_s", free)
        note.doing("enqueue again")
        await _enqueue(pg, params)
        await pg.db.execute(Q["vacuum"])
        note.doing("drain under a held xmin")
        async with held_xmin(dsn):
            held, last_fifth = await _drain(pg, params)
        note.figure("drain_held_xmin_per_s", held)
        note.figure("drain_last_fifth_ratio", last_fifth / free)
        await pg.db.execute(Q["vacuum"])
        note.doing("latency")
        waited = await _latency(pg, params)
        note.figure("latency_p50_ms", quantile(waited, 50))
        note.figure("latency_p99_ms", quantile(waited, 99))


async def _enqueue(pg: AsyncPgops, params: Params) -> float:
    """Jobs a second, in transactions of `batch`; 0 means all in one."""
    size = params.batch or params.jobs
    body = payload(params.payload_bytes)

    async def all_of_them() -> None:
        for start in range(0, params.jobs, size):
            count = min(size, params.jobs - start)
            await pg.queue.enqueue_many(QUEUE, (body for _ in range(count)), kind="nothing")

    return params.jobs / await seconds_of(all_of_them())


async def _drain(pg: AsyncPgops, params: Params) -> tuple[float, float]:
    """Jobs a second until all are completed, and those of the last fifth alone."""
    registry = Registry()

    @registry.job("nothing")
    async def nothing(job: Job) -> None:
        """A handler that does nothing."""

    worker = Worker(pg.db, registry, [QUEUE], concurrency=params.concurrency)
    began = perf_counter()
    async with running(worker) as task:
        await until(lambda: worker.stats.completed >= params.jobs * 0.8, task)
        fifth_began, fifth_from = perf_counter(), worker.stats.completed
        await until(lambda: worker.stats.completed >= params.jobs, task)
        ended = perf_counter()
    rate = params.jobs / (ended - began)
    if fifth_from >= params.jobs:  # so few that all were seen at once
        return rate, rate
    return rate, (params.jobs - fifth_from) / (ended - fifth_began)


async def _latency(pg: AsyncPgops, params: Params) -> list[float]:
    """Milliseconds from the call of enqueue to the start of the handler, at 200 jobs a second."""
    registry = Registry()
    waited: list[float] = []

    @registry.job("timed")
    async def timed(job: Job) -> None:
        waited.append((perf_counter() - loads(job.payload_json)["at"]) * 1000)

    worker = Worker(pg.db, registry, [QUEUE], concurrency=params.concurrency)
    async with running(worker) as task:
        await asyncio.sleep(min(0.3, params.seconds))
        count = await paced(lambda: pg.queue.enqueue(QUEUE, {"at": perf_counter()}, kind="timed"), params.seconds)
        await until(lambda: len(waited) >= count, task)
    return waited


SCENARIO = Scenario(
    "queue",
    "enqueue by COPY, drain through one worker, the same under a held xmin, latency at 200 jobs/s",
    Params(jobs=200_000, batch=0, payload_bytes=64, concurrency=10, runs=3, seconds=3.0),
    5,
    run,
)
