"""Finding documents: every condition means the same with and without an index, uses the index that is there, and no
path or value is ever SQL."""

import asyncio
import random
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pgops.database import AsyncPool, Params, Query, Row
from pgops.errors import NotFoundError, PgopsError, RefusedError, UsageError
from pgops.services.document_rules import check_path, parse_where, path_text
from pgops.services.documents import AsyncDocuments
from pgops.services.models import NewDocument, Where

SMALL: dict[str, Any] = {
    "int": {"v": 42, "tags": ["a", "b"]}, "float": {"v": 42.0, "tags": ["b"]}, "text": {"v": "42", "tags": []},
    "more": {"v": 100}, "less": {"v": -1.5}, "name": {"v": "ann"}, "true": {"v": True}, "null": {"v": None},
    "none": {"w": 1}, "list": {"v": [42], "tags": "a"}, "object": {"v": {"x": 1}}, "deep": {"v": {"x": 1, "y": [1, 2]}},
}  # fmt: skip
CASES: list[tuple[Where, str]] = [
    (Where("v", "=", 42), "int float"),
    (Where("v", "=", "42"), "text"),
    (Where("v", "=", True), "true"),
    (Where("v", "=", None), "null"),
    (Where("v", "=", [42]), "list"),
    (Where("v", "=", {"x": 1}), "object"),
    (Where("v", "!=", 42), "text more less name true null none list object deep"),
    (Where("v", ">", 42), "more"),
    (Where("v", ">=", 42), "int float more"),
    (Where("v", "<", 42), "less"),
    (Where("v", "<=", 42.0), "int float less"),
    (Where("v", ">", "41"), "text name"),
    (Where("v", "<", "5"), "text"),
    (Where("v", "in", [42, "ann", None]), "int float name null"),
    (Where("v", "in", ["42", "ann"]), "text name"),
    (Where("v", "in", [{"x": 1}, 100]), "object more"),
    (Where("v", "in", []), ""),
    (Where("tags", "any", ["a", "z"]), "int"),
    (Where("tags", "any", ["b"]), "int float"),
    (Where("tags", "any", []), ""),
    (Where("v", "contains", {"x": 1}), "object deep"),
    (Where("v.y", "contains", [2]), "deep"),
    (Where((), "contains", {"tags": ["b"], "v": 42}), "int float"),
    (Where("v[0]", "=", 42), "int float list"),
    (Where("v.y[-1]", ">", 1), "deep"),
    (Where("tags[0]", "in", ["a", "b"]), "int float list"),
]
INDEXES: dict[str, list[dict[str, Any]]] = {
    "no index": [],
    "json": [{"path": "v"}, {"path": "tags"}],
    "text": [{"path": "v", "type": "text"}],
    "gin": [{"kind": "gin"}],
    "gin of a path": [{"path": "tags", "kind": "gin"}, {"path": "v", "kind": "gin"}],
    "all": [{"path": "v"}, {"path": "v", "type": "text"}, {"kind": "gin"}, {"path": "tags", "kind": "gin"}],
}


@pytest.fixture
async def docs(db: AsyncPool) -> AsyncDocuments:
    documents = AsyncDocuments(db)
    await documents.create("users")
    return documents


async def found(docs: AsyncDocuments, *where: Where, **more: Any) -> list[str]:
    return [one.id for one in (await docs.find("users", where, **more)).documents]


@pytest.mark.parametrize("indexes", INDEXES.values(), ids=INDEXES)
async def test_a_condition_means_the_same_whatever_index_is_there(
    docs: AsyncDocuments, indexes: list[dict[str, Any]]
) -> None:
    await docs.put_many("users", [NewDocument(data, id) for id, data in SMALL.items()])
    for index in indexes:
        await docs.create_index("users", **index)
    for where, ids in CASES:
        assert sorted(await found(docs, where)) == sorted(ids.split()), where
        assert (await docs.count("users", [where])).count == len(ids.split())
    assert await found(docs, Where("v", ">", 0), Where("tags", "any", ["b"])) == ["float", "int"]


