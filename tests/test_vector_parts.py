"""The vector part of a Snapshot: collections with and without an index, of any type, and what belongs to others."""

from dataclasses import replace

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgops import migrate
from pgops.database import AsyncPool
from pgops.ops.collector import Collector, collect
from pgops.ops.judge.findings import Thresholds, judge
from pgops.ops.observe.snapshot import Unavailable, VectorIndexPart, items
from pgops.services.models import TextRow, VectorRow
from pgops.services.vectors import AsyncVectors


async def filled(db: AsyncPool, name: str = "docs", rows: int = 120) -> AsyncVectors:
    vectors = AsyncVectors(db)
    await vectors.create(name, 16, type="halfvec", metric="ip", embedder="hashing")
    await vectors.add_texts(name, [TextRow(f"text {n}") for n in range(rows)])
    return vectors


async def seen(db: AsyncPool) -> dict[tuple[str, str | None], VectorIndexPart]:
    snapshot = await collect(db)
    assert not [finding for finding in snapshot.findings if finding.code.startswith("vector.")]
    return {(one.table, one.index): one for one in items(snapshot.vectors)}


@pytest.mark.vectors
async def test_a_collection_without_an_index_is_seen_and_is_no_finding(db: AsyncPool) -> None:
    await filled(db)
    await AsyncVectors(db).create("bare", 3)
    found = await seen(db)
    assert set(found) == {("pgops.vec_bare", None), ("pgops.vec_docs", None)}
    one = found[("pgops.vec_docs", None)]
    assert (one.collection, one.method, one.valid, one.rows, one.exact) == ("docs", None, None, 120, {})
    assert (one.type, one.dimensions, one.metric, one.embedder) == ("halfvec", 16, "ip", "hashing")
    assert (found[("pgops.vec_bare", None)].rows, found[("pgops.vec_bare", None)].embedder) == (0, None)
    await db.execute(b"drop table pgops.vec_bare")
    assert set(await seen(db)) == {("pgops.vec_docs", None)}


@pytest.mark.vectors
async def test_its_own_index_of_either_method_takes_its_place(db: AsyncPool) -> None:
    vectors = await filled(db)
    await vectors.build_index("docs", lists=2)
    await vectors.measure_recall("docs")
    ((_, one),) = (await seen(db)).items()
    assert (one.collection, one.method, one.type, one.metric, one.probes) == ("docs", "ivfflat", "halfvec", "ip", 1)
    assert one.recall is not None
    await vectors.rebuild("docs", method="hnsw")
    ((_, one),) = (await seen(db)).items()
    assert (one.index, one.method, one.lists_set, one.probes) == ("vec_docs_hnsw", "hnsw", None, None)
    await db.execute(b"update pg_index set indisvalid = false where indexrelid = 'pgops.vec_docs_hnsw'::regclass")
    snapshot = await collect(db)
    (finding,) = [finding for finding in snapshot.findings if finding.code == "vector.invalid"]
    assert finding.command == "pgops vector rebuild docs"
    assert judge(replace(snapshot, vectors=(replace(one, index=None, valid=None),)), None) == tuple(
        other for other in snapshot.findings if other != finding
    )


