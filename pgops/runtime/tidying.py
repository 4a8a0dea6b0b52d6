"""What is let go wherever a worker or a relay runs: once a minute a little of the cache's purge, which also evicts, and
of the events, the inbox's marks and what acts can be undone with, as far as they are older than they are kept. And what
is noted then: how the load grows.

Every one does it at a time of its own; two at once share the work, so nothing elects one. Who was not given all of
it leaves the rest to others.
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
from pgops.services.queue import AsyncQueue

log = logging.getLogger("pgops.tidying")

EVERY_S = 60.0
BUDGET_S = 0.25


class Tidying:
    """Purges bit by bit, the cache only if `cache`; `run` until `stop` is set."""

    def __init__(self, db: AsyncPool, rng: Random | None = None, *, cache: bool = True) -> None:
        self._cache = AsyncCache(db)
        self._events = AsyncEvents(db)
        self._duties = [self._purge_cache] if cache else []
        self._duties += [self._purge_events, self._forget_undo, self._note_growth]
        self._held: tuple[str, ...] = ()
        self._rng = rng or Random()
        self._db = db

    async def run(self, stop: asyncio.Event) -> None:
        """Raises PgopsError where the database refuses or cannot be had; it may be called again."""
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY_S * self._rng.uniform(0.5, 1.5))
                return
            await self.tidy()

    async def tidy(self) -> None:
        """A little of everything; what this role may not is asked for no more, and what is not there yet the next time.
        Raises PgopsError."""
        for duty in tuple(self._duties):
            try:
                await duty()
            except RefusedError as error:
                self._duties.remove(duty)
                log.info("left to others: %s", error)
            except SchemaError as error:
                log.warning("not tidied: %s", error)

    async def _purge_cache(self) -> None:
        await self._cache.purge_expired(budget_s=BUDGET_S)
        await self._cache.flush()

    async def _purge_events(self) -> None:
        """Who loses something is said each time; who holds old events from going, once."""
        done = await self._events.purge_events(budget_s=BUDGET_S)
        for name, count in done.lost:
            log.warning("retention by force: %s has lost %d events that it had not passed", name, count)
        if done.held_by and done.held_by != self._held:
            log.warning("old events are kept for %s, who has not passed them", ", ".join(done.held_by))
        self._held = done.held_by

    async def _forget_undo(self) -> None:
        await AsyncQueue(self._db).forget_undo()

    async def _note_growth(self) -> None:
        await note_growth(self._db)