async def test_pages_by_a_key_bring_every_document_once_and_those_without_it_last(docs: AsyncDocuments) -> None:
    rng = random.Random(3)
    values = [rng.choice([n % 7, n % 5 + 0.5, f"t{n % 3}", None, True]) for n in range(60)]
    await docs.put_many("users", [NewDocument({"v": v}, f"d{n:02}") for n, v in enumerate(values)])
    await docs.put_many("users", [NewDocument({}, f"e{n}") for n in range(7)])
    for descending in (False, True):
        for index in (False, True):
            if index and not await docs.list_indexes("users"):
                await docs.create_index("users", "v")
            seen: list[str] = []
            after = None
            while True:
                page = await docs.find("users", sort="v", descending=descending, limit=5, after=after)
                seen += [one.id for one in page.documents]
                after = page.next
                if after is None:
                    break
            whole = [one.id for one in (await docs.find("users", sort="v", descending=descending)).documents]
            assert seen == whole
            assert len(set(seen)) == 67
            missing = [f"e{n}" for n in range(7)]
            assert seen[-7:] == (missing[::-1] if descending else missing)
            data = {one.id: one.data for one in (await docs.find("users")).documents}
            numbers = [data[id]["v"] for id in seen[:-7] if type(data[id]["v"]) in (int, float)]
            assert numbers == sorted(numbers, reverse=descending)


async def test_pages_by_id_end(docs: AsyncDocuments) -> None:
    await docs.put_many("users", [NewDocument({}, f"d{n}") for n in range(6)])
    first = await docs.find("users", limit=3)
    second = await docs.find("users", limit=3, after=first.next)
    assert [one.id for one in (*first.documents, *second.documents)] == [f"d{n}" for n in range(6)]
    assert second.next is None
    assert await found(docs, descending=True, limit=2) == ["d5", "d4"]


async def test_a_mark_of_another_find_is_refused(docs: AsyncDocuments) -> None:
    await docs.put_many("users", [{"v": n} for n in range(4)])
    mark = (await docs.find("users", sort="v", limit=2)).next
    assert mark is not None
    for after, sort in ((mark, None), (mark, "w"), ("nonsense", "v"), ("", "v"), ("WyJhIl0=", "v"), (mark[:-4], "v")):
        with pytest.raises(UsageError, match="page"):
            await docs.find("users", sort=sort, after=after)


async def test_a_count_stops_at_its_cap(docs: AsyncDocuments) -> None:
    await docs.put_many("users", [{"v": n} for n in range(30)])
    capped = await docs.count("users", [Where("v", ">=", 5)], cap=10)
    assert (capped.count, capped.count_exact) == (10, False)
    whole = await docs.count("users", [Where("v", ">=", 5)], cap=25)
    assert (whole.count, whole.count_exact) == (25, True)


BAD_CONDITIONS: list[Any] = [
    Where("v", "like", "x"), Where("v", ">", None), Where("v", ">", True), Where("v", "<", [1]),  # type: ignore[arg-type]
    Where("v", "in", "abc"), Where("v", "any", 7), Where("v", "contains", "x"), Where("v", "=", float("nan")),
    Where("v", "=", "a\0b"), Where("v", ">", "\ud800"), Where("", "=", 1), Where("a..b", "=", 1), Where('"a', "=", 1),
    Where("a.", "=", 1), Where("a[x]", "=", 1), Where("a]", "=", 1), Where('a"b', "=", 1), Where((), "=", 1),
    Where(("a\0",), "=", 1), Where((1.5,), "=", 1), Where(("x" * 501,), "=", 1), Where(("a",) * 33, "=", 1),  # type: ignore[arg-type]
]  # fmt: skip


async def test_a_condition_that_cannot_be_is_refused(docs: AsyncDocuments) -> None:
    for where in BAD_CONDITIONS:
        with pytest.raises(UsageError) as refused:
            await docs.find("users", [where])
        assert refused.value.hint


async def test_a_bad_limit_or_cap_is_refused(docs: AsyncDocuments) -> None:
    for limit in (0, -1, 10_001):
        with pytest.raises(UsageError, match="limit"):
            await docs.find("users", limit=limit)
    with pytest.raises(UsageError, match="cap"):
        await docs.count("users", cap=0)


# --- paths -----------------------------------------------------------------------------------------------------

EVIL = [
    "o'brien", 'say "hi"', "back\\slash", "100%", "%s", "%(p0)s", "{key}", "a.b", "[0]", " ", "-- x", "';select 1;--",
    "') or true or ('", "ключ", "line\nbreak", "$$", "''", "E'\\'", "a" * 500, "",
]  # fmt: skip


async def test_any_key_is_a_key_and_never_sql(docs: AsyncDocuments, db: AsyncPool) -> None:
    for key in EVIL:
        await _is_just_a_key(docs, key)
    assert await db.one(b"select to_regclass('pgops.audit') is not null") == (True,)
    assert [one.name for one in await docs.list()] == ["users"]


