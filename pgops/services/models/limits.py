"""Rate limits: what was decided."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Algorithm = Literal["gcra", "fixed_window"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it is allowed, and how much more would be at once. Denied: the same could be allowed in
    `retry_after_s` seconds if nobody else comes (0.0 where allowed). In `reset_s` seconds all is available again."""

    allowed: bool
    remaining: int
    retry_after_s: float
    reset_s: float


@dataclass(frozen=True, slots=True)
class LimitStats:
    """What the limits of one name (what stands before the colon of their keys) have decided `since` then, and in a
    snapshot by the second."""

    name: str
    decisions: int
    denied: int
    since: datetime
    decisions_per_s: float | None = None
    denied_per_s: float | None = None
