"""Every type, metric and index method of a collection: found by its own index, measured, rebuilt; and their bounds."""

import asyncio
import math
import random
import struct
from typing import Any, get_args

import pytest
from psycopg.conninfo import make_conninfo

from pgops.database import AsyncPool, Packed
from pgops.errors import PgopsError, RefusedError, UnavailableError, UsageError
from pgops.services import vector_rules as rules
from pgops.services import vector_wire as wire
from pgops.services.models import IndexMethod, Metric, VectorRow, VectorType
from pgops.services.vectors import AsyncVectors
from pgops.sync.database import Pool
from pgops.sync.services.vectors import Vectors

DIMENSIONS = 16


@pytest.fixture
def vectors(db: AsyncPool) -> AsyncVectors:
    return AsyncVectors(db)


def clustered(count: int, dimensions: int = DIMENSIONS, seed: int = 1) -> list[VectorRow]:
    rng = random.Random(seed)
    centres = [[rng.gauss(0, 1) for _ in range(dimensions)] for _ in range(20)]
    return [
        VectorRow(f"row {n}", [x + rng.gauss(0, 0.4) for x in centres[n % 20]], {"cluster": n % 20})
        for n in range(count)
    ]


async def indexes(db: AsyncPool) -> list[tuple[str, str, bool]]:
    """Name, operator class with options, and validity of each index of docs but its primary key."""
    return await db.all(
        b"""select i.relname::text, o.opcname || ' ' || array_to_string(i.reloptions, ' '), x.indisvalid
            from pg_index x join pg_class i on i.oid = x.indexrelid join pg_opclass o on o.oid = x.indclass[0]
            where x.indrelid = 'pgops.vec_docs'::regclass and not x.indisprimary order by 1"""
    )


async def plan(db: AsyncPool, vectors: AsyncVectors, statement: str, query: list[float], **more: object) -> str:
    known = await vectors._knows("docs")
    packed = wire.pack_vector(query, known.found.dimensions, known.found.metric, known.found.type)
    params = {"embedding": Packed(packed), "limit": 10, "probes": 1, "ef_search": 40, "filter": None, **more}
    return "\n".join(row[0] for row in await db.all(b"explain (costs off) " + known.statement(statement), params))


# --- each of them ------------------------------------------------------------------------------------------------


@pytest.mark.vectors
@pytest.mark.parametrize("metric", get_args(Metric))
@pytest.mark.parametrize("method", get_args(IndexMethod))
@pytest.mark.parametrize("type", get_args(VectorType))
async def test_a_collection_is_found_measured_and_rebuilt_by_its_own_index(
    db: AsyncPool, vectors: AsyncVectors, type: VectorType, method: IndexMethod, metric: Metric
) -> None:
    made = await vectors.create("docs", DIMENSIONS, metric=metric, type=type)
    assert (made.type, made.metric, made.method) == (type, metric, None)
    rows = clustered(3_000)
    assert await vectors.add_many("docs", rows) == 3_000
    built = await vectors.build_index("docs", method=method)
    name, options = ("vec_docs_ivf", "lists=3") if method == "ivfflat" else (
        "vec_docs_hnsw", "m=16 ef_construction=64")  # fmt: skip
    assert await indexes(db) == [(name, f"{type}_{metric}_ops {options}", True)]
    assert (built.type, built.method, built.index, built.valid) == (type, method, name, True)
    query = list(rows[7].embedding)
    assert f"Index Scan using {name}" in await plan(db, vectors, "search", query)
    assert name not in await plan(db, vectors, "search_exact", query)
    found = await vectors.search("docs", query)
    true = await vectors.search("docs", query, exact=True)
    assert found[0].content == true[0].content
    assert [match.distance for match in true] == sorted(match.distance for match in true)
    if metric != "ip":
        assert true[0].content == "row 7"
        assert true[0].distance == pytest.approx(0, abs=1e-6 if type == "vector" else 1e-2)
    recall = await vectors.measure_recall("docs", seed=1)
    assert recall.recall > 0.8
    assert (recall.probes, recall.ef_search) == ((2, None) if method == "ivfflat" else (None, 40))
    done = await vectors.rebuild("docs")
    assert (done.index, done.method, done.lists_after) == (name, method, 3 if method == "ivfflat" else None)
    assert [index[0] for index in await indexes(db)] == [name]
    (one,) = await vectors.list()
    assert (one.type, one.method) == (type, method)


