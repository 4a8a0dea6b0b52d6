"""A snapshot as a person reads it: what needs a human first, then every part, a missing one with its remedy."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pgops.cli import report_server
from pgops.cli.output import say, talk
from pgops.cli.tables import cell, duration, size, table
from pgops.ops.judge.drain import drain_words
from pgops.ops.observe.pgmq import ABSENT
from pgops.ops.observe.snapshot import (
    CachePart,
    DocumentsPart,
    KvPart,
    LimitsPart,
    LockBackend,
    OutboxSubscription,
    PubsubPart,
    ServerPart,
    Sessions,
    Snapshot,
    Unavailable,
    VectorIndexPart,
)
from pgops.ops.observe.snapshot_jobs import Queue, Worker
from pgops.services.models import PgmqQueue

T = TypeVar("T")
QUEUE_HEADS = (
    "queue", "paused", "available", "scheduled", "running", "stuck", "dead", "oldest", "in/s", "out/s", "drains in",
    "workers needed", "completed", "failed",
)  # fmt: skip
PGMQ_HEADS = (
    "queue", "length", "available", "scheduled", "running", "dead", "ready for", "oldest", "newest", "sent", "kind",
)  # fmt: skip
_WORKER_HEADS = ("worker", "host", "pid", "queues", "running", "of", "heartbeat", "state")
_OUTBOX_HEADS = ("subscription", "sink", "lag", "lag age", "relayed", "relayed/s", "parked")
_VECTOR_HEADS = ("index", "type", "method", "rows", "lists", "probes", "size", "valid", "searches", "recall")

_DOCUMENT_HEADS = (
    "collection", "documents", "dead rows", "size", "indexes", "index size", "unused", "invalid", "writes/s", "hot"
)  # fmt: skip


def show(snapshot: Snapshot) -> None:
    """Print it on stdout; its own cost is talk."""
    if snapshot.findings:
        rows = [(one.severity, one.title, one.evidence, one.command or one.remedy) for one in snapshot.findings]
        table(("severity", "finding", "evidence", "remedy"), rows, title="Findings")
    else:
        say("Findings: none")
    _line("server", snapshot.server, _server)
    _line("sessions", snapshot.sessions, _sessions)
    _line("locks", snapshot.locks, _locks)
    _line("cache", snapshot.cache, _cache)
    _line("pubsub", snapshot.pubsub, _pubsub)
    _line("limits", snapshot.limits, _limits)
    _line("kv", snapshot.kv, _kv)
    _line("wal", snapshot.wal, report_server.wal)
    _line("replicas", snapshot.replication, report_server.replication)
    _line("ids", snapshot.wraparound, report_server.wraparound)
    _table("Queues", snapshot.queues, QUEUE_HEADS, queue_row)
    if snapshot.pgmq != ABSENT:
        _table("Queues of pgmq", snapshot.pgmq, PGMQ_HEADS, pgmq_row)
    _table("Workers", snapshot.workers, _WORKER_HEADS, _worker_row)
    _table("Outbox", snapshot.outbox, _OUTBOX_HEADS, _outbox_row)
    _table("Vector indexes", snapshot.vectors, _VECTOR_HEADS, _vector_row)
    _table("Documents", snapshot.documents, _DOCUMENT_HEADS, _documents_row)
    _of_the_server(snapshot)
    talk(f"observed in {snapshot.cost.duration_ms:.1f} ms with {snapshot.cost.statements} statements")


def _of_the_server(snapshot: Snapshot) -> None:
    known = snapshot.tables
    tables = known if isinstance(known, Unavailable) else report_server.notable(known)
    _table("Vacuum held back", snapshot.xmin_holders, report_server.HOLDER_HEADS, report_server.holder_row)
    _table("Tables", tables, report_server.TABLE_HEADS, report_server.table_row)
    _table("Indexes that only cost", snapshot.indexes, report_server.INDEX_HEADS, report_server.index_row)


def _line(name: str, part: T | Unavailable, text: Callable[[T], str]) -> None:
    said = _missing(part) if isinstance(part, Unavailable) else text(part)
    say(f"{name:<9} {said}")


def _table(
    title: str, part: tuple[T, ...] | Unavailable, heads: Sequence[str], row: Callable[[T], Sequence[object]]
) -> None:
    if isinstance(part, Unavailable):
        say(f"\n{title}: {_missing(part)}")
    elif part:
        say("")
        table(heads, [row(one) for one in part], title=title)
    else:
        say(f"\n{title}: none")


def _missing(part: Unavailable) -> str:
    return f"unavailable: {part.reason}" + (f" ({part.remedy})" if part.remedy else "")


def _server(part: ServerPart) -> str:
    recovery = ", in recovery" if part.in_recovery else ""
    vector = f", pgvector {part.pgvector}" if part.pgvector else ""
    return (
        f"PostgreSQL {part.version}{vector}, database {part.database} {size(part.database_bytes)}, "
        f"up {duration(part.uptime_s)}{recovery}"
    )


def _sessions(part: Sessions) -> str:
    return (
        f"{part.total} of {part.max}: {part.active} active, {part.idle} idle, "
        f"{part.idle_in_transaction} idle in transaction, oldest transaction {duration(part.oldest_transaction_s)}"
    )


def _locks(part: tuple[LockBackend, ...]) -> str:
    waiting = [one for one in part if one.blocked_by]
    if not waiting:
        return "nobody waits"
    longest_s = max(one.waited_s or 0.0 for one in waiting)
    return f"{len(waiting)} waiting, the longest for {duration(longest_s)}: pgops locks list"


def _cache(part: CachePart) -> str:
    about = "about " if part.exact.get("entries") is False else ""
    crash = ", emptied by a crash" if part.emptied_by_crash else ""
    return (
        f"{about}{part.entries:,} entries, {size(part.bytes)}, hit ratio {_percent(part.hit_ratio)} "
        f"({part.hits:,} hits, {part.misses:,} misses), {_capped(part.expired_backlog, part.exact, 'expired_backlog')} "
        f"expired to purge, buffer hit ratio {_percent(part.buffer_hit_ratio)}{crash}"
    )


def _pubsub(part: PubsubPart) -> str:
    seen = _capped(part.listeners, part.exact, "listeners")
    return (
        f"{seen} listeners on {_capped(part.channels, part.exact, 'channels')} channels, notify queue "
        f"{_percent(part.queue_usage)} full, {_capped(part.payloads, part.exact, 'payloads')} payloads by reference"
    )


def _limits(part: LimitsPart) -> str:
    denied = ""
    if part.denied is not None:
        now = "" if part.denied_per_s is None else f" ({part.denied_per_s:,.1f}/s now)"
        denied = f"; {part.denied:,} of {part.decisions:,} decisions denied{now}"
    return (
        f"{_capped(part.keys, part.exact, 'keys')} keys, {size(part.bytes)}, "
        f"{_capped(part.expired_backlog, part.exact, 'expired_backlog')} expired to purge{denied}"
    )


def _kv(part: KvPart) -> str:
    return (
        f"{_capped(part.keys, part.exact, 'keys')} keys, {size(part.bytes)}, "
        f"{_capped(part.expired_backlog, part.exact, 'expired_backlog')} expired to purge; ephemeral "
        f"{_capped(part.ephemeral_keys, part.exact, 'ephemeral_keys')} keys, {size(part.ephemeral_bytes)}, "
        f"{_capped(part.ephemeral_expired_backlog, part.exact, 'ephemeral_expired_backlog')} expired to purge"
    )


def queue_row(queue: Queue) -> tuple[object, ...]:
    """A queue as a line under QUEUE_HEADS."""
    return (
        queue.name, queue.paused, _capped(queue.available, queue.exact, "available"),
        _capped(queue.scheduled, queue.exact, "scheduled"), _capped(queue.running, queue.exact, "running"),
        _capped(queue.stuck, queue.exact, "stuck"), _capped(queue.dead, queue.exact, "dead"),
        duration(queue.oldest_age_s), queue.in_per_s, queue.out_per_s, drain_words(queue) or None, queue.workers_needed,
        queue.completed_total, queue.failed_total,
    )  # fmt: skip


def pgmq_row(one: PgmqQueue) -> tuple[object, ...]:
    """A queue of pgmq as a line under PGMQ_HEADS."""
    kind = "partitioned" if one.partitioned else "unlogged" if one.unlogged else "logged"
    return (
        one.name, _capped(one.length, one.exact, "length"), _capped(one.available, one.exact, "available"),
        _capped(one.scheduled, one.exact, "scheduled"), _capped(one.running, one.exact, "running"),
        _capped(one.dead, one.exact, "dead"), duration(one.ready_age_s), duration(one.oldest_age_s),
        duration(one.newest_age_s), one.total, kind,
    )  # fmt: skip


def pgmq_as_queue_row(one: PgmqQueue) -> tuple[object, ...]:
    """The same as a line under QUEUE_HEADS; what pgmq does not know is a dash."""
    return (
        one.name, None, _capped(one.available, one.exact, "available"), _capped(one.scheduled, one.exact, "scheduled"),
        _capped(one.running, one.exact, "running"), None, _capped(one.dead, one.exact, "dead"),
        duration(one.ready_age_s), one.in_per_s, one.out_per_s, None, None, None, None,
    )  # fmt: skip


def _worker_row(worker: Worker) -> tuple[object, ...]:
    state = "stopping" if worker.stopping else "alive" if worker.alive else "gone"
    return (
        str(worker.id), worker.host, str(worker.pid), ", ".join(worker.queues), worker.running, worker.concurrency,
        duration(worker.heartbeat_age_s), state,
    )  # fmt: skip


def _outbox_row(one: OutboxSubscription) -> tuple[object, ...]:
    lag = _capped(one.lag_events, one.exact, "lag_events")
    return one.name, one.sink, lag, duration(one.lag_s), one.relayed_total, one.relayed_per_s, one.parked


def _vector_row(one: VectorIndexPart) -> tuple[object, ...]:
    lists = cell(one.lists_built) if one.lists_built == one.lists_set else f"{cell(one.lists_built)}→{one.lists_set}"
    return (
        one.index or one.table, one.type, one.method, _capped(one.rows, one.exact, "rows"), lists, one.probes,
        size(one.bytes), one.valid, one.searches_total, _percent(one.recall),
    )  # fmt: skip


def _documents_row(one: DocumentsPart) -> tuple[object, ...]:
    hot = one.hot_updates_total / one.updates_total if one.updates_total else None
    return (
        one.name, _capped(one.documents, one.exact, "documents"), one.dead_rows, size(one.bytes), one.index_count,
        size(one.index_bytes), one.unused_indexes, one.invalid_indexes, one.writes_per_s, _percent(hot),
    )  # fmt: skip


def _capped(number: int | None, exact: Mapping[str, bool], name: str) -> int | str | None:
    """The number, or "~number" where it is capped or estimated."""
    return number if number is None or exact.get(name, True) else f"~{number:,}"


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1%}"
