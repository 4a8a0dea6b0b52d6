"""Rate limits: never more than the bound, never denied wrongly, and what is said of the time to wait is true."""

import asyncio
import json
import math
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import UsageError
from pgops.services.client import AsyncPgops
from pgops.services.limit_rules import MAX_KEPT, MAX_PER_SECOND, Denials, Gcra, Window, gcra, window
from pgops.services.limits import AsyncLimits
from pgops.services.models import Decision
from pgops.sync.database import Pool
from pgops.sync.services.limits import Limits

PROCESS = Path(__file__).parent / "limit_process.py"


@pytest.fixture
def limits(db: AsyncPool) -> AsyncLimits:
    return AsyncLimits(db)


async def rows(db: AsyncPool) -> list[Any]:
    return await db.all(b"select key from pgops.rate_limits union all select key from pgops.rate_windows order by 1")


# --- arithmetic --------------------------------------------------------------------------------------------------


def test_what_a_limit_is_in_microseconds() -> None:
    assert gcra(10, 1.0, None, 1) == Gcra(unit_us=100_000, burst=10, cost=1)
    assert gcra(3, 1.0, 5, 2) == Gcra(unit_us=333_334, burst=5, cost=2), "rounded up: the bound is never exceeded"
    assert window(3, 60, None, 2) == Window(period_us=60_000_000, limit=3, cost=2)


def test_what_is_said_of_a_decision() -> None:
    rule = Gcra(unit_us=100_000, burst=10, cost=2)
    assert rule.decision(True, 200_000) == Decision(True, 8, 0.0, 0.2)
    assert rule.decision(True, 150_000) == Decision(True, 8, 0.0, 0.15)
    assert rule.decision(False, 850_000) == Decision(False, 1, 0.05, 0.85)
    assert rule.decision(True, -5) == Decision(True, 10, 0.0, 0.0)
    assert Window(60_000_000, 10, 1).decision(False, 10, 30_000_000) == Decision(False, 0, 30.0, 30.0)


# --- gcra --------------------------------------------------------------------------------------------------------


async def test_a_burst_is_allowed_then_denied_then_allowed_at_the_rate(limits: AsyncLimits) -> None:
    said = [await limits.hit("k", 10, 1.0, burst=3) for _ in range(4)]
    assert [one.allowed for one in said] == [True, True, True, False]
    assert [one.remaining for one in said] == [2, 1, 0, 0]
    assert 0 < said[3].retry_after_s <= 0.1
    await asyncio.sleep(said[3].retry_after_s)
    assert (await limits.hit("k", 10, 1.0, burst=3)).allowed, "retry_after is enough"
    assert not (await limits.hit("k", 10, 1.0, burst=3)).allowed


async def test_a_cost_takes_so_many_units_or_none(limits: AsyncLimits) -> None:
    assert (await limits.hit("k", 10, 3600, cost=7)).remaining == 3
    denied = await limits.hit("k", 10, 3600, cost=4)
    assert (denied.allowed, denied.remaining) == (False, 3)
    assert 359 < denied.retry_after_s <= 360, "one unit is missing, which takes 360 s"
    assert (await limits.hit("k", 10, 3600, cost=3)).remaining == 0


async def test_a_denial_writes_nothing(limits: AsyncLimits, db: AsyncPool) -> None:
    await limits.hit("k", 1, 3600)
    before = await db.all(b"select ctid::text, tat from pgops.rate_limits")
    for _ in range(5):
        assert not (await AsyncLimits(db).hit("k", 1, 3600)).allowed, "each asks the database"
    assert await db.all(b"select ctid::text, tat from pgops.rate_limits") == before


@pytest.mark.parametrize("algorithm", ["gcra", "fixed_window"])
async def test_every_update_is_heap_only(dsn: str, algorithm: Any) -> None:
    table = {"gcra": "rate_limits", "fixed_window": "rate_windows"}[algorithm]
    counted = b"select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = %(table)s"
    async with AsyncPool.open(dsn, max_size=1) as db:
        limits = AsyncLimits(db)
        for _ in range(50):
            await limits.hit("k", 1_000, 86_400, algorithm=algorithm)
        await db.one(b"select pg_stat_force_next_flush()")
        assert await db.one(counted, {"table": table}) == (49, 49)


