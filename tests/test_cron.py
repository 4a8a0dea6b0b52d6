"""Recurring jobs: each tick once however many look, nobody waited for, and what an operator or a declaration says."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic

import psycopg
import pytest
from test_worker import scalar, until, working

from pgops import Pgops, Registry
from pgops.database import AsyncBound, AsyncPool
from pgops.errors import ConflictError, NotFoundError, PgopsError, UsageError
from pgops.runtime.job import RunningJob
from pgops.runtime.maintenance import Maintenance
from pgops.runtime.worker import Worker
from pgops.services.client import AsyncPgops
from pgops.services.cron import AsyncCron
from pgops.services.models import Ticked
from pgops.services.queue import AsyncQueue

NEVER_SOON = "0 0 1 1 *"


@pytest.fixture
def cron(db: AsyncPool) -> AsyncCron:
    return AsyncQueue(db).cron


async def make_due(db: AsyncPool, seconds_ago: float = 0.0, name: str | None = None) -> None:
    """Let an entry, or all, be due since then."""
    await db.execute(
        b"update pgops.cron set next_at = date_trunc('second', statement_timestamp()) - make_interval(secs => %s)"
        b" where %s::text is null or name = %s",
        [seconds_ago, name, name],
    )


async def made(db: AsyncPool) -> list[dict[str, object]]:
    """The headers of all jobs, in order."""
    rows = await db.all(b"select headers::text from pgops.job_available order by seq")
    return [json.loads(row[0]) for row in rows]


# --- each tick once --------------------------------------------------------------------------------------------


async def test_a_hundred_entries_and_thirty_lookers_each_tick_once(db: AsyncPool, cron: AsyncCron, dsn: str) -> None:
    for number in range(100):
        await cron.add(f"n{number}", NEVER_SOON, "q", {"n": number}, overlap=True, missed="once")
    await make_due(db)
    async with AsyncPool.open(dsn, max_size=30) as many:

        async def look(start: asyncio.Event) -> Ticked:
            async with many.session() as session:
                await start.wait()
                return await AsyncCron(session).tick()

        start = asyncio.Event()
        looks = [asyncio.create_task(look(start)) for _ in range(30)]
        await asyncio.sleep(0.3)
        start.set()
        found = await asyncio.gather(*looks)
    assert sum(each.jobs for each in found) == 100
    assert sum(bool(each.jobs) for each in found) > 1, "or nobody raced"
    assert Counter(str(job["cron"]) for job in await made(db)) == {f"n{number}": 1 for number in range(100)}
    assert await scalar(db, b"select count(*) from pgops.cron where ticks = 1 and last_id is not null") == 100


async def test_every_second_of_three_is_ticked_once_by_ten_lookers(db: AsyncPool, cron: AsyncCron, dsn: str) -> None:
    for name in ("a", "b"):
        await cron.add(name, "* * * * * *", "q", overlap=True)
    end = monotonic() + 3.2

    async def look(pool: AsyncPool) -> None:
        while monotonic() < end:
            await AsyncCron(pool).tick()
            await asyncio.sleep(0.01)

    async with AsyncPool.open(dsn, max_size=10) as many:
        await asyncio.gather(*(look(many) for _ in range(10)))
    for name in ("a", "b"):
        ticks = [datetime.fromisoformat(str(job["tick"])) for job in await made(db) if job["cron"] == name]
        assert len(ticks) >= 3
        assert ticks == [ticks[0] + timedelta(seconds=second) for second in range(len(ticks))]


async def test_a_tick_s_job_is_the_entry_s_and_says_what_it_stands_for(db: AsyncPool, cron: AsyncCron) -> None:
    await cron.add("n", NEVER_SOON, "email", {"to": "a"}, kind="report", priority=1, timezone="Europe/Berlin")
    await make_due(db, 20)
    row = await db.one(b"select next_at from pgops.cron")
    assert row is not None
    assert await cron.tick() == Ticked(1, 0, ())
    (job,) = await AsyncQueue(db).jobs("email")
    assert (job.kind, job.priority, job.payload, job.unique_key) == ("report", 1, {"to": "a"}, "cron n")
    assert await made(db) == [{"cron": "n", "tick": row[0].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}]
    entry = await cron.get("n")
    assert (entry.last_id, entry.ticks, entry.skipped) == (job.id, 1, 0)
    assert entry.next_at is not None
    assert entry.next_at > row[0]
    assert await cron.tick() == Ticked(0, 0, ())


async def test_a_looker_that_dies_between_leaves_the_tick_to_the_next(db: AsyncPool, cron: AsyncCron, dsn: str) -> None:
    await cron.add("n", NEVER_SOON, "q", missed="once")
    await make_due(db)
    dying = await psycopg.AsyncConnection.connect(dsn)
    assert (await AsyncCron(AsyncBound(dying)).tick()).jobs == 1, "in a transaction that is never committed"
    began = monotonic()
    assert await cron.tick() == Ticked(0, 0, ()), "it is somebody's"
    assert monotonic() - began < 1, "and he is not waited for"
    await db.execute(b"select pg_terminate_backend(%s)", [dying.info.backend_pid])

    async def taken() -> bool:
        return (await cron.tick()).jobs == 1

    await until(taken)
    await dying.close()
    assert len(await made(db)) == 1
    assert (await cron.get("n")).ticks == 1


async def test_a_producer_s_open_transaction_with_the_same_key_delays_nobody_else(
    db: AsyncPool, cron: AsyncCron, dsn: str
) -> None:
    await AsyncQueue(db).configure("q")
    for name in ("a", "b"):
        await cron.add(name, NEVER_SOON, "q", missed="once")
    await make_due(db, 1, "a")
    await make_due(db, 0, "b")
    async with await psycopg.AsyncConnection.connect(dsn) as open:
        await open.execute("select pgops.enqueue('q', '{}', unique_key => 'cron a')")
        began = monotonic()
        ticked = await cron.tick()
        assert monotonic() - began < 2
        assert (ticked.jobs, [name for name, _ in ticked.broken]) == (1, ["a"])
        await open.rollback()
    assert await cron.tick() == Ticked(1, 0, ())


async def test_an_entry_that_cannot_be_served_keeps_none_from_it(
    db: AsyncPool, cron: AsyncCron, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b", "c"):
        await cron.add(name, NEVER_SOON, "q", missed="once")
    await make_due(db, 9)
    await db.execute(b"update pgops.cron set expression = 'by hand' where name = 'a'")
    await db.execute(b"update pgops.cron set timezone = 'Mars/Olympus' where name = 'b'")
    duties = Maintenance(db, ["other"])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await duties.tick(AsyncQueue(db))
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(" does")[0] for line in said] == ["recurring job a", "recurring job b"], (
        "once, not each time"
    )
    assert [job["cron"] for job in await made(db)] == ["c"]


# --- late, and too early ---------------------------------------------------------------------------------------


async def test_missed_ticks_are_passed_over_and_counted(db: AsyncPool, cron: AsyncCron) -> None:
    await cron.add("yearly", NEVER_SOON, "q")
    await make_due(db, 600)
    assert await cron.tick() == Ticked(0, 1, ())
    entry = await cron.get("yearly")
    assert (entry.ticks, entry.skipped, entry.last_at) == (0, 1, None)
    assert await made(db) == []


async def test_missed_ticks_become_one_job(db: AsyncPool, cron: AsyncCron) -> None:
    await cron.add("minutely", "* * * * *", "q", missed="once", overlap=True)
    await make_due(db, 600)
    ticked = await cron.tick()
    assert (ticked.jobs, ticked.skipped) in ((1, 10), (1, 9))
    (job,) = await made(db)
    assert job["missed"] == ticked.skipped
    age = datetime.now(UTC) - datetime.fromisoformat(str(job["tick"]))
    assert age < timedelta(seconds=62), "the last that was due"


async def test_a_tick_adds_no_job_while_the_one_before_is_not_done(db: AsyncPool, cron: AsyncCron) -> None:
    queue = AsyncQueue(db)
    await cron.add("n", NEVER_SOON, "q", missed="once")

    async def tick() -> tuple[int, int]:
        await make_due(db)
        ticked = await cron.tick()
        return ticked.jobs, ticked.skipped

    assert await tick() == (1, 0)
    assert await tick() == (0, 1), "it waits"
    claim = await queue.claim("q", owner=1, token=7, limit=1)
    assert await tick() == (0, 1), "it runs"
    await queue.complete("q", [claim.jobs[0].id], 7)
    assert await tick() == (1, 0)
    entry = await cron.get("n")
    assert (entry.ticks, entry.skipped) == (2, 2)
    await cron.add("n", NEVER_SOON, "q", missed="once", overlap=True)
    assert await tick() == (1, 0)
    assert await tick() == (1, 0)


# --- what an operator does -------------------------------------------------------------------------------------


async def test_paused_it_does_not_tick_and_resumed_it_does_not_catch_up(db: AsyncPool, cron: AsyncCron) -> None:
    await cron.add("n", "0 * * * *", "q", missed="once")
    await cron.pause("n")
    await make_due(db, 7200)
    assert await cron.tick() == Ticked(0, 0, ())
    paused = await cron.get("n")
    assert (paused.paused, paused.next_at) == (True, None)
    await cron.resume("n")
    assert await cron.tick() == Ticked(0, 0, ())
    entry = await cron.get("n")
    assert (entry.paused, entry.ticks, entry.skipped) == (False, 0, 0)
    assert entry.next_at is not None
    assert timedelta(0) < entry.next_at - datetime.now(UTC) < timedelta(hours=1, minutes=1)


async def test_resuming_what_is_not_paused_takes_no_tick_from_it(db: AsyncPool, cron: AsyncCron) -> None:
    await cron.add("n", NEVER_SOON, "q", missed="once")
    await make_due(db)
    await cron.resume("n")
    assert (await cron.tick()).jobs == 1


async def test_replacing_keeps_pause_counts_and_a_tick_that_is_due(db: AsyncPool, cron: AsyncCron) -> None:
    first = await cron.add("n", "0 3 * * *", "q", missed="once")
    await make_due(db)
    again = await cron.add("n", "0 3 * * *", "other", {"new": True}, kind="k", missed="once")
    assert (again.queue, again.kind, again.payload) == ("other", "k", {"new": True})
    assert (await cron.tick()).jobs == 1, "a deployment at three loses nothing"
    await cron.pause("n")
    moved = await cron.add("n", "0 4 * * *", "other")
    assert (moved.paused, moved.ticks, moved.created_at) == (True, 1, first.created_at)
    await cron.resume("n")
    entry = await cron.get("n")
    assert entry.next_at is not None
    assert entry.next_at.astimezone(UTC).hour == 4
    with pytest.raises(ConflictError, match="already"):
        await cron.add("n", "* * * * *", "q", replace=False)
    assert (await cron.get("n")).expression == "0 4 * * *"
    assert (await cron.add("m", "* * * * *", "q", replace=False)).name == "m"


async def test_another_timetable_makes_another_next_tick(db: AsyncPool, cron: AsyncCron) -> None:
    before = await cron.add("n", "0 3 * * *", "q", timezone="UTC")
    after = await cron.add("n", "0 3 * * *", "q", timezone="Europe/Berlin")
    assert before.next_at is not None
    assert after.next_at is not None
    assert after.next_at.astimezone(UTC).hour in (1, 2)


@pytest.mark.parametrize(
    "given",
    [{"expression": "0 0 30 2 *"}, {"expression": "nightly"}, {"timezone": "Europe/Berln"}, {"queue": ""},
     {"payload": float("nan")}, {"missed": "sometimes"}, {"name": "x" * 201}, {"payload": [1e300] * 10_000}],
)  # fmt: skip
async def test_of_bad_input_nothing_is_stored(db: AsyncPool, cron: AsyncCron, given: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        await cron.add(**({"name": "n", "expression": "* * * * *", "queue": "q"} | given))  # type: ignore[arg-type]
    assert await cron.list() == ()


async def test_an_entry_that_is_not_there_is_told_with_near_names(cron: AsyncCron) -> None:
    await cron.add("nightly", "@daily", "q")
    for act in (cron.remove, cron.pause, cron.resume, cron.run_now, cron.get):
        with pytest.raises(NotFoundError) as unknown:
            await act("nihgtly")
        assert "nightly" in unknown.value.hint
    await cron.remove("nightly")
    assert await cron.list() == ()


async def test_run_by_hand_beside_the_timetable_also_while_paused(db: AsyncPool, cron: AsyncCron) -> None:
    before = await cron.add("n", NEVER_SOON, "q")
    await cron.pause("n")
    first = await cron.run_now("n")
    assert not first.existing
    again = await cron.run_now("n")
    assert (again.existing, again.id) == (True, first.id)
    (job,) = await made(db)
    assert (job["cron"], job["by_hand"]) == ("n", True)
    entry = await cron.get("n")
    assert (entry.last_id, entry.ticks) == (first.id, 0)
    assert entry.last_at is not None
    await cron.resume("n")
    assert (await cron.get("n")).next_at == before.next_at


async def test_the_next_runs_stand_in_their_time_zone(cron: AsyncCron) -> None:
    runs = await cron.next_runs("0 3 * * *", "Europe/Berlin", 3)
    assert [run.strftime("%H:%M") for run in runs] == ["03:00"] * 3
    assert runs[0] > datetime.now(UTC)
    assert len({run.date() for run in runs}) == 3
    for count in (0, 1_001):
        with pytest.raises(UsageError):
            await cron.next_runs("* * * * *", count=count)


async def test_in_the_caller_s_transaction_it_is_his(db: AsyncPool, cron: AsyncCron, dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg, await psycopg.AsyncConnection.connect(dsn) as conn:
        mine = pg.bind(conn).queue.cron
        await mine.add("n", "* * * * *", "q")
        await mine.pause("n")
        await mine.resume("n")
        await conn.rollback()
        assert await cron.list() == ()
        await mine.add("n", "* * * * *", "q")
        await conn.commit()
        assert [entry.name for entry in await cron.list()] == ["n"]


def test_the_blocking_twin_does_the_same(dsn: str) -> None:
    with Pgops.open(dsn) as pg:
        entry = pg.queue.cron.add("n", "* * * * * *", "q", {"a": 1}, timezone="Asia/Tokyo")
        assert entry.next_at is not None
        end = monotonic() + 5
        while not pg.queue.cron.tick().jobs:
            assert monotonic() < end
        pg.queue.cron.pause("n")
        assert [one.ticks for one in pg.queue.cron.list()] == [1]
        pg.queue.cron.resume("n")
        assert pg.queue.cron.run_now("n").existing
        pg.queue.cron.remove("n")
        assert pg.queue.cron.list() == ()


# --- workers ---------------------------------------------------------------------------------------------------


async def test_a_worker_runs_what_a_registry_declares_every_second(db: AsyncPool, cron: AsyncCron) -> None:
    registry, ran = Registry(), list[str]()

    @registry.cron("* * * * * *", queue="beat", name="heart", payload={"n": 7})
    async def beat(job: RunningJob) -> None:
        assert job.payload == {"n": 7}
        ran.append(str(job.headers["tick"]))

    async with working(Worker(db, registry, ["beat"])), working(Worker(db, registry, ["beat", "other"])):
        await until(lambda: len(ran) >= 3, 10)
        assert ran == sorted(set(ran))
        await cron.pause("heart")
    (entry,) = await cron.list()
    assert (entry.kind, entry.paused) == ("beat", True)
    async with working(Worker(db, registry, ["beat"])):
        await asyncio.sleep(0.5)
    assert (await cron.get("heart")).paused, "what an operator did stays"


async def test_a_worker_of_another_queue_ticks_too(db: AsyncPool, cron: AsyncCron) -> None:
    await cron.add("n", "* * * * * *", "nobody works here")
    async with working(Worker(db, Registry(), ["q"])):

        async def has_a_job() -> bool:
            return len(await made(db)) == 1

        await until(has_a_job, 5)


async def test_a_worker_behind_a_pooler_ticks(pooled_dsn: str) -> None:
    async with AsyncPool.open(pooled_dsn) as db:
        await AsyncCron(db).add("n", "* * * * * *", "other")
        async with working(Worker(db, Registry(), ["q"])):

            async def has_a_job() -> bool:
                return len(await made(db)) == 1

            await until(has_a_job, 5)


def test_a_declaration_is_checked_where_it_stands() -> None:
    registry = Registry()

    @registry.cron("@daily", queue="q", kind="report")
    @registry.job("report", timeout_s=5)
    def report(job: RunningJob) -> None: ...

    handler = registry.get("report")
    assert handler is not None
    assert handler.timeout_s == 5
    bad: Sequence[dict[str, str]] = ({"expression": "nightly"}, {"timezone": "Mars"}, {"queue": ""}, {"name": "report"})
    for given in bad:
        with pytest.raises(PgopsError):
            registry.cron(**({"expression": "@daily", "queue": "q"} | given))(report)  # type: ignore[arg-type]
    assert [entry.name for entry in registry.crons] == ["report"]
