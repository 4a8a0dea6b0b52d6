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
    """One event of the log. `id` is its place in the log, `event_id` its name for consumers that sort out repeats;
    `replayed`: this subscription has delivered it before, and was set back."""

    part: int
    id: int
    event_id: UUID
    topic: str
    key: str | None
    type: str
    payload_json: str
    headers_json: str
    created_at: datetime
    replayed: bool = False

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
    """Who reads which topics and types (None: all) into which sink. An event that is refused `attempts` times is
    parked; with `poison` "park" the later events of its key wait. `parked` counts events, `held_keys` the keys held by
    hand; `replaying`: it goes through events again. `relays` are the owners of living leases."""

    name: str
    topics: tuple[str, ...] | None
    types: tuple[str, ...] | None
    sink: str
    poison: str
    attempts: int
    paused: bool
    created_at: datetime
    relayed: int
    advanced_at: datetime
    parked: int
    held_keys: int
    replaying: bool
    relays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartState:
    """One of a subscription's 64 parts. `owner`: the relay whose lease lives; `is_open`: a window of events is under
    way; `parked`: events of it that wait aside."""

    part: int
    owner: str | None
    lease_until: datetime | None
    is_open: bool
    replaying: bool
    relayed: int
    advanced_at: datetime
    parked: int


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A key that is held back by hand, and how many of its events wait by now."""

    part: int
    key: str
    reason: str
    parked_at: datetime
    waiting: int


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
    """The parts a relay holds now, and those it handed back to leave others their share; and how the subscription
    treats what its sink refuses."""

    parts: tuple[int, ...]
    returned: tuple[int, ...]
    attempts: int
    poison: str


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


@dataclass(frozen=True, slots=True)
class Retention:
    """How long events are kept, in seconds; from `force_after_s` on also those that somebody has not passed."""

    keep_s: float
    force_after_s: float | None
    inbox_keep_s: float


@dataclass(frozen=True, slots=True)
class Expiring:
    """A slot of the ring whose events are old enough to go. `behind`: who has not passed them all, and how many events
    that are, counted up to 100,000. `mixed`: of several days. `forced`: they go all the same."""

    slot: int
    oldest: datetime
    newest: datetime
    newest_xid: str
    mixed: bool
    forced: bool
    behind: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class PurgedEvents:
    """What a purge has let go: whole slots, single rows. `held_by`: who keeps old events from going; `lost`: who lost
    how many by force. Not `done`: its time was over before that."""

    slots: int
    rows: int
    held_by: tuple[str, ...]
    lost: tuple[tuple[str, int], ...]
    done: bool


@dataclass(frozen=True, slots=True)
class Rebased:
    """How many events have new transaction ids, none where the log was at home; and what each subscription has still to
    get, counted up to 100,000."""

    events: int
    backlog: tuple[tuple[str, int], ...]