async def test_keys_and_algorithms_do_not_see_each_other(limits: AsyncLimits) -> None:
    assert (await limits.hit("a", 1, 3600)).allowed
    assert (await limits.hit("b", 1, 3600)).allowed
    assert (await limits.hit("a", 1, 3600, algorithm="fixed_window")).allowed
    assert not (await limits.hit("a", 1, 3600)).allowed


@pytest.mark.parametrize("algorithm", ["gcra", "fixed_window"])
async def test_a_peek_says_what_a_hit_would_and_takes_nothing(
    limits: AsyncLimits, db: AsyncPool, algorithm: Any
) -> None:
    for _ in range(3):
        look = await limits.peek("k", 2, 86_400, algorithm=algorithm)
        assert (look.allowed, look.remaining) == (True, 2)
    assert await rows(db) == []
    assert not (await limits.peek("k", 2, 86_400, cost=2, algorithm=algorithm)).retry_after_s
    await limits.hit("k", 2, 86_400, algorithm=algorithm)
    look = await limits.peek("k", 2, 86_400, cost=2, algorithm=algorithm)
    assert (look.allowed, look.remaining) == (False, 1)
    assert look.retry_after_s > 0


@pytest.mark.parametrize("algorithm", ["gcra", "fixed_window"])
async def test_a_reset_forgets_what_was_used(limits: AsyncLimits, db: AsyncPool, algorithm: Any) -> None:
    await limits.hit("k", 1, 86_400, algorithm=algorithm)
    assert not (await limits.hit("k", 1, 86_400, algorithm=algorithm)).allowed
    assert await limits.reset("k")
    assert not await limits.reset("k")
    assert (await limits.hit("k", 1, 86_400, algorithm=algorithm)).allowed


@pytest.mark.parametrize("algorithm", ["gcra", "fixed_window"])
async def test_of_many_hits_at_once_exactly_the_limit_is_allowed(limits: AsyncLimits, algorithm: Any) -> None:
    said = await asyncio.gather(*(limits.hit("k", 17, 86_400, algorithm=algorithm) for _ in range(60)))
    assert sum(one.allowed for one in said) == 17
    assert all(one.retry_after_s > 0 for one in said if not one.allowed)
    left = sorted(one.remaining for one in said if one.allowed)
    # Whoever began before the one that came first, and waited for it, counts by an earlier clock: one less at most.
    assert all(number - 1 <= one <= number for number, one in enumerate(left)), left


async def test_a_denial_is_remembered_for_50_ms_and_only_in_its_process(db: AsyncPool) -> None:
    for algorithm in ("gcra", "fixed_window"):
        here, there = AsyncLimits(db), AsyncLimits(db)
        await here.hit("k", 2, 86_400, cost=2, algorithm=algorithm)
        assert not (await here.hit("k", 2, 86_400, algorithm=algorithm)).allowed
        await there.reset("k")
        assert (await there.hit("k", 2, 86_400, algorithm=algorithm)).allowed
        assert not (await here.hit("k", 2, 86_400, algorithm=algorithm)).allowed
        await asyncio.sleep(0.06)
        assert (await here.hit("k", 2, 86_400, algorithm=algorithm)).allowed


async def test_a_smaller_cost_is_not_denied_for_a_greater_one(limits: AsyncLimits) -> None:
    for algorithm in ("gcra", "fixed_window"):
        await limits.hit("k", 10, 86_400, cost=8, algorithm=algorithm)
        assert not (await limits.hit("k", 10, 86_400, cost=3, algorithm=algorithm)).allowed
        assert (await limits.hit("k", 10, 86_400, cost=2, algorithm=algorithm)).allowed


