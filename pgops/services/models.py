"""The values that go into the services and come out of them: frozen, slotted, without behaviour.

Times are aware datetimes of the database's clock, durations seconds, sizes bytes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

JsonValue = Any
JobState = Literal["available", "scheduled", "running", "dead"]


# --- queue ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """One claimed job. `attempt` counts from 1 and includes this one; `token` is its batch's."""

    queue: str
    id: int
    kind: str
    attempt: int
    max_attempts: int
    payload_json: str
    created_at: datetime
    token: int

    @property
    def payload(self) -> JsonValue:
        """The decoded payload."""
        return json.loads(self.payload_json)


@dataclass(frozen=True, slots=True)
class Claim:
    """Jobs claimed in one batch under one token, in the order in which they should run. `floors` is the highest
    seq claimed, by priority 1 to 4 (0: none)."""

    queue: str
    token: int
    jobs: tuple[Job, ...]
    floors: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as it stands in a list or a detail; `errors` holds one entry an attempt that failed."""

    queue: str
    id: int
    state: JobState
    kind: str
    priority: int
    attempt: int
    max_attempts: int | None
    payload: JsonValue
    errors: tuple[dict[str, JsonValue], ...]
    created_at: datetime
    run_at: datetime | None
    started_at: datetime | None
    lease_until: datetime | None
    owner: int | None


@dataclass(frozen=True, slots=True)
class FailedJob:
    """How one attempt of a claimed job ended badly. `retry_in_s` None leaves it to the queue's back-off."""

    id: int
    error: str
    traceback: str = ""
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """What became of a batch of failures: ids that will be tried again, ids that are dead, stale leases."""

    retried: tuple[int, ...]
    dead: tuple[int, ...]
    stale: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How a queue treats its jobs."""

    queue: str
    paused: bool
    max_attempts: int
    lease_s: float
    max_runtime_s: float
    history: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of the queue: the last seq drawn, and the bounds of the transactions that were running."""

    seq: int
    xmax: int
    xmin: int


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker says of itself with each heartbeat; `floors` is what it has claimed up to, by queue."""

    host: str
    pid: int
    queues: tuple[str, ...]
    concurrency: int
    lease_s: float
    running: int
    stopping: bool
    floors: Mapping[str, tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class Reaped:
    """Jobs taken back from leases that had run out."""

    requeued: int
    dead: int


# --- cache ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Purged:
    """What one purge did: rows deleted, transactions, and whether it came to the end of the table."""

    rows: int
    batches: int
    done: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """A count that stops at a cap: not `exact` means "at least"."""

    count: int
    exact: bool


@dataclass(frozen=True, slots=True)
class CacheStats:
    """The cache since `since`. `state` "emptied": a crash or fail-over emptied it and nobody has used it since;
    `emptied_at` is when the last such loss was noticed. `entries` includes expired rows; beyond 10,000 it is an
    estimate. `hit_ratio` is None before the first read."""

    hits: int
    misses: int
    hit_ratio: float | None
    sets: int
    expired: int
    evicted: int
    since: datetime | None
    entries: int
    entries_exact: bool
    bytes: int
    state: Literal["never filled", "filled", "emptied"]
    filled_at: datetime | None
    emptied_at: datetime | None


# --- vectors -------------------------------------------------------------------------------------------------

Metric = Literal["cosine", "l2", "ip"]


@dataclass(frozen=True, slots=True)
class Collection:
    """A vector collection: table pgops.vec_<name>. `rows` is exact up to 10,000 and estimated beyond; `lists` is
    what its index is set to, None without one. Recall is what was last measured."""

    name: str
    dimensions: int
    metric: Metric
    rows: int
    rows_exact: bool
    lists: int | None
    recall: float | None
    recall_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class VectorRow:
    """A row to add. `metadata` is any JSON object; without an `id` the collection's sequence gives one."""

    content: str
    embedding: Sequence[float]
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A row that a search found. `distance` as pgvector has it (smaller is nearer), `score` larger is nearer:
    cosine similarity 1 - d; inner product -d; for l2 1 / (1 + d)."""

    id: int
    content: str
    metadata: JsonValue
    distance: float
    score: float


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """A collection and its index; without one `index` and `method` are None. `lists_set` is what the next build
    uses, `lists_built` what the last one used (None: pageinspect or the right to it is missing). `probes` is
    what a search uses by default. `searches_total` counts scans of the index as PostgreSQL's statistics do."""

    name: str
    table: str
    index: str | None
    method: str | None
    rows: int
    rows_exact: bool
    lists_built: int | None
    lists_set: int | None
    probes: int | None
    bytes: int | None
    valid: bool | None
    searches_total: int | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    recall_at: datetime | None


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """A rebuilt index. `lists_before` as built where that can be read, else as set."""

    index: str
    lists_before: int | None
    lists_after: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Recall:
    """How many of the true `k` nearest the index found over `queries` rows of the collection taken as queries,
    with the 95 % Wilson interval."""

    recall: float
    low: float
    high: float
    k: int
    queries: int
    probes: int
    measured_at: datetime


# --- events --------------------------------------------------------------------------------------------------


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
