"""Vector collections: what is near is found, what does not fit is refused, and no failure leaves anything behind."""

import asyncio
import math
import random
from typing import Any

import psycopg
import pytest

from pgops import migrate
from pgops.database import AsyncBound, AsyncPool, Packed
from pgops.errors import NotFoundError, PgopsError, RefusedError, UnavailableError, UsageError
from pgops.services import vector_rules as rules
from pgops.services import vector_wire as wire
from pgops.services.embedders import HashingEmbedder
from pgops.services.models import Metric, VectorRow
from pgops.services.vectors import AsyncVectors
from pgops.sync.database import Pool
from pgops.sync.services.vectors import Vectors


@pytest.fixture
def vectors(db: AsyncPool) -> AsyncVectors:
    return AsyncVectors(db)


def clustered(count: int, dimensions: int = 16, clusters: int = 20, seed: int = 1) -> list[VectorRow]:
    rng = random.Random(seed)
    centres = [[rng.gauss(0, 1) for _ in range(dimensions)] for _ in range(clusters)]
    return [
        VectorRow(f"row {n}", [x + rng.gauss(0, 0.4) for x in centres[n % clusters]], {"cluster": n % clusters})
        for n in range(count)
    ]


async def filled(db: AsyncPool, count: int, *, lists: int | None = None) -> AsyncVectors:
    """A collection docs with so many rows, and an index where `lists` are given."""
    vectors = AsyncVectors(db)
    await vectors.create("docs", 16)
    await vectors.add_many("docs", clustered(count))
    if lists is not None:
        await vectors.build_index("docs", lists=lists)
    return vectors


# What an open transaction that writes holds: REINDEX and CREATE INDEX CONCURRENTLY wait for its end.
HOLD = b"lock table pgops.vec_docs in row exclusive mode"
CANCEL = b"select pg_cancel_backend(pid) from pg_stat_activity where datname = current_database() and query ilike %s"


async def indexes(db: AsyncPool) -> list[tuple[str, bool]]:
    return await db.all(
        b"""select i.relname::text, x.indisvalid from pg_index x join pg_class i on i.oid = x.indexrelid
            where x.indrelid = 'pgops.vec_docs'::regclass and not x.indisprimary order by 1"""
    )


# --- collections -----------------------------------------------------------------------------------------------


@pytest.mark.vectors
async def test_a_collection_is_made_listed_and_dropped(vectors: AsyncVectors, db: AsyncPool) -> None:
    made = await vectors.create("docs", 3, metric="l2")
    assert (made.name, made.dimensions, made.metric, made.rows, made.rows_exact) == ("docs", 3, "l2", 0, True)
    assert (made.lists, made.recall) == (None, None)
    await vectors.create("a_2", 16_000)
    assert [one.name for one in await vectors.list()] == ["a_2", "docs"]
    await vectors.drop("docs")
    assert [one.name for one in await vectors.list()] == ["a_2"]
    assert await db.all(b"select from pg_class where relname like 'vec_docs%'") == []


@pytest.mark.vectors
async def test_a_name_is_taken_once_also_at_the_same_moment(db: AsyncPool) -> None:
    await AsyncVectors(db).list()
    results = await asyncio.gather(*(AsyncVectors(db).create("docs", 3) for _ in range(5)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, UsageError)]
    assert len(refused) == 4
    assert all("already" in str(error) for error in refused)


@pytest.mark.vectors
async def test_bad_collections_are_refused_before_anything_is_made(vectors: AsyncVectors, db: AsyncPool) -> None:
    bad: list[tuple[Any, Any, Any]] = [
        ("", 3, "cosine"), ("Docs", 3, "cosine"), ("1a", 3, "cosine"), ("a" * 42, 3, "cosine"), ("a-b", 3, "cosine"),
        ('x"; drop table pgops.audit; --', 3, "cosine"), (None, 3, "cosine"), ("docs\n", 3, "cosine"),
        ("docs", 0, "cosine"), ("docs", 16_001, "cosine"), ("docs", -1, "cosine"), ("docs", 3.5, "cosine"),
        ("docs", 3, "hamming"),
    ]  # fmt: skip
    for name, dimensions, metric in bad:
        with pytest.raises(UsageError) as refused:
            await vectors.create(name, dimensions, metric=metric)
        assert refused.value.hint
    assert await vectors.list() == ()


