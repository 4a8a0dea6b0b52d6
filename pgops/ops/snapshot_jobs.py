"""The queue's part of a Snapshot: queues, what of them is stuck, and workers.

Floor 3, under snapshot.py, where everybody finds them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Queue:
    """`waiting` jobs stand behind the head of their group; `stuck` counts what `StuckJob`s tell of this queue; totals
    are since the queue was made; rates are by the second since the snapshot before, None in a first one.

    As things went in the last `rates_over_s`, so many arrived and ended (failed attempts too), and it is empty in
    `drain_s`, or never where it does not drain. `workers_needed` would empty it in ten minutes; None where that cannot
    be told, or a limit of the queue holds it back."""

    name: str
    paused: bool
    available: int
    scheduled: int
    running: int
    stuck: int
    dead: int
    oldest_age_s: float | None
    enqueued_total: int
    completed_total: int
    failed_total: int
    in_per_s: float | None = None
    out_per_s: float | None = None
    waiting: int = 0
    exact: Mapping[str, bool] = field(default_factory=dict)
    backend: Literal["pgops"] = "pgops"
    limited: bool = False
    arriving_per_s: float | None = None
    served_per_s: float | None = None
    rates_over_s: float | None = None
    drains: bool | None = None
    drain_s: float | None = None
    workers_needed: int | None = None


@dataclass(frozen=True, slots=True)
class StuckJob:
    """A job that does not move: its lease ran out, it runs too long, or nobody claims it. `age_s` is how long ago the
    lease ended, the job was started, or became ready."""

    queue: str
    id: int
    kind: str
    reason: Literal["lease expired", "running too long", "not claimed"]
    age_s: float
    worker: int | None


@dataclass(frozen=True, slots=True)
class Worker:
    id: int
    host: str
    pid: int
    queues: tuple[str, ...]
    concurrency: int
    running: int
    heartbeat_age_s: float
    alive: bool
    stopping: bool
