"""One observation: one read-only transaction, few statements, each bounded in time.

Floor 3. A part that fails becomes `Unavailable` and the rest goes on; only a lost connection is raised. What parts
there are stands in `_parts`, each under the name of its field in Snapshot; how often each is taken is part.py's.
"""

from dataclasses import replace
from time import perf_counter
from typing import Any

from pgops.database import AsyncPool
from pgops.ops.judge.drain import Drain
from pgops.ops.judge.findings import Thresholds, judge
from pgops.ops.observe import (
    connections,
    failure_parts,
    job_chain,
    outgrow,
    parts,
    pgmq,
    rates,
    server_parts,
    vector_parts,
)
from pgops.ops.observe.part import LONGEST_S, Part, needs_schema, needs_stats
from pgops.ops.observe.parts import Look, Session, StuckSeen
from pgops.ops.observe.snapshot import NOT_TAKEN, Cost, Snapshot, Unavailable, items
from pgops.ops.observe.snapshot_outgrow import OutgrowPart
from pgops.services.models import FailureGroup

SLOW_EVERY_S = 10.0
STUCK_EVERY_S, STUCK_LONGEST_S = 30.0, 300.0  # it reads what runs whole, with what is dead there
QUITE_EVERY_S = 2.0
QUEUES_LONGEST_S = 10.0
BASELINE_S = 60.0
STATEMENT_MS = 2_000
LOCK_MS = 250


async def collect(
    db: AsyncPool, target: str = "", previous: Snapshot | None = None, thresholds: Thresholds | None = None
) -> Snapshot:
    """Observe once; rates are since `previous`. Raises UnreachableError."""
    return await Collector(db, target, previous=previous, thresholds=thresholds).collect()


class Collector:
    """Observes one database again and again; it holds the last parts, for rates and for what is taken less often."""

    def __init__(
        self,
        db: AsyncPool,
        target: str = "",
        *,
        previous: Snapshot | None = None,
        thresholds: Thresholds | None = None,
        within_s: float | None = None,
    ) -> None:
        """Of a look that lasts longer than `within_s`, as over a long wire, the parts that are left are told as they
        were, and come first the next time."""
        self._db = db
        self._target = target
        self._within_s = within_s
        self._late: list[Part[Any]] = []
        self._thresholds = thresholds or Thresholds()
        self._parts = self._all_parts()
        self._drain = Drain()
        self._seen: dict[str, Any] = {}
        self._baseline = self._next_baseline = previous
        if previous is not None:
            for part in self._parts:
                part.remember(getattr(previous, part.name, None), previous.taken_at)
            self._drain.remember(previous.taken_at, items(previous.queues), items(previous.workers))

    def _all_parts(self) -> tuple[Part[Any], ...]:
        """In the order they are taken, named as their fields in Snapshot; only what is `stuck` goes into two."""
        return (
            Part("server", parts.server, every_s=SLOW_EVERY_S),
            Part("sessions", parts.sessions, needs_stats),
            Part("locks", connections.locks, needs_stats),
            Part("session_list", connections.session_list, needs_stats),
            Part("queues", parts.queues, needs_schema, rates.queues, longest_s=QUEUES_LONGEST_S),
            Part("stuck", self._take_stuck, needs_schema, every_s=STUCK_EVERY_S, longest_s=STUCK_LONGEST_S),
            Part("failures", self._take_failures, needs_schema, every_s=SLOW_EVERY_S),
            Part("workers", parts.workers, needs_schema),
            Part("outbox", parts.outbox, needs_schema, rates.outbox),
            Part("pubsub", parts.pubsub, needs_schema, every_s=QUITE_EVERY_S),
            Part("cache", parts.cache, needs_schema, rates.cache, every_s=QUITE_EVERY_S),
            Part("cache_namespaces", parts.cache_namespaces, needs_schema, every_s=QUITE_EVERY_S),
            Part("limits", parts.limits, needs_schema, rates.limits, every_s=SLOW_EVERY_S),
            Part("kv", parts.kv, needs_schema, every_s=SLOW_EVERY_S),
            Part("vectors", vector_parts.vectors, rate=rates.vectors, every_s=SLOW_EVERY_S),
            Part("documents", parts.documents, needs_schema, rates.documents, every_s=SLOW_EVERY_S),
            Part("pgmq", pgmq.queues, rate=pgmq.rates, every_s=QUITE_EVERY_S),
            *server_parts.all_parts(self._thresholds),
            Part("outgrow", self._take_outgrow, needs_schema, every_s=LONGEST_S),
        )

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
            late, self._late = self._late, []
            for part in (*late, *(one for one in self._parts if one not in late)):
                if self._within_s is not None and spent and perf_counter() - began > self._within_s:
                    self._seen.setdefault(part.name, NOT_TAKEN)
                    self._late.append(part)
                else:
                    self._seen[part.name] = await part.look(session, look, spent)
        cost = Cost(round((perf_counter() - began) * 1000, 3), session.statements, spent)
        snapshot = Snapshot(
            taken_at=look.taken_at, target=self._target, findings=(), cost=cost, **_with_stuck(self._seen)
        )
        return self._judged(self._drained(snapshot))

    def expire(self) -> None:
        """Take every part anew the next time, as after an act."""
        for part in self._parts:
            part.expire()

    async def _take_stuck(self, session: Session, look: Look) -> StuckSeen:
        seen = await parts.stuck(session, items(self._seen["queues"]))
        return await job_chain.with_backends(session, seen, items(self._seen["locks"]))

    async def _take_failures(self, session: Session, look: Look) -> tuple[FailureGroup, ...]:
        return await failure_parts.failures(session, items(self._seen["queues"]))

    def _drained(self, snapshot: Snapshot) -> Snapshot:
        """With where each queue goes. One that was not looked at anew says what it said, with its own time."""
        if isinstance(snapshot.queues, Unavailable):
            return snapshot
        return replace(snapshot, queues=self._drain.told(snapshot.taken_at, snapshot.queues, items(snapshot.workers)))

    async def _take_outgrow(self, session: Session, look: Look) -> OutgrowPart:
        return await outgrow.take(session, look, self._thresholds)

    def _judged(self, snapshot: Snapshot) -> Snapshot:
        """With its findings; what "rises" does so against a snapshot of one to two minutes ago."""
        found = judge(snapshot, self._baseline, self._thresholds)
        newer = self._next_baseline
        if newer is None or (snapshot.taken_at - newer.taken_at).total_seconds() >= BASELINE_S:
            self._baseline, self._next_baseline = newer or snapshot, snapshot
        return replace(snapshot, findings=found)


def _with_stuck(seen: dict[str, Any]) -> dict[str, Any]:
    """The parts as fields of a Snapshot: what is stuck goes to its queues and into a list of its own."""
    fields = dict(seen)
    stuck, queues = fields.pop("stuck"), fields["queues"]
    if isinstance(queues, Unavailable):
        return {**fields, "stuck_jobs": queues}
    known = None if isinstance(stuck, Unavailable) else stuck
    fields["queues"] = tuple(parts.with_stuck(queue, known) for queue in queues)
    return {**fields, "stuck_jobs": stuck if known is None else known.jobs}
