"""What the embedded server holds and who is connected to it, for a look before all of it is removed.

Floor 3. Changes nothing.
"""

from dataclasses import dataclass

from pgops.database import AsyncDatabase
from pgops.queries import load

Q = load("pgops.ops.act", "embedded.sql")


@dataclass(frozen=True, slots=True)
class HeldDatabase:
    """A database, and what it takes on disk."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Application:
    """So many sessions of one application in one database."""

    application: str
    database: str
    sessions: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """All databases, the largest first, and everybody who is connected to one of them."""

    databases: tuple[HeldDatabase, ...]
    applications: tuple[Application, ...]


async def holdings(db: AsyncDatabase) -> Holdings:
    """Look. Raises UnreachableError."""
    databases = tuple(HeldDatabase(*row) for row in await db.all(Q["list_databases"]))
    return Holdings(databases, tuple(Application(*row) for row in await db.all(Q["list_applications"])))
