"""The jobs of one queue, by state. Right and left go through the states, space marks, R requeues."""

from collections.abc import Collection
from time import monotonic
from typing import Literal

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable, Input, Static

from pgops.errors import PgopsError
from pgops.ops.act.actions import Action, ActionName
from pgops.ops.judge.drain import drain_line
from pgops.ops.observe.snapshot import Snapshot, items
from pgops.ops.observe.snapshot_jobs import Queue
from pgops.services.models import JobMatch, JobPage, JobRow, JobState
from pgops.tui import formats
from pgops.tui.commands import jobs_command
from pgops.tui.feed import View
from pgops.tui.job_terms import beyond_lines, job_match, told
from pgops.tui.job_window import PAGE, JobWindow
from pgops.tui.keymap import keys
from pgops.tui.screens.ask import failure
from pgops.tui.screens.base import Choice, Helm, Room, requeue_choices
from pgops.tui.screens.job import JobRoom
from pgops.tui.theme import QUIET, WARN
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.job_lines import JOBS, STATES, columns, job_line, place, strip
from pgops.tui.widgets.ledger import Ledger
from pgops.tui.widgets.long_ledger import LongLedger

Move = Literal["again", "on", "back", "start", "end"]


class JobsRoom(Room):
    """Holds a window on the jobs, and reads again what is on screen after each snapshot; what is asked for while a read
    is under way is read next. A search rests nine times as long as it took."""

    BINDINGS = keys("filter", "state", "state_back", "requeue", "cancel_jobs", "discard", "failures")
    room = "queues"

    def __init__(self, helm: Helm, queue: str) -> None:
        super().__init__(helm, queue)
        self._queue = queue
        self._state: JobState | None = None
        self._match: JobMatch | None = None
        self._window = JobWindow()
        self._jobs: dict[str, JobRow] = {}
        self._move: Move | None = None
        self._fetching = False
        self._rest_until = 0.0

    def furniture(self) -> ComposeResult:
        yield Static(id="strip", markup=False)
        yield Static(id="drain", markup=False)
        yield Static(id="empty", classes="-hidden", markup=False)
        yield LongLedger(JOBS, id="jobs")
        yield Filter()

    def show(self, snapshot: Snapshot, view: View) -> None:
        self.query_one("#strip", Static).update(strip(self._now, self._state))
        queue, drain = self._now, self.query_one("#drain", Static)
        said = "" if queue is None else drain_line(queue, items(snapshot.workers))
        drain.update(Text(said, WARN if queue is not None and queue.drains is False else QUIET))

    @property
    def _now(self) -> Queue | None:
        snapshot = self.view.snapshot if self.view else None
        known = items(snapshot.queues) if snapshot else ()
        return next((one for one in known if one.name == self._queue), None)

    @property
    def _table(self) -> LongLedger:
        return self.query_one("#jobs", LongLedger)

    def observed(self) -> None:
        if self._match is None or monotonic() >= self._rest_until:
            self._read(self._move or "again")

    def _read(self, move: Move) -> None:
        """Read this next."""
        self._move = move
        if not self._fetching:
            self._fetching = True
            self.run_worker(self._fetch(), exit_on_error=False)

    async def _fetch(self) -> None:
        try:
            while (move := self._move) is not None:
                self._move, asked, began = None, (self._state, self._match), monotonic()
                first, pages = await self._pages(move)
                if asked == (self._state, self._match):
                    self._rest_until = monotonic() + 9 * (monotonic() - began)
                    self._fill(move, first, pages)
        except PgopsError as error:
            self._say(failure(error))
        finally:
            self._fetching = False

    async def _pages(self, move: Move) -> tuple[int, list[JobPage]]:
        """The pages that a move needs, none where there is nothing further on; the place of the first in the window."""
        window, held = self._window, self._window.pages
        if move == "on":
            return 0, [await self._page(after=window.next)] if window.next is not None else []
        if move == "back":
            return 0, [await self._page(before=window.previous)] if window.previous is not None else []
        if move == "end":
            return 0, [await self._page(before="end")]
        if move == "start" or not held:
            return 0, [await self._page()]
        first, last = window.span({int(key) for key in self._table.seen})
        found = [await self._page(after=held[first].after)]
        while len(found) <= last - first and found[-1].next is not None:
            found.append(await self._page(after=found[-1].next))
        return first, found

    async def _page(self, *, after: str | None = None, before: str | None = None) -> JobPage:
        return await self.helm.source.page(
            self._queue, self._state, limit=PAGE, after=after, before=before, match=self._match
        )

    def _fill(self, move: Move, first: int, pages: list[JobPage]) -> None:
        window, table = self._window, self._table
        shown = window.jobs
        if move == "again":
            window.renew(first, pages)
            if not window.jobs and window.previous is not None:
                self._move = self._move or "end"
        elif pages:
            {"on": window.append, "back": window.prepend}.get(move, window.begin)(pages[0])
        marked = {key: job for key, job in self._jobs.items() if key in table.marks and not window.whole}
        self._jobs = marked | {str(job.id): job for job in window.jobs}
        table.marks &= self._jobs.keys()
        moment = self.view.snapshot.taken_at if self.view and self.view.snapshot else None
        with self.app.batch_update():
            table.lay(columns(self._state, window.jobs))
            table.aside = place(window, self._now, self._state, self._match)
            table.set_query("" if self._match is not None else self._asked)
            table.aside = place(window, self._now, self._state, self._match)
            table.show([job_line(job, moment or job.created_at) for job in window.jobs])
            if move != "again" and pages:
                edge = shown[-1 if move == "on" else 0].id if shown and move in ("on", "back") else None
                table.go(1 if move in ("on", "end") else -1, None if edge is None else str(edge))
            said = f"○ no {self._state or ''} jobs {'here' if self._match is None else 'match'}".replace("  ", " ")
            self._say(None if window.jobs else Text(said, QUIET))

    def _say(self, words: Text | None) -> None:
        empty = self.query_one("#empty", Static)
        empty.set_class(words is None, "-hidden")
        if words is not None:
            empty.update(words)

    # --- where one is ----------------------------------------------------------------------------------------

    def on_long_ledger_edge(self, message: LongLedger.Edge) -> None:
        self._read("on" if message.step > 0 else "back")

    def on_long_ledger_far(self, message: LongLedger.Far) -> None:
        self._read("end" if message.step > 0 else "start")

    @property
    def _asked(self) -> str:
        """What the filter says."""
        return self.query_one(Filter).value

    def on_input_changed(self, event: Input.Changed) -> None:
        """The lines on screen are filtered at once. Where they are not all, or cannot tell, the server is asked."""
        event.prevent_default()
        match = job_match(self._asked)
        alone = match is None or (self._match is None and self._window.whole and not beyond_lines(self._asked))
        if alone and self._match is None:
            self._table.set_query(self._asked)
        else:
            self._match = None if alone else match
            self._read("start")

    def action_state(self, step: int) -> None:
        at = (STATES.index(self._state) + step) % len(STATES)
        self._state = STATES[at]
        self.query_one("#strip", Static).update(strip(self._now, self._state))
        self._read("start")

    def on_ledger_sideways(self, message: Ledger.Sideways) -> None:
        self.action_state(message.step)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self.app.push_screen(JobRoom(self.helm, self._queue, int(str(event.row_key.value))))

    def action_failures(self) -> None:
        from pgops.tui.screens.failures import FailuresRoom

        self.app.push_screen(FailuresRoom(self.helm, self._queue))

    def action_requeue(self) -> None:
        table = self._table
        at = {table.current} if table.current else set()
        choices = self._chosen("marked", table.marks) or self._chosen("this job", at)
        choices += self._matching("requeue_dead") + self._matching("requeue_ladder", "ladder over ")
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

    def _matching(self, act: ActionName, words: str = "") -> list[Choice]:
        """The act on all that the filter asks for, also beyond what is on screen."""
        match = job_match(self._asked)
        if match is None or self._now is None or not self._now.dead:
            return []
        return [Choice(f"{words}all dead {told(match)}", Action(act, self._queue, match=match))]

    def _of(self, act: ActionName, states: Collection[JobState]) -> list[Choice]:
        """The act on the marked jobs of these states, or else on the one under the cursor."""
        table = self._table
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


def _ids(ids: tuple[int, ...]) -> str:
    return str(ids[0]) if len(ids) == 1 else f"{len(ids)} jobs"
