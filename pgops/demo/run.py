"""The demo from its start to its end: without the dashboard for some seconds, or behind it until that is left."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from pgops.config import Target
from pgops.demo.process import child
from pgops.demo.site import Site, open_site, prepare
from pgops.demo.traffic import Traffic
from pgops.ops.collector import collect
from pgops.ops.observe.snapshot import Snapshot
from pgops.services.client import AsyncPgops

log = logging.getLogger("pgops.demo")

RATES_OVER_S = 2.0
EMBEDDED = Target(None, "embedded")


async def run_headless(seconds: float, target: Target | str | None = None, sink: str = "") -> Snapshot:
    """The demo for `seconds`, and what it looks like then, with rates over the last two seconds.

    `target` is a DSN or a Target; None, or the embedded server, means a scratch database there. `sink` is where its
    relay hands the shop's events to; "" means a function that is away now and then.
    Raises UnreachableError, RefusedError while another demo runs there.
    """
    logging.getLogger("pgops").addHandler(logging.NullHandler())
    target = Target(target, "--dsn") if isinstance(target, str) else target or EMBEDDED
    with open_site(target, sink) as site:
        await prepare(site)
        async with AsyncPgops.open(site.dsn, application_name="demo") as pg, _traffic(pg, site):
            rates_over_s = min(RATES_OVER_S, seconds / 2)
            await asyncio.sleep(seconds - rates_over_s)
            earlier = await collect(pg.db, target.display)
            await asyncio.sleep(rates_over_s)
            await pg.cache.flush()
            return await collect(pg.db, target.display, previous=earlier)


def run_interactive(target: Target, dashboard: Callable[[Target], int], sink: str = "") -> int:
    """The demo behind `dashboard`, which is opened on its database and whose exit code is returned.

    The traffic has a process of its own: it starts while the server does, and never makes the dashboard wait.
    """
    with child("traffic") as traffic, open_site(target, sink) as site:
        asyncio.run(prepare(site))
        traffic.begin(site)
        try:
            return dashboard(Target(site.dsn, "demo"))
        finally:
            if not traffic.alive:
                log.warning("the traffic had ended by itself: %s", traffic.last_words())
            traffic.end()


@asynccontextmanager
async def _traffic(pg: AsyncPgops, site: Site) -> AsyncIterator[None]:
    """Traffic beside the block; an error of its own is raised when the block ends."""
    task = asyncio.create_task(Traffic(pg, site).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
