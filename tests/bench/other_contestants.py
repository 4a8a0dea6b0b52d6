"""Queues that are no Python library on PostgreSQL: awa's Rust worker, and the brokers Redis and RabbitMQ.

The same rule as in contestants.py. The brokers are servers of their own on this machine, and no forgotten transaction
holds anything of theirs back.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import awa
import pika
import redis
from contestants import PAYLOAD, QUEUE
from psycopg.conninfo import conninfo_to_dict

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from brokers import rabbitmq_server, redis_server

BODY = json.dumps(PAYLOAD).encode()


@dataclass
class Noop:
    """awa's job arguments."""

    user_id: int
    action: str


class Awa:
    """awa over its queue storage, with its own worker; handlers are Python, the rest is Rust."""

    enqueues = "enqueue_many_copy of 1,000"
    drains = "worker, 256 at a time"
    share = 1
    loop = None
    on_postgresql = True

    def __init__(self) -> None:
        self.done = 0

    @asynccontextmanager
    async def open(self, dsn: str) -> AsyncIterator[None]:
        given = conninfo_to_dict(dsn)
        host = quote(str(given["host"]), safe="")
        self._client = awa.AsyncClient(f"postgres://{given['user']}@localhost/{given['dbname']}?host={host}")
        await self._client.migrate()
        await self._client.install_queue_storage()

        @self._client.task(Noop, queue=QUEUE)
        async def noop(job: object) -> None:
            self.done += 1

        try:
            yield
        finally:
            await self._client.close()

    async def enqueue(self, count: int) -> None:
        for start in range(0, count, 1_000):
            await self._client.enqueue_many_copy([Noop(**PAYLOAD)] * min(1_000, count - start), queue=QUEUE)

    async def drain(self) -> None:
        self._stopping = asyncio.Event()
        await self._client.start([(QUEUE, 256)])
        await self._stopping.wait()
        await self._client.shutdown()

    def stop(self) -> None:
        self._stopping.set()


class Redis:
    """A reliable list queue: a job moves to a list of those in work, and leaves it when it is done."""

    share = 1
    loop = None
    on_postgresql = False

    def __init__(self, batch: int) -> None:
        self.done = 0
        self._batch = batch
        self.enqueues = "LPUSH of 1,000"
        self.drains = f"bare loop, RPOPLPUSH and LTRIM of {batch}, in memory only"

    @asynccontextmanager
    async def open(self, dsn: str) -> AsyncIterator[None]:
        with redis_server() as path, redis.Redis(unix_socket_path=path) as self._redis:
            yield

    async def enqueue(self, count: int) -> None:
        for start in range(0, count, 1_000):
            self._redis.lpush("jobs", *[BODY] * min(1_000, count - start))

    async def drain(self) -> None:
        self._stopping = False
        while not self._stopping and (found := self._take()):
            self._redis.ltrim("working", found, -1)
            self.done += found
            await asyncio.sleep(0)

    def _take(self) -> int:
        pipe = self._redis.pipeline(transaction=False)
        for _ in range(self._batch):
            pipe.rpoplpush("jobs", "working")
        return sum(job is not None for job in pipe.execute())

    def stop(self) -> None:
        self._stopping = True


class RabbitMq:
    """RabbitMQ with a durable queue and persistent messages, over pika."""

    share = 1
    loop = None
    on_postgresql = False

    def __init__(self, acks: int) -> None:
        self.done = 0
        self._acks = acks
        self.enqueues = "basic_publish, persistent, without confirms"
        self.drains = f"bare loop, prefetch 1,000, an ack for {acks}"

    @asynccontextmanager
    async def open(self, dsn: str) -> AsyncIterator[None]:
        with rabbitmq_server() as port:
            connection: Any = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
            self._channel = connection.channel()
            self._channel.queue_declare(QUEUE, durable=True)
            self._channel.basic_qos(prefetch_count=1_000)
            yield
            connection.close()

    async def enqueue(self, count: int) -> None:
        persistent = pika.BasicProperties(delivery_mode=2)
        for _ in range(count):
            self._channel.basic_publish("", QUEUE, BODY, persistent)
        self._channel.queue_declare(QUEUE, passive=True)  # answered after all before it were taken in

    async def drain(self) -> None:
        self._stopping = False
        for method, _, _ in self._channel.consume(QUEUE, inactivity_timeout=0.2):
            if self._stopping:
                break
            if method is not None:
                self.done += 1
                if self.done % self._acks == 0:
                    self._channel.basic_ack(method.delivery_tag, multiple=self._acks > 1)
            if method is None or self.done % 100 == 0:
                await asyncio.sleep(0)  # the one who times it looks
        self._channel.cancel()

    def stop(self) -> None:
        self._stopping = True
