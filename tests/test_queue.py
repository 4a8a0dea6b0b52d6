"""The queue's promises, on real tables: who gets a job, who may end it, where it goes, and what is counted."""

import asyncio
import json
from collections import Counter

import psycopg
import pytest

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import NotFoundError, UsageError
from pgops.services.models import FailedJob
from pgops.services.queue import AsyncQueue
from pgops.sync.services.client import Pgops


@pytest.fixture
def queue(db: AsyncPool) -> AsyncQueue:
    return AsyncQueue(db)


async def totals(db: AsyncPool, queue: str) -> dict[str, int]:
    """Depth and totals as deltas and total say."""
    names = ("available", "scheduled", "running", "dead", "enqueued", "completed", "failed")
    row = await db.one(
        b"""select sum(available)::bigint, sum(scheduled)::bigint, sum(running)::bigint, sum(dead)::bigint,
                   sum(enqueued)::bigint, sum(completed)::bigint, sum(failed)::bigint
            from (select available, scheduled, running, dead, enqueued, completed, failed
                  from pgops.queue_delta where queue = %(queue)s
                  union all
                  select available, scheduled, running, dead, enqueued, completed, failed
                  from pgops.queue_total where queue = %(queue)s) d""",
        {"queue": queue},
    )
    assert row is not None
    return dict(zip(names, row, strict=True))


async def counted(db: AsyncPool, queue: str) -> dict[str, int]:
    """The same by counting the jobs."""
    rows = await db.all(b"select status, count(*) from pgops.job_queue where queue = %s group by 1", [queue])
    return dict(rows)


async def test_jobs_come_in_order_of_priority_and_arrival(queue: AsyncQueue) -> None:
    late = [await queue.enqueue("q", {"n": n}, priority=4) for n in range(2)]
    first = [await queue.enqueue("q", {"n": n}, priority=1) for n in range(2)]
    normal = [await queue.enqueue("q", {"n": n}) for n in range(2)]
    claim = await queue.claim("q", owner=1, token=7, limit=5)
    assert [job.id for job in claim.jobs] == first + normal + late[:1]
    assert claim.jobs[0].payload == {"n": 0}
    assert claim.jobs[0].attempt == 1
    assert claim.jobs[0].token == 7


