"""What is let go wherever a worker or a relay runs: once a minute a little of the cache's purge, which also evicts, and
of the events and the inbox's marks that are older than they are kept. And what is noted then: how the load grows.

Every one does it at a time of its own; two at once share the work, so nothing elects one.
"""

import asyncio
import logging
from contextlib import suppress
from random import Random

from pgops.database import AsyncPool
from pgops.errors import RefusedError, SchemaError
from pgops.runtime.growth import note_growth
from pgops.services.cache import AsyncCache
from pgops.services.events import AsyncEvents

log = logging.getLogger("pgops.tidying")

EVERY_S = 60.0
BUDGET_S = 0.25


class Tidying:
    """Purges bit by bit, the cache only if `cache`; `run` until `stop` is set."""

    def __init__(self, db: AsyncPool, rng: Random | None = None, *, cache: bool = True) -> None:
        self._cache = AsyncCache(db) if cache else None
        self._events = AsyncEvents(db)
        self._held: tuple[str, ...] = ()
        self._rng = rng or Random()
        self._db = db
        self._notes = True

    async def run(self, stop: asyncio.Event) -> None:
        """Raises PgopsError where the database refuses or cannot be had; it may be called again."""
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY_S * self._rng.uniform(0.5, 1.5))
                return
            if self._cache is not None:
                await self._cache.purge_expired(budget_s=BUDGET_S)
                await self._cache.flush()
            await self._purge_events()
            await self._note_growth()

    async def _purge_events(self) -> None:
        """Who loses something is said each time; who holds old events from going, once."""
        done = await self._events.purge_events(budget_s=BUDGET_S)
        for name, count in done.lost:
            log.warning("retention by force: %s has lost %d events that it had not passed", name, count)
        if done.held_by and done.held_by != self._held:
            log.warning("old events are kept for %s, who has not passed them", ", ".join(done.held_by))
        self._held = done.held_by

    async def _note_growth(self) -> None:
        """A role that may not is asked no more: its purges matter, and others note it."""
        if not self._notes:
            return
        try:
            await note_growth(self._db)
        except (RefusedError, SchemaError) as error:
            self._notes = False
            log.info("how the load grows is not noted: %s", error)
