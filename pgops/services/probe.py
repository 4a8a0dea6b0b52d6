"""Trying pub/sub: messages to ourselves, from their commit to their arrival; and where they do not arrive, why.

Floor 2, under pubsub.py. It listens and publishes as the library does, on a channel of its own: whoever listens to the
application's channels never hears of it.
"""

from secrets import token_hex
from statistics import median
from time import perf_counter

from pgops.database import AsyncPool
from pgops.errors import PgopsError
from pgops.listener import PING_PREFIX, AsyncListener
from pgops.queries import load
from pgops.services.models import ChannelListener, PubsubProbe, QueueHolder, Trouble
from pgops.services.probe_rules import USUAL_PAGES, of_all_channels, of_channel, of_queue, refusal, silence

Q = load("pgops.services", "pubsub.sql")

ROUNDS = 5
ROUND_S = 2.0
LISTENERS_CAP = 1_000


class AsyncProbe:
    """One try over one pool, for those of `channel` where one is given."""

    def __init__(self, db: AsyncPool, channel: str | None) -> None:
        self._db = db
        self._channel = channel
        self._own = f"{PING_PREFIX}probe_{token_hex(8)}"
        self._statement = "publish"
        self._troubles: list[Trouble] = []
        self._connect_ms: float | None = None
        self._sent = 0
        self._took_ms: list[float] = []

    async def run(self) -> PubsubProbe:
        """Listen, publish, and look around. Raises UnreachableError."""
        row = await self._db.one(Q["notify_queue"])
        assert row is not None
        usage, pages, sees_all = row
        await self._try()
        listeners = await self._look_at_listeners(sees_all)
        await self._look_at_the_queue(usage, pages)
        took = self._took_ms
        return PubsubProbe(
            channel=self._channel,
            ok=not any(one.blocking for one in self._troubles),
            connect_ms=self._connect_ms,
            sent=self._sent,
            received=len(took),
            p50_ms=round(median(took), 3) if took else None,
            max_ms=max(took, default=None),
            queue_usage=usage,
            listeners=tuple(listeners),
            troubles=tuple(self._troubles),
        )

    async def _try(self) -> None:
        began = perf_counter()
        try:
            listener = await self._db.listen([self._own])
        except PgopsError as error:
            self._blame(error)
            return
        try:
            self._connect_ms = _since_ms(began)
            await self._rounds(listener)
        finally:
            await listener.close()

    async def _rounds(self, listener: AsyncListener) -> None:
        """Messages one after another. Where publishing is refused a plain NOTIFY tells whether those of others come."""
        while len(self._took_ms) < ROUNDS:
            began = perf_counter()
            try:
                await self._db.one(Q[self._statement], {"channel": self._own, "body": '"text":"probe"'})
            except PgopsError as error:
                self._blame(error)
                if self._statement == "ping" or self._troubles[-1].cause == "queue_full":
                    return
                self._statement = "ping"
                continue
            self._sent += 1
            if not await listener.receive(ROUND_S):
                self._troubles.append(silence(ROUND_S))
                return
            self._took_ms.append(_since_ms(began))

    async def _look_at_listeners(self, sees_all: bool) -> list[ChannelListener]:
        """Those of the channel; without one all are looked at, and none is told of that is well."""
        rows = await self._db.all(Q["list_listeners"], {"limit": LISTENERS_CAP})
        seen = [ChannelListener(*row) for row in rows]
        if self._channel is None:
            self._troubles += of_all_channels(seen)
            return []
        there = [one for one in seen if one.channel == self._channel]
        self._troubles += of_channel(self._channel, there, sees_all=sees_all)
        return there

    async def _look_at_the_queue(self, usage: float, pages: int) -> None:
        full = next((one for one in self._troubles if one.cause == "queue_full"), None)
        holders: list[QueueHolder] = []
        if full is not None or pages > USUAL_PAGES:
            holders = [QueueHolder(*row) for row in await self._db.all(Q["queue_holders"])]
        found = of_queue(usage, pages, holders, full)
        self._troubles = [one for one in self._troubles if one is not full] + found

    def _blame(self, error: PgopsError) -> None:
        """Name what was refused. Raises the error where it is another failure."""
        trouble = refusal(error)
        if trouble is None:
            raise error
        self._troubles.append(trouble)


def _since_ms(began: float) -> float:
    return round((perf_counter() - began) * 1000, 3)
