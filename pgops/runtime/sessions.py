"""A session of the worker's own, with its plans fixed, as long as a block lasts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pgops.database import AsyncPool
from pgops.errors import UnreachableError
from pgops.services.queue import AsyncQueue


@asynccontextmanager
async def worker_session(db: AsyncPool) -> AsyncIterator[AsyncQueue]:
    """The queue on one connection that plans each statement once and reads by index only; through a pooler, where a
    SET would leak to others, on a plain one."""
    async with db.session() as session:
        queue = AsyncQueue(session, own=True)
        if db.pooler:
            yield queue
            return
        await queue.enter_session()
        try:
            yield queue
        finally:
            with suppress(UnreachableError):
                await queue.leave_session()