@pytest.mark.vectors
async def test_what_belongs_to_others_is_told_as_what_it_is(db: AsyncPool) -> None:
    vectors = await filled(db)
    await db.execute(
        b"create index by_hand on pgops.vec_docs using ivfflat (embedding halfvec_l2_ops) with (lists = 2)"
    )
    await db.execute(b'create schema "a.b"')
    await db.execute(b'create table "a.b".theirs (b bit(64), s sparsevec(100), v vector(3000))')
    await db.execute(b'create index t_b on "a.b".theirs using hnsw (b bit_jaccard_ops)')
    await db.execute(b'create index t_f on "a.b".theirs using ivfflat (b bit_hamming_ops)')
    await db.execute(b'create index t_s on "a.b".theirs using hnsw (s sparsevec_l1_ops)')
    await db.execute(b'create index t_h on "a.b".theirs using hnsw ((v::halfvec(3000)) halfvec_cosine_ops)')
    found = await seen(db)
    told = {index: (one.type, one.dimensions, one.metric) for (_, index), one in found.items() if index}
    assert told == {
        "by_hand": ("halfvec", 16, "l2"), "t_b": ("bit", 64, "jaccard"), "t_f": ("bit", 64, "hamming"),
        "t_s": ("sparsevec", 100, "l1"), "t_h": ("halfvec", 3_000, "cosine"),
    }  # fmt: skip
    assert {one.collection for (_, index), one in found.items() if index} == {None}
    assert found[("a.b.theirs", "t_b")].exact == {}, "counted"
    assert found[("pgops.vec_docs", None)].collection == "docs"
    await vectors.build_index("docs", lists=2)
    assert (await vectors.measure_recall("docs")).recall > 0.1
    await vectors.rebuild("docs", lists=1)
    found = await seen(db)
    assert found[("pgops.vec_docs", "vec_docs_ivf")].collection == "docs"
    assert found[("pgops.vec_docs", "by_hand")].collection is None
    assert found[("pgops.vec_docs", "by_hand")].recall is None, "what was measured was measured of the other"


async def test_without_the_register_nothing_fails(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as db:
        await migrate.apply(db, [one for one in migrate.migrations() if one.extension is None])
        vectors = (await collect(db)).vectors
        assert isinstance(vectors, Unavailable)
        assert vectors.remedy.endswith("run: pgops migrate")


@pytest.mark.vectors
async def test_the_best_recall_before_is_kept_and_a_drop_is_found(db: AsyncPool) -> None:
    vectors = AsyncVectors(db)
    await vectors.create("docs", 3)
    await vectors.add_many("docs", [VectorRow(f"t{n}", [1.0, n % 17, n % 5]) for n in range(1, 300)])
    await vectors.build_index("docs", lists=2)
    await vectors.measure_recall("docs", k=3, sample=5)
    (one,) = items((await collect(db)).vectors)
    assert (one.recall_before, one.recall_before_at) == (None, None)
    first = one.recall_at
    await db.execute(b"update pgops.vector_collections set recall = 0.96")
    await vectors.measure_recall("docs", k=3, sample=5)
    await db.execute(b"update pgops.vector_collections set recall = 0.85, recall_high = 0.9")
    snapshot = await collect(db)
    (one,) = items(snapshot.vectors)
    assert (round(one.recall_before or 0, 3), one.recall_before_at) == (0.96, first)
    assert "vector.recall_drop" in [found.code for found in snapshot.findings]
    await vectors.measure_recall("docs", k=3, sample=5)
    (one,) = items((await collect(db)).vectors)
    assert round(one.recall_before or 0, 3) == 0.96, "the best stays"
    await vectors.drop("docs")
    await vectors.create("docs", 3)
    await vectors.add_many("docs", [VectorRow(f"t{n}", [1.0, n % 17, n % 5]) for n in range(1, 300)])
    await vectors.build_index("docs", lists=2)
    await vectors.measure_recall("docs", k=3, sample=5)
    (one,) = items((await collect(db)).vectors)
    assert one.recall_before is None, "it was another collection's"


@pytest.mark.vectors
async def test_few_probes_are_found_until_they_are_set_where_the_searches_run(db: AsyncPool, dsn: str) -> None:
    await AsyncVectors(db).create("bare", 3)
    await db.execute(b"create table items as select n as id, array[n % 17, n % 5, 1]::real[]::vector(3) as e"
                     b" from generate_series(1, 300) as n")  # fmt: skip
    await db.execute(b"create index items_e on items using ivfflat (e vector_l2_ops) with (lists = 20)")
    await db.execute(b"analyze items")

    async def told() -> list[str]:
        async with AsyncPool.open(dsn) as fresh:
            snapshot = await Collector(fresh, thresholds=Thresholds(probes_rows=100)).collect()
        return [found.remedy for found in snapshot.findings if found.code == "vector.probes"]

    assert await told() == ["where the searches run: set ivfflat.probes = 4"]
    name = conninfo_to_dict(dsn)["dbname"]
    await db.execute(f'alter database "{name}" set ivfflat.probes = 4'.encode())
    assert await told() == []