async def _is_just_a_key(docs: AsyncDocuments, key: str) -> None:
    path = (key, "in", key)
    await docs.put("users", {key: {"in": {key: 5}}}, "yes")
    await docs.put("users", {key: {"in": {key: 4}}}, "no")
    wheres = [Where(path, "=", 5), Where(path, ">", 4), Where(path_text(path), "in", [5, key])]
    for index in ({}, {"type": "text"}, {"kind": "gin"}):
        for where in wheres:
            assert await found(docs, where, sort=path) == ["yes"]
        made = await docs.create_index("users", path, **index)  # type: ignore[arg-type]
        assert made.valid
        assert made.path is not None
        assert check_path(made.path) == path
        assert len(made.name) <= 63
    assert (await docs.count("users", [Where("name", "=", key)])).count == 0
    for one in await docs.list_indexes("users"):
        await docs.drop_index("users", one.name)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ("a[0].b[-1][2]", ("a", 0, "b", -1, 2)),
        ('"a.b".c', ("a.b", "c")),
        ('"say \\"hi\\""', ('say "hi"',)),
        ("o'brien.x y", ("o'brien", "x y")),
        ('""', ("",)),
    ],
)
def test_a_path_is_read_and_written(text: str, steps: tuple[str | int, ...]) -> None:
    assert check_path(text) == steps
    assert check_path(path_text(steps)) == steps


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("user_id=42", Where("user_id", "=", 42)),
        ("amount > 50.5", Where("amount", ">", 50.5)),
        ("amount>=50", Where("amount", ">=", 50)),
        ("name=ann", Where("name", "=", "ann")),
        ('name="42"', Where("name", "=", "42")),
        ("name=", Where("name", "=", "")),
        ("name != x = y", Where("name", "!=", "x = y")),
        ("customer.is_new=true", Where("customer.is_new", "=", True)),
        ('status in ["a", "b"]', Where("status", "in", ["a", "b"])),
        ('tags any ["a"]', Where("tags", "any", ["a"])),
        ('meta contains {"a": 1}', Where("meta", "contains", {"a": 1})),
        ('"a=b".c < 3', Where("a=b.c", "<", 3)),
        ("a = NaN", Where("a", "=", "NaN")),
        ("inner=1", Where("inner", "=", 1)),
    ],
)
def test_a_condition_is_read_as_a_person_writes_it(text: str, where: Where) -> None:
    assert parse_where(text) == where


