"""Messages to JetStream with many acks under way.

A message carries a reply subject of its own, to which its stream answers (docs.nats.io, JetStream wire API: publish).
One subscription hears them all, and a connection that is lost ends every wait at once: nats-py's own publish lets each
run into its timeout.
"""

import asyncio
import json
from itertools import count

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError

NO_RESPONDERS = "503"


class Acks:
    """Publishes over one connection."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        self.stream: JetStreamContext = client.jetstream(timeout=timeout_s)
        self._client = client
        self._timeout_s = timeout_s
        self._inbox = client.new_inbox()
        self._numbers = count()
        self._waiting: dict[str, tuple[str, asyncio.Future[None]]] = {}

    @classmethod
    async def open(cls, client: Client, timeout_s: float) -> "Acks":
        """It listens when this returns."""
        acks = cls(client, timeout_s)
        await client.subscribe(f"{acks._inbox}.*", cb=acks._hear)
        return acks

    async def publish(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        """Returns when a stream has it. Raises NoStreamResponseError, APIError, PermissionError, ConnectionError,
        TimeoutError."""
        reply = f"{self._inbox}.{next(self._numbers)}"
        ack = asyncio.get_running_loop().create_future()
        self._waiting[reply] = (subject, ack)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.publish(subject, body, reply=reply, headers=headers)
                await ack
        finally:
            del self._waiting[reply]

    def give_up(self) -> None:
        """No ack will come any more."""
        for _, ack in self._waiting.values():
            if not ack.done():
                ack.set_exception(ConnectionError("the connection was lost"))

    def deny(self, subject: str, said: str) -> None:
        """The server has dropped what goes to `subject`."""
        for wanted, ack in self._waiting.values():
            if wanted == subject and not ack.done():
                ack.set_exception(PermissionError(said))

    async def _hear(self, message: Msg) -> None:
        _, ack = self._waiting.get(message.subject, ("", None))
        if ack is None or ack.done():
            return
        if message.headers and message.headers.get("Status") == NO_RESPONDERS:
            ack.set_exception(NoStreamResponseError())
        elif error := json.loads(message.data).get("error"):
            ack.set_exception(APIError(error.get("code"), error.get("description"), error.get("err_code")))
        else:
            ack.set_result(None)
