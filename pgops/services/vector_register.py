"""Which vector collections there are, and what their indexes are like.

Floor 2, the ground of the vectors: vector_recall.py, vector_index.py and vectors.py stand on it.
"""

from collections.abc import Mapping
from difflib import get_close_matches

from psycopg import sql

from pgops.database import AsyncDatabase, AsyncPool, Row
from pgops.errors import NotFoundError, PgopsError, RefusedError, SchemaError, UnavailableError
from pgops.services.models import VectorIndex
from pgops.services.vector_found import Found, Known, Q
from pgops.services.vector_rules import EF_SEARCH, check_name

COUNT_CAP = 10_000


class AsyncRegister:
    """The collections and their indexes, looked at."""

    def __init__(self, db: AsyncDatabase) -> None:
        self._db = db
        self._known: dict[str, Known] = {}

    async def stats(self, name: str) -> VectorIndex:
        """The collection's index as it is. Raises NotFoundError for an unknown collection."""
        found = await self._find(name)
        rows, exact = await self._count(found)
        return VectorIndex(
            name=found.name,
            table=found.table,
            index=found.index,
            method=found.method,
            rows=rows,
            rows_exact=exact,
            lists_built=await self._lists_built(found),
            lists_set=found.lists_set,
            probes=found.probes if found.method == "ivfflat" else None,
            bytes=found.size,
            valid=found.valid,
            searches_total=found.scans,
            recall=found.recall,
            recall_low=found.recall_low,
            recall_high=found.recall_high,
            recall_at=found.recall_at,
            type=found.type,
            m=found.option("m"),
            ef_construction=found.option("ef_construction"),
            ef_search=EF_SEARCH if found.method == "hnsw" else None,
        )

    async def _find(self, name: str) -> Found:
        """The collection. Raises NotFoundError with near names, UnavailableError without the extension."""
        rows = await self._rows(Q["find_collections"], {"name": check_name(name)})
        if not rows:
            raise await self._unknown(name)
        return Found(*rows[0])

    async def _unknown(self, name: str) -> NotFoundError:
        names = [row[0] for row in await self._db.all(Q["list_names"])]
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "create it first" if not names else ""
        return NotFoundError(f"there is no collection {name!r}", hint or f"there are: {', '.join(names[:10])}")

    async def _rows(self, statement: bytes, params: Mapping[str, object] | None = None) -> list[Row]:
        try:
            return await self._db.all(statement, params)
        except SchemaError as error:
            row = await self._db.one(Q["vectors_waiting"])
            if row is None or not row[0]:
                raise
            raise UnavailableError(
                "vectors need the extension vector, which this database does not have",
                "install pgvector, let a superuser run: create extension vector, then run: pgops migrate",
            ) from error

    def _pool(self, what: str) -> AsyncPool:
        if not isinstance(self._db, AsyncPool):
            raise RefusedError(
                f"{what} cannot run inside a transaction", "call it on the client and not on what bind() returns"
            )
        return self._db

    async def _count(self, found: Found) -> tuple[int, bool]:
        """Rows: exact up to 10,000, estimated beyond."""
        row = await self._db.one(found.statement("count_rows"), {"cap": COUNT_CAP})
        count = 0 if row is None else int(row[0])
        return (count, True) if count <= COUNT_CAP else (max(count, found.estimated_rows), False)

    async def _lists_built(self, found: Found) -> int | None:
        """From the index's meta page, where pageinspect lets us; None elsewhere. A caller's transaction is not
        risked for it."""
        if found.method != "ivfflat" or not isinstance(self._db, AsyncPool):
            return None
        try:
            row = await self._db.one(Q["inspect_schema"])
            if row is None:
                return None
            statement = found.statement("lists_built", inspect=sql.Identifier(row[0]))
            row = await self._db.one(statement, {"index": f"pgops.{found.index}"})
        except PgopsError:
            return None
        return None if row is None else int(row[0])
