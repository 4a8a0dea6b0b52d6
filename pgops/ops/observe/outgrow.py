"""When one PostgreSQL will no longer do: lines, today's load against them, the trend, and the day it crosses.

Floor 3. The history is pgops.growth, which workers and relays write (runtime/growth.py). Of a rate counts what was
sustained for three hours. The trend is a straight line through the last weeks' days; its uncertainty is two standard
errors of the slope. Everything but `take` is pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt
from statistics import fmean
from typing import Literal

from pgops.database import Row
from pgops.ops.observe.parts import Look, Session
from pgops.ops.observe.snapshot_outgrow import OutgrowLine, OutgrowPart
from pgops.ops.thresholds import Thresholds
from pgops.ops.wording import figure, many
from pgops.queries import load

Q = load("pgops.ops.observe", "outgrow.sql")

DAYS_FOR_A_TREND = 7
FARTHEST_DAYS = 3_650
NEAR_AT_LEAST = 0.5
DAY_S = 86_400
SUBSYSTEMS = ("queue", "outbox", "kv", "documents", "vectors", "rest", "others")
BROKER = "hand it to a broker: pgops outbox relay --to rabbitmq://…, nats://… or sqs://…"


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the ledger. `column` is what of a day counts; `threshold` names its line in Thresholds, and `scale`
    makes its unit of what is noted."""

    name: str
    noted: str
    what: str
    unit: str
    threshold: str
    remedy: str
    column: Literal["sustained", "highest", "mean"] = "sustained"
    scale: float = 1.0
    estimated: bool = False


MEASURES = (
    Measure(
        "jobs_per_s", "jobs_per_s", "jobs done a second, sustained for three hours", "1/s", "outgrow_jobs_per_s",
        f"measure what this machine does (pgops bench queue) and move the line, add workers, or {BROKER}",
    ),
    Measure(
        "wait_p99_ms", "wait_s", "wait of the oldest ready job, the worst minute", "ms", "outgrow_wait_p99_ms",
        "add workers or concurrency; where the database itself is slow, look at its findings first",
        column="highest", scale=1_000.0,
    ),
    Measure(
        "daily_users", "requests_per_s", "users a day, by jobs and cache reads", "users", "outgrow_daily_users",
        "a pooler before it, a read replica for what only reads, then a larger machine or Citus",
        column="mean", scale=DAY_S, estimated=True,
    ),
    Measure(
        "vector_searches_per_s", "searches_per_s", "vector searches a second, sustained for three hours", "1/s",
        "outgrow_vector_searches_per_s", "read replicas for searches; beyond that a vector service",
    ),
    Measure(
        "vectors", "vectors", "rows in tables with a vector index", "rows", "outgrow_vectors",
        "halfvec and fewer dimensions, partition the table, Citus, or a vector service", column="highest",
        estimated=True,
    ),
    Measure(
        "subscribers", "subscribers", "subscriptions on the event log", "subscriptions", "outgrow_subscribers",
        f"one subscription that fans out behind a broker: {BROKER}", column="highest",
    ),
    Measure(
        "connections", "connections", "connections of the server, sustained for three hours", "connections",
        "outgrow_connections", "a pooler in transaction mode (PgBouncer) before it, and smaller pools",
    ),
    Measure(
        "replica_lag_s", "replica_lag_s", "lag of the slowest replica, the worst minute", "s", "outgrow_replica_lag_s",
        "fewer and smaller writes, a faster disk at the replica, or read what must be fresh from the primary",
        column="highest",
    ),
    Measure(
        "wal_bytes_per_s", "wal_bytes_per_s", "WAL a second, sustained for three hours", "bytes/s",
        "outgrow_wal_bytes_per_s", "keep what may be lost UNLOGGED, keep less history, drop unused indexes",
    ),
    Measure(
        "log_bytes", "log_bytes", "event log and job history", "bytes", "outgrow_log_bytes",
        "keep less (pgops outbox keep), or take old days away into an archive through a subscription", column="highest",
    ),
)  # fmt: skip
NOTED = [*dict.fromkeys(one.noted for one in MEASURES), *(f"written_{name}_per_s" for name in SUBSYSTEMS)]


async def take(session: Session, look: Look, lines: Thresholds) -> OutgrowPart:
    """The ledger as the history has it."""
    return ledger(await session.all(Q["growth"], {"measures": NOTED}), look.taken_at, lines)


def ledger(rows: Sequence[Row], now: datetime, lines: Thresholds) -> OutgrowPart:
    """From (measure, days ago, sustained, highest, mean, hours) rows; nothing is known to be sustained at first."""
    days: dict[str, list[Row]] = {}
    for row in rows:
        days.setdefault(row[0], []).append(row[1:])
    found = tuple(_line(one, days.get(one.noted, []), now, lines) for one in MEASURES)
    hours = max((sum(row[4] for row in of_one) for of_one in days.values()), default=0)
    return OutgrowPart(found, _written(days), hours)


