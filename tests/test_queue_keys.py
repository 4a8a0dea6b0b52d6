"""Unique keys and groups: who is added, who may run, and that no worker waits for a producer's open transaction."""

import asyncio
from collections import Counter
from itertools import pairwise
from random import Random

import psycopg
import pytest
from test_queue import counted, totals

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import UsageError
from pgops.services.models import FailedJob, NewJob
from pgops.services.queue import AsyncQueue

LONG_AGO = b"update pgops.job_scheduled set run_at = statement_timestamp()"


@pytest.fixture
def queue(db: AsyncPool) -> AsyncQueue:
    return AsyncQueue(db)


async def claimed(queue: AsyncQueue, token: int, limit: int = 10) -> list[int]:
    return [job.id for job in (await queue.claim("q", owner=1, token=token, limit=limit)).jobs]


async def agrees(db: AsyncPool) -> None:
    """What the deltas say is what stands in the tables."""
    said, found = await totals(db, "q"), await counted(db, "q")
    waiting = await db.one(b"select coalesce(sum(waiting), 0)::int from pgops.queue_delta where queue = 'q'")
    assert waiting == (found.get("waiting", 0),)
    assert {state: said[state] for state in ("available", "scheduled", "running", "dead")} == {
        state: found.get(state, 0) for state in ("available", "scheduled", "running", "dead")
    }


# --- unique keys -----------------------------------------------------------------------------------------------------


async def test_a_unique_key_gives_the_job_that_holds_it(db: AsyncPool, queue: AsyncQueue) -> None:
    first = await queue.enqueue("q", {"n": 1}, unique_key="k")
    assert await queue.enqueue("q", {"n": 2}, unique_key="k") == first
    assert await queue.enqueue("other", {}, unique_key="k") != first, "a key is its queue's own"
    assert (await queue.job("q", first)).payload == {"n": 1}
    await claimed(queue, 1)
    assert await queue.enqueue("q", {}, unique_key="k") == first, "it runs"
    await queue.fail("q", 1, [FailedJob(first, "boom")])
    assert await queue.enqueue("q", {}, unique_key="k") == first, "it waits for its second try"
    await db.execute(LONG_AGO)
    await queue.promote("q")
    await claimed(queue, 2)
    await queue.complete("q", [first], token=2)
    assert await queue.enqueue("q", {}, unique_key="k") != first
    await agrees(db)


async def test_a_unique_key_is_held_in_the_states_it_names(queue: AsyncQueue) -> None:
    first = await queue.enqueue("q", {}, unique_key="k", unique_states=["available", "scheduled"])
    await claimed(queue, 1)
    second = await queue.enqueue(
        "q", {}, unique_key="k", unique_states=["available", "running", "dead"], max_attempts=1
    )
    assert second != first, "the first has started"
    await claimed(queue, 2)
    assert (await queue.fail("q", 2, [FailedJob(second, "boom")])).dead == (second,)
    assert await queue.enqueue("q", {}, unique_key="k") == second, "the dead hold it"
    assert await queue.discard_dead("q", [second]) == 1
    assert await queue.enqueue("q", {}, unique_key="k") not in (first, second)


async def test_a_unique_key_outlives_its_job_as_long_as_it_says(db: AsyncPool, queue: AsyncQueue) -> None:
    first = await queue.enqueue("q", {}, unique_key="k", unique_states=["running", "completed"], unique_for_s=60)
    await claimed(queue, 1)
    await queue.complete("q", [first], token=1)
    assert await queue.enqueue("q", {}, unique_key="k") == first
    await db.execute(b"update pgops.job_unique set until = statement_timestamp() - interval '1 s'")
    assert await queue.enqueue("q", {}, unique_key="k", unique_for_s=60) != first
    await db.execute(b"update pgops.job_unique set until = statement_timestamp() - interval '1 s'")
    await queue.forget_keys("q")
    assert await db.one(b"select count(*) from pgops.job_unique") == (0,)


