"""The cache's promises: what is set is got until it expires, by the database's clock; purge takes the expired alone."""

import asyncio
import math
import threading
from typing import Any

import psycopg
import pytest

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import PgopsError, UsageError
from pgops.services import cache_counts as module
from pgops.services.cache import AsyncCache, Q
from pgops.services.cache_counts import CacheCounts
from pgops.services.keys import MAX_VALUE_BYTES
from pgops.services.models import Counted
from pgops.sync.database import Pool
from pgops.sync.services.cache import Cache


@pytest.fixture
def cache(db: AsyncPool) -> AsyncCache:
    return AsyncCache(db)


async def expire(db: AsyncPool, condition: bytes = b"true") -> None:
    await db.execute(
        b"update pgops.cache_store set expires_at = statement_timestamp() - interval '1 s' where " + condition
    )


async def fill(db: AsyncPool, rows: int, *, expired: int = 0) -> None:
    """`rows` live values live0…, and `expired` expired ones dead0…, mixed on the pages."""
    await db.execute(
        b"""insert into pgops.cache_store (key, value, expires_at)
            select kind || n, 'value',
                   statement_timestamp() + case kind when 'live' then '1 h' else '-1 s' end::interval
            from generate_series(0, greatest(%(rows)s, %(expired)s)::bigint - 1) n, unnest(array['live', 'dead']) kind
            where n < case kind when 'live' then %(rows)s else %(expired)s end::bigint order by n""",
        {"rows": rows, "expired": expired},
    )


async def keys(db: AsyncPool) -> set[str]:
    return {row[0] for row in await db.all(b"select key from pgops.cache_store")}


async def test_a_value_is_got_as_it_was_set(cache: AsyncCache) -> None:
    value = bytes(range(256))
    await cache.set("k", value)
    assert await cache.get("k") == value
    await cache.set("k", b"")
    assert await cache.get("k") == b""
    assert await cache.get("other") is None


async def test_bytearray_and_memoryview_are_values_too(cache: AsyncCache) -> None:
    await cache.set("a", bytearray(b"x"))  # type: ignore[arg-type]
    await cache.set_many({"b": memoryview(b"y")})  # type: ignore[dict-item]
    assert await cache.get_many(["a", "b"]) == {"a": b"x", "b": b"y"}


async def test_namespaces_do_not_see_each_other(cache: AsyncCache) -> None:
    await cache.set("k", b"1", namespace="a")
    await cache.set("k", b"2", namespace="b")
    assert await cache.get("k", namespace="a") == b"1"
    assert await cache.get("k") is None
    assert await cache.delete("k", namespace="a") == 1
    assert await cache.get("k", namespace="b") == b"2"


async def test_many_are_got_in_the_order_asked_for_and_only_those_there(cache: AsyncCache) -> None:
    assert await cache.set_many({"b": b"2", "ä": b"3", "a": b"1"}, ttl_s=60) == 3
    assert list((await cache.get_many(["ä", "missing", "a", "b", "a"])).items()) == [
        ("ä", b"3"),
        ("a", b"1"),
        ("b", b"2"),
    ]
    assert await cache.get_many([]) == {}
    assert await cache.set_many({}) == 0


