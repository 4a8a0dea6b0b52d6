"""One part of an observation: how often it is taken, what it cost, and what forbids it.

Floor 3, under collector.py. A part is taken as often as it must be fresh, and never so often that it takes the server
more than SHARE of the time: one that turns expensive (a forgotten transaction keeps its dead rows) is taken less
often, and costs no more than before. A part that fails is `Unavailable`; only a lost connection is raised.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from time import monotonic, perf_counter
from typing import Generic, TypeVar

from pgops.errors import PgopsError, RefusedError, UnreachableError
from pgops.ops.observe.parts import Look, Session, go_on
from pgops.ops.observe.snapshot import Unavailable

T = TypeVar("T")

SHARE = 0.0025
LONGEST_S = 60.0
RATE_OVER_S = 0.5


def free(look: Look) -> Unavailable | None:
    """Nothing forbids it."""
    return None


class Part(Generic[T]):
    """One part: how it is taken and how often, the last one, and former ones that rates are told from: `base`, and
    `next`, which becomes the base once it is old enough, so that two looks in a row tell no nonsense."""

    def __init__(
        self,
        name: str,
        take: Callable[[Session, Look], Awaitable[T]],
        forbidden: Callable[[Look], Unavailable | None] = free,
        rate: Callable[[T, T, float], T] | None = None,
        every_s: float = 0.0,
        longest_s: float = LONGEST_S,
    ) -> None:
        self.name = name
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

    def remember(self, value: T | Unavailable | None, at: datetime) -> None:
        """A former observation, to tell rates from; it is not shown again."""
        if value is not None and not isinstance(value, Unavailable):
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
        spent_ms[self.name] = round(wall_s * 1000, 3)
        self._value, self._due_at = value, started + rest_s(usual_s, self._every_s, self._longest_s)
        return value

    async def _attempt(self, session: Session, look: Look) -> T | Unavailable:
        try:
            value = await self._take(session, look)
        except UnreachableError:
            raise
        except PgopsError as error:
            await go_on(session)
            return _unavailable(error, look)
        return value if self._rate is None else self._rated(value, self._rate, look.taken_at)

    def _rated(self, value: T, rate: Callable[[T, T, float], T], now: datetime) -> T:
        if self._next is None or (now - self._next[1]).total_seconds() >= RATE_OVER_S:
            self._base, self._next = self._next, (value, now)
        before = self._base or self._next
        return rate(value, before[0], (now - before[1]).total_seconds())


def rest_s(spent_s: float, every_s: float, longest_s: float = LONGEST_S) -> float:
    """How long a part that takes `spent_s` is not taken again: `every_s`, or so long that it takes no more than SHARE
    of the time, within `longest_s`. Up to 2.5 ms it may be taken each second."""
    stretched = min(spent_s / SHARE, longest_s)
    return max(every_s, stretched if stretched > 1.0 else 0.0)


def needs_stats(look: Look) -> Unavailable | None:
    """What other roles' sessions do is read."""
    if look.may_read_stats:
        return None
    return Unavailable("the sessions of other roles are hidden from this role", f"grant pg_monitor to {look.role}")


def needs_schema(look: Look) -> Unavailable | None:
    """It stands in tables of pgops."""
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
