"""A part of the demo as a process: see process.py, which starts it and whose stdin it watches."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from pgops.demo.handlers import registry
from pgops.demo.site import Site
from pgops.demo.traffic import QUEUES, Traffic
from pgops.runtime.worker import Worker
from pgops.services.client import AsyncPgops

CONCURRENCY = 6
GRACE_S = 0.3


async def worker(site: Site) -> None:
    """The shop's worker, until SIGTERM or the end of stdin."""
    async with AsyncPgops.open(site.dsn, application_name="demo worker") as pg:
        one = Worker(pg.db, registry, [site.name(queue) for queue in QUEUES], concurrency=CONCURRENCY, grace_s=GRACE_S)
        _when_told(one.stop)
        await one.run()


async def traffic(site: Site) -> None:
    """The shop, until SIGTERM or the end of stdin."""
    task = asyncio.current_task()
    assert task is not None
    _when_told(task.cancel)
    with suppress(asyncio.CancelledError):
        async with AsyncPgops.open(site.dsn, application_name="demo") as pg:
            await Traffic(pg, site).run()


def _when_told(stop: Callable[[], object]) -> None:
    """Call `stop` at SIGTERM, and when whoever started this process is gone."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop()

    loop.add_reader(0, look)
    loop.add_signal_handler(signal.SIGTERM, stop)


def main() -> None:
    parts = {"worker": worker, "traffic": traffic}
    if len(sys.argv) != 2 or sys.argv[1] not in parts:
        sys.exit("this is a part of the demo; run: pgops demo")
    if line := sys.stdin.readline():
        asyncio.run(parts[sys.argv[1]](Site(*json.loads(line))))


if __name__ == "__main__":
    main()
