"""The key-value store's promises: what is set stays until it ends, a lost race is told, a wildcard can be meant
literally, and all of it belongs to the caller's transaction."""

import asyncio
import math
from typing import Any

import psycopg
import pytest

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import ConflictError, ExitCode, UsageError
from pgops.services import kv as module
from pgops.services.client import AsyncPgops
from pgops.services.keys import MAX_VALUE_BYTES
from pgops.services.kv import AsyncKv
from pgops.services.kv_rules import DURABLE, Range, glob_range, prefix_range
from pgops.services.models import Counted
from pgops.sync.database import Pool
from pgops.sync.services.kv import Kv


@pytest.fixture
def kv(db: AsyncPool) -> AsyncKv:
    return AsyncKv(db)


async def expire(db: AsyncPool, condition: bytes = b"true") -> None:
    for table in (b"kv_store", b"kv_ephemeral"):
        await db.execute(
            b"update pgops." + table + b" set expires_at = statement_timestamp() - interval '1 s' where " + condition
        )


async def rows(db: AsyncPool) -> set[str]:
    both = b"select key from pgops.kv_store union all select key from pgops.kv_ephemeral"
    return {row[0] for row in await db.all(both)}


# --- values ------------------------------------------------------------------------------------------------------


async def test_a_value_is_got_as_it_was_set(kv: AsyncKv) -> None:
    value = bytes(range(256))
    await kv.set("k", value)
    assert await kv.get("k") == value
    await kv.set("k", "grüße")
    assert await kv.get("k") == "grüße".encode()
    await kv.set("k", b"")
    assert await kv.get("k") == b""
    assert await kv.get("other") is None
    assert await kv.get_entry("other") is None


async def test_the_durable_and_the_ephemeral_do_not_see_each_other(db: AsyncPool) -> None:
    kv = AsyncKv(db)
    await kv.set("k", b"1")
    await kv.ephemeral.set("k", b"2")
    assert (await kv.get("k"), await kv.ephemeral.get("k")) == (b"1", b"2")
    assert await kv.ephemeral.ephemeral.get("k") == b"2"
    kinds = b"select relname::text, relpersistence::text from pg_class where relname in ('kv_store', 'kv_ephemeral')"
    assert dict(await db.all(kinds)) == {"kv_store": "p", "kv_ephemeral": "u"}


async def test_the_ephemeral_can_do_all_that_the_durable_can(db: AsyncPool) -> None:
    kv = AsyncKv(db).ephemeral
    version = await kv.set("n", b"1")
    assert await kv.compare_and_set("n", version, b"2") > version
    assert await kv.incr("n") == 3
    assert (await kv.add("n", b"x"), await kv.get("n"), await kv.ttl("n")) == (None, b"3", -1)
    assert await kv.set_many({"a": b"1", "b": b"2"}, ttl_s=60) == 2
    assert await kv.get_many(["a", "n"]) == {"a": b"1", "n": b"3"}
    assert (await kv.expire("n", 60), await kv.persist("a")) == (True, True)
    assert [entry.key for entry in (await kv.scan(glob="[an]")).entries] == ["a", "n"]
    await expire(db, b"key = 'b'")
    assert await kv.count_expired() == Counted(1, True)
    assert (await kv.purge_expired()).rows == 1
    assert await kv.delete("a", "n") == 2
    assert await db.one(b"select count(*) from pgops.kv_store") == (0,)


async def test_many_are_got_in_the_order_asked_for_and_set_all_or_none(kv: AsyncKv, db: AsyncPool) -> None:
    assert await kv.set_many({"b": b"2", "ä": "3", "a": b"1"}, ttl_s=60) == 3
    assert list((await kv.get_many(["ä", "missing", "a", "b", "a"])).items()) == [("ä", b"3"), ("a", b"1"), ("b", b"2")]
    assert await kv.get_many([]) == {}
    assert await kv.set_many({}) == 0
    with pytest.raises(UsageError):
        await kv.set_many({"good": b"1", "bad\0": b"2"})
    assert await rows(db) == {"a", "b", "ä"}


