"""The outgrow ledger's part of a Snapshot.

Floor 3, under snapshot.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class OutgrowLine:
    """One line up to which one PostgreSQL does. `value` is the last day's in `unit`, `share` of the line; the trend is
    over `days` of history, None of too few. `crosses_at` is when the line is reached as things go, between the other
    two: None is never, or not within ten years, or too young to tell."""

    name: str
    what: str
    unit: str
    line: float
    value: float | None
    share: float | None
    days: int
    growth_per_day: float | None
    crosses_at: datetime | None
    crosses_earliest: datetime | None
    crosses_latest: datetime | None
    remedy: str
    exact: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutgrowPart:
    """The ledger. `written` estimates the bytes a second that each subsystem wrote to logged tables over the last
    day, its share of the WAL; `hours` is how much history there is. Workers and relays write it."""

    lines: tuple[OutgrowLine, ...]
    written: Mapping[str, float]
    hours: int


NO_LEDGER = OutgrowPart((), {}, 0)