@pytest.mark.vectors
async def test_the_longest_name_works_with_an_index(vectors: AsyncVectors, db: AsyncPool) -> None:
    name = "a" * 41
    await vectors.create(name, 16)
    await vectors.add_many(name, clustered(60))
    built = await vectors.build_index(name, lists=1)
    assert (built.index, built.valid) == (f"vec_{name}_ivf", True)
    assert (await vectors.rebuild(name, lists=1)).lists_after == 1


@pytest.mark.vectors
async def test_an_unknown_collection_is_not_found_and_near_names_are_offered(vectors: AsyncVectors) -> None:
    with pytest.raises(NotFoundError) as refused:
        await vectors.get("dosc")
    assert refused.value.hint == "create it first"
    await vectors.create("docs", 3)
    calls = [
        vectors.get("dosc"), vectors.drop("dosc"), vectors.search("dosc", [1, 2, 3]), vectors.stats("dosc"),
        vectors.add_many("dosc", []), vectors.build_index("dosc"), vectors.rebuild("dosc"),
        vectors.measure_recall("dosc"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(NotFoundError) as refused:
            await call
        assert refused.value.hint == "did you mean docs?"


@pytest.mark.vectors
async def test_a_collection_dropped_elsewhere_is_not_found(vectors: AsyncVectors, db: AsyncPool) -> None:
    await vectors.create("docs", 3)
    await vectors.search("docs", [1, 2, 3])
    await AsyncVectors(db).drop("docs")
    with pytest.raises(NotFoundError):
        await vectors.search("docs", [1, 2, 3])


async def test_without_the_extension_all_else_works_and_vectors_say_why(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as db:
        wanted = [one for one in migrate.migrations() if one.extension is None]
        await migrate.apply(db, wanted)
        for call in (AsyncVectors(db).create("docs", 3), AsyncVectors(db).list(), AsyncVectors(db).search("docs", [1])):
            with pytest.raises(UnavailableError, match="extension vector") as refused:
                await call
            assert "pgops migrate" in refused.value.hint


# --- rows ------------------------------------------------------------------------------------------------------


@pytest.mark.vectors
async def test_rows_come_back_as_they_were_added(vectors: AsyncVectors) -> None:
    await vectors.create("docs", 3, metric="l2")
    nested = {"tags": ["a", "ä", None], "deep": {"n": 1.5, "back": "\\u0000"}}
    rows = [VectorRow("tab\t newline\n quote' 💥 \\N", [1, 0.5, -2], nested), VectorRow("", [9, 9, 9])]
    assert await vectors.add_many("docs", iter(rows)) == 2
    first, second = await vectors.search("docs", [1, 0.5, -2])
    assert (first.content, first.metadata, first.distance, first.score) == (rows[0].content, nested, 0.0, 1.0)
    assert (second.content, second.metadata) == ("", {})
    assert (await vectors.get("docs")).rows == 2


@pytest.mark.vectors
async def test_ids_are_drawn_or_given_and_never_meet(vectors: AsyncVectors) -> None:
    await vectors.create("docs", 1, metric="l2")
    await vectors.add_many("docs", [VectorRow("drawn", [1])])
    await vectors.add_many("docs", [VectorRow("given", [2], id=50), VectorRow("given", [3], id=7)])
    await vectors.add_many("docs", [VectorRow("drawn", [4])])
    await vectors.add_many("docs", [VectorRow("given", [5], id=20)])
    await vectors.add_many("docs", [VectorRow("drawn", [6])])
    assert [match.id for match in await vectors.search("docs", [0])] == [1, 50, 7, 51, 20, 52]
    with pytest.raises(PgopsError, match="duplicate"):
        await vectors.add_many("docs", [VectorRow("again", [1], id=50)])


@pytest.mark.vectors
async def test_a_bad_row_is_refused_and_nothing_of_its_call_stays(vectors: AsyncVectors) -> None:
    await vectors.create("docs", 2)
    good = [VectorRow("good", [1.0, float(n)]) for n in range(1, 3_000)]
    bad: list[Any] = [
        VectorRow("x", []), VectorRow("x", [1.0]), VectorRow("x", [1.0, 2.0, 3.0]), VectorRow("x", [1.0, math.nan]),
        VectorRow("x", [math.inf, 1.0]), VectorRow("x", [1e39, 1.0]), VectorRow("x", [0.0, -0.0]),
        VectorRow("x", [1e-45, 0.0]), VectorRow("x", ["1", "2"]), VectorRow("x", None), VectorRow("x", "ab"),  # type: ignore
        VectorRow("nul\0", [1.0, 1.0]), VectorRow("half\ud800", [1.0, 1.0]), VectorRow(None, [1.0, 1.0]),  # type: ignore
        VectorRow("x", [1.0, 1.0], {"n": math.nan}), VectorRow("x", [1.0, 1.0], {"nul": "\0"}),
        VectorRow("x", [1.0, 1.0], {"set": {1}}), VectorRow("x", [1.0, 1.0], [1]),  # type: ignore
        VectorRow("x", [1.0, 1.0], {"half": "\ud800"}), VectorRow("x", [1.0, 1.0], id=5),
        {"content": "x", "embedding": [1.0, 1.0]}, None,
    ]  # fmt: skip
    for row in bad:
        with pytest.raises(UsageError) as refused:
            await vectors.add_many("docs", [*good, row])
            pytest.fail(f"taken: {row}")
        assert "\n" not in str(refused.value)
    assert (await vectors.get("docs")).rows == 0
    for id in (0, -1, 2**63, "7"):
        with pytest.raises(UsageError):
            await vectors.add_many("docs", [VectorRow("x", [1.0, 1.0], id=id)])  # type: ignore[arg-type]
    assert await vectors.add_many("docs", good) == 2_999


@pytest.mark.vectors
async def test_a_zero_vector_has_a_place_under_l2_and_ip(vectors: AsyncVectors) -> None:
    metric: Metric
    for metric in ("l2", "ip"):
        await vectors.create(metric, 2, metric=metric)
        assert await vectors.add_many(metric, [VectorRow("zero", [0, 0])]) == 1


@pytest.mark.vectors
async def test_nothing_added_is_nothing_done(vectors: AsyncVectors) -> None:
    await vectors.create("docs", 2)
    assert await vectors.add_many("docs", []) == 0


# --- search ----------------------------------------------------------------------------------------------------


@pytest.mark.vectors
async def test_each_metric_measures_its_own_distance(vectors: AsyncVectors) -> None:
    cases: list[tuple[Metric, float, float]] = [
        ("cosine", 1 - 0.6, 0.6),
        ("l2", math.sqrt(8), 1 / (1 + math.sqrt(8))),
        ("ip", -3.0, 3.0),
    ]
    for metric, distance, score in cases:
        await vectors.create(metric, 2, metric=metric)
        await vectors.add_many(metric, [VectorRow("x", [3, 4])])
        (match,) = await vectors.search(metric, [1, 0] if metric != "l2" else [1, 2])
        assert match.distance == pytest.approx(distance)
        assert match.score == pytest.approx(score)


@pytest.mark.vectors
async def test_the_nearest_of_5000_are_found_by_the_index(db: AsyncPool) -> None:
    vectors = await filled(db, 5_000, lists=25)
    rows = clustered(5_000)
    found = 0
    for n in range(0, 5_000, 250):
        nearest = await vectors.search("docs", rows[n].embedding)
        true = await vectors.search("docs", rows[n].embedding, exact=True)
        assert nearest[0].content == true[0].content == f"row {n}"
        assert [match.distance for match in nearest] == sorted(match.distance for match in nearest)
        found += len({match.id for match in nearest} & {match.id for match in true})
    assert found >= 180, "recall@10 of at least 0.9"


async def plan(db: AsyncPool, vectors: AsyncVectors, statement: str, probes: int = 1) -> str:
    known = await vectors._knows("docs")
    packed = Packed(wire.pack_vector([1.0] * 16, 16, "cosine"))
    params = {"embedding": packed, "limit": 10, "probes": probes, "ef_search": 40, "filter": None}
    async with db.transaction() as tx:
        rows = await tx.all(b"explain (analyze, buffers, timing off) " + known.statement(statement), params)
    return "\n".join(row[0] for row in rows)


def buffers(text: str) -> int:
    line = next(line for line in text.splitlines() if "shared hit=" in line)
    return sum(int(part.partition("=")[2]) for part in line.split() if part.startswith(("hit=", "read=")))


@pytest.mark.vectors
async def test_a_search_uses_the_index_and_an_exact_one_cannot(db: AsyncPool) -> None:
    vectors = await filled(db, 5_000, lists=25)
    assert "Index Scan using vec_docs_ivf" in await plan(db, vectors, "search")
    assert "Index Scan using vec_docs_ivf" in await plan(db, vectors, "search_as_set")
    assert "vec_docs_ivf" not in await plan(db, vectors, "search_exact")


@pytest.mark.vectors
async def test_probes_hold_for_the_search_that_asked_for_them_alone(db: AsyncPool) -> None:
    vectors = await filled(db, 5_000, lists=25)
    few, many = [buffers(await plan(db, vectors, "search", probes)) for probes in (1, 25)]
    assert many > 3 * few, "more lists are read in the very statement that sets the probes"
    async with db.session() as session:
        await AsyncVectors(session).search("docs", [1.0] * 16)
    await vectors.search("docs", [1.0] * 16, probes=20)
    for name in (b"ivfflat.probes", b"ivfflat.iterative_scan"):
        row = await db.one(b"select current_setting('" + name + b"', true)")
        assert row is not None and row[0] in ("1", "off", "", None)


@pytest.mark.vectors
async def test_a_relaxed_scan_is_sorted_again(db: AsyncPool) -> None:
    vectors = await filled(db, 5_000, lists=25)
    matches = await vectors.search("docs", clustered(1)[0].embedding, limit=3_000, probes=1)
    assert len(matches) == 3_000, "more lists are read until the limit is full"
    assert [match.distance for match in matches] == sorted(match.distance for match in matches)


@pytest.mark.vectors
async def test_a_filter_keeps_to_matching_metadata_and_still_fills_the_limit(db: AsyncPool) -> None:
    vectors = await filled(db, 5_000, lists=25)
    query = clustered(1)[0].embedding
    for exact in (False, True):
        matches = await vectors.search("docs", query, limit=30, filter={"cluster": 7}, exact=exact, probes=1)
        assert len(matches) == 30
        assert {match.metadata["cluster"] for match in matches} == {7}
    assert await vectors.search("docs", query, filter={"cluster": "7"}, exact=True) == ()


@pytest.mark.vectors
async def test_a_senseless_search_is_refused(vectors: AsyncVectors) -> None:
    await vectors.create("docs", 2)
    bad: list[dict[str, Any]] = [
        {"embedding": [1.0]}, {"embedding": []}, {"embedding": [0.0, 0.0]}, {"embedding": [math.nan, 1.0]},
        {"embedding": None}, {"embedding": [1.0, 1.0], "limit": 0}, {"embedding": [1.0, 1.0], "limit": 10_001},
        {"embedding": [1.0, 1.0], "probes": 0}, {"embedding": [1.0, 1.0], "filter": {"x": {1}}},
    ]  # fmt: skip
    for arguments in bad:
        with pytest.raises(UsageError) as refused:
            await vectors.search("docs", **arguments)
        assert refused.value.hint
    assert await vectors.search("docs", [1.0, 1.0]) == ()


# --- on the caller's connection ----------------------------------------------------------------------------------


@pytest.mark.vectors
async def test_on_a_callers_connection_rows_come_with_his_commit_and_nothing_is_set(db: AsyncPool, dsn: str) -> None:
    own = await filled(db, 5_000, lists=25)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        await conn.execute("set local ivfflat.probes = 3")
        bound = AsyncVectors(AsyncBound(conn, foreign=True))
        await bound.add_many("docs", [VectorRow("mine", [5.0] * 16, {"who": "me"})])
        assert (await bound.search("docs", [5.0] * 16))[0].content == "mine"
        assert (await bound.search("docs", [5.0] * 16, exact=True))[0].metadata == {"who": "me"}
        assert (await own.search("docs", [5.0] * 16, exact=True))[0].content != "mine"
        for settings in ("ivfflat.probes", "ivfflat.iterative_scan", "enable_seqscan"):
            cursor = await conn.execute("select current_setting(%s)", [settings])
            assert await cursor.fetchone() in (("3",), ("off",), ("on",))
        with pytest.raises(UsageError, match="bound"):
            await bound.search("docs", [5.0] * 16, probes=5)
        with pytest.raises(UsageError):
            await bound.add_many("docs", [VectorRow("good", [5.0] * 16), VectorRow("bad", [5.0])])
        for call in (bound.build_index("docs"), bound.rebuild("docs"), bound.measure_recall("docs")):
            with pytest.raises(RefusedError, match="transaction"):
                await call
        assert (await bound.stats("docs")).lists_built is None
        assert Packed not in conn.adapters._dumpers[psycopg.adapt.PyFormat.AUTO]
        await conn.commit()
    assert (await own.search("docs", [5.0] * 16, exact=True))[0].content == "mine"


# --- the index ---------------------------------------------------------------------------------------------------


@pytest.mark.vectors
async def test_lists_as_built_and_as_set_are_told_apart(db: AsyncPool) -> None:
    vectors = await filled(db, 3_000, lists=10)
    built = await vectors.stats("docs")
    assert (built.table, built.index, built.method) == ("pgops.vec_docs", "vec_docs_ivf", "ivfflat")
    assert (built.lists_built, built.lists_set, built.probes, built.valid) == (10, 10, 3, True)
    assert (built.rows, built.rows_exact) == (3_000, True)
    assert built.bytes is not None and built.bytes > 100_000
    await db.execute(b"alter index pgops.vec_docs_ivf set (lists = 20)")
    assert ((await vectors.stats("docs")).lists_built, (await vectors.stats("docs")).lists_set) == (10, 20)
    await db.execute(b"drop extension pageinspect")
    assert (await vectors.stats("docs")).lists_built is None


@pytest.mark.vectors
async def test_a_collection_without_an_index_says_so(db: AsyncPool) -> None:
    vectors = await filled(db, 100)
    stats = await vectors.stats("docs")
    assert (stats.index, stats.method, stats.lists_built, stats.probes, stats.rows) == (None, None, None, None, 100)
    for call in (vectors.rebuild("docs"), vectors.measure_recall("docs")):
        with pytest.raises(NotFoundError, match="index"):
            await call


@pytest.mark.vectors
async def test_lists_need_fifty_rows_each(db: AsyncPool) -> None:
    vectors = await filled(db, 500)
    for lists in (0, -1, 11, 40_000):
        with pytest.raises(UsageError, match="50 rows a list") as refused:
            await vectors.build_index("docs", lists=lists)
        assert "1 to 10 lists" in refused.value.hint
    assert await indexes(db) == []
    assert (await vectors.build_index("docs", lists=10)).lists_built == 10
    with pytest.raises(RefusedError, match="already"):
        await vectors.build_index("docs")
    with pytest.raises(UsageError):
        await vectors.rebuild("docs", lists=11)
    await vectors.create("few", 3)
    with pytest.raises(UsageError, match="too few"):
        await vectors.build_index("few")


@pytest.mark.vectors
async def test_more_than_2000_dimensions_have_no_index(vectors: AsyncVectors) -> None:
    await vectors.create("wide", 2_001)
    await vectors.add_many("wide", [VectorRow("x", [float(n)] + [1.0] * 2_000) for n in range(60)])
    with pytest.raises(UsageError, match="2,000"):
        await vectors.build_index("wide")
    assert len(await vectors.search("wide", [1.0] * 2_001)) == 10


@pytest.mark.vectors
async def test_a_rebuild_changes_the_lists_and_searches_use_them(db: AsyncPool) -> None:
    vectors = await filled(db, 5_000, lists=5)
    await vectors.search("docs", [1.0] * 16)
    assert (await vectors._knows("docs")).found.probes == 2
    result = await vectors.rebuild("docs", lists=50)
    assert (result.index, result.lists_before, result.lists_after) == ("vec_docs_ivf", 5, 50)
    assert result.seconds > 0
    stats = await vectors.stats("docs")
    assert (stats.lists_built, stats.lists_set, stats.valid) == (50, 50, True)
    assert await indexes(db) == [("vec_docs_ivf", True)]
    assert (await vectors._knows("docs")).found.probes == 7
    assert (await vectors.rebuild("docs")).lists_after == 5, "by the rows: 5,000 / 1,000"


@pytest.mark.vectors
async def test_a_build_that_needs_more_memory_gets_it_and_gives_it_back(dsn: str) -> None:
    async with AsyncPool.open(dsn, max_size=1) as db:
        default = await db.one(b"show maintenance_work_mem")
        await db.execute(b"set maintenance_work_mem = '1MB'")
        vectors = await filled(db, 1_000, lists=10)
        assert (await vectors.stats("docs")).valid, "its k-means needs more than 1 MB"
        assert await db.one(b"show maintenance_work_mem") == default


@pytest.mark.vectors
async def test_a_rebuild_that_is_cancelled_leaves_nothing_behind(db: AsyncPool) -> None:
    vectors = await filled(db, 5_000, lists=5)
    async with db.transaction() as blocker:
        await blocker.execute(HOLD)
        task = asyncio.create_task(vectors.rebuild("docs", lists=50))
        for _ in range(100):
            await asyncio.sleep(0.05)
            if ("vec_docs_ivf_ccnew", False) in await indexes(db):
                break
        assert await indexes(db) == [("vec_docs_ivf", True), ("vec_docs_ivf_ccnew", False)]
        await db.all(CANCEL, ["reindex index concurrently%"])
        await asyncio.sleep(0.3)
    with pytest.raises(PgopsError, match="cancel"):
        await asyncio.wait_for(task, 20)
    assert await indexes(db) == [("vec_docs_ivf", True)]
    stats = await vectors.stats("docs")
    assert (stats.lists_built, stats.lists_set) == (5, 5)
    assert (await vectors.rebuild("docs", lists=50)).lists_before == 5


@pytest.mark.vectors
async def test_a_rebuild_whose_task_is_cancelled_leaves_nothing_behind(db: AsyncPool) -> None:
    vectors = await filled(db, 5_000, lists=5)
    async with db.transaction() as blocker:
        await blocker.execute(HOLD)
        task = asyncio.create_task(vectors.rebuild("docs", lists=50))
        for _ in range(100):
            await asyncio.sleep(0.05)
            if len(await indexes(db)) == 2:
                break
        task.cancel()
        await asyncio.sleep(0.3)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    assert await indexes(db) == [("vec_docs_ivf", True)]
    assert (await vectors.stats("docs")).lists_set == 5


@pytest.mark.vectors
async def test_what_a_killed_rebuild_left_is_cleaned_by_the_next(db: AsyncPool, dsn: str) -> None:
    vectors = await filled(db, 5_000, lists=5)
    await db.execute(b"alter index pgops.vec_docs_ivf set (lists = 7)")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as victim:
        async with db.transaction() as blocker:
            await blocker.execute(HOLD)
            task = asyncio.create_task(victim.execute("reindex index concurrently pgops.vec_docs_ivf"))
            for _ in range(100):
                await asyncio.sleep(0.05)
                if len(await indexes(db)) == 2:
                    break
            await db.execute(b"select pg_terminate_backend(%s)", [victim.info.backend_pid])
            with pytest.raises(psycopg.OperationalError):
                await task
    assert await indexes(db) == [("vec_docs_ivf", True), ("vec_docs_ivf_ccnew", False)]
    result = await vectors.rebuild("docs", lists=20)
    assert (result.lists_before, result.lists_after) == (5, 20)
    assert await indexes(db) == [("vec_docs_ivf", True)]


@pytest.mark.vectors
async def test_a_rebuild_builds_what_an_interrupted_build_left_invalid(db: AsyncPool, dsn: str) -> None:
    vectors = await filled(db, 2_000)
    build = b"create index concurrently vec_docs_ivf on pgops.vec_docs using ivfflat (embedding vector_cosine_ops) " \
            b"with (lists = 8)"  # fmt: skip
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as victim:
        async with db.transaction() as blocker:
            await blocker.execute(HOLD)
            task = asyncio.create_task(victim.execute(build))
            for _ in range(100):
                await asyncio.sleep(0.05)
                if await indexes(db):
                    break
            await db.execute(b"select pg_terminate_backend(%s)", [victim.info.backend_pid])
            with pytest.raises(psycopg.OperationalError):
                await task
    assert await indexes(db) == [("vec_docs_ivf", False)]
    result = await vectors.rebuild("docs", lists=4)
    assert (result.index, result.lists_before, result.lists_after) == ("vec_docs_ivf", 8, 4)
    assert await indexes(db) == [("vec_docs_ivf", True)]
    assert (await vectors.stats("docs")).lists_built == 4


@pytest.mark.vectors
async def test_two_rebuilds_at_once_are_one_and_a_refusal(db: AsyncPool) -> None:
    vectors = await filled(db, 5_000, lists=5)
    results = await asyncio.gather(
        vectors.rebuild("docs", lists=20), AsyncVectors(db).rebuild("docs", lists=30), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, RefusedError)]
    assert len(refused) == 1 and "being built" in str(refused[0])
    assert await indexes(db) == [("vec_docs_ivf", True)]
    stats = await vectors.stats("docs")
    assert stats.lists_built == stats.lists_set and stats.lists_built in (20, 30)


@pytest.mark.slow
@pytest.mark.vectors
async def test_a_rebuild_does_not_queue_behind_a_long_reader(db: AsyncPool) -> None:
    vectors = await filled(db, 2_000, lists=5)
    async with db.transaction() as reader:
        await reader.all(
            b"select id from pgops.vec_docs order by embedding <=> array_fill(1, array[16])::vector limit 1"
        )
        with pytest.raises(RefusedError, match="in use"):
            await vectors.rebuild("docs", lists=20)
    assert (await vectors.stats("docs")).lists_set == 5


@pytest.mark.vectors
async def test_a_build_that_fails_leaves_no_invalid_index(db: AsyncPool) -> None:
    vectors = await filled(db, 2_000)
    async with db.transaction() as blocker:
        await blocker.execute(HOLD)
        task = asyncio.create_task(vectors.build_index("docs", lists=5))
        for _ in range(100):
            await asyncio.sleep(0.05)
            if await indexes(db):
                break
        assert await indexes(db) == [("vec_docs_ivf", False)]
        await db.all(CANCEL, ["create index concurrently%"])
        await asyncio.sleep(0.3)
    with pytest.raises(PgopsError, match="cancel"):
        await asyncio.wait_for(task, 20)
    assert await indexes(db) == []
    assert (await vectors.build_index("docs", lists=5)).valid


# --- recall ------------------------------------------------------------------------------------------------------


def noise(count: int, dimensions: int = 16) -> list[VectorRow]:
    rng = random.Random(3)
    return [VectorRow(str(n), [rng.gauss(0, 1) for _ in range(dimensions)]) for n in range(count)]


@pytest.mark.vectors
async def test_recall_is_measured_and_recorded(vectors: AsyncVectors) -> None:
    await vectors.create("docs", 16)
    await vectors.add_many("docs", noise(4_000))
    await vectors.build_index("docs", lists=40)
    poor = await vectors.measure_recall("docs", probes=1, seed=1)
    assert poor.recall < 0.8, "without any clusters one list of 40 cannot hold the nearest"
    assert 0 < poor.low < poor.recall < poor.high < 1
    full = await vectors.measure_recall("docs", probes=40, seed=1)
    assert full.recall == 1.0
    assert (full.k, full.probes) == (10, 40) and 15 <= full.queries <= 20
    stats = await vectors.stats("docs")
    assert (stats.recall, stats.recall_low, stats.recall_high) == (1.0, full.low, full.high)
    assert stats.recall_at == full.measured_at
    assert (await vectors.get("docs")).recall == 1.0


@pytest.mark.vectors
async def test_a_senseless_measurement_is_refused(db: AsyncPool) -> None:
    vectors = await filled(db, 100, lists=1)
    for arguments in ({"k": 0}, {"sample": 0}, {"probes": 0}):
        with pytest.raises(UsageError):
            await vectors.measure_recall("docs", **arguments)


# --- rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "lists"), [(0, 1), (999, 1), (5_000, 5), (1_000_000, 1_000), (4_000_000, 2_000), (10**10, 32_768)]
)
def test_lists_follow_the_rows(rows: int, lists: int) -> None:
    assert rules.lists_for(rows) == lists


def test_memory_of_a_build_is_as_pgvector_asks_for() -> None:
    assert rules.build_bytes(1_000, 1_536) / 2**20 == pytest.approx(506, abs=6)


def test_wilson_intervals_as_tabulated() -> None:
    assert rules.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-3)  # Newcombe 1998, table I
    assert rules.wilson(0, 20)[0] == 0.0
    assert rules.wilson(20, 20)[1] == 1.0
    assert rules.wilson(0, 0) == (0.0, 1.0)


