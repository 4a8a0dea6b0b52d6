"""What is asked for each part of a Snapshot, and how its rows become values.

Floor 3, under collector.py. A function a part: (session, look) -> value. It may fail; the collector makes an
`Unavailable` of that. `SchemaError`s and missing privileges need no special care here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter

from psycopg import sql

from pgops.database import AsyncBound, Params, Query, Row
from pgops.ops.observe.snapshot import (
    CachePart,
    DocumentsPart,
    KvPart,
    LimitsPart,
    OutboxSubscription,
    PubsubPart,
    ServerPart,
    Sessions,
)
from pgops.ops.observe.snapshot_jobs import Queue, StuckJob, Worker
from pgops.queries import load
from pgops.services.cache_upkeep import NAMESPACES, cache_namespace
from pgops.services.cache_upkeep import Q as CACHE
from pgops.services.models import CacheNamespace, ChannelListener, LimitStats, QueueHolder
from pgops.services.probe_rules import USUAL_PAGES

Q = load("pgops.ops.observe", "catalog.sql")
PUBSUB = load("pgops.services", "pubsub.sql")
LIMITS = load("pgops.services", "limits.sql")

STUCK_AFTER_S = 60.0
STUCK_CAP = 1_000
STUCK_SHOWN = 100
LAG_CAP = 1_000
PAYLOAD_CAP = 1_000
LISTENERS_CAP = 200
LIMITS_SHOWN = 50
EXACT_PAGES = 256
SAMPLE_PAGES = 64


@dataclass(frozen=True, slots=True)
class Look:
    """What the first statement of an observation tells: the moment, and what this role (quoted) may see."""

    taken_at: datetime
    role: str
    has_schema: bool
    may_use_schema: bool
    may_read_stats: bool
    superuser: bool
    version: int
    round_trip_s: float


class Session:
    """The observing transaction; it counts its statements."""

    def __init__(self, tx: AsyncBound) -> None:
        self._tx = tx
        self.address = tx.address
        self.statements = 0

    async def one(self, query: Query, params: Params = None) -> Row:
        """The one row of a statement that always has one."""
        self.statements += 1
        row = await self._tx.one(query, params)
        assert row is not None
        return row

    async def all(self, query: Query, params: Params = None) -> list[Row]:
        self.statements += 1
        return await self._tx.all(query, params)

    async def execute(self, query: Query) -> None:
        self.statements += 1
        await self._tx.execute(query)


@dataclass(frozen=True, slots=True)
class StuckSeen:
    """Some stuck jobs of each queue, and how many there are by queue, counted to STUCK_CAP; `cut` where that was
    reached by all of them together."""

    jobs: tuple[StuckJob, ...]
    totals: Mapping[str, int]
    cut: bool


async def begin(session: Session, *, statement_ms: int, lock_ms: int) -> Look:
    """Make the transaction read only and bounded, and look around."""
    row = await session.one(Q["begin_look"], {"statement_ms": statement_ms, "lock_ms": lock_ms})
    began = perf_counter()
    await session.execute(Q["savepoint"])
    taken_at, role, has_schema, may_use_schema, may_read_stats, superuser, version = row[8:]
    round_trip_s = perf_counter() - began
    return Look(taken_at, role, has_schema, may_use_schema, may_read_stats, superuser, version, round_trip_s)


async def go_on(session: Session) -> None:
    """After a failed part."""
    await session.execute(Q["rollback"])


async def server(session: Session, look: Look) -> ServerPart:
    row = await session.one(Q["server"])
    return replace(ServerPart(*row), address=session.address)


async def sessions(session: Session, look: Look) -> Sessions:
    return Sessions(*await session.one(Q["sessions"]))


async def queues(session: Session, look: Look) -> tuple[Queue, ...]:
    """Queues by name; `with_stuck` adds what of them is stuck."""
    return tuple(_queue(row) for row in await session.all(Q["queues"]))


async def stuck(session: Session, queues: Sequence[Queue]) -> StuckSeen:
    """What is stuck. A queue whose head is old is looked at for whether nobody claims from it."""
    waiting = [one.name for one in queues if not one.paused and (one.oldest_age_s or 0) > STUCK_AFTER_S]
    running = any(one.running > 0 for one in queues)
    if not waiting and not running:
        return StuckSeen((), {}, False)
    params = {
        "waiting": waiting, "running": running, "cap": STUCK_CAP, "wait_s": STUCK_AFTER_S, "shown": STUCK_SHOWN,
    }  # fmt: skip
    rows = await session.all(Q["stuck"], params)
    totals = {row[0]: row[6] for row in rows}
    return StuckSeen(tuple(StuckJob(*row[:6]) for row in rows), totals, cut=bool(rows) and rows[0][7])


def with_stuck(queue: Queue, seen: StuckSeen | None) -> Queue:
    """The queue with its number of stuck jobs; None where that could not be had."""
    if seen is None:
        return replace(queue, exact={"stuck": False})
    total = seen.totals.get(queue.name, 0)
    exact = total <= STUCK_CAP and not seen.cut
    return replace(queue, stuck=min(total, STUCK_CAP), exact={} if exact else {"stuck": False})


def _queue(row: Row) -> Queue:
    name, paused, available, scheduled, running, dead, enqueued, completed, failed, age_s, waiting, limited = row
    return Queue(
        name=name, paused=paused, available=available, scheduled=scheduled, running=running, stuck=0, dead=dead,
        oldest_age_s=None if age_s is None else max(age_s, 0.0), enqueued_total=enqueued, completed_total=completed,
        failed_total=failed, waiting=waiting, limited=limited,
    )  # fmt: skip


async def workers(session: Session, look: Look) -> tuple[Worker, ...]:
    return tuple(_worker(row) for row in await session.all(Q["workers"]))


def _worker(row: Row) -> Worker:
    id, host, pid, names, concurrency, running, silent_s, alive, stopping = row
    return Worker(id, host, pid, tuple(names), concurrency, running, max(silent_s, 0.0), alive, stopping)


async def outbox(session: Session, look: Look) -> tuple[OutboxSubscription, ...]:
    return tuple(_subscription(row) for row in await session.all(Q["outbox"], {"cap": LAG_CAP}))


def _subscription(row: Row) -> OutboxSubscription:
    name, sink, paused, relayed, relays, parked, lag, lag_s, capped, held_keys, replaying, at_home, trouble = row
    rough = {"lag_events": not capped, "parked": parked <= LAG_CAP}
    return OutboxSubscription(
        name=name, sink=sink, lag_events=lag, lag_s=lag_s if lag else 0.0, relayed_total=relayed,
        parked=min(parked, LAG_CAP), paused=paused, relays=relays, held_keys=held_keys, replaying=replaying,
        at_home=at_home is not False, trouble=trouble,
        exact={field: False for field, exact in rough.items() if not exact},
    )  # fmt: skip


async def pubsub(session: Session, look: Look) -> PubsubPart:
    """Listeners, the notification queue and, where that is not emptied, who may be to blame."""
    row = await session.one(Q["pubsub"], {"cap": PAYLOAD_CAP})
    usage, pages, payloads, oldest_s, size, pooled = row
    seen = await session.all(PUBSUB["list_listeners"], {"limit": LISTENERS_CAP + 1})
    listening = tuple(ChannelListener(*row) for row in seen[:LISTENERS_CAP])
    holders = await session.all(PUBSUB["queue_holders"]) if pages > USUAL_PAGES else ()
    all_seen = look.may_read_stats and len(seen) <= LISTENERS_CAP
    rough = {"payloads": payloads <= PAYLOAD_CAP, "listeners": all_seen, "channels": all_seen, "listening": all_seen}
    hearing = [one for one in listening if one.hears]
    return PubsubPart(
        listeners=len({one.pid for one in hearing}), channels=len({one.channel for one in hearing}),
        queue_usage=usage, payloads=min(payloads, PAYLOAD_CAP), oldest_payload_s=oldest_s, payload_bytes=size,
        listening=listening, holders=tuple(QueueHolder(*row) for row in holders), pooled=tuple(pooled),
        exact={field: False for field, exact in rough.items() if not exact},
    )  # fmt: skip


async def cache(session: Session, look: Look) -> CachePart:
    row = await session.one(Q["cache"], {"exact_pages": EXACT_PAGES, "sample_pages": SAMPLE_PAGES})
    hits, misses, buffers, entries, expired, exact, size, emptied = row
    return CachePart(
        hits=hits, misses=misses, hit_ratio=hits / (hits + misses) if hits + misses else None, window_s=None,
        buffer_hit_ratio=buffers, entries=entries, expired_backlog=min(expired, max(entries, 0)), bytes=size,
        emptied_by_crash=bool(emptied), exact={} if exact else {"entries": False, "expired_backlog": False},
    )  # fmt: skip


async def cache_namespaces(session: Session, look: Look) -> tuple[CacheNamespace, ...]:
    """The namespaces of the cache, the most read first."""
    return tuple([cache_namespace(row) for row in await session.all(CACHE["read_namespaces"], NAMESPACES)])


async def limits(session: Session, look: Look) -> LimitsPart:
    name = sql.Identifier
    smooth = await _entries(session, "limit_entries", entries=name("pgops", "rate_limits"), until=name("tat"))
    window = await _entries(session, "limit_entries", entries=name("pgops", "rate_windows"), until=name("ends_at"))
    exact = smooth[2] and window[2]
    names: list[Row] = []
    if (await session.one(LIMITS["limits_counted"]))[0]:
        names = await session.all(LIMITS["read_limits"], {"limit": LIMITS_SHOWN})
    return LimitsPart(
        keys=smooth[0] + window[0], expired_backlog=smooth[1] + window[1], bytes=smooth[3] + window[3],
        exact={} if exact else {"keys": False, "expired_backlog": False},
        decisions=names[0][4] if names else None, denied=names[0][5] if names else None,
        names=tuple(LimitStats(*row[:4]) for row in names),
    )  # fmt: skip


async def kv(session: Session, look: Look) -> KvPart:
    durable = await _entries(session, "kv_entries", store=sql.Identifier("pgops", "kv_store"))
    ephemeral = await _entries(session, "kv_entries", store=sql.Identifier("pgops", "kv_ephemeral"))
    rough = {
        "keys": durable[2], "expired_backlog": durable[2],
        "ephemeral_keys": ephemeral[2], "ephemeral_expired_backlog": ephemeral[2],
    }  # fmt: skip
    return KvPart(
        keys=durable[0], expired_backlog=durable[1], bytes=durable[3], ephemeral_keys=ephemeral[0],
        ephemeral_expired_backlog=ephemeral[1], ephemeral_bytes=ephemeral[3],
        exact={field: False for field, exact in rough.items() if not exact},
    )  # fmt: skip


async def _entries(session: Session, name: str, **names: sql.Identifier) -> tuple[int, int, bool, int]:
    """Keys, expired ones (never more), whether both are exact, and bytes."""
    statement = sql.SQL(Q[name].decode()).format(**names)
    keys, expired, exact, size = await session.one(
        statement, {"exact_pages": EXACT_PAGES, "sample_pages": SAMPLE_PAGES}
    )
    return keys, min(expired, keys), exact, size


async def documents(session: Session, look: Look) -> tuple[DocumentsPart, ...]:
    """Every document collection. How many documents there are is an estimate."""
    rows = await session.all(Q["documents"])
    return tuple(_documents(row) for row in rows)


def _documents(row: Row) -> DocumentsPart:
    name, documents, dead, size, indexes, index_size, invalid, unused, writes, updates, hot, scans = row
    return DocumentsPart(
        name=name, table=f"pgops.doc_{name}", documents=documents, dead_rows=dead, bytes=size, index_count=indexes,
        index_bytes=index_size, invalid_indexes=invalid, unused_indexes=unused, writes_total=writes,
        updates_total=updates, hot_updates_total=hot, scans_total=scans, exact={"documents": False},
    )  # fmt: skip