def test_what_is_remembered_of_a_denial_grows_old() -> None:
    denials = Denials()
    denials.keep("k", 0.0, 3, 30_000)
    assert denials.look("k", 0.01) == (3, 20_000)
    assert denials.look("other", 100.0) is None
    assert denials.look("k", 0.06) is None
    for number in range(2 * MAX_KEPT):
        denials.keep(str(number), 100.0, 0, 1)
    assert denials.look(str(2 * MAX_KEPT - 1), 100.0) == (0, 1)
    assert denials.look("0", 100.0) is None, "so many keys and no more"


# --- fixed window ------------------------------------------------------------------------------------------------


async def test_a_window_counts_to_its_limit_and_starts_anew(limits: AsyncLimits) -> None:
    await asyncio.sleep(0.3 - time.time() % 0.3)
    said = [await limits.hit("k", 3, 0.3, algorithm="fixed_window") for _ in range(4)]
    assert [(one.allowed, one.remaining) for one in said] == [(True, 2), (True, 1), (True, 0), (False, 0)]
    assert 0 < said[3].retry_after_s <= 0.3
    await asyncio.sleep(said[3].retry_after_s)
    again = await limits.hit("k", 3, 0.3, algorithm="fixed_window", cost=2)
    assert (again.allowed, again.remaining) == (True, 1)


@pytest.mark.slow
async def test_the_seed_upsert_never_resets_its_window_and_ours_does(limits: AsyncLimits, db: AsyncPool) -> None:
    """The seed counts `on conflict do update set count = count + 1` and never looks at window_start again: who has
    reached the limit once is denied for ever."""
    await db.execute(b"create table seed_limits (key text primary key, count int, window_start timestamptz)")
    seed = b"""insert into seed_limits (key, count, window_start) values ('k', 1, now())
               on conflict (key) do update set count = seed_limits.count + 1 returning count"""

    async def seed_allows() -> bool:
        row = await db.one(seed)
        assert row is not None
        return bool(row[0] <= 3)

    async def ours_allows() -> bool:
        return (await limits.hit("k", 3, 0.3, algorithm="fixed_window")).allowed

    async def smooth_allows() -> bool:
        return (await limits.hit("k", 3, 0.3)).allowed

    for allows, after in ((seed_allows, [False] * 3), (ours_allows, [True] * 3), (smooth_allows, [True] * 3)):
        await asyncio.sleep(0.3 - time.time() % 0.3)
        assert [await allows() for _ in range(4)] == [True, True, True, False]
        await asyncio.sleep(0.35)
        assert [await allows() for _ in range(3)] == after, allows.__name__


# --- four processes ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_four_processes_on_one_hot_key_get_all_of_the_bound_and_no_more(dsn: str) -> None:
    limit, burst, seconds = 200, 20, 1.5
    env = {**os.environ, "PYTHONPATH": str(PROCESS.parent.parent)}
    argv = [sys.executable, str(PROCESS), dsn, "hot", str(limit), str(burst), str(seconds)]
    with ExitStack() as stack, psycopg.connect(dsn, autocommit=True) as conn:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers = [stack.enter_context(subprocess.Popen(argv, env=env, **pipes)) for _ in range(4)]
        for worker in workers:
            assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
        began = time.monotonic()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        told = [json.loads(worker.communicate(timeout=20)[0]) for worker in workers]
        lasted = time.monotonic() - began
        conn.execute("select pg_stat_force_next_flush()")
        updates = conn.execute(
            "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'rate_limits'"
        ).fetchone()
    allowed, decisions = sum(one[1] for one in told), sum(one[0] for one in told)
    assert allowed <= burst + lasted * limit + 1, "never more than the bound"
    asked_until = min(one[2] for one in told) - 0.05  # a denial is remembered for so long, also at the very end
    assert allowed >= burst + asked_until * limit - 2, "and nothing denied wrongly"
    assert decisions > 10 * allowed, "the key was hot"
    assert updates is not None
    assert updates[0] == allowed - 1, "a denial updates nothing"
    assert updates[1] >= 0.95 * updates[0], "heap-only, but where a sleeping process kept the page from being pruned"


# --- purge -------------------------------------------------------------------------------------------------------


