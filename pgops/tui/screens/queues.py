"""Room 2: every queue in numbers, the workers, and what is stuck and why."""

from collections.abc import Callable

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import DataTable, Static

from pgops.ops.judge.drain import NEVER_S
from pgops.ops.observe.snapshot import Snapshot, Unavailable, items
from pgops.ops.observe.snapshot_jobs import Queue, StuckJob, Worker
from pgops.services.models import PgmqQueue
from pgops.tui import formats
from pgops.tui.commands import job_command, jobs_command, peek_command
from pgops.tui.feed import View
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Room, requeue_choices
from pgops.tui.screens.course import Course, of_queue
from pgops.tui.screens.crons import CronsRoom
from pgops.tui.screens.failures import FailuresRoom
from pgops.tui.screens.job import JobRoom
from pgops.tui.screens.jobs import JobsRoom
from pgops.tui.screens.pgmq import find, hidden_pgmq, pgmq_line, source_of
from pgops.tui.screens.pgmq_messages import MessagesRoom
from pgops.tui.widgets.empty import emptiness
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink, number, plain
from pgops.tui.widgets.ledger import Column, Ledger, Line
from pgops.tui.widgets.tile import Face, Tile

QUEUES = (
    Column("queue", "queue", 0, most=44),
    Column("ready", "ready", 6, right=True),
    Column("sched", "sched", 5, right=True),
    Column("run", "run", 5, right=True),
    Column("stuck", "stuck", 5, right=True),
    Column("dead", "dead", 5, right=True),
    Column("oldest", "oldest", 7, right=True),
    Column("in", "in/s", 5, right=True),
    Column("out", "out/s", 5, right=True),
    Column("drains", "drains", 7, right=True, from_width=92),
    Column("done", "done", 7, right=True, from_width=104),
    Column("failed", "failed", 7, right=True, from_width=114),
)
WORKERS = (
    Column("worker", "worker", 0, most=44),
    Column("state", "state", 10),
    Column("running", "run", 7, right=True),
    Column("seen", "seen", 7, right=True),
    Column("queues", "queues", 20, from_width=68),
)
STUCK = (
    Column("job", "job", 0, most=44),
    Column("reason", "reason", 20),
    Column("age", "for", 7, right=True),
    Column("kind", "kind", 14, from_width=60),
)


TRENDS: dict[str, tuple[str, Callable[[Queue | PgmqQueue], float | None]]] = {
    "trend_ready": ("ready", lambda queue: queue.available),
    "trend_in": ("in/s", lambda queue: queue.in_per_s),
    "trend_out": ("out/s", lambda queue: queue.out_per_s),
}


def _of(snapshot: Snapshot, key: str | None, value: Callable[[Queue | PgmqQueue], float | None]) -> float | None:
    one = find(snapshot, key)
    return None if one is None else value(one)


def queue_line(one: Queue) -> Line:
    """A queue as a row."""
    name = formats.clean(one.name)
    stuck = formats.roughly(one.stuck, one.exact, "stuck")
    cells = (
        ink(("‖ ", "warn"), name, (" paused", "warn")) if one.paused else ink(name),
        number(formats.roughly(one.available, one.exact, "available")),
        number(formats.roughly(one.scheduled, one.exact, "scheduled")),
        number(formats.roughly(one.running, one.exact, "running")),
        number(f"◆{stuck}", "bad") if one.stuck else number(stuck),
        number(formats.roughly(one.dead, one.exact, "dead"), "warn" if one.dead else "plain"),
        number(formats.duration(one.oldest_age_s)),
        number(formats.rate(one.in_per_s)),
        number(formats.rate(one.out_per_s)),
        drains(one),
        number(formats.count(one.completed_total)),
        number(formats.count(one.failed_total)),
    )  # fmt: skip
    order = (
        name, one.available, one.scheduled, one.running, one.stuck, one.dead, one.oldest_age_s or 0.0,
        one.in_per_s or 0.0, one.out_per_s or 0.0, NEVER_S if one.drains is False else one.drain_s or 0.0,
        one.completed_total, one.failed_total,
    )  # fmt: skip
    return Line(one.name, cells, order, one.name)


