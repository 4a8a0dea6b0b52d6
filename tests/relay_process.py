"""A relay in a process of its own, to be killed: DSN, subscription, sink, lease in seconds."""

import asyncio
import sys

from pgops.database import AsyncPool
from pgops.runtime.relay import Relay
from pgops.runtime.sinks import open_sink


async def main(dsn: str, subscription: str, sink: str, lease_s: str) -> None:
    async with AsyncPool.open(dsn) as db:
        await Relay(db, subscription, open_sink(sink), lease_s=float(lease_s)).run()


asyncio.run(main(*sys.argv[1:]))
