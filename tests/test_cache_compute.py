"""get_or_compute: one computes for all, in the process and across processes, and nobody waits for the dead for long."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import PgopsError, SchemaError, UnreachableError, UsageError
from pgops.services.cache import AsyncCache
from pgops.services.cache_rules import Seen
from pgops.services.client import AsyncPgops
from pgops.sync.database import Pool
from pgops.sync.services.cache import Cache

PROCESS = Path(__file__).parent / "cache_process.py"


@pytest.fixture
def cache(db: AsyncPool) -> AsyncCache:
    return AsyncCache(db)


class Counting:
    """Computes b"1", b"2", …, each after `seconds`; counts how often it was asked, and how often it was cut off."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.asked = self.cut = 0

    async def __call__(self) -> bytes:
        self.asked += 1
        value = b"%d" % self.asked
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cut += 1
            raise
        return value


async def counted(cache: AsyncCache) -> tuple[int, int, int]:
    """Hits, misses and sets so far."""
    stats = await cache.stats()
    return stats.hits, stats.misses, stats.sets


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so, for ten seconds at most."""
    end = monotonic() + 10
    while not await true():
        assert monotonic() < end, "never came true"
        await asyncio.sleep(0.01)


# --- in the process ----------------------------------------------------------------------------------------------


async def test_what_is_missing_is_computed_and_kept(cache: AsyncCache, db: AsyncPool) -> None:
    compute = Counting()
    assert await cache.get_or_compute("k", compute, ttl_s=60, namespace="n") == b"1"
    assert await cache.get_or_compute("k", compute, ttl_s=60, namespace="n") == b"1"
    assert await cache.get("k", namespace="n") == b"1"
    assert await cache.get_or_compute("k", compute) == b"2", "another namespace"
    assert compute.asked == 2
    rows = await db.all(b"select namespace, expires_at is null, compute_s >= 0 from pgops.cache_store order by 1")
    assert rows == [("default", True, True), ("n", False, True)]
    assert await counted(cache) == (2, 2, 2)


async def test_an_empty_value_is_a_value(cache: AsyncCache) -> None:
    async def empty() -> bytes:
        return b""

    async def never() -> bytes:
        raise AssertionError("it was there")

    assert await cache.get_or_compute("k", empty) == b""
    assert await cache.get_or_compute("k", never) == b""


async def test_two_hundred_at_once_compute_once(cache: AsyncCache) -> None:
    compute = Counting(0.1)
    values = await asyncio.gather(*(cache.get_or_compute("k", compute, ttl_s=60) for _ in range(200)))
    assert set(values) == {b"1"}
    assert compute.asked == 1
    hits, misses, sets = await counted(cache)
    assert (hits + misses, sets) == (200, 1)


async def test_two_hundred_at_once_compute_once_also_what_takes_no_time(cache: AsyncCache) -> None:
    compute = Counting()
    values = await asyncio.gather(*(cache.get_or_compute("k", compute, ttl_s=60) for _ in range(200)))
    assert (set(values), compute.asked) == ({b"1"}, 1)


def test_two_hundred_threads_compute_once(dsn: str) -> None:
    computed = []

    def compute() -> bytes:
        computed.append(threading.get_ident())
        time.sleep(0.2)
        return b"x"

    with Pool.open(dsn) as db, ThreadPoolExecutor(200) as threads:
        cache = Cache(db)
        jobs = [threads.submit(cache.get_or_compute, "k", compute, ttl_s=60) for _ in range(200)]
        assert {job.result() for job in jobs} == {b"x"}
        assert len(computed) == 1
        stats = cache.stats()
        assert (stats.hits + stats.misses, stats.sets) == (200, 1)


async def test_different_keys_do_not_wait_for_each_other(cache: AsyncCache) -> None:
    compute = Counting(0.3)
    began = monotonic()
    await asyncio.gather(*(cache.get_or_compute(f"k{n}", compute, ttl_s=60) for n in range(30)))
    assert compute.asked == 30
    assert monotonic() - began < 3, "many more than the pool has connections, at once"


async def test_a_pool_of_one_connection_suffices_also_where_compute_uses_it(dsn: str) -> None:
    async with AsyncPool.open(dsn, max_size=1) as db:
        cache = AsyncCache(db)

        async def compute() -> bytes:
            row = await db.one(b"select pg_sleep(0.1)::text || 'x'")
            assert row is not None
            return bytes(row[0], "ascii")

        values = await asyncio.gather(*(cache.get_or_compute(f"k{n % 3}", compute, ttl_s=60) for n in range(12)))
    assert values == [b"x"] * 12


async def test_an_error_reaches_all_who_wait_and_nothing_is_kept(cache: AsyncCache, db: AsyncPool) -> None:
    tried = []

    async def fail() -> bytes:
        tried.append(1)
        await asyncio.sleep(0.2)
        raise KeyError("why")

    jobs = [cache.get_or_compute("k", fail, ttl_s=60, on_error="compute") for _ in range(20)]
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert {type(result) for result in results} == {KeyError}
    assert len(tried) == 1
    assert await db.all(b"select from pgops.cache_store") == []
    assert await cache.get_or_compute("k", Counting(), ttl_s=60) == b"1", "and no lock is left"


async def test_one_who_is_cancelled_does_not_take_the_others_along(cache: AsyncCache) -> None:
    compute = Counting(0.3)
    tasks = [asyncio.create_task(cache.get_or_compute("k", compute, ttl_s=60)) for _ in range(5)]
    await until(lambda: asyncio.sleep(0, compute.asked == 1))
    tasks[0].cancel()
    tasks[3].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in results].count(asyncio.CancelledError) == 2
    assert [one for one in results if one == b"1"] == [b"1"] * 3
    assert (compute.asked, compute.cut) == (1, 0)


async def test_when_all_are_cancelled_nobody_computes_on_and_no_lock_is_left(dsn: str, cache: AsyncCache) -> None:
    compute = Counting(60)
    tasks = [asyncio.create_task(cache.get_or_compute("k", compute, ttl_s=60)) for _ in range(3)]
    await until(lambda: asyncio.sleep(0, compute.asked == 1))
    assert await locks(dsn) == 1
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert compute.cut == 1
    assert await locks(dsn) == 0


async def locks(dsn: str) -> int:
    """How many advisory locks of flights are held in this database."""
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        cursor = await conn.execute(
            "select count(*) from pg_locks where locktype = 'advisory' and classid = 7063769"
            " and database = (select oid from pg_database where datname = current_database())"
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def test_a_lock_that_could_not_be_given_up_is_given_up_later(dsn: str, db: AsyncPool, cache: AsyncCache) -> None:
    async def compute() -> bytes:
        hold.append(asyncio.create_task(aside.one(b"select pg_sleep(0.6)")))
        await asyncio.sleep(0.05)
        return b"x"

    hold: list[asyncio.Task[Any]] = []
    aside = await db.aside()
    task = asyncio.create_task(cache.get_or_compute("k", compute, ttl_s=60))
    await until(lambda: is_kept(db))
    task.cancel()  # now it waits for the connection that it would give up the lock on
    await asyncio.wait([task])
    await asyncio.wait(hold)
    assert await locks(dsn) == 1
    await cache.get_or_compute("other", Counting(), ttl_s=60)
    assert await locks(dsn) == 0


async def is_kept(db: AsyncPool) -> bool:
    return bool(await db.all(b"select from pgops.cache_store"))


async def test_what_asks_for_itself_is_refused_and_does_not_hang(cache: AsyncCache) -> None:
    async def compute() -> bytes:
        return await cache.get_or_compute("k", compute)

    with pytest.raises(UsageError, match="asks for itself"):
        await asyncio.wait_for(cache.get_or_compute("k", compute), 5)


async def test_one_value_may_be_computed_from_another(cache: AsyncCache) -> None:
    async def outer() -> bytes:
        return b"<" + await cache.get_or_compute("inner", Counting(0.01), ttl_s=60) + b">"

    values = await asyncio.gather(*(cache.get_or_compute("outer", outer, ttl_s=60) for _ in range(10)))
    assert set(values) == {b"<1>"}


async def test_who_comes_by_the_lock_late_looks_again(dsn: str, cache: AsyncCache) -> None:
    """Two clients, each with a session of its own, that compute what takes no time: some find it kept meanwhile."""
    compute = Counting()
    async with AsyncPool.open(dsn) as db:
        other = AsyncCache(db)
        await asyncio.gather(*(one.get_or_compute("warm", compute, ttl_s=60) for one in (cache, other)))
        for turn in range(10):
            keys = [f"k{turn}:{n}" for n in range(20)]
            jobs = [one.get_or_compute(key, compute, ttl_s=60) for key in keys for one in (cache, other)]
            await asyncio.gather(*jobs)
    assert compute.asked == 201


# --- across processes --------------------------------------------------------------------------------------------


def _start(dsn: str, *call: object) -> "subprocess.Popen[str]":
    command = [sys.executable, str(PROCESS), dsn, *map(str, call)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@asynccontextmanager
async def processes(dsn: str, *calls: tuple[str, float, float]) -> AsyncIterator[list["subprocess.Popen[str]"]]:
    """A process for each (key, compute seconds, wait seconds), ready to ask; gone after the block."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("create table if not exists computed (pid int)")
    started = [_start(dsn, *call) for call in calls]
    try:
        for process in started:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def ask(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


async def answer(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(await asyncio.to_thread(process.stdout.read))


async def test_processes_that_ask_at_once_compute_once(dsn: str, db: AsyncPool) -> None:
    async with processes(dsn, *[("k", 0.5, 30.0)] * 3) as started:
        for process in started:
            ask(process)
        answers = {await answer(process) for process in started}
        assert await db.all(b"select pid from computed") == [(pid,) for pid in answers]
        assert len(answers) == 1


async def test_who_is_killed_while_he_computes_blocks_nobody(dsn: str, db: AsyncPool) -> None:
    async with processes(dsn, ("k", 60.0, 30.0), ("k", 0.0, 30.0)) as (doomed, heir):
        ask(doomed)
        await until(lambda: computes(db, doomed.pid))
        ask(heir)
        await asyncio.sleep(0.3)
        assert heir.poll() is None, "it waits"
        doomed.kill()
        killed_at = monotonic()
        assert await answer(heir) == heir.pid
        assert monotonic() - killed_at < 5
    assert await locks(dsn) == 0


async def test_who_takes_too_long_is_not_waited_for(dsn: str, db: AsyncPool, cache: AsyncCache) -> None:
    async with processes(dsn, ("k", 60.0, 30.0)) as (slow,):
        ask(slow)
        await until(lambda: computes(db, slow.pid))
        began = monotonic()
        assert await cache.get_or_compute("k", Counting(), ttl_s=60, wait_s=0.4) == b"1"
        assert 0.4 <= monotonic() - began < 3
        assert await cache.get("k") == b"1"


async def test_while_another_process_computes_a_stale_value_is_given_at_once(
    dsn: str, db: AsyncPool, cache: AsyncCache
) -> None:
    await cache.set("k", b"old", ttl_s=0.01)
    await asyncio.sleep(0.02)
    async with processes(dsn, ("k", 60.0, 30.0)) as (slow,):
        ask(slow)
        await until(lambda: computes(db, slow.pid))
        began = monotonic()
        assert await cache.get_or_compute("k", Counting(), ttl_s=60, stale_s=60) == b"old"
        assert monotonic() - began < 3
        patient = asyncio.create_task(cache.get_or_compute("k", Counting(), ttl_s=60, wait_s=0.5))
        await asyncio.sleep(0.1)
        assert await cache.get_or_compute("k", Counting(), ttl_s=60, stale_s=60) == b"old"
        assert await patient == b"1", "who takes nothing stale waits, and computes in the end"


async def computes(db: AsyncPool, pid: int) -> bool:
    return (pid,) in await db.all(b"select pid from computed")


# --- early and stale ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "beta", "draw", "early"),
    [
        (Seen(0, b"x", 10.0, 1.0), 1.0, 0.5, False),
        (Seen(0, b"x", 0.7, 1.0), 1.0, 0.5, False),
        (Seen(0, b"x", 0.69, 1.0), 1.0, 0.5, True),
        (Seen(0, b"x", 0.7, 1.0), 1.1, 0.5, True),
        (Seen(0, b"x", 0.0001, 1.0), 1.0, 1.0, False),
        (Seen(0, b"x", 10.0, 1.0), 0.0, 1e-300, False),
        (Seen(0, b"x", 10.0, 1.0), 1.0, 1e-5, True),
        (Seen(0, b"x", None, 1.0), 1e9, 1e-300, False),
        (Seen(0, b"x", 1.0, None), 1e9, 1e-300, False),
    ],
)
def test_how_early(seen: Seen, beta: float, draw: float, early: bool) -> None:
    assert seen.early(beta, draw) is early


def test_the_share_that_computes_early_is_the_papers() -> None:
    """P(left <= -delta * beta * ln(draw)) = exp(-left / (delta * beta))."""
    rng, seen = Random(7), Seen(0, b"x", 2.0, 1.0)
    early = sum(seen.early(1.0, 1 - rng.random()) for _ in range(100_000))
    assert abs(early / 100_000 - 0.1353) < 0.005


async def test_before_it_expires_one_computes_anew_and_the_others_have_the_old(cache: AsyncCache) -> None:
    compute = Counting(0.3)
    await cache.get_or_compute("k", compute, ttl_s=60)
    began = monotonic()
    values = await asyncio.gather(*(cache.get_or_compute("k", compute, ttl_s=60, beta=1e9) for _ in range(50)))
    assert sorted(values) == [b"1"] * 49 + [b"2"]
    assert compute.asked == 2
    assert await cache.get_or_compute("k", compute, ttl_s=60, beta=0) == b"2"
    assert monotonic() - began < 5
    assert await counted(cache) == (51, 1, 2)


async def test_an_expired_value_serves_while_one_computes_but_not_for_longer(cache: AsyncCache, db: AsyncPool) -> None:
    compute = Counting(0.3)
    await cache.get_or_compute("k", compute, ttl_s=0.05, stale_s=60)
    await asyncio.sleep(0.1)
    assert await cache.get("k") is None, "a get gives nothing that has expired"
    values = await asyncio.gather(
        *(cache.get_or_compute("k", compute, ttl_s=0.05, stale_s=60) for _ in range(50)),
        *(cache.get_or_compute("k", compute, ttl_s=0.05, stale_s=0.01) for _ in range(5)),
    )
    assert sorted(values[:50]) == [b"1"] * 49 + [b"2"] and values[50:] == [b"2"] * 5
    assert compute.asked == 2


async def test_the_purge_leaves_what_may_still_serve(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.get_or_compute("stale", Counting(), ttl_s=0.01, stale_s=60)
    await cache.get_or_compute("over", Counting(), ttl_s=0.01, stale_s=0.01)
    await cache.get_or_compute("expired", Counting(), ttl_s=0.01)
    await asyncio.sleep(0.05)
    assert (await cache.count_expired()).count == 2
    assert (await cache.purge_expired()).rows == 2
    assert await db.all(b"select key from pgops.cache_store") == [("stale",)]


# --- what happens meanwhile --------------------------------------------------------------------------------------


async def test_what_is_invalidated_while_it_is_computed_is_not_kept_and_not_shared(cache: AsyncCache) -> None:
    old, new = Counting(0.4), Counting()
    before = asyncio.create_task(cache.get_or_compute("k", old, ttl_s=60, namespace="n"))
    await until(lambda: asyncio.sleep(0, old.asked == 1))
    await cache.invalidate("n")

    async def fresh() -> bytes:
        await new()
        return b"new"

    assert await cache.get_or_compute("k", fresh, ttl_s=60, namespace="n") == b"new"
    assert await before == b"1", "who asked before has what was computed for him"
    assert await cache.get("k", namespace="n") == b"new"


async def test_what_was_invalidated_while_it_was_computed_is_not_there_later(cache: AsyncCache) -> None:
    old = Counting(0.2)
    before = asyncio.create_task(cache.get_or_compute("k", old, ttl_s=60, stale_s=60, namespace="n"))
    await until(lambda: asyncio.sleep(0, old.asked == 1))
    await cache.invalidate("n")
    assert await before == b"1"
    assert await cache.get("k", namespace="n") is None
    assert await cache.get_or_compute("k", old, ttl_s=60, stale_s=60, namespace="n") == b"2"


async def test_after_an_invalidation_nobody_waits_for_a_process_that_computes_the_old(
    dsn: str, db: AsyncPool, cache: AsyncCache
) -> None:
    async with processes(dsn, ("k", 60.0, 30.0)) as (slow,):
        ask(slow)
        await until(lambda: computes(db, slow.pid))
        await cache.invalidate("default")
        assert await asyncio.wait_for(cache.get_or_compute("k", Counting(), ttl_s=60, wait_s=60), 10) == b"1"


async def test_what_is_set_while_it_is_computed_stays(cache: AsyncCache) -> None:
    compute = Counting(0.3)
    task = asyncio.create_task(cache.get_or_compute("k", compute, ttl_s=60))
    await until(lambda: asyncio.sleep(0, compute.asked == 1))
    await asyncio.sleep(0.05)
    await cache.set("k", b"set", ttl_s=60)
    assert await task == b"1"
    assert await cache.get("k") == b"set"


# --- a caller's transaction --------------------------------------------------------------------------------------


async def test_in_a_callers_transaction_it_is_computed_there_and_kept_as_he_commits(dsn: str, db: AsyncPool) -> None:
    cache = AsyncCache(db)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        bound = AsyncCache(AsyncBound(conn, foreign=True), cache.counts)
        compute = Counting()
        assert await bound.get_or_compute("k", compute, ttl_s=60) == b"1"
        assert await bound.get_or_compute("k", compute, ttl_s=60) == b"1"
        assert await cache.get("k") is None
        assert await locks(dsn) == 0
        await conn.rollback()
        assert await cache.get("k") is None
        assert await bound.get_or_compute("k", compute, ttl_s=60) == b"2"
        await conn.commit()
    assert await cache.get("k") == b"2"
    assert await counted(cache) == (2, 4, 2)


async def test_a_callers_transaction_waits_for_no_flight(dsn: str, cache: AsyncCache) -> None:
    compute = Counting(60)
    task = asyncio.create_task(cache.get_or_compute("k", compute, ttl_s=60))
    await until(lambda: asyncio.sleep(0, compute.asked == 1))
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        bound = AsyncCache(AsyncBound(conn, foreign=True), cache.counts)
        assert await asyncio.wait_for(bound.get_or_compute("k", Counting(), ttl_s=60), 3) == b"1"
    task.cancel()
    await asyncio.wait([task])


async def test_in_a_callers_transaction_the_errors_are_his_drivers(dsn: str, db: AsyncPool) -> None:
    await db.execute(b"alter table pgops.cache_store rename to gone")
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        bound = AsyncCache(AsyncBound(conn, foreign=True))
        with pytest.raises(psycopg.errors.UndefinedTable):
            await bound.get_or_compute("k", Counting(), on_error="compute")


# --- when the database is not there ------------------------------------------------------------------------------


@pytest.mark.slow
async def test_without_the_database_it_fails_before_it_computes_or_computes_if_told_to(server_dsn: str) -> None:
    name = f"pgops_test_gone_{id(object())}"
    async with await psycopg.AsyncConnection.connect(server_dsn, autocommit=True) as admin:
        await admin.execute(f'create database "{name}"'.encode())
        async with AsyncPool.open(psycopg.conninfo.make_conninfo(server_dsn, dbname=name)) as db:
            cache, compute = AsyncCache(db), Counting(0.1)
            with pytest.raises(SchemaError):
                await cache.get_or_compute("k", compute)
            await admin.execute(f'drop database "{name}" with (force)'.encode())
            with pytest.raises(UnreachableError):
                await cache.get_or_compute("k", compute)
            assert compute.asked == 0
            jobs = [cache.get_or_compute("k", compute, on_error="compute") for _ in range(4)]
            assert await asyncio.gather(*jobs) == [b"1"] * 4
            assert compute.asked == 1


async def test_what_cannot_be_kept_is_returned_and_logged(
    dsn: str, db: AsyncPool, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncPool.open(dsn, read_only=True) as reader:
        cache = AsyncCache(reader)
        assert await cache.get_or_compute("k", Counting(), ttl_s=60) == b"1"
        assert "read-only" in caplog.text
        await AsyncCache(db).set("k", b"there")
        assert await cache.get_or_compute("k", Counting(), ttl_s=60) == b"there"


async def test_an_error_of_pgops_within_compute_is_its_own(cache: AsyncCache) -> None:
    tried = []

    async def fail() -> bytes:
        tried.append(1)
        raise PgopsError("from within")

    with pytest.raises(PgopsError, match="from within"):
        await cache.get_or_compute("k", fail, on_error="compute")
    assert len(tried) == 1


async def test_when_the_connection_with_the_locks_is_lost_it_goes_on(dsn: str, db: AsyncPool) -> None:
    cache, compute = AsyncCache(db), Counting(0.3)
    task = asyncio.create_task(cache.get_or_compute("k", compute, ttl_s=60))
    await until(lambda: asyncio.sleep(0, compute.asked == 1))
    await db.execute(
        b"select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = 7063769"
        b" and database = (select oid from pg_database where datname = current_database())"
    )
    assert await task == b"1"
    assert await cache.get_or_compute("other", compute, ttl_s=60) == b"2"
    assert await locks(dsn) == 0


async def test_through_a_pooler_the_process_computes_once_and_leaves_nothing(pooled_dsn: str, dsn: str) -> None:
    async with AsyncPgops.open(pooled_dsn) as pg:
        compute = Counting(0.2)
        jobs = [pg.cache.get_or_compute("k", compute, ttl_s=60) for _ in range(30)]
        assert set(await asyncio.gather(*jobs)) == {b"1"}
        assert compute.asked == 1
        assert await locks(dsn) == 0
    assert conninfo_to_dict(pooled_dsn)["dbname"] == conninfo_to_dict(dsn)["dbname"]


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"ttl_s": 0}, "TTL"),
        ({"ttl_s": 60, "jitter": 1.0}, "jitter"),
        ({"ttl_s": 60, "jitter": float("nan")}, "jitter"),
        ({"jitter": 0.1}, "without an end"),
        ({"beta": -1.0}, "beta"),
        ({"beta": "1"}, "beta"),
        ({"stale_s": 5.0}, "never stale"),
        ({"ttl_s": 60, "stale_s": float("inf")}, "stale_s"),
        ({"wait_s": float("nan")}, "wait_s"),
        ({"wait_s": True}, "wait_s"),
        ({"on_error": "ignore"}, "on_error"),
        ({"namespace": ""}, "namespace"),
        ({"namespace": "x" * 201}, "namespace"),
    ],
)
async def test_bad_arguments_are_refused_in_one_line(cache: AsyncCache, more: dict[str, Any], words: str) -> None:
    compute = Counting()
    with pytest.raises(UsageError, match=words) as refused:
        await cache.get_or_compute("k", compute, **more)
    assert refused.value.hint and "\n" not in str(refused.value) and len(str(refused.value)) < 120
    assert compute.asked == 0


async def test_what_is_no_function_or_gives_no_bytes_is_refused(cache: AsyncCache, db: AsyncPool, dsn: str) -> None:
    async def text() -> Any:
        await asyncio.sleep(0.05)
        return "text"

    async def large() -> bytes:
        return b"x" * (8 * 1024 * 1024 + 1)

    async def coroutine() -> bytes:
        return b""

    bad: list[tuple[Any, str]] = [
        (b"value", "a function"), (text, "bytes, not str"), (lambda: b"x", "async function"), (large, "at most"),
    ]  # fmt: skip
    for compute, words in bad:
        jobs = [cache.get_or_compute("k", compute) for _ in range(3)]
        for result in await asyncio.gather(*jobs, return_exceptions=True):
            assert isinstance(result, UsageError) and words in str(result) and result.hint
    assert await db.all(b"select from pgops.cache_store") == []

    def blocking() -> None:
        with Pool.open(dsn) as pool, pytest.raises(UsageError, match="plain function"):
            Cache(pool).get_or_compute("k", coroutine)  # type: ignore[arg-type]

    await asyncio.to_thread(blocking)
