"""Will it drain: from looks that are written down by hand, and from a real queue."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cli_call import caller
from dashboard_story import USUAL, dashboard, screen, until
from snapshots_literal import BUSY, LiteralSource

from pgops.database import AsyncPool
from pgops.ops.collector import Collector
from pgops.ops.judge.drain import Drain, drain_line
from pgops.ops.judge.findings import Thresholds
from pgops.ops.observe.snapshot import Snapshot, items
from pgops.ops.observe.snapshot_jobs import Queue, Worker
from pgops.services.models import FailedJob, WorkerState
from pgops.services.queue import AsyncQueue

START = datetime(2026, 1, 1, tzinfo=UTC)
QUEUE = Queue(
    name="email", paused=False, available=0, scheduled=0, running=0, stuck=0, dead=0, oldest_age_s=None,
    enqueued_total=0, completed_total=0, failed_total=0,
)  # fmt: skip
WORKER = Worker(1, "here", 7, ("email",), 10, 10, 1.0, True, False)

Look = tuple[int, int, int]
"""Seconds, jobs ready, jobs that have ended."""


def after(*looks: Look, workers: tuple[Worker, ...] = (WORKER,), **more: object) -> Queue:
    """The queue as the last of these looks tells it; ten of its jobs run all the time."""
    drain, told = Drain(), QUEUE
    for second, ready, ended in looks:
        seen = replace(QUEUE, available=ready, running=10, completed_total=ended, **more)  # type: ignore[arg-type]
        (told,) = drain.told(START + timedelta(seconds=second), (seen,), workers)
    return told


@pytest.mark.parametrize(
    ("looks", "drains", "drain_s", "needed"),
    [
        ([(0, 1_000, 500)], None, None, None),
        ([(0, 1_000, 0), (10, 900, 100)], True, 90.0, 1),
        ([(0, 1_000, 0), (10, 1_000, 100)], False, None, 2),
        ([(0, 1_000, 0), (10, 2_000, 100)], False, None, 12),
        ([(0, 1_000, 0), (10, 1_000, 0)], False, None, None),
        ([(0, 0, 0), (10, 0, 100)], True, 0.0, 1),
        ([(0, 0, 0), (10, 0, 0)], True, 0.0, None),
        ([(0, 10, 0), (10, 19, 100)], True, 1.9, 2),
        ([(0, 10, 0), (10, 21, 100)], False, None, 2),
        ([(0, 1_000, 900), (10, 900, 0)], None, None, None),
        ([(0, 1_000, 900), (10, 900, 0), (20, 800, 100)], True, 80.0, 1),
        ([(10, 1_000, 0), (5, 900, 100)], None, None, None),
        ([(0, 5_000, 0), (5, 4_000, 0), (100, 3_050, 950)], True, 305.0, 1),
    ],
)
def test_when_it_is_empty_and_what_it_takes(
    looks: list[Look], drains: bool | None, drain_s: float | None, needed: int | None
) -> None:
    told = after(*looks)
    assert (told.drains, told.workers_needed) == (drains, needed)
    assert told.drain_s == (None if drain_s is None else pytest.approx(drain_s))


def test_a_queue_in_which_nothing_waits_long_drains() -> None:
    even = [(0, 40, 0), (10, 41, 10)]
    assert after(*even, oldest_age_s=4.9).drains is True
    assert after(*even, oldest_age_s=5.0).drains is False


def test_the_window_is_a_minute() -> None:
    told = after(*((second, 100_000 - 10 * second, 10 * second) for second in range(0, 300, 2)))
    assert 58 <= (told.rates_over_s or 0) <= 66
    assert (told.served_per_s, told.arriving_per_s) == (pytest.approx(10), pytest.approx(0))


def test_of_a_paused_queue_and_of_one_with_a_limit_nobody_says_how_many_workers_it_takes() -> None:
    assert after((0, 1_000, 0), (10, 900, 100), paused=True).drains is None
    assert after((0, 1_000, 0), (10, 900, 100), limited=True).workers_needed is None
    assert after((0, 1_000, 0), (10, 900, 100), workers=()).workers_needed is None


def test_a_slot_that_serves_another_queue_too_counts_no_more_than_it_runs_of_this_one() -> None:
    both = replace(WORKER, queues=("email", "other"), running=10)
    drain = Drain()
    for second in (0, 10):
        queue = replace(QUEUE, available=600, running=2, completed_total=10 * second)
        (told,) = drain.told(START + timedelta(seconds=second), (queue,), (both,))
    assert told.workers_needed == 1, "two slots end 10 a second; 11 are to end"


def test_the_line_says_both_rates_and_the_end() -> None:
    told = after((0, 1_000, 0), (10, 2_000, 100))
    assert drain_line(told, (WORKER,)) == (
        "110.0 arrive and 10.0 end a second (over 10 s): never empty, at this rate; 12 workers needed, 1 alive"
    )
    assert drain_line(QUEUE, ()) == ""


async def test_a_real_queue_is_told_by_its_second_look(
    db: AsyncPool, dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue_many("email", ({} for _ in range(300)))
    state = WorkerState(
        host="here", pid=7, queues=("email",), concurrency=10, lease_s=30.0, running=10, stopping=False, floors={}
    )
    owner = await queue.register_worker(state)
    collector = Collector(db)
    first = await collector.collect()
    assert items(first.queues)[0].drains is None
    claim = await queue.claim("email", owner=owner, token=5, limit=60)
    await queue.complete("email", [job.id for job in claim.jobs[:50]], 5)
    await queue.beat_worker(owner, state)
    # a look that pretends to have been taken ten seconds ago
    collector = Collector(db, previous=replace(first, taken_at=first.taken_at - timedelta(seconds=10)))
    told = items((await collector.collect()).queues)[0]
    assert (told.drains, told.workers_needed) == (True, 1)
    assert 4 < (told.served_per_s or 0) <= 5
    assert (told.arriving_per_s, told.limited) == (0.0, False)
    assert 40 < (told.drain_s or 0) < 60


async def test_a_queue_that_grows_is_a_finding_until_more_workers_take_it(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue_many("email", ({} for _ in range(200)))
    await db.execute(b"update pgops.job_available set ready_at = statement_timestamp() - interval '50 s'")
    state = WorkerState(
        host="here", pid=7, queues=("email",), concurrency=10, lease_s=30.0, running=10, stopping=False, floors={}
    )
    owner = await queue.register_worker(state)
    lines = Thresholds(drain_over_s=8)

    async def next_look(before: Snapshot, jobs: int, added: int) -> Snapshot:
        claim = await queue.claim("email", owner=owner, token=jobs, limit=jobs)
        await queue.complete("email", [job.id for job in claim.jobs[:-10]], jobs)
        await queue.fail("email", jobs, [FailedJob(job.id, "no", retry_in_s=0) for job in claim.jobs[-10:]])
        await queue.enqueue_many("email", ({} for _ in range(added)))
        ago = replace(before, taken_at=before.taken_at - timedelta(seconds=10))
        return await Collector(db, previous=ago, thresholds=lines).collect()

    first = await Collector(db).collect()
    grown = await next_look(first, 20, 60)
    found = [one for one in grown.findings if one.code == "queue.not_draining"]
    assert [one.severity for one in found] == ["warning"]
    assert "240 jobs ready, never empty" in found[0].evidence or "250 jobs ready, never empty" in found[0].evidence
    assert "pgops queue work module:registry -q email" in found[0].remedy
    await queue.register_worker(state)
    eased = await next_look(grown, 120, 0)
    assert "queue.not_draining" not in [one.code for one in eased.findings]


def test_the_command_looks_twice_where_it_is_asked_to(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = caller(monkeypatch, capsys)
    monkeypatch.setenv("PGOPS_DSN", dsn)
    command("queue", "enqueue", "email", "{}")
    once = command("queue", "list", "--json").document["items"][0]
    assert (once["drains"], once["drain_s"], once["workers_needed"]) == (None, None, None)
    twice = command("queue", "list", "--over", "1", "--json").document["items"][0]
    assert (twice["drains"], twice["drain_s"], twice["served_per_s"]) == (False, None, 0.0)
    assert "never" in command("status", "--over", "1").out
    assert command("queue", "list", "--over", "0.1").code == 2


async def test_the_dashboard_shows_it_among_the_queues_and_in_one_queues_room() -> None:
    queues = tuple(
        replace(one, arriving_per_s=120.0, served_per_s=98.0, rates_over_s=60.0, drains=one.name != "email",
                drain_s=None if one.name == "email" else 90.0, workers_needed=4)
        for one in items(BUSY.queues)
    )  # fmt: skip
    async with dashboard(LiteralSource(replace(BUSY, queues=queues)), USUAL) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "drains" in screen(pilot) and "never" in screen(pilot) and "1m 30s" in screen(pilot))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "never empty, at this rate; 4 workers needed, 1 alive" in screen(pilot))
