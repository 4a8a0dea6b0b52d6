"""The jobs of one queue, by state. Right and left go through the states, space marks, R requeues."""

from collections.abc import Collection
from datetime import datetime
from typing import get_args

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable, Static

from pgops.errors import PgopsError
from pgops.ops.act.actions import Action, ActionName
from pgops.ops.judge.drain import drain_line
from pgops.ops.observe.snapshot import Snapshot, items
from pgops.ops.observe.snapshot_jobs import Queue
from pgops.services.models import DeadMatch, JobRow, JobState
from pgops.tui import formats
from pgops.tui.commands import jobs_command
from pgops.tui.feed import View
from pgops.tui.filtering import parse
from pgops.tui.keymap import keys
from pgops.tui.screens.ask import failure
from pgops.tui.screens.base import Choice, Helm, Room, requeue_choices
from pgops.tui.screens.job import JobRoom
from pgops.tui.theme import ACCENT, INK, QUIET, WARN, Tone
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink, number
from pgops.tui.widgets.ledger import Column, Ledger, Line

LIMIT = 200
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


class JobsRoom(Room):
    """Fetches the jobs after each snapshot; a fetch that is still under way is not doubled."""

    BINDINGS = keys("filter", "state", "state_back", "requeue", "cancel_jobs", "discard", "failures")
    room = "queues"

    def __init__(self, helm: Helm, queue: str) -> None:
        super().__init__(helm, queue)
        self._queue = queue
        self._state: JobState | None = None
        self._jobs: dict[str, JobRow] = {}
        self._fetching = False

    def furniture(self) -> ComposeResult:
        yield Static(id="strip", markup=False)
        yield Static(id="drain", classes="-hidden", markup=False)
        yield Static(id="empty", classes="-hidden", markup=False)
        yield Ledger(JOBS, id="jobs")
        yield Filter()

    def show(self, snapshot: Snapshot, view: View) -> None:
        self.query_one("#strip", Static).update(strip(self._now, self._state))
        queue, drain = self._now, self.query_one("#drain", Static)
        said = "" if queue is None else drain_line(queue, items(snapshot.workers))
        drain.set_class(not said, "-hidden")
        drain.update(Text(said, WARN if queue is not None and queue.drains is False else QUIET))

    @property
    def _now(self) -> Queue | None:
        snapshot = self.view.snapshot if self.view else None
        known = items(snapshot.queues) if snapshot else ()
        return next((one for one in known if one.name == self._queue), None)

    def observed(self) -> None:
        if not self._fetching:
            self._fetching = True
            self.run_worker(self._fetch(), exit_on_error=False)

    async def _fetch(self) -> None:
        state = self._state
        try:
            self._fill(await self.helm.source.jobs(self._queue, state, LIMIT))
        except PgopsError as error:
            self._say(failure(error))
        finally:
            self._fetching = False
        if state != self._state:
            self.observed()

    def _fill(self, jobs: list[JobRow]) -> None:
        self._jobs = {str(job.id): job for job in jobs}
        moment = self.view.snapshot.taken_at if self.view and self.view.snapshot else None
        with self.app.batch_update():
            table = self.query_one("#jobs", Ledger)
            table.lay(DEAD if self._state == "dead" else JOBS)
            table.show([job_line(job, moment or job.created_at) for job in jobs])
            self._say(None if jobs else Text(f"○ no {self._state or ''} jobs here", QUIET))

    def _say(self, words: Text | None) -> None:
        empty = self.query_one("#empty", Static)
        empty.set_class(words is None, "-hidden")
        if words is not None:
            empty.update(words)

    def action_state(self, step: int) -> None:
        at = (STATES.index(self._state) + step) % len(STATES)
        self._state = STATES[at]
        self.query_one("#strip", Static).update(strip(self._now, self._state))
        self.observed()

    def on_ledger_sideways(self, message: Ledger.Sideways) -> None:
        self.action_state(message.step)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self.app.push_screen(JobRoom(self.helm, self._queue, int(str(event.row_key.value))))

    def action_failures(self) -> None:
        from pgops.tui.screens.failures import FailuresRoom

        self.app.push_screen(FailuresRoom(self.helm, self._queue))

    def action_requeue(self) -> None:
        table = self.query_one("#jobs", Ledger)
        at = {table.current} if table.current else set()
        choices = self._chosen("marked", table.marks) or self._chosen("this job", at)
        choices += self._matching("requeue_dead")
        choices += requeue_choices(self.view.snapshot if self.view else None, self._queue)
        self.helm.choose(f"Requeue {formats.clean(self._queue)}", choices, "Nothing here is stuck or dead.")

    def action_cancel_jobs(self) -> None:
        choices = self._of("cancel_jobs", ("available", "scheduled", "waiting", "running"))
        nothing = "Dead letters are not cancelled; D discards them."
        self.helm.choose(f"Cancel in {formats.clean(self._queue)}", choices, nothing)

    def action_discard(self) -> None:
        dead: tuple[JobState, ...] = ("dead",)
        choices = self._of("discard_dead", dead) + self._matching("discard_dead")
        if self._now is not None and self._now.dead:
            choices.append(Choice(f"all {self._now.dead:,} dead", Action("discard_dead", self._queue)))
        self.helm.choose(f"Discard in {formats.clean(self._queue)}", choices, "Nothing here is dead.")

    def _matching(self, act: ActionName) -> list[Choice]:
        """The act on all that the filter asks for, also beyond what is on screen."""
        match = dead_match(self.query_one("#jobs", Ledger).query_words)
        if match is None or self._now is None or not self._now.dead:
            return []
        return [Choice(f"all dead {_asked(match)}", Action(act, self._queue, match=match))]

    def _of(self, act: ActionName, states: Collection[JobState]) -> list[Choice]:
        """The act on the marked jobs of these states, or else on the one under the cursor."""
        table = self.query_one("#jobs", Ledger)
        for words, chosen in (("marked", table.marks), ("this job", {table.current})):
            ids = tuple(sorted(one.id for key, one in self._jobs.items() if key in chosen and one.state in states))
            if ids:
                return [Choice(f"{words}: {_ids(ids)}", Action(act, self._queue, ids))]
        return []

    def _chosen(self, words: str, keys_chosen: set[str]) -> list[Choice]:
        jobs = [self._jobs[key] for key in keys_chosen if key in self._jobs]
        dead = tuple(sorted(job.id for job in jobs if job.state == "dead"))
        running = tuple(sorted(job.id for job in jobs if job.state == "running"))
        choices = []
        if dead:
            choices.append(Choice(f"{words}: {_ids(dead)} (dead)", Action("requeue_dead", self._queue, dead)))
        if running:
            choices.append(Choice(f"{words}: {_ids(running)} (running)", Action("requeue_stuck", self._queue, running)))
        return choices

    def as_command(self) -> str:
        return jobs_command(self._queue, self._state)


def dead_match(query: str) -> DeadMatch | None:
    """What a filter asks of dead letters, where it can be asked of those too that are not on screen."""
    asked: dict[str, str] = {}
    words = []
    for term in parse(query):
        if term.negated or term.sign != ":" or (term.key and (term.key not in ("kind", "error") or term.key in asked)):
            return None
        if term.key:
            asked[term.key] = term.text
        else:
            words.append(term.text)
    return DeadMatch(asked.get("kind"), asked.get("error"), words=tuple(words)) if asked or words else None


def _asked(match: DeadMatch) -> str:
    said = [f"of kind {formats.clean(match.kind, 40)}"] if match.kind else []
    said += [f"with {formats.clean(match.error, 40)!r} in the error"] if match.error else []
    said += [f"with {formats.clean(word, 40)!r} in kind or error" for word in match.words]
    return ", ".join(said)


def _ids(ids: tuple[int, ...]) -> str:
    return str(ids[0]) if len(ids) == 1 else f"{len(ids)} jobs"
