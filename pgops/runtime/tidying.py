"""What keeps the cache tidy wherever a worker runs: once a minute a little of its purge, which also evicts.

Every worker does it at a time of its own; two at once share the work, so nothing elects one.
"""

import asyncio
from contextlib import suppress
from random import Random

from pgops.database import AsyncPool
from pgops.services.cache import AsyncCache

EVERY_S = 60.0
BUDGET_S = 0.25


class Tidying:
    """Purges the cache bit by bit; `run` until `stop` is set."""

    def __init__(self, db: AsyncPool, rng: Random | None = None) -> None:
        self._cache = AsyncCache(db)
        self._rng = rng or Random()

    async def run(self, stop: asyncio.Event) -> None:
        """Raises PgopsError where the cache cannot be had; it may be called again."""
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY_S * self._rng.uniform(0.5, 1.5))
                return
            await self._cache.purge_expired(budget_s=BUDGET_S)
            await self._cache.flush()
