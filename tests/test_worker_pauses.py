"""What a pause or a limit holds back is found when it may run, and no transaction of a handler's stops its worker."""

import asyncio
from time import monotonic

import pytest
from test_worker import queue, until, working
from test_worker_features import worker

from pgops import Registry, RunningJob
from pgops.database import AsyncPool
from pgops.runtime.floors import TRAIL_S
from pgops.services.models import Job
from pgops.services.queue import AsyncQueue

__all__ = ["queue"]  # fixture


@pytest.mark.slow
async def test_what_came_while_its_queue_was_paused_runs_as_soon_as_it_may(db: AsyncPool, queue: AsyncQueue) -> None:
    registry = Registry()

    @registry.job()
    async def work(job: Job) -> None:
        return

    async with working(worker(db, registry)) as its:
        await queue.enqueue("q", {})
        await until(lambda: its.stats.completed == 1)
        await queue.pause("q")
        for _ in range(10):
            await queue.enqueue("q", {})
        await asyncio.sleep(5 * TRAIL_S)
        assert its.stats.completed == 1
        await queue.resume("q")
        await until(lambda: its.stats.completed == 11, 3)


@pytest.mark.slow
async def test_a_late_job_of_a_limited_queue_takes_its_turn_though_others_never_end(
    db: AsyncPool, queue: AsyncQueue
) -> None:
    """Its transaction commits below what was claimed long since, and the one place is always wanted."""
    registry, ran = Registry(), []

    @registry.job()
    async def work(job: Job) -> None:
        ran.append(job.id)
        await asyncio.sleep(0.03)

    await queue.enqueue("q", {})
    await queue.limit("q", max_running=1)
    async with working(worker(db, registry)):
        await until(lambda: ran)
        async with db.transaction() as late:
            hidden = await AsyncQueue(late).enqueue("q", {})
            end = monotonic() + 4 * TRAIL_S
            while monotonic() < end:
                await queue.enqueue_many("q", [{}] * 10)
                await until(lambda: len(ran) > 3)
                await asyncio.sleep(0.2)
        await queue.enqueue_many("q", [{}] * 2_000)
        await until(lambda: hidden in ran, 8)


@pytest.mark.slow
async def test_a_late_job_does_not_wait_for_the_end_of_a_backlog(db: AsyncPool, queue: AsyncQueue) -> None:
    registry, ran = Registry(), []

    @registry.job()
    async def work(job: Job) -> None:
        ran.append(job.id)
        await asyncio.sleep(0.02)

    await queue.enqueue("q", {})
    async with working(worker(db, registry)):
        await until(lambda: ran)
        async with db.transaction() as late:
            hidden = await AsyncQueue(late).enqueue("q", {})
            await queue.enqueue_many("q", [{}] * 20_000)
            await asyncio.sleep(3 * TRAIL_S)
        await until(lambda: hidden in ran, 5)


@pytest.mark.slow
async def test_a_job_completed_in_a_long_transaction_keeps_no_heartbeat_waiting(
    db: AsyncPool, queue: AsyncQueue
) -> None:
    """While it is open nobody else can touch the job's row, neither to extend its lease nor to write its progress."""
    await queue.configure("q", lease_s=1)
    registry, ran = Registry(), []

    @registry.job("holds")
    async def holds(job: RunningJob) -> None:
        job.progress("begun")
        async with job.connection() as conn:
            await job.complete(conn)
            job.progress("as good as done")
            await asyncio.sleep(4)

    @registry.job("long")
    async def long(job: RunningJob) -> None:
        ran.append(job.id)
        await asyncio.sleep(3)

    for kind in registry.kinds:
        await queue.enqueue("q", {}, kind=kind)
    async with working(worker(db, registry)) as its:

        async def done() -> bool:
            reaped = await queue.reap("q", everyone=True)
            assert (reaped.requeued, reaped.dead) == (0, 0)
            return its.stats.ended == 2

        await until(done)
    assert len(ran) == 1
    assert (its.stats.completed, its.stats.stale) == (2, 0)


@pytest.mark.slow
async def test_handlers_that_hold_all_connections_keep_no_heartbeat_waiting(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.configure("q", lease_s=1)
    registry, at_once, most = Registry(), 0, 0

    @registry.job()
    async def holds(job: RunningJob) -> None:
        nonlocal at_once, most
        async with job.connection() as conn:
            at_once += 1
            most = max(most, at_once)
            await conn.execute("select pg_sleep(2)")
            at_once -= 1
            await job.complete(conn)

    await queue.enqueue_many("q", [{}] * 12)
    async with working(worker(db, registry, concurrency=12)) as its:
        await until(lambda: its.stats.ended >= 12, 30)
    assert (its.stats.completed, its.stats.stale, its.stats.retried) == (12, 0, 0)
    assert most > 1
