"""The loops that make the shop live, all under one TaskGroup until they are cancelled.

Rates are modest and swing, now and then there is a burst and a backlog. Dice are seeded, so runs are alike. A loop
that loses the database backs off and goes on.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from random import Random
from time import monotonic

import psycopg

from pgops.demo import shop
from pgops.demo.content import documents, row
from pgops.demo.process import keep_child
from pgops.demo.site import Site
from pgops.demo.visitors import Visitors
from pgops.embedder_settings import HASHING
from pgops.errors import PgopsError, UnavailableError
from pgops.runtime.relay import Relay
from pgops.runtime.sinks import FunctionSink, open_sink, shown
from pgops.services.client import AsyncPgops
from pgops.services.embedders import HashingEmbedder
from pgops.services.models import Event, JsonValue

log = logging.getLogger("pgops.demo")

QUEUES = ("email", "billing", "thumbnails")
FIRST_DOCUMENTS, LISTS = 600, 12
PAGES = 60
OUTAGE_EVERY_S, OUTAGE_S = 45.0, 4.0
BACKOFF_S, BACKOFF_MAX_S = 0.5, 5.0
LONG_S = 3600.0
QUESTIONS = (
    "parse json from a string", "open a file and read it line by line", "send an email with an attachment",
    "wait for several tasks at once", "connect to a server over tls", "lock shared between threads",
    "temporary directory that is removed", "compress data with gzip", "parse command line arguments",
    "mean and standard deviation", "format a date", "copy a directory tree", "random token for a password",
    "regular expression groups", "http request with headers", "cache the result of a function",
)  # fmt: skip


class Traffic:
    """Everything that goes on in the shop, over one client."""

    def __init__(self, pg: AsyncPgops, site: Site, seed: int = 7) -> None:
        self._pg = pg
        self._site = site
        self._rng = Random(seed)
        self._shop = shop.Shop(pg, site, Random(seed))
        self._visitors = Visitors(pg, site, Random(seed))
        self._embedder = HashingEmbedder()
        self._library = documents()
        self._searchable = asyncio.Event()
        self._began = monotonic()
        self._sessions = 0

    async def run(self) -> None:
        """Set up, and go on until cancelled."""
        await self._set_up()
        async with asyncio.TaskGroup() as tasks:
            for step in (
                self._sell, self._relay, self._mail, self._remind, self._upload, self._render,
                self._browse, self._deploy, self._tell, self._tidy, self._read, self._search,
                self._visitors.sign_in, self._visitors.fill_basket, self._visitors.leave_trace,
                self._visitors.announce, self._visitors.hear,
            ):  # fmt: skip
                tasks.create_task(_go_on(step))
            tasks.create_task(keep_child("worker", self._site))

    async def _set_up(self) -> None:
        for queue in QUEUES:
            await self._pg.queue.configure(
                self._site.name(queue), max_attempts=3, lease_s=10, backoff_s=0.5, max_runtime_s=20
            )
        if not self._site.prefix:  # whoever's database this is, recurring jobs would outlive the demo there
            cron = self._pg.queue.cron
            await cron.add("stock", "*/20 * * * * *", "billing", kind="count_stock", missed="once")
            await cron.add("books", "0 3 * * *", "billing", kind="close_books", timezone="Europe/Berlin")
        await self._pg.queue.configure(self._site.name("billing"), history="all")
        await self._pg.cache.set_cap(self._site.name("pages"), entries=PAGES)
        await self._pg.events.subscribe(
            self._site.name("analytics"),
            topics=[self._site.name("orders")],
            sink=shown(self._site.sink) or "python function",
        )

        await self._visitors.set_up()

    # --- orders, jobs, events ----------------------------------------------------------------------------------

    async def _sell(self) -> float:
        conn = await self._shop.open()
        async with conn:
            while True:
                for _ in range(self._rng.randint(1, 4)):
                    await self._shop.place_order(conn)
                await asyncio.sleep(self._pause(1.2))

    async def _relay(self) -> float:
        sink = open_sink(self._site.sink, self._pg.db) if self._site.sink else FunctionSink(self._receive)
        try:
            await Relay(self._pg.db, self._site.name("analytics"), sink).run()
        finally:
            await sink.close()
        return 0.0

    async def _receive(self, event: Event) -> None:
        """The other end of the relay; every now and then it is away for a few seconds."""
        if (monotonic() - self._began + OUTAGE_EVERY_S / 2) % OUTAGE_EVERY_S < OUTAGE_S:
            raise ConnectionError("analytics.example.com is being deployed")

    async def _mail(self) -> float:
        await self._enqueue("email", "send_newsletter", shop.newsletter(self._rng, self._rng.randint(80, 320)))
        return self._rng.uniform(12, 25)

    async def _upload(self) -> float:
        await self._enqueue("thumbnails", "make_thumbnail", shop.pictures(self._rng, self._rng.randint(2, 24)))
        return self._pause(0.4)

    async def _render(self) -> float:
        """A job that takes longer than its queue allows, at its first attempt."""
        await asyncio.sleep(10.0)
        await self._enqueue("thumbnails", "render_catalogue", [{"file": "catalogue.pdf", "pages": 212}])
        return 110.0

    async def _remind(self) -> float:
        """Something for later."""
        for mail in shop.newsletter(self._rng, 3):
            await self._pg.queue.enqueue(
                self._site.name("email"), mail, kind="send_newsletter", delay_s=self._rng.uniform(5, 120), priority=3
            )
        return self._rng.uniform(6, 12)

    async def _enqueue(self, queue: str, kind: str, payloads: Iterable[JsonValue]) -> None:
        await self._pg.queue.enqueue_many(self._site.name(queue), payloads, kind=kind)

    # --- cache -------------------------------------------------------------------------------------------------

    async def _browse(self) -> float:
        """A visitor: a session that lasts as long as he comes back, and a page, a popular one or a rare one."""
        cache, rng, sessions = self._pg.cache, self._rng, self._site.name("sessions")
        session = f"session:{rng.randint(max(self._sessions - 40, 0), self._sessions)}"
        if await cache.get(session, namespace=sessions) is None:
            self._sessions += 1
            await cache.set(f"session:{self._sessions}", rng.randbytes(120), ttl_s=8, sliding=True, namespace=sessions)
        key = f"page:{min(int(rng.paretovariate(0.7)), 500)}"
        await cache.get_or_compute(
            key, self._render_page, ttl_s=rng.uniform(3, 40), jitter=0.1, stale_s=5, namespace=self._site.name("pages")
        )
        return self._pause(7.0)

    async def _render_page(self) -> bytes:
        await asyncio.sleep(self._rng.uniform(0.005, 0.05))
        return self._rng.randbytes(self._rng.randint(400, 4_000))

    async def _deploy(self) -> float:
        """New templates: no page is as it was."""
        await asyncio.sleep(75.0)
        await self._pg.cache.invalidate(self._site.name("pages"))
        return 0.0

    async def _tell(self) -> float:
        """Hits and misses reach the database each second, so that a look at it sees them come in evenly."""
        await self._pg.cache.flush()
        return 1.0

    async def _tidy(self) -> float:
        await asyncio.sleep(25.0)
        await self._pg.cache.purge_expired(budget_s=0.2)
        return 0.0

    # --- search ------------------------------------------------------------------------------------------------

    async def _read(self) -> float:
        """The first documents at once, with an index; then a few at a time, so that it slowly grows out of date.
        Without pgvector the shop has no search."""
        name = self._site.name("stdlib")
        if self._searchable.is_set():
            return await self._add(name, 4) or LONG_S
        try:
            known = {known.name for known in await self._pg.vectors.list()}
        except UnavailableError as error:
            log.warning("%s; there is no search", error)
            return LONG_S
        if name not in known:
            await self._pg.vectors.create(name, self._embedder.dimensions, embedder=HASHING)
            await self._add(name, FIRST_DOCUMENTS)
        if (await self._pg.vectors.stats(name)).index is None:
            await self._pg.vectors.build_index(name, lists=LISTS)
        await self._pg.vectors.measure_recall(name)
        self._searchable.set()
        return 1.0

    async def _add(self, name: str, count: int) -> float:
        """How long to rest until the next ones; 0 when there are none."""
        rows = await asyncio.to_thread(
            lambda: [row(document, self._embedder) for document in islice(self._library, count)]
        )
        return 2.0 if await self._pg.vectors.add_many(name, rows) else 0.0

    async def _search(self) -> float:
        await self._searchable.wait()
        question = self._embedder.embed([self._rng.choice(QUESTIONS)])[0]
        await self._pg.vectors.search(self._site.name("stdlib"), question, limit=self._rng.choice((5, 10, 20)))
        return self._pause(2.5)

    def _pause(self, per_second: float) -> float:
        """Until the next of some independent events, so many a second on average, with a tide of 40 s."""
        tide = 1 + 0.6 * math.sin((monotonic() - self._began) * math.tau / 40)
        return min(self._rng.expovariate(per_second * tide), 5.0)


async def _go_on(step: Callable[[], Awaitable[float]]) -> None:
    """`step`, a rest as long as it says, and again; after an error a longer one."""
    wait_s = BACKOFF_S
    while True:
        try:
            rest_s = await step()
            wait_s = BACKOFF_S
        except (PgopsError, psycopg.Error) as error:
            log.warning("%s; trying again in %.1f s", error, wait_s)
            rest_s, wait_s = wait_s, min(wait_s * 2, BACKOFF_MAX_S)
        await asyncio.sleep(rest_s)
