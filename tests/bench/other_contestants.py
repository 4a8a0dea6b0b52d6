"""Queues that are no Python library on PostgreSQL: awa's Rust worker, and the brokers Redis and RabbitMQ.

The brokers are servers of their own on this machine, and no forgotten transaction holds anything of theirs back.
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
from contest import CONCURRENCY, PAYLOAD, QUEUE, Contestant, sent
from psycopg.conninfo import conninfo_to_dict

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from brokers import rabbitmq_server, redis_server

BODY = json.dumps(PAYLOAD).encode()
TIMED = "timed"
LOOK_S = 0.2
PERSISTENT = pika.BasicProperties(delivery_mode=2)


@dataclass
class Noop:
    """awa's arguments of a job."""

    user_id: int
    action: str


@dataclass
class Timed:
    """And of one that says when it was sent."""

    at: float


class Awa(Contestant):
    """awa over its queue storage, with its own worker; handlers are Python, the rest is Rust."""

    enqueues = "enqueue_many_copy of 1,000"
    drains = "worker, 256 at a time"
    waits = "its notifications"
    share = 2

    @asynccontextmanager
    async def site(self, dsn: str) -> AsyncIterator[str]:
        async with self.connect(dsn):
            await self._client.migrate()
            await self._client.install_queue_storage()
        yield dsn

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[None]:
        given = conninfo_to_dict(address)
        host = quote(str(given["host"]), safe="")
        self._client = awa.AsyncClient(f"postgres://{given['user']}@localhost/{given['dbname']}?host={host}")
        try:
            yield
        finally:
            await self._client.close()

    async def enqueue(self, count: int) -> None:
        for start in range(0, count, 1_000):
            await self._client.enqueue_many_copy([Noop(**PAYLOAD)] * min(1_000, count - start), queue=QUEUE)

    async def drain(self) -> None:
        @self._client.task(Noop, queue=QUEUE)
        async def noop(job: object) -> None:
            self.done += 1

        await self._work(256)

    async def send(self, count: int) -> None:
        if count == 1:
            await self._client.insert(Timed(**sent()), queue=QUEUE)
        else:
            await self._client.enqueue_many_copy([Timed(**sent())] * count, queue=QUEUE)

    async def serve(self) -> None:
        @self._client.task(Timed, queue=QUEUE)
        async def timed(job: Any) -> None:
            self.met(job.args.at)

        await self._work(CONCURRENCY)

    def stop(self) -> None:
        self._stopping.set()

    async def _work(self, concurrency: int) -> None:
        self._stopping = asyncio.Event()
        await self._client.start([(QUEUE, concurrency)])
        await self._stopping.wait()
        await self._client.shutdown()


class Redis(Contestant):
    """A reliable list queue: a job moves to a list of those in work, and leaves it when it is done."""

    on_postgresql = False

    def __init__(self, batch: int) -> None:
        super().__init__()
        self._batch = batch
        self.enqueues = "LPUSH of 1,000"
        self.drains = f"bare loop, RPOPLPUSH and LTRIM of {batch}, in memory only"
        self.waits = "BLMOVE" if batch == 1 else ""

    @asynccontextmanager
    async def site(self, dsn: str) -> AsyncIterator[str]:
        with redis_server() as path:
            yield path

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[None]:
        with redis.Redis(unix_socket_path=address) as self._redis:
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

    async def send(self, count: int) -> None:
        self._redis.lpush(TIMED, *[json.dumps(sent())] * count)

    async def serve(self) -> None:
        self._stopping = False
        while not self._stopping:
            job = self._redis.blmove(TIMED, "working", LOOK_S, "RIGHT", "LEFT")
            if job is not None:
                self.met(json.loads(job)["at"])
                self._redis.lrem("working", -1, job)
            await asyncio.sleep(0)

    def stop(self) -> None:
        self._stopping = True


class RabbitMq(Contestant):
    """RabbitMQ with durable queues and persistent messages, over pika."""

    share = 2
    on_postgresql = False

    def __init__(self, acks: int) -> None:
        super().__init__()
        self._acks = acks
        self.enqueues = "basic_publish, persistent, without confirms"
        self.drains = f"bare loop, prefetch 1,000, an ack for {acks}"
        self.waits = "basic_consume" if acks == 1 else ""

    @asynccontextmanager
    async def site(self, dsn: str) -> AsyncIterator[str]:
        with rabbitmq_server() as port:
            yield str(port)

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[None]:
        connection: Any = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(address)))
        self._channel = connection.channel()
        for queue in (QUEUE, TIMED):
            self._channel.queue_declare(queue, durable=True)
        self._channel.basic_qos(prefetch_count=1_000)
        try:
            yield
        finally:
            connection.close()

    async def enqueue(self, count: int) -> None:
        for _ in range(count):
            self._channel.basic_publish("", QUEUE, BODY, PERSISTENT)
        self._channel.queue_declare(QUEUE, passive=True)  # answered after all before it were taken in

    async def drain(self) -> None:
        self._stopping = False
        for method, _, _ in self._channel.consume(QUEUE, inactivity_timeout=LOOK_S):
            if self._stopping:
                break
            if method is not None:
                self.done += 1
                if self.done % self._acks == 0:
                    self._channel.basic_ack(method.delivery_tag, multiple=self._acks > 1)
            if method is None or self.done % 100 == 0:
                await asyncio.sleep(0)  # the one who times it looks
        self._channel.cancel()

    async def send(self, count: int) -> None:
        for _ in range(count):
            self._channel.basic_publish("", TIMED, json.dumps(sent()).encode(), PERSISTENT)

    async def serve(self) -> None:
        self._stopping = False
        for method, _, body in self._channel.consume(TIMED, inactivity_timeout=LOOK_S):
            if method is not None:
                self.met(json.loads(body)["at"])
                self._channel.basic_ack(method.delivery_tag)
            await asyncio.sleep(0)
            if self._stopping:
                break
        self._channel.cancel()

    def stop(self) -> None:
        self._stopping = True