def _line(measure: Measure, days: Sequence[Row], now: datetime, lines: Thresholds) -> OutgrowLine:
    line = float(getattr(lines, measure.threshold))
    scale = measure.scale / (max(lines.outgrow_requests_per_user, 1.0) if measure.name == "daily_users" else 1.0)
    column = {"sustained": 1, "highest": 2, "mean": 3}[measure.column]
    points = [(-row[0], row[column] * scale) for row in days if row[column] is not None]
    value = next((figure for day, figure in points if day == 0), None)
    trend = fit(points)
    early, at, late = (None, None, None) if trend is None or value is None else crossing(trend, value, line)
    return OutgrowLine(
        name=measure.name, what=measure.what, unit=measure.unit, line=line, value=value,
        share=None if value is None or line <= 0 else value / line, days=len(points),
        growth_per_day=None if trend is None else trend[0],
        crosses_at=_moment(now, at), crosses_earliest=_moment(now, early), crosses_latest=_moment(now, late),
        remedy=measure.remedy, exact={"value": False} if measure.estimated else {},
    )  # fmt: skip


def fit(points: Sequence[tuple[int, float]]) -> tuple[float, float] | None:
    """The slope a day through (day, value) points by least squares, and its standard error; None of too few days."""
    if len(points) < DAYS_FOR_A_TREND:
        return None
    middle, mean = fmean(day for day, _ in points), fmean(value for _, value in points)
    spread = sum((day - middle) ** 2 for day, _ in points)
    slope = sum((day - middle) * (value - mean) for day, value in points) / spread
    off = sum((value - mean - slope * (day - middle)) ** 2 for day, value in points)
    return slope, sqrt(off / (len(points) - 2) / spread)


def crossing(trend: tuple[float, float], value: float, line: float) -> tuple[float | None, float | None, float | None]:
    """In how many days `value` is at `line`: at the earliest, by the trend, at the latest. None is never."""
    slope, error = trend
    if value >= line or slope <= 0:
        return None, None, None

    def days(a_day: float) -> float | None:
        return (line - value) / a_day if a_day > 0 and (line - value) / a_day <= FARTHEST_DAYS else None

    at = days(slope)
    return (None, None, None) if at is None else (days(slope + 2 * error), at, days(slope - 2 * error))


def _moment(now: datetime, days: float | None) -> datetime | None:
    return None if days is None else now + timedelta(days=days)


def _written(days: Mapping[str, Sequence[Row]]) -> dict[str, float]:
    """Bytes a second that each subsystem wrote into logged tables over the last day, estimated from rows and widths."""
    found = {name: next((row[3] for row in days.get(f"written_{name}_per_s", ()) if row[0] == 0), None)
             for name in SUBSYSTEMS}  # fmt: skip
    return {name: rate for name, rate in found.items() if rate is not None}


def reached(line: OutgrowLine) -> str:
    """When, in words: a day and the two that it is between, or why there is none."""
    if line.value is None:
        return "not measured"
    if line.share is not None and line.share >= 1:
        return "crossed"
    if line.growth_per_day is None:
        return f"{line.days} of {DAYS_FOR_A_TREND} days seen"
    if line.crosses_at is None:
        return "not as things go"
    early = "" if line.crosses_earliest is None else f"{line.crosses_earliest:%Y-%m-%d}"
    late = "never" if line.crosses_latest is None else f"{line.crosses_latest:%Y-%m-%d}"
    return f"{line.crosses_at:%Y-%m-%d} ({early} to {late})"


def pace(line: OutgrowLine) -> str:
    """What it grows by a day, with its sign."""
    if line.growth_per_day is None:
        return "-"
    return f"{'-' if line.growth_per_day < 0 else '+'}{figure(abs(line.growth_per_day), line.unit)}"


def shares(part: OutgrowPart) -> list[tuple[str, float]]:
    """Each subsystem's share of what was written, the largest first; those below a hundredth are left out."""
    whole = sum(part.written.values())
    found = [(name, rate / whole) for name, rate in part.written.items() if whole > 0 and rate / whole >= 0.01]
    return sorted(found, key=lambda one: -one[1])


def age_words(part: OutgrowPart) -> str:
    """How much history there is."""
    if part.hours == 0:
        return "no history yet: workers and relays write it once a minute"
    days = part.hours / 24
    return f"history: {many(part.hours, 'hour')}" if days < 3 else f"history: {days:.0f} days"
