"""notify:CHANNEL: each event becomes a live message of that channel, for whoever listens at that moment.

The message is the CloudEvents document; one that a notification cannot hold goes by reference. A batch is one
transaction, so its messages arrive together and in order. Live messages leave no trace: nobody listening, nobody told.
"""

import re
from collections.abc import Sequence
from time import monotonic

from pgops.database import AsyncPool
from pgops.runtime.sinks.address import local
from pgops.runtime.sinks.cloudevents import cloudevent
from pgops.runtime.sinks.contract import DeliveryError
from pgops.services.arguments import MAX_PAYLOAD_BYTES, Encoded
from pgops.services.messages import check_channel
from pgops.services.models import Event
from pgops.services.pubsub import AsyncPubsub

EXAMPLE = "notify:orders"
PURGE_EVERY_S = 60.0
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


class NotifySink:
    """Publishes over `db`, which is the relay's own."""

    def __init__(self, name: str, db: AsyncPool) -> None:
        self._channel = check_channel(local(name, EXAMPLE)[0])
        self._db = db
        self._purge_at = monotonic() + PURGE_EVERY_S

    async def deliver(self, events: Sequence[Event]) -> None:
        messages = [Encoded(_ascii(cloudevent(event))) for event in events]
        if large := {
            event.id: f"its document has more than {MAX_PAYLOAD_BYTES:,} bytes, the most a message may have"
            for event, message in zip(events, messages, strict=True)
            if len(message) > MAX_PAYLOAD_BYTES
        }:
            raise DeliveryError("too large for a message", poison=large)
        async with self._db.transaction() as tx:
            pubsub = AsyncPubsub(tx)
            for message in messages:
                await pubsub.publish(self._channel, message)
        if monotonic() >= self._purge_at:
            self._purge_at = monotonic() + PURGE_EVERY_S
            await AsyncPubsub(self._db).purge_payloads()

    async def close(self) -> None:
        """The database is the relay's."""


def _ascii(document: str) -> str:
    """The same JSON in ASCII, as notifications are: what is not ASCII stands within strings."""
    return _NOT_ASCII.sub(_escaped, document)


def _escaped(found: re.Match[str]) -> str:
    pairs = found[0].encode("utf-16-be")
    return "".join(f"\\u{pairs[at] << 8 | pairs[at + 1]:04x}" for at in range(0, len(pairs), 2))
