"""A relay process under stress, for two subscriptions: DSN, the file that takes what is delivered, lease in seconds.

heard    appends a line to the file, which all relays share: the order of its lines is the order of deliveries
once     has its effect in the transaction that marks the event in the inbox

Now and then the other end is away for a moment. SIGTERM is to leave: the batch is finished, the parts handed back.
SIGUSR1 is to write to stderr what it is about.
"""

import asyncio
import os
import random
import signal
import sys
import time
import traceback
from typing import Any

import psycopg

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import PgopsError
from pgops.runtime.relay import Relay
from pgops.runtime.sinks import FunctionSink
from pgops.services.inbox import AsyncInbox
from pgops.services.models import Event


class Heard:
    """The file."""

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def __call__(self, event: Event) -> None:
        if random.random() < 0.001:
            raise ConnectionError("the other end is away")
        payload: Any = event.payload
        fields = (time.time(), os.getpid(), event.key, payload["n"], event.event_id, int(event.replayed))
        os.write(self.file, (" ".join(map(str, fields)) + "\n").encode())
        await asyncio.sleep(random.choice([0, 0.002, 0.01]))


class Once:
    """A consumer with a connection of its own."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.conn: psycopg.AsyncConnection[Any] | None = None

    async def __call__(self, event: Event) -> None:
        try:
            if self.conn is None or self.conn.closed:
                self.conn = await psycopg.AsyncConnection.connect(self.dsn)
            async with self.conn.transaction():
                if await AsyncInbox(AsyncBound(self.conn, foreign=True)).first("once", event.event_id):
                    payload: Any = event.payload
                    values = [event.key, payload["n"], event.event_id]
                    await asyncio.sleep(random.choice([0, 0.002, 0.01]))
                    await self.conn.execute("insert into stress.effect (key, n, event_id) values (%s, %s, %s)", values)
        except psycopg.OperationalError as error:
            if self.conn is not None:
                await self.conn.close()
            self.conn = None
            raise ConnectionError("the consumer's database is away") from error


async def main(dsn: str, path: str, lease_s: str) -> None:
    async with AsyncPool.open(dsn) as db:
        sinks = {"heard": FunctionSink(Heard(path).__call__), "once": FunctionSink(Once(dsn).__call__)}
        relays = [Relay(db, name, sink, batch=2, lease_s=float(lease_s)) for name, sink in sinks.items()]
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: [relay.stop() for relay in relays])
        loop.add_signal_handler(signal.SIGUSR1, lambda: [task.print_stack() for task in asyncio.all_tasks()])
        await asyncio.gather(*(relay.run() for relay in relays))


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except PgopsError as error:
        traceback.print_exc()
        sys.exit(error.exit_code)
