"""Jobs page by page: each job once, in order, forwards and backwards; what matches, and how far was searched."""

from datetime import UTC, datetime, timedelta

import pytest
from cli_call import caller

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, UsageError
from pgops.services.models import FailedJob, JobMatch, JobPage, JobState
from pgops.services.queue import AsyncQueue
from pgops.sync.services.client import Pgops


async def in_every_state(queue: AsyncQueue) -> dict[JobState, list[int]]:
    """Seven jobs in each state, in the order of their pages."""
    dead = [await queue.enqueue("q", {"n": n}, kind="send", max_attempts=1) for n in range(7)]
    await queue.claim("q", owner=1, token=1, limit=7)
    await queue.fail("q", 1, [FailedJob(id, f"no {id}") for id in dead[:3]])
    await queue.fail("q", 1, [FailedJob(id, f"no {id}") for id in dead[3:]])
    running = [await queue.enqueue("q", {"n": n}) for n in range(7)]
    for _ in range(2):
        await queue.claim("q", owner=1, token=2, limit=4)
    soon = datetime.now(UTC) + timedelta(hours=1)
    late = [await queue.enqueue("q", {"n": n}, run_at=soon + timedelta(seconds=n)) for n in range(2)]
    same = [await queue.enqueue("q", {"n": n}, run_at=soon) for n in range(5)]
    grouped = [await queue.enqueue("q", {"n": n}, group_key="g") for n in range(8)]
    low = [await queue.enqueue("q", {"n": n}, priority=4) for n in range(3)]
    high = [await queue.enqueue("q", {"n": n}, priority=1) for n in range(3)]
    return {
        "running": running, "available": [*high, grouped[0], *low], "scheduled": [late[0], *same, late[1]],
        "waiting": grouped[1:], "dead": [*reversed(dead[3:]), *reversed(dead[:3])],
    }  # fmt: skip


async def walk(queue: AsyncQueue, state: JobState | None, limit: int, match: JobMatch | None = None) -> list[JobPage]:
    """Every page, first to last."""
    pages = [await queue.page("q", state=state, limit=limit, match=match)]
    while (after := pages[-1].next) is not None:
        pages.append(await queue.page("q", state=state, limit=limit, after=after, match=match))
    return pages


def ids(*pages: JobPage) -> list[int]:
    return [job.id for page in pages for job in page.jobs]


