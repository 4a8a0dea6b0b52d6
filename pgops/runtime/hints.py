"""Hints: a NOTIFY that says "look now", so that an idle worker does not wait for its next look.

Only a hint. It comes on a connection of its own, never through a pooler, and whatever becomes of it the worker looks by
itself, also for what plain SQL wrote: every 50 ms at the latest, every 100 where nothing has come for ten seconds.
"""

import asyncio
import logging
from collections.abc import Sequence

from pgops.database import AsyncPool
from pgops.errors import RefusedError
from pgops.services.leases import HINTS

log = logging.getLogger("pgops.worker")

WANTED_FOR_S = 15.0


class Hints:
    """Sets `heard` when a producer has added to one of `queues`. `wanted` is whether hints arrive here at all."""

    def __init__(self, db: AsyncPool, queues: Sequence[str], direct_dsn: str | None) -> None:
        self.heard = asyncio.Event()
        self.wanted = False
        self._db = db
        self._queues = frozenset(queues)
        self._direct_dsn = direct_dsn

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop`. Raises UnreachableError when the connection is lost; it may be called again."""
        if self._db.pooler and self._direct_dsn is None:
            log.info(
                "through a pooler: new jobs are found by looking, every 50 ms at the latest; a direct DSN is faster"
            )
            await stop.wait()
            return
        try:
            listener = await self._db.listen((HINTS,), dsn=self._direct_dsn)
        except RefusedError as error:
            log.info("no hints, new jobs are found by looking: %s", error)
            await stop.wait()
            return
        self.wanted = True
        try:
            while not stop.is_set():
                if any(said.payload in self._queues for said in await listener.receive(0.5)):
                    self.heard.set()
        finally:
            self.wanted = False
            await listener.close()
