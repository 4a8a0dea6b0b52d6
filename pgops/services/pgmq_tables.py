"""One queue of pgmq and its statements: the name is looked up in pgmq's own list, its tables in the catalog.

A base of `AsyncPgmq`. What was found is kept until a statement fails, so that a message costs one round trip.
"""

from collections.abc import Mapping

from pgops.database import AsyncDatabase, Row
from pgops.errors import PgopsError, RefusedError, UnavailableError
from pgops.services.arguments import check_queue
from pgops.services.pgmq_rules import GRANTS, INSTALL, Q, Table, lacking, unknown


class AsyncPgmqTables:
    """Queues by name, over one database object."""

    def __init__(self, db: AsyncDatabase) -> None:
        self._db = db
        self._role: str | None = None
        self._tables: dict[str, Table] = {}
        self._statements: dict[tuple[str, str], bytes] = {}

    async def statement(self, queue: str, name: str) -> bytes:
        """What would be run for this queue, for who wants to see it."""
        return self._statement(await self._table(queue), name)

    async def _table(self, queue: str) -> Table:
        if queue not in self._tables:
            found = await self._find(queue)
            if found is None:
                raise unknown(queue, [row[0] for row in await self._db.all(Q["queue_names"])])
            self._tables[queue] = found
        return self._tables[queue]

    async def _writable(self, queue: str) -> Table:
        table = await self._table(queue)
        if table.partitioned:
            raise RefusedError(
                f"pgmq queue {table.name!r} is partitioned, and pgops only looks at those",
                "use pgmq's own functions: select * from pgmq.read(…)",
            )
        return table

    async def _find(self, queue: str) -> Table | None:
        check_queue(queue)
        await self._require_pgmq()
        row = await self._db.one(Q["find_queue"], {"queue": queue})
        return None if row is None else Table(*row)

    async def _require_pgmq(self) -> None:
        if self._role is not None:
            return
        row = await self._db.one(Q["has_pgmq"])
        if row is None:
            raise UnavailableError("pgmq is not installed in this database", INSTALL)
        if not row[0]:
            raise RefusedError(f"role {row[1]} may not read pgmq's queues", GRANTS.format(role=row[1]))
        self._role = row[1]

    async def _one(self, table: Table, name: str, values: Mapping[str, object]) -> Row:
        return (await self._all(table, name, values))[0]

    async def _all(self, table: Table, name: str, values: Mapping[str, object]) -> list[Row]:
        return await self._run(self._statement(table, name), values)

    async def _run(self, statement: bytes, values: Mapping[str, object]) -> list[Row]:
        """Whatever fails, the next call looks anew at what is there, and who may."""
        try:
            return await self._db.all(statement, values)
        except PgopsError as error:
            role, self._role = self._role or "", None
            self._tables.clear()
            self._statements.clear()
            raise lacking(error, role) from error

    def _statement(self, table: Table, name: str) -> bytes:
        key = (table.queue, name)
        if key not in self._statements:
            self._statements[key] = table.statement(name)
        return self._statements[key]
