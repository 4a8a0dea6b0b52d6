"""The second pool of a guarded database, which may write: opened with a reason, for a while, and used by acts alone.

The rule: when its time is over, or it is locked, no act begins; one that is under way is finished, and the pool is
closed behind it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import monotonic

from pgops.config import Target
from pgops.errors import PgopsError
from pgops.ops.act.unlocking import Unlocked, locked, unlock
from pgops.services.client import AsyncPgops


class _Lease:
    """One pool, until it is neither current nor used."""

    def __init__(self, pg: AsyncPgops, stack: AsyncExitStack, ends_at: float) -> None:
        self.pg = pg
        self.stack = stack
        self.ends_at = ends_at
        self.users = 0

    async def close(self) -> None:
        with suppress(PgopsError):
            await self.stack.aclose()


class Unlocking:
    """Of one dashboard; locked at first. Its pool has so many `connections`, at most."""

    def __init__(self, connections: int = 4) -> None:
        self._connections = connections
        self._opening = asyncio.Lock()
        self._lease: _Lease | None = None
        self._timer: asyncio.Task[None] | None = None
        self._all: set[_Lease] = set()

    @property
    def left_s(self) -> float | None:
        """None where it is locked."""
        left = 0.0 if self._lease is None else self._lease.ends_at - monotonic()
        return left if left > 0 else None

    async def unlock(self, target: Target, reason: str, seconds: float) -> Unlocked:
        """Open it, once the reason stands in the trail. `target` is guarded, and has a DSN. Raises PgopsError."""
        async with self._opening, AsyncExitStack() as stack:
            await self.lock()
            opened = AsyncPgops.open(target.unlocked, application_name="pgops dashboard", max_size=self._connections)
            pg = await stack.enter_async_context(opened)
            done = await unlock(pg.db, target.profile or "", reason, seconds=seconds)
            self._lease = _Lease(pg, stack.pop_all(), monotonic() + seconds)
            self._all.add(self._lease)
            self._timer = asyncio.create_task(self._end(self._lease))
            return done

    async def lock(self) -> None:
        """From now on no act begins."""
        lease, self._lease = self._lease, None
        if self._timer is not None and self._timer is not asyncio.current_task():
            self._timer.cancel()
        self._timer = None
        if lease is not None:
            await self._let_go(lease)

    async def close(self) -> None:
        """At the end of all: whatever is under way."""
        await self.lock()
        while self._all:
            await self._all.pop().close()

    @asynccontextmanager
    async def writing(self, profile: str | None) -> AsyncIterator[AsyncPgops]:
        """For one act. Raises RefusedError where it is locked."""
        lease = self._lease
        if lease is None or self.left_s is None:
            raise locked(profile, "ctrl+l unlocks it for a while, with a reason")
        lease.users += 1
        try:
            yield lease.pg
        finally:
            lease.users -= 1
            if lease is not self._lease:
                await self._let_go(lease)

    async def _end(self, lease: _Lease) -> None:
        await asyncio.sleep(lease.ends_at - monotonic())
        if lease is self._lease:
            await self.lock()

    async def _let_go(self, lease: _Lease) -> None:
        if not lease.users and lease in self._all:
            self._all.discard(lease)
            await lease.close()