async def test_many_at_once_with_one_key_make_one_job(db: AsyncPool, queue: AsyncQueue) -> None:
    ids = await asyncio.gather(*(queue.enqueue("q", {"n": n}, unique_key="k") for n in range(40)))
    assert len(set(ids)) == 1
    assert await counted(db, "q") == {"available": 1}
    made = await queue.enqueue_jobs("q", [NewJob({"n": n}, unique_key=f"k{n % 3}") for n in range(9)])
    assert [job.existing for job in made] == [False] * 3 + [True] * 6
    assert len({job.id for job in made}) == 3
    await agrees(db)


async def test_who_takes_a_key_late_waits_for_whoever_is_taking_it(dsn: str, db: AsyncPool, queue: AsyncQueue) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        first = await AsyncQueue(AsyncBound(conn, foreign=True)).enqueue("q", {}, unique_key="k")
        late = asyncio.create_task(queue.enqueue("q", {}, unique_key="k"))
        await asyncio.sleep(0.2)
        assert not late.done()
        await conn.commit()
        assert await late == first
        second = await AsyncQueue(AsyncBound(conn, foreign=True)).enqueue("q", {}, unique_key="l")
        late = asyncio.create_task(queue.enqueue("q", {}, unique_key="l"))
        await asyncio.sleep(0.2)
        await conn.rollback()
        assert await late != second, "the one who was first has thought better of it"


async def test_a_dead_letter_stays_while_another_job_holds_its_key(queue: AsyncQueue) -> None:
    first = await queue.enqueue("q", {}, unique_key="k", max_attempts=1)
    await claimed(queue, 1)
    await queue.fail("q", 1, [FailedJob(first, "boom")])
    second = await queue.enqueue("q", {}, unique_key="k")
    assert second != first
    assert await queue.requeue_dead("q") == 0
    await claimed(queue, 2)
    await queue.complete("q", [second], token=2)
    assert await queue.requeue_dead("q") == 1
    assert await queue.enqueue("q", {}, unique_key="k") == first, "it holds its key again"


# --- groups ----------------------------------------------------------------------------------------------------------


async def test_a_group_runs_one_at_a_time_in_order_of_arrival(db: AsyncPool, queue: AsyncQueue) -> None:
    one = [await queue.enqueue("q", {"n": n}, group_key="a") for n in range(4)]
    two = [await queue.enqueue("q", {}, group_key="b", priority=3)]
    free = [await queue.enqueue("q", {})]
    assert await counted(db, "q") == {"available": 3, "waiting": 3}
    assert await claimed(queue, 1) == [one[0], free[0], two[0]]
    assert await claimed(queue, 2) == []
    await agrees(db)
    for token, (id, next_id) in enumerate(pairwise(one), 3):
        await queue.complete("q", [id], token - 2 if token == 3 else token - 1)
        assert await claimed(queue, token) == [next_id]
    await queue.complete("q", one[-1:], 5)
    await queue.complete("q", two + free, 1)
    assert await db.one(b"select count(*) from pgops.job_group") == (0,)
    await agrees(db)


async def test_a_group_waits_for_its_failed_head_and_goes_on_when_it_is_dead(db: AsyncPool, queue: AsyncQueue) -> None:
    ids = [await queue.enqueue("q", {}, group_key="a", max_attempts=2) for _ in range(3)]
    await claimed(queue, 1)
    await queue.fail("q", 1, [FailedJob(ids[0], "boom")])
    assert await claimed(queue, 2) == [], "its head waits for another try"
    await db.execute(LONG_AGO)
    assert await queue.promote("q") == 1
    assert await claimed(queue, 3) == ids[:1]
    assert (await queue.fail("q", 3, [FailedJob(ids[0], "boom")])).dead == (ids[0],)
    assert await claimed(queue, 4) == ids[1:2]
    assert await queue.requeue_dead("q") == 1, "and joins its group again, at the end"
    await queue.complete("q", ids[1:2], 4)
    assert await claimed(queue, 5) == ids[2:]
    await queue.complete("q", ids[2:], 5)
    assert await claimed(queue, 6) == ids[:1]
    await agrees(db)


