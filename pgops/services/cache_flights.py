"""get_or_compute: of all who miss one value, one computes it.

Below cache.py. In the process they share a flight; across processes an advisory lock of the session beside the pool
tells who computes, and the others look again and again until the value is there, for a bounded time. Neither is ever
needed for the value to be right: without them it is computed more often, that is all. What is kept is kept in the
generation that its namespace had before it was computed, so that an invalidation meanwhile is never undone.
"""

import logging
from functools import partial
from random import Random
from time import monotonic

from pgops.database import AsyncDatabase, AsyncPool
from pgops.errors import PgopsError
from pgops.flights import AsyncCompute, AsyncFlights, async_called
from pgops.pause import async_pause
from pgops.queries import load
from pgops.services.cache_counts import CacheCounts
from pgops.services.cache_rules import Seen, Wanted
from pgops.services.keys import check_bytes

Q = load("pgops.services", "cache.sql")
log = logging.getLogger("pgops.cache")
LOOK_AGAIN_S = 0.005
LOOK_AGAIN_AT_MOST_S = 0.1


class AsyncComputing:
    """Values that are computed where they are missing. Over a caller's connection nothing is shared: what his
    transaction misses it computes itself, waits for nobody, and keeps together with what it commits."""

    def __init__(self, db: AsyncDatabase, counts: CacheCounts, rng: Random) -> None:
        self._db = db
        self._owner = db if isinstance(db, AsyncPool) else None
        self._counts = counts
        self._rng = rng
        self._flights: AsyncFlights[bytes | None] = AsyncFlights()
        self._landed: list[dict[str, object]] = []

    async def get(self, it: Wanted, compute: AsyncCompute) -> tuple[bytes, Seen]:
        """The value, and what was found of it at first."""
        first = seen = await self._look(it)
        there = seen.fresh if self._owner is None else seen.usable(it.stale_s)
        self._counts.add(it.namespace, "misses" if there is None else "hits")
        if self._owner is None:
            return await self._compute(it, compute, seen) if there is None else there, first
        while True:
            flight = (it.namespace, it.key, seen.generation)
            due = seen.fresh is None or seen.early(it.beta, 1 - self._rng.random())
            if there is not None and (not due or self._flights.aloft(flight)):
                return there, first
            value = await self._flights.share(flight, partial(self._fly, it, compute, seen))
            if value is not None:
                return value, first
            if there is not None:
                return there, first
            seen = await self._look(it)
            there = seen.usable(it.stale_s)

    async def _fly(self, it: Wanted, compute: AsyncCompute, seen: Seen) -> bytes | None:
        """The value; None: another process computes it, and what is there will do meanwhile."""
        until, pause_s = monotonic() + it.wait_s, LOOK_AGAIN_S
        while (locked := await self._try_flight(it, seen)) is False:
            if seen.usable(it.stale_s) is not None:
                return None
            if monotonic() >= until:
                break
            await async_pause(pause_s)
            pause_s = min(pause_s * 1.5, LOOK_AGAIN_AT_MOST_S)
            if (value := (await self._look(it)).fresh) is not None:
                return value
        try:
            now = await self._look(it)
            if now.fresh is not None and now.written_at != seen.written_at:
                return now.fresh
            return await self._compute(it, compute, now)
        finally:
            if locked:
                self._landed.append(_name(it, seen))
                await self._release()

    async def _compute(self, it: Wanted, compute: AsyncCompute, seen: Seen) -> bytes:
        """Compute and keep it. A value that cannot be kept is returned all the same, and that is logged."""
        began = monotonic()
        value = check_bytes(it.key, await async_called(compute), "what compute gives is bytes")
        if seen.generation is None:
            return value
        params = {
            "key": it.key, "namespace": it.namespace, "value": value, "ttl_s": it.ttl_s, "jitter": it.jitter,
            "stale_s": it.stale_s, "generation": seen.generation, "compute_s": monotonic() - began,
        }  # fmt: skip
        try:
            await self._db.execute(Q["keep"], params)
        except PgopsError as error:
            if self._owner is None:
                raise
            log.warning("a value that was computed could not be kept: %s", error)
        else:
            self._counts.add(it.namespace, "sets")
        return value

    async def _look(self, it: Wanted) -> Seen:
        try:
            row = await self._db.one(Q["look"], {"key": it.key, "namespace": it.namespace})
        except PgopsError:
            if it.on_error == "raise" or self._owner is None:
                raise
            return Seen(None)
        assert row is not None
        return Seen(*row)

    async def _try_flight(self, it: Wanted, seen: Seen) -> bool | None:
        """Whether this process is the one to compute it; None where no lock can tell."""
        if self._owner is None or self._owner.pooler or seen.generation is None:
            return None
        try:
            await self._release()
            row = await (await self._owner.aside()).one(Q["try_flight"], _name(it, seen))
        except PgopsError:
            return None
        return bool(row and row[0])

    async def _release(self) -> None:
        """Give up the locks of flights that have landed; who is interrupted here leaves his to the next."""
        while self._owner is not None and self._landed:
            name = self._landed.pop()
            try:
                await (await self._owner.aside()).one(Q["end_flight"], name)
            except PgopsError:
                self._landed.clear()
            except BaseException:
                self._landed.append(name)
                raise


def _name(it: Wanted, seen: Seen) -> dict[str, object]:
    return {"namespace": it.namespace, "generation": seen.generation, "key": it.key}
