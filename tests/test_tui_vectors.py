"""The room of vectors: collections without an index, other types, what is not ours, and narrowed searches."""

from dataclasses import replace

import pytest
from dashboard_story import SMALL, USUAL, Story, dashboard, screen, until
from snapshots_literal import BUSY, LiteralSource, vector_index

from pgops.config import Target
from pgops.ops.act.actions import Action
from pgops.ops.observe.snapshot import VectorIndexPart
from pgops.services.client import AsyncPgops
from pgops.services.models import TextRow
from pgops.tui.app import PgopsApp
from pgops.tui.commands import act_command
from pgops.tui.live import LiveSource
from pgops.tui.screens.ask import Choose
from pgops.tui.screens.vectors import asked, builds

BARE = vector_index(
    "bare", index=None, method=None, valid=None, bytes=0, lists_built=None, lists_set=None, probes=None, recall=None,
    recall_at=None, searches_total=0, type="halfvec", dimensions=1536, metric="cosine", embedder="openai", rows=8_400,
)  # fmt: skip
HNSW = vector_index(
    "docs", index="vec_docs_hnsw", method="hnsw", lists_built=None, lists_set=None, probes=None, type="vector",
    dimensions=384, metric="l2",
)  # fmt: skip
BITS = vector_index(
    "x", table="public.prints", index="prints_hash", method="hnsw", lists_built=None, lists_set=None, probes=None,
    recall=None, recall_at=None, collection=None, type="bit", dimensions=64, metric="hamming",
)  # fmt: skip


def source(*indexes: VectorIndexPart) -> LiteralSource:
    return LiteralSource(replace(BUSY, vectors=indexes))


@pytest.mark.parametrize("size", [SMALL, USUAL], ids=["80x24", "120x40"])
async def test_a_collection_without_an_index_is_seen_and_b_builds_one(size: tuple[int, int]) -> None:
    there = source(BARE)
    async with dashboard(there, size) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: "no index: exact search" in screen(pilot))
        seen = screen(pilot)
        for words in ("bare", "8,400", "B builds one", "halfvec(1536) cosine", "embedder openai"):
            assert words in seen, words
        assert "✕" not in seen and "vector recall" not in seen
        await pilot.press("B")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        assert "ivfflat, 8 lists: usual for 8,400 rows" in screen(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: "pgops vector build bare --method hnsw" in screen(pilot))
        await pilot.press("y")
        await until(pilot, lambda: there.ran == [Action("build_index", "bare", method="hnsw")])


async def test_the_overview_counts_indexes_and_not_collections_without_one() -> None:
    async with dashboard(source(BARE)) as pilot:
        assert "no index" in screen(pilot)
        assert "invalid" not in screen(pilot)
    async with dashboard(source(BARE, HNSW, replace(HNSW, index="more", collection=None))) as pilot:
        assert "2 indexes" in screen(pilot)
        assert "92.5k" in screen(pilot), "a table's rows count once"


async def test_what_is_not_ours_is_shown_as_what_it_is_and_left_alone() -> None:
    there = source(BITS, HNSW)
    async with dashboard(there, USUAL) as pilot:
        await pilot.press("3", "down")
        await until(pilot, lambda: "bit(64) hamming" in screen(pilot))
        assert "public.prints" in screen(pilot)
        assert "it is only looked at" in screen(pilot)
        await pilot.press("B")
        await until(pilot, lambda: "no index of a pgops collection" in screen(pilot))
        await pilot.press("slash", *"x", "enter")
        await until(pilot, lambda: "prints_hash is no collection" in screen(pilot))
        assert there.ran == there.previewed == []


async def test_an_index_of_somebody_else_may_serve_a_collection() -> None:
    theirs = replace(BITS, table=BARE.table, index="by_hand", type="halfvec", metric="cosine")
    async with dashboard(source(BARE, theirs)) as pilot:
        await pilot.press("3", "home")
        await until(pilot, lambda: "no index of its own" in screen(pilot))
        assert "a search may use by_hand" in screen(pilot)


def test_what_can_be_built_of_an_index() -> None:
    found = [(choice.action.name, choice.action.method, choice.action.lists) for choice in builds(HNSW)]
    assert found == [("rebuild_index", None, None), ("rebuild_index", "ivfflat", 84)]
    ivfflat = vector_index("docs", lists_set=120, type="vector", dimensions=384)
    found = [(choice.action.name, choice.action.method, choice.action.lists) for choice in builds(ivfflat)]
    assert found == [("rebuild_index", None, 84), ("rebuild_index", None, 120), ("rebuild_index", "hnsw", None)]
    assert [choice.action.method for choice in builds(replace(BARE, rows=49))] == ["hnsw"]
    assert builds(replace(BARE, dimensions=4_001)) == builds(replace(BARE, type="vector", dimensions=2_001)) == []
    assert builds(BITS) == []


