"""The library's face: all services over one database, and over the caller's own transaction.

async with AsyncPgops.open("postgresql://…") as pg:
    await pg.queue.enqueue("email", {"to": "a@example.org"})

    async with await psycopg.AsyncConnection.connect("postgresql://…") as conn:
        await conn.execute("insert into orders …")
        await pg.bind(conn).queue.enqueue("email", {"to": "a@example.org"})   # both or neither
"""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from pgops.config import Target, resolve_target
from pgops.database import AsyncBound, AsyncDatabase, AsyncPool, Connection
from pgops.services.first_use import on_first_use
from pgops.unwrapping import Holder

if TYPE_CHECKING:
    from pgops.services.cache import AsyncCache
    from pgops.services.documents import AsyncDocuments
    from pgops.services.events import AsyncEvents
    from pgops.services.inbox import AsyncInbox
    from pgops.services.kv import AsyncKv
    from pgops.services.limits import AsyncLimits
    from pgops.services.pgmq import AsyncPgmq
    from pgops.services.pubsub import AsyncPubsub
    from pgops.services.queue import AsyncQueue
    from pgops.services.vectors import AsyncVectors


class AsyncServices:
    """The services over one database object. Each is imported when it is first used, so that who needs one does not
    wait for nine. What the cache counts over a caller's connection is the client's `above` it to flush."""

    def __init__(self, db: AsyncDatabase, above: "AsyncServices | None" = None) -> None:
        self._db = db
        self._above = above

    @on_first_use
    def queue(self) -> "AsyncQueue":
        from pgops.services.queue import AsyncQueue

        return AsyncQueue(self._db)

    @on_first_use
    def events(self) -> "AsyncEvents":
        from pgops.services.events import AsyncEvents

        return AsyncEvents(self._db)

    @on_first_use
    def inbox(self) -> "AsyncInbox":
        from pgops.services.inbox import AsyncInbox

        return AsyncInbox(self._db)

    @on_first_use
    def cache(self) -> "AsyncCache":
        from pgops.services.cache import AsyncCache

        return AsyncCache(self._db, None if self._above is None else self._above.cache.counts)

    @on_first_use
    def limits(self) -> "AsyncLimits":
        from pgops.services.limits import AsyncLimits

        return AsyncLimits(self._db)

    @on_first_use
    def kv(self) -> "AsyncKv":
        from pgops.services.kv import AsyncKv

        return AsyncKv(self._db)

    @on_first_use
    def documents(self) -> "AsyncDocuments":
        from pgops.services.documents import AsyncDocuments

        return AsyncDocuments(self._db)

    @on_first_use
    def vectors(self) -> "AsyncVectors":
        from pgops.services.vectors import AsyncVectors

        return AsyncVectors(self._db)

    @on_first_use
    def pubsub(self) -> "AsyncPubsub":
        from pgops.services.pubsub import AsyncPubsub

        return AsyncPubsub(self._db)

    @on_first_use
    def pgmq(self) -> "AsyncPgmq":
        from pgops.services.pgmq import AsyncPgmq

        return AsyncPgmq(self._db)


class AsyncPgops(AsyncServices):
    """The services over a pool of pgops' own connections. `target` says which database it is, and why that one."""

    def __init__(self, db: AsyncPool, target: Target) -> None:
        super().__init__(db)
        self.db = db
        self.target = target

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        target: Target | str | None = None,
        *,
        application_name: str = "pgops",
        max_size: int = 8,
        read_only: bool = False,
    ) -> AsyncIterator["AsyncPgops"]:
        """Connect to `target`: a DSN, a resolved Target, or None for what the environment names. The embedded
        server is started if it is meant, and held for as long as the block lasts. With `read_only`, or where the Target
        says so, the server refuses to change data.

        Raises UsageError for a DSN that does not parse, UnreachableError where nobody answers.
        """
        if not isinstance(target, Target):
            target = resolve_target(target)
        read_only = read_only or target.read_only
        with ExitStack() as stack:
            dsn = target.dsn if target.dsn is not None else stack.enter_context(_embedded_server())
            async with AsyncPool.open(
                dsn, application_name=application_name, max_size=max_size, read_only=read_only
            ) as db:
                pgops = cls(db, target)
                try:
                    yield pgops
                finally:
                    await pgops.flush()

    async def flush(self) -> None:
        """Add what cache and limits have counted to their totals. They do so by themselves now and then, and at the
        end."""
        if "limits" in self.__dict__:
            await self.limits.flush()
        if "cache" in self.__dict__:
            await self.cache.flush()

    def bind(self, conn: Connection | Holder) -> AsyncServices:
        """The same services on the caller's own connection, inside his transaction: nothing is set, committed,
        retried or translated there, and he sees his driver's own errors. Of SQLAlchemy it takes a Connection, and a
        blocking Session, whose transaction it is at each call. A call raises UsageError where that is not psycopg's."""
        return AsyncServices(AsyncBound(conn, foreign=True), self)


def _embedded_server() -> AbstractContextManager[str]:
    from pgops.server import Server

    return Server().use()
