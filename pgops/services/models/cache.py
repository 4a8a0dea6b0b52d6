"""The cache: what a purge did, what is counted."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class Purged:
    """What one purge did: rows deleted, transactions, and whether it came to the end of the table."""

    rows: int
    batches: int
    done: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """A count that stops at a cap: not `exact` means "at least"."""

    count: int
    exact: bool


@dataclass(frozen=True, slots=True)
class CacheStats:
    """The cache since `since`. `state` "emptied": a crash or fail-over emptied it and nobody has used it since;
    `emptied_at` is when the last such loss was noticed. `entries` includes expired rows; beyond 10,000 it is an
    estimate. `hit_ratio` is None before the first read."""

    hits: int
    misses: int
    hit_ratio: float | None
    sets: int
    expired: int
    evicted: int
    since: datetime | None
    entries: int
    entries_exact: bool
    bytes: int
    state: Literal["never filled", "filled", "emptied"]
    filled_at: datetime | None
    emptied_at: datetime | None