def test_a_narrowed_search_as_typed() -> None:
    cases = [
        ("sort a list", "sort a list", ()),
        ("category:books sort", "sort", (("category", "books"),)),
        ('category:"science fiction" year:2024  robots and men', "robots and men",
         (("category", "science fiction"), ("year", 2024))),
        ("http://example.org why", "http://example.org why", ()), ("std::sort why", "std::sort why", ()),
        ("10:30 train", "10:30 train", ()), ("category:books", "category:books", ()), ("a: b", "a: b", ()),
        ("how to category:books", "how to category:books", ()),
    ]  # fmt: skip
    for typed, words, wanted in cases:
        assert asked(typed) == (words, wanted), typed


@pytest.mark.parametrize(
    ("action", "command"),
    [
        (Action("build_index", "docs", lists=4), "pgops vector build docs --lists 4"),
        (Action("build_index", "docs", method="hnsw", m=8, ef_construction=80),
         "pgops vector build docs --method hnsw --m 8 --ef-construction 80"),
        (Action("rebuild_index", "docs", method="hnsw"), "pgops vector rebuild docs --method hnsw"),
        (Action("search", "docs", query="x", filter=(("category", "science fiction"), ("year", 2024), ("n", "7")),
                embedder="openai"),
         """pgops vector search docs x --limit 10 --filter 'category=science fiction' --filter year=2024 """
         """--filter 'n="7"' --embedder openai"""),
    ],
)  # fmt: skip
def test_the_same_as_a_command(action: Action, command: str) -> None:
    assert act_command(action) == command


# --- on a real database ------------------------------------------------------------------------------------------


async def search(pilot: Story, typed: str) -> None:
    """Type it into an empty prompt."""
    await pilot.press("slash")
    prompt = pilot.app.screen.query_one("#prompt")
    prompt.value = typed  # type: ignore[attr-defined]
    await pilot.press("enter")


@pytest.mark.vectors
async def test_live_from_a_bare_collection_to_a_narrowed_search(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.vectors.create("docs", 16, type="halfvec")
        rows = [TextRow(f"text number {n}", {"category": "ab"[n % 2]}) for n in range(120)]
        await pg.vectors.add_texts("docs", rows, embedder="hashing")
        await pg.db.execute(b"create table theirs (b bit(64), s sparsevec(100), v vector(3000))")
        await pg.db.execute(b"create index theirs_b on theirs using hnsw (b bit_hamming_ops)")
        await pg.db.execute(b"create index theirs_s on theirs using hnsw (s sparsevec_ip_ops)")
        await pg.db.execute(b"create index theirs_h on theirs using hnsw ((v::halfvec(3000)) halfvec_l2_ops)")
        async with PgopsApp(LiveSource(Target(dsn, "test"))).run_test(size=USUAL, notifications=True) as pilot:
            await pilot.press("3")
            await until(pilot, lambda: "no index: exact search" in screen(pilot))
            for words in ("bit(64)", "sparsevec(100)", "halfvec(3000)", "halfvec(16)"):
                assert words in screen(pilot), words
            await search(pilot, "text number 7")
            await until(pilot, lambda: "has no embedder" in screen(pilot))
            assert "set-embedder docs" in screen(pilot)
            await pg.vectors.set_embedder("docs", "hashing")
            await pilot.press("escape")
            await search(pilot, "category:b text number 7")
            await until(pilot, lambda: "20 matches in docs where category = b" in screen(pilot))
            assert "text number 8 " not in screen(pilot)
            await pilot.press("escape", "B")
            await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
            await pilot.press("enter")
            await until(pilot, lambda: "create index concurrently" in screen(pilot))
            await pilot.press("y")
            await until(pilot, lambda: "built vec_docs_ivf with 1 list" in screen(pilot))
            await until(pilot, lambda: "vec_docs_ivf  a search reads" in screen(pilot))
            pilot.app.clear_notifications()
            await pilot.press("B")
            await until(pilot, lambda: "hnsw: finds more" in screen(pilot))
            await pilot.press("down", "enter")
            await until(pilot, lambda: "drop index concurrently" in screen(pilot))
            await pilot.press("y")
            await until(pilot, lambda: "rebuilt vec_docs_hnsw" in screen(pilot))
        assert (await pg.vectors.stats("docs")).method == "hnsw"
        assert (await pg.vectors.measure_recall("docs")).recall > 0.9
