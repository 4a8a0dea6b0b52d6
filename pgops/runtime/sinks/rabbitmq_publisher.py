"""Messages over one channel of aiormq, many in one write.

aiormq's own basic_publish writes, and so calls the system, once a message. Here what is published within one turn of
the loop goes out together, in order; aiormq still keeps the connection and reads the confirms.
"""

import asyncio
from collections import deque
from functools import lru_cache

import aiormq
from aiormq.abc import ChannelFrame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal
from pamqp.header import ContentHeader

FRAME_OVERHEAD, FRAME_BYTES = 8, 131_072
FULL_QUEUE_S = 0.001


class Publisher:
    """Publishes to one exchange, mandatory and confirmed; it is the only one that uses its channel."""

    def __init__(self, channel: aiormq.Channel, exchange: str) -> None:
        self.channel = channel
        self._loop = asyncio.get_running_loop()
        self._most = (channel.connection.connection_tune.frame_max or FRAME_BYTES) - FRAME_OVERHEAD
        self._corked: deque[bytes] = deque()

        @lru_cache(maxsize=1_000)
        def method(routing_key: str) -> bytes:
            return marshal(Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True), channel.number)

        self._method = method

    def publish(self, body: bytes, routing_key: str, properties: Basic.Properties) -> "asyncio.Future[object]":
        """The broker's confirm, which raises what aiormq says of a message that came back or was not taken."""
        channel, number = self.channel, self.channel.number
        frames = [self._method(routing_key), marshal(ContentHeader(properties=properties, body_size=len(body)), number)]
        frames += [marshal(ContentBody(body[at : at + self._most]), number) for at in range(0, len(body), self._most)]
        confirm = channel.create_future()
        channel.delivery_tag += 1
        channel.confirmations[channel.delivery_tag] = confirm
        name = str(properties.message_id)
        channel.message_id_delivery_tag[name] = channel.delivery_tag
        confirm.add_done_callback(lambda _: channel.message_id_delivery_tag.pop(name, None))
        if not self._corked:
            self._loop.call_soon(self._write)
        self._corked.append(b"".join(frames))
        return confirm

    def _write(self) -> None:
        try:
            self.channel.write_queue.put_nowait(ChannelFrame(b"".join(self._corked), should_close=False))
        except asyncio.QueueFull:
            self._loop.call_later(FULL_QUEUE_S, self._write)
        else:
            self._corked.clear()
