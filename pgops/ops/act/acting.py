"""An act before it is done: what it is, and what it would hit.

Floor 3. The values that dashboard and commands hand down and get back, and how a statement is shown with its values.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg import sql

from pgops.services.models import IndexMethod, JobMatch, JsonValue, NewCron

ActionName = Literal[
    "requeue_stuck", "requeue_dead", "requeue_ladder", "cancel_jobs", "discard_dead", "edit_job", "set_queue",
    "purge_expired", "invalidate", "purge_kv", "purge_limits", "build_index", "rebuild_index",
    "search", "pause", "resume", "unsubscribe", "drop_collection", "drop_documents", "drop_index",
    "cancel_backend", "terminate_backend", "cron_add", "cron_remove", "cron_pause", "cron_resume", "cron_run",
    "pgmq_purge", "pgmq_dead", "pgmq_redrive", "outbox_pause", "outbox_resume", "outbox_replay", "outbox_unpark",
    "outbox_discard", "outbox_park", "outbox_keep", "outbox_purge", "outbox_rebase",
    "vacuum_table", "reindex_index", "drop_invalid_index", "tune_queue_tables", "reset_stats", "undo",
]  # fmt: skip
COUNT_CAP = 100_000
SAMPLES = 5
PURGE_BATCH = 1_000
_PARAMETER = re.compile(r"%\((\w+)\)[sbt]")


@dataclass(frozen=True, slots=True)
class Action:
    """What to do, and to what. `target` is a queue (also of pgmq), a subscription, a collection, COLLECTION.INDEX, a
    namespace of the cache, a table or an index of the database, the id of an act to undo, "" for the whole cache, both
    key-value stores, all limits, the whole event log or all counters, or a backend's pid, which `started_at` tells from
    another backend with the same; `ids` narrows an act to these jobs or parked events, `match` to dead letters that
    match; `method`, `lists`, `m` and `ef_construction` are for an index; `query` (a text, or a JSON array of numbers),
    `limit`, `exact`, `embedder` and `filter` (what the metadata must hold) are for search; `given` is a job's new
    payload, a queue's new settings, how long events are kept, or why a key is held; `cron` is what cron_add adds under
    the target's name; pgmq_dead takes what was read `more_than` times, outbox_replay what was made `since`, outbox_park
    and outbox_unpark the events of a `key`; vacuum_table with
    `analyze_only` only reads what the planner needs to know; requeue_ladder lets `rate` jobs a second go at its end."""

    name: ActionName
    target: str
    ids: tuple[int, ...] = ()
    match: JobMatch | None = None
    lists: int | None = None
    query: str = ""
    limit: int = 10
    exact: bool = False
    embedder: str = ""
    filter: tuple[tuple[str, JsonValue], ...] = ()
    method: IndexMethod | None = None
    m: int | None = None
    ef_construction: int | None = None
    started_at: datetime | None = None
    given: str = ""
    cron: NewCron | None = None
    more_than: int = 5
    since: datetime | None = None
    key: str | None = None
    analyze_only: bool = False
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What the action would hit: `matched` rows (`exact` false: at least so many), some samples, the SQL. `action` is
    what to run: the one that was asked for, for exactly what was found. `undo` says whether it can be undone, "" where
    that is not asked."""

    action: Action
    title: str
    matched: int
    exact: bool
    samples: tuple[str, ...]
    sql: str
    warning: str = ""
    undo: str = ""


def shown(statement: bytes, params: Mapping[str, object]) -> str:
    """The statement with its values, as one can paste it into psql."""
    return _PARAMETER.sub(lambda found: sql.Literal(params[found[1]]).as_string(None), statement.decode())


def first_line(text: str) -> str:
    """The first line of a text, at most 120 characters."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 120 else f"{line[:119]}…"
