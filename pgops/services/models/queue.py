"""Jobs: claimed, listed, failed; queues and workers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pgops.services.models.jsonvalue import JsonValue

JobState = Literal["available", "scheduled", "running", "dead"]


@dataclass(frozen=True, slots=True)
class Job:
    """One claimed job. `attempt` counts from 1 and includes this one; `token` is its batch's."""

    queue: str
    id: int
    kind: str
    attempt: int
    max_attempts: int
    payload_json: str
    created_at: datetime
    token: int

    @property
    def payload(self) -> JsonValue:
        """The decoded payload."""
        return json.loads(self.payload_json)


@dataclass(frozen=True, slots=True)
class Claim:
    """Jobs claimed in one batch under one token, in the order in which they should run. `floors` is the highest
    seq claimed, by priority 1 to 4 (0: none)."""

    queue: str
    token: int
    jobs: tuple[Job, ...]
    floors: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as it stands in a list or a detail; `errors` holds one entry an attempt that failed."""

    queue: str
    id: int
    state: JobState
    kind: str
    priority: int
    attempt: int
    max_attempts: int | None
    payload: JsonValue
    errors: tuple[dict[str, JsonValue], ...]
    created_at: datetime
    run_at: datetime | None
    started_at: datetime | None
    lease_until: datetime | None
    owner: int | None


@dataclass(frozen=True, slots=True)
class FailedJob:
    """How one attempt of a claimed job ended badly. `retry_in_s` None leaves it to the queue's back-off."""

    id: int
    error: str
    traceback: str = ""
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """What became of a batch of failures: ids that will be tried again, ids that are dead, stale leases."""

    retried: tuple[int, ...]
    dead: tuple[int, ...]
    stale: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How a queue treats its jobs."""

    queue: str
    paused: bool
    max_attempts: int
    lease_s: float
    max_runtime_s: float
    history: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of the queue: the last seq drawn, and the bounds of the transactions that were running."""

    seq: int
    xmax: int
    xmin: int


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker says of itself with each heartbeat; `floors` is what it has claimed up to, by queue."""

    host: str
    pid: int
    queues: tuple[str, ...]
    concurrency: int
    lease_s: float
    running: int
    stopping: bool
    floors: Mapping[str, tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class Reaped:
    """Jobs taken back from leases that had run out."""

    requeued: int
    dead: int
