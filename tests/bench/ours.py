"""pgops, as a contestant: the worker of `pgops queue work`, an async handler that does nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from json import loads

import psycopg
from contest import CONCURRENCY, PAYLOAD, QUEUE, Contestant, sent

from pgops import AsyncPgops, Registry
from pgops.runtime.worker import Worker
from pgops.services.models import Job


class Pgops(Contestant):
    """All jobs in one transaction of pgops' own, which tells workers that wait."""

    enqueues = "COPY, one transaction"
    drains = f"worker, {CONCURRENCY} at a time"
    waits = "hints"

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[None]:
        async with AsyncPgops.open(address) as self._pg:
            yield

    async def enqueue(self, count: int) -> None:
        await self._pg.queue.enqueue_many(QUEUE, [PAYLOAD] * count)

    async def drain(self) -> None:
        registry = Registry()

        @registry.job()
        async def default(job: Job) -> None:
            self.done += 1

        await self._work(registry)

    async def send(self, count: int) -> None:
        if count == 1:
            await self._pg.queue.enqueue(QUEUE, sent())
        else:
            await self._pg.queue.enqueue_many(QUEUE, [sent()] * count)

    async def serve(self) -> None:
        registry = Registry()

        @registry.job()
        async def default(job: Job) -> None:
            self.met(loads(job.payload_json)["at"])

        await self._work(registry)

    def stop(self) -> None:
        self._worker.stop()

    async def _work(self, registry: Registry) -> None:
        self._worker = Worker(self._pg.db, registry, [QUEUE], concurrency=CONCURRENCY)
        await self._worker.run()


class PgopsBound(Pgops):
    """In the caller's own transactions, which tell nobody: workers find the jobs by looking, every 2 to 50 ms."""

    enqueues = "COPY, 1,000 in a caller's transaction"
    waits = "looks"

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[None]:
        async with super().connect(address), await psycopg.AsyncConnection.connect(address) as conn:
            self._conn, self._bound = conn, self._pg.bind(conn).queue
            yield

    async def enqueue(self, count: int) -> None:
        for start in range(0, count, 1_000):
            async with self._conn.transaction():
                await self._bound.enqueue_many(QUEUE, [PAYLOAD] * min(1_000, count - start))

    async def send(self, count: int) -> None:
        job = sent()
        async with self._conn.transaction():
            if count == 1:
                await self._bound.enqueue(QUEUE, job)
            else:
                await self._bound.enqueue_many(QUEUE, [job] * count)
