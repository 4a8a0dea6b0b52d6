"""What a role needs to look at pgops, and to act through it, as SQL for its owner to run. Nothing is granted here.

Floor 3. A role without the second half is the hard guard: whatever a program or a person tries, the server refuses.
"""

from dataclasses import dataclass

from psycopg import sql

from pgops.database import AsyncDatabase
from pgops.errors import SchemaError, UsageError
from pgops.queries import load

Q = load("pgops.ops", "grants.sql")

LOOK = ("use_schema", "read_tables", "read_coming_tables", "monitor")
ACT = (
    "write_tables", "keep_ledger", "keep_trail", "draw_numbers", "write_coming_tables", "draw_coming_numbers",
    "make_collections", "signal_sessions",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Grants:
    """The statements in order, some with a line of why above; `owner`, or a superuser, can run them."""

    role: str
    owner: str
    statements: tuple[str, ...]


async def grants(db: AsyncDatabase, role: str | None = None, *, act: bool = True) -> Grants:
    """What `role` (None: the one that is connected) needs to look, and with `act` to act too.

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
    names = {"role": sql.Identifier(role), "owner": sql.Identifier(owner)}
    wanted = (*LOOK, *ACT) if act else LOOK
    return Grants(role, owner, tuple(sql.SQL(Q[name].decode()).format(**names).as_string(None) for name in wanted))
