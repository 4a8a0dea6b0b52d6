"""Rate limits: what was decided."""

from dataclasses import dataclass
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
