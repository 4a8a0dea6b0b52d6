"""What a handler can say and be told: how its job ends, progress, a cancel, its own transaction; middleware."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import this_server
from test_worker import Spawn, queue, scalar, spawn, until, working

from pgops import Backoff, Discard, Registry, Retry, RunningJob, Snooze, migrate
from pgops.database import AsyncBound, AsyncPool, Params, Query, Row
from pgops.runtime.job import StaleLeaseError
from pgops.runtime.outcomes import Outcomes, Stats
from pgops.runtime.worker import Worker
from pgops.server import Server
from pgops.services.leases import Q as LEASES
from pgops.services.models import JobRow, PastJob
from pgops.services.queue import AsyncQueue

__all__ = ["queue", "spawn"]  # fixtures


def worker(db: AsyncPool, registry: Registry, **given: Any) -> Worker:
    return Worker(db, registry, ["q"], **{"concurrency": 4, **given})


async def ended(queue: AsyncQueue, id: int) -> PastJob:
    """The job in the history, once it is there."""
    found: list[PastJob] = []

    async def is_there() -> bool:
        found[:] = [job for job in await queue.history("q") if job.id == id]
        return bool(found)

    await until(is_there)
    return found[0]


async def in_state(queue: AsyncQueue, id: int, state: str) -> JobRow:
    """The job, once it is in that state."""
    found: list[JobRow] = []

    async def is_there() -> bool:
        found[:] = [job for job in await queue.jobs("q") if job.id == id and job.state == state]
        return bool(found)

    await until(is_there)
    return found[0]


async def test_the_handler_says_what_becomes_of_its_job(db: AsyncPool, queue: AsyncQueue) -> None:
    registry = Registry()

    @registry.job("snooze")
    async def snooze(job: RunningJob) -> None:
        raise Snooze(60)

    @registry.job("retry")
    def retry(job: RunningJob) -> None:
        raise Retry(60, "the printer is out of paper")

    @registry.job("discard")
    async def discard(job: RunningJob) -> None:
        raise Discard("no such customer")

    @registry.job("value", discard_on=(ValueError,))
    async def value(job: RunningJob) -> None:
        raise ValueError("never")

    @registry.job("twice", max_attempts=2, backoff=Backoff(first_s=0.01, jitter=0))
    async def twice(job: RunningJob) -> None:
        raise RuntimeError("boom")

    ids = {kind: await queue.enqueue("q", {}, kind=kind) for kind in registry.kinds}
    async with working(worker(db, registry)) as its:
        snoozed = await in_state(queue, ids["snooze"], "scheduled")
        retried = await in_state(queue, ids["retry"], "scheduled")
        dead = {kind: await in_state(queue, ids[kind], "dead") for kind in ("discard", "value", "twice")}
    assert (snoozed.attempt, snoozed.errors) == (0, ())
    assert (retried.attempt, retried.errors[0]["error"]) == (1, "the printer is out of paper")
    assert {kind: (job.attempt, job.errors[-1]["error"]) for kind, job in dead.items()} == {
        "discard": (1, "no such customer"), "value": (1, "ValueError: never"), "twice": (2, "RuntimeError: boom"),
    }  # fmt: skip
    assert (its.stats.snoozed, its.stats.dead) == (1, 3)


def test_back_off_grows_to_its_bound() -> None:
    plain = Backoff(first_s=2, factor=3, max_s=100, jitter=0)
    assert [plain.after(attempt) for attempt in (1, 2, 3, 4, 5, 1000)] == [2, 6, 18, 54, 100, 100]
    assert all(1.5 <= Backoff(first_s=2).after(1) <= 2.5 for _ in range(200))


async def test_what_a_handler_returns_is_kept_with_its_job(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.configure("q", history="all")
    registry = Registry()

    @registry.job("sum")
    async def add(job: RunningJob) -> object:
        return {"sum": sum(job.payload["of"])}

    @registry.job("set")
    def unpresentable(job: RunningJob) -> object:
        return {1, 2}

    ids = [await queue.enqueue("q", {"of": [1, 2, 4]}, kind="sum"), await queue.enqueue("q", {}, kind="set")]
    async with working(worker(db, registry)):
        assert (await ended(queue, ids[0])).result == {"sum": 7}
        bad = await ended(queue, ids[1])
    assert bad.outcome == "completed", "it has had its effect"
    assert bad.result == {"error": "the result is not JSON: Object of type set is not JSON serializable"}


async def test_progress_is_seen_while_the_job_runs(db: AsyncPool, queue: AsyncQueue) -> None:
    registry, go = Registry(), asyncio.Event()

    @registry.job()
    async def work(job: RunningJob) -> None:
        job.progress({"done": 3, "of": 10})
        await go.wait()

    id = await queue.enqueue("q", {})
    async with working(worker(db, registry)):

        async def said() -> bool:
            return (await in_state(queue, id, "running")).progress == {"done": 3, "of": 10}

        await until(said)
        go.set()


async def test_a_running_job_is_told_that_it_is_cancelled(db: AsyncPool, queue: AsyncQueue) -> None:
    registry, heard = Registry(), []

    @registry.job("waits")
    async def waits(job: RunningJob) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            heard.append(job.kind)

    @registry.job("computes")
    def computes(job: RunningJob) -> None:
        while True:
            time.sleep(0.01)
            job.progress("still at it")

    ids = [await queue.enqueue("q", {}, kind=kind) for kind in registry.kinds]
    async with working(worker(db, registry)) as its:
        for id in ids:
            await in_state(queue, id, "running")
        assert (await queue.cancel("q", ids, reason="wrong customer")).requested == 2
        for id in ids:
            past = await ended(queue, id)
            assert (past.outcome, past.errors[-1]["error"]) == ("cancelled", "wrong customer")
    assert heard == ["waits"]
    assert its.stats.cancelled == 2
    assert await queue.cancelled(["q"]) == []


async def test_the_runner_of_a_cancelled_job_goes_on(db: AsyncPool, queue: AsyncQueue) -> None:
    registry, ran = Registry(), []

    @registry.job()
    async def work(job: RunningJob) -> None:
        ran.append(job.id)
        await asyncio.sleep(job.payload.get("sleep", 0))

    first = await queue.enqueue("q", {"sleep": 60})
    second = await queue.enqueue("q", {})
    async with working(worker(db, registry, concurrency=1)):
        await in_state(queue, first, "running")
        await queue.cancel("q", [first])
        await until(lambda: second in ran)


async def test_a_handler_that_swallows_its_error_after_a_cancel_is_cancelled_all_the_same(
    db: AsyncPool, queue: AsyncQueue
) -> None:
    registry = Registry()

    @registry.job()
    async def stubborn(job: RunningJob) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise RuntimeError("cleaning up went wrong") from None

    id = await queue.enqueue("q", {}, max_attempts=5)
    async with working(worker(db, registry)):
        await in_state(queue, id, "running")
        await queue.cancel("q", [id])
        assert (await ended(queue, id)).outcome == "cancelled"


async def test_completed_in_the_handlers_own_transaction(db: AsyncPool, queue: AsyncQueue) -> None:
    await db.execute(b"create table effect (job bigint)")
    registry, named = Registry(), []

    @registry.job("both")
    async def both(job: RunningJob) -> None:
        async with job.connection() as conn:
            await conn.execute("insert into effect values (%s)", [job.id])
            row = await (await conn.execute("show application_name")).fetchone()
            named.append(row)
            await job.complete(conn)

    @registry.job("neither")
    async def neither(job: RunningJob) -> None:
        async with job.connection() as conn:
            await conn.execute("insert into effect values (%s)", [job.id])
            await job.complete(conn)
            raise RuntimeError("at the last moment")

    @registry.job("taken")
    async def taken(job: RunningJob) -> None:
        async with job.connection() as conn:
            await conn.execute("insert into effect values (%s)", [job.id])
            await db.execute(b"update pgops.job_running set token = -1 where id = %s", [job.id])
            await job.complete(conn)

    ids = {kind: await queue.enqueue("q", {}, kind=kind, max_attempts=1) for kind in registry.kinds}
    async with working(worker(db, registry)) as its:
        await in_state(queue, ids["neither"], "dead")
        await until(lambda: its.stats.completed == 1 and its.stats.stale == 1)
    assert await db.all(b"select job from effect") == [(ids["both"],)]
    assert named == [(f"pgops worker {its._desk.owner} q/{ids['both']}",)]
    assert await scalar(db, b"select count(*) from pgops.job_running where token <> -1") == 0


async def test_a_blocking_handler_completes_on_its_own_connection(dsn: str, db: AsyncPool, queue: AsyncQueue) -> None:
    await db.execute(b"create table effect (job bigint)")
    registry = Registry()

    @registry.job()
    def both(job: RunningJob) -> None:
        with psycopg.connect(dsn) as conn:
            conn.execute("insert into effect values (%s)", [job.id])
            job.complete(conn)

    id = await queue.enqueue("q", {})
    async with working(worker(db, registry)) as its:
        await until(lambda: its.stats.completed == 1)
    assert await db.all(b"select job from effect") == [(id,)]
    assert its.stats.stale == 0


def test_a_stale_lease_says_what_to_do() -> None:
    job = RunningJob("q", 1, "k", 1, 1, "{}", None, 1)  # type: ignore[arg-type]
    with pytest.raises(StaleLeaseError) as stale:
        job._completed([])
    assert "longer lease" in stale.value.hint


@pytest.mark.slow
async def test_kill_9_between_effect_and_completion_leaves_exactly_one_effect(
    db: AsyncPool, queue: AsyncQueue, spawn: Spawn
) -> None:
    jobs = 60
    await queue.enqueue_many("q", [{"sleep": 0.03}] * jobs, kind="effect")
    for _ in range(3):
        victim = spawn("--concurrency", "4")

        async def works(before: int = await scalar(db, b"select count(*) from ran")) -> bool:
            return await scalar(db, b"select count(*) from ran") > before + 5

        await until(works)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        assert await scalar(db, b"select count(*) from pgops.job_running") > 0, "the kill hit nothing"
    spawn("--concurrency", "4")

    async def all_done() -> bool:
        return await scalar(db, b"select count(*) from pgops.job_queue") == 0

    await until(all_done, 40)
    assert await scalar(db, b"select count(*) from ran") == jobs
    assert await scalar(db, b"select count(distinct job) from ran") == jobs


async def test_middleware_stands_around_every_handler(db: AsyncPool, queue: AsyncQueue) -> None:
    registry, seen = Registry(), []

    @registry.middleware
    async def outer(job: RunningJob, call_next: Any) -> object:
        seen.append(f"outer {job.kind} {job.headers.get('trace')}")
        result = await call_next(job)
        seen.append("outer ends")
        return result

    @registry.middleware
    async def inner(job: RunningJob, call_next: Any) -> object:
        seen.append("inner")
        return await call_next(job)

    @registry.job("sync")
    def work(job: RunningJob) -> None:
        seen.append("handler")

    await queue.enqueue("q", {}, kind="sync", headers={"trace": "abc"})
    async with working(worker(db, registry)) as its:
        await until(lambda: its.stats.completed == 1)
    assert seen == ["outer sync abc", "inner", "handler", "outer ends"]


async def test_a_handler_that_blocks_the_loop_is_named(
    db: AsyncPool, queue: AsyncQueue, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry()

    @registry.job("bad")
    async def bad(job: RunningJob) -> None:
        time.sleep(2.6)  # noqa: ASYNC251

    id = await queue.enqueue("q", {}, kind="bad")
    with caplog.at_level(logging.WARNING, "pgops.worker"):
        async with working(worker(db, registry)) as its:
            await until(lambda: its.stats.completed == 1)
    (said,) = [record.getMessage() for record in caplog.records if "blocks" in record.getMessage()]
    assert f"the handler of bad (job q/{id})" in said
    assert "test_worker_features.py" in said


async def test_limits_hold_over_workers(db: AsyncPool, queue: AsyncQueue) -> None:
    registry, at_once, most = Registry(), 0, 0

    @registry.job()
    async def work(job: RunningJob) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1

    await queue.enqueue_many("q", [{}] * 60)
    await queue.limit("q", max_running=3)
    async with working(worker(db, registry, concurrency=8)) as one, working(worker(db, registry, concurrency=8)) as two:
        await until(lambda: one.stats.completed + two.stats.completed == 60)
    assert 2 <= most <= 3


async def test_a_payload_that_python_cannot_read_fails_its_attempt(db: AsyncPool, queue: AsyncQueue) -> None:
    registry = Registry()

    @registry.job()
    async def work(job: RunningJob) -> None:
        assert job.payload

    digits = sys.get_int_max_str_digits() + 1
    row = await db.one(b"select pgops.enqueue('q', to_jsonb(repeat('1', %s)::numeric), max_attempts => 1)", [digits])
    assert row is not None
    id = row[0]
    async with working(worker(db, registry)):
        dead = await in_state(queue, id, "dead")
    assert "Exceeds the limit" in str(dead.errors[0]["error"])


async def test_a_unique_group_of_jobs_runs_in_order_through_a_real_worker(db: AsyncPool, queue: AsyncQueue) -> None:
    registry, ran = Registry(), []

    @registry.job()
    async def work(job: RunningJob) -> None:
        ran.append(job.id)
        if job.attempt == 1 and job.payload["n"] % 3 == 0:
            raise Retry(0.01)

    ids = [await queue.enqueue("q", {"n": n}, group_key="a", unique_key=f"u{n}") for n in range(12)]
    async with working(worker(db, registry)) as its:
        await until(lambda: its.stats.completed == 12)
    assert list(dict.fromkeys(ran)) == ids
    assert await scalar(db, b"select count(*) from pgops.job_unique") == 0
    assert await scalar(db, b"select count(*) from pgops.job_group") == 0


async def test_an_idle_worker_is_told_of_new_jobs(
    db: AsyncPool, queue: AsyncQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgops.runtime.feed.POLL_MAX_S", 30.0)
    monkeypatch.setattr("pgops.runtime.feed.POLL_MIN_S", 30.0)
    monkeypatch.setattr("pgops.runtime.floors.SWEEP_EVERY_S", 30.0)
    registry, ran = Registry(), []

    @registry.job()
    async def work(job: RunningJob) -> None:
        ran.append(job.id)

    async with working(worker(db, registry)) as its:
        await until(lambda: its._hints.wanted and its._feed.waiting)

        async def asks() -> int:
            return await scalar(db, b"select count(*) from pgops.queues where hints_until > statement_timestamp()")

        await until(asks)
        one = await queue.enqueue("q", {})
        await until(lambda: ran == [one], 5)
        async with db.transaction() as tx:
            silent = await AsyncQueue(tx).enqueue("q", {})
            told = await AsyncQueue(tx).enqueue("q", {}, hint=True)
        await until(lambda: {silent, told} <= set(ran), 5)
        its._feed._heard.set()


async def test_a_new_queue_is_asked_for_hints_soon_after_its_first_job(db: AsyncPool, queue: AsyncQueue) -> None:
    registry = Registry()

    @registry.job()
    async def work(job: RunningJob) -> None:
        return

    async with working(Worker(db, registry, ["new"])) as its:
        await until(lambda: its._hints.wanted)
        await queue.enqueue("new", {})

        async def asks() -> int:
            return await scalar(db, b"select count(*) from pgops.queues where hints_until > statement_timestamp()")

        await until(asks, 3)


async def test_hints_are_few_and_only_for_who_waits(dsn: str, db: AsyncPool, queue: AsyncQueue) -> None:
    listener = await db.listen(["pgops_queue"])
    try:
        await queue.enqueue("q", {})
        assert await listener.receive(0.2) == [], "nobody waits"
        await queue.want_hints(["q"], 60)
        began = time.monotonic()
        for _ in range(100):
            await queue.enqueue("q", {})
        took = time.monotonic() - began
        heard = 0
        while said := await listener.receive(0.2):
            heard += len(said)
        assert 1 <= heard <= took * 50 + 1
        async with db.transaction() as tx:
            await AsyncQueue(tx).enqueue("q", {})
        assert await listener.receive(0.2) == [], "a caller's transaction tells nobody by itself"
        async with db.transaction() as tx:
            await AsyncQueue(tx).enqueue("q", {}, hint=True)
        assert len(await listener.receive(5)) == 1
    finally:
        await listener.close()


async def test_a_job_whose_lease_ran_out_before_it_began_is_not_begun(db: AsyncPool, queue: AsyncQueue) -> None:
    registry, attempts = Registry(), {}
    await queue.configure("q", lease_s=1)

    @registry.job()
    async def work(job: RunningJob) -> None:
        attempts.setdefault(job.id, []).append(job.attempt)
        time.sleep(job.payload["s"] if job.attempt == 1 else 0)  # noqa: ASYNC251 - all of the worker stands still, heartbeats too

    await queue.enqueue_many("q", [{"s": 1.2}, {"s": 0}, {"s": 0}])
    its = Worker(db, registry, ["q"], concurrency=2)
    async with working(its):
        await until(lambda: len(attempts) == 3)
    first, *others = attempts.values()
    assert first[0] == 1
    assert its.stats.released + others.count([2]) >= 1, "handed back, or taken back before that"


class Slow(AsyncBound):
    """A session that does something else while it releases."""

    meanwhile: Callable[[], object]

    async def all(self, query: Query, params: Params = None) -> list[Row]:
        if query == LEASES["release"]:
            self.meanwhile()
        return await super().all(query, params)


async def test_one_that_lapses_while_another_is_handed_back_is_handed_back_too(
    db: AsyncPool, queue: AsyncQueue
) -> None:
    await queue.enqueue_many("q", [{}, {}])
    outcomes = Outcomes(Stats())
    outcomes.leases = {"q": 0.0}
    jobs = []
    for token in (1, 2):
        claim = await queue.claim("q", owner=1, token=token, limit=1)
        outcomes.claimed(claim)
        jobs += claim.jobs
    assert outcomes.lapsed(jobs[0])
    async with db.lend() as conn:
        slow = Slow(conn)
        slow.meanwhile = lambda: outcomes.lapsed(jobs[1]) if 2 in outcomes.batches else None
        for _ in range(3):
            await outcomes.flush(AsyncQueue(slow))
    assert [job.state for job in await queue.jobs("q")] == ["available"] * 2
    assert (outcomes.held, outcomes.stats.released, outcomes.stats.stale) == (0, 2, 0)


async def test_what_lapsed_and_is_another_s_by_now_is_counted_as_stale(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.enqueue("q", {})
    outcomes = Outcomes(Stats())
    outcomes.leases = {"q": 0.0}
    claim = await queue.claim("q", owner=1, token=1, limit=1)
    outcomes.claimed(claim)
    await queue.release("q", [claim.jobs[0].id], 1)
    assert outcomes.lapsed(claim.jobs[0])
    await outcomes.flush(queue)
    assert (outcomes.held, outcomes.stats.released, outcomes.stats.stale) == (0, 0, 1)
    assert outcomes.stats.ended == outcomes.stats.claimed


@pytest.mark.slow
async def test_a_claim_whose_answer_was_lost_is_handed_back_at_once(tmp_path: Path) -> None:
    server = Server(tmp_path, settings=this_server.SETTINGS | {"synchronous_commit": "on"})
    try:
        with server.use() as url:
            async with AsyncPool.open(url) as db, AsyncPool.open(f"{url}&options=-csynchronous_commit%3Doff") as admin:
                await migrate.apply(db)
                await lose_an_answer(db, admin)
    finally:
        server.destroy(force=True)


async def lose_an_answer(db: AsyncPool, admin: AsyncPool) -> None:
    """Let a claim commit and its session end before it can say so: it waits for a standby that does not exist."""
    registry, attempts = Registry(), []
    await AsyncQueue(db).configure("q", lease_s=60)

    @registry.job()
    async def work(job: RunningJob) -> None:
        attempts.append(job.attempt)

    waiting = b"from pg_stat_activity where wait_event = 'SyncRep'"

    async def is_claimed() -> int:
        return await scalar(admin, b"select count(*) " + waiting + b" and query like '%delete from pgops.job_avail%'")

    async with working(worker(db, registry)) as its:
        await until(lambda: its._feed._marked_at > 0)  # it has been looking
        try:
            await admin.execute(b"alter system set synchronous_standby_names = 'nobody'")
            await admin.execute(b"select pg_reload_conf()")
            await asyncio.sleep(1)  # the checkpointer hears of it, and makes commits wait
            await AsyncQueue(admin).enqueue("q", {})
            await until(is_claimed)
            assert attempts == []
            assert await scalar(admin, b"select count(pg_terminate_backend(pid)) " + waiting) > 0
        finally:
            await admin.execute(b"alter system reset synchronous_standby_names")
            await admin.execute(b"select pg_reload_conf()")
        await until(lambda: attempts, 10)
    assert attempts == [1], "handed back as if it had never been claimed"
