"""Vacuuming one table by hand: what it would read and who is in its way, and doing it with its audit row.

Floor 3, under actions.py and previews.py. A vacuum runs outside any transaction, so `started` is committed first.
"""

from collections.abc import Sequence
from time import monotonic

from psycopg import sql

from pgops.database import AsyncDatabase, AsyncPool
from pgops.errors import RefusedError
from pgops.ops.act import audit
from pgops.ops.act.acting import Action, Preview
from pgops.ops.act.actions_jobs import Done
from pgops.ops.act.relations import Q, Table, held_words, holders, refuse_standby, refuse_stranger, table_of
from pgops.ops.wording import age, many, size
from pgops.services.models import JsonValue

LOCKS = (
    "takes SHARE UPDATE EXCLUSIVE until it is done: reads and writes go on, another vacuum, an index build or ALTER"
    " TABLE waits; where the end of the table is empty it is cut off under ACCESS EXCLUSIVE for a moment, unless"
    " somebody waits"
)
READS_ALL = "it reads every page that may hold dead rows, and the indexes whole where there are many"
NO_WAY_BACK = "nothing is lost by it, so there is nothing to undo; ended early, what is done stays done"


async def preview(db: AsyncPool, action: Action) -> Preview:
    await refuse_standby(db)
    table = await table_of(db, action.target)
    _check(table, db.version)
    held = await holders(db)
    samples = [
        f"about {many(table.rows, 'row')}, {many(table.dead, 'dead one')}; {size(table.bytes)} and"
        f" {size(table.index_bytes)} of indexes",
        f"last vacuumed {_ago(table.vacuumed_s)}, analyzed {_ago(table.analyzed_s)}",
        "takes SHARE UPDATE EXCLUSIVE: reads and writes go on; reads a sample" if action.analyze_only else LOCKS,
    ]
    if held and not action.analyze_only:
        samples.append(f"rows that died since stay, held by {held_words(held)}")
    return Preview(
        action=action,
        title=f"{_verb(action)} table {table.full}",
        matched=1,
        exact=True,
        samples=tuple(samples),
        sql=_statement(action, table).as_string(None),
        warning="" if action.analyze_only else READS_ALL,
        undo=NO_WAY_BACK,
    )  # fmt: skip


async def carry_out(db: AsyncPool, action: Action) -> Done:
    """Do it. Raises RefusedError where the table is vacuumed already, is not this role's, or on a standby."""
    await refuse_standby(db)
    table = await table_of(db, action.target)
    _check(table, db.version)
    asked: dict[str, JsonValue] = {"table": table.full, "analyze_only": action.analyze_only}
    async with audit.long_act(db, action.name, action.target, matched=1, detail=asked) as act:
        started = monotonic()
        async with db.session() as session:
            await session.execute(_statement(action, table))
        took_s = monotonic() - started
        left = await _dead(db, table)
        held = [(who, since) for who, since in await holders(db) if left and (since is None or since > took_s)]
        act.changed = 1
        act.detail = {"seconds": round(took_s, 3)}
        if not action.analyze_only:
            act.detail |= {"dead_before": table.dead, "dead_after": left, "held_by": held_words(held) or None}
    said = f"{'analyzed' if action.analyze_only else 'vacuumed'} {table.full}"
    if not action.analyze_only:
        said += f": {many(table.dead, 'dead row')} before, {left:,} after" + _why(left, held)
    return Done(1, 1, act.id, said)


async def progress(db: AsyncPool, name: str) -> str:
    """How far a vacuum of the table is, in words; "" where nobody knows."""
    row = await db.one(Q["vacuum_progress"], {"table": (await table_of(db, name)).oid})
    if row is None or not row[1]:
        return ""
    return f"{row[0]}, {row[2] / row[1]:.0%} of {many(row[1], 'page')}"


def _check(table: Table, version: int) -> None:
    refuse_stranger(table.mine, table.full, version)
    if table.vacuums:
        pids = ", ".join(map(str, table.vacuums))
        raise RefusedError(f"{table.full} is being vacuumed right now (pid {pids})", "wait until that is done")


def _statement(action: Action, table: Table) -> sql.Composed:
    name = "analyze_only" if action.analyze_only else "vacuum_analyze"
    return sql.SQL(Q[name].decode()).format(table=table.identifier)


async def _dead(db: AsyncDatabase, table: Table) -> int:
    row = await db.one(Q["dead_rows"], {"table": table.oid})
    return int(row[0]) if row else 0


def _why(left: int, held: Sequence[tuple[str, float | None]]) -> str:
    return f"; kept from going by {held_words(held)}" if left and held else ""


def _verb(action: Action) -> str:
    return "analyze" if action.analyze_only else "vacuum and analyze"


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{age(seconds)} ago"
