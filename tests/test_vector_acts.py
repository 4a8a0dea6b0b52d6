"""Vectors from the command line and as acts: types, methods, embedders, filters; and a key that is never told."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_call import Run, caller
from embedding_server import Endpoint, endpoint, said

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, RefusedError, UsageError
from pgops.ops.act import audit
from pgops.ops.act.actions import Action, preview, run
from pgops.services.embedders import HashingEmbedder
from pgops.services.models import TextRow
from pgops.services.vector_rules import parse_filter
from pgops.services.vectors import AsyncVectors

KEY = "sk-test-5f2c9e7d1b3a4860"


@pytest.fixture
def pgops(dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("PGOPS_DSN", dsn)
    return caller(monkeypatch, capsys)


@pytest.fixture
def openai(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """The embedder openai of 16 dimensions, at an endpoint of our own."""
    for name, value in {"XDG_CONFIG_HOME": str(tmp_path), "TEST_KEY": KEY, "NO_PROXY": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "pgops").mkdir()
    with endpoint() as there:
        (tmp_path / "pgops" / "config.toml").write_text(
            f'[embedders.openai]\nurl = "{there.url}"\nmodel = "m"\napi_key_env = "TEST_KEY"\ndimensions = 16'
        )
        yield there


async def collection(db: AsyncPool, *, embedder: str | None = "hashing", rows: int = 200) -> AsyncVectors:
    vectors = AsyncVectors(db)
    await vectors.create("docs", 16, type="halfvec", embedder=embedder)
    texts = [TextRow(f"text number {n}", {"category": "ab"[n % 2], "year": 2000 + n % 5}) for n in range(rows)]
    await vectors.add_texts("docs", texts, embedder="hashing")
    return vectors


# --- acts --------------------------------------------------------------------------------------------------------


@pytest.mark.vectors
async def test_an_index_is_built_as_was_shown_and_leaves_its_row(db: AsyncPool) -> None:
    vectors = await collection(db)
    look = await preview(db, Action("build_index", "docs", method="hnsw", m=8))
    assert look.title == "build index vec_docs_hnsw with m 8 and ef_construction 64"
    assert look.samples == ("200 rows of halfvec",)
    assert "using hnsw (embedding" in look.sql and "halfvec_cosine_ops) with (m = 8, ef_construction = 64)" in look.sql
    assert (await vectors.stats("docs")).index is None
    result = await run(db, look.action)
    assert result.message == "built vec_docs_hnsw with m 8 and ef_construction 64"
    row = (await audit.list(db))[0]
    assert (row.id, row.action, row.status, row.detail["index"]) == (
        result.audit_id, "build_index", "done", "vec_docs_hnsw",
    )  # fmt: skip
    with pytest.raises(RefusedError, match="already"):
        await preview(db, Action("build_index", "docs"))
    look = await preview(db, Action("rebuild_index", "docs"))
    assert look.title == "rebuild index vec_docs_hnsw with m 8 and ef_construction 64"
    assert "reindex index concurrently" in look.sql


@pytest.mark.vectors
async def test_a_method_that_takes_over_is_shown_and_done(db: AsyncPool) -> None:
    vectors = await collection(db)
    await run(db, Action("build_index", "docs", lists=2))
    look = await preview(db, Action("rebuild_index", "docs", method="hnsw"))
    assert "vec_docs_ivf (ivfflat) serves until vec_docs_hnsw (hnsw) is there, and is dropped then" in look.samples
    assert look.sql.index("create index") < look.sql.index("drop index")
    assert (await run(db, look.action)).message.startswith("rebuilt vec_docs_hnsw")
    assert (await vectors.stats("docs")).method == "hnsw"


@pytest.mark.vectors
async def test_an_index_that_cannot_be_is_refused_by_the_preview_too(db: AsyncPool) -> None:
    vectors = AsyncVectors(db)
    await vectors.create("wide", 3_072)
    for act in (preview, run):
        with pytest.raises(UsageError, match="2,000 dimensions, not 3,072") as refused:
            await act(db, Action("build_index", "wide", method="hnsw"))
        assert "halfvec" in refused.value.hint
        with pytest.raises(NotFoundError):
            await act(db, Action("build_index", "narrow"))
    assert await audit.list(db) == ()


@pytest.mark.vectors
async def test_a_search_by_text_asks_the_collections_embedder_and_says_so(openai: Endpoint, db: AsyncPool) -> None:
    await collection(db, embedder="openai")
    look = await preview(db, Action("search", "docs", query="text number 7", filter=(("category", "b"),)))
    assert openai.url in look.warning and "openai" in look.warning
    assert openai.asked == [], "a preview sends nothing anywhere"
    assert "'[…]'" in look.sql and """'{"category": "b"}'""" in look.sql
    result = await run(db, Action("search", "docs", query="text number 7", filter=(("category", "b"),), limit=3))
    assert result.rows[0][2] == "text number 7"
    assert {int(content.split()[-1]) % 2 for _, _, content in result.rows} == {1}
    assert "where category = b" in result.message and "embedded by openai" in result.message
    assert (await audit.list(db))[0].detail["embedder"] == "openai"
    again = await run(db, Action("search", "docs", query="text number 7", embedder="hashing"))
    assert "hashing" in again.message
    assert len(openai.asked) == 1


@pytest.mark.vectors
async def test_a_collection_without_an_embedder_is_searched_by_vector_alone(db: AsyncPool) -> None:
    await collection(db, embedder=None)
    for act in (preview, run):
        with pytest.raises(UsageError, match="has no embedder"):
            await act(db, Action("search", "docs", query="text number 7"))
    vector = str(HashingEmbedder(16).embed(["text number 7"])[0])
    assert (await run(db, Action("search", "docs", query=vector))).rows[0][2] == "text number 7"
    assert (await preview(db, Action("search", "docs", query=vector))).warning == ""


# --- the command line --------------------------------------------------------------------------------------------


@pytest.mark.vectors
def test_from_texts_to_matches_by_a_configured_embedder(openai: Endpoint, pgops: Run) -> None:
    made = pgops("vector", "create", "docs", "--embedder", "openai", "--type", "halfvec", "--json").document[
        "collection"
    ]
    assert (made["dimensions"], made["type"], made["embedder"]) == (16, "halfvec", "openai"), "as many as it gives"
    about = '{"category": "books"}'
    added = pgops(
        "vector", "add", "docs", "--text", "how to sort", "--text", "how to sing", "--metadata", about, "--json"
    )
    assert added.document["changed"] == 2
    lines = '{"content": "how to swim", "metadata": {"category": "sport", "year": 2024}, "id": 90}\n'
    assert pgops("vector", "add", "docs", stdin=lines).code == 0
    found = pgops("vector", "search", "docs", "how to sort", "--limit", "5", "--json").document
    assert found["items"][0]["content"] == "how to sort"
    assert len(found["items"]) == 3
    for filters, wanted in (
        (["category=books"], {"how to sort", "how to sing"}), (["year=2024"], {"how to swim"}), (["year=1"], set()),
        (["category=sport", "year=2024"], {"how to swim"}), (['category="sport"'], {"how to swim"}),
    ):  # fmt: skip
        argv = [word for one in filters for word in ("--filter", one)]
        items = pgops("vector", "search", "docs", "how to sort", *argv, "--json").document["items"]
        assert {item["content"] for item in items} == wanted, filters
    said_ = pgops("vector", "list").out
    for words in ("halfvec", "openai", "cosine"):
        assert words in said_
    assert pgops("vector", "search", "docs", "x", "--embedder", "hashing").code == 0
    assert pgops("vector", "set-embedder", "docs", "hashing", "--json").document["collection"]["embedder"] == "hashing"


@pytest.mark.vectors
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_failing_embedder_is_one_error_without_the_key(openai: Endpoint, pgops: Run, as_json: bool) -> None:
    more = ["--json"] if as_json else []
    assert pgops("vector", "create", "docs", "16", "--embedder", "openai", *more).code == 0
    echo = {"error": {"message": f"I got Bearer {KEY}, which begins with {KEY[:9]}"}}
    for status in (400, 401, 429):
        openai.script[:] = [said(status, echo, retry_after="0")] * 3
        for argv in (["search", "docs", "x"], ["add", "docs", "--text", "x"]):
            openai.script[:] = [said(status, echo, retry_after="0")] * 3
            done = pgops("vector", *argv, *more)
            assert done.code == 1
            assert f"answered {status}" in done.err
            assert done.out == ""
            assert KEY[:9] not in done.out + done.err
            assert not as_json or done.error["hint"]
    assert pgops("vector", "list", "--json").document["items"][0]["rows"] == 0


@pytest.mark.vectors
def test_what_is_said_wrong_of_vectors_is_a_usage_error(openai: Endpoint, pgops: Run) -> None:
    assert pgops("vector", "create", "docs", "--dimensions", "16").code == 0
    cases: list[tuple[list[str], str, list[str]]] = [
        (["create", "more"], "", ["--dimensions"]),
        (["create", "more", "3", "--dimensions", "4"], "", ["twice"]),
        (["create", "more", "3", "--type", "bit"], "", ["halfvec"]),
        (["create", "more", "0"], "", ["dimensions"]),
        (["create", "more", "8", "--embedder", "openai"], "", ["16 dimensions, not 8"]),
        (["create", "more", "8", "--embedder", "opnai"], "", ["openai"]),
        (["set-embedder", "docs", "opnai"], "", ["openai"]),
        (["search", "docs", "x"], "", ["no embedder", "set-embedder docs"]),
        (["search", "docs", "x", "--embedder", "hashing", "--filter", "category"], "", ["category=books"]),
        (["search", "docs", "x", "--embedder", "hashing", "--filter", "=books"], "", ["category=books"]),
        (["add", "docs", "--text", "x"], "", ["no embedder"]),
        (["add", "docs", "--metadata", "{}"], "", ["--text"]),
        (["add", "docs", "--text", "x", "--metadata", "[1]", "--embedder", "hashing"], "", ["JSON object"]),
        (["add", "docs"], '{"content": "x", "more": 1}\n', ["content"]),
        (["add", "docs"], '{"content": "x", "embedding": [1]}\n', ["1 dimensions, the collection 16"]),
        (["add", "docs"], '{"content": "x"}\n{"content": "y", "embedding": [1]}\n', ["some have none"]),
        (["build", "docs", "--method", "hnsw", "--lists", "2"], "", ["lists"]),
    ]  # fmt: skip
    for argv, stdin, words in cases:
        done = pgops("vector", *argv, stdin=stdin)
        assert done.code == 2, argv
        for word in words:
            assert word in done.err, argv
    assert openai.asked == []
    assert [one["name"] for one in pgops("vector", "list", "--json").document["items"]] == ["docs"]


@pytest.mark.vectors
def test_a_type_that_takes_no_index_says_so_when_it_is_made(pgops: Run) -> None:
    done = pgops("vector", "create", "wide", "3072")
    assert done.code == 0 and "halfvec takes 4,000" in done.err
    assert "halfvec" in pgops("vector", "build", "wide", "--json").error["hint"]
    assert "halfvec" not in pgops("vector", "create", "half", "3072", "--type", "halfvec").err


@pytest.mark.vectors
def test_an_hnsw_index_from_build_to_recall(pgops: Run) -> None:
    pgops("vector", "create", "docs", "16", "--embedder", "hashing")
    lines = "".join(json.dumps({"content": f"text number {n}"}) + "\n" for n in range(120))
    assert pgops("vector", "add", "docs", stdin=lines).code == 0
    assert pgops("vector", "build", "docs", "--method", "hnsw", "--dry-run", "--json").document["changed"] == 0
    built = pgops("vector", "build", "docs", "--method", "hnsw", "--m", "8", "--json").document
    assert (built["index"]["method"], built["index"]["m"], built["action"]) == ("hnsw", 8, "build_index")
    assert isinstance(built["audit_id"], int)
    recall = pgops("vector", "recall", "docs", "--ef-search", "80", "--json").document["recall"]
    assert recall["recall"] > 0.9 and recall["ef_search"] == 80 and recall["probes"] is None
    assert "ef_search" in pgops("vector", "recall", "docs").out
    done = pgops("vector", "rebuild", "docs", "--method", "ivfflat", "--lists", "2", "--yes", "--json")
    assert done.document["message"] == "rebuilt vec_docs_ivf with 2 lists"
    assert "ivfflat" in pgops("vector", "list").out


def test_a_filters_value_is_json_where_it_can_be() -> None:
    cases = [("category=books", "books"), ("year=2024", 2024), ('year="2024"', "2024"), ("on=true", True),
             ("tags=[1]", [1]), ("a=b=c", "b=c"), ("n=NaN", "NaN"), ("n=", ""), ("n=[", "[")]  # fmt: skip
    for text, value in cases:
        assert parse_filter(text)[1] == value
