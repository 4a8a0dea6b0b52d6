"""Vector collections: texts with metadata and an embedding, found by nearness.

Floor 2. A collection is a table pgops.vec_<name> in a register; its index is the business of vector_index.py, and how
a text becomes a vector that of embedding.py.
A search is one statement; on pgops' own connections it sets the probes for itself alone, on a caller's nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from json import loads
from time import monotonic
from typing import get_args

from psycopg import sql

from pgops.database import AsyncDatabase, AsyncPool, Packed
from pgops.errors import SchemaError, UnavailableError, UsageError
from pgops.services.embedders import Embedder
from pgops.services.embedding import AsyncEmbedding, check_embedder
from pgops.services.models import Collection, JsonValue, Match, Metric, TextRow, VectorRow, VectorType
from pgops.services.vector_found import Found, Known, Q, fill
from pgops.services.vector_index import AsyncIndexes
from pgops.services.vector_rules import check_dimensions, check_name, check_settings, ef_search_for, score
from pgops.services.vector_wire import pack_metadata, pack_row, pack_text, pack_vector, utf8, vector_text

MAX_LIMIT = 10_000
KNOWN_FOR_S = 30.0


class AsyncVectors(AsyncIndexes):
    """Collections by name: create, fill, search; build, rebuild and measure their index."""

    def __init__(self, db: AsyncDatabase) -> None:
        super().__init__(db)
        self._own = isinstance(db, AsyncPool)

    async def create(
        self,
        name: str,
        dimensions: int,
        *,
        metric: Metric = "cosine",
        type: VectorType = "vector",
        embedder: str | None = None,
    ) -> Collection:
        """Make an empty collection of vectors with so many dimensions, at most 16,000. `type` halfvec takes 16 bits a
        number in place of 32, and an index of it up to 4,000 dimensions in place of 2,000. `embedder` is the name of
        one in config.toml, or hashing, which is built in: what texts are embedded with where nothing else is said.

        Raises UsageError for a bad name, dimension, metric, type or embedder and where the name is taken,
        UnavailableError without the extension vector or, for halfvec, with one before 0.7.
        """
        check_name(name)
        check_dimensions(dimensions)
        if metric not in get_args(Metric):
            raise UsageError(f"there is no metric {str(metric)[:40]!r}", "cosine, l2 or ip")
        if type not in get_args(VectorType):
            raise UsageError(f"there is no type of vector {str(type)[:40]!r}", "vector or halfvec")
        await check_embedder(embedder, dimensions)
        rows = await self._rows(Q["vector_schema"])
        if not rows:
            raise UnavailableError(
                "vectors need the extension vector, which this database does not have",
                "install pgvector, let a superuser run: create extension vector, then run: pgops migrate",
            )
        if type == "halfvec" and not rows[0][1]:
            raise UnavailableError(
                "this pgvector is too old for halfvec", "install 0.7 or later, then run: alter extension vector update"
            )
        async with self._db.transaction() as tx:
            params = {"name": name, "dimensions": dimensions, "type": type, "metric": metric, "embedder": embedder}
            if await tx.one(Q["register_collection"], params) is None:
                raise UsageError(f"there is a collection {name!r} already", "choose another name, or drop it first")
            more = {"dimensions": sql.Literal(dimensions)}
            await tx.execute(fill(Q["create_table"], name, metric, rows[0][0], more, type))
        return await self.get(name)

    async def list(self) -> tuple[Collection, ...]:
        """All collections, by name. Raises UnavailableError without the extension vector."""
        rows = await self._rows(Q["find_collections"], {"name": None})
        return tuple([await self._collection(Found(*row)) for row in rows])

    async def get(self, name: str) -> Collection:
        """One collection. Raises NotFoundError, with near names."""
        return await self._collection(await self._find(name))

    async def set_embedder(self, name: str, embedder: str | None) -> Collection:
        """Have texts of the collection embedded by another embedder of config.toml, or None. What is in it stays as it
        is. Raises NotFoundError, and UsageError for an embedder that is not known here or gives other dimensions."""
        found = await self._find(name)
        await check_embedder(embedder, found.dimensions)
        if await self._db.one(Q["set_embedder"], {"name": name, "embedder": embedder}) is None:
            raise await self._unknown(name)
        self._known.pop(name, None)
        return await self.get(name)

    async def drop(self, name: str) -> None:
        """Drop the collection, its rows and its index. Raises NotFoundError for an unknown one."""
        found = await self._find(name)
        self._known.pop(name, None)
        async with self._db.transaction() as tx:
            await tx.execute(Q["unregister_collection"], {"name": name})
            await tx.execute(found.statement("drop_table"))

    async def add_many(self, name: str, rows: Iterable[VectorRow]) -> int:
        """Add `rows`, all of them or none; how many they were. They are streamed by binary COPY; on a bound
        connection they are checked first, so that a bad one does not end the caller's transaction.

        Raises UsageError for a row that does not fit, NotFoundError for an unknown collection.
        """
        known = await self._knows(name)
        found = known.found
        incoming = iter(rows)
        first = next(incoming, None)
        if first is None:
            return 0
        with_ids = isinstance(first, VectorRow) and first.id is not None
        packed: Iterator[Sequence[object]] = (
            pack_row(row, found.dimensions, found.metric, with_ids, found.type) for row in chain((first,), incoming)
        )
        if not self._own:
            packed = iter([*packed])
        return await self._copy(known, packed, with_ids)

    async def add_texts(
        self, name: str, rows: Iterable[str | TextRow], *, embedder: str | Embedder | None = None
    ) -> int:
        """Embed and add `rows`, all of them or none; how many they were. `embedder` is a name in config.toml, or an
        object with a method embed; otherwise it is the collection's own. All are embedded before the first is added,
        so many more than fit into memory want several calls.

        Raises UsageError for a row that does not fit and where there is no embedder, EmbedderError where it fails,
        UnavailableError without httpx, NotFoundError for an unknown collection.
        """
        known = await self._knows(name)
        texts = [row if isinstance(row, TextRow) else TextRow(row) for row in rows]
        if not texts:
            return 0
        with_ids = texts[0].id is not None
        heads = [pack_text(row, with_ids) for row in texts]
        async with AsyncEmbedding.open(known.found, embedder) as embedding:
            vectors = await embedding.pack([row.content for row in texts])
        packed = ((*head, vector) for head, vector in zip(heads, vectors, strict=True))
        return await self._copy(known, packed, with_ids)

    async def search(
        self,
        name: str,
        embedding: Sequence[float],
        *,
        limit: int = 10,
        exact: bool = False,
        probes: int | None = None,
        ef_search: int | None = None,
        filter: Mapping[str, JsonValue] | None = None,
    ) -> tuple[Match, ...]:
        """The `limit` nearest rows, nearest first; with `filter` only those whose metadata contain it.

        `exact` reads every row and misses nothing. Else the index is used where the planner finds it worth it,
        with `probes` lists of an ivfflat index read (default: the square root of the lists) or `ef_search` candidates
        of an hnsw one kept (default: 40, or the limit), and further until the limit is full; hnsw looks at 20,000 rows
        at most (hnsw.max_scan_tuples), so that a rare filter wants `exact` there. On a bound connection nothing is
        set: the caller's own `set local ivfflat.probes` counts there.

        Raises UsageError for a vector, limit or setting that does not fit, NotFoundError for an unknown collection.
        """
        known = await self._knows(name)
        found = known.found
        params = self._settings(found, limit, probes, ef_search, filter)
        packed = pack_vector(embedding, found.dimensions, found.metric, found.type)
        return await self._nearest(known, packed, params, exact)

    async def search_text(
        self,
        name: str,
        text: str,
        *,
        embedder: str | Embedder | None = None,
        limit: int = 10,
        exact: bool = False,
        probes: int | None = None,
        ef_search: int | None = None,
        filter: Mapping[str, JsonValue] | None = None,
    ) -> tuple[Match, ...]:
        """The rows nearest to a text, as `search` finds them. `embedder` as for `add_texts`; in a transaction of the
        caller's it stays open while the embedder is asked. Raises as both do."""
        known = await self._knows(name)
        params = self._settings(known.found, limit, probes, ef_search, filter)
        utf8(text, "the text")
        async with AsyncEmbedding.open(known.found, embedder) as embedding:
            (packed,) = await embedding.pack([text])
        return await self._nearest(known, packed, params, exact)

    def _settings(
        self,
        found: Found,
        limit: int,
        probes: int | None,
        ef_search: int | None,
        filter: Mapping[str, JsonValue] | None,
    ) -> dict[str, object]:
        """All parameters of a search but its vector. Raises UsageError."""
        if not 1 <= limit <= MAX_LIMIT:
            raise UsageError(f"a limit is 1 to {MAX_LIMIT:,}, not {limit}", "page by metadata beyond that")
        if (probes is not None or ef_search is not None) and not self._own:
            raise UsageError("nothing is set on a bound connection", "run there: set local ivfflat.probes = …")
        check_settings(found.method, probes, ef_search)
        return {
            "limit": limit,
            "probes": probes or found.probes,
            "ef_search": ef_search or ef_search_for(limit),
            "filter": None if filter is None else pack_metadata(filter),
        }

    async def _nearest(
        self, known: Known, packed: bytes, params: Mapping[str, object], exact: bool
    ) -> tuple[Match, ...]:
        found = known.found
        params = {**params, "embedding": Packed(packed) if self._own else vector_text(packed, found.type)}
        statement = known.statement("search_exact" if exact else "search" if self._own else "search_as_set")
        try:
            rows = await self._db.all(statement, params)
        except SchemaError:
            self._known.pop(found.name, None)
            await self._find(found.name)
            raise
        return tuple(
            Match(id, content, loads(metadata), distance, score(distance, found.metric))
            for id, content, metadata, distance in rows
        )

    async def _copy(self, known: Known, packed: Iterator[Sequence[object]], with_ids: bool) -> int:
        if not with_ids:
            return await self._db.copy(known.statement("copy_rows"), packed, ["bytea"] * 3)
        async with self._db.transaction() as tx:
            types = ["int8", "bytea", "bytea", "bytea"]
            count = await tx.copy(known.statement("copy_rows_with_ids"), packed, types)
            await tx.all(known.statement("advance_ids"), {"table": known.found.table})
        return count

    async def _knows(self, name: str) -> Known:
        known = self._known.get(name) if isinstance(name, str) else None
        if known is None or monotonic() >= known.until:
            known = self._known[name] = Known(await self._find(name), monotonic() + KNOWN_FOR_S)
        return known

    async def _collection(self, found: Found) -> Collection:
        rows, exact = await self._count(found)
        return Collection(
            name=found.name,
            dimensions=found.dimensions,
            metric=found.metric,
            rows=rows,
            rows_exact=exact,
            lists=found.lists_set,
            recall=found.recall,
            recall_at=found.recall_at,
            created_at=found.created_at,
            type=found.type,
            method=found.method,
            embedder=found.embedder,
        )
