"""A part of the demo as a process: see process.py, which starts it and whose stdin it watches."""

import asyncio
import json
import signal
import sys
from contextlib import suppress

from pgops.demo.handlers import registry
from pgops.demo.site import Site
from pgops.demo.traffic import QUEUES, Traffic
from pgops.runtime.parent import at_end_of_stdin
from pgops.runtime.worker import Worker
from pgops.services.client import AsyncPgops

CONCURRENCY = 6
GRACE_S = 0.3


async def worker(site: Site) -> None:
    """The shop's worker, until SIGTERM or the end of stdin."""
    async with AsyncPgops.open(site.dsn, application_name="demo worker") as pg:
        one = Worker(pg.db, registry, [site.name(queue) for queue in QUEUES], concurrency=CONCURRENCY, grace_s=GRACE_S)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, one.stop)
        with at_end_of_stdin(one.stop):
            await one.run()


async def traffic(site: Site) -> None:
    """The shop, until SIGTERM or the end of stdin."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError), at_end_of_stdin(task.cancel):
        async with AsyncPgops.open(site.dsn, application_name="demo") as pg:
            await Traffic(pg, site).run()


def main() -> None:
    parts = {"worker": worker, "traffic": traffic}
    if len(sys.argv) != 2 or sys.argv[1] not in parts:
        sys.exit("this is a part of the demo; run: pgops demo")
    if line := sys.stdin.readline():
        asyncio.run(parts[sys.argv[1]](Site(*json.loads(line))))


if __name__ == "__main__":
    main()
