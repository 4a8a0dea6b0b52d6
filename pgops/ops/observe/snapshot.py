"""What is known of one database at one moment: frozen values, and nothing that computes.

Floor 3. `pgops status --json` prints exactly this; keys only ever get added. Durations are seconds, sizes bytes,
times aware UTC datetimes; None is unknown. A part that cannot be had is `Unavailable`, with the remedy. `exact`
names the fields that are capped or estimated: {"rows": False}.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar

from pgops.ops.observe.snapshot_jobs import Queue, StuckJob, Worker
from pgops.ops.observe.snapshot_outgrow import NO_LEDGER, OutgrowPart
from pgops.ops.observe.snapshot_server import (
    IndexTrouble,
    ReplicationPart,
    TablePart,
    WalPart,
    WraparoundPart,
    XminHolder,
)
from pgops.services.models import CacheNamespace, ChannelListener, FailureGroup, LimitStats, PgmqQueue, QueueHolder

T = TypeVar("T")
Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A part that a privilege, a version or a missing extension forbids."""

    reason: str
    remedy: str


NOT_TAKEN = Unavailable("not looked at", "look again")


@dataclass(frozen=True, slots=True)
class ServerPart:
    version: str
    version_num: int
    database: str
    database_bytes: int | None
    uptime_s: float | None
    in_recovery: bool
    pgvector: str | None
    started_at: datetime | None = None
    address: str | None = None  # where the connection leads: of several hosts the one that answered


@dataclass(frozen=True, slots=True)
class Sessions:
    """Client connections of the whole server by state, against the limit."""

    total: int
    active: int
    idle: int
    idle_in_transaction: int
    max: int
    oldest_transaction_s: float | None
    oldest_idle_in_transaction_s: float | None = None
    oldest_idle_in_transaction_pid: int | None = None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One client connection. `client` is its address, or "local"; ages are since the transaction, the (last)
    statement and the state began; `query` is the statement's first line that is no comment, None where it cannot be
    read here."""

    pid: int
    started_at: datetime | None
    user: str | None
    database: str | None
    application: str
    client: str
    state: str | None
    transaction_s: float | None
    query_s: float | None
    state_s: float | None
    wait: str | None
    query: str | None


@dataclass(frozen=True, slots=True)
class LockBackend:
    """One backend of a blocking tree: it waits for a lock, or is waited for, or both. `blocked_by` is empty for the
    root of a tree, `root` None in a ring (a deadlock that is about to be broken). The pid 0 stands for prepared
    transactions. `lock_type`, `lock_mode` and `relation` are what it waits for."""

    pid: int
    started_at: datetime | None
    user: str | None
    database: str | None
    application: str | None
    backend_type: str | None
    state: str | None
    transaction_s: float | None
    wait: str | None
    waited_s: float | None
    blocked_by: tuple[int, ...]
    root: int | None
    lock_type: str | None
    lock_mode: str | None
    relation: str | None
    query: str | None


@dataclass(frozen=True, slots=True)
class OutboxSubscription:
    """`relays` is how many live; `lag_s` the age of the oldest event that is not delivered; `held_keys` are the
    keys held back by hand; `replaying`: it goes through events again; `at_home`: the log's transaction ids
    are this cluster's; `trouble`: why a relay that lives delivers nothing."""

    name: str
    sink: str
    lag_events: int
    lag_s: float | None
    relayed_total: int
    parked: int
    relayed_per_s: float | None = None
    paused: bool = False
    relays: int | None = None
    held_keys: int = 0
    replaying: bool = False
    at_home: bool = True
    trouble: str | None = None
    exact: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PubsubPart:
    """`listeners` are sessions of this database that are seen to wait on `channels` different ones; this role may not
    see all. `listening` is who they are, a channel and session each, and also those that sit in a transaction and hear
    nothing. `queue_usage` is the share of PostgreSQL's notification queue that is filled, for the whole server: full,
    it fails every commit that notifies; where it is not emptied `holders` are in a transaction. `payloads` were sent by
    reference. `pooled` are channels that the pooler's session of this look listens to, for a client that hears none."""

    listeners: int
    channels: int
    queue_usage: float
    payloads: int
    oldest_payload_s: float | None
    payload_bytes: int
    exact: Mapping[str, bool] = field(default_factory=dict)
    listening: tuple[ChannelListener, ...] = ()
    holders: tuple[QueueHolder, ...] = ()
    pooled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CachePart:
    """`hits` and `misses` are the application's, counted by pgops over `window_s` (None: since the beginning);
    `buffer_hit_ratio` is PostgreSQL's own, for the pages of this database: two different things. `expired_backlog` is
    what waits for the purge: expired, or invalidated with its namespace."""

    hits: int
    misses: int
    hit_ratio: float | None
    window_s: float | None
    buffer_hit_ratio: float | None
    entries: int
    expired_backlog: int
    bytes: int
    hits_per_s: float | None = None
    misses_per_s: float | None = None
    emptied_by_crash: bool = False
    exact: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LimitsPart:
    """Rate limits of both algorithms; `expired_backlog` are keys that say nothing any more and wait for a purge.
    Decisions are those of all processes, None where they are not counted; `names` the most denied limits."""

    keys: int
    expired_backlog: int
    bytes: int
    exact: Mapping[str, bool] = field(default_factory=dict)
    decisions: int | None = None
    denied: int | None = None
    decisions_per_s: float | None = None
    denied_per_s: float | None = None
    names: tuple[LimitStats, ...] = ()