def test_a_packed_vector_reads_the_same_as_text() -> None:
    packed = wire.pack_vector([1.5, -2, 0.1], 3, "l2")
    assert packed[:8] == b"\x00\x03\x00\x00\x3f\xc0\x00\x00"
    assert wire.vector_text(packed) == "[1.5,-2,0.100000001]"


def test_texts_that_share_words_are_near_and_vectors_never_change() -> None:
    one, two, three, none = HashingEmbedder(64).embed(
        ["How to sort a list", "sort a LIST with sorted", "open a socket", "…"]
    )

    def near(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert near(one, one) == pytest.approx(1) and near(none, none) == 1
    assert near(one, two) > near(one, three)
    assert HashingEmbedder(8).embed(["ab"])[0] == [0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0]
    for dimensions in (0, 16_001):
        with pytest.raises(UsageError):
            HashingEmbedder(dimensions)
    with pytest.raises(UsageError):
        HashingEmbedder().embed("one text")


@pytest.mark.vectors
def test_the_blocking_twin_does_the_same(dsn: str) -> None:
    with Pool.open(dsn) as db:
        vectors = Vectors(db)
        vectors.create("docs", 16)
        assert vectors.add_many("docs", clustered(200)) == 200
        assert vectors.build_index("docs", lists=4).valid
        assert vectors.search("docs", clustered(1)[0].embedding)[0].content == "row 0"
        assert vectors.rebuild("docs", lists=2).lists_after == 2
        assert vectors.measure_recall("docs").recall > 0.5
