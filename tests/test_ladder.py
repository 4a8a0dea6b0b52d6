"""The requeue ladder: what goes on each rung, when it stops, and what is left however it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
import pytest
from cli_call import caller, interrupted, spawned

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, UsageError
from pgops.ops.act import audit, ladder
from pgops.ops.act.actions import Action, preview, run
from pgops.ops.act.ladder_rules import Climb, check_rate
from pgops.ops.act.progress import left_of
from pgops.services.models import FailedJob, Job, JobMatch
from pgops.services.queue import AsyncQueue


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "LOOK_EVERY_S", 0.02)


async def dead(queue: AsyncQueue, jobs: int, error: str = "TimeoutError: no answer after {} s", **more: object) -> None:
    for number in range(jobs):
        job = await queue.enqueue("email", {"n": number}, kind="send", max_attempts=3, **more)  # type: ignore[arg-type]
        await queue.claim("email", owner=1, token=1, limit=1)
        await queue.fail("email", 1, [FailedJob(job, error.format(number), verdict="dead")])


@asynccontextmanager
async def worker(
    queue: AsyncQueue, *, fails_from: int, error: str = "TimeoutError: no answer after 99 s"
) -> AsyncIterator[list[int]]:
    """Works on all that is there, one by one; from the so-manieth job on each fails, and is tried again later."""
    done: list[int] = []

    async def work() -> None:
        while True:
            for job in (await queue.claim("email", owner=1, token=7, limit=1)).jobs:
                done.append(job.id)
                if len(done) >= fails_from:
                    await queue.fail("email", 7, [FailedJob(job.id, error, retry_in_s=60)])
                else:
                    await queue.complete("email", [job.id], 7)
            await asyncio.sleep(0.002)

    task = asyncio.create_task(work())
    try:
        yield done
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_it_goes_to_the_top_where_nothing_fails(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await dead(queue, 15)
    async with worker(queue, fails_from=99) as done:
        result = await run(db, Action("requeue_ladder", "email", rate=1_000))
    assert result.message == "15 of 15 dead letters of email went: 15 ended, 0 came back; all went"
    assert (result.matched, result.changed, result.undoable, len(done)) == (15, 15, False, 15)
    (row, *_) = await audit.list(db)
    assert (row.action, row.status, row.matched, row.changed) == ("requeue_ladder", "done", 15, 15)
    assert isinstance(row.detail, dict)
    assert row.detail == {"went": 15, "ended": 15, "came_back": 0, "rung": 3, "why": "all went", "rate_per_s": 1_000.0}
    assert result.more["why"] == "all went"


@pytest.mark.parametrize(("fails_from", "went", "ended"), [(1, 1, 0), (4, 11, 3)])
async def test_it_stops_at_the_first_failure_with_the_same_error(
    db: AsyncPool, fails_from: int, went: int, ended: int
) -> None:
    queue = AsyncQueue(db)
    await dead(queue, 30)
    async with worker(queue, fails_from=fails_from):
        result = await run(db, Action("requeue_ladder", "email"))
    assert "stopped: the same error came back: TimeoutError: no answer after ? s" in result.message
    assert result.changed == result.more["went"] == went
    assert result.more["rung"] == (1 if went == 1 else 2), "no rung that it has not stood on"
    assert result.more["ended"] >= ended
    assert result.more["came_back"] >= 1
    assert len(await queue.dead_matching("email", JobMatch())) == 30 - went, "the others wait where they were"


async def test_another_error_does_not_stop_it_unless_a_whole_rung_dies_of_it(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await dead(queue, 3)
    task = asyncio.create_task(run(db, Action("requeue_ladder", "email")))
    jobs: tuple[Job, ...] = ()
    for _ in range(1_000):
        jobs = jobs or (await queue.claim("email", owner=1, token=7, limit=1)).jobs
        await asyncio.sleep(0 if jobs else 0.01)
    await queue.fail("email", 7, [FailedJob(jobs[0].id, "KeyError: 'x'", verdict="dead")])
    result = await task
    assert result.message.endswith("1 came back; stopped: 1 job went, and none ended well")


async def test_a_dead_letter_that_is_given_up_meanwhile_has_not_gone(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await dead(queue, 3)
    gave_up = False
    where = ladder._where

    async def giving_up(*seen: Any) -> list[tuple[str, int, str]]:
        nonlocal gave_up
        found = await where(*seen)
        if not gave_up:
            gave_up = True
            await queue.discard_dead("email", [seen[2][0]])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladder, "_where", giving_up)
        async with worker(queue, fails_from=99):
            result = await run(db, Action("requeue_ladder", "email", rate=1_000))
    assert result.message.startswith("2 of 3 dead letters of email went: 2 ended")


async def test_a_queue_that_is_paused_while_it_climbs_is_not_waited_for(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await dead(queue, 3)
    task = asyncio.create_task(run(db, Action("requeue_ladder", "email")))
    for _ in range(3_000):
        if "1 of 3 went" in await ladder.progress(db, "email"):
            break
        await asyncio.sleep(0.01)
    await queue.pause("email")
    result = await asyncio.wait_for(task, 30)
    assert (result.changed, result.more["why"]) == (1, "the queue is paused")
    assert (await audit.list(db))[0].status == "done"


@pytest.mark.parametrize("rate", [1e-300, 0.0009, 0.0, -1.0, float("nan"), float("inf"), 10_001.0])
def test_a_rate_is_one_that_gets_there(rate: float) -> None:
    with pytest.raises(UsageError, match="a rate is"):
        check_rate(Action("requeue_ladder", "email", rate=rate))


async def test_a_paused_queue_gets_none(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await dead(queue, 2)
    await queue.pause("email")
    result = await run(db, Action("requeue_ladder", "email"))
    assert (result.changed, result.more["why"]) == (0, "the queue is paused")


async def test_it_climbs_over_what_matches_alone_and_leaves_what_stays(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await dead(queue, 2)
    await dead(queue, 2, "KeyError: {}")
    await dead(queue, 1, "KeyError: {}", unique_key="k")
    await queue.enqueue("email", {}, unique_key="k", delay_s=600)
    look = await preview(db, Action("requeue_ladder", "email", match=JobMatch(error="KeyError")))
    assert (look.matched, look.action.ids) == (3, (3, 4, 5))
    assert "1, then 10, then 10 a second" in look.title
    async with worker(queue, fails_from=99):
        result = await run(db, look.action)
    assert (result.matched, result.changed) == (3, 2), "whose key another job has stays"
    assert len(await queue.dead_matching("email", JobMatch())) == 3


async def test_nobody_who_works_is_waited_for_only_so_long(db: AsyncPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "PATIENCE_S", 0.1)
    await dead(AsyncQueue(db), 2)
    result = await run(db, Action("requeue_ladder", "email"))
    assert result.message == (
        "1 of 2 dead letters of email went: 0 ended, 0 came back, 1 not yet; stopped: for 100ms none of 1 job has ended"
    )


async def test_stopped_at_any_moment_it_is_half_of_nothing_and_the_trail_says_how_far(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await dead(queue, 5)
    task = asyncio.create_task(run(db, Action("requeue_ladder", "email")))
    for _ in range(1_000):
        if "1 of 5 went" in await ladder.progress(db, "email"):
            break
        await asyncio.sleep(0.01)
    assert await ladder.progress(db, "email") == "rung 1: 1 of 5 went, 0 ended, 0 came back"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row, *_) = await audit.list(db)
    assert (row.status, row.changed) == ("interrupted", 1)
    assert isinstance(row.detail, dict)
    assert row.detail["went"] == 1
    assert [len(await queue.jobs("email", state=state)) for state in ("available", "dead")] == [1, 4]
    assert await ladder.progress(db, "email") == ""
    left = await left_of(db, Action("requeue_ladder", "email"))
    assert left == "rung 1: 1 of 5 went, 0 ended, 0 came back; what was done until then stays done"


async def test_what_makes_no_sense_is_refused(db: AsyncPool) -> None:
    with pytest.raises(NotFoundError):
        await run(db, Action("requeue_ladder", "nope"))
    with pytest.raises(UsageError, match=r"a rate is 0\.001"):
        await preview(db, Action("requeue_ladder", "email", rate=0))


def test_a_failure_that_was_there_before_is_no_new_one() -> None:
    old, new = json.dumps({"error": "no 1", "at": "1"}), json.dumps({"error": "no 2", "at": "2"})
    climb = Climb("q", [], 3)
    climb.took([(1, old), (2, old), (3, old)])
    assert not climb.saw([("available", 1, old), ("running", 2, old), ("waiting", 3, old)])
    assert climb.saw([("available", 1, old), ("scheduled", 3, json.dumps({"error": "other"}))])
    assert (climb.ended, climb.back, climb.why, sorted(climb.out)) == (1, 0, "", [1, 3])
    assert climb.saw([("available", 1, old), ("scheduled", 3, new)])
    assert (climb.back, climb.why) == (1, "the same error came back: no ?")


def test_the_command_climbs_and_ctrl_c_stops_it(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def seed() -> None:
        async with AsyncPool.open(dsn) as db:
            await dead(AsyncQueue(db), 3)

    asyncio.run(seed())
    monkeypatch.setenv("PGOPS_DSN", dsn)
    command = caller(monkeypatch, capsys)
    look = command(
        "queue", "requeue", "email", "--ladder", "--rate", "5", "--kind", "send", "--dry-run", "--json"
    ).document
    assert (look["action"], look["matched"]) == ("requeue_ladder", 3)
    assert command("queue", "requeue", "email", "--ladder", "--stuck").code == 2
    assert command("queue", "requeue", "email", "--dead", "--rate", "5").code == 2
    with (
        spawned(["queue", "requeue", "email", "--ladder", "--yes"], dsn) as process,
        psycopg.connect(dsn, autocommit=True) as conn,
    ):
        while conn.execute("select from pgops.audit where changed = 1").fetchone() is None:
            assert process.poll() is None
        done = interrupted(process)
        assert (done.code, "stopped: rung 1: 1 of 3 went" in done.err) == (130, True), done.err
    monkeypatch.setattr(ladder, "PATIENCE_S", 0.05)
    said = command("queue", "requeue", "email", "2", "3", "--ladder", "--yes", "--json").document
    assert (said["matched"], said["changed"], said["went"]) == (2, 1, 1)
    status = [one["status"] for one in command("audit", "list", "--json").document["items"]]
    assert status == ["done", "interrupted"]
