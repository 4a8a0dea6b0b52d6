"""The worker's promises: nothing lost under kill -9, the late refused, a calm stop, errors told; floors and sweeps."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

import psycopg
import pytest

from pgops import Registry
from pgops.database import AsyncBound, AsyncPool, Params, Query, Row
from pgops.errors import UsageError
from pgops.runtime import tidying
from pgops.runtime.feed import Feed
from pgops.runtime.floors import TRAIL_S, Floor, Sweep
from pgops.runtime.job import Desk
from pgops.runtime.outcomes import Outcomes, Stats
from pgops.runtime.registry import load_registry
from pgops.runtime.worker import Worker
from pgops.services.cache import AsyncCache
from pgops.services.leases import Floors
from pgops.services.leases import Q as LEASES
from pgops.services.models import Claim, Job, Mark
from pgops.services.queue import AsyncQueue

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn(dsn: str) -> Iterator[Spawn]:
    """Real `pgops queue work` processes, gone after the test whatever happens."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "pgops", "queue", "work", "worker_jobs:registry", "-q", "q", *options]
        process = subprocess.Popen(
            command, env=os.environ | {"PGOPS_DSN": dsn}, cwd=Path(__file__).parent, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[Worker]:
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


async def until(condition: Callable[[], object], timeout_s: float = 15) -> None:
    """Wait until `condition` (sync or async) holds."""
    end = monotonic() + timeout_s
    while True:
        held = condition()
        if asyncio.iscoroutine(held):
            held = await held
        if held:
            return
        assert monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.02)


async def scalar(db: AsyncPool, query: bytes) -> int:
    row = await db.one(query)
    assert row is not None
    return int(row[0])


async def running(db: AsyncPool) -> int:
    return await scalar(db, b"select count(*) from pgops.job_running")


@pytest.fixture
async def queue(db: AsyncPool) -> AsyncQueue:
    await db.execute(b"create table ran (job bigint, pid int, at timestamptz default clock_timestamp())")
    queue = AsyncQueue(db)
    await queue.configure("q", lease_s=2, backoff_s=0.1)
    return queue


@pytest.mark.slow
async def test_kill_9_in_the_middle_of_1000_jobs_loses_none(db: AsyncPool, queue: AsyncQueue, spawn: Spawn) -> None:
    await queue.enqueue_many("q", [{"sleep": 0.01}] * 1000, kind="note")
    victim, survivor = spawn("--concurrency", "8"), spawn("--concurrency", "8")

    async def ran_by(pid: int) -> int:
        return await scalar(db, b"select count(*) from ran where pid = %d" % pid)

    async def both_have_begun() -> bool:
        return await ran_by(victim.pid) > 50 and await ran_by(survivor.pid) > 50

    await until(both_have_begun)
    victim.kill()
    victim.wait()
    orphans = await scalar(
        db,
        b"select count(*) from pgops.job_running r join pgops.workers w on w.id = r.owner where w.pid = %d"
        % victim.pid,
    )
    assert orphans > 0, "the kill hit nothing"

    async def all_done() -> bool:
        return await scalar(db, b"select count(*) from pgops.job_queue") == 0

    await until(all_done, 30)
    assert await scalar(db, b"select count(distinct job) from ran") == 1000
    assert await scalar(db, b"select count(*) from ran") - 1000 <= orphans, "only what the victim held ran again"


@pytest.mark.slow
async def test_the_late_completion_of_a_stopped_worker_is_refused(
    db: AsyncPool, queue: AsyncQueue, spawn: Spawn
) -> None:
    await queue.enqueue("q", {"sleep": 1}, kind="note")
    zombie = spawn()

    await until(lambda: running(db))
    await asyncio.sleep(0.3)  # its handler has begun: what has not is not begun after the stop
    zombie.send_signal(signal.SIGSTOP)

    async def reaped() -> int:
        return (await queue.reap("q")).requeued

    await until(reaped)
    claim = await queue.claim("q", owner=99, token=99, limit=1)
    assert claim.jobs[0].attempt == 2
    zombie.send_signal(signal.SIGCONT)

    async def zombie_ran_it() -> int:
        return await scalar(db, b"select count(*) from ran")

    await until(zombie_ran_it)
    zombie.send_signal(signal.SIGTERM)
    _, said = zombie.communicate(timeout=15)
    assert "stale" in said
    assert [row.owner for row in await queue.jobs("q", state="running")] == [99], "the new lease stands"
    assert await queue.complete("q", [claim.jobs[0].id], token=99) == [claim.jobs[0].id]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["note", "block"])