async def test_add_is_for_what_is_not_there(kv: AsyncKv, db: AsyncPool) -> None:
    version = await kv.add("lock", b"me", ttl_s=60)
    assert version is not None
    assert await kv.add("lock", b"you") is None
    entry = await kv.get_entry("lock")
    assert entry is not None
    assert (entry.value, entry.version) == (b"me", version)
    assert entry.ttl_s is not None and 59 < entry.ttl_s <= 60, "a refused add does not touch the end"


async def test_of_many_adds_at_once_one_wins(kv: AsyncKv) -> None:
    won = await asyncio.gather(*(kv.add("lock", b"%d" % n) for n in range(30)))
    (winner,) = [n for n, version in enumerate(won) if version is not None]
    assert await kv.get("lock") == b"%d" % winner


async def test_delete_tells_how_many_were_there(kv: AsyncKv, db: AsyncPool) -> None:
    await kv.set_many({"a": b"1", "b": b"2", "old": b"3"})
    await expire(db, b"key = 'old'")
    assert await kv.delete("a", "b", "b", "old", "never") == 2
    assert await rows(db) == set()
    assert await kv.delete() == 0


async def test_writers_and_deleters_of_the_same_keys_never_deadlock(db: AsyncPool) -> None:
    names = [f"k{n}" for n in range(200)]
    kv = AsyncKv(db)

    async def write(turn: int) -> None:
        order = names if turn % 2 else names[::-1]
        await (kv.set_many(dict.fromkeys(order, b"x")) if turn % 3 else kv.delete(*order))

    await asyncio.gather(*(write(turn) for turn in range(40)))


# --- time --------------------------------------------------------------------------------------------------------


async def test_a_ttl_reads_as_redis_has_it(kv: AsyncKv) -> None:
    await kv.set("ends", b"x", ttl_s=60)
    await kv.set("stays", b"x")
    assert 59 < await kv.ttl("ends") <= 60
    assert await kv.ttl("stays") == -1
    assert await kv.ttl("never") == -2


async def test_an_end_is_set_moved_and_taken_away_without_a_new_version(kv: AsyncKv) -> None:
    version = await kv.set("k", b"x")
    assert await kv.expire("k", 60)
    assert 59 < await kv.ttl("k") <= 60
    assert await kv.persist("k")
    assert await kv.ttl("k") == -1
    assert (await kv.expire("never", 60), await kv.persist("never")) == (False, False)
    entry = await kv.get_entry("k")
    assert entry is not None and entry.version == version
    await kv.set("k", b"x", ttl_s=60)
    await kv.set("k", b"y")
    assert await kv.ttl("k") == -1, "a set without an end has none"


async def test_an_expired_key_is_as_good_as_none_for_every_verb(kv: AsyncKv, db: AsyncPool) -> None:
    names = ("get", "add", "incr", "cas", "cas0", "delete", "expire", "persist")
    await kv.set_many(dict.fromkeys(names, b"41"))
    old = await kv.get_entry("cas")
    assert old is not None
    await expire(db)
    assert await kv.get("get") is None
    assert await kv.get_entry("get") is None
    assert await kv.get_many(names) == {}
    assert await kv.ttl("get") == -2
    assert (await kv.scan()).entries == ()
    assert await kv.delete("delete") == 0
    assert (await kv.expire("expire", 60), await kv.persist("persist")) == (False, False)
    assert await kv.add("add", b"new") is not None
    assert await kv.incr("incr") == 1
    assert await kv.ttl("incr") == -1, "a new key: the old end is gone"
    with pytest.raises(ConflictError, match="is not there"):
        await kv.compare_and_set("cas", old.version, b"new")
    assert await kv.compare_and_set("cas0", 0, b"new") > old.version
    assert {entry.key for entry in (await kv.scan()).entries} == {"add", "incr", "cas0"}


