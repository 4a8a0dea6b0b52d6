"""What the cache's calls may ask for, and when a value is computed anew: pure.

Below the services. A check returns its argument or raises UsageError with a hint.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pgops.errors import UsageError
from pgops.services.keys import MAX_TTL_S, check_key, check_text, check_ttl

DEFAULT_NAMESPACE = "default"
MAX_NAMESPACE_BYTES = 200
MAX_CAP = 2**62
OnError = Literal["raise", "compute"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One call of get_or_compute, its arguments checked."""

    key: str
    namespace: str
    ttl_s: float | None
    jitter: float
    beta: float
    stale_s: float
    wait_s: float
    on_error: OnError


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found: the namespace's generation (None: the database could not be asked) and of it the value, how
    many seconds it lasts still (below 0: it has expired), how long it took to compute, when it was written, and whether
    it slides and is to be extended."""

    generation: int | None
    value: bytes | None = None
    left_s: float | None = None
    compute_s: float | None = None
    written_at: datetime | None = None
    extend: bool | None = False

    @property
    def fresh(self) -> bytes | None:
        """The value, unless it has expired."""
        return self.value if self.left_s is None or self.left_s > 0 else None

    def usable(self, stale_s: float) -> bytes | None:
        """The value, unless it expired longer than `stale_s` ago."""
        return self.value if self.left_s is None or self.left_s > -stale_s else None

    def early(self, beta: float, draw: float) -> bool:
        """Whether to compute it anew before it expires, by a `draw` from above 0 up to 1: the more likely the nearer
        the end is and the longer it takes. Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede
        Prevention, VLDB 2015."""
        if self.left_s is None or self.compute_s is None:
            return False
        return self.left_s <= -self.compute_s * beta * math.log(draw)


def wanted(
    key: object, namespace: object, ttl_s: object, jitter: object, beta: object, stale_s: object, wait_s: object,
    on_error: OnError,
) -> Wanted:  # fmt: skip
    """The arguments of get_or_compute."""
    if on_error not in ("raise", "compute"):
        raise UsageError(f"on_error is raise or compute, not {on_error!r}", "leave it out for raise")
    ttl = check_ttl(ttl_s)
    stale = check_seconds("stale_s", stale_s)
    if stale and ttl is None:
        raise UsageError("a value without an end is never stale", "give ttl_s too, or leave stale_s out")
    return Wanted(
        check_key(key), check_namespace(namespace), ttl, check_jitter(jitter, ttl), check_seconds("beta", beta),
        stale, check_seconds("wait_s", wait_s), on_error,
    )  # fmt: skip


def check_namespace(namespace: object) -> str:
    """1 to 200 bytes of UTF-8 without NUL."""
    return check_text(namespace, "a namespace", MAX_NAMESPACE_BYTES, "choose a short name")


def check_jitter(jitter: object, ttl_s: float | None) -> float:
    """The share by which a time to live may be shorter, from 0 to below 1."""
    if not isinstance(jitter, int | float) or isinstance(jitter, bool) or not 0 <= jitter < 1:
        raise UsageError(f"jitter is a share from 0 to below 1, not {jitter!r}", "for example jitter=0.1")
    if jitter and ttl_s is None:
        raise UsageError("a value without an end has no jitter", "give ttl_s too")
    return float(jitter)


def check_seconds(what: str, seconds: object) -> float:
    """A finite number, 0 or more. NaN fails the comparison, as it should."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= MAX_TTL_S:
        raise UsageError(f"{what} is a number from 0 on, not {seconds!r}", f"for example {what}=1.5, or leave it out")
    return float(seconds)


def check_cap(what: str, cap: object) -> int | None:
    """A whole number from 1 on, or None for no cap."""
    if cap is None:
        return None
    if not isinstance(cap, int) or isinstance(cap, bool) or not 1 <= cap <= MAX_CAP:
        raise UsageError(f"a cap of {what} is a whole number from 1 on, not {cap!r}", f"leave {what} out for no cap")
    return cap
