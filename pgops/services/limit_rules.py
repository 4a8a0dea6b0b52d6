"""The arithmetic of rate limits: what a limit allows, in whole microseconds, and what a row says of it.

Below the service; no I/O. GCRA: the generic cell rate algorithm (ITU-T I.371, virtual scheduling) on a theoretical
arrival time. One unit takes `unit_us` of time, and a key may be at most `burst` units ahead of the clock; so in any t
seconds at most burst + t * limit / period_s are allowed. Rounding is up: the bound is never exceeded.
"""

import math
from dataclasses import dataclass

from pgops.errors import UsageError
from pgops.services.models import Algorithm, Decision

MAX_NUMBER = 1_000_000_000
MAX_PERIOD_S = 366 * 86_400.0
MAX_PER_SECOND = 10_000
MAX_SPAN_US = 100 * 366 * 86_400 * 1_000_000
MIN_RETRY_S = 0.001
KEEP_S = 0.05
MAX_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Gcra:
    """`cost` units at once, of a key that may have `burst` at once and one more each `unit_us`."""

    unit_us: int
    burst: int
    cost: int

    @property
    def increment(self) -> int:
        return self.cost * self.unit_us

    @property
    def room(self) -> int:
        return (self.burst - self.cost) * self.unit_us

    def decision(self, allowed: bool, ahead_us: int) -> Decision:
        """What is said where the key is `ahead_us` ahead of the clock, after the hit if it was allowed."""
        ahead_us = max(ahead_us, 0)
        remaining = max(self.burst * self.unit_us - ahead_us, 0) // self.unit_us
        wait_s = 0.0 if allowed else max((ahead_us - self.room) / 1e6, MIN_RETRY_S)
        return Decision(allowed, remaining, wait_s, ahead_us / 1e6)


@dataclass(frozen=True, slots=True)
class Window:
    """`cost` units at once, of a key that may have `limit` in each window of `period_us`."""

    period_us: int
    limit: int
    cost: int

    def decision(self, allowed: bool, used: int, left_us: int) -> Decision:
        """What is said where `used` are gone of a window that lasts `left_us` more, after the hit if it was allowed."""
        left_s = max(left_us, 0) / 1e6
        wait_s = 0.0 if allowed else max(left_s, MIN_RETRY_S)
        return Decision(allowed, max(self.limit - used, 0), wait_s, left_s)


class Denials:
    """What was seen of keys that were denied, for KEEP_S: what is used, and the time it takes to come back. Others may
    have taken more since, never less (but for a reset), and `at` is before the database looked: so a key that is
    denied by this is denied by the database too."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int, int]] = {}

    def keep(self, key: str, at: float, used: int, left_us: int) -> None:
        if len(self._seen) >= MAX_KEPT:
            self._seen.clear()
        self._seen[key] = at, used, left_us

    def look(self, key: str, now: float) -> tuple[int, int] | None:
        """`used` and what is left of `left_us`; None where nothing recent is known. `now` is monotonic, as `at`."""
        seen = self._seen.get(key)
        if seen is None:
            return None
        at, used, left_us = seen
        if not 0 <= now - at < KEEP_S:
            self.forget(key)
            return None
        return used, left_us - math.ceil((now - at) * 1_000_000)

    def forget(self, key: str) -> None:
        self._seen.pop(key, None)


def gcra(limit: int, period_s: float, burst: int | None, cost: int) -> Gcra:
    """Raises UsageError for what cannot be kept: also for more than 10,000 a second, which whole microseconds do not
    resolve to 1 %."""
    limit, period_s = _limit(limit), _period(period_s)
    burst = limit if burst is None else _whole("a burst", burst)
    cost = _cost(cost, burst, "burst")
    if limit > MAX_PER_SECOND * period_s:
        raise UsageError(
            f"{limit:,} in {period_s:g} s is more than {MAX_PER_SECOND:,} a second",
            "count in larger units, for example kB instead of bytes, or use fixed_window",
        )
    unit_us = math.ceil(period_s * 1_000_000 / limit)
    if burst * unit_us > MAX_SPAN_US:
        raise UsageError("that burst takes more than 100 years to come back", "use a smaller burst or period")
    return Gcra(unit_us, burst, cost)


def window(limit: int, period_s: float, burst: int | None, cost: int) -> Window:
    """Raises UsageError for what cannot be kept."""
    if burst is not None:
        raise UsageError("a fixed window has no burst", "its limit is what may come at once; gcra has both")
    limit = _limit(limit)
    return Window(math.ceil(_period(period_s) * 1_000_000), limit, _cost(cost, limit, "limit"))


def check_algorithm(algorithm: str) -> Algorithm:
    if algorithm == "gcra":
        return "gcra"
    if algorithm == "fixed_window":
        return "fixed_window"
    raise UsageError(f"there is no algorithm {str(algorithm)[:40]!r}", "gcra or fixed_window")


def _limit(limit: object) -> int:
    return _whole("a limit", limit)


def _cost(cost: object, most: int, what: str) -> int:
    units = _whole("a cost", cost)
    if units > most:
        raise UsageError(f"a cost of {units:,} is above the {what} of {most:,}: never allowed", f"raise the {what}")
    return units


def _whole(what: str, number: object) -> int:
    if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MAX_NUMBER:
        return number
    raise UsageError(f"{what} is a whole number from 1 to {MAX_NUMBER:,}, not {str(number)[:40]}", "for example 100")


def _period(period_s: object) -> float:
    """NaN fails the comparison, as it should."""
    if isinstance(period_s, int | float) and not isinstance(period_s, bool) and 0.001 <= period_s <= MAX_PERIOD_S:
        return float(period_s)
    raise UsageError(f"a period is 0.001 seconds to 366 days, not {str(period_s)[:40]}", "for example period_s=60")
