"""The queue through a real PgBouncer in transaction mode: a worker with all that it does, producers of every kind, and
nothing of theirs in the sessions that the pool's next client gets."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from pgbouncer import pgbouncer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from test_pooler import leftovers
from test_worker import until, working
from test_worker_features import ended, in_state

from pgops import AsyncPgops, Pgops, Registry, Retry, RunningJob, Snooze
from pgops.runtime.worker import Worker
from pgops.services.models import NewJob
from pgops.services.queue import AsyncQueue

SESSIONS = 3


@pytest.fixture(scope="module")
def narrow(server_dsn: str) -> Iterator[str]:
    """A pooler with fewer sessions than a worker has connections, so that they share each of them."""
    with pgbouncer(server_dsn, size=SESSIONS) as dsn:
        yield dsn


@pytest.fixture
async def narrow_dsn(narrow: str, dsn: str) -> AsyncIterator[str]:
    """The fresh database through it; nothing may be left in its sessions after the test."""
    pooled = make_conninfo(narrow, dbname=conninfo_to_dict(dsn)["dbname"])
    yield pooled
    left = await leftovers(pooled, SESSIONS)
    assert list(left.values()) == [[]] * SESSIONS


@asynccontextmanager
async def at_work(
    pooled: str, registry: Registry, *, direct_dsn: str | None = None, concurrency: int = 4
) -> AsyncIterator[tuple[AsyncPgops, Worker]]:
    """The services and a worker of the queue `q`, each with connections of its own."""
    async with AsyncPgops.open(pooled) as pg, AsyncPgops.open(pooled) as own:
        worker = Worker(own.db, registry, ["q"], concurrency=concurrency, direct_dsn=direct_dsn)
        async with working(worker):
            yield pg, worker


async def test_jobs_of_every_producer_are_run(narrow_dsn: str, dsn: str) -> None:
    registry, ran = Registry(), []

    @registry.job()
    async def work(job: RunningJob) -> None:
        ran.append(job.payload)

    async with at_work(narrow_dsn, registry) as (pg, _):
        for n in range(8):  # more often than psycopg runs a statement before it prepares it
            await pg.queue.enqueue("q", n)
        await pg.queue.enqueue("q", 10, delay_s=0.3, headers={"a": 1})
        await pg.queue.enqueue_many("q", list(range(20, 40)))
        await pg.queue.enqueue_jobs("q", [NewJob(40, group_key="g"), NewJob(41, unique_key="u")])
        async with await psycopg.AsyncConnection.connect(narrow_dsn, prepare_threshold=None) as conn:
            mine = pg.bind(conn).queue
            await mine.enqueue("q", 50, hint=True)
            await mine.enqueue_many("q", [51])
            await conn.execute("insert into pgops.job_queue (queue, payload) values ('q', '52')")
            await conn.execute("select pgops.enqueue('q', '53')")
            await conn.commit()
            await mine.enqueue("q", -1)
            await conn.rollback()

        def blocking() -> None:
            with Pgops.open(narrow_dsn) as twin, psycopg.connect(narrow_dsn, prepare_threshold=None) as conn:
                twin.queue.enqueue("q", 60)
                twin.queue.enqueue_many("q", [61])
                twin.bind(conn).queue.enqueue("q", 62)

        await asyncio.to_thread(blocking)
        wanted = [*range(8), 10, *range(20, 42), *range(50, 54), *range(60, 63)]
        await until(lambda: sorted(ran) == wanted)


async def test_whatever_becomes_of_a_job(narrow_dsn: str) -> None:
    registry, tries = Registry(), []

    @registry.job("fails")
    def fails(job: RunningJob) -> None:
        raise RuntimeError("boom")

    @registry.job("twice")
    async def twice(job: RunningJob) -> None:
        if job.attempt == 1:
            raise Retry(0.01)

    @registry.job("snoozes")
    async def snoozes(job: RunningJob) -> None:
        tries.append(job.attempt)
        if len(tries) == 1:
            raise Snooze(0.01)

    @registry.job("waits")
    async def waits(job: RunningJob) -> None:
        job.progress({"half": 0.5})
        await asyncio.sleep(60)

    @registry.job("both")
    async def both(job: RunningJob) -> None:
        async with job.connection() as conn:
            await conn.execute("insert into effect values (%s)", [job.id])
            await job.complete(conn, result="done")

    @registry.job("neither")
    async def neither(job: RunningJob) -> None:
        async with job.connection() as conn:
            await conn.execute("insert into effect values (%s)", [job.id])
            await job.complete(conn)
            raise RuntimeError("at the last moment")

    async with at_work(narrow_dsn, registry) as (pg, worker):
        await pg.db.execute(b"create table effect (job bigint)")
        await pg.queue.configure("q", history="all")
        ids = {kind: await pg.queue.enqueue("q", {}, kind=kind, max_attempts=2) for kind in registry.kinds}

        async def seen() -> bool:
            return (await in_state(pg.queue, ids["waits"], "running")).progress == {"half": 0.5}

        await until(seen)
        assert (await pg.queue.cancel("q", [ids["waits"]], reason="enough")).requested == 1
        past = {kind: await ended(pg.queue, ids[kind]) for kind in ("waits", "both", "twice", "snoozes")}
        assert {kind: (job.outcome, job.attempt) for kind, job in past.items()} == {
            "waits": ("cancelled", 1), "both": ("completed", 1), "twice": ("completed", 2), "snoozes": ("completed", 1),
        }  # fmt: skip
        assert past["both"].result == "done"
        for kind in ("fails", "neither"):
            assert (await in_state(pg.queue, ids[kind], "dead")).attempt == 2
        assert await pg.db.all(b"select job from effect") == [(ids["both"],)]
        assert await pg.queue.requeue_dead("q", [ids["fails"]]) == 1
        await in_state(pg.queue, ids["fails"], "dead")
        assert worker.stats.stale == 0


async def test_groups_keys_limits_priorities_and_pauses(narrow_dsn: str) -> None:
    registry, order, at_once, most = Registry(), [], 0, 0

    @registry.job()
    async def work(job: RunningJob) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if job.group_key:
            order.append(job.payload)
        await asyncio.sleep(0.01)
        at_once -= 1

    async with at_work(narrow_dsn, registry, concurrency=8) as (pg, worker):
        queue = pg.queue
        await queue.configure("q", durability="relaxed", aging_s=1)
        await queue.limit("q", max_running=2)
        await queue.pause("q")
        first = await queue.enqueue("q", -1, unique_key="u")
        assert await queue.enqueue("q", -2, unique_key="u") == first
        for n in range(15):
            await queue.enqueue("q", n, group_key="g", priority=1 + n % 4)
        await queue.enqueue_many("q", [100] * 15)
        await asyncio.sleep(0.5)
        assert worker.stats.claimed == 0
        await queue.resume("q")
        await until(lambda: worker.stats.completed == 31)
        assert order == list(range(15))
        assert most == 2
        assert await queue.enqueue("q", -3, unique_key="u") != first


async def test_long_jobs_keep_their_leases_and_lost_ones_come_back(narrow_dsn: str) -> None:
    registry = Registry()

    @registry.job()
    async def long(job: RunningJob) -> None:
        await asyncio.sleep(2.5 if job.attempt == 1 else 0)

    async with at_work(narrow_dsn, registry) as (pg, worker):
        await pg.queue.configure("q", lease_s=1)
        long_one = await pg.queue.enqueue("q", {})
        await in_state(pg.queue, long_one, "running")
        async with pg.db.transaction() as tx:
            theirs = AsyncQueue(tx, own=True)
            await theirs.enqueue("q", {})
            assert len((await theirs.claim("q", owner=10**9, token=1, limit=5)).jobs) == 1
            await tx.execute(
                b"insert into pgops.workers (id, host, pid, queues, concurrency, lease, heartbeat_at) "
                b"values (1000000000, 'x', 1, '{q}', 1, '1 s', statement_timestamp() - interval '1 min')"
            )
        await until(lambda: worker.stats.completed == 2)
        assert worker.stats.stale == 0


async def test_what_a_registry_declares_recurs(narrow_dsn: str) -> None:
    registry, ticks = Registry(), []

    @registry.cron("* * * * * *", queue="q", overlap=True)
    async def every_second(job: RunningJob) -> None:
        ticks.append(job.headers["tick"])

    async with at_work(narrow_dsn, registry):
        await until(lambda: len(ticks) >= 3)
    assert len(set(ticks)) == len(ticks)


async def test_late_commits_below_the_floor_are_found(narrow_dsn: str) -> None:
    registry, ran = Registry(), []

    @registry.job()
    async def work(job: RunningJob) -> None:
        ran.append(job.id)

    async with at_work(narrow_dsn, registry) as (pg, _):
        await pg.queue.configure("q")
        async with pg.db.transaction() as late:
            hidden = await AsyncQueue(late).enqueue("q", {})
            for _ in range(25):
                await pg.queue.enqueue("q", {})
                await asyncio.sleep(0.1)
            await until(lambda: len(ran) == 25)
        await until(lambda: hidden in ran)


async def test_hints_come_around_the_pooler_and_their_absence_is_said_once(
    narrow_dsn: str, dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Polling is turned off, so that only a hint can bring the job in time."""
    registry, ran = Registry(), []

    @registry.job()
    async def work(job: RunningJob) -> None:
        ran.append(job.id)

    with caplog.at_level(logging.INFO, "pgops.worker"):
        async with at_work(narrow_dsn, registry) as (pg, worker):
            await pg.queue.enqueue("q", {})
            await until(lambda: len(ran) == 1)
            await asyncio.sleep(1.2)
            assert not worker._hints.wanted
    said = [record.getMessage() for record in caplog.records if "pooler" in record.getMessage()]
    assert len(said) == 1
    assert "direct DSN" in said[0]
    monkeypatch.setattr("pgops.runtime.feed.POLL_MAX_S", 30.0)
    monkeypatch.setattr("pgops.runtime.feed.POLL_MIN_S", 30.0)
    async with at_work(narrow_dsn, registry, direct_dsn=dsn) as (pg, worker):

        async def asks() -> bool:
            row = await pg.db.one(b"select count(*) from pgops.queues where hints_until > statement_timestamp()")
            return worker._feed.waiting and row == (1,)

        await until(asks)
        for n in range(2, 5):
            await pg.queue.enqueue("q", {})
            await until(lambda n=n: len(ran) == n, 2)  # type: ignore[misc]
            await asyncio.sleep(0.05)
        async with await psycopg.AsyncConnection.connect(narrow_dsn, prepare_threshold=None) as conn:
            await pg.bind(conn).queue.enqueue("q", {}, hint=True)
        await until(lambda: len(ran) == 5, 2)
        worker._feed._heard.set()


