"""Where the tests of the sinks let events go: a durable queue or stream of one's own in a real broker, and what has
arrived there, in order.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiormq
import nats
from brokers import Broker
from nats.js.api import ConsumerConfig, DeliverPolicy
from redis.asyncio import Redis

USER, PASSWORD = "app", "s3cret-word"


@dataclass(frozen=True)
class Arrived:
    """One message: its document, its id as the broker's consumers see it, and what stands beside it."""

    body: bytes
    id: str
    beside: dict[str, Any]


class Place:
    """One of them. `url` is the sink's; `nowhere` one that leads to nothing, and `denied` one with a wrong password."""

    said_of_nowhere = ""
    said_of_denied = ""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.name = f"t{uuid4().hex[:12]}"

    url: str
    nowhere: str
    denied: str

    async def open(self) -> None:
        """Make it."""

    async def arrived(self) -> list[Arrived]:
        """All of it, from the first on."""
        raise NotImplementedError


class Rabbit(Place):
    said_of_nowhere = "no queue takes it: declare a queue 'nowhere'"
    said_of_denied = "refuses this user"

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.server = f"amqp://guest:guest@127.0.0.1:{broker.where}/"
        place = f"127.0.0.1:{broker.where}/"
        self.url = f"rabbitmq://guest:guest@{place}?routing_key={self.name}"
        self.nowhere = f"amqp://{place}?routing_key=nowhere"
        self.denied = f"rabbitmq://guest:{PASSWORD}@{place}"

    async def open(self) -> None:
        async with self.channel() as channel:
            await channel.queue_declare(self.name, durable=True)

    async def arrived(self) -> list[Arrived]:
        found = []
        async with self.channel() as channel:  # without an ack all of it goes back
            while (got := await channel.basic_get(self.name)).delivery_tag is not None:
                properties = got.header.properties
                assert (properties.delivery_mode, properties.content_type) == (2, "application/cloudevents+json")
                found.append(Arrived(got.body, properties.message_id, properties.headers))
        return found

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[Any]:
        async with aiormq.connect(self.server) as connection:
            yield await connection.channel()


class Nats(Place):
    said_of_nowhere = "no stream takes the subject nowhere.t: nats stream add EVENTS --subjects 'nowhere.>'"
    said_of_denied = "refuses this user"

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        place = f"127.0.0.1:{broker.where}"
        self._server = f"nats://{USER}:{PASSWORD}@{place}"
        self.url = f"{self._server}/{self.name}?stream={self.name}"
        self.nowhere = f"{self._server}/nowhere"
        self.denied = f"nats://{USER}:wrong-{PASSWORD}@{place}/{self.name}"

    async def open(self) -> None:
        async with self.stream() as stream:
            await stream.add_stream(name=self.name, subjects=[f"{self.name}.>"])

    async def arrived(self) -> list[Arrived]:
        async with self.stream() as stream:
            there = (await stream.stream_info(self.name)).state.messages
            found: list[Arrived] = []
            if there:
                reader = await stream.pull_subscribe(
                    f"{self.name}.>", stream=self.name, config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
                )
                while len(found) < there:
                    for got in await reader.fetch(min(there - len(found), 200), timeout=5):
                        await got.ack()
                        assert got.headers is not None and got.headers["Content-Type"] == "application/cloudevents+json"
                        found.append(Arrived(got.data, got.headers["Nats-Msg-Id"], got.headers))
            return found

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[Any]:
        async with await nats.connect(self._server) as client:
            yield client.jetstream()


class RedisStream(Place):
    said_of_nowhere = "'taken' took no entry: WRONGTYPE"
    said_of_denied = "refuses this user"

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.url = f"unix://default:{PASSWORD}@{broker.where}?stream={self.name}"
        self.nowhere = f"unix://default:{PASSWORD}@{broker.where}?stream=taken"
        self.denied = f"unix://default:wrong-{PASSWORD}@{broker.where}?stream={self.name}"

    async def open(self) -> None:
        async with self._client() as client:
            await client.set("taken", "by a string")

    async def arrived(self) -> list[Arrived]:
        async with self._client() as client:
            entries = await client.xrange(self.name)
        return [Arrived(fields.pop("event").encode(), fields["id"], fields) for _, fields in entries]

    def _client(self) -> Any:
        return Redis(unix_socket_path=str(self.broker.where), password=PASSWORD, decode_responses=True)