async def test_purge_removes_what_says_nothing_any_more(limits: AsyncLimits, db: AsyncPool) -> None:
    for number in range(20):
        await limits.hit(f"old{number}", 100, 1.0)
        await limits.hit(f"old{number}", 1, 0.01, algorithm="fixed_window")
    await limits.hit("young", 1, 3600)
    await limits.hit("young", 1, 86_400, algorithm="fixed_window")
    await asyncio.sleep(0.05)
    purged = await limits.purge_expired(batch=7)
    assert (purged.rows, purged.done) == (40, True)
    assert await rows(db) == [("young",), ("young",)]
    assert not (await limits.hit("young", 1, 3600)).allowed
    for batch, budget in ((0, 1.0), (10, 0.0), (10, math.nan)):
        with pytest.raises(UsageError):
            await limits.purge_expired(batch=batch, budget_s=budget)


# --- bad input ---------------------------------------------------------------------------------------------------


async def test_bad_input_is_refused_and_changes_nothing(limits: AsyncLimits, db: AsyncPool) -> None:
    good = {"key": "k", "limit": 10, "period_s": 1.0}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"key": ""}, "key"),
        ({"key": "nul\0"}, "NUL"),
        ({"key": "x" * 2_001}, "2,000 bytes"),
        ({"key": 7}, "text"),
        ({"limit": 0}, "limit"),
        ({"limit": -1}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"limit": math.nan}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 10**10}, "limit"),
        ({"period_s": 0}, "period"),
        ({"period_s": -1}, "period"),
        ({"period_s": math.nan}, "period"),
        ({"period_s": math.inf}, "period"),
        ({"period_s": "60"}, "period"),
        ({"burst": 0}, "burst"),
        ({"burst": -1}, "burst"),
        ({"burst": math.nan}, "burst"),
        ({"cost": 0}, "cost"),
        ({"cost": -1}, "cost"),
        ({"cost": 11}, "cost of 11 is above the burst of 10"),
        ({"cost": 3, "burst": 2}, "cost of 3 is above the burst of 2"),
        ({"cost": 11, "algorithm": "fixed_window"}, "cost of 11 is above the limit of 10"),
        ({"burst": 5, "algorithm": "fixed_window"}, "no burst"),
        ({"algorithm": "leaky"}, "no algorithm 'leaky'"),
        ({"limit": MAX_PER_SECOND + 1}, "more than 10,000 a second"),
        ({"limit": 1, "period_s": 300 * 86_400, "burst": 1_000}, "100 years"),
    ]
    for change, words in bad:
        for call in (limits.hit, limits.peek):
            with pytest.raises(UsageError, match=words) as refused:
                await call(**{**good, **change})
            assert refused.value.hint
            assert len(str(refused.value)) < 120 and "\n" not in str(refused.value)
    with pytest.raises(UsageError):
        await limits.reset("nul\0")
    assert await rows(db) == []


async def test_a_callers_connection_is_refused(dsn: str) -> None:
    """His hot key would stay locked until he commits, and a rollback would give back what was used."""
    async with AsyncPgops.open(dsn) as pg, await psycopg.AsyncConnection.connect(dsn) as conn:
        bound = pg.bind(conn).limits
        for call in (bound.hit("k", 1, 1), bound.peek("k", 1, 1), bound.reset("k"), bound.purge_expired()):
            with pytest.raises(UsageError, match="a transaction of its own") as refused:
                await call
            assert "pg.limits.hit" in refused.value.hint
        with pytest.raises(UsageError):
            await AsyncLimits(AsyncBound(conn)).hit("k", 1, 1)
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert await rows(pg.db) == []


def test_the_blocking_twin_does_the_same(dsn: str) -> None:
    with Pool.open(dsn) as db:
        limits = Limits(db)
        assert [limits.hit("k", 2, 3600).allowed for _ in range(3)] == [True, True, False]
        assert limits.reset("k")
        assert limits.peek("k", 2, 3600).remaining == 2
        assert limits.purge_expired().done
