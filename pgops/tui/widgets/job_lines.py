"""Jobs as rows, their states as a strip, and where a part of them stands among all. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import get_args

from rich.text import Text

from pgops.ops.observe.snapshot_jobs import Queue
from pgops.services.models import JobMatch, JobRow, JobState
from pgops.tui import formats
from pgops.tui.job_window import JobWindow
from pgops.tui.theme import ACCENT, INK, QUIET, Tone
from pgops.tui.widgets.ink import ink, number
from pgops.tui.widgets.ledger import Column, Line

STATES: tuple[JobState | None, ...] = (None, *get_args(JobState))
TONES: dict[JobState, tuple[str, Tone]] = {
    "available": ("○", "plain"),
    "scheduled": ("◔", "quiet"),
    "waiting": ("⋯", "quiet"),
    "running": ("●", "accent"),
    "dead": ("✕", "warn"),
}
JOBS = (
    Column("id", "id", 9, right=True),
    Column("state", "state", 11),
    Column("kind", "kind", 14),
    Column("try", "try", 5, right=True),
    Column("age", "age", 7, right=True),
    Column("payload", "payload", 0),
    Column("error", "last error", 44, from_width=130),
)
DEAD = (
    *(column for column in JOBS if column.key in ("id", "kind", "try", "age")),
    Column("error", "last error", 0),
    Column("payload", "payload", 44, from_width=130),
)


def columns(state: JobState | None, jobs: Sequence[JobRow]) -> tuple[Column, ...]:
    """The columns of a list of jobs, wide enough for their ids and a mark before."""
    those = DEAD if state == "dead" else JOBS
    width = max((len(str(job.id)) for job in jobs), default=0)
    return those if width <= those[0].width else (replace(those[0], width=width + 2), *those[1:])


def job_line(job: JobRow, now: datetime) -> Line:
    """A job as a row."""
    glyph, tone = TONES[job.state]
    age = (now - job.created_at).total_seconds()
    attempt = str(job.attempt) if job.max_attempts is None else f"{job.attempt}/{job.max_attempts}"
    payload = formats.compact_json(job.payload)
    error = formats.clean(job.errors[-1].get("error", "")) if job.errors else ""
    kind = formats.clean(job.kind, 60)
    cells = (
        number(str(job.id)), ink((f"{glyph} {job.state}", tone)), ink(kind), number(attempt),
        number(formats.duration(age)), ink((payload, "quiet")), ink((error, "warn")),
    )  # fmt: skip
    order = (job.id, job.state, kind, job.attempt, age, payload, error)
    raw = {"kind": job.kind, "payload": job.payload, "error": job.errors[-1].get("error") if job.errors else None}
    return Line(str(job.id), cells, order, str(job.id), raw=raw)


def strip(queue: Queue | None, state: JobState | None) -> Text:
    """The states with their numbers, the chosen one bright."""
    text = Text(no_wrap=True, overflow="ellipsis", end="")
    for each in STATES:
        here = each == state
        text.append("▸ " if here else "  ", ACCENT)
        text.append(each or "all", f"bold {INK}" if here else QUIET)
        if each is not None and queue is not None:
            count: int = getattr(queue, each)
            text.append(f" {formats.roughly(count, queue.exact, each)}", ACCENT if here else QUIET)
        text.append("  ")
    return text


def place(window: JobWindow, queue: Queue | None, state: JobState | None, match: JobMatch | None) -> str:
    """Where the window stands among all the jobs, and how far a search went; "" where it holds all."""
    if window.whole:
        return ""
    states = get_args(JobState) if state is None else (state,)
    exact = queue is not None and all(queue.exact.get(each, True) for each in states)
    total = sum(getattr(queue, each) for each in states) if queue is not None else None
    among = formats.count(total) if exact else f"about {formats.count(total)}"
    if match is not None:
        found = f"{len(window.jobs):,} found"
        more = "" if window.next is None else ", more with ↓"
        return f"{found}, searched {window.searched:,} of {among}{more}" if window.searched else f"{found}{more}"
    first = f", from id {window.jobs[0].id}" if window.jobs else ""
    return f"{among}{first}"