async def test_sigterm_finishes_what_runs_and_hands_back_the_rest(
    db: AsyncPool, queue: AsyncQueue, spawn: Spawn, kind: str
) -> None:
    await queue.enqueue_many("q", [{"sleep": 0.5}] * 20, kind=kind)
    worker = spawn("--concurrency", "3")

    await until(lambda: running(db))
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=15)
    assert worker.returncode == 0
    ran = await scalar(db, b"select count(*) from ran")
    assert 1 <= ran <= 6
    left = await queue.jobs("q")
    assert {job.state for job in left} == {"available"}
    assert {job.attempt for job in left} == {0}, "handing back counts no attempt"
    assert len(left) == 20 - ran
    assert await scalar(db, b"select count(*) from pgops.workers") == 0


@pytest.mark.slow
async def test_a_blocking_handler_that_does_not_end_keeps_no_process(
    db: AsyncPool, queue: AsyncQueue, spawn: Spawn
) -> None:
    id = await queue.enqueue("q", {"sleep": 3600}, kind="block")
    worker = spawn("--grace", "0.5")

    await until(lambda: running(db))
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=10)
    assert worker.returncode == 0
    assert "stopped before the job was done" in str((await queue.job("q", id)).errors[0]["error"])
    assert await scalar(db, b"select count(*) from pgops.workers") == 0


@pytest.mark.slow
async def test_a_handler_that_swallows_its_cancellation_keeps_no_process(
    db: AsyncPool, queue: AsyncQueue, spawn: Spawn
) -> None:
    await queue.enqueue("q", {}, kind="stubborn")
    worker = spawn("--grace", "0.5")

    await until(lambda: running(db))
    for _ in range(2):
        worker.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
    _, talk = worker.communicate(timeout=20)
    assert (worker.returncode, "Traceback" in talk) == (1, False)
    assert "does not end" in talk

    async def reaped() -> int:
        return (await queue.reap("q")).requeued

    await until(reaped)


async def test_bad_jobs_fail_with_their_reason_and_do_not_stop_the_worker(db: AsyncPool, queue: AsyncQueue) -> None:
    registry = Registry()
    good: list[int] = []

    @registry.job("good")
    async def fine(job: Job) -> None:
        good.append(job.id)

    @registry.job("raises")
    async def raises(job: Job) -> None:
        raise RuntimeError("boom")

    @registry.job("exits")
    def exits(job: Job) -> None:
        raise SystemExit(3)

    @registry.job("cancels")
    async def cancels(job: Job) -> None:
        raise asyncio.CancelledError

    @registry.job("slow", timeout_s=0.05)
    async def slow(job: Job) -> None:
        await asyncio.sleep(30)

    kinds = ["raises", "exits", "cancels", "slow", "nobody"]
    ids = {kind: await queue.enqueue("q", {}, kind=kind, max_attempts=1) for kind in kinds}
    await queue.enqueue_many("q", [{}] * 5, kind="good")
    async with working(Worker(db, registry, ["q"], concurrency=3)) as worker:
        await until(lambda: worker.stats.dead == 5 and worker.stats.completed == 5)
    errors = {kind: (await queue.job("q", id)).errors[0] for kind, id in ids.items()}
    assert errors["raises"]["error"] == "RuntimeError: boom"
    assert "raise RuntimeError" in errors["raises"]["traceback"]
    assert errors["exits"]["error"] == "SystemExit: 3"
    assert errors["cancels"]["error"] == "the handler cancelled itself"
    assert "timed out after 0.05 s" in errors["slow"]["error"]
    assert "no handler for kind 'nobody'" in errors["nobody"]["error"]
    assert len(good) == 5


@pytest.mark.slow
async def test_a_job_longer_than_its_lease_keeps_it(db: AsyncPool, queue: AsyncQueue) -> None:
    registry = Registry()

    @registry.job("long")
    async def long(job: Job) -> None:
        await asyncio.sleep(3.2)

    await queue.configure("q", lease_s=1)
    await queue.enqueue("q", {}, kind="long")
    async with working(Worker(db, registry, ["q"])) as worker:
        await until(lambda: worker.stats.ended == 1)
        assert (worker.stats.completed, worker.stats.stale) == (1, 0)