@pytest.mark.vectors
async def test_the_blocking_twin_takes_halfvec_and_hnsw(dsn: str) -> None:
    def use() -> None:
        with Pool.open(dsn) as db:
            vectors = Vectors(db)
            vectors.create("docs", DIMENSIONS, type="halfvec")
            vectors.add_many("docs", clustered(200))
            assert vectors.build_index("docs", method="hnsw").ef_search == 40
            assert vectors.search("docs", clustered(1)[0].embedding, ef_search=100)[0].content == "row 0"
            assert vectors.rebuild("docs", method="ivfflat", lists=2).index == "vec_docs_ivf"

    await asyncio.to_thread(use)


# --- bounds ------------------------------------------------------------------------------------------------------


@pytest.mark.vectors
@pytest.mark.parametrize("method", get_args(IndexMethod))
async def test_dimensions_beyond_an_index_are_refused_with_what_would_take_them(
    db: AsyncPool, vectors: AsyncVectors, method: IndexMethod
) -> None:
    cases: list[tuple[str, VectorType, int, str]] = [
        ("wide", "vector", 2_001, "halfvec"), ("wider", "vector", 4_001, "fewer dimensions"),
        ("half", "halfvec", 4_001, "fewer dimensions"),
    ]  # fmt: skip
    for name, type, dimensions, remedy in cases:
        await vectors.create(name, dimensions, type=type)
        with pytest.raises(UsageError, match=r"2,000|4,000") as refused:
            await vectors.build_index(name, method=method)
        assert remedy in refused.value.hint
        assert ("halfvec" in refused.value.hint) == (remedy == "halfvec")
        assert (await vectors.stats(name)).index is None
    with pytest.raises(UsageError, match="16,000"):
        await vectors.create("widest", 16_001, type="halfvec")


@pytest.mark.vectors
@pytest.mark.parametrize(("type", "dimensions"), [("vector", 2_000), ("halfvec", 4_000)])
async def test_as_many_dimensions_as_an_index_takes(vectors: AsyncVectors, type: VectorType, dimensions: int) -> None:
    await vectors.create("docs", dimensions, type=type)
    rng = random.Random(2)
    rows = [VectorRow(str(n), [rng.gauss(0, 1) for _ in range(dimensions)]) for n in range(60)]
    await vectors.add_many("docs", rows)
    assert (await vectors.build_index("docs", lists=1)).valid
    assert (await vectors.rebuild("docs", method="hnsw")).method == "hnsw"
    assert (await vectors.search("docs", rows[3].embedding))[0].content == "3"


@pytest.mark.vectors
async def test_a_halfvec_holds_what_fits_16_bits_and_nothing_else(vectors: AsyncVectors) -> None:
    await vectors.create("docs", 2, type="halfvec")
    bad: list[Any] = [[65_520.0, 1.0], [1e39, 1.0], [math.nan, 1.0], [math.inf, 1.0], [1.0], [0.0, -0.0],
                      [2.0**-25, 0.0], [1e-9, -1e-9], ["1", 2.0], None]  # fmt: skip
    for embedding in bad:
        for call in (vectors.add_many("docs", [VectorRow("x", embedding)]), vectors.search("docs", embedding)):
            with pytest.raises(UsageError) as refused:
                await call
                pytest.fail(f"taken: {embedding}")
            assert refused.value.hint
    assert (
        await vectors.add_many("docs", [VectorRow("most", [65_504.0, -65_504.0]), VectorRow("least", [6e-8, 0])]) == 2
    )
    assert [match.content for match in await vectors.search("docs", [1, -1])] == ["most", "least"]
    await vectors.create("zero", 2, type="halfvec", metric="l2")
    assert await vectors.add_many("zero", [VectorRow("zero", [0, 0])]) == 1


def test_a_packed_halfvec_reads_the_same_as_text() -> None:
    packed = wire.pack_vector([1.5, -2, 0.1], 3, "l2", "halfvec")
    assert packed == struct.pack(">HH3e", 3, 0, 1.5, -2, 0.1)
    assert wire.vector_text(packed, "halfvec") == "[1.5,-2,0.0999755859]"


@pytest.mark.vectors
async def test_on_a_callers_connection_a_halfvec_is_found_too(db: AsyncPool, vectors: AsyncVectors) -> None:
    await vectors.create("docs", DIMENSIONS, type="halfvec")
    rows = clustered(50)
    async with db.transaction() as tx:
        bound = AsyncVectors(tx)
        await bound.add_many("docs", rows)
        assert (await bound.search("docs", rows[5].embedding))[0].content == "row 5"


@pytest.mark.vectors
async def test_an_old_extension_without_halfvec_says_so(db: AsyncPool, vectors: AsyncVectors) -> None:
    await vectors.create("before", 3)
    await db.execute(b"alter type halfvec rename to gone")
    with pytest.raises(UnavailableError, match="too old for halfvec"):
        await vectors.create("docs", 3, type="halfvec")
    assert [one.name for one in await vectors.list()] == ["before"]
    await vectors.create("docs", 3)


