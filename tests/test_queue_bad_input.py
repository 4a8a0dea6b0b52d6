"""What a queue makes of bad input: handlers, payloads, results and settings that are wrong have a clear outcome. No job
is lost, none is tried without end, and no worker or command falls over one."""

import asyncio
import concurrent.futures
import functools
import json
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cli_call import Run, caller
from test_worker import Spawn, queue, scalar, spawn, until, working
from test_worker_features import ended, in_state, worker

from pgops import Backoff, Registry, Retry, RunningJob, Snooze
from pgops.database import AsyncPool
from pgops.errors import UsageError
from pgops.services.models import Job
from pgops.services.queue import AsyncQueue

__all__ = ["queue", "spawn"]  # fixtures

LONE = "half a pair: \ud800"


@pytest.fixture
def pgops(dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("PGOPS_DSN", dsn)
    return caller(monkeypatch, capsys)


async def runs_good_jobs(its: Any, queue: AsyncQueue, before: int) -> None:
    """The worker goes on as if nothing had been."""
    await queue.enqueue_many("q", [{}] * 3, kind="good")
    await until(lambda: its.stats.completed == before + 3)


def with_good() -> Registry:
    registry = Registry()

    @registry.job("good")
    async def good(job: Job) -> None:
        return

    return registry


# --- handlers ----------------------------------------------------------------------------------------------------


async def test_a_kind_without_handler_is_tried_again_with_back_off_and_not_at_once(
    db: AsyncPool, queue: AsyncQueue
) -> None:
    await queue.configure("q", backoff_s=60)
    id = await queue.enqueue("q", {}, kind="nobody", max_attempts=2)
    async with working(worker(db, with_good())) as its:
        job = await in_state(queue, id, "scheduled")
        await runs_good_jobs(its, queue, 0)
        assert its.stats.claimed == 4, "it was claimed once"
        assert job.errors[0]["error"] == "no handler for kind 'nobody' (known: good)"
        assert job.run_at is not None
        assert job.run_at - job.created_at > timedelta(seconds=40)
        await db.execute(b"update pgops.job_scheduled set run_at = statement_timestamp()")
        dead = await in_state(queue, id, "dead")
    assert [error["attempt"] for error in dead.errors] == [1, 2]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


RAISED: list[BaseException] = [
    SystemExit(3), KeyboardInterrupt(), GeneratorExit("g"), StopIteration(7), StopAsyncIteration(), MemoryError(),
    asyncio.CancelledError(), concurrent.futures.CancelledError(), asyncio.InvalidStateError(), RecursionError(),
    ValueError(LONE), ValueError("\0"), Unspeakable(), BaseExceptionGroup("both", [SystemExit(1), ValueError()]),
]  # fmt: skip


@pytest.mark.parametrize("how", ["awaited", "in a thread", "in a transaction"])
async def test_whatever_a_handler_raises_is_its_job_s_error(db: AsyncPool, queue: AsyncQueue, how: str) -> None:
    registry = with_good()

    async def awaited(job: RunningJob) -> None:
        raise RAISED[job.payload]

    def in_a_thread(job: RunningJob) -> None:
        raise RAISED[job.payload]

    async def in_a_transaction(job: RunningJob) -> None:
        async with job.connection() as conn:
            await conn.execute("insert into ran (job) values (%s)", [job.id])
            raise RAISED[job.payload]

    registry.job("bad")({"awaited": awaited, "in a thread": in_a_thread}.get(how, in_a_transaction))
    ids = [await queue.enqueue("q", n, kind="bad", max_attempts=1) for n in range(len(RAISED))]
    async with working(worker(db, registry)) as its:
        await until(lambda: its.stats.dead == len(RAISED))
        await runs_good_jobs(its, queue, 0)
        assert its.running == 0
    errors = [str((await queue.job("q", id)).errors[0]["error"]) for id in ids]
    for error, raised in zip(errors, RAISED, strict=True):
        cancelled = isinstance(raised, asyncio.CancelledError | concurrent.futures.CancelledError)
        name = "StopIteration" if isinstance(raised, StopIteration) else type(raised).__name__
        assert name in error or (cancelled and "cancelled itself" in error), error
    assert await scalar(db, b"select count(*) from ran") == 0


@pytest.mark.slow
async def test_a_worker_s_process_outlives_what_its_handlers_raise(
    db: AsyncPool, queue: AsyncQueue, spawn: Spawn
) -> None:
    kinds = ["leaves", "interrupts", "nobody"]
    ids = [await queue.enqueue("q", {}, kind=kind, max_attempts=1) for kind in kinds]
    process = spawn("--concurrency", "2")
    dead = [await in_state(queue, id, "dead") for id in ids]
    await queue.enqueue("q", {}, kind="note")

    async def ran() -> bool:
        return await scalar(db, b"select count(*) from ran") == 1

    await until(ran)
    process.send_signal(signal.SIGTERM)
    _, talk = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in talk) == (0, False)
    errors = [str(job.errors[0]["error"]) for job in dead]
    assert [error.partition(":")[0] for error in errors[:2]] == ["SystemExit", "KeyboardInterrupt"]
    assert "no handler for kind 'nobody'" in errors[2]


