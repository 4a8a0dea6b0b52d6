"""Pub/sub: what a listener is given, and who listens."""

from dataclasses import dataclass

from pgops.services.models.events import Event
from pgops.services.models.jsonvalue import JsonValue


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `raw`: sent by a plain NOTIFY, whose text is the payload; it has no id. `pid` is the backend that
    sent it. A durable listener's messages carry their `event`, and no pid."""

    channel: str
    payload: JsonValue
    id: int | None
    pid: int | None = None
    raw: bool = False
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class Missed:
    """Messages of `channels` may be missing before this point: look once at what they would have told. `seconds` is how
    long nobody listened."""

    channels: tuple[str, ...]
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel that sessions of this database are seen to listen to, as far as this role may see them."""

    name: str
    pids: tuple[int, ...]
