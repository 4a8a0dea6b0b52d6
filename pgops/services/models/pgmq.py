"""pgmq: a queue of another system in the same database, and a message of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pgops.services.models.jsonvalue import JsonValue


@dataclass(frozen=True, slots=True)
class PgmqMessage:
    """A message as one reader got it. `read_ct` counts the reads, this one too; with `msg_id` it is the reader's claim,
    which another read ends. Until `vt` nobody else sees it. `headers` is None also before pgmq 1.5."""

    queue: str
    msg_id: int
    read_ct: int
    enqueued_at: datetime
    vt: datetime
    payload: JsonValue
    headers: JsonValue


@dataclass(frozen=True, slots=True)
class PgmqQueue:
    """A queue of pgmq in numbers. Of its `length`, `available` can be read now, `scheduled` were sent with a delay and
    never read, `running` are out with a reader; `dead` stand in the queue `<name>_dlq`. `ready_age_s` is how long the
    first of the available ones has been, the other ages are since the sending. `total` were ever sent. None is unknown:
    what this role may not read, what is locked, and of a partitioned queue what only a long count would tell."""

    name: str
    length: int
    available: int | None
    scheduled: int | None
    running: int | None
    dead: int
    newest_age_s: float | None
    oldest_age_s: float | None
    ready_age_s: float | None
    total: int | None
    bytes: int | None
    archive_bytes: int | None
    created_at: datetime
    unlogged: bool
    partitioned: bool
    backend: Literal["pgmq"] = "pgmq"
    in_per_s: float | None = None
    out_per_s: float | None = None
    exact: Mapping[str, bool] = field(default_factory=dict)
