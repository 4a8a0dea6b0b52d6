"""Building one index anew and dropping one that never became valid, both without blocking anybody.

Floor 3, under actions.py and previews.py. Both run outside any transaction, so `started` is committed first. A rebuild
that fails or is interrupted drops what it has half built; where it was killed, the next one does.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from psycopg import sql

from pgops.database import AsyncBound, AsyncDatabase, AsyncPool
from pgops.errors import PgopsError, RefusedError, UsageError
from pgops.ops.act import audit
from pgops.ops.act.acting import Action, ActionName, Preview
from pgops.ops.act.actions_jobs import Done
from pgops.ops.act.relations import Index, Q, index_of, refuse_standby, refuse_stranger
from pgops.ops.wording import many, size
from pgops.services.models import JsonValue

# Whoever kept the build waiting keeps its cleaning up waiting too.
CLEAN_WITHIN_S = 5.0
REINDEX_LOCKS = (
    "takes SHARE UPDATE EXCLUSIVE on the table until it is done: reads and writes go on, vacuum and ALTER TABLE wait;"
    " it waits for every transaction that began before it, twice"
)
DROP_LOCKS = "waits for every transaction that may use it; reads and writes of the table go on"


async def preview_reindex(db: AsyncPool, action: Action) -> Preview:
    await refuse_standby(db)
    index = await index_of(db, action.target)
    _check_reindex(index, db.version)
    left = await _leftovers(db, index)
    samples = [
        f"{index.method} on {index.table_schema}.{index.table}, about {many(index.rows, 'row')}",
        *(() if index.valid else ("it is invalid now: no query uses it",)),
        await _disk(db, index),
        REINDEX_LOCKS,
        *(f"first drops {name}, left by an interrupted rebuild" for name in left),
    ]
    return Preview(
        action=action,
        title=f"build index {index.full} anew",
        matched=1,
        exact=True,
        samples=tuple(samples),
        sql=";\n".join([*(_drop(*one).as_string(None) for one in left.values()), _reindex(index).as_string(None)]),
        warning="it reads the whole table and sorts it; writes are slower meanwhile, since they go to both indexes",
        undo="the old index is gone afterwards; the new one holds the same, so there is nothing to undo",
    )


async def reindex(db: AsyncPool, action: Action) -> Done:
    """Raises RefusedError where another build of the table goes on, for what has a rebuild of its own, on a standby."""
    await refuse_standby(db)
    index = await index_of(db, action.target)
    _check_reindex(index, db.version)
    asked: dict[str, JsonValue] = {"index": index.full, "bytes_before": index.bytes}
    async with audit.long_act(db, action.name, action.target, matched=1, detail=asked) as act:
        started = monotonic()
        try:
            async with db.session() as session:
                dropped = await _drop_leftovers(session, index)
                await session.execute(_reindex(index))
        except BaseException:
            await _clean_up(db, action.target)
            raise
        after = await index_of(db, f"{index.schema}.{index.name}")
        act.changed = 1
        act.detail = {"seconds": round(monotonic() - started, 3), "bytes_after": after.bytes, "dropped": [*dropped]}
    said = f"built {index.full} anew: {size(index.bytes)} before, {size(after.bytes)} after"
    if dropped:
        said += f"; dropped {', '.join(dropped)}, which an interrupted rebuild had left"
    return Done(1, 1, act.id, said)


async def preview_drop(db: AsyncPool, action: Action) -> Preview:
    await refuse_standby(db)
    index = await index_of(db, action.target)
    _check_drop(index)
    return Preview(
        action=action,
        title=f"drop index {index.full}, which never became valid",
        matched=1,
        exact=True,
        samples=(index.definition, f"{size(index.bytes)} that every write pays for and no query uses", DROP_LOCKS),
        sql=_drop(index.schema, index.name).as_string(None),
        undo="cannot be undone; the trail keeps its definition",
    )


async def drop(db: AsyncPool, action: Action) -> Done:
    """Raises RefusedError for a valid index, a constraint's, a partition's, one that is being built, on a standby."""
    await refuse_standby(db)
    index = await index_of(db, action.target)
    _check_drop(index)
    detail: dict[str, JsonValue] = {"index": index.full, "definition": index.definition, "bytes": index.bytes}
    async with audit.long_act(db, action.name, action.target, matched=1, detail=detail) as act:
        async with db.session() as session:
            await session.execute(_drop(index.schema, index.name))
        act.changed = 1
    return Done(1, 1, act.id, f"dropped {index.full}, {size(index.bytes)}")


async def progress(db: AsyncPool, table: int) -> str:
    """How far the build of an index of the table with this oid is, in words; "" where nobody knows."""
    row = await db.one(Q["build_progress"], {"table": table})
    if row is None:
        return ""
    phase, blocks, blocks_done, tuples, tuples_done = row
    share = blocks_done / blocks if blocks else tuples_done / tuples if tuples else None
    return str(phase) if share is None else f"{phase}, {share:.0%}"


def _check_reindex(index: Index, version: int) -> None:
    refuse_stranger(index.mine, f"{index.table_schema}.{index.table}", version)
    if index.method in ("ivfflat", "hnsw") and index.table_schema == "pgops" and index.table.startswith("vec_"):
        name = index.table.removeprefix("vec_")
        raise RefusedError(
            f"{index.full} is the index of vector collection {name}, which has a rebuild of its own",
            f"it measures and sets the lists anew: pgops vector rebuild {name}",
        )
    if index.partitioned:
        raise UsageError(f"{index.full} is an index of all partitions", "name the index of one partition after another")
    if index.exclusion:
        raise RefusedError(
            f"{index.full} holds an exclusion constraint, which PostgreSQL cannot build anew while others write",
            f"in a quiet hour: reindex index {index.full}",
        )
    if index.schema in ("pg_catalog", "pg_toast"):
        raise RefusedError(f"{index.full} is the server's own", f"in a quiet hour: reindex index {index.full}")
    _refuse_busy(index)


def _check_drop(index: Index) -> None:
    refuse_stranger(index.owned, f"{index.table_schema}.{index.table}", 0)
    if index.valid:
        raise RefusedError(
            f"{index.full} is valid: queries may use it", "only an index that never became valid is dropped here"
        )
    if index.constraint:
        raise RefusedError(f"{index.full} backs constraint {index.constraint}", "drop the constraint, or build it anew")
    if index.partitioned or index.of_partition:
        raise RefusedError(f"{index.full} belongs to an index of all partitions", "attach or drop it with its parent")
    _refuse_busy(index)


def _refuse_busy(index: Index) -> None:
    if index.builds:
        pids = ", ".join(map(str, index.builds))
        raise RefusedError(
            f"an index of {index.table_schema}.{index.table} is being built right now (pid {pids})",
            "wait until that is done",
        )


async def _leftovers(db: AsyncDatabase, index: Index) -> dict[str, tuple[str, str]]:
    rows = await db.all(Q["leftovers"], {"index": index.oid})
    return {f"{schema}.{name}": (schema, name) for schema, name in rows}


async def _drop_leftovers(session: AsyncBound, index: Index) -> tuple[str, ...]:
    left = await _leftovers(session, index)
    for schema, name in left.values():
        await session.execute(_drop(schema, name))
    return tuple(left)


async def _clean_up(db: AsyncPool, name: str) -> None:
    """After a failure; what cannot be dropped now, the next one drops. A build that has begun since is left alone."""
    with suppress(PgopsError, TimeoutError):
        async with asyncio.timeout(CLEAN_WITHIN_S), db.session() as session:
            index = await index_of(db, name)
            if not index.builds:
                await _drop_leftovers(session, index)


def _reindex(index: Index) -> sql.Composed:
    return sql.SQL(Q["reindex"].decode()).format(index=index.identifier)


def _drop(schema: str, name: str) -> sql.Composed:
    return sql.SQL(Q["drop_index"].decode()).format(index=sql.Identifier(schema, name))


async def _disk(db: AsyncPool, index: Index) -> str:
    """What it needs beside the old one, and what there is, where that can be seen from here."""
    row = await db.one(Q["disk"])
    assert row is not None
    memory, temp, data, here = row
    needs = (
        f"needs about {size(index.bytes)} of disk beside the {size(index.bytes)} of the old one, and as much again to"
        f" sort in beyond {memory} of memory{f' (in {temp})' if temp else ''}"
    )
    free = _free(data) if data and here and not db.pooler else None
    return f"{needs}; {'how much is free cannot be seen from here' if free is None else f'{size(free)} are free'}"


def _free(folder: str) -> int | None:
    """Bytes free where the data is, if that is a folder of this machine."""
    with suppress(OSError):
        if Path(folder, "PG_VERSION").is_file():
            return shutil.disk_usage(folder).free
    return None


PREVIEWS: dict[ActionName, Callable[[AsyncPool, Action], Awaitable[Preview]]] = {
    "reindex_index": preview_reindex,
    "drop_invalid_index": preview_drop,
}
ACTS: dict[ActionName, Callable[[AsyncPool, Action], Awaitable[Done]]] = {
    "reindex_index": reindex,
    "drop_invalid_index": drop,
}
