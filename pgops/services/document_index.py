"""The indexes of a document collection: make, list, drop; and what a find needs to know of them.

Floor 2, under documents.py. An index is built and dropped concurrently, on pgops' own connections and outside any
transaction; a build that fails leaves none behind, and one that was killed is cleaned up by the next.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from difflib import get_close_matches
from time import monotonic
from typing import get_args

from psycopg import sql

from pgops.database import AsyncBound, AsyncDatabase, AsyncPool, Row
from pgops.errors import NotFoundError, PgopsError, RefusedError, UsageError
from pgops.services.document_query import Known, Q, compose, index_expression, index_name, read_expression
from pgops.services.document_rules import Steps, check_name, check_path, path_text
from pgops.services.models import DocumentIndex, IndexKind, IndexType, Path

KNOWN_FOR_S = 30.0


class AsyncDocumentIndexes:
    """What AsyncDocuments can do about the indexes of a collection."""

    def __init__(self, db: AsyncDatabase) -> None:
        self._db = db
        self._known: dict[str, tuple[Known, float]] = {}

    async def create_index(
        self, collection: str, path: Path | None = None, *, kind: IndexKind = "btree", type: IndexType = "json"
    ) -> DocumentIndex:
        """Build an index without blocking writers.

        btree, of the value at `path`: for =, in, ranges and sorting. As json it holds every value as it is, so that
        numbers order as numbers; as text it is `data ->> 'key'`, the form that hand-written SQL has, and find uses
        it for texts. gin, of the whole document or of what is at `path`: for = and in on any path, any, contains.

        Raises NotFoundError for an unknown collection, UsageError for a bad path, kind or type, RefusedError where
        the index is there already, on a bound connection, and while another one of the collection is built.
        """
        pool = self._pool("create_index")
        steps = _wanted(path, kind, type)
        await self._find(collection)
        name = index_name(collection, kind, type, steps)
        index = sql.Identifier("pgops", name)
        try:
            async with pool.session() as session, self._alone(session, collection):
                for one in await self.list_indexes(collection):
                    if one.name == name and one.valid:
                        raise RefusedError(f"there is that index already: {name}", "drop it first to build it anew")
                await session.execute(compose("drop_index", collection, index=index))
                await session.execute(
                    compose(
                        "create_index",
                        collection,
                        index_name=sql.Identifier(name),
                        method=sql.SQL(kind),
                        expression=index_expression(kind, type, steps),
                    )
                )
                await session.execute(compose("analyze", collection))
        except RefusedError:
            raise
        except BaseException:
            await self._clean_up(pool, collection, name)
            raise
        self._known.pop(collection, None)
        return await self._index(collection, name)

    async def list_indexes(self, collection: str) -> tuple[DocumentIndex, ...]:
        """Its indexes on data by name, also those that were made by hand. Raises NotFoundError."""
        await self._find(collection)
        return tuple(_index(collection, *row) for row in await self._db.all(Q["list_indexes"], {"name": collection}))

    async def drop_index(self, collection: str, name: str) -> None:
        """Drop one of list_indexes without blocking anybody. Raises NotFoundError, RefusedError when bound."""
        pool = self._pool("drop_index")
        await self._index(collection, name)
        async with pool.session() as session, self._alone(session, collection):
            await session.execute(compose("drop_index", collection, index=sql.Identifier("pgops", name)))
        self._known.pop(collection, None)

    async def _index(self, collection: str, name: str) -> DocumentIndex:
        found = {one.name: one for one in await self.list_indexes(collection)}
        if name not in found:
            raise NotFoundError(f"collection {collection!r} has no index {str(name)[:63]!r}", _near(name, [*found]))
        return found[name]

    async def _knows(self, collection: str) -> Known:
        """The indexes of a collection as they were at most KNOWN_FOR_S ago. Raises NotFoundError."""
        known = self._known.get(check_name(collection))
        if known is None or monotonic() >= known[1]:
            rows = await self.list_indexes(collection)
            indexes = frozenset(
                (one.kind, one.type, () if one.path is None else check_path(one.path))
                for one in rows
                if one.valid and one.type is not None
            )
            known = self._known[collection] = Known(indexes), monotonic() + KNOWN_FOR_S
        return known[0]

    async def _find(self, name: str) -> Row:
        """The collection's row of find_collections. Raises NotFoundError with near names."""
        rows = await self._db.all(Q["find_collections"], {"name": check_name(name)})
        if not rows:
            names = [row[0] for row in await self._db.all(Q["list_names"])]
            hint = _near(name, names) if names else f"create it first: pgops doc create {name}"
            raise NotFoundError(f"there is no collection {name!r}", hint)
        return rows[0]

    def _pool(self, what: str) -> AsyncPool:
        if not isinstance(self._db, AsyncPool):
            raise RefusedError(
                f"{what} cannot run inside a transaction", "call it on the client and not on what bind() returns"
            )
        return self._db

    @asynccontextmanager
    async def _alone(self, session: AsyncBound, collection: str) -> AsyncIterator[None]:
        """Hold off a second build. The lock is a courtesy: PostgreSQL itself keeps two from meeting."""
        table: Mapping[str, object] = {"table": f"doc_{collection}"}
        locked = await session.one(Q["lock_collection"], table)
        if locked is None or not locked[0]:
            raise RefusedError(f"an index of {collection!r} is being built right now", "wait until that is done")
        try:
            yield
        finally:
            with suppress(PgopsError):
                await session.one(Q["unlock_collection"], table)

    async def _clean_up(self, pool: AsyncPool, collection: str, name: str) -> None:
        """After a failure: drop what is half built. What cannot be cleaned now is cleaned by the next build."""
        with suppress(PgopsError):
            async with pool.session() as session, self._alone(session, collection):
                if any(one.name == name and not one.valid for one in await self.list_indexes(collection)):
                    await session.execute(compose("drop_index", collection, index=sql.Identifier("pgops", name)))


def _wanted(path: Path | None, kind: IndexKind, type: IndexType) -> Steps:
    if kind not in get_args(IndexKind) or type not in get_args(IndexType):
        raise UsageError(f"there is no index {str(kind)[:20]} of {str(type)[:20]}", "btree or gin, of json or text")
    if kind == "gin" and type != "json":
        raise UsageError("a gin index is of json", "leave the type out")
    if path is None and kind == "btree":
        raise UsageError("a btree index needs a path", "for example user_id, or take a gin index of the whole document")
    return () if path is None else check_path(path)


def _near(name: str, names: list[str]) -> str:
    near = get_close_matches(str(name), names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there are: {', '.join(names[:10])}" if names else "it has none"


def _index(
    collection: str, name: str, kind: str, column: str, definition: str, valid: bool, plain: bool, size: int, scans: int
) -> DocumentIndex:
    read = read_expression(column) if plain else None
    type, steps = read if read is not None else (None, ())
    path = path_text(steps) if steps else None
    return DocumentIndex(name, collection, kind, type, path, definition, valid, size, scans)
