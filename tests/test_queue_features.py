"""What a queue can be told: limits, aging, pauses, history, another payload, durability."""

import asyncio
from time import monotonic

import pytest
from test_queue import counted, totals

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, UsageError
from pgops.services.models import FailedJob
from pgops.services.queue import AsyncQueue


@pytest.fixture
def queue(db: AsyncPool) -> AsyncQueue:
    return AsyncQueue(db)


async def claimed(queue: AsyncQueue, token: int, limit: int = 10) -> list[int]:
    return [job.id for job in (await queue.claim("q", owner=1, token=token, limit=limit)).jobs]


async def test_no_more_run_than_the_limit_says_however_many_claim(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.enqueue_many("q", [{}] * 50)
    await queue.limit("q", max_running=5)
    got = await asyncio.gather(*(claimed(queue, token) for token in range(1, 21)))
    assert sum(map(len, got)) == 5
    token, ids = next((token, ids) for token, ids in enumerate(got, 1) if ids)
    await queue.complete("q", ids[:1], token)
    assert len(await claimed(queue, 100)) == 1
    await queue.limit("q", max_running=None)
    assert len(await claimed(queue, 101, limit=100)) == 44


async def test_no_more_start_than_the_rate_says(queue: AsyncQueue) -> None:
    await queue.enqueue_many("q", [{}] * 200)
    await queue.limit("q", rate_per_s=20, burst=5)
    began, started = monotonic(), 0
    assert len(await claimed(queue, 1)) == 5, "the burst at once"
    while (now := monotonic()) < began + 1.5:
        started += sum(map(len, await asyncio.gather(*(claimed(queue, 2) for _ in range(4)))))
        await asyncio.sleep(0.01)
    assert started <= 20 * (now - began) + 1
    assert started >= 20 * 1.5 * 0.7


async def test_a_rate_is_charged_for_what_was_there(queue: AsyncQueue) -> None:
    await queue.enqueue("q", {})
    await queue.limit("q", rate_per_s=0.01, burst=3)
    assert len(await claimed(queue, 1)) == 1
    await queue.enqueue_many("q", [{}] * 5)
    assert len(await claimed(queue, 2)) == 2


@pytest.mark.parametrize("given", [{"max_running": 0}, {"rate_per_s": 0}, {"burst": 5}, {"rate_per_s": 1, "burst": 0}])
async def test_bad_limits_are_refused(queue: AsyncQueue, given: dict[str, int]) -> None:
    await queue.enqueue("q", {})
    with pytest.raises(UsageError):
        await queue.limit("q", **given)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        await queue.limit("nobody", max_running=1)


async def test_who_has_waited_long_goes_first(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.configure("q", aging_s=60)
    low = await queue.enqueue("q", {}, priority=4)
    high = await queue.enqueue("q", {}, priority=1)
    assert await queue.turns("q") == (1, 4, 2, 3)
    await db.execute(
        b"update pgops.job_available set ready_at = statement_timestamp() - interval '200 s' where priority = 4"
    )
    turns = await queue.turns("q")
    assert turns == (4, 1, 2, 3)
    claim = await queue.claim("q", owner=1, token=1, limit=5, turns=turns)
    assert [job.id for job in claim.jobs] == [low, high]
    assert claim.floors == (high, 0, 0, low)
    await queue.configure("q", aging_s=0)
    await queue.enqueue("q", {}, priority=4)
    await queue.enqueue("q", {}, priority=1)
    await db.execute(b"update pgops.job_available set ready_at = '2000-01-01Z' where priority = 4")
    assert await queue.turns("q") == (1, 4, 2, 3), "no aging"


async def test_a_pause_may_end_by_itself(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.enqueue("q", {})
    await queue.pause("q", for_s=0.5)
    (settings,) = await queue.queues()
    assert settings.paused
    assert settings.resume_at is not None
    assert await claimed(queue, 1) == []
    await asyncio.sleep(0.6)
    assert len(await claimed(queue, 2)) == 1
    assert not (await queue.queues())[0].paused
    await queue.forget_keys("q")
    assert await db.one(b"select paused from pgops.queues") == (False,)


async def test_the_history_keeps_what_the_queue_asks_for(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.configure("q", history="all")
    ids = [await queue.enqueue("q", {"n": n}, max_attempts=1) for n in range(3)]
    await claimed(queue, 1)
    await queue.complete("q", ids[:1], 1, results={ids[0]: {"sum": 7}})
    await queue.fail("q", 1, [FailedJob(ids[1], "boom"), FailedJob(ids[2], "enough", verdict="cancelled")])
    past = {job.id: job for job in await queue.history("q")}
    assert {id: past[id].outcome for id in ids} == {ids[0]: "completed", ids[1]: "dead", ids[2]: "cancelled"}
    done = await queue.past_job("q", ids[0])
    assert done.result == {"sum": 7}
    assert done.payload == {"n": 0}
    with pytest.raises(NotFoundError):
        await queue.past_job("q", 10**9)
    assert await queue.discard_dead("q") == 1
    assert (await queue.past_job("q", ids[1])).outcome == "discarded"
    assert await queue.trim_history(1) == 0
    await db.execute(b"update pgops.job_history set finished_at = statement_timestamp() - interval '30 days'")
    assert await queue.trim_history() == 1
    assert await queue.history("q") == []


async def test_a_day_of_the_ring_that_is_mixed_is_not_trimmed(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.configure("q", history="all")
    ids = [await queue.enqueue("q", {}) for _ in range(2)]
    await claimed(queue, 1)
    await queue.complete("q", ids, 1)
    await db.execute(
        b"update pgops.job_history set finished_at = statement_timestamp() - interval '32 days' where id = %s", [ids[0]]
    )
    assert await queue.trim_history() == 0


async def test_a_snooze_costs_no_attempt_and_leaves_no_error(queue: AsyncQueue) -> None:
    id = await queue.enqueue("q", {}, max_attempts=1)
    await claimed(queue, 1)
    assert (await queue.fail("q", 1, [FailedJob(id, "", retry_in_s=0, verdict="snooze")])).snoozed == (id,)
    job = await queue.job("q", id)
    assert (job.state, job.attempt, job.errors) == ("scheduled", 0, ())


async def test_an_error_that_cannot_pass_is_dead_at_once(queue: AsyncQueue) -> None:
    id = await queue.enqueue("q", {}, max_attempts=9)
    await claimed(queue, 1)
    assert (await queue.fail("q", 1, [FailedJob(id, "no such customer", verdict="dead")])).dead == (id,)


async def test_a_payload_is_edited_where_the_job_does_not_run(db: AsyncPool, queue: AsyncQueue) -> None:
    ids = [await queue.enqueue("q", {}), await queue.enqueue("q", {}, delay_s=60)]
    ids += [await queue.enqueue("q", {}, group_key="g", priority=4) for _ in range(2)]
    assert [await queue.edit("q", id, {"new": id}) for id in ids] == ["available", "scheduled", "available", "waiting"]
    assert [(await queue.job("q", id)).payload for id in ids] == [{"new": id} for id in ids]
    assert await claimed(queue, 1, limit=1) == ids[:1]
    with pytest.raises(NotFoundError) as running:
        await queue.edit("q", ids[0], {})
    assert "running" in str(running.value.hint)
    with pytest.raises(UsageError):
        await queue.edit("q", ids[1], float("nan"))
    await queue.fail("q", 1, [FailedJob(ids[0], "boom", verdict="dead")])
    assert await queue.edit("q", ids[0], {"fixed": True}) == "dead"
    await queue.requeue_dead("q", ids[:1])
    assert (await queue.job("q", ids[0])).payload == {"fixed": True}


async def test_progress_is_the_living_lease_s_own(queue: AsyncQueue) -> None:
    id = await queue.enqueue("q", {})
    await claimed(queue, 1)
    await queue.report_progress("q", {(id, 1): {"done": 3, "of": 10}, (10**9, 1): None})
    assert (await queue.job("q", id)).progress == {"done": 3, "of": 10}
    await queue.report_progress("q", {(id, 2): "a zombie's"})
    assert (await queue.job("q", id)).progress == {"done": 3, "of": 10}


async def test_relaxed_durability_is_pgops_own_affair(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.enqueue("q", {})

    async def setting_after(tx: AsyncQueue, work: str) -> str:
        if work == "enqueue":
            await tx.enqueue("q", {})
        elif work == "enqueue_many":
            await tx.enqueue_many("q", [{}, {}])
        else:
            claim = await tx.claim("q", owner=1, token=7, limit=1)
            if work == "complete":
                await tx.complete("q", [claim.jobs[0].id], 7)
        row = await tx._db.one(b"show synchronous_commit")
        assert row is not None
        return str(row[0])

    for durability, expected in (("durable", "on"), ("relaxed", "off")):
        await queue.configure("q", durability=durability)
        for work in ("enqueue", "enqueue_many", "claim", "complete"):
            async with db.transaction() as tx:
                await tx.execute(b"set local synchronous_commit = on")
                assert await setting_after(AsyncQueue(tx, own=True), work) == expected, work
            async with db.transaction() as tx:
                await tx.execute(b"set local synchronous_commit = on")
                if work.startswith("enqueue"):
                    assert await setting_after(AsyncQueue(tx), work) == "on", "a caller's transaction keeps its own"
    assert await db.one(b"show synchronous_commit") == await db.one(
        b"select reset_val from pg_settings where name = 'synchronous_commit'"
    )


async def test_totals_agree_with_the_tables(db: AsyncPool, queue: AsyncQueue) -> None:
    ids = [await queue.enqueue("q", {}, max_attempts=1) for _ in range(6)]
    await claimed(queue, 1, limit=4)
    await queue.fail("q", 1, [FailedJob(ids[0], "x"), FailedJob(ids[1], "x", verdict="cancelled"),
                              FailedJob(ids[2], "", retry_in_s=60, verdict="snooze")])  # fmt: skip
    await queue.cancel("q", [ids[4], ids[2]])
    said, found = await totals(db, "q"), await counted(db, "q")
    assert found == {"available": 1, "running": 1, "dead": 1}
    assert {state: said[state] for state in found} == found
    assert said["scheduled"] == 0
