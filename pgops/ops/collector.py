"""One observation: one read-only transaction, few statements, each bounded in time.

Floor 3. A part that fails becomes `Unavailable` and the rest goes on; only a lost connection is raised. Each part
is taken as often as it must be fresh, and never so often that it takes the server more than SHARE of the time: one
that turns expensive (a forgotten transaction keeps its dead rows) is taken less often, and costs no more than before.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from time import monotonic, perf_counter
from typing import Generic, TypeVar

from pgops.database import AsyncPool
from pgops.errors import PgopsError, RefusedError, UnreachableError
from pgops.ops import connections, parts, pgmq, rates, vector_parts
from pgops.ops.findings import Thresholds, judge
from pgops.ops.parts import Look, Session, StuckSeen
from pgops.ops.snapshot import Cost, Snapshot, Unavailable, items
from pgops.ops.snapshot_jobs import Queue

T = TypeVar("T")

SLOW_EVERY_S = 10.0
PUBSUB_EVERY_S = 2.0
NAMESPACES_EVERY_S = 2.0
PGMQ_EVERY_S = 2.0
SHARE = 0.005
LONGEST_S = 60.0
QUEUES_LONGEST_S = 10.0
BASELINE_S = 60.0
RATE_OVER_S = 0.5
STATEMENT_MS = 2_000
LOCK_MS = 250


async def collect(db: AsyncPool, target: str = "", previous: Snapshot | None = None) -> Snapshot:
    """Observe once; rates are since `previous`. Raises UnreachableError."""
    return await Collector(db, target, previous=previous).collect()


class _Part(Generic[T]):
    """One part: how it is taken and how often, the last one, and former ones that rates are told from: `base`, and
    `next`, which becomes the base once it is old enough, so that two looks in a row tell no nonsense."""

    def __init__(
        self,
        name: str,
        take: Callable[[Session, Look], Awaitable[T]],
        forbidden: Callable[[Look], Unavailable | None],
        rate: Callable[[T, T, float], T] | None = None,
        every_s: float = 0.0,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._name = name
        self._take = take
        self._forbidden = forbidden
        self._rate = rate
        self._every_s = every_s
        self._longest_s = longest_s
        self._value: T | Unavailable | None = None
        self._due_at = 0.0
        self._last_spent_s = 0.0
        self._base: tuple[T, datetime] | None = None
        self._next: tuple[T, datetime] | None = None

    def remember(self, value: T, at: datetime) -> None:
        """A former observation, to tell rates from; it is not shown again."""
        self._next = (value, at)

    def expire(self) -> None:
        """Take it anew the next time."""
        self._due_at = 0.0

    async def look(self, session: Session, look: Look, spent_ms: dict[str, float]) -> T | Unavailable:
        """The part as it is now, or the last one where that is young enough."""
        started = monotonic()
        if self._value is not None and started < self._due_at:
            return self._value
        began, statements = perf_counter(), session.statements
        value = self._forbidden(look) or await self._attempt(session, look)
        wall_s = perf_counter() - began
        spent_s = max(wall_s - (session.statements - statements) * look.round_trip_s, 0.0)
        usual_s, self._last_spent_s = min(spent_s, self._last_spent_s), spent_s
        spent_ms[self._name] = round(wall_s * 1000, 3)
        self._value, self._due_at = value, started + rest_s(usual_s, self._every_s, self._longest_s)
        return value

    async def _attempt(self, session: Session, look: Look) -> T | Unavailable:
        try:
            value = await self._take(session, look)
        except UnreachableError:
            raise
        except PgopsError as error:
            await parts.go_on(session)
            return _unavailable(error, look)
        return value if self._rate is None else self._rated(value, self._rate, look.taken_at)

    def _rated(self, value: T, rate: Callable[[T, T, float], T], now: datetime) -> T:
        if self._next is None or (now - self._next[1]).total_seconds() >= RATE_OVER_S:
            self._base, self._next = self._next, (value, now)
        before = self._base or self._next
        return rate(value, before[0], (now - before[1]).total_seconds())


def rest_s(spent_s: float, every_s: float, longest_s: float = LONGEST_S) -> float:
    """How long a part that takes `spent_s` is not taken again: `every_s`, or so long that it takes no more than SHARE
    of the time, within `longest_s`. Up to 5 ms it may be taken each second."""
    stretched = min(spent_s / SHARE, longest_s)
    return max(every_s, stretched if stretched > 1.0 else 0.0)


class Collector:
    """Observes one database again and again; it holds the last parts, for rates and for what is taken less often."""

    def __init__(
        self,
        db: AsyncPool,
        target: str = "",
        *,
        previous: Snapshot | None = None,
        thresholds: Thresholds | None = None,
    ) -> None:
        self._db = db
        self._target = target
        self._thresholds = thresholds or Thresholds()
        self._server = _Part("server", parts.server, _nothing, every_s=SLOW_EVERY_S)
        self._sessions = _Part("sessions", parts.sessions, _needs_stats)
        self._locks = _Part("locks", connections.locks, _needs_stats)
        self._session_list = _Part("session_list", connections.session_list, _needs_stats)
        self._queues = _Part("queues", parts.queues, _needs_schema, rates.queues, longest_s=QUEUES_LONGEST_S)
        self._stuck = _Part("stuck", self._take_stuck, _needs_schema)
        self._workers = _Part("workers", parts.workers, _needs_schema)
        self._outbox = _Part("outbox", parts.outbox, _needs_schema, rates.outbox)
        self._pubsub = _Part("pubsub", parts.pubsub, _needs_schema, every_s=PUBSUB_EVERY_S)
        self._cache = _Part("cache", parts.cache, _needs_schema, rates.cache)
        self._cache_namespaces = _Part(
            "cache_namespaces", parts.cache_namespaces, _needs_schema, every_s=NAMESPACES_EVERY_S
        )
        self._limits = _Part("limits", parts.limits, _needs_schema, every_s=SLOW_EVERY_S)
        self._kv = _Part("kv", parts.kv, _needs_schema, every_s=SLOW_EVERY_S)
        self._vectors = _Part("vectors", vector_parts.vectors, _nothing, rates.vectors, every_s=SLOW_EVERY_S)
        self._documents = _Part("documents", parts.documents, _needs_schema, rates.documents, every_s=SLOW_EVERY_S)
        self._pgmq = _Part("pgmq", pgmq.queues, _nothing, pgmq.rates, every_s=PGMQ_EVERY_S)
        self._seen: tuple[Queue, ...] | Unavailable = ()
        self._baseline = self._next_baseline = previous
        if previous is not None:
            self._remember(previous)

    async def collect(self, *, fresh: bool = False) -> Snapshot:
        """Observe now; `fresh` takes every part anew. Raises UnreachableError; whatever else fails is a part that is
        Unavailable."""
        if fresh:
            self.expire()
        began = perf_counter()
        spent: dict[str, float] = {}
        async with self._db.transaction() as tx:
            session = Session(tx)
            look = await parts.begin(session, statement_ms=STATEMENT_MS, lock_ms=LOCK_MS)
            server = await self._server.look(session, look, spent)
            sessions = await self._sessions.look(session, look, spent)
            locks = await self._locks.look(session, look, spent)
            session_list = await self._session_list.look(session, look, spent)
            queues = self._seen = await self._queues.look(session, look, spent)
            stuck = queues if isinstance(queues, Unavailable) else await self._stuck.look(session, look, spent)
            workers = await self._workers.look(session, look, spent)
            outbox = await self._outbox.look(session, look, spent)
            pubsub = await self._pubsub.look(session, look, spent)
            cache = await self._cache.look(session, look, spent)
            cache_namespaces = await self._cache_namespaces.look(session, look, spent)
            limits = await self._limits.look(session, look, spent)
            kv = await self._kv.look(session, look, spent)
            vectors = await self._vectors.look(session, look, spent)
            documents = await self._documents.look(session, look, spent)
            pgmq_queues = await self._pgmq.look(session, look, spent)
        known = None if isinstance(stuck, Unavailable) else stuck
        cost = Cost(round((perf_counter() - began) * 1000, 3), session.statements, spent)
        snapshot = Snapshot(
            taken_at=look.taken_at,
            target=self._target,
            server=server,
            sessions=sessions,
            queues=queues if isinstance(queues, Unavailable) else tuple(parts.with_stuck(q, known) for q in queues),
            stuck_jobs=stuck if isinstance(stuck, Unavailable) else stuck.jobs,
            workers=workers,
            outbox=outbox,
            pubsub=pubsub,
            cache=cache,
            limits=limits,
            kv=kv,
            vectors=vectors,
            findings=(),
            cost=cost,
            documents=documents,
            locks=locks,
            session_list=session_list,
            pgmq=pgmq_queues,
            cache_namespaces=cache_namespaces,
        )
        return self._judged(snapshot)

    def expire(self) -> None:
        """Take every part anew the next time, as after an act."""
        self._server.expire()
        self._sessions.expire()
        self._locks.expire()
        self._session_list.expire()
        self._queues.expire()
        self._stuck.expire()
        self._workers.expire()
        self._outbox.expire()
        self._pubsub.expire()
        self._cache.expire()
        self._cache_namespaces.expire()
        self._limits.expire()
        self._kv.expire()
        self._vectors.expire()
        self._documents.expire()
        self._pgmq.expire()

    async def _take_stuck(self, session: Session, look: Look) -> StuckSeen:
        return await parts.stuck(session, items(self._seen))

    def _judged(self, snapshot: Snapshot) -> Snapshot:
        """With its findings; what "rises" does so against a snapshot of one to two minutes ago."""
        found = judge(snapshot, self._baseline, self._thresholds)
        newer = self._next_baseline
        if newer is None or (snapshot.taken_at - newer.taken_at).total_seconds() >= BASELINE_S:
            self._baseline, self._next_baseline = newer or snapshot, snapshot
        return replace(snapshot, findings=found)

    def _remember(self, previous: Snapshot) -> None:
        at = previous.taken_at
        if not isinstance(previous.queues, Unavailable):
            self._queues.remember(previous.queues, at)
        if not isinstance(previous.outbox, Unavailable):
            self._outbox.remember(previous.outbox, at)
        if not isinstance(previous.cache, Unavailable):
            self._cache.remember(previous.cache, at)
        if not isinstance(previous.vectors, Unavailable):
            self._vectors.remember(previous.vectors, at)
        if not isinstance(previous.documents, Unavailable):
            self._documents.remember(previous.documents, at)
        self._pgmq.remember(previous.pgmq, at)


def _nothing(look: Look) -> Unavailable | None:
    return None


def _needs_stats(look: Look) -> Unavailable | None:
    if look.may_read_stats:
        return None
    return Unavailable("the sessions of other roles are hidden from this role", f"grant pg_monitor to {look.role}")


def _needs_schema(look: Look) -> Unavailable | None:
    if not look.has_schema:
        return Unavailable("the database has no pgops schema", "run: pgops migrate")
    if not look.may_use_schema:
        return Unavailable(f"role {look.role} may not use the schema pgops", _grants(look))
    return None


def _unavailable(error: PgopsError, look: Look) -> Unavailable:
    state = getattr(error.__cause__, "sqlstate", None) or ""
    remedy = _grants(look) if isinstance(error, RefusedError) else _REMEDIES.get(state) or error.hint
    return Unavailable(str(error), remedy or "see the server's log")


_REMEDIES = {
    "55P03": "somebody holds a lock on it: look at sessions and locks; it comes back when the lock is gone",
    "0A000": "a standby has no unlogged tables: look at the primary",
}


def _grants(look: Look) -> str:
    return f"grant usage on schema pgops to {look.role}; grant select on all tables in schema pgops to {look.role}"
