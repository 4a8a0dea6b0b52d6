"""Vector indexes as values, under parts.py's contract: the catalog's, and what only their tables and pages tell.

Floor 3, under collector.py. A database without the extension has no such part, and says what to do about it.
"""

from collections.abc import Sequence

from psycopg import sql

from pgops.database import Row
from pgops.errors import PgopsError, UnavailableError
from pgops.ops.parts import Look, Q, Session, go_on
from pgops.ops.snapshot import VectorIndexPart
from pgops.services.vector_rules import probes_for

COUNT_ROWS = 10_000
COUNTED_TABLES = 10


async def vectors(session: Session, look: Look) -> tuple[VectorIndexPart, ...]:
    """Every vector index of the database; those of pgops' collections with their recall as last measured. Raises
    UnavailableError without the extension."""
    rows = await session.all(Q["vector_indexes"])
    if not rows:
        await _require_extension(session)
        return ()
    readable = [row[11] for row in rows if row[3] == "ivfflat" and row[7] > 0]
    built = await _lists_built(session, readable) if look.superuser and readable else {}
    recalls = await _collections(session) if look.may_use_schema else {}
    counted = {row[:2]: await _count(session, row) for row in rows[:COUNTED_TABLES]}
    return tuple(_vector_index(row, counted.get(row[:2]), built, recalls) for row in rows)


async def _count(session: Session, row: Row) -> int | None:
    """How many rows a small table has; None for a large one, or where it may not be read."""
    if row[4] > COUNT_ROWS:
        return None
    try:
        statement = sql.SQL(Q["count_rows"].decode()).format(table=sql.Identifier(row[0], row[1]))
        count = int((await session.all(statement, {"cap": COUNT_ROWS + 1}))[0][0])
        return count if count <= COUNT_ROWS else None
    except PgopsError:
        await go_on(session)
        return None


def _vector_index(row: Row, counted: int | None, built: dict[str, int], recalls: dict[str, Row]) -> VectorIndexPart:
    schema, table, index, method, estimated, lists_set, probes, size, valid, scans, building, qualified = row
    rows = estimated if counted is None else counted
    collection = table.removeprefix("vec_") if schema == "pgops" and table.startswith("vec_") else None
    recall = recalls.get(collection or "")
    if recall is None:
        collection = None
    elif lists_set is not None:
        probes = probes_for(lists_set)
    low_high_at = (None, None, None, None) if recall is None else recall[1:]
    return VectorIndexPart(
        table=f"{schema}.{table}", index=index, method=method, rows=rows, lists_built=built.get(qualified),
        lists_set=lists_set, probes=probes if method == "ivfflat" else None, bytes=size, valid=valid,
        searches_total=scans, recall=low_high_at[0], recall_low=low_high_at[1], recall_high=low_high_at[2],
        recall_at=low_high_at[3], collection=collection, building=building,
        exact={} if counted is not None else {"rows": False},
    )  # fmt: skip


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
    """Recall by collection; nothing where the register is not there yet or may not be read."""
    try:
        return {row[0]: row for row in await session.all(Q["collections"])}
    except PgopsError:
        await go_on(session)
        return {}
