"""Jobs: claimed, listed, failed; queues and workers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pgops.services.models.jsonvalue import JsonValue

JobState = Literal["available", "scheduled", "waiting", "running", "dead"]
KeyState = Literal["available", "scheduled", "running", "dead", "completed"]
Verdict = Literal["retry", "dead", "snooze", "cancelled"]


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
    headers_json: str | None = None
    group_key: str | None = None
    unique_key: str | None = None

    @property
    def headers(self) -> dict[str, JsonValue]:
        """What the producer sent beside the payload, for example a trace's id."""
        return json.loads(self.headers_json) if self.headers_json else {}

    @property
    def payload(self) -> JsonValue:
        """The decoded payload."""
        return json.loads(self.payload_json)


@dataclass(frozen=True, slots=True)
class Claim:
    """Jobs claimed in one batch under one token, in the order in which they should run. `floors` is the highest
    seq claimed, by priority 1 to 4 (0: none); `cut` says that a pause or a limit held others back."""

    queue: str
    token: int
    jobs: tuple[Job, ...]
    floors: tuple[int, int, int, int]
    cut: bool = False


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
    group_key: str | None = None
    unique_key: str | None = None
    progress: JsonValue = None


@dataclass(frozen=True, slots=True)
class FailedJob:
    """How one attempt of a claimed job ended without completing it. `retry_in_s` None leaves it to the queue's
    back-off. The verdict `retry` is the dead letter after the last attempt, `dead` is it at once; `snooze` comes back
    in `retry_in_s` and costs no attempt; `cancelled` is the end."""

    id: int
    error: str
    traceback: str = ""
    retry_in_s: float | None = None
    verdict: Verdict = "retry"


@dataclass(frozen=True, slots=True)
class Failed:
    """What became of a batch of failures: ids that will be tried again, ids that are dead, stale leases, ids that sleep
    without an attempt lost, ids that were cancelled."""

    retried: tuple[int, ...]
    dead: tuple[int, ...]
    stale: tuple[int, ...]
    snoozed: tuple[int, ...] = ()
    cancelled: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to enqueue. Jobs of one `group_key` run one at a time, in order of arrival. While a job holds a
    `unique_key`, another with the same key is not added."""

    payload: JsonValue
    kind: str = "default"
    priority: int = 2
    run_at: datetime | None = None
    max_attempts: int | None = None
    headers: Mapping[str, JsonValue] | None = None
    group_key: str | None = None
    unique_key: str | None = None


@dataclass(frozen=True, slots=True)
class JobMatch:
    """Which jobs: of this `kind` and none of `not_kinds`, whose last error contains `error`, whose payload contains
    `payload`, with each of `words` and none of `not_words` in kind, payload or last error (upper and lower case alike),
    that were added at least `older_than_s` and less than `younger_than_s` ago. What is not given matches all. The job
    `id` is looked up alone."""

    kind: str | None = None
    error: str | None = None
    payload: JsonValue = None
    words: tuple[str, ...] = ()
    not_kinds: tuple[str, ...] = ()
    not_words: tuple[str, ...] = ()
    older_than_s: float | None = None
    younger_than_s: float | None = None
    id: int | None = None


DeadMatch = JobMatch


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs of a queue in the order of their states. `next` and `previous` are the cursors of the pages after and before
    it, None at the ends; from `after` on it can be read again. A search that stopped before it had a page full is
    `cut`: it has looked at `searched` rows by then."""

    jobs: tuple[JobRow, ...]
    next: str | None = None
    previous: str | None = None
    after: str | None = None
    searched: int = 0
    cut: bool = False


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Dead letters of one queue and kind whose last error says the same but for numbers, names and the like: `jobs` of
    the `of` that were looked at, the youngest first in `ids`. `sample` is the error of the youngest. `trend`: how many
    of them died in each ten minutes of the last two hours, the oldest first. Where not all of the queue's were looked
    at, `exact` says so."""

    queue: str
    kind: str
    fingerprint: str
    jobs: int
    of: int
    first_at: datetime
    last_at: datetime
    sample: str
    sample_id: int
    ids: tuple[int, ...] = ()
    trend: tuple[int, ...] = ()
    exact: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A job's id; `existing` says that it is that of an earlier job, which holds the unique key."""

    id: int
    existing: bool


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How a queue treats its jobs. `aging_s` of waiting are worth one priority (None: never). `durability` relaxed: a
    crash of the server may lose what was enqueued or completed in the last second. Limits count for all workers
    together."""

    queue: str
    paused: bool
    max_attempts: int
    lease_s: float
    max_runtime_s: float
    history: str
    backoff_s: float
    backoff_max_s: float
    aging_s: float | None
    durability: str
    resume_at: datetime | None
    limited: bool
    max_running: int | None
    rate_per_s: float | None
    burst: int | None


@dataclass(frozen=True, slots=True)
class PastJob:
    """A job that has ended, as its queue's history keeps it; `result` is what its handler returned."""

    queue: str
    id: int
    outcome: str
    kind: str
    attempt: int
    payload: JsonValue
    errors: tuple[dict[str, JsonValue], ...]
    result: JsonValue
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Jobs that had not started and are gone, and running ones whose worker will be told."""

    cancelled: int
    requested: int


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Somebody wants a running job to end."""

    queue: str
    id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of the queue: the last seq drawn, an id above those of all that ran, the lowest of those."""

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