async def test_delete_tells_how_many_were_there(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set_many({"a": b"1", "b": b"2", "old": b"3"})
    await expire(db, b"key = 'old'")
    assert await cache.delete("a", "b", "b", "old", "never") == 2
    assert await keys(db) == set()
    assert await cache.delete() == 0


async def test_an_expired_value_is_never_returned(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set("short", b"x", ttl_s=0.15)
    await cache.set("long", b"y", ttl_s=60)
    assert await cache.get("short") == b"x"
    await asyncio.sleep(0.2)
    assert await cache.get("short") is None
    assert await cache.get_many(["short", "long"]) == {"long": b"y"}
    assert await keys(db) == {"short", "long"}


async def test_the_ttl_is_counted_by_the_databases_clock(
    cache: AsyncCache, db: AsyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    async with db.transaction() as tx:
        await tx.one(b"select now()")
        await asyncio.sleep(0.2)
        await AsyncCache(tx).set("k", b"x", ttl_s=10)
        row = await tx.one(b"select extract(epoch from expires_at - now())::float8 from pgops.cache_store")
        assert row is not None
        assert 10.2 <= row[0] < 11, "from the start of the statement, not of the transaction"


async def test_a_set_without_ttl_forgets_the_old_one(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set("k", b"x", ttl_s=60)
    await cache.set("k", b"y")
    assert await db.one(b"select expires_at from pgops.cache_store") == (None,)


async def test_a_bad_key_is_refused_in_one_line(cache: AsyncCache, db: AsyncPool) -> None:
    bad: list[Any] = ["", "nul\0", "x" * 2_001, "x" * 1_000_000, "half\ud800", "ä" * 1_001, 7, None, b"k"]
    for key in bad:
        calls = [cache.get(key), cache.set(key, b"x"), cache.get_many([key]), cache.set_many({key: b"x"})]
        for call in [*calls, cache.delete(key)]:
            with pytest.raises(UsageError) as refused:
                await call
            assert refused.value.hint
            assert len(str(refused.value)) < 120 and "\n" not in str(refused.value)
    assert await keys(db) == set()


async def test_a_key_may_have_2000_bytes_and_any_other_character(cache: AsyncCache) -> None:
    for key in ("x" * 2_000, "ä" * 1_000, "%s '\"; drop table \n\t💥", " "):
        await cache.set(key, key.encode())
        assert await cache.get(key) == key.encode()


async def test_one_text_is_not_a_list_of_keys(cache: AsyncCache) -> None:
    with pytest.raises(UsageError, match="not one text"):
        await cache.get_many("abc")


async def test_a_bad_ttl_is_refused(cache: AsyncCache, db: AsyncPool) -> None:
    bad: list[Any] = [0, -1, -0.0, math.nan, math.inf, -math.inf, 1e300, "60"]
    for ttl in bad:
        for call in (cache.set("k", b"x", ttl_s=ttl), cache.set_many({"k": b"x"}, ttl_s=ttl)):
            with pytest.raises(UsageError, match="TTL") as refused:
                await call
            assert refused.value.hint
    assert await keys(db) == set()


async def test_a_value_has_a_type_and_a_limit(cache: AsyncCache) -> None:
    for value in ("text", 1, None, {"a": 1}):
        with pytest.raises(UsageError, match="bytes") as refused:
            await cache.set("k", value)  # type: ignore[arg-type]
        assert "encode" in refused.value.hint
    await cache.set("k", b"x" * MAX_VALUE_BYTES)
    with pytest.raises(UsageError, match="8,388,609 bytes"):
        await cache.set("k", b"x" * (MAX_VALUE_BYTES + 1))
    assert len(await cache.get("k") or b"") == MAX_VALUE_BYTES


async def test_set_many_is_all_or_nothing(cache: AsyncCache, db: AsyncPool) -> None:
    with pytest.raises(UsageError):
        await cache.set_many({"a": b"1", "b": "2"})  # type: ignore[dict-item]
    assert await keys(db) == set()


async def test_many_writers_of_the_same_keys_never_deadlock(db: AsyncPool) -> None:
    names = [f"k{n}" for n in range(200)]

    async def write(turn: int) -> None:
        order = names if turn % 2 else names[::-1]
        await AsyncCache(db).set_many(dict.fromkeys(order, b"%d" % turn))

    await asyncio.gather(*(write(turn) for turn in range(24)))
    values = set((await AsyncCache(db).get_many(names)).values())
    assert len(values) == 1, "one statement wins as a whole"


# --- purge -----------------------------------------------------------------------------------------------------


async def test_purge_takes_all_that_has_expired_and_nothing_else(cache: AsyncCache, db: AsyncPool) -> None:
    await fill(db, 3_000, expired=2_500)
    await cache.set("forever", b"x")
    assert await cache.count_expired() == Counted(2_500, True)
    purged = await cache.purge_expired(batch=400)
    assert (purged.rows, purged.done) == (2_500, True)
    assert purged.batches >= 7
    assert await keys(db) == {f"live{n}" for n in range(3_000)} | {"forever"}
    assert await cache.count_expired() == Counted(0, True)
    again = await cache.purge_expired()
    assert (again.rows, again.done) == (0, True)


async def test_an_empty_cache_is_purged_at_once(cache: AsyncCache) -> None:
    purged = await cache.purge_expired()
    assert (purged.rows, purged.batches, purged.done) == (0, 0, True)


async def test_two_purgers_at_once_share_the_work_and_lose_nothing(db: AsyncPool) -> None:
    await fill(db, 5_000, expired=20_000)
    stop = False

    async def write() -> int:
        written = 0
        while not stop:
            await AsyncCache(db).set_many(
                {f"live{n}": b"new" for n in range(written % 5_000, written % 5_000 + 50)}, ttl_s=60
            )
            written += 50
        return written

    writer = asyncio.create_task(write())
    results = await asyncio.gather(*(AsyncCache(db).purge_expired(batch=100, budget_s=30) for _ in range(3)))
    stop = True
    assert await writer > 0
    assert sum(result.rows for result in results) == 20_000, "each expired row is deleted by one of them"
    assert {f"live{n}" for n in range(5_000)} <= await keys(db)
    assert not any(key.startswith("dead") for key in await keys(db))


async def test_a_purge_does_not_wait_for_a_row_that_someone_writes(db: AsyncPool, cache: AsyncCache) -> None:
    await fill(db, 0, expired=10)
    async with db.transaction() as tx:
        await AsyncCache(tx).set("dead3", b"refreshed", ttl_s=60)
        purged = await asyncio.wait_for(cache.purge_expired(), 2)
        assert purged.rows == 9
    assert await cache.get("dead3") == b"refreshed"


async def test_a_row_refreshed_while_the_purge_looks_at_it_stays(dsn: str, db: AsyncPool) -> None:
    """The purge's snapshot is old: it meets the refreshed row only when it locks it."""
    await fill(db, 0, expired=1)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as other:
        slow = Q["purge_slice"].replace(b"(coalesce(s.stale", b"pg_sleep(0.5) is not null and (coalesce(s.stale")
        assert b"pg_sleep" in slow
        params = {"low": "(0,0)", "high": "(128,0)", "batch": 10}
        task = asyncio.create_task(db.all(slow, params))
        await asyncio.sleep(0.2)
        await other.execute("update pgops.cache_store set expires_at = null")
        assert await task == []
    assert await keys(db) == {"dead0"}


async def test_a_purge_keeps_its_budget_and_goes_on_later(cache: AsyncCache, db: AsyncPool) -> None:
    await fill(db, 0, expired=40_000)
    first = await cache.purge_expired(batch=500, budget_s=0.001)
    assert not first.done
    assert first.batches >= 1 and 0 < first.rows < 40_000
    rest = await cache.purge_expired(budget_s=30)
    assert rest.done
    assert first.rows + rest.rows == 40_000


async def test_a_senseless_purge_is_refused(cache: AsyncCache) -> None:
    for batch, budget in ((0, 1.0), (-1, 1.0), (10, 0.0), (10, math.nan)):
        with pytest.raises(UsageError):
            await cache.purge_expired(batch=batch, budget_s=budget)


async def test_a_purge_slice_reads_its_pages_and_not_the_table(db: AsyncPool) -> None:
    await fill(db, 20_000, expired=1_000)
    await db.execute(b"analyze pgops.cache_store")
    params = {"low": "(0,0)", "high": "(16,0)", "batch": 100}
    plan = "\n".join(row[0] for row in await db.all(b"explain (analyze, buffers) " + Q["purge_slice"], params))
    assert "Tid Range Scan" in plan and "Tid Scan" in plan
    assert "Seq Scan on cache_store" not in plan


async def test_the_backlog_is_counted_up_to_a_cap(cache: AsyncCache, db: AsyncPool) -> None:
    await fill(db, 5, expired=100)
    assert await cache.count_expired(cap=100) == Counted(100, True)
    assert await cache.count_expired(cap=99) == Counted(99, False)
    with pytest.raises(UsageError):
        await cache.count_expired(cap=0)


# --- cost ------------------------------------------------------------------------------------------------------


async def test_a_get_is_one_probe_of_the_primary_key(db: AsyncPool) -> None:
    await fill(db, 20_000)
    await db.execute(b"analyze pgops.cache_store")
    async with db.transaction() as tx:
        await tx.execute(b"set local plan_cache_mode = force_generic_plan")
        plan = await tx.all(b"explain " + Q["get"], {"key": "live7", "namespace": "default"})
    text = "\n".join(row[0] for row in plan)
    assert "Index Scan using cache_store_pkey" in text
    assert "Index Cond: ((key = 'live7'::text) AND (namespace = 'default'::text))" in text


async def test_an_overwrite_with_a_new_ttl_is_a_heap_only_update(cache: AsyncCache, db: AsyncPool) -> None:
    async with db.transaction() as tx:
        bound = AsyncCache(tx)
        for turn in range(20):
            await bound.set("k", b"%d" % turn, ttl_s=60 + turn)
        row = await tx.one(
            b"""select pg_stat_get_xact_tuples_updated(c), pg_stat_get_xact_tuples_hot_updated(c)
                from (select 'pgops.cache_store'::regclass as c) t"""
        )
    assert row == (19, 19 if db.version >= 160_000 else 0), "under a BRIN index from PostgreSQL 16 on"


# --- counters --------------------------------------------------------------------------------------------------


async def test_hits_misses_sets_and_expired_are_counted(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.set("a", b"1")
    await cache.set_many({"b": b"2", "c": b"3"})
    await cache.get("a")
    await cache.get("missing")
    await cache.get_many(["a", "b", "missing"])
    await expire(db, b"key = 'c'")
    await cache.get("c")
    await cache.purge_expired()
    stats = await cache.stats()
    assert (stats.hits, stats.misses, stats.sets, stats.expired, stats.evicted) == (3, 3, 3, 1, 0)
    assert stats.hit_ratio == 0.5
    assert (stats.entries, stats.entries_exact) == (2, True)
    assert stats.bytes > 0 and stats.since is not None


async def test_counts_of_all_processes_add_up(db: AsyncPool) -> None:
    async def work(namespace: str) -> None:
        cache = AsyncCache(db)
        for _ in range(10):
            await cache.get("missing", namespace=namespace)
            await cache.get("missing")
        assert await cache.flush()

    await asyncio.gather(*(work(name) for name in ("b", "a", "b", "a", "c")))
    rows = await db.all(b"select namespace, misses from pgops.cache_stats order by 1")
    assert rows == [("a", 20), ("b", 20), ("c", 10), ("default", 50)]


async def test_a_read_writes_nothing_until_a_flush_is_due(
    cache: AsyncCache, db: AsyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_OPERATIONS", 50)
    for _ in range(49):
        await cache.get("missing")
    assert await db.all(b"select from pgops.cache_stats") == []
    await cache.get("missing")
    assert await db.all(b"select misses from pgops.cache_stats") == [(50,)]


async def test_counts_are_flushed_after_some_seconds(db: AsyncPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.05)
    cache = AsyncCache(db)
    await asyncio.sleep(0.1)
    await cache.get("missing")
    assert await db.all(b"select misses from pgops.cache_stats") == [(1,)]


async def test_no_reader_fails_for_a_statistic(
    cache: AsyncCache, db: AsyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = AsyncCache(db)
    await cache.set("k", b"x")
    await db.execute(b"alter table pgops.cache_stats rename to cache_stats_gone")
    monkeypatch.setattr(module, "FLUSH_OPERATIONS", 1)
    assert await cache.get("k") == b"x"
    assert not await cache.flush()
    await db.execute(b"alter table pgops.cache_stats_gone rename to cache_stats")
    assert await cache.flush()
    assert await db.all(b"select hits, sets from pgops.cache_stats") == [(1, 1)], "nothing was lost, nothing twice"


def test_counts_of_many_threads_add_up() -> None:
    counts = CacheCounts()
    workers = [threading.Thread(target=lambda: [counts.add("n", "hits") for _ in range(20_000)]) for _ in range(4)]
    taken = 0
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        taken += counts.take().get("n", {}).get("hits", 0)
    taken += counts.take().get("n", {}).get("hits", 0)
    assert taken == 80_000


# --- a caller's transaction --------------------------------------------------------------------------------------


async def test_in_a_callers_transaction_a_value_comes_and_goes_with_it(
    dsn: str, db: AsyncPool, cache: AsyncCache
) -> None:
    cache = AsyncCache(db)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        bound = AsyncCache(AsyncBound(conn, foreign=True), cache.counts)
        await bound.set("k", b"x")
        assert await bound.get("k") == b"x"
        assert await cache.get("k") is None
        assert not await bound.flush()
        statistics = await conn.execute("select count(*) from pgops.cache_stats where xmin = pg_current_xact_id()::xid")
        assert await statistics.fetchone() == (0,)
        await conn.rollback()
    assert await cache.get("k") is None
    assert await cache.flush()
    assert await db.all(b"select hits, misses, sets from pgops.cache_stats") == [(1, 2, 1)]


async def test_a_bound_cache_never_flushes_by_itself(dsn: str, db: AsyncPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_OPERATIONS", 1)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        await AsyncCache(AsyncBound(conn, foreign=True)).get("missing")
    assert await db.all(b"select from pgops.cache_stats") == []


async def test_a_bad_argument_leaves_the_callers_transaction_alive(dsn: str, db: AsyncPool) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        bound = AsyncCache(AsyncBound(conn, foreign=True))
        await bound.set("k", b"x")
        with pytest.raises(UsageError):
            await bound.set("nul\0", b"x")
        with pytest.raises(UsageError):
            await bound.set("k", b"x", ttl_s=1e300)
        await conn.commit()
    assert await keys(db) == {"k"}


# --- loss --------------------------------------------------------------------------------------------------------


async def test_a_cache_emptied_by_a_crash_is_told_from_one_never_filled(cache: AsyncCache, db: AsyncPool) -> None:
    await cache.get("missing")
    assert (await cache.stats()).state == "never filled"
    await cache.set("k", b"x")
    stats = await cache.stats()
    assert (stats.state, stats.emptied_at) == ("filled", None)
    await db.execute(b"truncate pgops.cache_store, pgops.cache_stats, pgops.rate_limits")  # what recovery does to them
    stats = await cache.stats()
    assert (stats.state, stats.entries, stats.hits) == ("emptied", 0, 0)
    await cache.get("k")
    stats = await cache.stats()
    assert stats.state == "filled"
    assert stats.emptied_at is not None and stats.filled_at is not None and stats.emptied_at > stats.filled_at


async def test_the_tables_that_may_be_lost_are_unlogged_and_the_marker_is_not(db: AsyncPool) -> None:
    rows = await db.all(
        b"""select relname::text from pg_class where relnamespace = 'pgops'::regnamespace and relkind = 'r'
            and relpersistence = 'u' order by 1"""
    )
    assert {row[0] for row in rows} >= {"cache_stats", "cache_store", "kv_ephemeral", "rate_limits"}
    assert not {row[0] for row in rows} & {"cache_marker", "kv_store"}


async def test_statistics_of_a_large_cache_are_estimated_and_say_so(cache: AsyncCache, db: AsyncPool) -> None:
    await fill(db, 12_000)
    await db.execute(b"analyze pgops.cache_store")
    stats = await cache.stats()
    assert not stats.entries_exact
    assert 11_000 <= stats.entries <= 13_000


async def test_a_cache_without_a_schema_says_what_to_do(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as db:
        with pytest.raises(PgopsError, match="schema is missing") as refused:
            await AsyncCache(db).get("k")
        assert "pgops migrate" in refused.value.hint


def test_the_blocking_twin_does_the_same(dsn: str) -> None:
    with Pool.open(dsn) as db:
        cache = Cache(db)
        cache.set("k", b"x", ttl_s=60)
        assert cache.get("k") == b"x"
        assert cache.purge_expired().done
        assert cache.stats().hits == 1
