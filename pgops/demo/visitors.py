"""Visitors of the shop: they sign in, fill baskets, leave traces, and hear of what is new.

Limits, key-value store, documents and pub/sub, through the public services only.
"""

from random import Random

from pgops.demo.site import Site
from pgops.services.client import AsyncPgops
from pgops.services.models import Message

CUSTOMERS = 40
EVENTS = "events"
KINDS = ("view", "view", "view", "search", "basket", "purchase")


class Visitors:
    """What visitors do, one step at a time; each step tells how long to rest."""

    def __init__(self, pg: AsyncPgops, site: Site, rng: Random) -> None:
        self._pg = pg
        self._site = site
        self._rng = rng
        self.heard = 0

    async def set_up(self) -> None:
        """The collection of traces, with the index that its questions use."""
        name = self._site.name(EVENTS)
        if name not in {known.name for known in await self._pg.documents.list()}:
            await self._pg.documents.create(name)
            await self._pg.documents.create_index(name, "user_id")

    async def sign_in(self) -> float:
        """At most five tries a minute; who is in has a session that ends by itself, and may be in a hurry."""
        user = self._user()
        if (await self._pg.limits.hit(self._site.name(f"login:{user}"), 5, 60)).allowed:
            await self._pg.kv.ephemeral.set(self._site.name(f"session:{user}"), self._rng.randbytes(16), ttl_s=30)
            await self._pg.kv.incr(self._site.name("visits"))
        return self._rng.expovariate(2.0)

    async def fill_basket(self) -> float:
        """The basket is changed only as it was seen: of two tabs that write at once, one looks again."""
        key = self._site.name(f"basket:{self._user()}")
        seen = await self._pg.kv.get_entry(key)
        if seen is None:
            await self._pg.kv.add(key, b"lamp", ttl_s=600)
        else:
            items = seen.value + b",chair" if len(seen.value) < 200 else b"lamp"
            await self._pg.kv.compare_and_set(key, seen.version, items)
        return self._rng.expovariate(1.5)

    async def leave_trace(self) -> float:
        """What somebody did, as a document; now and then somebody asks what a user did."""
        name, rng = self._site.name(EVENTS), self._rng
        kind = rng.choice(KINDS)
        trace = {"user_id": self._user(), "type": kind, "amount": rng.randint(5, 200) if kind == "purchase" else None}
        await self._pg.documents.put(name, trace)
        if rng.random() < 0.2:
            await self._pg.documents.find(name, {"user_id": self._user()}, limit=10)
        return rng.expovariate(3.0)

    async def announce(self) -> float:
        """News for whoever listens at this moment."""
        await self._pg.pubsub.publish(self._site.name("news"), {"item": "lamp", "left": self._rng.randint(1, 9)})
        return self._rng.expovariate(0.5)

    async def hear(self) -> float:
        """Somebody does."""
        async with self._pg.pubsub.listen(self._site.name("news")) as news:
            async for message in news:
                self.heard += isinstance(message, Message)
        return 1.0

    def _user(self) -> int:
        return min(int(self._rng.paretovariate(0.8)), CUSTOMERS)
