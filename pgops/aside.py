"""One connection beside the pool, for what belongs to a session and outlasts a statement: advisory locks.

Floor 1, under database.py. None of the pool's connections is held for it, so that waiting for something slow takes
nothing from others. It ends with its process, and its locks with it. Through a pooler that lends sessions by the
transaction it would be of no use.
"""

from typing import Any

import psycopg

from pgops.flights import AsyncFlights
from pgops.translation import translate

Connection = psycopg.AsyncConnection[Any]


class AsyncAside:
    """The connection, and how it is come by; it belongs to the pool, which closes it."""

    def __init__(self, dsn: str, kwargs: dict[str, Any]) -> None:
        self._dsn = dsn
        self._kwargs = kwargs
        self._conn: Connection | None = None
        self._opening: AsyncFlights[None] = AsyncFlights()

    async def connection(self) -> Connection:
        """Opened when it is first asked for, and anew where it was lost: its locks are gone then. Raises
        UnreachableError."""
        while self._conn is None or self._conn.closed:
            await self._opening.share("open", self._open)
        return self._conn

    async def close(self) -> None:
        if self._conn is not None:
            await self._conn.close()

    async def _open(self) -> None:
        try:
            self._conn = await psycopg.AsyncConnection.connect(self._dsn, **self._kwargs)
        except psycopg.Error as error:
            raise translate(error) from error
