"""How everything stands, as short tables for a ticket.

Floor 3, pure. What there is none of has no table; of many the first ones are shown, and how many more there are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from pgops.ops.observe.outgrow import reached
from pgops.ops.observe.snapshot import (
    CachePart,
    DocumentsPart,
    KvPart,
    LimitsPart,
    LockBackend,
    OutboxSubscription,
    PubsubPart,
    Sessions,
    Snapshot,
    Unavailable,
    VectorIndexPart,
    items,
)
from pgops.ops.observe.snapshot_jobs import Queue, Worker
from pgops.ops.observe.snapshot_outgrow import OutgrowLine
from pgops.ops.tell import advice_server
from pgops.ops.tell.markdown import table
from pgops.ops.wording import duration, figure, size
from pgops.services.models import PgmqQueue

T = TypeVar("T")
SHOWN = 20
QUEUES = ("queue", "available", "scheduled", "running", "stuck", "dead", "oldest", "completed", "failed")
PGMQ = ("queue of pgmq", "available", "scheduled", "running", "dead", "ready for")
WORKERS = ("worker", "host", "queues", "running", "of", "heartbeat", "state")
OUTBOX = ("subscription", "lag", "lag age", "relays", "parked", "delivered")
VECTORS = ("index of vectors", "rows", "size", "valid", "recall")
DOCUMENTS = ("collection", "documents", "size", "indexes", "invalid", "unused")

OUTGROW = ("line of the outgrow ledger", "today", "does until", "share", "reached")


def state(snapshot: Snapshot) -> Iterator[str]:
    """The sections, the parts that are one line each together in the first."""
    facts = [(name, said) for name, said in _facts(snapshot) if said]
    yield "## State" + (f"\n\n{table(('part', 'now'), facts)}" if facts else "")
    yield from _table(QUEUES, items(snapshot.queues), _queue)
    yield from _table(PGMQ, items(snapshot.pgmq), _pgmq)
    yield from _table(WORKERS, items(snapshot.workers), _worker)
    yield from _table(OUTBOX, items(snapshot.outbox), _subscription)
    yield from _table(VECTORS, items(snapshot.vectors), _vector)
    yield from _table(DOCUMENTS, items(snapshot.documents), _documents)
    if not isinstance(snapshot.outgrow, Unavailable):
        measured = [one for one in snapshot.outgrow.lines if one.value is not None]
        yield from _table(OUTGROW, measured, _line)
    yield from _table(advice_server.HOLDERS, items(snapshot.xmin_holders), advice_server.holder)
    yield from _table(advice_server.TABLES, items(snapshot.tables), advice_server.table)
    yield from _table(advice_server.INDEXES, items(snapshot.indexes), advice_server.index)


def _facts(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    yield "sessions", _told(snapshot.sessions, _sessions)
    yield "locks", _told(snapshot.locks, _locks)
    yield "pub/sub", _told(snapshot.pubsub, _pubsub)
    yield "cache", _told(snapshot.cache, _cache)
    yield "limits", _told(snapshot.limits, _limits)
    yield "key-value", _told(snapshot.kv, _kv)
    yield "log", _told(snapshot.wal, advice_server.wal)
    yield "replicas", _told(snapshot.replication, advice_server.replication)
    yield "ids", _told(snapshot.wraparound, advice_server.wraparound)


def _told(part: T | Unavailable, words: Callable[[T], str]) -> str:
    return "" if isinstance(part, Unavailable) else words(part)


def _table(heads: Sequence[str], rows: Sequence[T], cells: Callable[[T], Sequence[str]]) -> Iterator[str]:
    if rows:
        more = f"\n\nAnd {len(rows) - SHOWN:,} more." if len(rows) > SHOWN else ""
        yield table(heads, [cells(one) for one in rows[:SHOWN]]) + more


def _sessions(part: Sessions) -> str:
    return (
        f"{part.total} of {part.max}: {part.active} active, {part.idle} idle, {part.idle_in_transaction} idle in "
        f"transaction; oldest transaction {_age(part.oldest_transaction_s)}"
    )


def _locks(part: tuple[LockBackend, ...]) -> str:
    waiting = [one for one in part if one.blocked_by]
    longest_s = max((one.waited_s or 0.0 for one in waiting), default=0.0)
    return f"{len(waiting)} waiting, the longest for {duration(longest_s)}" if waiting else "nobody waits"


def _pubsub(part: PubsubPart) -> str:
    seen = _number(part.listeners, part.exact, "listeners")
    return f"{seen} listeners, the notification queue is {part.queue_usage:.1%} full"


def _cache(part: CachePart) -> str:
    entries = _number(part.entries, part.exact, "entries")
    hits = "" if part.hit_ratio is None else f", hit ratio {part.hit_ratio:.1%}"
    return f"{entries} entries, {size(part.bytes)}{hits}, {part.expired_backlog:,} expired to purge"


def _limits(part: LimitsPart) -> str:
    return f"{_number(part.keys, part.exact, 'keys')} keys, {size(part.bytes)}"


def _kv(part: KvPart) -> str:
    return (
        f"{_number(part.keys, part.exact, 'keys')} keys, {size(part.bytes)}; ephemeral "
        f"{_number(part.ephemeral_keys, part.exact, 'ephemeral_keys')} keys, {size(part.ephemeral_bytes)}"
    )


def _queue(one: Queue) -> Sequence[str]:
    name = f"{one.name} (paused)" if one.paused else one.name
    states = [_number(getattr(one, state), one.exact, state) for state in QUEUES[1:6]]
    return (name, *states, _age(one.oldest_age_s), f"{one.completed_total:,}", f"{one.failed_total:,}")


def _pgmq(one: PgmqQueue) -> Sequence[str]:
    states = [_number(getattr(one, state), one.exact, state) for state in PGMQ[1:5]]
    return (one.name, *states, _age(one.ready_age_s))


def _worker(one: Worker) -> Sequence[str]:
    state = "stopping" if one.stopping else "alive" if one.alive else "gone"
    queues, beat = ", ".join(one.queues), duration(one.heartbeat_age_s)
    return (str(one.id), one.host, queues, str(one.running), str(one.concurrency), beat, state)


def _subscription(one: OutboxSubscription) -> Sequence[str]:
    name = f"{one.name} (paused)" if one.paused else one.name
    lag, relays = _number(one.lag_events, one.exact, "lag_events"), _number(one.relays, one.exact, "relays")
    parked = _number(one.parked, one.exact, "parked")
    return (name, lag, _age(one.lag_s), relays, parked, f"{one.relayed_total:,}")


def _vector(one: VectorIndexPart) -> Sequence[str]:
    valid = "" if one.valid is None else "yes" if one.valid else "no"
    recall = "-" if one.recall is None else f"{one.recall:.1%}"
    return (one.index or one.table, _number(one.rows, one.exact, "rows"), size(one.bytes), valid, recall)


def _documents(one: DocumentsPart) -> Sequence[str]:
    counts = (str(one.index_count), str(one.invalid_indexes), str(one.unused_indexes))
    return (one.name, _number(one.documents, one.exact, "documents"), size(one.bytes), *counts)


def _line(one: OutgrowLine) -> Sequence[str]:
    share = "-" if one.share is None else f"{one.share:.0%}"
    return (one.name, figure(one.value or 0.0, one.unit), figure(one.line, one.unit), share, reached(one))


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _number(number: int | None, exact: Mapping[str, bool], name: str) -> str:
    """The number; "about" where it is capped or estimated."""
    return "-" if number is None else f"{number:,}" if exact.get(name, True) else f"about {number:,}"
