"""The event log: events, subscriptions, cursors, what a relay holds."""

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pgops.services.models.jsonvalue import JsonValue


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event to append. Events of one `key` stay in one part; without a key any part takes it."""

    topic: str
    payload: JsonValue
    key: str | None = None
    type: str = "event"
    headers: dict[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the log. `id` is its place in the log, `event_id` its name for consumers that sort out repeats."""

    part: int
    id: int
    event_id: UUID
    topic: str
    key: str | None
    type: str
    payload_json: str
    headers_json: str
    created_at: datetime

    @property
    def payload(self) -> JsonValue:
        """The decoded payload."""
        return json.loads(self.payload_json)

    @property
    def headers(self) -> dict[str, JsonValue]:
        """The decoded headers."""
        headers: dict[str, JsonValue] = json.loads(self.headers_json)
        return headers


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who reads which topics (None: all) into which sink. `relays` are the owners of living leases."""

    name: str
    topics: tuple[str, ...] | None
    sink: str
    paused: bool
    created_at: datetime
    relayed: int
    advanced_at: datetime
    parked: int
    relays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartCursor:
    """Where one part of a batch stands. `through`: the window ends with it; otherwise the next page starts at
    `after_id`, between the bounds of the window's fresh and late rows."""

    part: int
    is_open: bool
    through: bool
    after_id: int
    fresh_from: int | None
    fresh_to: int | None
    late_from: int | None
    late_to: int | None
    events: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The next page of every part that a token leases, by part and id. `target` is the snapshot of the windows that
    open with it; `waiting` are the ids of events to be parked, because earlier ones of their key are."""

    subscription: str
    token: int
    target: str | None
    cursors: tuple[PartCursor, ...]
    events: tuple[Event, ...]
    waiting: frozenset[int]


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event to park. `attempts` 0: it only waits behind an earlier one of its key."""

    event: Event
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """The parts whose cursor moved, and the parts that another relay has taken over: nothing of theirs changed."""

    parts: tuple[int, ...]
    stale: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Leased:
    """The parts a relay holds now, and those it handed back to leave others their share."""

    parts: tuple[int, ...]
    returned: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that a sink would not take, or one that waits behind it (`attempts` 0)."""

    event: Event
    attempts: int
    error: str
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """What a subscription has still to deliver: events, and the age of the oldest in seconds. Not `exact`: at
    least so many; counting stopped at a cap, or a page is under way."""

    events: int
    seconds: float
    exact: bool