async def test_blocking_handlers_that_hang_after_their_timeout_take_no_thread_from_others(
    db: AsyncPool, queue: AsyncQueue
) -> None:
    """A thread cannot be stopped: the job is given up, and the next ones must not time out before they have begun."""
    registry, let_go = Registry(), threading.Event()

    @registry.job("hangs", timeout_s=0.1)
    def hangs(job: RunningJob) -> None:
        let_go.wait(30)

    @registry.job("quick", timeout_s=0.5)
    def quick(job: RunningJob) -> None:
        return

    try:
        for kind in ("hangs",) * 4 + ("quick",) * 4:
            await queue.enqueue("q", {}, kind=kind, max_attempts=1)
        async with working(worker(db, registry, concurrency=2)) as its:
            await until(lambda: its.stats.ended == 8)
        assert (its.stats.completed, its.stats.dead) == (4, 4)
    finally:
        let_go.set()


async def test_a_wish_that_makes_no_sense_fails_the_attempt(db: AsyncPool, queue: AsyncQueue) -> None:
    wishes: list[Callable[[], BaseException]] = [
        lambda: Retry(float("nan")), lambda: Snooze(float("inf")), lambda: Retry(1e20), lambda: Snooze(1e15),
        lambda: Retry("5"), lambda: Snooze(timedelta(seconds=5)),
    ]  # type: ignore[arg-type]  # fmt: skip
    registry = with_good()

    @registry.job("wish")
    async def wish(job: RunningJob) -> None:
        raise wishes[job.payload]()

    @registry.job("long", backoff=Backoff(first_s=1e300, max_s=float("inf")))
    async def long(job: RunningJob) -> None:
        raise ValueError

    ids = [await queue.enqueue("q", n, kind="wish", max_attempts=1) for n in range(len(wishes))]
    far = await queue.enqueue("q", {}, kind="long")
    async with working(worker(db, registry)) as its:
        for id in ids:
            assert "seconds" in str((await in_state(queue, id, "dead")).errors[0]["error"])
        await in_state(queue, far, "scheduled")
        await runs_good_jobs(its, queue, 0)


