"""Job queues in Python on PostgreSQL, each driven by its own client and worker in the way that suits it best."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pgmq
import pgqueuer
import procrastinate
import uvloop
from contest import CONCURRENCY, PAYLOAD, QUEUE, Contestant, sent
from pgqueuer import AsyncpgPoolDriver, PgQueuer, Queries
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

BODY = json.dumps(PAYLOAD).encode()


class Pgmq(Contestant):
    """pgmq's Python client in a bare loop: read, delete. It has no worker, retries or dead letters."""

    enqueues = "send_batch of 1,000"
    drains = "bare loop, read_batch and delete_batch of 100"
    waits = "read_with_poll every 2 ms"

    @asynccontextmanager
    async def site(self, dsn: str) -> AsyncIterator[str]:
        pgmq.install_pgmq_from_sql(dsn=dsn)
        async with self.connect(dsn):
            self._queue.create_queue(QUEUE)
        yield dsn

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[None]:
        with ConnectionPool(address, min_size=1, max_size=2, open=True) as pool:
            self._queue = pgmq.PGMQueue(init_extension=False, pool=pool)
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

    async def send(self, count: int) -> None:
        self._queue.send_batch(QUEUE, [sent()] * count)

    async def serve(self) -> None:
        self._stopping = False
        while not self._stopping:
            for message in self._queue.read_with_poll(
                QUEUE, vt=300, qty=CONCURRENCY, max_poll_seconds=1, poll_interval_ms=2
            ):
                self.met(message.message["at"])
                self._queue.delete(QUEUE, message.msg_id)
            await asyncio.sleep(0)

    def stop(self) -> None:
        self._stopping = True


class Pgqueuer(Contestant):
    """pgqueuer over asyncpg and uvloop, with its own worker."""

    enqueues = "enqueue of 1,000"
    drains = "worker, batch 200, asyncpg, uvloop"
    waits = "LISTEN, batch 10"
    loop = staticmethod(uvloop.new_event_loop)

    @asynccontextmanager
    async def site(self, dsn: str) -> AsyncIterator[str]:
        async with self.connect(dsn):
            await self._queries.install()
        yield dsn

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[None]:
        given = conninfo_to_dict(address)
        async with asyncpg.create_pool(
            host=given["host"], port=given.get("port", 5432), user=given.get("user"), database=given["dbname"],
            min_size=2, max_size=8,
        ) as pool:  # fmt: skip
            self._driver = AsyncpgPoolDriver(pool)
            self._queries = Queries(self._driver)
            yield

    async def enqueue(self, count: int) -> None:
        for start in range(0, count, 1_000):
            size = min(1_000, count - start)
            await self._queries.enqueue(["job"] * size, [BODY] * size, [0] * size)

    async def drain(self) -> None:
        self._worker = PgQueuer(self._driver)

        @self._worker.entrypoint("job")
        async def noop(job: pgqueuer.Job) -> None:
            self.done += 1

        await self._worker.qm.run(batch_size=200, dequeue_timeout=timedelta(seconds=1))

    async def send(self, count: int) -> None:
        await self._queries.enqueue(["job"] * count, [json.dumps(sent()).encode()] * count, [0] * count)

    async def serve(self) -> None:
        self._worker = PgQueuer(self._driver)

        @self._worker.entrypoint("job")
        async def noop(job: pgqueuer.Job) -> None:
            self.met(json.loads(job.payload or b"")["at"])

        await self._worker.qm.run(batch_size=10, dequeue_timeout=timedelta(seconds=1))

    def stop(self) -> None:
        self._worker.qm.shutdown.set()


class Procrastinate(Contestant):
    """procrastinate with its own worker; it fetches job by job, so it gets a fortieth of the jobs."""

    enqueues = "batch_defer of 1,000"
    drains = f"worker, {CONCURRENCY} at a time"
    waits = "LISTEN"
    share = 40

    @asynccontextmanager
    async def site(self, dsn: str) -> AsyncIterator[str]:
        async with self.connect(dsn):
            await self._app.schema_manager.apply_schema_async()
        yield dsn

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[None]:
        connector = procrastinate.PsycopgConnector(conninfo=address, min_size=2, max_size=12)
        self._app = procrastinate.App(connector=connector)

        @self._app.task(name="noop")
        async def noop(**payload: object) -> None:
            self.done += 1

        @self._app.task(name="timed")
        async def timed(at: float) -> None:
            self.met(at)

        self._noop, self._timed = noop, timed
        async with self._app.open_async():
            yield

    async def enqueue(self, count: int) -> None:
        for start in range(0, count, 1_000):
            await self._noop.batch_defer_async(*[PAYLOAD] * min(1_000, count - start))

    async def drain(self) -> None:
        await self._work(wait=False, listen_notify=False)

    async def send(self, count: int) -> None:
        await self._timed.batch_defer_async(*[sent()] * count)

    async def serve(self) -> None:
        await self._work(wait=True, listen_notify=True)

    def stop(self) -> None:
        self._running.cancel()

    async def _work(self, *, wait: bool, listen_notify: bool) -> None:
        self._running = asyncio.create_task(
            self._app.run_worker_async(
                wait=wait, listen_notify=listen_notify, concurrency=CONCURRENCY, delete_jobs="always",
                install_signal_handlers=False,
            )
        )  # fmt: skip
        await asyncio.gather(self._running, return_exceptions=True)
