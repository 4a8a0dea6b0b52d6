"""What keeps the queues tidy: promote what is due, take back what was lost, fold the deltas.

Every worker runs it for its own queues; two at once are harmless (rows are locked and skipped), so nothing elects a
leader. Each duty is one bounded statement.
"""

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic

from pgops.database import AsyncPool
from pgops.errors import PgopsError
from pgops.services.queue import AsyncQueue

log = logging.getLogger("pgops.maintenance")

PROMOTE_EVERY_S = 0.25
FOLD_EVERY_S = 1.0
REAP_EVERY_S = 2.0
NET_EVERY_S = 60.0
BATCH = 1_000


class Maintenance:
    """The duties over some queues; `run` until `stop` is set."""

    def __init__(self, db: AsyncPool, queues: Sequence[str]) -> None:
        self._queue = AsyncQueue(db)
        self._queues = tuple(queues)
        self._due = {"fold": 0.0, "reap": 0.0, "net": monotonic() + NET_EVERY_S}

    async def run(self, stop: asyncio.Event) -> None:
        """Do what is due, again and again; a lost connection is waited out."""
        while not stop.is_set():
            try:
                await self.tick()
            except PgopsError as error:
                log.warning("maintenance: %s", error)
            try:
                await asyncio.wait_for(stop.wait(), PROMOTE_EVERY_S)
            except TimeoutError:
                continue

    async def tick(self) -> None:
        """One round of everything that is due."""
        net = self._is_due("net", NET_EVERY_S)
        fold = self._is_due("fold", FOLD_EVERY_S)
        reap = self._is_due("reap", REAP_EVERY_S)
        for queue in self._queues:
            while await self._queue.promote(queue, limit=BATCH) == BATCH:
                pass
            if reap or net:
                reaped = await self._queue.reap(queue, everyone=net, limit=BATCH)
                if reaped.requeued or reaped.dead:
                    log.warning("%s: %d leases ran out, %d of them for the last time", queue,
                                reaped.requeued + reaped.dead, reaped.dead)  # fmt: skip
            if fold or net:
                await self._queue.fold(queue, full=net)
        if net:
            await self._queue.forget_lost_workers()

    def _is_due(self, duty: str, every_s: float) -> bool:
        now = monotonic()
        if now < self._due[duty]:
            return False
        self._due[duty] = now + every_s
        return True