async def test_a_claim_steps_over_what_another_transaction_holds(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.enqueue_many("q", [{"n": n} for n in range(4)])
    async with db.transaction() as tx:
        held = await AsyncQueue(tx).claim("q", owner=1, token=1, limit=2)
        other = await asyncio.wait_for(queue.claim("q", owner=2, token=2, limit=10), 3)
        assert len(held.jobs) == len(other.jobs) == 2
        assert {job.id for job in held.jobs}.isdisjoint(job.id for job in other.jobs)


async def test_no_job_is_claimed_twice_by_many(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.enqueue_many("q", [{}] * 600)

    async def drain(owner: int) -> list[int]:
        got: list[int] = []
        while claim := (await queue.claim("q", owner=owner, token=owner, limit=7)).jobs:
            got += [job.id for job in claim]
        return got

    ids = [id for got in await asyncio.gather(*(drain(owner) for owner in range(1, 6))) for id in got]
    assert len(ids) == len(set(ids)) == 600


async def test_only_the_living_token_completes(db: AsyncPool, queue: AsyncQueue) -> None:
    id = await queue.enqueue("q", {})
    await queue.claim("q", owner=1, token=1, limit=1)
    assert await queue.complete("q", [id], token=2) == []
    assert await counted(db, "q") == {"running": 1}
    assert await queue.complete("q", [id], token=1) == [id]
    assert await queue.complete("q", [id], token=1) == []
    assert (await totals(db, "q"))["completed"] == 1


async def test_a_zombie_is_refused_after_its_job_was_taken_back(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.configure("q", lease_s=1, max_attempts=5)
    id = await queue.enqueue("q", {})
    await queue.claim("q", owner=1, token=1, limit=1)
    assert (await queue.reap("q", everyone=True)).requeued == 0, "its lease still runs"
    await db.execute(b"update pgops.job_running set lease_until = statement_timestamp() - interval '1 s'")
    assert (await queue.reap("q", everyone=True)).requeued == 1
    again = await queue.claim("q", owner=2, token=2, limit=1)
    assert [(job.id, job.attempt) for job in again.jobs] == [(id, 2)]
    assert await queue.complete("q", [id], token=1) == []
    assert await queue.heartbeat("q", [id], token=1) == []
    assert (await queue.fail("q", 1, [FailedJob(id, "late")])).stale == (id,)
    assert await queue.release("q", [id], token=1) == []
    assert await queue.complete("q", [id], token=2) == [id]


async def test_reaping_by_owner_spares_the_jobs_of_the_living(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.enqueue_many("q", [{}, {}])
    await db.execute(
        b"""insert into pgops.workers (id, host, pid, queues, concurrency, lease, heartbeat_at) values
            (1, 'a', 1, '{q}', 1, '1 s', statement_timestamp() - interval '1 min'),
            (2, 'b', 2, '{q}', 1, '1 min', statement_timestamp())"""
    )
    await queue.claim("q", owner=1, token=1, limit=1)
    kept = await queue.claim("q", owner=2, token=2, limit=1)
    await db.execute(b"update pgops.job_running set lease_until = statement_timestamp() - interval '1 s'")
    assert (await queue.reap("q")).requeued == 1
    assert [row.id for row in await queue.jobs("q", state="running")] == [kept.jobs[0].id]


async def test_failures_back_off_and_end_in_the_dead_letter_with_every_error(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.configure("q", max_attempts=2, backoff_s=100)
    id = await queue.enqueue("q", {"to": "x"})
    await queue.claim("q", owner=1, token=1, limit=1)
    assert (await queue.fail("q", 1, [FailedJob(id, "boom\0", "trace")])).retried == (id,)
    waiting = await queue.job("q", id)
    assert waiting.state == "scheduled"
    assert waiting.run_at is not None
    assert 70 <= (waiting.run_at - waiting.created_at).total_seconds() <= 130
    assert await queue.promote("q") == 0, "not due yet"
    await db.execute(b"update pgops.job_scheduled set run_at = statement_timestamp()")
    assert await queue.promote("q") == 1
    await queue.claim("q", owner=1, token=2, limit=1)
    assert (await queue.fail("q", 2, [FailedJob(id, "boom again")])).dead == (id,)
    dead = await queue.job("q", id)
    assert dead.state == "dead"
    assert [error["error"] for error in dead.errors] == ["boom\\0", "boom again"]
    assert [error["attempt"] for error in dead.errors] == [1, 2]


async def test_dead_letters_start_over_when_requeued(db: AsyncPool, queue: AsyncQueue) -> None:
    ids = [await queue.enqueue("q", {}, max_attempts=1) for _ in range(3)]
    await queue.claim("q", owner=1, token=1, limit=3)
    await queue.fail("q", 1, [FailedJob(id, "boom") for id in ids])
    assert await queue.requeue_dead("q", ids[:1]) == 1
    assert await queue.requeue_dead("q", ids[:1]) == 0
    assert await queue.requeue_dead("q") == 2
    claim = await queue.claim("q", owner=1, token=2, limit=9)
    assert {job.id for job in claim.jobs} == set(ids)
    assert {job.attempt for job in claim.jobs} == {1}


async def test_requeueing_the_stuck_takes_their_lease_away(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.configure("q", max_runtime_s=60)
    ids = [await queue.enqueue("q", {}) for _ in range(3)]
    await queue.claim("q", owner=1, token=1, limit=3)
    assert await queue.requeue_stuck("q") == 0
    await db.execute(
        b"update pgops.job_running set lease_until = statement_timestamp() - interval '1 s' where id = %s", [ids[0]]
    )
    await db.execute(
        b"update pgops.job_running set started_at = statement_timestamp() - interval '2 min' where id = %s", [ids[1]]
    )
    assert await queue.requeue_stuck("q") == 2
    assert await queue.complete("q", ids, token=1) == [ids[2]]


async def test_a_release_does_not_count_as_an_attempt(queue: AsyncQueue) -> None:
    id = await queue.enqueue("q", {})
    await queue.claim("q", owner=1, token=1, limit=1)
    assert await queue.release("q", [id], token=1) == [id]
    claim = await queue.claim("q", owner=1, token=2, limit=1)
    assert [(job.id, job.attempt) for job in claim.jobs] == [(id, 1)]


async def test_a_paused_or_unknown_queue_gives_nothing(queue: AsyncQueue) -> None:
    await queue.enqueue("q", {})
    await queue.pause("q")
    assert (await queue.claim("q", owner=1, token=1, limit=5)).jobs == ()
    assert (await queue.claim("nobody", owner=1, token=1, limit=5)).jobs == ()
    await queue.resume("q")
    assert len((await queue.claim("q", owner=1, token=1, limit=5)).jobs) == 1


async def test_a_job_for_later_waits_until_it_is_due(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.enqueue("q", {}, delay_s=60)
    soon = await queue.enqueue("q", {}, delay_s=0)
    assert (await queue.claim("q", owner=1, token=1, limit=5)).jobs == ()
    assert await queue.promote("q") == 1
    assert [job.id for job in (await queue.claim("q", owner=1, token=1, limit=5)).jobs] == [soon]


async def test_depth_by_deltas_is_what_counting_says(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.enqueue_many("q", [{}] * 50)
    await queue.enqueue("q", {}, delay_s=60)
    claim = await queue.claim("q", owner=1, token=1, limit=20)
    ids = [job.id for job in claim.jobs]
    await queue.complete("q", ids[:5], token=1)
    await queue.fail("q", 1, [FailedJob(id, "boom") for id in ids[5:8]])
    await queue.release("q", ids[8:10], token=1)
    await db.execute(b"update pgops.job_dead set died_at = died_at")
    await db.execute(
        b"update pgops.job_running set lease_until = statement_timestamp() - interval '1 s' where id = any(%s)",
        [ids[10:12]],
    )
    await queue.reap("q", everyone=True)
    for fold in (False, True):
        depth, count = await totals(db, "q"), await counted(db, "q")
        assert {state: depth[state] for state in ("available", "scheduled", "running", "dead")} == {
            state: count.get(state, 0) for state in ("available", "scheduled", "running", "dead")
        }
        assert (depth["enqueued"], depth["completed"], depth["failed"]) == (51, 5, 5)
        await queue.fold("q", full=fold)
    row = await db.one(b"select count(*) from pgops.queue_delta")
    assert row is not None
    assert row[0] == 0


async def test_a_delta_that_commits_after_a_fold_is_found_by_a_later_one(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.enqueue("q", {})
    async with db.transaction() as late:
        await AsyncQueue(late).enqueue("q", {})
        await queue.enqueue("q", {})
        await queue.fold("q")
    await db.execute(b"update pgops.queue_total set folded_id = folded_id + 2000")
    await queue.fold("q", full=True)
    row = await db.one(b"select enqueued from pgops.queue_total where queue = 'q'")
    assert row == (3,)


async def test_history_keeps_what_the_queue_asks_for(db: AsyncPool, queue: AsyncQueue) -> None:
    for name, history in (("a", "all"), ("f", "failures"), ("n", "none")):
        await queue.configure(name, history=history, max_attempts=1)
        good, bad = [await queue.enqueue(name, {}) for _ in range(2)]
        await queue.claim(name, owner=1, token=1, limit=2)
        await queue.complete(name, [good], token=1)
        await queue.fail(name, 1, [FailedJob(bad, "boom")])
    rows = await db.all(b"select queue, outcome from pgops.job_history")
    assert Counter(rows) == Counter({("a", "completed"): 1, ("a", "dead"): 1, ("f", "dead"): 1})


async def test_a_bound_enqueue_lives_and_dies_with_the_callers_transaction(dsn: str, db: AsyncPool) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        await conn.execute("create table orders (id int)")
        await conn.commit()
        bound = AsyncQueue(AsyncBound(conn, foreign=True))
        await conn.execute("insert into orders values (1)")
        await bound.enqueue("q", {"order": 1})
        assert await bound.enqueue_many("q", [{}, {}]) == 2
        await conn.rollback()
        assert await counted(db, "q") == {}
        await conn.execute("insert into orders values (2)")
        await bound.enqueue("q", {"order": 2})
        await conn.commit()
    assert await counted(db, "q") == {"available": 1}
    assert await totals(db, "q") | {"available": 1, "enqueued": 1} == await totals(db, "q")


def test_the_blocking_twin_does_the_same(dsn: str) -> None:
    with Pgops.open(dsn) as pg:
        id = pg.queue.enqueue("q", {"n": 1})
        assert pg.queue.enqueue_many("q", [{"n": 2}]) == 1
        claim = pg.queue.claim("q", owner=1, token=5, limit=5)
        assert [job.payload["n"] for job in claim.jobs] == [1, 2]
        with psycopg.connect(dsn) as conn:
            assert pg.bind(conn).queue.complete("q", [id], token=5) == [id]
            conn.rollback()
        assert pg.queue.complete("q", [id], token=5) == [id]


async def test_sql_producers_get_the_same_queue(db: AsyncPool, queue: AsyncQueue) -> None:
    await db.execute(b"insert into pgops.job_queue (queue, payload) values ('q', '{\"a\": 1}'), ('q', '{}')")
    row = await db.one(b"select pgops.enqueue('q', '[]', run_at => now() + interval '1 h')")
    assert row is not None
    assert await totals(db, "q") | {"available": 2, "scheduled": 1, "enqueued": 3} == await totals(db, "q")
    assert (await queue.job("q", row[0])).state == "scheduled"
    with pytest.raises(UsageError, match="priority is 1"):
        await db.one(b"select pgops.enqueue('q', '{}', priority => 7)")


@pytest.mark.parametrize(
    ("queue_name", "payload", "options", "message"),
    [
        ("", {}, {}, "1 to 200 bytes"),
        ("q\0", {}, {}, "1 to 200 bytes"),
        ("q" * 201, {}, {}, "1 to 200 bytes"),
        ("q", {"x": float("nan")}, {}, "not JSON"),
        ("q", {"x": object()}, {}, "not JSON"),
        ("q", {"x": "a\0b"}, {}, "NUL"),
        ("q", "x" * 1_000_001, {}, "1,000,000"),
        ("q", {}, {"priority": 5}, "priority is 1"),
        ("q", {}, {"delay_s": -1}, "delay"),
        ("q", {}, {"delay_s": float("nan")}, "delay"),
        ("q", {}, {"max_attempts": 0}, "max_attempts"),
        ("q", {}, {"kind": ""}, "kind"),
    ],
)
async def test_bad_arguments_are_told_and_nothing_is_enqueued(
    db: AsyncPool, queue: AsyncQueue, queue_name: str, payload: object, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        await queue.enqueue(queue_name, payload, **options)  # type: ignore[arg-type]
    assert caught.value.hint
    row = await db.one(b"select (select count(*) from pgops.job_queue), (select count(*) from pgops.queues)")
    assert row == (0, 0)


async def test_one_bad_payload_of_many_enqueues_none(db: AsyncPool, queue: AsyncQueue) -> None:
    with pytest.raises(UsageError):
        await queue.enqueue_many("q", [{}] * 1500 + [{"x": float("inf")}])
    assert await counted(db, "q") == {}


async def test_payloads_come_back_as_they_were(queue: AsyncQueue) -> None:
    payloads = [
        {"t": "tab\t nl\n cr\r back\\slash \\u0000 \\N"},
        ["é", "\U0001f680"],
        "text",
        3.5,
        None,
        True,
        {"a\tb": [1]},
    ]
    await queue.enqueue_many("q", payloads)
    for payload in payloads:
        await queue.enqueue("q", payload)
    claim = await queue.claim("q", owner=1, token=1, limit=99)
    assert [job.payload for job in claim.jobs] == payloads * 2
    assert json.loads(claim.jobs[0].payload_json) == payloads[0]


async def test_an_unknown_queue_or_job_is_not_found_with_near_names(queue: AsyncQueue) -> None:
    await queue.enqueue("email", {})
    with pytest.raises(NotFoundError) as caught:
        await queue.jobs("emial")
    assert "email" in caught.value.hint
    with pytest.raises(NotFoundError, match="no job 99"):
        await queue.job("email", 99)


async def test_a_list_may_leave_large_payloads_out(queue: AsyncQueue) -> None:
    await queue.enqueue("q", {"text": "".join(chr(33 + (n * n * 7919) % 90) for n in range(50_000))})
    await queue.enqueue("q", {"n": 1})
    large, small = await queue.jobs("q", cut_bytes=8_192)
    assert "large payload" in large.payload
    assert small.payload == {"n": 1}
    assert len((await queue.jobs("q"))[0].payload["text"]) == 50_000
    assert len((await queue.job("q", large.id)).payload["text"]) == 50_000