def drains(one: Queue) -> Text:
    """In how long it is empty; bad where that is never."""
    return number("never", "bad") if one.drains is False else number(formats.duration(one.drain_s))


def worker_line(one: Worker) -> Line:
    """A worker as a row."""
    place = f"{formats.clean(one.host, 40)}:{one.pid}"
    queues = formats.clean(", ".join(one.queues), 200)
    state = (
        ink(("✕ gone", "bad"))
        if not one.alive
        else ink(("◌ stopping", "warn"))
        if one.stopping
        else ink(("● alive", "good"))
    )
    cells = (
        ink(place), state, number(f"{one.running}/{one.concurrency}"), number(formats.duration(one.heartbeat_age_s)),
        ink((queues, "quiet")),
    )  # fmt: skip
    order = (place, state.plain, one.running, one.heartbeat_age_s, queues)
    return Line(str(one.id), cells, order, place)


def stuck_line(one: StuckJob) -> Line:
    """A stuck job as a row."""
    job = f"{formats.clean(one.queue, 60)} {one.id}"
    kind = formats.clean(one.kind, 60)
    cells = (ink(job), ink((f"◆ {one.reason}", "bad")), number(formats.duration(one.age_s)), ink((kind, "quiet")))
    return Line(f"{one.queue}\n{one.id}", cells, (job, one.reason, one.age_s, kind), f"{one.queue} {one.id}")