@pytest.mark.parametrize(
    "text", ["", "amount", "=5", "a..b=1", "x in 5", "x any y", "x contains 5", "a > true", '"a=1']
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_where(text)


# --- indexes ---------------------------------------------------------------------------------------------------


async def test_indexes_are_made_listed_and_dropped(docs: AsyncDocuments) -> None:
    one = await docs.create_index("users", "customer.name", type="text")
    two = await docs.create_index("users", kind="gin")
    assert (one.kind, one.type, one.path, one.valid) == ("btree", "text", "customer.name", True)
    assert "->> 'name'" in one.definition
    assert (two.kind, two.type, two.path) == ("gin", "json", None)
    assert "jsonb_path_ops" in two.definition
    with pytest.raises(RefusedError, match="already"):
        await docs.create_index("users", "customer.name", type="text")
    with pytest.raises(NotFoundError) as refused:
        await docs.drop_index("users", one.name[:-1])
    assert one.name in refused.value.hint
    with pytest.raises(NotFoundError):
        await docs.drop_index("users", "doc_users_pkey")
    await docs.drop_index("users", one.name)
    assert [each.name for each in await docs.list_indexes("users")] == [two.name]


async def test_bad_indexes_are_refused(docs: AsyncDocuments) -> None:
    bad: list[dict[str, Any]] = [
        {}, {"path": "a", "kind": "hash"}, {"path": "a", "type": "numeric"}, {"path": "a..b"},
        {"path": "a", "kind": "gin", "type": "text"}, {"path": ()}, {"path": ("a\0",)},
    ]  # fmt: skip
    for one in bad:
        with pytest.raises(UsageError) as refused:
            await docs.create_index("users", **one)
        assert refused.value.hint
    assert await docs.list_indexes("users") == ()


async def test_an_index_made_by_hand_is_understood(docs: AsyncDocuments, db: AsyncPool) -> None:
    await db.execute(b"create index by_user on pgops.doc_users ((data->>'user_id'))")
    await db.execute(b"create index by_data on pgops.doc_users using gin (data)")
    await db.execute(b"create index by_number on pgops.doc_users (((data->>'n')::numeric))")
    await db.execute(b"create index partly on pgops.doc_users ((data->>'x')) where version > 3")
    known = {one.name: (one.kind, one.type, one.path) for one in await docs.list_indexes("users")}
    assert known == {
        "by_data": ("gin", "json", None), "by_user": ("btree", "text", "user_id"), "by_number": ("btree", None, None),
        "partly": ("btree", None, None),
    }  # fmt: skip


async def test_a_cancelled_build_leaves_nothing_and_the_next_one_works(
    docs: AsyncDocuments, db: AsyncPool, dsn: str
) -> None:
    await docs.put_many("users", [{"a": n} for n in range(100)])
    with psycopg.connect(dsn) as holder:
        holder.execute("lock table pgops.doc_users in row exclusive mode")
        building = asyncio.create_task(docs.create_index("users", "a"))
        while True:
            await asyncio.sleep(0.05)
            left = await db.all(
                b"select from pg_index x where x.indrelid = 'pgops.doc_users'::regclass and not indisvalid"
            )
            if left:
                break
        with pytest.raises(RefusedError, match="right now"):
            await docs.create_index("users", "b")
        await db.all(
            b"select pg_cancel_backend(pid) from pg_stat_activity where datname = current_database()"
            b" and query like 'create index concurrently%%'",
            [],
        )
        await asyncio.sleep(0.1)
        holder.rollback()
        with pytest.raises(PgopsError, match="cancel"):
            await building
    assert await docs.list_indexes("users") == ()
    assert (await docs.create_index("users", "a")).valid


async def test_what_a_killed_build_left_is_made_anew(docs: AsyncDocuments, db: AsyncPool) -> None:
    name = (await docs.create_index("users", "a")).name
    await db.execute(b"update pg_index set indisvalid = false where indexrelid = %s::regclass", [f"pgops.{name}"])
    assert not (await docs.list_indexes("users"))[0].valid
    assert (await docs.create_index("users", "a")).valid


# --- plans -----------------------------------------------------------------------------------------------------


class Explaining:
    """A database that keeps the plan of every find."""

    def __init__(self, db: AsyncPool) -> None:
        self._db = db
        self.plan = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def all(self, query: Query, params: Params = None) -> list[Row]:
        if isinstance(query, sql.Composed):
            rows = await self._db.all(sql.SQL("explain (costs off) ") + query, params)
            self.plan = "\n".join(row[0] for row in rows)
        return await self._db.all(query, params)


async def test_finds_on_twenty_thousand_documents_use_the_indexes(docs: AsyncDocuments, db: AsyncPool) -> None:
    rng = random.Random(5)
    await docs.put_many("users", (
        {"user_id": n % 1000, "email": f"u{n}@example.org", "amount": rng.random() * 1000, "at": f"2026-{n:05}",
         "tags": [f"t{n % 500}", "all"], "customer": {"name": f"c{n % 700}"}}
        for n in range(20_000)
    ))  # fmt: skip
    explaining = Explaining(db)
    finder = AsyncDocuments(explaining)
    await finder.find("users", {"user_id": 7}, sort="email")
    assert "Seq Scan" in explaining.plan, "without an index there is no other way"
    names = {}
    for path, more in (("user_id", {}), ("amount", {}), ("email", {"type": "text"}), ("at", {"type": "text"}),
                       (None, {"kind": "gin"})):  # fmt: skip
        names[path] = (await docs.create_index("users", path, **more)).name  # type: ignore[arg-type]
    finder = AsyncDocuments(explaining)
    for where, path, expected in (
        (Where("user_id", "=", 7), "user_id", 20),
        (Where("user_id", "in", [7, 8]), "user_id", 40),
        (Where("amount", ">", 999), "amount", None),
        (Where("amount", "<", 1), "amount", None),
        (Where("email", "=", "u7@example.org"), "email", 1),
        (Where("email", "in", ["u7@example.org", "u8@example.org"]), "email", 2),
        (Where("at", ">=", "2026-19990"), "at", 10),
        (Where("customer.name", "=", "c3"), None, None),
        (Where("tags", "any", ["t3", "t4"]), None, 80),
        (Where((), "contains", {"customer": {"name": "c3"}}), None, None),
    ):
        page = await finder.find("users", [where])
        assert names[path] in explaining.plan, (where, explaining.plan)
        assert "Seq Scan" not in explaining.plan
        assert len(page.documents) > 0
        assert expected is None or len(page.documents) == expected
    await finder.find("users", sort="amount", limit=10)
    assert names["amount"] in explaining.plan
    assert "Seq Scan" not in explaining.plan
    first = await finder.find("users", sort="amount", limit=10)
    await finder.find("users", sort="amount", limit=10, after=first.next)
    assert names["amount"] in explaining.plan
    assert "Seq Scan" not in explaining.plan
