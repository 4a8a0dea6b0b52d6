"""The cache: what a purge did, what is counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class Purged:
    """What one purge did: rows deleted that were over, transactions, whether it came to its end, and of the cache how
    many live rows were evicted because their namespace was above its cap."""

    rows: int
    batches: int
    done: bool
    evicted: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """A count that stops at a cap: not `exact` means "at least"."""

    count: int
    exact: bool


@dataclass(frozen=True, slots=True)
class CacheNamespace:
    """One namespace of the cache: its reads and writes since the statistics began, what it holds now (what has expired
    and waits for the purge included), its cap, and when it was last invalidated. `bytes` are those of keys and values.
    In a table above 2 MB entries and bytes are estimates, and `exact` says so."""

    name: str
    hits: int
    misses: int
    hit_ratio: float | None
    sets: int
    expired: int
    evicted: int
    entries: int
    bytes: int
    max_entries: int | None = None
    max_bytes: int | None = None
    invalidated_at: datetime | None = None
    exact: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CacheStats:
    """The cache since `since`. `state` "emptied": a crash or fail-over emptied it and nobody has used it since;
    `emptied_at` is when the last such loss was noticed. `entries` includes expired rows; beyond 10,000 it is an
    estimate. `hit_ratio` is None before the first read. `namespaces` are the 200 most read."""

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
    namespaces: tuple[CacheNamespace, ...] = ()
