"""Document collections: what is put comes back, nobody's change is lost, and what does not fit changes nothing."""

import asyncio
import json
from typing import Any

import psycopg
import pytest

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import ConflictError, NotFoundError, PgopsError, RefusedError, UsageError
from pgops.services.client import AsyncPgops
from pgops.services.documents import AsyncDocuments
from pgops.services.models import NewDocument
from pgops.sync.services.client import Pgops


@pytest.fixture
async def docs(db: AsyncPool) -> AsyncDocuments:
    """The service, with an empty collection `users`."""
    documents = AsyncDocuments(db)
    await documents.create("users")
    return documents


async def everything(db: AsyncPool) -> list[tuple[Any, ...]]:
    return await db.all(b"select id, data::text, version from pgops.doc_users order by id")


# --- collections -----------------------------------------------------------------------------------------------


async def test_a_collection_is_made_listed_and_dropped(docs: AsyncDocuments, db: AsyncPool) -> None:
    made = await docs.describe("users")
    assert (made.name, made.table, made.documents, made.documents_exact) == ("users", "pgops.doc_users", 0, True)
    await docs.create("a" * 41)
    await docs.put("users", {"a": 1})
    assert [(one.name, one.documents) for one in await docs.list()] == [("a" * 41, 0), ("users", 1)]
    await docs.drop("users")
    assert [one.name for one in await docs.list()] == ["a" * 41]
    assert await db.all(b"select from pg_class where relname like 'doc_users%'") == []
    await docs.create("users")
    assert (await docs.describe("users")).documents == 0


async def test_a_name_is_taken_once_also_at_the_same_moment(db: AsyncPool) -> None:
    results = await asyncio.gather(*(AsyncDocuments(db).create("users") for _ in range(5)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, UsageError)]
    assert len(refused) == 4
    assert all("already" in str(error) for error in refused)


BAD_NAMES: list[Any] = ["", "Users", "1a", "a" * 42, "a-b", 'x"; drop table pgops.audit; --', None, "a\n", "a%s"]


