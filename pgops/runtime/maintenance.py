"""What keeps the queues tidy: promote what is due, take back what was lost, fold the deltas, tick recurring jobs.

Every worker runs it for its own queues, and recurring jobs for all: a queue without workers stalls none of them, and
its own wait for it. Two at once are harmless (rows are locked and skipped), so nothing elects a leader. Each duty is
one bounded statement.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic, time

from pgops.database import AsyncPool
from pgops.runtime.sessions import worker_session
from pgops.services.queue import AsyncQueue

log = logging.getLogger("pgops.maintenance")

PROMOTE_EVERY_S = 0.25
FOLD_EVERY_S = 1.0
REAP_EVERY_S = 2.0
NET_EVERY_S, NET_AT_LEAST_EVERY_S = 60.0, 600.0
NET_SHARE = 0.005
LATE_S = 2.0
WHOLE_SHARE = 0.02
BATCH = 1_000


class Maintenance:
    """The duties over some queues, and a worker's `sweep` on the same session; `run` until `stop` is set."""

    def __init__(
        self, db: AsyncPool, queues: Sequence[str], sweep: Callable[[AsyncQueue], Awaitable[None]] | None = None
    ) -> None:
        self._db = db
        self._queues = tuple(queues)
        self._sweep = sweep
        self._broken: tuple[tuple[str, str], ...] = ()
        self._looked = dict.fromkeys(queues, 0.0)
        self._whole_due = dict.fromkeys(queues, 0.0)
        self._ticked = 0
        self._due = {"fold": 0.0, "reap": 0.0, "net": monotonic() + NET_EVERY_S}

    async def run(self, stop: asyncio.Event) -> None:
        """Do what is due, again and again, until `stop`. Raises UnreachableError when the connection is lost; it may be
        called again."""
        async with worker_session(self._db) as queue:
            while not stop.is_set():
                if self._sweep is not None:
                    await self._sweep(queue)
                await self.tick(queue)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), PROMOTE_EVERY_S)

    async def tick(self, leases: AsyncQueue) -> None:
        """One round of everything that is due; recurring jobs as each second begins. The net reads what a forgotten
        transaction keeps dead; where that is much, it comes less often."""
        began = monotonic()
        net = self._is_due("net", NET_EVERY_S)
        fold = self._is_due("fold", FOLD_EVERY_S)
        reap = self._is_due("reap", REAP_EVERY_S)
        for queue in self._queues:
            await self._promote(leases, queue)
            if fold:
                await leases.behead(queue, limit=BATCH)
            if reap or net:
                reaped = await leases.reap(queue, everyone=net, limit=BATCH)
                if reaped.requeued or reaped.dead:
                    lost = reaped.requeued + reaped.dead
                    log.warning("%s: %d leases ran out, %d of them for the last time", queue, lost, reaped.dead)
            if net:
                await leases.mend_groups(queue)
            if fold:
                await leases.forget_keys(queue)
        if fold or net:
            for settings in await leases.queues():  # every queue: one without workers would never be folded
                await leases.fold(settings.queue, full=net)
        if net:
            await leases.forget_lost_workers()
            await leases.trim_history()
            took_s = monotonic() - began
            self._due["net"] = monotonic() + min(max(NET_EVERY_S, took_s / NET_SHARE), NET_AT_LEAST_EVERY_S)
        if (second := int(time())) != self._ticked:
            await self._tick_cron(leases)
            self._ticked = second

    async def _promote(self, leases: AsyncQueue, queue: str) -> None:
        """Move over what is due. Where a look at all of it is dear, since a forgotten transaction keeps what was moved
        long ago, it comes seldom, and the looks between take what has become due since the last one."""
        last, now = self._looked[queue], monotonic()
        whole, more, at = now >= self._whole_due[queue], True, now
        while more:
            within_s = None if whole else now - last + LATE_S
            more = await leases.promote(queue, limit=BATCH, within_s=within_s) >= BATCH
            took_s, now = monotonic() - now, monotonic()
        self._looked[queue] = at
        if whole:
            self._whole_due[queue] = now + took_s / WHOLE_SHARE

    async def _tick_cron(self, leases: AsyncQueue) -> None:
        ticked = await leases.cron.tick()
        if ticked.broken != self._broken:
            self._broken = ticked.broken
            for name, why in ticked.broken:
                log.warning("recurring job %s does not tick: %s", name, why)

    def _is_due(self, duty: str, every_s: float) -> bool:
        now = monotonic()
        if now < self._due[duty]:
            return False
        self._due[duty] = now + every_s
        return True