@pytest.mark.slow
@pytest.mark.parametrize("direct", [False, True])
def test_the_command_works_through_it(narrow: str, dsn: str, direct: bool) -> None:
    pooled = make_conninfo(narrow, dbname=conninfo_to_dict(dsn)["dbname"])
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("create table ran (job bigint, pid int, at timestamptz default clock_timestamp())")
        command = [sys.executable, "-m", "pgops", "queue", "work", "worker_jobs:registry", "-q", "q", "--json"]
        env = {name: value for name, value in os.environ.items() if name != "PGOPS_DIRECT_DSN"} | {"PGOPS_DSN": pooled}
        with subprocess.Popen(
            [*command, *(["--direct-dsn", dsn] if direct else [])], env=env, text=True, cwd=Path(__file__).parent,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                wanted = 0
                for kind in ("note", "block", "effect") * 20:
                    wanted += 1
                    add = [sys.executable, "-m", "pgops", "queue", "enqueue", "q", "{}", "--kind", kind]
                    if wanted <= 3:
                        subprocess.run(add, env=env, check=True, capture_output=True)
                    else:
                        conn.execute("select pgops.enqueue('q', '{}', kind => %s)", [kind])
                deadline = time.monotonic() + 20
                while conn.execute("select count(*) from ran").fetchone() != (wanted,):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            finally:
                process.send_signal(signal.SIGTERM)
                said, talk = process.communicate(timeout=20)
        assert process.returncode == 0
        document = json.loads(said)
        assert (document["completed"], document["stale"], document["dead"]) == (wanted, 0, 0)
        assert talk.count("through a pooler") == (0 if direct else 1)
        assert "Traceback" not in talk
        assert conn.execute("select count(*) from pgops.job_queue").fetchone() == (0,)
    assert list(asyncio.run(leftovers(pooled, SESSIONS)).values()) == [[]] * SESSIONS
