"""One table or index that an act is to hit: what a name means, how much it is, who may, who works on it now.

Floor 3, under the acts on tables and indexes. A name may come with its schema; without one it is looked for where the
session would find it, then among ours, then anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from psycopg import sql

from pgops.database import AsyncPool, Row
from pgops.errors import NotFoundError, RefusedError, UsageError
from pgops.ops.wording import age
from pgops.queries import load

Q = load("pgops.ops.act", "table_acts.sql")


@dataclass(frozen=True, slots=True)
class Table:
    """`full` is its quoted name; ages are None where it was never done; `vacuums` are the pids that vacuum it now."""

    oid: int
    full: str
    schema: str
    name: str
    rows: int
    dead: int
    bytes: int
    index_bytes: int
    vacuumed_s: float | None
    analyzed_s: float | None
    mine: bool
    vacuums: tuple[int, ...]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class Index:
    """`constraint` is what it backs, "" for none; this role may drop what is `owned`, and build anew what is `mine`;
    `builds` are the pids that build an index of its table now."""

    oid: int
    full: str
    schema: str
    name: str
    table_oid: int
    table_schema: str
    table: str
    partitioned: bool
    method: str
    valid: bool
    exclusion: bool
    constraint: str
    of_partition: bool
    bytes: int
    rows: int
    definition: str
    owned: bool
    mine: bool
    builds: tuple[int, ...]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


async def table_of(db: AsyncPool, name: str) -> Table:
    """The table of that name. Raises NotFoundError with near names, UsageError where several are meant."""
    oid, full, schema, own, _, rows, live, *sizes, mine, vacuums = await _one(db, "table", name)
    dead, bytes, index_bytes, vacuumed_s, analyzed_s = sizes
    mine = mine or await _maintains(db, oid)
    return Table(
        oid, full, schema, own, max(rows, live), dead, bytes, index_bytes, vacuumed_s, analyzed_s, mine, tuple(vacuums)
    )


async def index_of(db: AsyncPool, name: str) -> Index:
    """The index of that name. Raises NotFoundError with near names, UsageError where several are meant."""
    oid, full, schema, own, _, table_oid, table_schema, table, kind, *rest = await _one(db, "index", name)
    method, valid, exclusion, constraint, of_partition, bytes, rows, definition, owned, builds = rest
    mine = owned or await _maintains(db, table_oid)
    return Index(
        oid, full, schema, own, table_oid, table_schema, table, kind == "I", method, valid, exclusion, constraint,
        of_partition, bytes, rows, definition, owned, mine, tuple(builds),
    )  # fmt: skip


async def refuse_standby(db: AsyncPool) -> None:
    """Raise RefusedError where the server follows another one."""
    row = await db.one(Q["in_recovery"])
    if row is not None and row[0]:
        raise RefusedError("this server is a standby: nothing is changed on it", "connect to the primary")


def refuse_stranger(mine: bool, what: str, version: int) -> None:
    """Raise RefusedError where this role may not do it to `what`."""
    if not mine:
        grant = f"; or: grant maintain on {what} to the role" if version >= 170_000 else ""
        hint = "only its owner may do that: connect as that role, or have it granted to this one"
        raise RefusedError(f"this role does not own {what}", hint + grant)


async def holders(db: AsyncPool) -> tuple[tuple[str, float | None], ...]:
    """Who keeps rows from being removed, in words, the oldest first, and for how long, None where nobody knows."""
    rows = await db.all(Q["xmin_holders"])
    return tuple((f"{what} {who}" if what != "session" else who, since) for what, who, since in rows)


def held_words(held: Sequence[tuple[str, float | None]]) -> str:
    """pid 17 (psql, idle in transaction) for 4 min."""
    return ", ".join(who if since is None else f"{who} for {age(since)}" for who, since in held)


async def _one(db: AsyncPool, what: str, name: str) -> Row:
    found = await db.all(Q[f"find_{what}"], {"name": name})
    if not found:
        names = [row[0] for row in await db.all(Q[f"{what}_names"])]
        near = get_close_matches(name, [*names, *(one.partition(".")[2] for one in names)], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "give it with its schema: schema.name"
        raise NotFoundError(f"there is no {what} {name[:120]!r}", hint)
    if len(found) > 1 and found[0][4] == found[1][4]:
        raise UsageError(f"{name!r} may be {' or '.join(row[1] for row in found)}", "give it with its schema")
    return found[0]


async def _maintains(db: AsyncPool, table: int) -> bool:
    row = await db.one(Q.at(db.version)["may_maintain"], {"table": table})
    return row is not None and bool(row[0])