@pytest.mark.vectors
async def test_what_is_no_type_or_method_or_is_another_methods_is_refused(vectors: AsyncVectors) -> None:
    with pytest.raises(UsageError, match="type"):
        await vectors.create("docs", 3, type="bit")  # type: ignore[arg-type]
    await vectors.create("docs", DIMENSIONS)
    await vectors.add_many("docs", clustered(100))
    bad: list[dict[str, Any]] = [
        {"method": "btree"}, {"m": 16}, {"ef_construction": 64}, {"method": "hnsw", "lists": 2},
        {"method": "hnsw", "m": 1}, {"method": "hnsw", "m": 101}, {"method": "hnsw", "m": 40, "ef_construction": 64},
        {"method": "hnsw", "ef_construction": 1_001},
    ]  # fmt: skip
    for arguments in bad:
        with pytest.raises(UsageError) as refused:
            await vectors.build_index("docs", **arguments)
        assert refused.value.hint
    await vectors.build_index("docs", method="hnsw", m=8)
    query = clustered(1)[0].embedding
    for settings in ({"probes": 2}, {"ef_search": 0}, {"ef_search": 1_001}):
        for call in (vectors.search("docs", query, **settings), vectors.measure_recall("docs", **settings)):
            with pytest.raises(UsageError):
                await call
    with pytest.raises(UsageError):
        await vectors.rebuild("docs", lists=2)
    await vectors.rebuild("docs", method="ivfflat", lists=1)
    with pytest.raises(UsageError, match="ivfflat"):
        await vectors.search("docs", query, ef_search=10)


# --- hnsw --------------------------------------------------------------------------------------------------------


@pytest.mark.vectors
async def test_an_hnsw_index_is_rebuilt_as_it_is_or_with_other_options(db: AsyncPool, vectors: AsyncVectors) -> None:
    await vectors.create("docs", DIMENSIONS)
    built = await vectors.build_index("docs", method="hnsw", m=8)
    assert (built.rows, built.m, built.ef_construction, built.lists_set, built.probes) == (0, 8, 64, None, None)
    await vectors.add_many("docs", clustered(500))
    done = await vectors.rebuild("docs")
    assert (done.m, done.ef_construction) == (8, 64)
    done = await vectors.rebuild("docs", m=12, ef_construction=80)
    assert (done.m, done.ef_construction, done.lists_before) == (12, 80, None)
    stats = await vectors.stats("docs")
    assert (stats.m, stats.ef_construction, stats.valid) == (12, 80, True)


@pytest.mark.vectors
async def test_a_limit_beyond_what_hnsw_keeps_is_still_filled_in_order(vectors: AsyncVectors) -> None:
    await vectors.create("docs", DIMENSIONS)
    await vectors.add_many("docs", clustered(3_000))
    await vectors.build_index("docs", method="hnsw")
    matches = await vectors.search("docs", clustered(1)[0].embedding, limit=1_500, ef_search=10)
    assert len(matches) == 1_500
    assert [match.distance for match in matches] == sorted(match.distance for match in matches)


@pytest.mark.vectors
async def test_another_method_takes_over_without_a_moment_without_index(db: AsyncPool, vectors: AsyncVectors) -> None:
    await vectors.create("docs", DIMENSIONS)
    await vectors.add_many("docs", clustered(1_000))
    await vectors.build_index("docs", lists=5)
    await vectors.measure_recall("docs")
    assert (await vectors.rebuild("docs", method="hnsw")).index == "vec_docs_hnsw"
    assert (await vectors.stats("docs")).recall is None, "what was measured was measured of the other"
    assert [index[0] for index in await indexes(db)] == ["vec_docs_hnsw"]
    await db.execute(b"create index vec_docs_ivf on pgops.vec_docs using ivfflat (embedding vector_cosine_ops)")
    assert (await vectors.stats("docs")).method == "hnsw"
    await vectors.rebuild("docs")
    assert [index[0] for index in await indexes(db)] == ["vec_docs_hnsw"], "what a take-over left is taken away"
    await vectors.rebuild("docs", method="ivfflat", lists=4)
    assert await indexes(db) == [("vec_docs_ivf", "vector_cosine_ops lists=4", True)]


HOLD = b"lock table pgops.vec_docs in row exclusive mode"
CANCEL = b"select pg_cancel_backend(pid) from pg_stat_activity where datname = current_database() and query ilike %s"