async def test_a_handler_that_is_async_behind_a_plain_function_is_awaited(db: AsyncPool, queue: AsyncQueue) -> None:
    registry, ran = Registry(), []

    async def work(job: RunningJob) -> None:
        await asyncio.sleep(0)
        ran.append(job.kind)

    @registry.job("wrapped")
    @functools.wraps(work)
    def wrapped(job: RunningJob) -> Awaitable[None]:
        return work(job)

    class Service:
        async def __call__(self, job: RunningJob) -> None:
            await work(job)

    registry.job("object")(Service())
    for kind in registry.kinds:
        await queue.enqueue("q", {}, kind=kind)
    async with working(worker(db, registry)) as its:
        await until(lambda: its.stats.completed == 2)
    assert sorted(ran) == ["object", "wrapped"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import sys; sys.exit(7)", "cannot be imported: 7"),
        ("raise KeyError('\\ud800')", "cannot be imported"),
        (
            "import pgops\nregistry = pgops.Registry()\n@registry.cron('0 0 30 2 *', queue='q')\ndef f(job): ...",
            "never fires",
        ),
        ("import pgops\nregistry = pgops.Registry()\n@registry.job()\ndef f(job): yield", "generator"),
        ("def f(:", "cannot be imported"),
    ],
    ids=["exits", "half", "never", "generator", "syntax"],
)
def test_a_module_of_handlers_that_is_wrong_is_told_in_one_line(
    pgops: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    name = f"bad_jobs_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    done = pgops("queue", "work", f"{name}:registry", "-q", "q")
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err
    assert done.err.count("\n") <= 2, done.err


def test_a_generator_is_no_handler() -> None:
    def generates(job: Job) -> Iterator[int]:
        yield 1

    async def generates_async(job: Job) -> Any:
        yield 1

    for function in (generates, generates_async):
        with pytest.raises(UsageError, match="generator") as refused:
            Registry().job()(function)
        assert refused.value.hint


# --- payloads ----------------------------------------------------------------------------------------------------


async def test_a_payload_that_is_not_what_the_handler_expects_is_its_job_s_error(
    db: AsyncPool, queue: AsyncQueue, pgops: Run
) -> None:
    """Also one that Python cannot read: PostgreSQL takes longer numbers and deeper nesting than it does."""
    registry = with_good()

    @registry.job("expects")
    async def expects(job: RunningJob) -> None:
        job.payload["to"]

    @registry.job("expects_plain")
    def expects_plain(job: RunningJob) -> None:
        job.payload["to"]

    given = ["7", '"text"', "null", "[]", "[" * 5000 + "]" * 5000, "1" + "0" * 5000, '{"to": 1e400}']
    ids = []
    for kind in ("expects", "expects_plain"):
        for text in given[: None if kind == "expects" else 6]:
            row = await db.one(b"select pgops.enqueue('q', %s::jsonb, kind => %s, max_attempts => 1)", [text, kind])
            assert row is not None
            ids.append(row[0])
    async with working(worker(db, registry)) as its:
        await until(lambda: its.stats.dead == 12 and its.stats.completed == 1)
        await runs_good_jobs(its, queue, 1)
    dead = await queue.jobs("q", state="dead")
    assert len(dead) == 12
    errors = {str(job.errors[0]["error"]).partition(":")[0] for job in dead}
    assert errors == {"TypeError", "RecursionError", "ValueError"}
    listed = await asyncio.to_thread(pgops, "queue", "jobs", "q", "--json")
    assert len(listed.document["items"]) == 12
    for id in ids[:6]:
        for more in ((), ("--json",)):
            shown = await asyncio.to_thread(pgops, "queue", "show", "q", str(id), *more)
            assert (shown.code, "Traceback" in shown.err) == (0, False)


@pytest.mark.parametrize("payload", [LONE, {LONE: 1}, [["\udc00"]], "\ude00\ud83d"])
async def test_half_of_a_surrogate_pair_is_refused_before_the_database_is_asked(
    db: AsyncPool, queue: AsyncQueue, pgops: Run, payload: object
) -> None:
    for call in (
        lambda: queue.enqueue("q", payload), lambda: queue.enqueue_many("q", [{}, payload]),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="surrogate") as refused:
            await call()
        assert refused.value.hint
    assert await scalar(db, b"select count(*) from pgops.job_queue") == 0
    await queue.enqueue("q", {"\U0001f680": "\U0001f680 \\ud800"})
    done = await asyncio.to_thread(pgops, "queue", "enqueue", "q", json.dumps(payload))
    assert done.code == 2
    assert "surrogate" in done.err
    assert "Traceback" not in done.err


# --- results and progress ----------------------------------------------------------------------------------------


async def test_results_that_cannot_be_kept_hold_nothing_up(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.configure("q", history="all")
    registry = with_good()
    results = [{1, 2}, float("nan"), LONE, "a\0b", "x" * 1_000_001, functools.reduce(lambda a, _: [a], range(5000), [])]

    @registry.job("bad")
    async def bad(job: RunningJob) -> object:
        return results[job.payload]

    ids = [await queue.enqueue("q", n, kind="bad") for n in range(len(results))]
    async with working(worker(db, registry)) as its:
        await until(lambda: its.stats.completed == len(results))
        await runs_good_jobs(its, queue, len(results))
    for id in ids:
        past = await queue.past_job("q", id)
        assert past.outcome == "completed", "it has had its effect"
        assert set(past.result) == {"error"}
    assert "more than 1,000,000" in (await queue.past_job("q", ids[4])).result["error"]


async def test_large_results_that_come_together_are_all_kept(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.configure("q", history="all")
    registry, all_there = Registry(), asyncio.Barrier(8)

    @registry.job()
    async def large(job: RunningJob) -> object:
        await all_there.wait()
        return str(job.id) * 200_000

    ids = [await queue.enqueue("q", {}) for _ in range(8)]
    async with working(worker(db, registry, concurrency=8)) as its:
        await until(lambda: its.stats.ended == 8)
        assert (its.stats.completed, its.stats.stale) == (8, 0)
    assert [(await queue.past_job("q", id)).result for id in ids] == [str(id) * 200_000 for id in ids]


async def test_progress_that_is_no_json_is_its_job_s_error_and_nobody_else_s(db: AsyncPool, queue: AsyncQueue) -> None:
    registry = with_good()

    @registry.job("bad")
    def bad(job: RunningJob) -> None:
        job.progress({1, 2})

    @registry.job("waits")
    async def waits(job: RunningJob) -> None:
        job.progress({"half": 0.5})
        await asyncio.sleep(60)

    bad_id = await queue.enqueue("q", {}, kind="bad", max_attempts=1)
    id = await queue.enqueue("q", {}, kind="waits")
    await queue.configure("q", history="all")
    async with working(worker(db, registry)):
        assert "not JSON" in str((await in_state(queue, bad_id, "dead")).errors[0]["error"])

        async def told() -> bool:
            return (await in_state(queue, id, "running")).progress == {"half": 0.5}

        await until(told)
        await queue.cancel("q", [id])
        assert (await ended(queue, id)).outcome == "cancelled"


# --- settings and keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [{"lease_s": 0.001}, {"lease_s": float("nan")}, {"lease_s": 1e15}, {"max_runtime_s": -1},
     {"backoff_s": float("inf")}, {"backoff_max_s": float("nan")}, {"aging_s": -1},
     {"history": "some"}, {"durability": "none"}],
    ids=str,
)  # fmt: skip
async def test_settings_that_make_no_sense_are_refused_with_a_hint(
    db: AsyncPool, queue: AsyncQueue, pgops: Run, given: dict[str, Any]
) -> None:
    with pytest.raises(UsageError) as refused:
        await queue.configure("q", **given)
    assert refused.value.hint
    assert "violates" not in str(refused.value)
    assert [one.lease_s for one in await queue.queues()] == [2]
    done = await asyncio.to_thread(pgops, "queue", "set", "q", json.dumps(given), "--yes")
    assert done.code == 2
    assert "hint: " in done.err
    assert "Traceback" not in done.err + done.out


async def test_the_shortest_lease_is_longer_than_the_longest_poll(db: AsyncPool, queue: AsyncQueue) -> None:
    """Jobs that were claimed ahead and wait for a runner keep their leases too."""
    await queue.configure("q", lease_s=1)
    registry = Registry()

    @registry.job()
    async def slow(job: RunningJob) -> None:
        await asyncio.sleep(0.7)

    for _ in range(4):
        await queue.enqueue("q", {})
    async with working(worker(db, registry, concurrency=1)) as its:

        async def done() -> bool:
            reaped = await queue.reap("q", everyone=True)
            assert (reaped.requeued, reaped.dead) == (0, 0)
            return its.stats.ended == 4

        await until(done)
    assert (its.stats.completed, its.stats.stale) == (4, 0)


@pytest.mark.parametrize("option", ["--unique", "--group"])
def test_a_key_of_ten_kilobytes_is_refused_by_the_command(pgops: Run, dsn: str, option: str) -> None:
    done = pgops("queue", "enqueue", "q", "{}", option, "k" * 10_000)
    assert done.code == 2
    assert "1 to 1,000 bytes" in done.err
    assert "hint: " in done.err
    with psycopg.connect(dsn) as conn:
        assert conn.execute("select count(*) from pgops.queues").fetchone() == (0,)