async def test_jobs_committed_late_below_the_floor_are_found_by_the_sweeper(db: AsyncPool, queue: AsyncQueue) -> None:
    registry = Registry()
    done: list[int] = []

    @registry.job()
    async def note(job: Job) -> None:
        done.append(job.id)

    async with working(Worker(db, registry, ["q"], concurrency=5)):
        async with db.transaction() as late:  # more than a sweep has room for: it has to go on where it has come to
            hidden = {await AsyncQueue(late).enqueue("q", {}) for _ in range(100)}
            end = monotonic() + 2.5 * TRAIL_S
            others = 0
            while monotonic() < end:  # the floor passes by, and the trail behind it too
                await queue.enqueue("q", {})
                others += 1
                await asyncio.sleep(0.02)
            await until(lambda: len(done) == others)
        await until(lambda: hidden <= set(done), 15)
    assert len(done) == len(set(done)) == others + len(hidden)


class Slow(AsyncBound):
    """A session whose claims take until the gate opens."""

    gate: asyncio.Event

    async def all(self, query: Query, params: Params = None) -> list[Row]:
        if query == LEASES["claim"]:
            await self.gate.wait()
        return await super().all(query, params)


async def test_no_claim_waits_for_a_sweep(db: AsyncPool, queue: AsyncQueue) -> None:
    buffer: asyncio.Queue[Job | None] = asyncio.Queue()
    stop = asyncio.Event()
    feed = Feed(db, ["q"], 5, buffer, Outcomes(Stats()), Desk(db), asyncio.Event())
    async with db.lend() as conn:
        slow = Slow(conn)
        slow.gate = asyncio.Event()
        sweeping = asyncio.create_task(feed.sweep(AsyncQueue(slow)))
        claiming = asyncio.create_task(feed.run(stop))
        id = await queue.enqueue("q", {})
        job = await asyncio.wait_for(buffer.get(), 5)
        assert job is not None and job.id == id
        assert not sweeping.done(), "it was at it all the time"
        slow.gate.set()
        await sweeping
        stop.set()
        await claiming


@pytest.mark.slow
async def test_a_lost_connection_is_waited_out(db: AsyncPool, dsn: str, queue: AsyncQueue) -> None:
    registry = Registry()

    @registry.job()
    async def fine(job: Job) -> None:
        return

    async with AsyncPool.open(dsn, application_name="victim") as own, working(Worker(own, registry, ["q"])) as worker:
        await queue.enqueue("q", {})
        await until(lambda: worker.stats.completed == 1)
        killed = await scalar(
            db, b"select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'victim'"
        )
        assert killed > 0
        await queue.enqueue("q", {})
        await until(lambda: worker.stats.completed == 2)


# --- floors and sweeps: decisions without a database ---------------------------------------------------------


def claim(*seqs: int, priority: int = 2) -> Claim:
    floors = [0, 0, 0, 0]
    floors[priority - 1] = max(seqs, default=0)
    jobs = tuple(Job("q", seq, "k", 1, 1, "{}", None, 1) for seq in seqs)  # type: ignore[arg-type]
    return Claim("q", 1, jobs, (floors[0], floors[1], floors[2], floors[3]))


def test_with_a_backlog_the_next_scan_starts_where_the_last_one_ended() -> None:
    floor = Floor()
    floor.after_claim(claim(5000, 5001), asked=2, started_at=0)
    assert floor.scan() == (0, 5001, 0, 0)


def test_without_a_backlog_it_starts_at_what_had_arrived_a_second_before() -> None:
    floor = Floor()
    floor.marked(at=9.0, seq=100)
    floor.marked(at=9.9, seq=900)
    floor.after_claim(claim(1000), asked=50, started_at=10.0)
    assert floor.scan() == (100, 100, 100, 100)


def test_the_trail_is_never_longer_than_2000() -> None:
    floor = Floor()
    floor.after_claim(claim(50_000), asked=50, started_at=10.0)
    assert floor.scan() == (0, 48_000, 0, 0)


def begin(sweep: Sweep, seq: int, xmin: int, xmax: int, now: float) -> Floors:
    return sweep.begin(Mark(seq=seq, xmax=xmax, xmin=xmin), now)


def sweep_once(sweep: Sweep, seq: int, xmin: int, xmax: int, now: float, took_s: float = 0.0) -> Floors:
    start = begin(sweep, seq, xmin, xmax, now)
    sweep.after_claim(claim(), asked=9, now=now, took_s=took_s)
    return start


