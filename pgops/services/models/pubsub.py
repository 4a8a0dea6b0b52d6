"""Pub/sub: what a listener is given, who listens, and what came of trying it."""

from dataclasses import dataclass
from typing import Literal

from pgops.services.models.events import Event
from pgops.services.models.jsonvalue import JsonValue

ProbeCause = Literal[
    "pooler", "standby", "read_only", "denied", "queue_full", "silent", "no_listener", "idle_listener", "queue_held"
]


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
class ChannelListener:
    """A session of this database that is seen to listen to `channel`. Its `state` is PostgreSQL's, for `state_s`
    seconds: idle, it waits for messages; idle in transaction, it hears nothing until the transaction ends."""

    channel: str
    pid: int
    application: str
    user: str | None
    state: str
    state_s: float

    @property
    def hears(self) -> bool:
        """Whether messages reach it now."""
        return self.state == "idle"


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel that sessions of this database are seen to listen to, as far as this role may see them. `pids` are
    those of `listeners` that hear."""

    name: str
    pids: tuple[int, ...]
    listeners: tuple[ChannelListener, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueHolder:
    """A session of the server in an open transaction: if it listens, the notification queue cannot be emptied before
    that ends. PostgreSQL does not tell which ones listen."""

    pid: int
    application: str
    user: str | None
    database: str | None
    state: str
    transaction_s: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why messages do not arrive or, where it is not `blocking`, may not for long; and what to do. `pids` are the
    sessions that it speaks of."""

    cause: ProbeCause
    told: str
    remedy: str
    pids: tuple[int, ...] = ()
    blocking: bool = True


@dataclass(frozen=True, slots=True)
class PubsubProbe:
    """What came of sending messages to ourselves: milliseconds until it was proven to listen, and from sending a
    message, with its commit, to its arrival. `listeners` are those of `channel`; no message was sent there. `ok`: what
    is published arrives, and where a channel is asked for somebody is there to hear it."""

    channel: str | None
    ok: bool
    connect_ms: float | None
    sent: int
    received: int
    p50_ms: float | None
    max_ms: float | None
    queue_usage: float
    listeners: tuple[ChannelListener, ...]
    troubles: tuple[Trouble, ...]

    @property
    def cause(self) -> ProbeCause | None:
        """The first that is to blame where it is not ok."""
        return next((one.cause for one in self.troubles if one.blocking), None)
