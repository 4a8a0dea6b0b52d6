"""The queue's part of a Snapshot: queues, what of them is stuck, and workers.

Floor 3, under snapshot.py, where everybody finds them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
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
class ChainLink:
    """A backend that a job's session waits for, or that such a one waits for; `blocked_by` is empty for a root. The pid
    0 stands for prepared transactions."""

    pid: int
    started_at: datetime | None
    application: str | None
    user: str | None
    state: str | None
    transaction_s: float | None
    waited_s: float | None
    blocked_by: tuple[int, ...]
    waits_for: str | None
    query: str | None


@dataclass(frozen=True, slots=True)
class JobBackend:
    """The session that works on a job. `chain` is whom it waits for, the nearest first; `xmin_age` how many
    transactions back it keeps vacuum, and `holds_xmin` that nobody keeps it further back. What is hidden from this role
    is None."""

    pid: int
    started_at: datetime | None
    application: str
    state: str | None
    state_s: float | None
    transaction_s: float | None
    wait: str | None
    waits_for: str | None
    waited_s: float | None
    xmin_age: int | None
    holds_xmin: bool | None
    query: str | None
    chain: tuple[ChainLink, ...]


@dataclass(frozen=True, slots=True)
class JobChain:
    """Who runs a job: its worker, and the session, or in `note` why none can be told."""

    worker: int
    host: str
    pid: int
    alive: bool
    backend: JobBackend | None
    note: str


@dataclass(frozen=True, slots=True)
class StuckJob:
    """A job that does not move: its lease ran out, it runs too long, or nobody claims it. `age_s` is how long ago the
    lease ended, the job was started, or became ready. `backend` is the session that is named after it, if there is."""

    queue: str
    id: int
    kind: str
    reason: Literal["lease expired", "running too long", "not claimed"]
    age_s: float
    worker: int | None
    backend: JobBackend | None = None


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
