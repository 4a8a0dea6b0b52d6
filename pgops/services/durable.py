"""Durable listening: a subscription of the event log, read in place.

Floor 2, over events.py, under pubsub.py. At least once: a message counts as handled when the next one is asked for, or
when the block ends without an error. Who listens under one name shares the log's parts with all others of that name.
"""

import os
import secrets
import socket
from collections import deque
from time import monotonic
from typing import Literal

from pgops.database import AsyncPool
from pgops.errors import PgopsError, UnreachableError
from pgops.pause import async_pause
from pgops.services.batches import behind, done_so_far, within
from pgops.services.events import AsyncEvents
from pgops.services.live import AsyncMessages
from pgops.services.models import Batch, Event, Message

POLL_MIN_S, POLL_MAX_S = 0.01, 0.25
LEASE_S = 60.0
LEASE_EVERY_S = 2.0
MOVE_IDLE_S = 1.0
RECONNECT_S = 1.0
BATCH = 100


class AsyncDurableMessages(AsyncMessages):
    """The events of `topics` since the subscription `name` was made, whoever was listening. A handler that takes longer
    than 60 seconds may see another listener of the same name get its message too."""

    def __init__(
        self,
        db: AsyncPool,
        name: str,
        topics: tuple[str, ...],
        start: Literal["now", "beginning"],
        timeout_s: float | None,
    ) -> None:
        super().__init__(timeout_s)
        self._events = AsyncEvents(db)
        self._name = name
        self._topics = topics
        self._start = start
        self._token = secrets.randbits(63)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{self._token % 10_000:04}"
        self._batch: Batch | None = None
        self._waiting: deque[Event] = deque()
        self._taken: Event | None = None
        self._lease_at = 0.0
        self._moved_at = 0.0
        self._poll_s = POLL_MIN_S

    async def next(self, timeout_s: float | None = None) -> Message | None:
        """The next message; the one before is handled. Raises SchemaError where the database is another one by now."""
        until = None if timeout_s is None else monotonic() + timeout_s
        self._taken = None
        while True:
            wait_s = 0.0
            try:
                await self._refill()
            except UnreachableError:
                self._lease_at = 0.0
                wait_s = RECONNECT_S
            if self._waiting:
                self._taken = self._waiting.popleft()
                self._poll_s = POLL_MIN_S
                return Message(self._taken.topic, self._taken.payload, self._taken.id, event=self._taken)
            left = None if until is None else until - monotonic()
            if left is not None and left <= 0:
                return None
            wait_s = max(wait_s, self._poll_s)
            self._poll_s = min(self._poll_s * 1.5, POLL_MAX_S)
            await async_pause(wait_s if left is None else min(wait_s, left))

    async def _begin(self) -> None:
        await self._events.subscribe(self._name, topics=self._topics, start=self._start)
        await self._lease()

    async def _end(self, *, failed: bool) -> None:
        """Keep how far it came, and hand the parts back; what is not kept is delivered again."""
        if not failed:
            self._taken = None
        try:
            await self._save()
            await self._events.release(self._name, owner=self._owner, token=self._token)
        except PgopsError:
            if not failed:
                raise

    async def _refill(self) -> None:
        """Have the next events at hand, if there are any; the leases are kept beside."""
        if monotonic() >= self._lease_at:
            await self._lease()
        if self._waiting:
            return
        await self._save()
        batch = await self._events.fetch(self._name, self._token, BATCH)
        ready = [event for event in batch.events if event.id not in batch.waiting]
        self._batch = batch if batch.events else None
        self._waiting.extend(sorted(ready, key=lambda event: event.id))
        if not batch.events and monotonic() >= self._moved_at:
            self._moved_at = monotonic() + MOVE_IDLE_S
            await self._events.advance(batch, idle=True)

    async def _save(self) -> None:
        """Move the cursors past what is handled."""
        if self._batch is None:
            return
        left = {event.id for event in self._waiting} | ({self._taken.id} if self._taken is not None else set())
        done = done_so_far(self._batch, left)
        parked = [behind(event) for event in self._batch.events if event.id in self._batch.waiting]
        await self._events.advance(done, rejected=within(done, parked))
        self._batch = None
        self._waiting.clear()

    async def _lease(self) -> None:
        self._lease_at = monotonic() + LEASE_EVERY_S
        await self._events.lease_parts(self._name, owner=self._owner, token=self._token, lease_s=LEASE_S)
