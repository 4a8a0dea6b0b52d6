"""Recurring jobs: what they are, and what became of a look at them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pgops.services.models.jsonvalue import JsonValue

WhenMissed = Literal["skip", "once"]


@dataclass(frozen=True, slots=True)
class NewCron:
    """A recurring job as it is asked for, checked: made by `cron_rules.new_cron`."""

    name: str
    expression: str
    queue: str
    kind: str = "default"
    payload_json: str = "{}"
    priority: int = 2
    timezone: str = "UTC"
    missed: WhenMissed = "skip"
    overlap: bool = False


@dataclass(frozen=True, slots=True)
class CronEntry:
    """A recurring job as it stands. `next_at` is None while it is paused; `last_at` and `last_id` are its last job's;
    `ticks` added a job, `skipped` did not: they came too late, or the job before was not done."""

    name: str
    expression: str
    timezone: str
    queue: str
    kind: str
    payload: JsonValue
    priority: int
    missed: WhenMissed
    overlap: bool
    paused: bool
    next_at: datetime | None
    last_at: datetime | None
    last_id: int | None
    ticks: int
    skipped: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done with an entry that is due: add a job for each of `ticks`, pass `passed` over, go on to
    `next_at`."""

    ticks: tuple[datetime, ...]
    passed: int
    next_at: datetime


@dataclass(frozen=True, slots=True)
class Ticked:
    """What one look did: jobs added, ticks passed over, and entries that could not be served, each with why."""

    jobs: int
    skipped: int
    broken: tuple[tuple[str, str], ...]
