"""psycopg's connection under what an application holds: its own, or one of SQLAlchemy's.

Floor 1, under database.py; the blocking twin shares it. SQLAlchemy is known by its shape and never imported. The rule:
what stands for a connection is asked anew for each statement, since a Session has another one after its commit.
"""

from typing import Any, Protocol, TypeVar

from pgops.errors import UsageError

T = TypeVar("T")


class Holder(Protocol):
    """A Connection, Session or AsyncConnection of SQLAlchemy 2."""

    @property
    def connection(self) -> Any: ...


def driver_connection(given: object, kind: type[T]) -> T:
    """The psycopg connection that `given` stands for, in a transaction that SQLAlchemy knows of. Raises UsageError."""
    if isinstance(given, kind):
        return given
    if hasattr(given, "sync_session"):
        raise UsageError(
            "an AsyncSession has to be awaited for its connection", "write pg.bind(await session.connection())"
        )
    found: Any = getattr(given, "sync_connection", given)
    if callable(getattr(found, "connection", None)):
        found = found.connection()
    if callable(getattr(found, "in_transaction", None)) and not found.in_transaction():
        found.begin()  # as its own execute would: else its commit would pass over what was done here
    found = getattr(getattr(found, "connection", None), "driver_connection", None)
    if not isinstance(found, kind):
        raise UsageError(
            f"{type(given).__module__}.{type(given).__qualname__} stands for no psycopg {kind.__name__}",
            "Pgops takes blocking connections, AsyncPgops async ones; of SQLAlchemy those of postgresql+psycopg://",
        )
    return found
