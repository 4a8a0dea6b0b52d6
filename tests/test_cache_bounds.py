"""What bounds the cache: sliding and touched times to live, jitter, caps and eviction, invalidated namespaces."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from random import Random
from time import monotonic
from typing import Any

import psycopg
import pytest

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import UsageError
from pgops.services import cache_counts
from pgops.services.cache import AsyncCache
from pgops.services.cache_upkeep import EVICT_ROWS, NAMESPACES, Q
from pgops.sync.database import Pool
from pgops.sync.services.cache import Cache


@pytest.fixture
def cache(db: AsyncPool) -> AsyncCache:
    return AsyncCache(db, rng=Random(7))


async def left_s(db: AsyncPool, key: str = "k") -> float | None:
    row = await db.one(
        b"select extract(epoch from expires_at - statement_timestamp())::float8 from pgops.cache_store"
        b" where key = %(key)s",
        {"key": key},
    )
    assert row is not None
    return None if row[0] is None else float(row[0])


async def age(db: AsyncPool, seconds: float) -> None:
    """Let so much time have passed for what is in the cache."""
    await db.execute(
        b"update pgops.cache_store set expires_at = expires_at - make_interval(secs => %(s)s),"
        b" created_at = created_at - make_interval(secs => %(s)s)",
        {"s": seconds},
    )


async def entries(db: AsyncPool, namespace: str = "default") -> int:
    row = await db.one(b"select count(*) from pgops.cache_store where namespace = %(n)s", {"n": namespace})
    assert row is not None
    return int(row[0])


# --- sliding, touch, jitter --------------------------------------------------------------------------------------


async def test_a_sliding_value_lasts_as_long_as_it_is_read(cache: AsyncCache) -> None:
    await cache.set("read", b"x", ttl_s=0.8, sliding=True)
    await cache.set("left", b"x", ttl_s=0.8, sliding=True)
    await cache.set("fixed", b"x", ttl_s=0.8)
    for _ in range(8):
        await asyncio.sleep(0.2)
        assert await cache.get("read") == b"x"
        await cache.get("fixed")
    assert await cache.get_many(["read", "left", "fixed"]) == {"read": b"x"}


async def test_reading_it_writes_only_once_an_eighth_of_its_time_has_gone(cache: AsyncCache, db: AsyncPool) -> None:
    async def version() -> Any:
        return await db.one(b"select ctid, xmin, expires_at from pgops.cache_store")

    await cache.set("k", b"x", ttl_s=80, sliding=True)
    before = await version()
    await age(db, 11)
    before = await version()
    assert await cache.get("k") == b"x"
    await cache.get("k")
    after = await version()
    assert after != before and 79 < (await left_s(db) or 0) <= 80
    await asyncio.gather(*(cache.get("k") for _ in range(20)), *(cache.get_many(["k"]) for _ in range(20)))
    assert await version() == after
    assert await db.execute(Q["extend"], {"keys": ["k"], "namespace": "default"}) == 0, (
        "who comes second writes nothing"
    )
    for read in (cache.get_many(["k", "none"]), cache.get_or_compute("k", _never)):
        await age(db, 11)
        before = await version()
        await read
        assert await version() != before and (await left_s(db) or 0) > 79


async def _never() -> bytes:
    raise AssertionError("it was there")


async def test_an_overwrite_decides_anew_whether_it_slides(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set("k", b"x", ttl_s=80, sliding=True)
    await cache.set("k", b"y", ttl_s=80)
    await age(db, 20)
    await cache.get("k")
    assert (await left_s(db) or 0) < 61
    await cache.set_many({"k": b"z"}, ttl_s=80, sliding=True)
    await age(db, 20)
    await cache.get("k")
    assert (await left_s(db) or 0) > 79


async def test_in_a_callers_transaction_a_read_writes_nothing_and_his_client_extends_it_later(
    dsn: str, db: AsyncPool
) -> None:
    cache = AsyncCache(db)
    await cache.set("k", b"x", ttl_s=80, sliding=True)
    await age(db, 30)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        await conn.set_read_only(True)
        bound = AsyncCache(AsyncBound(conn, foreign=True), cache.counts)
        assert await bound.get("k") == b"x"
        assert await bound.get_many(["k"]) == {"k": b"x"}
        assert (await left_s(db) or 0) < 51
        await conn.rollback()
    assert await cache.flush()
    assert (await left_s(db) or 0) > 79


async def test_no_reader_fails_or_waits_for_an_extension(dsn: str, db: AsyncPool) -> None:
    await AsyncCache(db).set("k", b"x", ttl_s=80, sliding=True)
    await age(db, 30)
    async with AsyncPool.open(dsn, read_only=True) as reader:
        assert await AsyncCache(reader).get("k") == b"x"
    async with db.transaction() as tx:
        await tx.execute(b"select from pgops.cache_store for update")
        assert await asyncio.wait_for(AsyncCache(db).get("k"), 2) == b"x"


async def test_touch_lets_a_value_last_without_reading_it(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set("k", b"x", ttl_s=10)
    assert await cache.touch("k", ttl_s=100)
    assert 99 < (await left_s(db) or 0) <= 100
    assert await cache.touch("k"), "nothing to do, but it is there"
    assert 99 < (await left_s(db) or 0) <= 100
    await cache.set("k", b"x", ttl_s=80, sliding=True)
    await age(db, 5)
    assert await cache.touch("k")
    assert 79 < (await left_s(db) or 0) <= 80
    assert await cache.touch("k", ttl_s=160)
    await age(db, 30)
    await cache.get("k")
    assert 159 < (await left_s(db) or 0) <= 160, "it slides by the new time"
    await cache.set("k", b"x")
    assert await cache.touch("k")
    assert await left_s(db) is None
    assert await cache.touch("k", ttl_s=10)
    assert 9 < (await left_s(db) or 0) <= 10
    await age(db, 11)
    assert not await cache.touch("k", ttl_s=10), "what has expired is not there"
    assert not await cache.touch("none", ttl_s=10)
    for bad in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="TTL"):
            await cache.touch("k", ttl_s=bad)


async def test_a_touched_value_lives_although_its_stale_time_was_over_sooner(cache: AsyncCache, db: AsyncPool) -> None:
    async def compute() -> bytes:
        return b"x"

    await cache.get_or_compute("k", compute, ttl_s=0.2, stale_s=0.1)
    assert await cache.touch("k", ttl_s=60)
    await asyncio.sleep(0.4)
    assert (await cache.purge_expired()).rows == 0
    assert await cache.get("k") == b"x"


async def test_jitter_shortens_each_time_to_live_by_another_share(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_many({f"k{n}": b"x" for n in range(1_000)}, ttl_s=1_000, jitter=0.2)
    rows = await db.all(b"select extract(epoch from expires_at - created_at)::float8 from pgops.cache_store order by 1")
    lived = [row[0] for row in rows]
    assert 800 <= lived[0] < 815 and 985 < lived[-1] <= 1_000
    assert 880 < sum(lived) / 1_000 < 920
    await cache.set("one", b"x", ttl_s=1_000, jitter=0.5)
    assert 500 <= (await left_s(db, "one") or 0) < 1_000
    await cache.set("exact", b"x", ttl_s=1_000)
    assert (await left_s(db, "exact") or 0) > 999


async def test_senseless_times_are_refused(cache: AsyncCache, db: AsyncPool) -> None:
    bad: list[dict[str, Any]] = [
        {"sliding": True}, {"jitter": 0.1}, {"ttl_s": 60, "jitter": 1}, {"ttl_s": 60, "jitter": -0.1},
        {"ttl_s": 60, "jitter": float("nan")}, {"ttl_s": 60, "jitter": "0.1"}, {"ttl_s": 60, "jitter": True},
    ]  # fmt: skip
    for more in bad:
        for call in (cache.set("k", b"x", **more), cache.set_many({"k": b"x"}, **more)):
            with pytest.raises(UsageError) as refused:
                await call
            assert refused.value.hint and "\n" not in str(refused.value)
    assert await entries(db) == 0


# --- caps --------------------------------------------------------------------------------------------------------


async def test_what_is_above_a_cap_of_entries_is_evicted_the_oldest_first(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_cap("n", entries=100)
    for n in range(3):
        await cache.set_many({f"k{n}:{i}": b"x" for i in range(60)}, namespace="n")
    assert await entries(db, "n") == 180, "no setter's statement evicts"
    assert await cache.flush()
    assert await entries(db, "n") == 100
    rows = await db.all(b"select left(key, 2), count(*) from pgops.cache_store group by 1 order by 1")
    assert rows == [("k1", 40), ("k2", 60)]
    stats = await cache.stats()
    assert (stats.sets, stats.evicted, stats.expired) == (180, 80, 0)


async def test_what_has_expired_or_was_invalidated_goes_before_what_lives(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_cap("n", entries=10)
    await cache.set_many({f"old{i}": b"x" for i in range(10)}, namespace="n")
    await cache.set_many({f"dead{i}": b"x" for i in range(10)}, namespace="n", ttl_s=0.01)
    await asyncio.sleep(0.02)
    await cache.flush()
    assert {row[0] for row in await db.all(b"select key from pgops.cache_store")} == {f"old{i}" for i in range(10)}
    await cache.invalidate("n")
    await cache.set_many({f"new{i}": b"x" for i in range(9)}, namespace="n")
    await cache.flush()
    stats = await cache.stats()
    assert (stats.evicted, stats.expired) == (0, 19)
    assert len(await cache.get_many([f"new{i}" for i in range(9)], namespace="n")) == 9


async def test_of_sliding_values_those_read_last_stay(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_cap("n", entries=10)
    await cache.set_many({f"k{i}": b"x" for i in range(10)}, namespace="n", ttl_s=100, sliding=True)
    await age(db, 50)
    await cache.get_many([f"k{i}" for i in range(5)], namespace="n")
    await cache.set_many({f"new{i}": b"x" for i in range(5)}, namespace="n", ttl_s=100, sliding=True)
    await cache.flush()
    kept = {row[0] for row in await db.all(b"select key from pgops.cache_store")}
    assert kept == {f"k{i}" for i in range(5)} | {f"new{i}" for i in range(5)}


async def test_a_cap_of_bytes_counts_keys_and_values(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_cap("n", bytes=10_000)
    for i in range(30):
        await cache.set(f"key{i:02}", b"x" * 995, namespace="n")
    await cache.flush()
    assert await entries(db, "n") == 10
    await cache.set("huge", b"x" * 20_000, namespace="n")
    await cache.flush()
    row = await db.one(
        b"select coalesce(sum(octet_length(key) + octet_length(value)), 0)::bigint from pgops.cache_store"
    )
    assert row is not None and row[0] <= 10_000


async def test_only_what_has_a_cap_is_touched_and_a_cap_can_be_taken_away(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_cap("n", entries=10)
    await cache.set_many({f"k{i}": b"x" for i in range(50)})
    await cache.set_many({f"k{i}": b"x" for i in range(50)}, namespace="n")
    await cache.set_cap("n")
    await cache.flush()
    assert (await entries(db), await entries(db, "n")) == (50, 50)
    spots = await db.all(b"select namespace, count(spot) from pgops.cache_store group by 1 order by 1")
    assert spots == [("default", 0), ("n", 50)], "without a cap a row has no place in the second index"


async def test_what_was_there_before_its_cap_is_held_to_it_from_the_next_purge_on(
    cache: AsyncCache, db: AsyncPool
) -> None:
    await cache.set_many({f"k{i}": b"x" for i in range(3_000)}, namespace="n")
    await cache.set_many({f"k{i}": b"x" for i in range(3_000)}, namespace="other")
    await cache.set_cap("n", entries=500)
    purged = await cache.purge_expired(batch=700)
    assert (purged.rows, purged.evicted, purged.done) == (0, 2_500, True)
    assert (await entries(db, "n"), await entries(db, "other")) == (500, 3_000)
    assert (await cache.purge_expired()).evicted == 0


async def test_a_purge_that_has_no_time_for_evicting_goes_on_later(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_many({f"k{i}": b"x" for i in range(30_000)}, namespace="n")
    await cache.set_cap("n", entries=1_000)
    evicted, done, turns = 0, False, 0
    while not done:
        purged = await cache.purge_expired(budget_s=0.001)
        evicted, done, turns = evicted + purged.evicted, purged.done, turns + 1
        assert turns < 1_000
    assert turns > 5
    assert await entries(db, "n") == 30_000 - evicted <= 1_100


@pytest.mark.parametrize("cap", [300, pytest.param(8_000, marks=pytest.mark.slow)])
async def test_a_cap_is_held_under_load_within_what_is_stated(db: AsyncPool, cap: int) -> None:
    """By three that write at once, each with counts of its own; the namespace is one of two."""
    writers, each, rows = 3, 100, 12_000
    seen: list[int] = []
    await AsyncCache(db).set_cap("n", entries=cap)
    await AsyncCache(db).set_many({f"o{i}": b"x" * 50 for i in range(5_000)}, namespace="other")
    await AsyncCache(db).set_many({f"first{i}": b"x" * 50 for i in range(cap)}, namespace="n")

    async def write(name: int) -> None:
        cache = AsyncCache(db, rng=Random(name))
        for number in range(0, rows, each):
            values = {f"{name}:{number + i}": b"x" * 50 for i in range(each)}
            await cache.set_many(values, namespace="n", ttl_s=600)
        await cache.flush()

    async def watch() -> None:
        while True:
            seen.append(await entries(db, "n"))
            await asyncio.sleep(0.02)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(write(n) for n in range(writers)))
    watcher.cancel()
    await asyncio.wait([watcher])
    tolerance = cap * 0.1 if cap > EVICT_ROWS else 0
    assert max(seen) <= cap + writers * (cache_counts.FLUSH_OPERATIONS + each) + tolerance
    assert cap - tolerance <= await entries(db, "n") <= cap + tolerance
    assert await entries(db, "other") == 5_000
    evicted = await db.one(b"select evicted from pgops.cache_stats where namespace = 'n'")
    assert evicted is not None and evicted[0] >= writers * rows - tolerance


async def test_a_small_namespace_is_sampled_whole(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_many({f"k{i}": b"x" for i in range(3_000)}, namespace="n")
    await cache.set_cap("n", entries=2_000)
    await cache.purge_expired()
    assert await entries(db, "n") == 2_000, "exactly"


async def test_a_sample_tells_how_many_there_are_also_after_an_eviction(cache: AsyncCache, db: AsyncPool) -> None:
    """An eighth of the rows is looked at, and of them goes what is too much: 8 times as many are too much in all."""
    rng = Random(7)

    async def told(cap: int, rows: int) -> list[int]:
        await cache.set_cap("n", entries=cap)
        found = []
        async with db.session() as session:
            for _ in range(20):
                await session.execute(b"begin")
                params = {"namespace": "n", "rows": rows, "spot": rng.randint(-(2**31), 0)}
                dead, alive, over, busy = await session.one(Q["evict"], params) or ()
                await session.execute(b"rollback")
                assert (dead, over, busy) == (0, True, False)
                found.append(8 * alive + cap)
        return found

    await cache.set_cap("n", entries=40_000)
    await cache.set_many({f"k{i}": b"x" for i in range(20_000)}, namespace="n")
    found = await told(10_000, 1_700)
    assert all(abs(one - 20_000) < 2_000 for one in found), found
    await cache.set_cap("n", entries=16_500)
    await cache.purge_expired(budget_s=10)
    left = await entries(db, "n")
    assert 15_500 < left < 17_500
    found = await told(8_000, 1_400)
    assert all(abs(one - left) < 2_000 for one in found), (left, found)


async def test_one_evicts_where_several_would(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_cap("n", entries=10)
    await cache.set_many({f"k{i}": b"x" for i in range(100)}, namespace="n")
    params = {"namespace": "n", "spot": 0, "rows": EVICT_ROWS}
    async with db.transaction() as tx:
        assert await tx.one(Q["evict"], params) == (0, 90, False, False)
        assert await asyncio.wait_for(db.one(Q["evict"], params), 2) == (0, 0, False, True)
    assert await entries(db, "n") == 10


async def test_eviction_waits_for_nobody(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_cap("n", entries=5)
    await cache.set_many({f"k{i}": b"x" for i in range(10)}, namespace="n")
    async with db.transaction() as tx:
        await AsyncCache(tx).set("k3", b"new", namespace="n")
        assert await asyncio.wait_for(cache.flush(), 3)
    assert await cache.get("k3", namespace="n") == b"new"


async def test_an_overwrite_in_a_capped_namespace_stays_heap_only(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_cap("n", entries=5)
    async with db.transaction() as tx:
        for turn in range(20):
            await AsyncCache(tx).set("k", b"%d" % turn, ttl_s=60 + turn, namespace="n")
        row = await tx.one(
            b"""select pg_stat_get_xact_tuples_updated(c), pg_stat_get_xact_tuples_hot_updated(c)
                from (select 'pgops.cache_store'::regclass as c) t"""
        )
    assert row == (19, 19 if db.version >= 160_000 else 0), "a BRIN index lets updates be heap-only from 16 on"


@pytest.mark.parametrize("bad", [0, -1, 2**63, 1.5, "10", True])
async def test_a_senseless_cap_is_refused(cache: AsyncCache, bad: Any) -> None:
    for more in ({"entries": bad}, {"bytes": bad}):
        with pytest.raises(UsageError, match="whole number from 1 on") as refused:
            await cache.set_cap("n", **more)
        assert refused.value.hint
    with pytest.raises(UsageError, match="namespace"):
        await cache.set_cap("", entries=1)


# --- invalidation ------------------------------------------------------------------------------------------------


async def test_a_namespace_is_forgotten_at_once_and_cleared_away_later(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_many({f"k{i}": b"x" for i in range(1_000)}, namespace="n")
    await cache.set("k1", b"other")
    assert await cache.invalidate("n") == 1
    assert await cache.get("k1", namespace="n") is None
    assert await cache.get_many(["k1", "k2"], namespace="n") == {}
    assert not await cache.touch("k1", ttl_s=60, namespace="n")
    assert await cache.delete("k2", namespace="n") == 0
    assert await cache.get("k1") == b"other"
    assert (await cache.count_expired()).count == 999
    await cache.set("k1", b"new", namespace="n")
    assert await cache.get("k1", namespace="n") == b"new"
    assert (await cache.purge_expired()).rows == 998
    assert await entries(db, "n") == 1
    assert await cache.invalidate("n") == 2
    assert await cache.get("k1", namespace="n") is None


async def test_in_a_callers_transaction_it_is_invalid_as_he_commits(dsn: str, db: AsyncPool) -> None:
    cache = AsyncCache(db)
    await cache.set("k", b"old")
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        bound = AsyncCache(AsyncBound(conn, foreign=True))
        await bound.invalidate("default")
        assert await bound.get("k") is None
        assert await cache.get("k") == b"old"
        await conn.rollback()
        assert await cache.get("k") == b"old"
        await bound.invalidate("default")
        await bound.set("k", b"new")
        await conn.commit()
    assert await cache.get("k") == b"new"


async def test_a_set_that_began_before_is_never_seen_after(dsn: str, db: AsyncPool) -> None:
    """His statement has its snapshot, then it waits for a lock; meanwhile the namespace is invalidated."""
    cache = AsyncCache(db)
    await cache.set("k", b"first")
    for write in (
        lambda setter: setter.set("k", b"late"),
        lambda setter: setter.set_many({"j": b"x", "k": b"late"}),
    ):
        async with db.transaction() as tx:
            await tx.execute(b"select from pgops.cache_store where key = 'k' for update")
            late = asyncio.create_task(write(cache))
            await waiting(db)
            await cache.invalidate("default")
        await late
        assert await cache.get_many(["j", "k"]) == {}
        async with db.transaction() as tx:
            await tx.execute(b"select from pgops.cache_store where key = 'k' for update")
            late = asyncio.create_task(write(cache))
            await waiting(db)
            await cache.invalidate("default")
            await AsyncCache(tx).set("k", b"newer")
        await late
        assert await cache.get("k") == b"newer", "nor does it put an older value in place of one from after"


async def test_a_set_of_an_older_generation_does_not_undo_a_newer_one(db: AsyncPool) -> None:
    cache = AsyncCache(db)
    async with db.transaction() as tx:
        await tx.execute(b"set transaction isolation level repeatable read")
        await tx.one(b"select 1")
        await cache.invalidate("default")
        await AsyncCache(tx).set("k", b"of the old generation")
    assert await cache.get("k") is None
    await cache.set("k", b"new")
    await db.execute(
        Q["keep"],
        {"key": "k", "namespace": "default", "value": b"late", "ttl_s": 60, "jitter": 0.0, "stale_s": 0.0,
         "generation": 0, "compute_s": 0.0},
    )  # fmt: skip
    assert await cache.get("k") == b"new"


async def waiting(db: AsyncPool) -> None:
    """Until some statement waits for a lock."""
    end = monotonic() + 5
    while not (
        await db.all(b"select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()")
    ):
        assert monotonic() < end
        await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_under_load_nothing_from_before_is_ever_read_after(db: AsyncPool) -> None:
    """Invalidations are numbered: `begun` and `done`. Who asks once number n is done never sees what was set before n
    began, nor what began to be computed before."""
    begun = done = written = 0
    set_before: dict[int, int] = {}
    stop = monotonic() + 4
    seen = []

    async def invalidate() -> None:
        nonlocal begun, done
        cache = AsyncCache(db)
        while monotonic() < stop:
            begun += 1
            await cache.invalidate("n")
            done = begun
            await asyncio.sleep(0.01)

    async def write() -> None:
        nonlocal written
        cache = AsyncCache(db)
        while monotonic() < stop:
            written += 1
            number = written
            value = b"%d" % number
            await (cache.set_many({"k": value, "l": value}, namespace="n") if number % 2 else
                   cache.set("k", value, ttl_s=60, namespace="n"))  # fmt: skip
            set_before[number] = begun

    async def look() -> None:
        cache = AsyncCache(db)
        while monotonic() < stop:
            least = done
            one = await cache.get("k", namespace="n")
            many = await cache.get_many(["k", "l"], namespace="n")
            for value in [one, *many.values()]:
                assert value is None or set_before.get(int(value), least) >= least
                seen.append(value)

    async def compute() -> None:
        cache = AsyncCache(db)

        async def value() -> bytes:
            number = begun
            await asyncio.sleep(0.005)
            return b"%d" % number

        while monotonic() < stop:
            least = done
            assert int(await cache.get_or_compute("c", value, ttl_s=0.05, namespace="n", stale_s=1.0)) >= least
            computed = await cache.get("c", namespace="n")
            assert computed is None or int(computed) >= least

    await asyncio.gather(invalidate(), write(), write(), compute(), compute(), look(), look())
    assert done > 50 and sum(value is not None for value in seen) > 100, "or nothing was proven"


async def test_a_bad_namespace_is_refused(cache: AsyncCache) -> None:
    bad: list[Any] = ["", "x" * 201, "nul\0", 7, None]
    for namespace in bad:
        with pytest.raises(UsageError, match="namespace"):
            await cache.invalidate(namespace)


# --- what is said ------------------------------------------------------------------------------------------------


async def test_namespaces_tell_reads_entries_and_cap(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_cap("pages", entries=10, bytes=1_000)
    await cache.set_many({"a": b"12345", "b": b"12345"}, namespace="pages")
    await cache.get_many(["a", "b", "c", "d"], namespace="pages")
    await cache.set("s", b"1", namespace="sessions")
    await cache.invalidate("gone")
    stats = await cache.stats()
    assert [one.name for one in stats.namespaces] == ["pages", "gone", "sessions"]
    pages, gone, sessions = stats.namespaces
    assert (pages.hits, pages.misses, pages.hit_ratio, pages.sets) == (2, 2, 0.5, 2)
    assert (pages.entries, pages.bytes, pages.max_entries, pages.max_bytes) == (2, 12, 10, 1_000)
    assert (sessions.entries, sessions.hit_ratio, sessions.max_entries) == (1, None, None)
    assert gone.entries == 0 and gone.invalidated_at is not None and pages.invalidated_at is None
    assert all(one.exact == {} for one in stats.namespaces)


async def test_in_a_large_table_namespaces_are_estimated_and_say_so(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_cap("capped", entries=100_000)
    await cache.set_many({f"k{i}": b"x" * 100 for i in range(20_000)}, namespace="open")
    await cache.set_many({f"k{i}": b"x" * 100 for i in range(5_000)}, namespace="capped")
    found = {one.name: one for one in (await cache.stats()).namespaces}
    assert 15_000 < found["open"].entries < 25_000
    assert 4_200 < found["capped"].entries < 5_800
    assert 4_200 * 104 < found["capped"].bytes < 5_800 * 105
    assert found["open"].exact == found["capped"].exact == {"entries": False, "bytes": False}


def test_the_blocking_twin_does_the_same(dsn: str) -> None:
    with Pool.open(dsn) as db:
        cache = Cache(db)
        cache.set_cap("n", entries=10)
        threads = [
            threading.Thread(target=lambda n=n: [cache.set(f"{n}:{i}", b"x", namespace="n") for i in range(50)])  # type: ignore[misc]
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stats = cache.stats()
        assert (stats.sets, stats.evicted, stats.entries) == (200, 190, 10)
        assert cache.invalidate("n") == 1
        assert cache.get("0:49", namespace="n") is None


# --- plans -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def large(db: AsyncPool) -> AsyncIterator[AsyncPool]:
    """60,000 rows, half of them in a namespace with a cap; 300 namespaces have a row."""
    cache = AsyncCache(db)
    await cache.set_cap("n", entries=1_000_000)
    await db.execute(
        b"insert into pgops.cache_namespaces (namespace) select 'other' || n from generate_series(1, 300) n"
    )
    await cache.set_many({f"k{i}": b"x" * 40 for i in range(30_000)}, namespace="n", ttl_s=3_600)
    await cache.set_many({f"k{i}": b"x" * 40 for i in range(30_000)}, ttl_s=3_600)
    await db.execute(b"vacuum analyze pgops.cache_store")
    yield db


HOT: dict[str, dict[str, object]] = {
    "get": {"key": "k7", "namespace": "n"},
    "get_many": {"keys": ["k7", "k8"], "namespace": "n"},
    "look": {"key": "k7", "namespace": "n"},
    "extend": {"keys": ["k7", "k8"], "namespace": "n"},
    "touch": {"key": "k7", "namespace": "n", "ttl_s": 60.0},
    "set": {"key": "k7", "namespace": "n", "value": b"x", "ttl_s": 60.0},
    "set_many": {"keys": ["k7"], "values": [b"x"], "namespace": "n", "ttl_s": 60.0, "sliding": True, "jitter": 0.1},
    "keep": {"key": "k7", "namespace": "n", "value": b"x", "ttl_s": 60.0, "jitter": 0.1, "stale_s": 1.0,
             "generation": 0, "compute_s": 0.1},
    "delete": {"keys": ["k7"], "namespace": "n"},
    "evict": {"namespace": "n", "spot": 0, "rows": 1_000},
    "purge_slice": {"low": "(0,0)", "high": "(16,0)", "batch": 100},
    "enroll_slice": {"low": "(0,0)", "high": "(16,0)", "batch": 100, "namespaces": ["n"]},
}  # fmt: skip


async def assert_no_whole_table(db: AsyncPool, *names: str) -> None:
    async with db.transaction() as tx:
        await tx.execute(b"set local plan_cache_mode = force_generic_plan")
        for name in names:
            plan = "\n".join(row[0] for row in await tx.all(b"explain " + Q[name], HOT[name]))
            assert "Seq Scan on cache_store" not in plan, f"{name}:\n{plan}"


async def test_no_statement_of_a_key_reads_the_empty_table_whole(db: AsyncPool) -> None:
    """Its plan is kept while the table grows."""
    await assert_no_whole_table(db, *(name for name in HOT if name not in ("evict", "purge_slice", "enroll_slice")))


async def test_no_hot_statement_reads_a_large_table_whole(large: AsyncPool) -> None:
    await assert_no_whole_table(large, *HOT)
    for name in ("get", "get_many", "look", "touch", "set", "set_many", "keep", "delete"):
        plan = "\n".join(row[0] for row in await large.all(b"explain " + Q[name], HOT[name]))
        assert "Seq Scan on cache_namespaces" not in plan, f"{name}:\n{plan}"


async def test_an_eviction_reads_its_sample_and_no_more(large: AsyncPool) -> None:
    plan = await large.all(b"explain (analyze, buffers, summary off) " + Q["evict"], HOT["evict"])
    text = "\n".join(row[0] for row in plan)
    assert "Scan using cache_store_spot" in text or "Scan on cache_store_spot" in text, text
    found = [int(line.partition("shared hit=")[2].split()[0]) for line in text.splitlines() if "shared hit=" in line]
    assert found[0] < 4_000, text


@pytest.mark.parametrize(("name", "params"), [("evict", HOT["evict"]), ("read_namespaces", NAMESPACES)])
async def test_what_is_done_often_is_not_thought_worth_workers_or_compiling(
    large: AsyncPool, name: str, params: dict[str, object]
) -> None:
    """A server would start parallel workers, or compile it, for longer than it takes."""
    await large.execute(
        b"insert into pgops.cache_store (key, namespace, value, spot)"
        b" select 'more' || i, 'n', 'x', hashtext('more' || i) from generate_series(1, 200000) as i"
    )
    await large.execute(b"vacuum analyze pgops.cache_store")
    plan = "\n".join(row[0] for row in await large.all(b"explain " + Q[name], params))
    cost = re.search(r"cost=[\d.]+\.\.([\d.]+)", plan)
    assert cost is not None and float(cost[1]) < 100_000, plan
    assert "Gather" not in plan, plan