@dataclass(frozen=True, slots=True)
class KvPart:
    """The durable key-value store and the ephemeral one. Keys include those that have expired and wait for a purge."""

    keys: int
    expired_backlog: int
    bytes: int
    ephemeral_keys: int
    ephemeral_expired_backlog: int
    ephemeral_bytes: int
    exact: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VectorIndexPart:
    """One ivfflat or hnsw index of the database, or a collection of pgops that has none: `index`, `method` and `valid`
    are None then. `collection` is set where it is a collection's own. `type` is vector, halfvec, sparsevec or bit, and
    `metric` what near means to it. `lists_built` is what the index holds, `lists_set` what its options say and a
    rebuild would build. Recall is the last one measured, never measured here, and the best one before."""

    table: str
    index: str | None
    method: str | None
    rows: int
    lists_built: int | None
    lists_set: int | None
    probes: int | None
    bytes: int
    valid: bool | None
    searches_total: int
    searches_per_s: float | None = None
    recall: float | None = None
    recall_low: float | None = None
    recall_high: float | None = None
    recall_at: datetime | None = None
    recall_before: float | None = None
    recall_before_at: datetime | None = None
    collection: str | None = None
    building: bool = False
    type: str | None = None
    dimensions: int | None = None
    metric: str | None = None
    embedder: str | None = None
    exact: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DocumentsPart:
    """One document collection. `bytes` is the table with what it keeps out of line; indexes count the primary key.
    `hot_updates_total` of `updates_total` touched no index; writes and scans are since the statistics were reset."""

    name: str
    table: str
    documents: int
    dead_rows: int
    bytes: int
    index_count: int
    index_bytes: int
    invalid_indexes: int
    unused_indexes: int
    writes_total: int
    updates_total: int
    hot_updates_total: int
    scans_total: int
    writes_per_s: float | None = None
    exact: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """What needs a human: evidence in numbers, why it matters, what to do. `action` names an Action that cures
    it, with its target, where there is one; `command` is the same as a command line."""

    code: str
    severity: Severity
    title: str
    evidence: str
    why: str
    remedy: str
    action: str | None = None
    target: str | None = None
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What this observation cost: wall time of all its statements, their number, and the wall time of each part that
    was taken anew."""

    duration_ms: float
    statements: int
    parts_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One observation. A tuple part is empty where there is nothing of its kind."""

    taken_at: datetime
    target: str
    server: ServerPart | Unavailable
    sessions: Sessions | Unavailable
    queues: tuple[Queue, ...] | Unavailable
    stuck_jobs: tuple[StuckJob, ...] | Unavailable
    workers: tuple[Worker, ...] | Unavailable
    outbox: tuple[OutboxSubscription, ...] | Unavailable
    pubsub: PubsubPart | Unavailable
    cache: CachePart | Unavailable
    limits: LimitsPart | Unavailable
    kv: KvPart | Unavailable
    vectors: tuple[VectorIndexPart, ...] | Unavailable
    findings: tuple[Finding, ...]
    cost: Cost
    documents: tuple[DocumentsPart, ...] | Unavailable = ()
    locks: tuple[LockBackend, ...] | Unavailable = ()
    session_list: tuple[SessionRow, ...] | Unavailable = ()
    cache_namespaces: tuple[CacheNamespace, ...] | Unavailable = ()
    pgmq: tuple[PgmqQueue, ...] | Unavailable = ()
    failures: tuple[FailureGroup, ...] | Unavailable = ()
    xmin_holders: tuple[XminHolder, ...] | Unavailable = ()
    wal: WalPart | Unavailable = NOT_TAKEN
    replication: ReplicationPart | Unavailable = NOT_TAKEN
    tables: tuple[TablePart, ...] | Unavailable = ()
    indexes: tuple[IndexTrouble, ...] | Unavailable = ()
    wraparound: WraparoundPart | Unavailable = NOT_TAKEN
    outgrow: OutgrowPart | Unavailable = NO_LEDGER


def items(part: "tuple[T, ...] | Unavailable") -> "tuple[T, ...]":
    """The values of a part, none where it is unavailable."""
    return () if isinstance(part, Unavailable) else part