async def test_an_end_comes_by_the_databases_clock(kv: AsyncKv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    await kv.set("k", b"x", ttl_s=0.1)
    assert await kv.get("k") == b"x"
    await asyncio.sleep(0.15)
    assert await kv.get("k") is None


# --- counting ------------------------------------------------------------------------------------------------------


async def test_incr_counts_up_down_and_from_nothing(kv: AsyncKv) -> None:
    assert await kv.incr("n") == 1
    assert await kv.incr("n", 41) == 42
    assert await kv.incr("n", -50) == -8
    assert await kv.get("n") == b"-8"
    await kv.set("n", "7", ttl_s=60)
    assert await kv.incr("n", ttl_s=5) == 8
    assert await kv.ttl("n") > 59, "a key that is there keeps its end"
    assert await kv.incr("new", ttl_s=5) == 1
    assert 4 < await kv.ttl("new") <= 5


async def test_no_increment_is_lost(kv: AsyncKv) -> None:
    await asyncio.gather(*(kv.incr("n") for _ in range(200)))
    assert await kv.get("n") == b"200"


async def test_incr_on_what_is_no_number_is_refused_and_changes_nothing(kv: AsyncKv) -> None:
    numberless = (b"text", b"", b"1.5", b" 7", b"7\n", b"0x7", b"\xff\xfe", b"--1", b"-", b"1" * 20, b"9" * 5_000_000)
    for value in numberless:
        version = await kv.set("k", value)
        with pytest.raises(UsageError) as refused:
            await kv.incr("k")
        assert refused.value.hint and len(str(refused.value)) < 120
        entry = await kv.get_entry("k")
        assert entry is not None
        assert (entry.value, entry.version) == (value, version)


async def test_a_sum_of_more_than_64_bits_is_told(kv: AsyncKv) -> None:
    most, least = 2**63 - 1, -(2**63)
    await kv.set("n", str(most - 1))
    assert await kv.incr("n") == most
    with pytest.raises(UsageError, match="9223372036854775807 plus 1 has more than 64 bits"):
        await kv.incr("n")
    assert await kv.get("n") == b"%d" % most
    await kv.set("n", str(least))
    with pytest.raises(UsageError, match="64 bits"):
        await kv.incr("n", -1)
    assert await kv.incr("n", most) == -1
    for bad in (most + 1, least - 1, 1.5, True, "1", None):
        with pytest.raises(UsageError, match="64 bits"):
            await kv.incr("n", bad)  # type: ignore[arg-type]


async def test_a_refused_incr_leaves_the_callers_transaction_alive(dsn: str, db: AsyncPool) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        bound = AsyncKv(AsyncBound(conn, foreign=True))
        await bound.set("text", "x")
        with pytest.raises(UsageError):
            await bound.incr("text")
        with pytest.raises(ConflictError):
            await bound.compare_and_set("text", 1, b"y")
        with pytest.raises(UsageError):
            await bound.set("nul\0", b"y")
        await bound.set("after", b"y")
    assert await rows(db) == {"text", "after"}


# --- versions --------------------------------------------------------------------------------------------------------


async def test_compare_and_set_takes_only_the_version_that_was_read(kv: AsyncKv) -> None:
    first = await kv.set("k", b"1")
    second = await kv.compare_and_set("k", first, b"2")
    assert second > first
    with pytest.raises(ConflictError, match=f"has version {second}, not {first}") as lost:
        await kv.compare_and_set("k", first, b"3")
    assert lost.value.exit_code == ExitCode.NO
    assert await kv.get("k") == b"2"
    with pytest.raises(ConflictError, match="is not there"):
        await kv.compare_and_set("never", first, b"1")
    with pytest.raises(ConflictError):
        await kv.compare_and_set("k", 0, b"3")
    assert await kv.compare_and_set("new", 0, b"1") > 0


async def test_every_write_of_a_value_has_a_new_version(kv: AsyncKv) -> None:
    versions = [await kv.set("k", b"1"), await kv.set("k", b"1")]
    await kv.incr("k")
    entry = await kv.get_entry("k")
    assert entry is not None
    versions.append(entry.version)
    await kv.set_many({"k": b"1"})
    versions.append(await kv.set("k", b"1"))
    assert versions == sorted(set(versions))


async def test_a_key_deleted_and_made_anew_has_not_its_old_version(kv: AsyncKv, db: AsyncPool) -> None:
    """Counted from 1 it would: a reader of the old value would overwrite a new one that he never saw."""
    old = await kv.set("k", b"old")
    await kv.delete("k")
    assert await kv.add("k", b"new") != old
    with pytest.raises(ConflictError):
        await kv.compare_and_set("k", old, b"from the old")
    await expire(db)
    with pytest.raises(ConflictError):
        await kv.compare_and_set("k", old, b"from the old")


async def test_of_many_that_compare_at_once_each_wins_once(kv: AsyncKv) -> None:
    await kv.set("n", b"0")

    async def add_one() -> None:
        while True:
            entry = await kv.get_entry("n")
            assert entry is not None
            try:
                await kv.compare_and_set("n", entry.version, b"%d" % (int(entry.value) + 1))
                return
            except ConflictError:
                continue

    await asyncio.gather(*(add_one() for _ in range(20)))
    assert await kv.get("n") == b"20"


# --- scan ------------------------------------------------------------------------------------------------------------

NAMES = [
    "100%",
    "1000",
    "a",
    "a*b",
    "a[b",
    "a\\b",
    "aXb",
    "a_b",
    "axb",
    "user:1",
    "user:2",
    "user:20",
    "ä",
    "🙂",
    "🙂b",
]


async def scanned(kv: AsyncKv, **query: Any) -> list[str]:
    return [entry.key for entry in (await kv.scan(**query)).entries]


SCANS: list[tuple[dict[str, str], list[str]]] = [
    ({}, NAMES),
    ({"prefix": ""}, NAMES),
    ({"prefix": "user:"}, ["user:1", "user:2", "user:20"]),
    ({"prefix": "100%"}, ["100%"]),
    ({"prefix": "a_"}, ["a_b"]),
    ({"prefix": "a*"}, ["a*b"]),
    ({"prefix": "🙂"}, ["🙂", "🙂b"]),
    ({"prefix": "nothing"}, []),
    ({"glob": "*"}, NAMES),
    ({"glob": "user:*"}, ["user:1", "user:2", "user:20"]),
    ({"glob": "user:?"}, ["user:1", "user:2"]),
    ({"glob": "*b"}, ["a*b", "a[b", "a\\b", "aXb", "a_b", "axb", "🙂b"]),
    ({"glob": "a?b"}, ["a*b", "a[b", "a\\b", "aXb", "a_b", "axb"]),
    ({"glob": r"a\*b"}, ["a*b"]),
    ({"glob": r"a\[b"}, ["a[b"]),
    ({"glob": r"a\\b"}, ["a\\b"]),
    ({"glob": r"?\*?"}, ["a*b"]),
    ({"glob": "a[A-Z]b"}, ["aXb"]),
    ({"glob": "a[!a-zA-Z]b"}, ["a*b", "a[b", "a\\b", "a_b"]),
    ({"glob": "a[^x*]b"}, ["a[b", "a\\b", "aXb", "a_b"]),
    ({"glob": r"a[\[\]\\]b"}, ["a[b", "a\\b"]),
    ({"glob": "a[[_]b"}, ["a[b", "a_b"]),
    ({"glob": "100%"}, ["100%"]),
    ({"glob": "100_"}, []),
    ({"glob": "100?"}, ["100%", "1000"]),
    ({"glob": "?"}, ["a", "ä", "🙂"]),
    ({"glob": "a"}, ["a"]),
    ({"glob": "a.b"}, []),
    ({"glob": "(a|b)"}, []),
    ({"glob": "**b**"}, ["a*b", "a[b", "a\\b", "aXb", "a_b", "axb", "🙂b"]),
]


async def test_a_scan_finds_what_is_meant_in_byte_order(kv: AsyncKv) -> None:
    await kv.set_many(dict.fromkeys(NAMES, b"x"))
    for query, found in SCANS:
        assert await scanned(kv, **query) == sorted(found, key=str.encode), query


async def test_a_glob_takes_line_ends_and_any_other_character(kv: AsyncKv) -> None:
    await kv.set_many({"a\nb": b"x", "a\tb": b"x", "a'\"b": b"x"})
    assert await scanned(kv, glob="a?b") == ["a\tb", "a\nb"]
    assert await scanned(kv, glob="a*b") == ["a\tb", "a\nb", "a'\"b"]
    assert await scanned(kv, glob="?\nb") == ["a\nb"]


@pytest.mark.parametrize("glob", ["a[", "a[]", "[!]", "a\\", "[z-a]", "x[a", "", "a" * 2_001, "nul\0", 7])
def test_a_glob_that_cannot_be_is_told(glob: Any) -> None:
    with pytest.raises(UsageError) as refused:
        module._range(None, glob)
    assert refused.value.hint


async def test_a_scan_takes_one_of_prefix_and_glob_and_a_sane_page(kv: AsyncKv) -> None:
    for query in ({"prefix": "a", "glob": "b"}, {"limit": 0}, {"limit": 10_001}, {"after": ""}, {"prefix": "nul\0"}):
        with pytest.raises(UsageError):
            await kv.scan(**query)  # type: ignore[arg-type]


async def test_pages_follow_each_other_without_a_gap_or_a_double(kv: AsyncKv) -> None:
    names = [f"k{n:04}" for n in range(25)]
    await kv.set_many(dict.fromkeys([*names, "l"], b"x"))
    seen: list[str] = []
    after: str | None = None
    sizes = []
    while True:
        page = await kv.scan(prefix="k", limit=10, after=after)
        sizes.append(len(page.entries))
        seen += [entry.key for entry in page.entries]
        after = page.next
        if after is None:
            break
    assert (seen, sizes) == (names, [10, 10, 5])
    assert (await kv.scan(prefix="k", limit=25)).next is None, "a page that is just full is the last one"
    assert (await kv.scan(prefix="k", after="a", limit=1)).entries[0].key == "k0000"


async def test_a_scan_that_matches_little_reads_a_bounded_part_and_goes_on(
    kv: AsyncKv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SCAN", 10)
    await kv.set_many({f"k{n:03}": b"x" for n in range(95)})
    pages, seen, after = 0, [], None
    while True:
        page = await kv.scan(glob="*7", limit=5, after=after)
        pages, after = pages + 1, page.next
        seen += [entry.key for entry in page.entries]
        if after is None:
            break
    assert seen == [f"k{n:03}" for n in range(95) if n % 10 == 7]
    assert pages == 10


async def test_a_scan_stays_on_the_primary_key_under_a_generic_plan(db: AsyncPool) -> None:
    await AsyncKv(db).set_many({f"user:{n}": b"x" for n in range(20_000)})
    await db.execute(b"analyze pgops.kv_store")
    found = glob_range("user:19*9")
    params = {
        "low": found.low, "high": found.high, "pattern": found.pattern, "after": "", "limit": 10, "looked": 100,
    }  # fmt: skip
    async with db.transaction() as tx:
        await tx.execute(b"set local plan_cache_mode = force_generic_plan")
        lines = [row[0] for row in await tx.all(b"explain " + DURABLE["scan"], params)]
    plan = "\n".join(lines)
    assert "Index Scan using kv_store_pkey" in plan
    assert "Index Cond: ((key >= 'user:19'::text) AND (key > ''::text) AND (key < 'user:1:'::text))" in plan
    assert "Seq Scan" not in plan


async def test_like_and_starts_with_leave_the_index_under_a_generic_plan(db: AsyncPool) -> None:
    """Why a scan never uses them: the same search, prepared, reads the whole table."""
    await AsyncKv(db).set_many({f"user:{n}": b"x" for n in range(5_000)})
    await db.execute(b"analyze pgops.kv_store")
    async with db.transaction() as tx:
        await tx.execute(b"set local plan_cache_mode = force_generic_plan")
        for operator in (b"like", b"^@"):
            await tx.execute(b"prepare s(text) as select from pgops.kv_store where key " + operator + b" $1")
            lines = [row[0] for row in await tx.all(b"explain execute s('user:19')")]
            await tx.execute(b"deallocate s")
            assert any("Seq Scan" in line for line in lines)


def test_ranges_of_prefixes_end_where_they_should() -> None:
    assert prefix_range("user:") == Range("user:", "user;")
    assert prefix_range("a\ud7ff").high == "a\ue000", "no half of a surrogate pair"
    assert prefix_range("a\U0010ffff").high == "b"
    assert prefix_range("\U0010ffff").high > "\U0010ffff" * 500
    assert glob_range("user:*") == prefix_range("user:")
    assert glob_range(r"\*").pattern is None


async def test_a_glob_of_many_stars_costs_no_more_than_its_keys(kv: AsyncKv) -> None:
    await kv.set_many({"a" * 500 + str(n): b"x" for n in range(200)})
    assert await asyncio.wait_for(scanned(kv, glob="*a" * 60 + "b"), 5) == []


# --- purge -----------------------------------------------------------------------------------------------------------


async def fill(db: AsyncPool, live: int, expired: int) -> None:
    for table in (b"kv_store", b"kv_ephemeral"):
        await db.execute(
            b"insert into pgops."
            + table
            + b""" (key, value, expires_at)
            select kind || n, 'value',
                   statement_timestamp() + case kind when 'live' then '1 h' else '-1 s' end::interval
            from generate_series(0, greatest(%(live)s, %(expired)s)::bigint - 1) n, unnest(array['live', 'dead']) kind
            where n < case kind when 'live' then %(live)s else %(expired)s end::bigint order by n""",
            {"live": live, "expired": expired},
        )


async def test_purge_takes_all_that_has_expired_and_nothing_else(kv: AsyncKv, db: AsyncPool) -> None:
    await fill(db, 3_000, 2_500)
    assert await kv.count_expired() == Counted(2_500, True)
    assert await kv.count_expired(cap=100) == Counted(100, False)
    purged = await kv.purge_expired(batch=400)
    assert (purged.rows, purged.done) == (2_500, True)
    assert purged.batches >= 7
    assert await kv.count_expired() == Counted(0, True)
    assert len(await scanned(kv, limit=5_000)) == 3_000


async def test_a_purge_keeps_its_budget_and_goes_on_later(kv: AsyncKv, db: AsyncPool) -> None:
    await fill(db, 0, 30_000)
    first = await kv.purge_expired(batch=500, budget_s=0.001)
    assert not first.done and 0 < first.rows < 30_000
    rest = await kv.purge_expired(budget_s=30)
    assert (rest.done, first.rows + rest.rows) == (True, 30_000)


async def test_a_purge_does_not_wait_for_a_row_that_someone_writes(kv: AsyncKv, db: AsyncPool) -> None:
    await fill(db, 0, 10)
    async with db.transaction() as tx:
        bound = AsyncKv(tx)
        await bound.set("dead3", b"refreshed", ttl_s=60)
        await bound.ephemeral.set("dead3", b"refreshed", ttl_s=60)
        assert (await asyncio.wait_for(kv.purge_expired(), 2)).rows == 9
    assert await kv.get("dead3") == b"refreshed"


async def test_a_senseless_purge_is_refused(kv: AsyncKv) -> None:
    for batch, budget in ((0, 1.0), (10, 0.0), (10, math.nan)):
        with pytest.raises(UsageError):
            await kv.purge_expired(batch=batch, budget_s=budget)


# --- bad input -------------------------------------------------------------------------------------------------------


async def test_a_bad_key_is_refused_in_one_line(kv: AsyncKv, db: AsyncPool) -> None:
    bad: list[Any] = ["", "nul\0", "x" * 2_001, "half\ud800", "ä" * 1_001, 7, None, b"k"]
    for key in bad:
        calls = [
            kv.get(key), kv.get_entry(key), kv.set(key, b"x"), kv.add(key, b"x"), kv.get_many([key]), kv.ttl(key),
            kv.set_many({key: b"x"}), kv.delete(key), kv.expire(key, 1), kv.persist(key), kv.incr(key),
            kv.compare_and_set(key, 1, b"x"),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(UsageError) as refused:
                await call
            assert refused.value.hint
            assert len(str(refused.value)) < 120 and "\n" not in str(refused.value)
    assert await rows(db) == set()


async def test_a_value_over_the_limit_and_other_bad_values_are_refused(kv: AsyncKv, db: AsyncPool) -> None:
    bad: list[Any] = [b"x" * (MAX_VALUE_BYTES + 1), "x" * (MAX_VALUE_BYTES + 1), 7, None, {"a": 1}, "half\ud800"]
    for value in bad:
        for call in (kv.set("k", value), kv.add("k", value), kv.compare_and_set("k", 0, value)):
            with pytest.raises(UsageError) as refused:
                await call
            assert refused.value.hint
    with pytest.raises(UsageError, match=r"8,388,609 bytes; at most 8,388,608 fit"):
        await kv.set("k", b"x" * (MAX_VALUE_BYTES + 1))
    assert await rows(db) == set()
    await kv.set("k", b"x" * MAX_VALUE_BYTES)
    assert len(await kv.get("k") or b"") == MAX_VALUE_BYTES


async def test_a_bad_ttl_or_version_is_refused(kv: AsyncKv, db: AsyncPool) -> None:
    bad: list[Any] = [0, -1, math.nan, math.inf, 1e12, "60", True]
    for ttl_s in bad:
        for call in (kv.set("k", b"x", ttl_s=ttl_s), kv.add("k", b"x", ttl_s=ttl_s), kv.expire("k", ttl_s)):
            with pytest.raises(UsageError):
                await call
    for version in (-1, 1.5, "1", None, True, 2**63):
        with pytest.raises(UsageError, match="version"):
            await kv.compare_and_set("k", version, b"x")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="seconds"):
        await kv.expire("k", None)  # type: ignore[arg-type]
    assert await rows(db) == set()


# --- cost ------------------------------------------------------------------------------------------------------------


async def test_an_overwrite_is_a_heap_only_update(db: AsyncPool) -> None:
    async with db.transaction() as tx:
        bound = AsyncKv(tx)
        for turn in range(20):
            await bound.set("k", b"%d" % turn, ttl_s=60 + turn)
        row = await tx.one(
            b"""select pg_stat_get_xact_tuples_updated(c), pg_stat_get_xact_tuples_hot_updated(c)
                from (select 'pgops.kv_store'::regclass as c) t"""
        )
    assert row == (19, 19 if db.version >= 160_000 else 0), "under a BRIN index from PostgreSQL 16 on"


# --- the caller's transaction ----------------------------------------------------------------------------------------


async def test_the_seed_get_set_with_ttl_and_a_prefix_scan_atomic_with_relational_rows(dsn: str) -> None:
    """The seed's kv table: set with an end, `where key like 'user:%'`, and one transaction with the orders. Its scan
    is a range here, and its end is the database's clock."""
    async with AsyncPgops.open(dsn) as pg, await psycopg.AsyncConnection.connect(dsn) as conn:
        await conn.execute("create table orders (id int, customer text)")
        await conn.commit()

        for ended in ("rolled back", "committed"):
            kv = pg.bind(conn).kv
            await conn.execute("insert into orders values (1, 'user:1')")
            await kv.set_many({"user:1": '{"last_order": 1}', "user:2": "{}", "username": "no user"}, ttl_s=3600)
            await kv.ephemeral.set("user:1:seen", b"now")
            assert [entry.key for entry in (await kv.scan(prefix="user:")).entries] == ["user:1", "user:2"]
            assert await pg.kv.get("user:1") is None, "nobody else sees it yet"
            await (conn.rollback() if ended == "rolled back" else conn.commit())
            orders = await pg.db.all(b"select id from orders")
            both = (len(orders), await pg.kv.get("user:1"), await pg.kv.ephemeral.get("user:1:seen"))
            assert both == ((0, None, None) if ended == "rolled back" else (1, b'{"last_order": 1}', b"now"))

        assert 3590 < await pg.kv.ttl("user:1") <= 3600
        like = await pg.db.all(b"select key from pgops.kv_store where key like 'user:%' order by key")
        assert [row[0] for row in like] == [entry.key for entry in (await pg.kv.scan(prefix="user:")).entries]


def test_the_blocking_twin_does_the_same(dsn: str) -> None:
    with Pool.open(dsn) as db:
        kv = Kv(db)
        version = kv.set("k", "1", ttl_s=60)
        assert kv.incr("k") == 2
        with pytest.raises(ConflictError):
            kv.compare_and_set("k", version, b"x")
        kv.ephemeral.set("k", b"e")
        assert [entry.value for entry in kv.scan(glob="?").entries] == [b"2"]
        assert kv.purge_expired().done