async def test_every_job_comes_once_in_order_forwards_and_backwards(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    there = await in_every_state(queue)
    everything = [id for state in there.values() for id in state]
    for state, wanted in ((None, everything), *there.items()):
        for limit in (1, 3, 7, 50):
            pages = await walk(queue, state, limit)
            assert ids(*pages) == wanted, (state, limit)
            assert pages[0].previous is None
            for page in pages:
                again = await queue.page("q", state=state, limit=limit, after=page.after)
                assert again == page
            back = [await queue.page("q", state=state, limit=limit, before="end")]
            assert back[0].next is None
            while (before := back[-1].previous) is not None:
                page = await queue.page("q", state=state, limit=limit, before=before)
                again = await queue.page("q", state=state, limit=len(page.jobs), after=page.after)
                assert ids(again) == ids(page)
                assert page.next is not None
                assert ids(await queue.page("q", state=state, after=page.next, limit=1)) == ids(back[-1])[:1]
                back.append(page)
            assert ids(*reversed(back)) == wanted, (state, limit)
    assert [job.id for job in await queue.jobs("q", limit=99)] == everything


async def test_a_job_of_any_year_has_its_place(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    moments = [datetime(year, 1, 1, 1, 1, 1, 234567, UTC) for year in (1950, 2200, 2300, 9999)]
    for moment in moments:
        for later in (0, 1):
            await queue.enqueue("q", {}, run_at=moment + timedelta(microseconds=later))
    assert ids(*await walk(queue, "scheduled", 1)) == [*range(1, 9)]
    back = await queue.page("q", state="scheduled", limit=3, before="end")
    assert ids(back) == [6, 7, 8]
    assert ids(await queue.page("q", state="scheduled", limit=9, before=back.previous)) == [*range(1, 6)]


async def test_a_page_goes_on_where_the_last_one_ended_while_jobs_come_and_go(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue_many("q", [{"n": n} for n in range(20)])
    first = await queue.page("q", limit=5)
    await queue.claim("q", owner=1, token=1, limit=7)
    await queue.enqueue("q", {"n": 20})
    assert first.next is not None
    second = await queue.page("q", state="available", limit=5, after=first.next)
    assert [job.payload["n"] for job in second.jobs] == [7, 8, 9, 10, 11]
    assert second.previous is not None
    assert (await queue.page("q", state="available", before=second.previous)).jobs == ()


@pytest.mark.parametrize(
    ("match", "found"),
    [
        (JobMatch(kind="send"), [2, 0]),
        (JobMatch(not_kinds=("send",)), [3, 1]),
        (JobMatch(error="HOST b"), [1]),
        (JobMatch(payload={"user": {"id": 42}}), [3, 2]),
        (JobMatch(payload={"user": {"id": 42}}, kind="send"), [2]),
        (JobMatch(words=("HOST", "send")), [2, 0]),
        (JobMatch(words=("ann",)), [0]),
        (JobMatch(words=("host",), not_words=("ann", "bob")), [3, 2]),
        (JobMatch(older_than_s=90), [1, 0]),
        (JobMatch(younger_than_s=90), [3, 2]),
        (JobMatch(kind="nothing"), []),
        (JobMatch(), [3, 2, 1, 0]),
    ],
    ids=str,
)
async def test_what_matches_is_the_same_for_a_page_and_for_an_act(
    db: AsyncPool, match: JobMatch, found: list[int]
) -> None:
    queue = AsyncQueue(db)
    await seed(queue, db)
    page = await queue.page("q", state="dead", match=match)
    assert [job.id for job in page.jobs] == [one + 1 for one in found]
    assert (page.cut, page.next) == (False, None)
    assert await queue.dead_matching("q", match) == [one + 1 for one in reversed(found)]


async def seed(queue: AsyncQueue, db: AsyncPool) -> None:
    """Four dead letters, 1 to 4, the first two of them two minutes old."""
    await queue.enqueue("q", {"name": "ann"}, kind="send", max_attempts=1)
    await queue.enqueue("q", {"name": "bob"}, kind="bill", max_attempts=1)
    await queue.enqueue("q", {"user": {"id": 42, "b": 1}}, kind="send", max_attempts=1)
    await queue.enqueue("q", {"user": {"id": 42}}, kind="bill", max_attempts=1)
    for id, error in enumerate(("no host a", "no host b", "no host c", "no host d"), 1):
        await queue.claim("q", owner=1, token=1, limit=1)
        await queue.fail("q", 1, [FailedJob(id, error)])
    await db.execute(b"update pgops.job_dead set created_at = now() - interval '2 min' where id <= 2")


async def test_a_job_that_has_not_failed_has_no_error_to_match(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue("q", {})
    assert (await queue.page("q", match=JobMatch(error="x"))).jobs == ()
    assert len((await queue.page("q", match=JobMatch(not_words=("x",)))).jobs) == 1


async def test_a_search_stops_at_its_bound_says_so_and_goes_on_from_there(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    for kind in ("common", "rare"):
        await queue.enqueue_many("q", [{"n": n} for n in range(1_000)], kind="common")
        await queue.enqueue("q", {}, kind=kind)
    rare = JobMatch(kind="rare")
    first = await queue.page("q", match=rare, scan=1_500)
    assert (first.jobs, first.cut, first.searched) == ((), True, 1_500)
    assert first.next is not None
    second = await queue.page("q", match=rare, scan=1_500, after=first.next)
    assert ([job.kind for job in second.jobs], second.cut, second.next) == (["rare"], False, None)
    back = await queue.page("q", match=JobMatch(not_kinds=("rare",)), before="end", limit=3)
    assert [job.payload["n"] for job in back.jobs] == [997, 998, 999]
    assert ids(await queue.page("q", match=rare, before="end", scan=5)) == ids(second)
    found = await walk(queue, None, 100, JobMatch(kind="common"))
    assert len(ids(*found)) == len(set(ids(*found))) == 2_001
    few = await queue.page("q", match=JobMatch(kind="common"), limit=3, scan=2)
    assert (len(few.jobs), few.cut, few.searched) == (2, True, 2)


async def test_an_id_is_looked_up_however_many_jobs_there_are(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue_many("q", [{"n": n} for n in range(100)])
    (job,) = (await queue.page("q", match=JobMatch(id=77), scan=1)).jobs
    assert (job.id, job.payload) == (77, {"n": 76})
    assert (await queue.page("q", match=JobMatch(id=77), state="dead")).jobs == ()
    assert (await queue.page("q", match=JobMatch(id=777))).jobs == ()


@pytest.mark.parametrize("cursor", ["", "x", "available", "available,1", "available,1,x", "gone,1,2", "dead,1,2,3",
                                    "available,1,9223372036854775808", "available,-9,1"])  # fmt: skip
async def test_what_is_no_cursor_is_refused(db: AsyncPool, cursor: str) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue("q", {})
    with pytest.raises(UsageError, match="is no place among jobs"):
        await queue.page("q", after=cursor)


async def test_what_cannot_be_asked_is_refused(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue("q", {})
    with pytest.raises(UsageError, match="after one place or before one"):
        await queue.page("q", after="available,1,1", before="end")
    with pytest.raises(UsageError, match="among available jobs, not dead ones"):
        await queue.page("q", after="available,1,1", state="dead")
    with pytest.raises(UsageError, match="looked up alone"):
        await queue.page("q", match=JobMatch(id=1, kind="send"))
    with pytest.raises(UsageError, match="an age is"):
        await queue.page("q", match=JobMatch(older_than_s=-1))
    with pytest.raises(UsageError, match="NUL"):
        await queue.page("q", match=JobMatch(words=("a\0",)))
    with pytest.raises(UsageError, match="at least 1 job"):
        await queue.page("q", limit=0)
    with pytest.raises(UsageError, match="looks at 1 to 1,000,000"):
        await queue.page("q", scan=0)
    with pytest.raises(NotFoundError, match="no queue 'nope'"):
        await queue.page("nope")


def test_the_command_turns_pages_and_searches(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Pgops.open(dsn) as pg:
        pg.queue.enqueue_many("email", [{"n": n, "user": {"id": n}} for n in range(7)], kind="send")
        pg.queue.enqueue("email", {"n": 7}, kind="ping")
    monkeypatch.setenv("PGOPS_DSN", dsn)
    command = caller(monkeypatch, capsys)

    def seen(*more: str) -> tuple[list[int], dict[str, object]]:
        document = command("queue", "jobs", "email", "--json", *more).document
        return [one["payload"]["n"] for one in document["items"]], document

    first, document = seen("--limit", "3")
    assert (first, document["previous"]) == ([0, 1, 2], None)
    second, document = seen("--limit", "3", "--after", str(document["next"]))
    assert second == [3, 4, 5]
    assert seen("--limit", "3", "--before", str(document["previous"]))[0] == [0, 1, 2]
    assert seen("--limit", "2", "--before", "end")[0] == [6, 7]
    told = command("queue", "jobs", "email", "--limit", "3")
    assert "more: the same with --after available,2,3" in told.err
    assert seen("--kind", "ping")[0] == [7]
    assert seen("--not-kind", "send", "--not-kind", "x")[0] == [7]
    assert seen("--payload", '{"user": {"id": 4}}')[0] == [4]
    assert seen("--older-than", "1h")[0] == []
    assert len(seen("--younger-than", "1h")[0]) == 8
    assert seen("--word", "PING")[0] == [7]
    nothing, document = seen("--kind", "ping", "--scan", "5")
    assert (nothing, document["searched"], document["cut"]) == ([], 5, True)
    told = command("queue", "jobs", "email", "--kind", "ping", "--scan", "5")
    assert "searched 5 jobs" in told.err
    assert command("queue", "jobs", "email", "--after", "x").code == 2