def test_the_bottom_rises_only_when_every_transaction_of_the_mark_has_ended() -> None:
    sweep = Sweep()
    sweep_once(sweep, 100, xmin=5, xmax=10, now=1)
    sweep_once(sweep, 200, xmin=9, xmax=20, now=2)
    sweep_once(sweep, 300, xmin=19, xmax=30, now=3)
    assert sweep.bottom == 0, "19 may still bring a job below 100"
    assert sweep_once(sweep, 400, xmin=20, xmax=40, now=4) == (0, 0, 0, 0)
    assert sweep.bottom == 100
    assert begin(sweep, 500, xmin=30, xmax=50, now=5) == (100, 100, 100, 100)


async def test_on_a_quiet_server_a_transaction_that_runs_is_not_settled(dsn: str, queue: AsyncQueue) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        late = await AsyncQueue(AsyncBound(conn, foreign=True)).enqueue("q", {})
        sweep = Sweep()
        for now in range(1, 8):
            start = sweep.begin(await queue.draw_line(), now)
            found = await queue.claim("q", owner=1, token=now, limit=5, floors=start)
            sweep.after_claim(found, 5, now, took_s=0)
        assert sweep.bottom < late


def test_a_seq_drawn_before_its_transaction_had_an_id_is_not_settled_without_it() -> None:
    """Its id is the very xmax of the mark that saw its seq; while it runs it is the xmin of all that follow."""
    sweep = Sweep()
    sweep_once(sweep, 100, xmin=10, xmax=10, now=1)
    for now in range(2, 9):
        sweep_once(sweep, 100 + now, xmin=10, xmax=10 + now, now=now)
    assert sweep.bottom < 100
    sweep_once(sweep, 200, xmin=40, xmax=40, now=9)
    assert sweep.bottom == 100


def test_a_pass_of_several_sweeps_does_not_settle_what_it_has_passed_by() -> None:
    sweep = Sweep()
    sweep_once(sweep, 100, xmin=5, xmax=10, now=1)
    begin(sweep, 200, xmin=9, xmax=20, now=2)
    sweep.after_claim(claim(50), asked=1, now=2, took_s=0)
    assert sweep.due_at == 2, "a full sweep goes on at once"
    assert begin(sweep, 300, xmin=50, xmax=50, now=2) == (0, 50, 0, 0)
    sweep.after_claim(claim(), asked=9, now=2, took_s=0)
    assert sweep.bottom == 0


def test_a_sweep_that_is_always_costly_rests_longer_and_one_stall_does_not_count() -> None:
    sweep = Sweep()
    sweep_once(sweep, 100, xmin=5, xmax=10, now=1, took_s=0.8)
    assert sweep.due_at == 2
    sweep_once(sweep, 100, xmin=5, xmax=10, now=2, took_s=0.5)
    assert sweep.due_at == pytest.approx(52)


def test_the_minute_makes_a_sweep_start_at_the_very_beginning() -> None:
    sweep = Sweep()
    for now in (1.0, 2.0, 3.0):
        sweep_once(sweep, 100, xmin=50, xmax=50, now=now)
    assert sweep.bottom == 100
    assert begin(sweep, 500, xmin=50, xmax=50, now=62) == (0, 0, 0, 0)


@pytest.mark.parametrize("spec", ["nothing", "no_such_module:registry", "worker_jobs:nothing", ":x", "os:path"])
def test_a_registry_that_cannot_be_had_is_told_in_one_line(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_registry(spec)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


async def test_where_a_worker_runs_the_cache_is_purged_and_held_to_its_caps(
    db: AsyncPool, queue: AsyncQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "EVERY_S", 0.1)
    cache = AsyncCache(db)
    await cache.set_many({f"gone{n}": b"x" for n in range(50)}, ttl_s=0.01)
    await cache.set_many({f"k{n}": b"x" for n in range(50)}, namespace="n")
    await cache.set_cap("n", entries=20)
    async with working(Worker(db, Registry(), ["q"])):
        await until(lambda: left_in_cache(db, 20))
        await until(lambda: tidied(db))
        await db.execute(b"alter table pgops.cache_store rename to gone")
        await asyncio.sleep(0.4)
        await db.execute(b"alter table pgops.gone rename to cache_store")
        await cache.set("again", b"x", ttl_s=0.01)
        await until(lambda: left_in_cache(db, 20))


async def left_in_cache(db: AsyncPool, rows: int) -> bool:
    return await scalar(db, b"select count(*) from pgops.cache_store") == rows


async def tidied(db: AsyncPool) -> bool:
    return await db.all(b"select sum(expired)::int, sum(evicted)::int from pgops.cache_stats") == [(50, 30)]
