"""The relay: lease parts, fetch, deliver, advance, until it is told to stop.

    delivery.py   one batch to the sink, with its retries
    pulse         here: leases renewed beside a delivery that takes long

At least once: the cursor moves after the sink has confirmed. A relay that was killed, or stalled longer than its lease,
is taken over, and its late advance is refused by its token. Several relays share the 64 parts of a subscription; a
newcomer gets its share within seconds. `stop` finishes the batch and hands the parts back.
"""

import asyncio
import logging
import os
import secrets
import socket
from contextlib import suppress
from time import monotonic

from pgops.database import AsyncPool
from pgops.ending import ended
from pgops.errors import PgopsError, UnreachableError, UsageError
from pgops.runtime.delivery import Delivery, Policy, RelayStats
from pgops.runtime.sinks import Sink
from pgops.runtime.tidying import Tidying
from pgops.services.events import PARTS, AsyncEvents
from pgops.services.models import Batch, Rejected

log = logging.getLogger("pgops.relay")

POLL_MIN_S, POLL_MAX_S, POLL_IDLE_S = 0.002, 0.050, 0.250
ACTIVE_FOR_S = 5.0
LEASE_EVERY_S = 2.0
MOVE_IDLE_ACTIVE_S, MOVE_IDLE_QUIET_S = 1.0, 30.0
RECONNECT_S = 1.0
PASSING = (PgopsError, UnreachableError)  # a deadlock or timeout is neither of the others: it is tried again


class Relay:
    """Hands the events of `subscription` to `sink`. `batch` is the most events of one part at a time; an event that
    failed `attempts` times (None: as the subscription says) is parked. `owner` names this relay to people, by default
    host and process."""

    def __init__(
        self,
        db: AsyncPool,
        subscription: str,
        sink: Sink,
        *,
        owner: str | None = None,
        max_parts: int = PARTS,
        batch: int = 100,
        lease_s: float = 15.0,
        attempts: int | None = None,
        backoff_s: float = 0.1,
        backoff_max_s: float = 5.0,
    ) -> None:
        if batch < 1 or (attempts is not None and attempts < 1) or lease_s <= 0 or not 1 <= max_parts <= PARTS:
            raise UsageError(
                f"batch and attempts are 1 or more, a lease is longer than 0 s, and parts are 1 to {PARTS}",
                "leave them out for the defaults",
            )
        self.stats = RelayStats()
        self.token = secrets.randbits(63)
        self.owner = owner or f"{socket.gethostname()}:{os.getpid()}:{self.token % 10_000:04}"
        self._db = db
        self._subscription = subscription
        self._sink = sink
        self._max_parts = max_parts
        self._batch = batch
        self._lease_s = lease_s
        self._attempts = attempts
        self._policy = Policy()
        self._backoff = (backoff_s, backoff_max_s)
        self._stopping = asyncio.Event()
        self._unsaved: tuple[Batch, list[Rejected]] | None = None
        self._next_lease = 0.0
        self._moved_idle = 0.0

    def stop(self) -> None:
        """Finish the batch under way, hand the parts back and return from `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Relay until `stop`; a database that goes away is waited for.

        Raises NotFoundError for an unknown subscription, SchemaError for one of another database, SinkClosedError.
        """
        beside = [asyncio.create_task(task) for task in (self._pulse(), self._tidy())]
        try:
            while not self._stopping.is_set():
                try:
                    async with self._db.session() as session:
                        await self._relay(AsyncEvents(session))
                except PgopsError as error:
                    if type(error) not in PASSING:
                        raise
                    log.warning("the database: %s", error)
                    self.stats.last_error = str(error)
                    self._next_lease = 0.0
                    await self._rest(RECONNECT_S)
        finally:
            await ended(beside)
            with suppress(PgopsError):
                await self._save(AsyncEvents(self._db))
                await AsyncEvents(self._db).release(self._subscription, owner=self.owner, token=self.token)

    async def _relay(self, events: AsyncEvents) -> None:
        poll_s, last_event = POLL_MIN_S, monotonic()
        await self._save(events)
        while not self._stopping.is_set():
            if monotonic() >= self._next_lease:
                await self._lease(events)
                await self._retry_parked(events)
            batch = await events.fetch(self._subscription, self.token, self._batch)
            if batch.events:
                await self._deliver(events, batch)
                poll_s, last_event = POLL_MIN_S, monotonic()
                continue
            active = monotonic() - last_event < ACTIVE_FOR_S
            await self._advance(events, batch, [], MOVE_IDLE_ACTIVE_S if active else MOVE_IDLE_QUIET_S)
            await self._rest(poll_s)
            poll_s = min(poll_s * 1.5, POLL_MAX_S if active else POLL_IDLE_S)

    async def _lease(self, events: AsyncEvents) -> None:
        self._next_lease = monotonic() + min(LEASE_EVERY_S, self._lease_s / 3)
        leased = await events.lease_parts(
            self._subscription,
            owner=self.owner,
            token=self.token,
            lease_s=self._lease_s,
            max_parts=self._max_parts,
            trouble=self.stats.trouble or None,
        )
        self.stats.parts = len(leased.parts)
        self._policy = Policy(self._attempts or leased.attempts, *self._backoff, skip=leased.poison == "skip")

    async def _retry_parked(self, events: AsyncEvents) -> None:
        batch = await events.fetch_parked(self._subscription, self.token)
        if batch.events:
            delivery = self._delivery(batch)
            try:
                await delivery.run()
            finally:
                await events.settle(batch, delivery.delivered(), delivery.rejected)

    def _delivery(self, batch: Batch) -> Delivery:
        return Delivery(batch, self._sink, self._stopping, self.stats, self._policy)

    async def _deliver(self, events: AsyncEvents, batch: Batch) -> None:
        delivery = self._delivery(batch)
        try:
            await delivery.run()
        finally:
            self._unsaved = delivery.settled()
            self.stats.batches += 1
        await self._save(events)

    async def _save(self, events: AsyncEvents) -> None:
        """Advance past what is delivered; kept until it is done, so that a lost connection repeats nothing."""
        if self._unsaved is not None:
            batch, rejected = self._unsaved
            await self._advance(events, batch, rejected, MOVE_IDLE_ACTIVE_S)
            self._unsaved = None

    async def _advance(self, events: AsyncEvents, batch: Batch, rejected: list[Rejected], idle_after_s: float) -> None:
        idle = monotonic() - self._moved_idle >= idle_after_s
        advanced = await events.advance(batch, rejected=rejected, idle=idle)
        self._moved_idle = monotonic() if idle else self._moved_idle
        self.stats.parked += sum(one.event.part in advanced.parts for one in rejected)
        if advanced.stale:
            self.stats.stale += len(advanced.stale)
            log.warning("%d parts were taken over before their batch was done", len(advanced.stale))

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            with suppress(PgopsError):
                await AsyncEvents(self._db).renew(
                    self._subscription,
                    token=self.token,
                    lease_s=self._lease_s,
                    owner=self.owner,
                    trouble=self.stats.trouble or None,
                )

    async def _tidy(self) -> None:
        tidying = Tidying(self._db, cache=False)
        while True:
            try:
                await tidying.run(self._stopping)
                return
            except PgopsError as error:
                log.warning("old events cannot be let go: %s", error)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