class QueuesRoom(Room):
    """Enter opens a queue, or a stuck job; t the recurring jobs."""

    BINDINGS = keys(
        "filter",
        "requeue",
        "redrive",
        "hold",
        "discard",
        "edit_queue",
        "empty",
        "crons",
        "failures",
        "vacuum",
        "mend_index",
    )
    room = "queues"

    def furniture(self) -> ComposeResult:
        queues = Ledger(QUEUES, id="queues", sort="queue")
        queues.border_title = "queues"
        yield Static(id="empty", classes="-hidden", markup=False)
        yield queues
        yield Static(id="pgmq", classes="-hidden", markup=False)
        yield Filter()
        with Container(id="trend"):
            for id in TRENDS:
                yield Tile("", id)
        with Container(id="below"):
            stuck = Ledger(STUCK, id="stuck", sort="age", descending=True)
            stuck.border_title = "stuck"
            yield stuck
            workers = Ledger(WORKERS, id="workers", sort="worker")
            workers.border_title = "workers"
            yield workers

    def show(self, snapshot: Snapshot, view: View) -> None:
        queues, stuck, workers = (self.query_one(f"#{id}", Ledger) for id in ("queues", "stuck", "workers"))
        nothing = emptiness(
            snapshot.queues, "No queue yet.", "pgops queue enqueue hello '{\"to\": \"world\"}'",
            "A queue is made by its first job.",
        )  # fmt: skip
        theirs = items(snapshot.pgmq)
        if theirs and not isinstance(snapshot.queues, Unavailable):
            nothing = None
        empty = self.query_one("#empty", Static)
        empty.set_class(nothing is None, "-hidden")
        queues.set_class(nothing is not None and not theirs, "-hidden")
        if nothing is not None:
            empty.update(nothing)
        queues.show([*map(queue_line, items(snapshot.queues)), *map(pgmq_line, theirs)])
        said = hidden_pgmq(snapshot)
        self.query_one("#pgmq", Static).set_class(not said, "-hidden")
        self.query_one("#pgmq", Static).update(said)
        self._trend()
        jobs = items(snapshot.stuck_jobs)
        stuck.set_class(not jobs, "-hidden")
        stuck.show([stuck_line(one) for one in jobs])
        alive = [one for one in items(snapshot.workers) if one.alive]
        without = "no worker: pgops queue work module:registry -q NAME"
        workers.border_title = f"workers · {len(alive)} alive" if items(snapshot.workers) else without
        workers.set_class(isinstance(snapshot.workers, Unavailable), "-hidden")
        workers.set_class(not items(snapshot.workers), "-none")
        workers.show([worker_line(one) for one in items(snapshot.workers)])

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if event.data_table.id == "queues":
            self._trend()
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """One R is for jobs and one for messages; only a queue of pgmq is emptied."""
        of_pgmq = isinstance(self._current, PgmqQueue)
        if action in ("redrive", "empty"):
            return of_pgmq
        if action in ("requeue", "discard", "edit"):
            return not of_pgmq
        return super().check_action(action, parameters)

    @property
    def _current(self) -> Queue | PgmqQueue | None:
        """The queue under the cursor."""
        return find(self.view.snapshot if self.view else None, self.filtered.current)

    def course(self) -> tuple[str, tuple[Course, ...]]:
        one = self._current
        return super().course() if one is None else (f"queue {formats.clean(one.name, 60)}", of_queue(one.name))

    def _trend(self) -> None:
        """How the queue under the cursor went lately."""
        one, view, key = self._current, self.view, self.filtered.current
        self.query_one("#trend").set_class(one is None, "-hidden")
        if one is not None and view is not None:
            for id, (label, value) in TRENDS.items():
                tile = self.query_one(f"#{id}", Tile)
                tile.border_title = plain(f"{formats.clean(one.name, 40)} · {label}")
                series = tuple(_of(snapshot, key, value) for snapshot in view.history)
                tile.show(Face(formats.rate(value(one)), label, (), series))

    @property
    def filtered(self) -> Ledger:
        return self.query_one("#queues", Ledger)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        key = str(event.row_key.value)
        one = self._current
        if event.data_table.id == "queues" and isinstance(one, PgmqQueue):
            self.app.push_screen(MessagesRoom(self.helm, one.name))
        elif event.data_table.id == "queues":
            self.app.push_screen(JobsRoom(self.helm, key))
        elif event.data_table.id == "stuck":
            queue, _, job = key.rpartition("\n")
            self.app.push_screen(JobRoom(self.helm, queue, int(job)))

    def action_failures(self) -> None:
        self.app.push_screen(FailuresRoom(self.helm))

    def action_crons(self) -> None:
        self.app.push_screen(CronsRoom(self.helm))

    def action_requeue(self) -> None:
        snapshot = self.view.snapshot if self.view else None
        name = self.filtered.current
        self.helm.choose(
            f"Requeue {formats.clean(name or '')}", requeue_choices(snapshot, name), "Nothing is stuck or dead here."
        )

    def action_redrive(self) -> None:
        self.helm.offer("redrive", source_of(self._current.name) if self._current else None)

    def action_empty(self) -> None:
        self.helm.offer("empty", self._current.name if self._current else None)

    def action_discard(self) -> None:
        self.helm.offer("discard", self.filtered.current)

    def action_edit(self) -> None:
        self.helm.offer("edit_queue", self.filtered.current)

    def action_vacuum(self) -> None:
        self.helm.offer_any("vacuum")

    def action_mend_index(self) -> None:
        self.helm.offer_any("mend_index")

    def action_hold(self) -> None:
        if isinstance(self._current, PgmqQueue):
            self.notify("pgmq has no pause: stop its readers.", markup=False, timeout=4)
        else:
            self.helm.offer("hold", self.filtered.current)

    def as_command(self) -> str:
        one, stuck = self._current, self.query_one("#stuck", Ledger)
        if self.focused is stuck and stuck.current is not None:
            queue, _, job = stuck.current.rpartition("\n")
            return job_command(queue, int(job))
        if one is None:
            return "pgops queue list"
        return peek_command(one.name) if isinstance(one, PgmqQueue) else jobs_command(one.name)
