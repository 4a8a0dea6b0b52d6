"""The index of a vector collection: build, rebuild, look, measure.

Floor 2, under vectors.py. What takes long runs on pgops' own connections, outside any transaction, and leaves
nothing behind when it fails: no invalid index, no changed option. One that was killed is cleaned up by the next.
"""

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from difflib import get_close_matches
from time import monotonic

from psycopg import sql

from pgops.database import AsyncBound, AsyncDatabase, AsyncPool, Row
from pgops.errors import NotFoundError, PgopsError, RefusedError, SchemaError, UnavailableError, UsageError
from pgops.services.models import RebuildResult, Recall, VectorIndex
from pgops.services.vector_found import Found, Known, Q
from pgops.services.vector_rules import (
    MAX_INDEXED_DIMENSIONS,
    build_bytes,
    check_lists,
    check_name,
    lists_for,
    wilson,
)

COUNT_CAP = 10_000
MAX_BUILD_BYTES = 2 * 1024**3


class AsyncIndexes:
    """What AsyncVectors can do about the index of a collection."""

    def __init__(self, db: AsyncDatabase) -> None:
        self._db = db
        self._known: dict[str, Known] = {}

    async def build_index(self, name: str, *, lists: int | None = None) -> VectorIndex:
        """Build the collection's ivfflat index, without blocking writers; by default with lists by the rows.

        Raises UsageError for fewer than 50 rows a list or more than 2,000 dimensions, RefusedError where an
        index exists already or on a bound connection, NotFoundError for an unknown collection.
        """
        pool = self._pool("build_index")
        found = await self._find(name)
        if found.valid:
            raise RefusedError(f"collection {name!r} has an index already", "rebuild it to change its lists")
        if found.dimensions > MAX_INDEXED_DIMENSIONS:
            raise UsageError(
                f"an index takes at most {MAX_INDEXED_DIMENSIONS:,} dimensions, not {found.dimensions:,}",
                "search without one, or use a model with fewer dimensions",
            )
        wanted = await self._lists(found, lists)
        try:
            async with pool.session() as session, self._alone(session, found):
                await self._drop_leftovers(session, found)
                async with self._memory(session, build_bytes(wanted, found.dimensions)):
                    await session.execute(found.statement("create_index", lists=sql.Literal(wanted)))
                await session.execute(found.statement("analyze"))
        except BaseException:
            await self._clean_up(pool, found)
            raise
        self._known.pop(name, None)
        return await self.stats(name)

    async def rebuild(self, name: str, *, lists: int | None = None) -> RebuildResult:
        """Build the index anew with `lists` (by default by the rows) while searches and writes go on. An invalid one,
        which an interrupted build has left, is dropped and built.

        On failure the option is restored and the half-built index dropped. Raises as build_index does, and
        NotFoundError where there is no index yet.
        """
        pool = self._pool("rebuild")
        found = await self._find(name)
        if found.index is None:
            raise NotFoundError(f"collection {name!r} has no index", "build it first")
        wanted = await self._lists(found, lists)
        before = await self._lists_built(found) or found.lists_set
        started = monotonic()
        changed = False
        try:
            async with pool.session() as session, self._alone(session, found):
                await self._drop_leftovers(session, found)
                if found.valid:
                    await self._set_lists(session, found, wanted)
                changed = True
                statement = found.statement("reindex" if found.valid else "create_index", lists=sql.Literal(wanted))
                async with self._memory(session, build_bytes(wanted, found.dimensions)):
                    await session.execute(statement)
        except BaseException:
            if changed:
                await self._clean_up(pool, found, wanted if found.valid else None)
            raise
        self._known.pop(name, None)
        return RebuildResult(found.index, before, wanted, monotonic() - started)

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
            probes=None if found.index is None else found.probes,
            bytes=found.size,
            valid=found.valid,
            searches_total=found.scans,
            recall=found.recall,
            recall_low=found.recall_low,
            recall_high=found.recall_high,
            recall_at=found.recall_at,
        )

    async def measure_recall(
        self, name: str, *, k: int = 10, sample: int = 20, probes: int | None = None, seed: int | None = None
    ) -> Recall:
        """How many of the true `k` nearest the index finds, measured: `sample` rows of the collection are searched
        for by the index and exactly, both in one snapshot. Recorded with the collection.

        Raises NotFoundError without a collection or a valid index, UsageError for k or sample below 1 or a
        collection too small, PgopsError where the planner would not take the index.
        """
        pool = self._pool("measure_recall")
        if k < 1 or sample < 1 or (probes is not None and probes < 1):
            raise UsageError("k, sample and probes are at least 1", "for example k=10, sample=20")
        found = await self._find(name)
        if not found.valid:
            raise NotFoundError(f"collection {name!r} has no valid index to measure", "build it first")
        probes = probes or found.probes
        async with pool.transaction() as tx:
            await tx.execute(Q["begin_measurement"])
            await tx.execute(Q["prefer_index"])
            ids = await self._sample(tx, found, random.Random(seed), sample)
            hits = trials = 0
            for id in ids:
                more = await self._hits(tx, found, id, k, probes)
                hits, trials = hits + more[0], trials + more[1]
            scans = await tx.one(Q["index_scans_here"], {"index": f"pgops.{found.index}"})
        if trials == 0:
            raise UsageError(f"collection {name!r} has too few rows to measure", "it needs at least 2")
        if scans is None or scans[0] < len(ids):
            raise PgopsError(
                "the planner did not take the index, so this was no measurement", "run analyze, or rebuild"
            )
        low, high = wilson(hits, trials)
        params = {"name": name, "recall": hits / trials, "low": low, "high": high}
        row = await pool.one(Q["record_recall"], params)
        if row is None:
            raise await self._unknown(name)
        return Recall(hits / trials, low, high, k, len(ids), probes, row[0])

    async def _sample(self, tx: AsyncBound, found: Found, rng: random.Random, sample: int) -> list[int]:
        row = await tx.one(found.statement("id_range"))
        if row is None or row[0] is None:
            return []
        draws = [rng.randint(row[0], row[1]) for _ in range(sample)]
        return [row[0] for row in await tx.all(found.statement("nearest_ids"), {"draws": draws})]

    async def _hits(self, tx: AsyncBound, found: Found, id: int, k: int, probes: int) -> tuple[int, int]:
        """Hits and trials of one query: what the index finds no farther away than the true k-th is a hit."""
        params = {"id": id, "k": k, "probes": probes}
        exact = [row[0] for row in await tx.all(found.statement("measure_exact"), params)]
        if not exact:
            return 0, 0
        near = [row[0] for row in await tx.all(found.statement("measure_index"), params)]
        farthest = exact[-1] + 1e-7 * max(1.0, abs(exact[-1]))
        return sum(distance <= farthest for distance in near), len(exact)

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

    async def _lists(self, found: Found, lists: int | None) -> int:
        rows, _ = await self._count(found)
        return check_lists(lists_for(rows) if lists is None else lists, rows)

    async def _lists_built(self, found: Found, session: AsyncBound | None = None) -> int | None:
        """From the index's meta page, where pageinspect lets us; None elsewhere. A caller's transaction is not
        risked for it."""
        if found.index is None or not isinstance(self._db, AsyncPool):
            return None
        db = session or self._db
        try:
            row = await db.one(Q["inspect_schema"])
            if row is None:
                return None
            statement = found.statement("lists_built", inspect=sql.Identifier(row[0]))
            row = await db.one(statement, {"index": f"pgops.{found.index}"})
        except PgopsError:
            return None
        return None if row is None else int(row[0])

    @asynccontextmanager
    async def _alone(self, session: AsyncBound, found: Found) -> AsyncIterator[None]:
        """Hold off a second build of this table. The lock is a courtesy: PostgreSQL itself keeps two from meeting."""
        table = {"table": found.table}
        locked = await session.one(Q["lock_index"], table)
        if locked is None or not locked[0]:
            raise RefusedError(f"the index of {found.name!r} is being built right now", "wait until that is done")
        try:
            working = await session.one(Q["index_work"], table)
            if working is not None and working[0]:
                raise RefusedError(f"an index of {found.name!r} is being built right now", "wait until that is done")
            yield
        finally:
            with suppress(PgopsError):
                await session.one(Q["unlock_index"], table)

    @asynccontextmanager
    async def _memory(self, session: AsyncBound, needed: int) -> AsyncIterator[None]:
        """maintenance_work_mem for one build, given back with the connection. Through a pooler nothing is set."""
        row = await session.one(Q["read_memory"])
        wanted = needed + needed // 8
        if self._pool("a build").pooler or row is None or not row[0] < wanted <= MAX_BUILD_BYTES:
            yield
            return
        await session.execute(Q["raise_memory"], {"kilobytes": wanted // 1024 + 1})
        try:
            yield
        finally:
            with suppress(PgopsError):
                await session.execute(Q["reset_memory"])

    async def _set_lists(self, db: AsyncPool | AsyncBound, found: Found, lists: int | None) -> None:
        name = "reset_lists" if lists is None else "set_lists"
        try:
            async with db.transaction() as tx:
                await tx.execute(Q["limit_lock_wait"])
                await tx.execute(found.statement(name, lists=sql.Literal(lists)))
        except PgopsError as error:
            if getattr(error.__cause__, "sqlstate", None) != "55P03":
                raise
            raise RefusedError(
                f"the index of {found.name!r} is in use by a long transaction", "find it under locks, try again"
            ) from error

    async def _drop_leftovers(self, session: AsyncBound, found: Found) -> None:
        """Drop what interrupted builds left; the collection's own index only if it never became valid."""
        for (index,) in await session.all(Q["list_leftovers"], {"table": found.table}):
            if index != found.index_name or not found.valid:
                await session.execute(found.statement("drop_index", index=sql.Identifier("pgops", index)))

    async def _clean_up(self, pool: AsyncPool, found: Found, wanted: int | None = None) -> None:
        """After a failure: drop what is half built, and set the lists back unless the index has the `wanted` ones.
        What cannot be cleaned now is cleaned by the next build; a build that has begun since is left alone."""
        with suppress(PgopsError):
            async with pool.session() as session, self._alone(session, found):
                await self._drop_leftovers(session, found)
                if wanted is not None and await self._lists_built(found, session) != wanted:
                    await self._set_lists(session, found, found.lists_set)
