"""What a role needs to look at pgops, to act through it, or to work with it, as SQL for its owner to run.

Floor 3. Nothing is granted here. A role is the hard guard: whatever a program or a person tries beyond it, the server
refuses. Every statement may be run again; what comes with a migration or a collection is had by printing them anew.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from psycopg import sql

from pgops.database import AsyncDatabase
from pgops.errors import SchemaError, UsageError
from pgops.queries import load

Q = load("pgops.ops.tell", "grants.sql")

Kind = Literal["reader", "operator", "application"]
Subsystem = Literal["queue", "outbox", "pubsub", "cache", "limit", "kv", "doc", "vector"]
SUBSYSTEMS: tuple[Subsystem, ...] = get_args(Subsystem)

LOOK = ("use_schema", "run_functions", "read_tables", "read_coming_tables", "monitor")
ACT = (
    "write_tables", "keep_ledger", "keep_trail", "empty_slots", "draw_numbers", "write_coming_tables",
    "draw_coming_numbers", "make_collections", "signal_sessions",
)  # fmt: skip

# Whose a table, view or sequence is, by its name; what is nobody's an application does not get.
OWN: dict[Subsystem, re.Pattern[str]] = {
    "queue": re.compile(r"job_\w+|queues|queue_\w+|workers|worker_id|cron|growth\w*"),
    "outbox": re.compile(r"event_\w+|outbox|subscriptions|subscription_parts|relays|parked_\w+|inbox"),
    "pubsub": re.compile(r"pubsub_\w+"),
    "cache": re.compile(r"cache_\w+"),
    "limit": re.compile(r"rate_\w+|limit_\w+"),
    "kv": re.compile(r"kv_\w+"),
    "doc": re.compile(r"doc_\w+"),
    "vector": re.compile(r"vec_\w+"),
}
REGISTERS: dict[str, Subsystem | None] = {
    "migrations": None,
    "collections": "doc",
    "vector_collections": "vector",
    "recall_before": "vector",
}
NOBODYS = re.compile(r"audit\w*")


@dataclass(frozen=True, slots=True)
class Grants:
    """The statements in order, some with a line of why above; `owner`, or a superuser, can run them."""

    role: str
    owner: str
    statements: tuple[str, ...]
    kind: Kind


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or sequence of the schema; `slot`: a partition, which is emptied as a whole."""

    name: str
    sequence: bool
    slot: bool


async def grants(
    db: AsyncDatabase, role: str | None = None, *, kind: Kind = "operator", only: Sequence[Subsystem] = SUBSYSTEMS
) -> Grants:
    """What `role` (None: the one that is connected) needs: a reader looks, an operator acts too, an application works
    with the subsystems in `only`: it makes no tables and sees no trail.

    Raises SchemaError where there is no schema yet, UsageError for its owner, and for what cannot be a role's name.
    """
    row = await db.one(Q["who_owns"])
    if row is None:
        raise SchemaError("the database has no pgops schema", "run: pgops migrate")
    owner, asking = row
    role = asking if role is None else role
    if not role or "\0" in role:
        raise UsageError(f"{role!r} cannot be the name of a role", "name the role that the program connects as")
    if role == owner:
        raise UsageError(f"role {owner} owns the schema: it may do all already", "name another one with --role")
    there = [Relation(*row) for row in await db.all(Q["relations"])]
    names = {"role": sql.Identifier(role), "owner": sql.Identifier(owner)}
    wanted = _application(there, only) if kind == "application" else _person(there, act=kind == "operator")
    filled = [
        sql.SQL(Q[name].decode()).format(**names, tables=_list(tables)).as_string(None) for name, tables in wanted
    ]
    return Grants(role, owner, tuple(filled), kind)


def _person(there: Sequence[Relation], *, act: bool) -> Iterator[tuple[str, list[str]]]:
    """The names of the statements, with the tables that some of them are about."""
    slots = [one.name for one in there if one.slot]
    for name in (*LOOK, *ACT) if act else LOOK:
        yield name, slots if name == "empty_slots" else []


def _application(there: Sequence[Relation], only: Sequence[Subsystem]) -> Iterator[tuple[str, list[str]]]:
    yield "use_schema", []
    yield "run_functions", []
    known = {one.name for one in there}
    registers = [name for name, of in REGISTERS.items() if name in known and (of is None or of in only)]
    yield "read_registers", registers
    for subsystem in only:
        mine = [one for one in there if OWN[subsystem].fullmatch(one.name)]
        yield from _unless_empty("work_tables", [one.name for one in mine if not one.sequence and not one.slot])
        yield from _unless_empty("work_numbers", [one.name for one in mine if one.sequence])
        yield from _unless_empty("empty_slots", [one.name for one in mine if one.slot])
    if {"doc", "vector"} & set(only):
        yield "work_coming_tables", []
        yield "draw_coming_numbers", []


def _unless_empty(name: str, tables: list[str]) -> Iterator[tuple[str, list[str]]]:
    if tables:
        yield name, tables


def _list(tables: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier("pgops", name) for name in tables)