async def test_a_bad_name_is_refused_by_every_verb_before_anything_is_done(docs: AsyncDocuments) -> None:
    for name in BAD_NAMES:
        calls = [
            docs.create(name), docs.describe(name), docs.drop(name), docs.put(name, {}), docs.put_many(name, [{}]),
            docs.get(name, "1"), docs.patch(name, "1", {}), docs.delete(name, "1"), docs.find(name), docs.count(name),
            docs.create_index(name, "a"), docs.list_indexes(name), docs.drop_index(name, "i"), docs.purge_expired(name),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(UsageError) as refused:
                await call
            assert refused.value.hint
    assert [one.name for one in await docs.list()] == ["users"]


async def test_an_unknown_collection_is_not_found_and_near_names_are_offered(docs: AsyncDocuments) -> None:
    calls = [
        docs.describe("usres"), docs.drop("usres"), docs.put("usres", {}), docs.put_many("usres", [{}]),
        docs.put_many("usres", []), docs.get("usres", "1"), docs.patch("usres", "1", {}), docs.delete("usres", "1"),
        docs.find("usres"), docs.count("usres"), docs.create_index("usres", "a"), docs.list_indexes("usres"),
        docs.drop_index("usres", "i"), docs.purge_expired("usres"), docs.put("usres", {}, "1", expected_version=3),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(NotFoundError) as refused:
            await call
        assert refused.value.hint == "did you mean users?"


async def test_a_collection_dropped_elsewhere_is_not_found(docs: AsyncDocuments, db: AsyncPool) -> None:
    await docs.find("users")
    await AsyncDocuments(db).drop("users")
    with pytest.raises(NotFoundError):
        await docs.find("users")


# --- put, get, delete ------------------------------------------------------------------------------------------


async def test_a_document_comes_back_as_it_was_put(docs: AsyncDocuments) -> None:
    data = {"name": "Zoë 🐘", "n": [1, 2.5, None, True, {"deep": {"er": "'\"\\%s{}"}}], "": "empty key", "big": 10**40}
    put = await docs.put("users", data, "user:1")
    got = await docs.get("users", "user:1")
    assert got == put
    assert (got.id, got.data, got.version, got.expires_at) == ("user:1", data, 1, None)
    assert await docs.get("users", "user:2") is None


async def test_without_an_id_one_is_drawn_that_sorts_by_time(docs: AsyncDocuments) -> None:
    ids = []
    for n in range(3):
        ids.append((await docs.put("users", {"n": n})).id)
        await asyncio.sleep(0.003)
    assert ids == sorted(set(ids))
    assert [one.data["n"] for one in (await docs.find("users")).documents] == [0, 1, 2]


async def test_a_put_replaces_and_counts_the_version(docs: AsyncDocuments) -> None:
    first = await docs.put("users", {"a": 1}, "1")
    second = await docs.put("users", {"b": 2}, "1")
    got = await docs.get("users", "1")
    assert got is not None
    assert (got.data, got.version) == ({"b": 2}, 2)
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at


async def test_a_stale_version_is_refused_and_nothing_is_changed(docs: AsyncDocuments, db: AsyncPool) -> None:
    await docs.put("users", {"a": 1}, "1", expected_version=0)
    await docs.put("users", {"a": 2}, "1", expected_version=1)
    before = await everything(db)
    calls = [
        docs.put("users", {"a": 3}, "1", expected_version=1), docs.put("users", {"a": 3}, "1", expected_version=0),
        docs.put("users", {"a": 3}, "1", expected_version=9), docs.delete("users", "1", expected_version=1),
        docs.patch("users", "1", {"a": 3}, expected_version=1), docs.patch("users", "1", {}, expected_version=0),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ConflictError, match=r"version 2|already") as refused:
            await call
        assert refused.value.exit_code == 5
        assert refused.value.hint
    for call in (
        docs.put("users", {}, "gone", expected_version=1),
        docs.patch("users", "gone", {}, expected_version=1),
        docs.patch("users", "gone", {}),
    ):
        with pytest.raises(NotFoundError, match="gone"):
            await call
    assert await everything(db) == before
    assert await docs.delete("users", "1", expected_version=2)
    assert not await docs.delete("users", "1")
    assert not await docs.delete("users", "1", expected_version=2)


async def test_many_optimistic_writers_lose_no_increment(docs: AsyncDocuments) -> None:
    await docs.put("users", {"n": 0}, "1")

    async def add_one() -> None:
        while True:
            seen = await docs.get("users", "1")
            assert seen is not None
            try:
                await docs.put("users", {"n": seen.data["n"] + 1}, "1", expected_version=seen.version)
                return
            except ConflictError:
                continue

    await asyncio.gather(*(add_one() for _ in range(20)))
    got = await docs.get("users", "1")
    assert got is not None
    assert (got.data, got.version) == ({"n": 20}, 21)


async def test_of_many_first_puts_one_wins(docs: AsyncDocuments) -> None:
    puts = (docs.put("users", {"n": n}, "1", expected_version=0) for n in range(10))
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert sum(isinstance(result, ConflictError) for result in results) == 9


BAD: list[tuple[Any, str]] = [
    ([1], "an array"), ("text", "a text"), (None, "null"), (7, "a number"), (True, "true or false"),
    ({"a": float("nan")}, "not JSON"), ({"a": float("inf")}, "not JSON"), ({"a": object()}, "not JSON"),
    ({"a": b"x"}, "not JSON"), ({"a": "x\0y"}, "NUL"), ({"x\0": 1}, "NUL"), ({"a": "\ud800"}, "surrogate"),
    ({"a": "x" * (8 * 1024 * 1024)}, "8,388,608"),
]  # fmt: skip


async def test_what_is_no_document_is_refused_and_nothing_is_changed(docs: AsyncDocuments, db: AsyncPool) -> None:
    await docs.put("users", {"a": 1}, "1")
    before = await everything(db)
    for data, words in BAD:
        for call in (docs.put("users", data, "1"), docs.patch("users", "1", data), docs.put("users", data)):
            with pytest.raises(UsageError, match=words) as refused:
                await call
            assert refused.value.hint
        with pytest.raises(UsageError):
            await docs.put_many("users", [NewDocument({"a": 2}, "1"), NewDocument(data, "2")])
    assert await everything(db) == before


async def test_eight_megabytes_fit_and_a_nul_that_is_only_spelled_does_too(docs: AsyncDocuments) -> None:
    await docs.put("users", {"a": "x" * (8 * 1024 * 1024 - 8)}, "large")
    spelled = {"a": "\\u0000"}
    await docs.put("users", spelled, "spelled")
    got = await docs.get("users", "spelled")
    assert got is not None
    assert got.data == spelled


async def test_a_bad_id_is_refused(docs: AsyncDocuments) -> None:
    bad: list[Any] = ["", "x\0", "x" * 501, "\ud800", 7]
    for id in bad:
        for call in (docs.put("users", {}, id), docs.get("users", id), docs.delete("users", id)):
            with pytest.raises(UsageError, match="id is a text"):
                await call


async def test_a_bad_version_or_ttl_is_refused(docs: AsyncDocuments) -> None:
    versions: list[Any] = [-1, 1.5, True, 2**63]
    for version in versions:
        with pytest.raises(UsageError, match="version"):
            await docs.put("users", {}, "1", expected_version=version)
    for ttl in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="TTL"):
            await docs.put("users", {}, "1", ttl_s=ttl)
    with pytest.raises(UsageError, match="no id"):
        await docs.put("users", {}, expected_version=1)


async def test_plain_sql_cannot_store_what_is_no_object(docs: AsyncDocuments, db: AsyncPool) -> None:
    with pytest.raises(PgopsError, match="check constraint"):
        await db.execute(b"""insert into pgops.doc_users (data) values ('[1]')""")
    await db.execute(b"""insert into pgops.doc_users (data) values ('{"plain": "sql"}')""")
    assert (await docs.find("users", {"plain": "sql"})).documents[0].version == 1


# --- expiry ----------------------------------------------------------------------------------------------------


async def test_an_expired_document_is_gone_for_every_verb_and_purged(docs: AsyncDocuments, db: AsyncPool) -> None:
    for id in ("1", "2", "3"):
        await docs.put("users", {"a": 1}, id, ttl_s=0.05)
    kept = await docs.put("users", {"a": 1}, "kept", ttl_s=60)
    assert kept.expires_at is not None
    assert (await docs.count("users")).count == 4
    await asyncio.sleep(0.08)
    assert await docs.get("users", "1") is None
    assert not await docs.delete("users", "1")
    assert [one.id for one in (await docs.find("users")).documents] == ["kept"]
    with pytest.raises(NotFoundError):
        await docs.patch("users", "2", {"b": 1})
    again = await docs.put("users", {"a": 2}, "2", expected_version=0)
    assert (again.version, again.expires_at) == (2, None), "a version never comes twice"
    assert again.created_at == again.updated_at
    assert [await docs.purge_expired("users", batch=1) for _ in range(2)] == [1, 0]
    assert [row[0] for row in await everything(db)] == ["2", "kept"]


# --- patch -----------------------------------------------------------------------------------------------------

# RFC 7386, appendix A.
RFC_7386 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


async def test_a_patch_is_a_json_merge_patch(db: AsyncPool) -> None:
    for target, patch, result in RFC_7386:
        row = await db.one(
            b"select pgops.merge_patch(%s::jsonb, %s::jsonb)::text", [json.dumps(target), json.dumps(patch)]
        )
        assert row is not None
        assert json.loads(row[0]) == result, (target, patch)


async def test_patches_at_the_same_moment_are_all_in_it(docs: AsyncDocuments) -> None:
    await docs.put("users", {"tags": {}}, "1")
    await asyncio.gather(*(docs.patch("users", "1", {"tags": {f"t{n}": n}}) for n in range(20)))
    got = await docs.get("users", "1")
    assert got is not None
    assert got.data == {"tags": {f"t{n}": n for n in range(20)}}
    assert got.version == 21


# --- put_many --------------------------------------------------------------------------------------------------


async def test_many_are_stored_and_replaced(docs: AsyncDocuments) -> None:
    assert await docs.put_many("users", ({"n": n} for n in range(2_500))) == 2_500
    assert (await docs.count("users")).count == 2_500
    assert await docs.put_many("users", (NewDocument({"n": n}, f"u{n}") for n in range(1_500)), ttl_s=60) == 1_500
    assert await docs.put_many("users", [NewDocument({"n": -1}, "u7"), NewDocument({"n": 0}, "u5")]) == 2
    got = await docs.get("users", "u7")
    assert got is not None
    assert (got.data, got.version, got.expires_at) == ({"n": -1}, 2, None)
    assert await docs.put_many("users", []) == 0


async def test_of_many_all_or_none_are_stored(docs: AsyncDocuments, db: AsyncPool) -> None:
    bad: list[list[Any]] = [
        [*({"n": n} for n in range(1_200)), {"n": float("nan")}],
        [NewDocument({}, "a"), NewDocument({}, "a")],
        [NewDocument({}, "a"), NewDocument({})],
        [{"n": 1}, 7],
    ]
    for documents in bad:
        with pytest.raises(UsageError):
            await docs.put_many("users", documents)
        assert await everything(db) == []


async def test_two_that_put_the_same_ids_in_opposite_order_do_not_deadlock(docs: AsyncDocuments) -> None:
    ids = [f"u{n}" for n in range(300)]
    for _ in range(5):
        await asyncio.gather(
            docs.put_many("users", [NewDocument({"by": 1}, id) for id in ids]),
            docs.put_many("users", [NewDocument({"by": 2}, id) for id in reversed(ids)]),
        )
    assert (await docs.count("users")).count == 300


# --- the caller's transaction, and the twin --------------------------------------------------------------------


async def test_a_document_and_a_business_row_are_both_there_or_neither(docs: AsyncDocuments, dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        for keep in (False, True):
            async with await psycopg.AsyncConnection.connect(dsn) as conn:
                await conn.execute("create table if not exists orders (id int)")
                await conn.execute("insert into orders values (1)")
                mine = pg.bind(conn).documents
                await mine.put("users", {"order": 1}, "1")
                await mine.patch("users", "1", {"paid": True})
                assert (await mine.find("users", {"paid": True})).documents[0].id == "1"
                for call in (mine.create_index("users", "order"), mine.drop_index("users", "x")):
                    with pytest.raises(RefusedError, match="transaction"):
                        await call
                await (conn.commit() if keep else conn.rollback())
            assert (await docs.get("users", "1") is not None) is keep


async def test_a_bad_argument_leaves_the_callers_transaction_alive(docs: AsyncDocuments, dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        mine = AsyncDocuments(AsyncBound(conn, foreign=True))
        with pytest.raises(UsageError):
            await mine.put_many("users", [{"a": 1}, {"a": "\0"}])
        with pytest.raises(NotFoundError):
            await mine.find("usres")
        await mine.put("users", {"fine": True})
        await conn.commit()
    assert (await docs.count("users")).count == 1


def test_the_blocking_twin_does_the_same(dsn: str) -> None:
    with Pgops.open(dsn) as pg:
        pg.documents.create("users")
        pg.documents.put("users", {"a": {"b": 1}}, "1")
        pg.documents.put_many("users", [{"a": {"b": n}} for n in range(5)])
        pg.documents.create_index("users", "a.b")
        page = pg.documents.find("users", {"a.b": 1}, sort="a.b", limit=1)
        assert page.next is not None
        assert len(pg.documents.find("users", {"a.b": 1}, sort="a.b", after=page.next).documents) == 1
        with pytest.raises(ConflictError):
            pg.documents.put("users", {}, "1", expected_version=7)
        pg.documents.drop("users")