async def test_a_delayed_job_joins_its_group_when_it_is_due(db: AsyncPool, queue: AsyncQueue) -> None:
    later = await queue.enqueue("q", {}, group_key="a", delay_s=60)
    now = await queue.enqueue("q", {}, group_key="a")
    assert await claimed(queue, 1) == [now]
    await db.execute(LONG_AGO)
    assert await queue.promote("q") == 1
    assert await claimed(queue, 2) == []
    await queue.complete("q", [now], 1)
    assert await claimed(queue, 3) == [later]
    await agrees(db)


@pytest.mark.parametrize("end", ["reaped", "released", "cancelled", "snoozed"])
async def test_however_a_head_ends_its_group_goes_on(db: AsyncPool, queue: AsyncQueue, end: str) -> None:
    ids = [await queue.enqueue("q", {}, group_key="a") for _ in range(2)]
    await claimed(queue, 1)
    if end == "reaped":
        await db.execute(b"update pgops.job_running set lease_until = statement_timestamp() - interval '1 s'")
        await queue.reap("q", everyone=True)
    elif end == "released":
        await queue.release("q", ids[:1], 1)
    elif end == "cancelled":
        assert (await queue.cancel("q", ids[:1])).requested == 1
        assert [(wish.id, wish.reason) for wish in await queue.cancelled(["q"])] == [(ids[0], "cancelled")]
        ended = await queue.fail("q", 1, [FailedJob(ids[0], "cancelled", verdict="cancelled")])
        assert ended.cancelled == (ids[0],)
        assert await queue.cancelled(["q"]) == []
    else:
        ended = await queue.fail("q", 1, [FailedJob(ids[0], "", retry_in_s=0, verdict="snooze")])
        assert ended.snoozed == (ids[0],)
        await queue.promote("q")
    head = ids[1] if end == "cancelled" else ids[0]
    assert await claimed(queue, 2) == [head]
    attempt = (await queue.job("q", head)).attempt
    assert attempt == (2 if end == "reaped" else 1)
    await agrees(db)


async def test_a_head_that_is_cancelled_before_it_runs_makes_way(db: AsyncPool, queue: AsyncQueue) -> None:
    ids = [await queue.enqueue("q", {}, group_key="a", unique_key=f"u{n}") for n in range(3)]
    assert (await queue.cancel("q", [ids[0], ids[1], 10**9])).cancelled == 2
    assert await claimed(queue, 1) == [ids[2]]
    assert {job.outcome for job in await queue.history("q")} == {"cancelled"}
    assert await queue.enqueue("q", {}, unique_key="u0") != ids[0]
    await agrees(db)


async def test_no_worker_waits_for_a_producer_that_is_not_done(dsn: str, db: AsyncPool, queue: AsyncQueue) -> None:
    first = await queue.enqueue("q", {}, group_key="a")
    await claimed(queue, 1)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        mine = await AsyncQueue(AsyncBound(conn, foreign=True)).enqueue("q", {}, group_key="a")
        assert await asyncio.wait_for(queue.complete("q", [first], 1), 3) == [first]
        assert await queue.behead("q") == 1, "the group has no head, and somebody holds it"
        seen = await asyncio.wait_for(queue.enqueue("q", {}, group_key="a"), 3)
        assert await claimed(queue, 2) == [seen], "another producer's job does not wait for it"
        await conn.commit()
    assert await claimed(queue, 3) == []
    await queue.complete("q", [seen], 2)
    assert await claimed(queue, 4) == [mine]
    await agrees(db)


