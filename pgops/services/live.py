"""What arrives on some channels, one after another, across lost connections.

Floor 2, under pubsub.py. The rule: whoever listens is told when messages may be missing. A connection that is lost is
made anew with back-off, and a `Missed` stands where the gap is.
"""

import random
from collections import deque
from time import monotonic
from types import TracebackType
from typing import Self

from pgops.database import AsyncPool
from pgops.errors import PgopsError, UnreachableError
from pgops.listener import AsyncListener, Notification
from pgops.pause import async_pause
from pgops.queries import load
from pgops.services.messages import message, reference
from pgops.services.models import Message, Missed

Q = load("pgops.services", "pubsub.sql")

BACKOFF_S = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
KEEP_PAYLOADS_S = 3_600.0
PURGE_EVERY_S = 60.0
PURGE_BATCH = 1_000


class AsyncMessages:
    """Messages as they come: `async for` over it, or `next`. It listens from the beginning of the `async with` block to
    its end; the loop ends when nothing has come for `timeout_s` seconds (None: never)."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(failed=kind is not None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message | Missed:
        found = await self.next(self._timeout_s)
        if found is None:
            raise StopAsyncIteration
        return found

    async def next(self, timeout_s: float | None = None) -> Message | Missed | None:
        """The next one; None where nothing comes within `timeout_s`. Cancelling it loses nothing."""
        raise NotImplementedError

    async def _begin(self) -> None:
        raise NotImplementedError

    async def _end(self, *, failed: bool) -> None:
        raise NotImplementedError


class AsyncLiveMessages(AsyncMessages):
    """NOTIFY: at most once, to those who listen at the moment of the commit."""

    def __init__(self, db: AsyncPool, channels: tuple[str, ...], timeout_s: float | None) -> None:
        super().__init__(timeout_s)
        self._db = db
        self._channels = channels
        self._listener: AsyncListener | None = None
        self._inbox: deque[Notification] = deque()
        self._ready: deque[Message | Missed] = deque()
        self._lost: tuple[float, str] | None = None
        self._attempts = 0
        self._retry_at = 0.0
        self._purge_at = 0.0

    async def next(self, timeout_s: float | None = None) -> Message | Missed | None:
        """The next message, or `Missed` after the connection was lost. Raises RefusedError where listening is not
        possible any more; an unreachable database is tried again."""
        until = None if timeout_s is None else monotonic() + timeout_s
        while not self._ready:
            left = None if until is None else max(until - monotonic(), 0.0)
            try:
                await self._advance(left)
            except UnreachableError as error:
                await self._lose(str(error))
            if not self._ready and left == 0.0:
                return None
        return self._ready.popleft()

    async def _begin(self) -> None:
        self._listener = await self._db.listen(self._channels)

    async def _end(self, *, failed: bool) -> None:
        if self._listener is not None:
            await self._listener.close()
            self._listener = None

    async def _advance(self, left: float | None) -> None:
        """Wait for something, but no longer than `left`: a notification, or the moment to connect again."""
        if self._listener is None:
            wait_s = max(self._retry_at - monotonic(), 0.0)
            if left is not None and left < wait_s:
                await async_pause(left)
                return
            await async_pause(wait_s)
            await self._come_back()
        elif self._inbox:
            await self._open_inbox()
        else:
            self._inbox.extend(await self._listener.receive(left))

    async def _open_inbox(self) -> None:
        """Notifications become messages; those whose body is elsewhere get it, in one look."""
        waiting = {id: n.channel for n in self._inbox if (id := reference(n.payload)) is not None}
        bodies: dict[int, str] = {}
        if waiting:
            params = {"channels": sorted(set(waiting.values())), "ids": sorted(waiting)}
            bodies = dict(await self._db.all(Q["read_payloads"], params))
            await self._purge()
        while self._inbox:
            came = self._inbox.popleft()
            id = reference(came.payload)
            if id is not None and id not in bodies:
                self._ready.append(Missed((came.channel,), f"the payload of message {id} is gone", 0.0))
            else:
                self._ready.append(message(came.channel, came.payload, came.pid, bodies.get(id) if id else None))

    async def _purge(self) -> None:
        if self._db.read_only or monotonic() < self._purge_at:
            return
        self._purge_at = monotonic() + PURGE_EVERY_S
        try:
            await self._db.execute(Q["purge_payloads"], {"older_than_s": KEEP_PAYLOADS_S, "limit": PURGE_BATCH})
        except PgopsError:
            return

    async def _lose(self, reason: str) -> None:
        """The connection is gone, or could not be made again."""
        if self._lost is None:
            self._lost = monotonic(), reason
        self._retry_at = monotonic() + BACKOFF_S[min(self._attempts, len(BACKOFF_S) - 1)] * random.uniform(0.5, 1.0)
        self._attempts += 1
        if self._listener is not None:
            listener, self._listener = self._listener, None
            await listener.close()

    async def _come_back(self) -> None:
        self._listener = await self._db.listen(self._channels)
        self._attempts = 0
        if self._lost is not None:
            lost_at, reason = self._lost
            self._lost = None
            self._ready.append(Missed(self._channels, reason, monotonic() - lost_at))