@pytest.mark.vectors
@pytest.mark.parametrize("method", get_args(IndexMethod))
async def test_a_rebuild_of_hnsw_that_fails_leaves_all_as_it_was(
    db: AsyncPool, vectors: AsyncVectors, method: IndexMethod
) -> None:
    await vectors.create("docs", DIMENSIONS)
    await vectors.add_many("docs", clustered(1_000))
    await vectors.build_index("docs", method="hnsw", m=8)
    before = await indexes(db)
    options: dict[str, Any] = {"m": 12, "ef_construction": 80} if method == "hnsw" else {"lists": 2}
    async with db.transaction() as blocker:
        await blocker.execute(HOLD)
        task = asyncio.create_task(vectors.rebuild("docs", method=method, **options))
        for _ in range(100):
            await asyncio.sleep(0.05)
            if len(await indexes(db)) == 2:
                break
        await db.all(CANCEL, ["%index concurrently%"])
        await asyncio.sleep(0.3)
    with pytest.raises(PgopsError, match="cancel"):
        await asyncio.wait_for(task, 20)
    assert await indexes(db) == before


# --- what is not ours --------------------------------------------------------------------------------------------


@pytest.mark.vectors
async def test_an_index_of_somebody_else_is_left_alone(db: AsyncPool, vectors: AsyncVectors) -> None:
    await vectors.create("docs", DIMENSIONS)
    await vectors.add_many("docs", clustered(1_000))
    await db.execute(b"create index theirs on pgops.vec_docs using hnsw ((embedding::halfvec(16)) halfvec_l2_ops)")
    await db.execute(b"create index more on pgops.vec_docs using ivfflat (embedding vector_l2_ops) with (lists = 7)")
    await db.execute(b"update pg_index set indisvalid = false where indexrelid = 'pgops.more'::regclass")
    assert (await vectors.stats("docs")).index is None
    await vectors.build_index("docs", lists=5)
    assert (await vectors.measure_recall("docs", seed=1)).recall > 0.8
    await vectors.rebuild("docs", lists=4)
    assert [index[0] for index in await indexes(db)] == ["more", "theirs", "vec_docs_ivf"]
    with pytest.raises(RefusedError, match="already"):
        await vectors.build_index("docs", method="hnsw")


@pytest.mark.vectors
async def test_a_measurement_of_another_index_is_none_and_names_it(db: AsyncPool, vectors: AsyncVectors) -> None:
    await vectors.create("docs", DIMENSIONS)
    await vectors.add_many("docs", clustered(1_000))
    await vectors.build_index("docs", lists=1)
    await db.execute(b"create index better on pgops.vec_docs using ivfflat (embedding vector_cosine_ops) "
                     b"with (lists = 50)")  # fmt: skip
    with pytest.raises(PgopsError, match="did not take vec_docs_ivf but better") as refused:
        await vectors.measure_recall("docs")
    assert "drop better" in refused.value.hint
    assert (await vectors.stats("docs")).recall is None
    await db.execute(b"drop index pgops.better")
    assert (await vectors.measure_recall("docs")).recall == 1.0


# --- a filter ----------------------------------------------------------------------------------------------------


@pytest.mark.vectors
@pytest.mark.parametrize("type", get_args(VectorType))
async def test_a_filtered_search_by_the_index_finds_all_that_there_are(dsn: str, type: VectorType) -> None:
    """The rare ones are far from the query, in lists that one probe does not read."""
    async with AsyncPool.open(make_conninfo(dsn, options="-c enable_seqscan=off")) as db:
        await _find_the_rare(db, AsyncVectors(db), type)


async def _find_the_rare(db: AsyncPool, vectors: AsyncVectors, type: VectorType) -> None:
    await vectors.create("docs", DIMENSIONS, type=type, metric="l2")
    near = [VectorRow(row.content, row.embedding, {"category": "common"}) for row in clustered(5_000)]
    far = [VectorRow(f"rare {n}", [40.0 + n, *[0.0] * (DIMENSIONS - 1)], {"category": "rare"}) for n in range(12)]
    await vectors.add_many("docs", [*near, *far])
    await vectors.build_index("docs", lists=50)
    query, rare = list(near[0].embedding), '{"category": "rare"}'
    assert "Index Scan using vec_docs_ivf" in await plan(db, vectors, "search", query, filter=rare)
    for limit, wanted in ((5, 5), (12, 12), (20, 12)):
        matches = await vectors.search("docs", query, limit=limit, probes=1, filter={"category": "rare"})
        assert [match.content for match in matches] == [f"rare {n}" for n in range(wanted)]


def test_memory_of_a_build_counts_what_a_number_takes() -> None:
    full, half = (rules.build_bytes(1_000, 1_536, type) for type in get_args(VectorType))
    assert full - half == (50_000 + 2_000) * 2 * 1_536
