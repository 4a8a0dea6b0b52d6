"""Pub/sub: messages to whoever listens, live over NOTIFY or durable over the event log.

    await pg.pubsub.publish("orders", {"id": 7})              # in whoever's transaction; delivered at its commit

    async with pg.pubsub.listen("orders") as messages:         # it listens from here on: look once at what is there
        async for message in messages:                          # a Message, or Missed where some may be missing
            ...

    pg.pubsub.listen("orders", durable="billing")              # the same, and nothing is lost while nobody listens

    await pg.pubsub.run(handle, "orders", stop=event)          # handle(message) for each, until event.is_set()
    await pg.pubsub.probe()                                    # do messages arrive here, how fast, and if not, why

Floor 2, over the event log. Live messages are at most once and leave no trace. A durable listener is a subscription of
the event log: it gets what was appended to the topic (`publish(…, durable=True)`, `events.append`, an outbox row), at
least once, from the moment the name was first used.
"""

import logging
from collections.abc import Callable
from itertools import groupby
from time import monotonic
from typing import Literal, Protocol

from pgops.calling import async_call
from pgops.database import AsyncDatabase, AsyncPool
from pgops.errors import UsageError
from pgops.queries import load
from pgops.services.durable import AsyncDurableMessages
from pgops.services.events import AsyncEvents
from pgops.services.live import KEEP_PAYLOADS_S, PURGE_BATCH, PURGE_EVERY_S, AsyncLiveMessages, AsyncMessages
from pgops.services.messages import body_of, check_channel, check_channels, fits
from pgops.services.models import Channel, ChannelListener, JsonValue, Message, Missed, PubsubProbe
from pgops.services.probe import LISTENERS_CAP, AsyncProbe

Q = load("pgops.services", "pubsub.sql")

STOP_EVERY_S = 0.25
_log = logging.getLogger("pgops.pubsub")


class Stop(Protocol):
    """An Event of asyncio or of threading."""

    def is_set(self) -> bool:
        """Whether it is time to stop."""


class AsyncPubsub:
    """Messages over one database object. `publish` works in the caller's transaction too; a listener has a connection
    of its own, and so is the client's alone."""

    def __init__(self, db: AsyncDatabase) -> None:
        self._db = db
        self._owner = db if isinstance(db, AsyncPool) else None
        self._purge_at = 0.0

    async def publish(self, channel: str, payload: JsonValue, *, durable: bool = False) -> int:
        """Send `payload` to those who listen to `channel` when the transaction commits; the message's id.

        A payload that a notification cannot hold goes by reference, for the listeners of the next hour. With `durable`
        it is also appended to the event log, topic `channel`, for durable listeners.

        Raises UsageError for a channel's name of more than 63 bytes, and for a payload that is no JSON or over 1 MB.
        """
        params = {"channel": check_channel(channel), "body": body_of(payload)}
        small = fits(params["body"])
        if durable:
            async with self._db.transaction() as tx:
                await AsyncEvents(tx).append(channel, payload)
                row = await tx.one(Q["publish" if small else "publish_large"], params)
        else:
            row = await self._db.one(Q["publish" if small else "publish_large"], params)
        assert row is not None
        if not small and self._owner is not None and monotonic() >= self._purge_at:
            self._purge_at = monotonic() + PURGE_EVERY_S
            await self.purge_payloads()
        return int(row[0])

    def listen(
        self,
        *channels: str,
        durable: str | None = None,
        start: Literal["now", "beginning"] = "now",
        timeout_s: float | None = None,
    ) -> AsyncMessages:
        """Messages of `channels`, as an `async with` block in which to loop. `timeout_s` ends the loop after so many
        seconds without a message.

        Live, by a connection of its own: entering the block returns when messages are proven to arrive. With `durable`,
        a subscription's name, by the event log: nothing is lost between two listeners of that name; `start` is where
        a new name begins.

        Raises UsageError for a bad channel, or on a bound connection; entering raises UnreachableError, and
        RefusedError where a pooler in transaction mode would swallow the messages.
        """
        if self._owner is None:
            raise UsageError("a listener needs a connection of its own", "listen over the client: pg.pubsub.listen(…)")
        if durable is None:
            return AsyncLiveMessages(self._owner, check_channels(channels), timeout_s)
        if not channels:
            raise UsageError("listening needs a channel", 'for example listen("orders", durable="billing")')
        return AsyncDurableMessages(self._owner, durable, channels, start, timeout_s)

    async def run(
        self,
        handler: Callable[[Message], object],
        *channels: str,
        durable: str | None = None,
        start: Literal["now", "beginning"] = "now",
        stop: Stop | None = None,
        failed: Callable[[Message, Exception], object] | None = None,
        missed: Callable[[Missed], object] | None = None,
    ) -> int:
        """Listen, and call `handler` with each message, one after another, until `stop.is_set()`; how many it was
        called with. It and the other functions may be async; one that is not runs in a thread.

        What the handler raises is logged (as pgops.pubsub) and told to `failed`, and the next message is its turn: of a
        durable listener too this one counts as handled. What `failed` or `missed` raises ends it, and then the durable
        message comes again. Where messages may be missing, that is logged and told to `missed`.

        Raises as `listen` does.
        """
        calls = 0
        async with self.listen(*channels, durable=durable, start=start) as messages:
            while stop is None or not stop.is_set():
                got = await messages.next(None if stop is None else STOP_EVERY_S)
                if isinstance(got, Message):
                    calls += 1
                    await self._handle(handler, got, failed)
                elif got is not None:
                    _log.warning("messages of %s may be missing: %s", ", ".join(got.channels), got.reason)
                    if missed is not None:
                        await async_call(missed, got)
        return calls

    async def _handle(
        self,
        handler: Callable[[Message], object],
        message: Message,
        failed: Callable[[Message, Exception], object] | None,
    ) -> None:
        try:
            await async_call(handler, message)
        except Exception as error:
            _log.exception("the handler of channel %s failed", message.channel)
            if failed is not None:
                await async_call(failed, message, error)

    async def probe(self, channel: str | None = None) -> PubsubProbe:
        """Whether what is published here arrives, how fast, and if not, why: a few messages to ourselves, on a channel
        that nobody else hears. With `channel` also whether somebody is there to hear that one.

        Raises UsageError for a bad channel or on a bound connection, UnreachableError.
        """
        if self._owner is None:
            raise UsageError("a probe needs a connection of its own", "probe over the client: pg.pubsub.probe()")
        return await AsyncProbe(self._owner, None if channel is None else check_channel(channel)).run()

    async def channels(self) -> list[Channel]:
        """The channels that sessions of this database are seen to listen to, by name: of the sessions that this role
        may see (its own; with pg_monitor all)."""
        seen = [ChannelListener(*row) for row in await self._db.all(Q["list_listeners"], {"limit": LISTENERS_CAP})]
        by_name = [(name, tuple(group)) for name, group in groupby(seen, key=lambda one: one.channel)]
        return [Channel(name, tuple(one.pid for one in group if one.hears), group) for name, group in by_name]

    async def purge_payloads(self, *, older_than_s: float = KEEP_PAYLOADS_S) -> int:
        """Delete the payloads that were sent by reference longer ago; how many. Listeners and publishers do it by
        themselves now and then."""
        gone = 0
        while True:
            rows = await self._db.execute(Q["purge_payloads"], {"older_than_s": older_than_s, "limit": PURGE_BATCH})
            gone += rows
            if rows < PURGE_BATCH:
                return gone
