"""The index of a vector collection: building it and building it anew.

Floor 2, under vectors.py. What takes long runs on pgops' own connections, outside any transaction, and leaves
nothing behind when it fails: no invalid index, no changed option. One that was killed is cleaned up by the next.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from time import monotonic

from psycopg import sql

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import NotFoundError, PgopsError, RefusedError
from pgops.services.models import IndexMethod, IndexPlan, RebuildResult, VectorIndex
from pgops.services.vector_found import Found, Q, index_name, options
from pgops.services.vector_recall import AsyncRecalls
from pgops.services.vector_rules import Build, build_bytes, check_build, check_indexed

MAX_BUILD_BYTES = 2 * 1024**3


class AsyncIndexes(AsyncRecalls):
    """What AsyncVectors can do about the index of a collection."""

    async def build_index(
        self,
        name: str,
        *,
        method: IndexMethod = "ivfflat",
        lists: int | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
    ) -> VectorIndex:
        """Build the collection's index, without blocking writers: ivfflat, by default with lists by the rows, or hnsw,
        by default with m 16 and ef_construction 64.

        Raises UsageError for fewer than 50 rows a list, for more dimensions than an index of the type takes (vector
        2,000, halfvec 4,000) and for another method's option, RefusedError where an index exists already or on a
        bound connection, NotFoundError for an unknown collection.
        """
        pool = self._pool("build_index")
        found = await self._find(name)
        build = await self._checked(found, method, lists, m, ef_construction)
        try:
            async with pool.session() as session, self._alone(session, found):
                await self._drop_leftovers(session, found)
                await self._create(session, found, build)
                await session.execute(found.statement("analyze"))
        except BaseException:
            await self._clean_up(pool, found)
            raise
        self._known.pop(name, None)
        return await self.stats(name)

    async def rebuild(
        self,
        name: str,
        *,
        method: IndexMethod | None = None,
        lists: int | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
    ) -> RebuildResult:
        """Build the index anew while searches and writes go on: ivfflat with `lists` (by default by the rows), hnsw
        with `m` and `ef_construction` (by default as they are). Another `method` takes over once its index is
        there, and recall is unknown then. An invalid index, which an interrupted build has left, is dropped and built.

        On failure the options are restored and the half-built index dropped. Raises as build_index does, and
        NotFoundError where there is no index yet.
        """
        pool = self._pool("rebuild")
        found = await self._find(name)
        build = await self._rechecked(found, method, lists, m, ef_construction)
        index = index_name(name, build.method)
        before = await self._lists_built(found) or found.lists_set
        started = monotonic()
        changed: Mapping[str, int] = {}
        try:
            async with pool.session() as session, self._alone(session, found):
                await self._drop_leftovers(session, found)
                if _is_new(found, build):
                    await self._drop_others(session, found, found.index or "")
                    await self._create(session, found, build)
                else:
                    await self._set_options(session, found, build.options)
                    changed = build.options
                    async with self._memory(session, found, build):
                        await session.execute(found.statement("reindex"))
                await self._drop_others(session, found, index)
                if build.method != found.method:
                    await session.execute(Q["forget_recall"], {"name": name})
                    with suppress(PgopsError):
                        await session.execute(Q["forget_recall_before"], {"name": name})
        except BaseException:
            await self._clean_up(pool, found, changed)
            raise
        self._known.pop(name, None)
        made = build.options
        return RebuildResult(
            index, before, made.get("lists"), monotonic() - started, build.method, made.get("m"),
            made.get("ef_construction"),
        )  # fmt: skip

    async def plan_index(
        self,
        name: str,
        *,
        rebuild: bool = False,
        method: IndexMethod | None = None,
        lists: int | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
    ) -> IndexPlan:
        """What build_index, or with `rebuild` rebuild, would do; nothing is changed. Raises as they do."""
        found = await self._find(name)
        check = self._rechecked if rebuild else self._checked
        build = await check(found, method, lists, m, ef_construction)
        index = index_name(name, build.method)
        steps = [found.create_index(build)]
        if rebuild and not _is_new(found, build):
            steps = [found.statement("set_options", options=options(build.options)), found.statement("reindex")]
        elif found.index is not None:
            drop = found.statement("drop_index")
            steps = [*steps, drop] if found.valid else [drop, *steps]
        made = build.options
        return IndexPlan(
            index, build.method, made.get("lists"), made.get("m"), made.get("ef_construction"),
            ";\n".join(step.decode() for step in steps),
        )  # fmt: skip

    async def _checked(
        self, found: Found, method: IndexMethod | None, lists: int | None, m: int | None, ef_construction: int | None
    ) -> Build:
        """How to build an index where there is none."""
        if found.valid:
            raise RefusedError(f"collection {found.name!r} has an index already", "rebuild it to change its options")
        check_indexed(found.dimensions, found.type)
        rows, _ = await self._count(found)
        return check_build(method or "ivfflat", rows, lists=lists, m=m, ef_construction=ef_construction)

    async def _rechecked(
        self, found: Found, method: IndexMethod | None, lists: int | None, m: int | None, ef_construction: int | None
    ) -> Build:
        """How to build the index anew."""
        if found.method is None:
            raise NotFoundError(
                f"collection {found.name!r} has no index", f"build one: pgops vector build {found.name}"
            )
        method = method or found.method
        if method == found.method == "hnsw":
            m = found.option("m") if m is None else m
            ef_construction = found.option("ef_construction") if ef_construction is None else ef_construction
        rows, _ = await self._count(found)
        return check_build(method, rows, lists=lists, m=m, ef_construction=ef_construction)

    async def _create(self, session: AsyncBound, found: Found, build: Build) -> None:
        async with self._memory(session, found, build):
            await session.execute(found.create_index(build))

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
    async def _memory(self, session: AsyncBound, found: Found, build: Build) -> AsyncIterator[None]:
        """maintenance_work_mem for one build, given back with the connection. Through a pooler nothing is set. ivfflat
        fails with less than it needs; hnsw takes what there is, and would ask for it in shared memory."""
        row = await session.one(Q["read_memory"])
        needed = build_bytes(build.options.get("lists", 0), found.dimensions, found.type)
        wanted = needed + needed // 8
        enough = build.method == "hnsw" or row is None or not row[0] < wanted <= MAX_BUILD_BYTES
        if enough or self._pool("a build").pooler:
            yield
            return
        await session.execute(Q["raise_memory"], {"kilobytes": wanted // 1024 + 1})
        try:
            yield
        finally:
            with suppress(PgopsError):
                await session.execute(Q["reset_memory"])

    async def _set_options(self, session: AsyncBound, found: Found, wanted: Mapping[str, int | None]) -> None:
        """Set these options; None takes one away."""
        values = {name: value for name, value in wanted.items() if value is not None}
        try:
            async with session.transaction() as tx:
                await tx.execute(Q["limit_lock_wait"])
                if len(values) < len(wanted):
                    names = sql.SQL(", ").join(sql.SQL(name) for name in wanted)
                    await tx.execute(found.statement("reset_options", names=names))
                if values:
                    await tx.execute(found.statement("set_options", options=options(values)))
        except PgopsError as error:
            if getattr(error.__cause__, "sqlstate", None) != "55P03":
                raise
            raise RefusedError(
                f"the index of {found.name!r} is in use by a long transaction", "find it under locks, try again"
            ) from error

    async def _drop_leftovers(self, session: AsyncBound, found: Found) -> None:
        """Drop what interrupted builds left; the collection's own index only if it never became valid."""
        for (index,) in await session.all(Q["list_leftovers"], {"table": found.table, "prefix": found.prefix}):
            if index != found.index or not found.valid:
                await session.execute(found.statement("drop_index", index=sql.Identifier("pgops", index)))

    async def _drop_others(self, session: AsyncBound, found: Found, kept: str) -> None:
        """Drop the collection's indexes but the one that is `kept`, so that it never has more than one for long."""
        params = {"table": found.table, "prefix": found.prefix, "index": kept}
        for (index,) in await session.all(Q["list_others"], params):
            await session.execute(found.statement("drop_index", index=sql.Identifier("pgops", index)))

    async def _clean_up(self, pool: AsyncPool, found: Found, changed: Mapping[str, int] | None = None) -> None:
        """After a failure: drop what is half built, and set the `changed` options back unless the index was rebuilt
        with them after all. What cannot be cleaned now is cleaned by the next build; a build that has begun since is
        left alone."""
        with suppress(PgopsError):
            async with pool.session() as session, self._alone(session, found):
                await self._drop_leftovers(session, found)
                row = await session.one(Q["index_oid"], {"index": f"pgops.{found.index}"}) if changed else None
                if row is not None and row[0] == found.index_oid:
                    await self._set_options(session, found, {name: found.option(name) for name in changed or {}})


def _is_new(found: Found, build: Build) -> bool:
    """Whether the index is to be created, and not only to be built anew."""
    return not found.valid or build.method != found.method
