"""The library's face: all services over one database, and over the caller's own transaction.

async with AsyncPgops.open("postgresql://…") as pg:
    await pg.queue.enqueue("email", {"to": "a@example.org"})

    async with await psycopg.AsyncConnection.connect("postgresql://…") as conn:
        await conn.execute("insert into orders …")
        await pg.bind(conn).queue.enqueue("email", {"to": "a@example.org"})   # both or neither
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from pgops.config import Target, resolve_target
from pgops.database import AsyncBound, AsyncDatabase, AsyncPool, Connection
from pgops.server import Server
from pgops.services.cache import AsyncCache, CacheCounts
from pgops.services.documents import AsyncDocuments
from pgops.services.events import AsyncEvents
from pgops.services.kv import AsyncKv
from pgops.services.limits import AsyncLimits
from pgops.services.pgmq import AsyncPgmq
from pgops.services.pubsub import AsyncPubsub
from pgops.services.queue import AsyncQueue
from pgops.services.vectors import AsyncVectors


class AsyncServices:
    """The services over one database object."""

    def __init__(self, db: AsyncDatabase, counts: CacheCounts | None = None) -> None:
        self.queue = AsyncQueue(db)
        self.events = AsyncEvents(db)
        self.cache = AsyncCache(db, counts)
        self.limits = AsyncLimits(db)
        self.kv = AsyncKv(db)
        self.documents = AsyncDocuments(db)
        self.vectors = AsyncVectors(db)
        self.pubsub = AsyncPubsub(db)
        self.pgmq = AsyncPgmq(db)


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
            dsn = target.dsn if target.dsn is not None else stack.enter_context(Server().use())
            async with AsyncPool.open(
                dsn, application_name=application_name, max_size=max_size, read_only=read_only
            ) as db:
                pgops = cls(db, target)
                try:
                    yield pgops
                finally:
                    await pgops.cache.flush()

    def bind(self, conn: Connection) -> AsyncServices:
        """The same services on the caller's own connection, inside his transaction: nothing is set, committed,
        retried or translated there, and he sees his driver's own errors."""
        return AsyncServices(AsyncBound(conn, foreign=True), self.cache.counts)
