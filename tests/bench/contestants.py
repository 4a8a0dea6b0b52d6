"""Job queues in Python on PostgreSQL, each driven by its own client and worker in the way that suits it best.

The rule: a contestant is opened on a database of its own, adds `count` jobs, and drains them until it is stopped or
nothing is left; it counts in `done` what its handler has seen. Nobody is tuned beyond what its own manual offers, and
how many jobs go together is said in `enqueues` and `drains`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Protocol

import asyncpg
import pgmq
import pgqueuer
import procrastinate
import uvloop
from pgqueuer import AsyncpgPoolDriver, PgQueuer, Queries
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from pgops import AsyncPgops, Registry
from pgops.runtime.worker import Worker

PAYLOAD = {"user_id": 123, "action": "send_email"}
CONCURRENCY = 10
QUEUE = "bench"


class Contestant(Protocol):
    """A queue under test. `share` is how many of the run's jobs it gets: 1 of so many. Where it is not `on_postgresql`,
    no transaction can hold it back."""

    done: int
    enqueues: str
    drains: str
    share: int
    loop: Any
    on_postgresql: bool

    def open(self, dsn: str) -> AbstractAsyncContextManager[None]:
        """Make its tables and connect."""

    async def enqueue(self, count: int) -> None:
        """Add so many jobs."""

    async def drain(self) -> None:
        """Work until `stop`, or until nothing is left."""

    def stop(self) -> None:
        """Let `drain` end soon."""


class Pgops:
    """pgops: the worker of `pgops queue work`, an async handler. `batch` jobs a transaction, or all in one."""

    drains = f"worker, {CONCURRENCY} at a time"
    share = 1
    loop = None
    on_postgresql = True

    def __init__(self, batch: int = 0) -> None:
        self.done = 0
        self.enqueues = f"COPY, {batch:,} a transaction" if batch else "COPY, one transaction"
        self._batch = batch

    @asynccontextmanager
    async def open(self, dsn: str) -> AsyncIterator[None]:
        async with AsyncPgops.open(dsn) as self._pg:
            yield

    async def enqueue(self, count: int) -> None:
        size = self._batch or count
        for start in range(0, count, size):
            await self._pg.queue.enqueue_many(QUEUE, [PAYLOAD] * min(size, count - start))

    async def drain(self) -> None:
        registry = Registry()

        @registry.job()
        async def default(job: object) -> None:
            self.done += 1

        self._worker = Worker(self._pg.db, registry, [QUEUE], concurrency=CONCURRENCY)
        await self._worker.run()

    def stop(self) -> None:
        self._worker.stop()


class Pgmq:
    """pgmq's Python client in a bare loop: read a batch, delete it. It has no worker, retries or dead letters."""

    enqueues = "send_batch of 1,000"
    drains = "bare loop, read_batch and delete_batch of 100"
    share = 1
    loop = None
    on_postgresql = True

    def __init__(self) -> None:
        self.done = 0

    @asynccontextmanager
    async def open(self, dsn: str) -> AsyncIterator[None]:
        pgmq.install_pgmq_from_sql(dsn=dsn)
        with ConnectionPool(dsn, min_size=1, max_size=2, open=True) as pool:
            self._queue = pgmq.PGMQueue(init_extension=False, pool=pool)
            self._queue.create_queue(QUEUE)
            yield

    async def enqueue(self, count: int) -> None:
        for start in range(0, count, 1_000):
            self._queue.send_batch(QUEUE, [PAYLOAD] * min(1_000, count - start))

    async def drain(self) -> None:
        self._stopping = False
        while not self._stopping and (found := self._queue.read_batch(QUEUE, vt=300, batch_size=100)):
            self._queue.delete_batch(QUEUE, [message.msg_id for message in found])
            self.done += len(found)
            await asyncio.sleep(0)  # the one who times it looks

    def stop(self) -> None:
        self._stopping = True


class Pgqueuer:
    """pgqueuer over asyncpg and uvloop, with its own worker."""

    enqueues = "enqueue of 1,000"
    drains = "worker, batch 200, asyncpg, uvloop"
    share = 1
    loop = staticmethod(uvloop.new_event_loop)
    on_postgresql = True

    def __init__(self) -> None:
        self.done = 0

    @asynccontextmanager
    async def open(self, dsn: str) -> AsyncIterator[None]:
        given = conninfo_to_dict(dsn)
        async with asyncpg.create_pool(
            host=given["host"], port=given.get("port", 5432), user=given.get("user"), database=given["dbname"],
            min_size=2, max_size=8,
        ) as pool:  # fmt: skip
            self._driver = AsyncpgPoolDriver(pool)
            self._queries = Queries(self._driver)
            await self._queries.install()
            yield

    async def enqueue(self, count: int) -> None:
        body = json.dumps(PAYLOAD).encode()
        for start in range(0, count, 1_000):
            size = min(1_000, count - start)
            await self._queries.enqueue(["noop"] * size, [body] * size, [0] * size)

    async def drain(self) -> None:
        self._worker = PgQueuer(self._driver)

        @self._worker.entrypoint("noop")
        async def noop(job: pgqueuer.Job) -> None:
            self.done += 1

        await self._worker.qm.run(batch_size=200, dequeue_timeout=timedelta(seconds=1))

    def stop(self) -> None:
        self._worker.qm.shutdown.set()


class Procrastinate:
    """procrastinate with its own worker; it fetches job by job, so it gets a tenth of the jobs."""

    enqueues = "batch_defer of 1,000"
    drains = f"worker, {CONCURRENCY} at a time"
    share = 10
    loop = None
    on_postgresql = True

    def __init__(self) -> None:
        self.done = 0

    @asynccontextmanager
    async def open(self, dsn: str) -> AsyncIterator[None]:
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, min_size=2, max_size=12))

        @self._app.task(name="noop")
        async def noop(**payload: object) -> None:
            self.done += 1

        self._noop = noop
        async with self._app.open_async():
            await self._app.schema_manager.apply_schema_async()
            yield

    async def enqueue(self, count: int) -> None:
        for start in range(0, count, 1_000):
            await self._noop.batch_defer_async(*[PAYLOAD] * min(1_000, count - start))

    async def drain(self) -> None:
        self._running = asyncio.create_task(
            self._app.run_worker_async(
                wait=False, concurrency=CONCURRENCY, delete_jobs="always", install_signal_handlers=False,
                listen_notify=False,
            )
        )  # fmt: skip
        await asyncio.gather(self._running, return_exceptions=True)

    def stop(self) -> None:
        self._running.cancel()