async def test_what_a_producer_left_behind_is_found_by_maintenance(dsn: str, db: AsyncPool, queue: AsyncQueue) -> None:
    first = await queue.enqueue("q", {}, group_key="a")
    await claimed(queue, 1)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        mine = await AsyncQueue(AsyncBound(conn, foreign=True)).enqueue("q", {}, group_key="a")
        await queue.complete("q", [first], 1)
        await conn.commit()
    assert await claimed(queue, 2) == []
    assert await queue.behead("q") == 1
    assert await claimed(queue, 3) == [mine]
    await db.execute(b"delete from pgops.job_running")
    second = await queue.enqueue("q", {}, group_key="a")
    assert await claimed(queue, 4) == [], "the head was lost by somebody's hand"
    assert await queue.mend_groups("q") == 1
    await queue.behead("q")
    assert await claimed(queue, 5) == [second]


async def test_groups_under_load_never_overlap_and_lose_nothing(db: AsyncPool, queue: AsyncQueue) -> None:
    groups, each, workers = 5, 30, 4
    order: dict[str, list[int]] = {f"g{g}": [] for g in range(groups)}
    running: Counter[str] = Counter()
    random = Random(7)

    async def produce(group: str) -> None:
        for _ in range(each):
            await queue.enqueue("q", {}, group_key=group)

    async def work(owner: int) -> None:
        token = owner * 1_000_000
        while sum(map(len, order.values())) < groups * each:
            token += 1
            await queue.behead("q")
            await queue.promote("q")
            claim = await queue.claim("q", owner=owner, token=token, limit=3)
            for job in claim.jobs:
                assert job.group_key
                running[job.group_key] += 1
                assert running[job.group_key] == 1, "two of one group at a time"
            await asyncio.sleep(random.random() * 0.002)
            for job in claim.jobs:
                assert job.group_key
                running[job.group_key] -= 1
                if job.attempt == 1 and random.random() < 0.2:
                    await queue.fail("q", token, [FailedJob(job.id, "again", retry_in_s=0)])
                else:
                    order[job.group_key].append(job.id)
                    await queue.complete("q", [job.id], token)

    async with asyncio.timeout(50):
        await asyncio.gather(*(produce(group) for group in order), *(work(owner) for owner in range(1, workers + 1)))
    for ids in order.values():
        assert ids == sorted(ids)
        assert len(ids) == each
    await agrees(db)
    assert await counted(db, "q") == {}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"unique_key": "x" * 10_000}, "1 to 1,000 bytes"),
        ({"group_key": ""}, "group key"),
        ({"group_key": "a\0"}, "NUL"),
        ({"unique_key": "k", "unique_states": ["sleeping"]}, "sleeping"),
        ({"unique_key": "k", "unique_states": []}, "no state"),
        ({"unique_key": "k", "unique_states": ["completed"]}, "needs an end"),
        ({"unique_key": "k", "unique_for_s": 0}, "above 0"),
    ],
)
async def test_bad_keys_are_refused(queue: AsyncQueue, given: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        await queue.enqueue("q", {}, **given)  # type: ignore[arg-type]
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (b"select pgops.enqueue('q', '{}', unique_key => repeat('x', 10000))", "1 to 1000 bytes"),
        (b"select pgops.enqueue('q', '{}', unique_key => 'k', unique_states => '{asleep}')", "no state 'asleep'"),
        (b"select pgops.enqueue('q', '{}', unique_key => 'k', unique_states => '{completed}')", "a duration"),
        (b"select pgops.enqueue('q', null)", "needs a payload"),
        (b"select pgops.enqueue('q', '{}', priority => 9)", "priority is 1"),
        (b"select pgops.enqueue('q', '{}', kind => '')", "1 to 200 characters"),
        (b"select pgops.enqueue('q', to_jsonb(repeat('x', 1000001)))", "more than 1000000"),
        (
            b"insert into pgops.job_queue (queue, payload, status) values ('q', '{}', 'running')",
            "available or scheduled",
        ),
    ],
)
async def test_sql_producers_are_told_as_clearly(dsn: str, call: bytes, says: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
            await conn.execute(call)
        assert says in str(refused.value)
        assert refused.value.diag.message_hint


async def test_sql_producers_have_keys_too(db: AsyncPool, queue: AsyncQueue) -> None:
    one = await db.one(b"select pgops.enqueue('q', '{}', unique_key => 'k', group_key => 'g')")
    two = await db.one(b"select pgops.enqueue('q', '{}', unique_key => 'k', group_key => 'g')")
    assert one == two
    await db.execute(b"insert into pgops.job_queue (queue, payload, group_key) values ('q', '{}', 'g')")
    assert await counted(db, "q") == {"available": 1, "waiting": 1}
    await agrees(db)


async def test_a_due_job_of_a_group_that_a_producer_is_just_making_keeps_no_other_waiting(
    dsn: str, db: AsyncPool, queue: AsyncQueue
) -> None:
    late = await queue.enqueue("q", {}, group_key="a", delay_s=60)
    others = [await queue.enqueue("q", {}, delay_s=60), await queue.enqueue("q", {}, group_key="b", delay_s=60)]
    await db.execute(LONG_AGO)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        first = await AsyncQueue(AsyncBound(conn, foreign=True)).enqueue("q", {}, group_key="a")
        assert await asyncio.wait_for(queue.promote("q"), 3) == 2
        assert sorted(await claimed(queue, 1)) == others
        assert await asyncio.wait_for(queue.promote("q"), 3) == 0
        await conn.commit()
    assert await queue.promote("q") == 1
    assert await claimed(queue, 2) == [first]
    await queue.complete("q", [first], 2)
    assert await claimed(queue, 3) == [late]
    await agrees(db)


async def test_many_due_jobs_of_groups_join_them_in_order(db: AsyncPool, queue: AsyncQueue) -> None:
    ids = [await queue.enqueue("q", {}, group_key=f"g{n % 3}", delay_s=60 + n) for n in range(30)]
    await db.execute(b"update pgops.job_scheduled set run_at = run_at - interval '1 h'")
    assert [await queue.promote("q", limit=20), await queue.promote("q", limit=20)] == [20, 10]
    assert await counted(db, "q") == {"available": 3, "waiting": 27}
    for turn in range(10):
        assert sorted(await claimed(queue, turn + 1)) == ids[3 * turn : 3 * turn + 3]
        await queue.complete("q", ids[3 * turn : 3 * turn + 3], turn + 1)
    await agrees(db)


async def test_an_expired_key_that_a_producer_is_just_taking_keeps_no_maintenance_waiting(
    dsn: str, db: AsyncPool, queue: AsyncQueue
) -> None:
    for key in ("k", "l"):
        await queue.enqueue("q", {}, unique_key=key, unique_for_s=60)
    await db.execute(b"update pgops.job_unique set until = statement_timestamp() - interval '1 s'")
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        mine = await AsyncQueue(AsyncBound(conn, foreign=True)).enqueue("q", {}, unique_key="k", unique_for_s=60)
        await asyncio.wait_for(queue.forget_keys("q"), 3)
        await conn.commit()
    assert await db.all(b"select key, id from pgops.job_unique") == [("k", mine)]


@pytest.mark.parametrize("by", ["promoted", "released", "reaped", "requeued"])
async def test_a_key_is_free_when_its_job_comes_back_into_a_state_that_it_does_not_name(
    db: AsyncPool, queue: AsyncQueue, by: str
) -> None:
    if by == "promoted":
        first = await queue.enqueue("q", {}, unique_key="k", unique_states=["scheduled"], delay_s=60)
    else:
        first = await queue.enqueue("q", {}, unique_key="k", unique_states=["running"])
        assert await claimed(queue, 1) == [first]
    assert await queue.enqueue("q", {}, unique_key="k") == first
    await db.execute(LONG_AGO)
    await db.execute(b"update pgops.job_running set lease_until = statement_timestamp() - interval '1 s'")
    if by == "promoted":
        assert await queue.promote("q") == 1
    elif by == "released":
        await queue.release("q", [first], 1)
    elif by == "reaped":
        assert (await queue.reap("q", everyone=True)).requeued == 1
    elif by == "requeued":
        assert await queue.requeue_stuck("q") == 1
    assert await queue.enqueue("q", {}, unique_key="k") != first
    await agrees(db)
