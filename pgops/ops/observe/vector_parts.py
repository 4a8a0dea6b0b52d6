"""The vector part of a Snapshot: every ivfflat and hnsw index of the database, and the collections without one.

Floor 3, under collector.py, beside parts.py.
"""

from collections.abc import Sequence
from dataclasses import replace

from psycopg import sql

from pgops.database import Row
from pgops.errors import PgopsError, UnavailableError
from pgops.ops.observe.parts import Look, Q, Session, go_on
from pgops.ops.observe.snapshot import VectorIndexPart
from pgops.services.vector_rules import SUFFIXES, probes_for

COUNT_ROWS = 10_000
COUNTED_TABLES = 10


async def vectors(session: Session, look: Look) -> tuple[VectorIndexPart, ...]:
    """Every vector index of the database; those of pgops' collections with their recall as last measured, and the
    collections that have none, which are searched exactly. Raises UnavailableError without the extension."""
    rows = await session.all(Q["vector_indexes"])
    readable = [row[11] for row in rows if row[3] == "ivfflat" and row[7] > 0]
    built = await _lists_built(session, readable) if look.superuser and readable else {}
    if not rows:
        await _require_extension(session)
    collections = await _collections(session) if look.may_use_schema else {}
    seen = [_vector_index(row, built, collections) for row in rows]
    owned = {one.collection for one in seen}
    seen += [_collection(row) for name, row in collections.items() if name not in owned]
    seen.sort(key=lambda one: (one.table, one.index or ""))
    tables = {f"{row[0]}.{row[1]}": (row[0], row[1]) for row in rows}
    small = dict.fromkeys(one.table for one in seen if one.rows <= COUNT_ROWS)
    counts = {
        name: await _count(session, *tables.get(name, name.split(".", 1))) for name in [*small][:COUNTED_TABLES]
    }  # fmt: skip
    before = await _recall_before(session) if any(one.recall is not None for one in seen) else {}
    return tuple(_with_before(_with_rows(one, counts.get(one.table)), before) for one in seen)


def _vector_index(row: Row, built: dict[str, int], collections: dict[str, Row]) -> VectorIndexPart:
    (schema, table, index, method, rows, lists_set, probes, size, valid, scans, building, qualified,
     type, opclass, dimensions) = row  # fmt: skip
    name = table.removeprefix("vec_") if schema == "pgops" and table.startswith("vec_") else ""
    own = collections.get(name) if index == f"vec_{name}_{SUFFIXES[method]}" else None
    if own is not None and lists_set is not None:
        probes = probes_for(lists_set)
    low_high_at = (None, None, None, None) if own is None else own[1:5]
    return VectorIndexPart(
        table=f"{schema}.{table}", index=index, method=method, rows=rows, lists_built=built.get(qualified),
        lists_set=lists_set, probes=probes if method == "ivfflat" else None, bytes=size, valid=valid,
        searches_total=scans, recall=low_high_at[0], recall_low=low_high_at[1], recall_high=low_high_at[2],
        recall_at=low_high_at[3], collection=None if own is None else name, building=building, type=type,
        dimensions=dimensions if dimensions > 0 else None,
        metric=opclass.removeprefix(f"{type}_").removesuffix("_ops"), embedder=None if own is None else own[8],
        exact={"rows": False},
    )  # fmt: skip


async def _recall_before(session: Session) -> dict[str, Row]:
    """The best recall measured before the last, by collection."""
    if not (await session.one(Q["recall_kept"]))[0]:
        return {}
    return {row[0]: row for row in await session.all(Q["recall_before"])}


def _with_before(one: VectorIndexPart, before: dict[str, Row]) -> VectorIndexPart:
    row = before.get(one.collection or "") if one.recall is not None else None
    return one if row is None else replace(one, recall_before=row[1], recall_before_at=row[2])


async def _require_extension(session: Session) -> None:
    installed, available, major = await session.one(Q["vector_extension"])
    if installed:
        return
    if available:
        raise UnavailableError("the database does not have the extension vector", "run: pgops migrate")
    package = f"postgresql-{major}-pgvector"
    raise UnavailableError(
        "the server does not have the extension vector",
        f"install pgvector (on Debian: apt-get install {package}), then run: pgops migrate",
    )


def _collection(row: Row) -> VectorIndexPart:
    """A collection without an index of its own. What was once measured was measured of another."""
    name, _, _, _, _, type, dimensions, metric, embedder, rows = row
    return VectorIndexPart(
        table=f"pgops.vec_{name}", index=None, method=None, rows=rows, lists_built=None, lists_set=None, probes=None,
        bytes=0, valid=None, searches_total=0, collection=name, type=type, dimensions=dimensions, metric=metric,
        embedder=embedder, exact={"rows": False},
    )  # fmt: skip


async def _count(session: Session, schema: str, table: str) -> int | None:
    """How many rows a small table has; None where it has more after all, or may not be read."""
    try:
        statement = sql.SQL(Q["count_rows"].decode()).format(table=sql.Identifier(schema, table))
        count = int((await session.all(statement, {"cap": COUNT_ROWS + 1}))[0][0])
        return count if count <= COUNT_ROWS else None
    except PgopsError:
        await go_on(session)
        return None


def _with_rows(one: VectorIndexPart, counted: int | None) -> VectorIndexPart:
    return one if counted is None else replace(one, rows=counted, exact={})


async def _lists_built(session: Session, indexes: Sequence[str]) -> dict[str, int]:
    """By qualified name; nothing where pageinspect is missing or will not read one of them."""
    try:
        schemas = await session.all(Q["inspect_schema"])
        if not schemas:
            return {}
        statement = sql.SQL(Q["lists_built"].decode()).format(inspect=sql.Identifier(schemas[0][0]))
        return dict(await session.all(statement, {"indexes": list(indexes)}))
    except PgopsError:
        await go_on(session)
        return {}


async def _collections(session: Session) -> dict[str, Row]:
    """By name; nothing where the register is not there yet or may not be read."""
    if not (await session.one(Q["register_readable"]))[0]:
        return {}
    try:
        return {row[0]: row for row in await session.all(Q["collections"])}
    except PgopsError:
        await go_on(session)
        return {}
