"""Why jobs died: dead letters grouped by their last error. Enter opens a group's jobs; R and D act on all of them."""

from collections.abc import Sequence
from datetime import datetime

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable, Static

from pgops.ops.act.actions import Action, ActionName
from pgops.services.error_rules import INTERVALS
from pgops.services.models import FailureGroup
from pgops.tui import formats
from pgops.tui.commands import failures_command, requeue_command
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Choice, Helm
from pgops.tui.screens.fetched import Fetched
from pgops.tui.screens.job import JobRoom
from pgops.tui.theme import WARN
from pgops.tui.widgets.empty import emptiness
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink, number
from pgops.tui.widgets.job_lines import JOBS, columns, job_line
from pgops.tui.widgets.ledger import Column, Ledger, Line
from pgops.tui.widgets.spark import cells

SHOWN = 200
GROUPS = (
    Column("jobs", "jobs", 6, right=True),
    Column("queue", "queue", 14),
    Column("kind", "kind", 14, from_width=76),
    Column("last", "last", 7, right=True),
    Column("trend", "last 2 h", INTERVALS, from_width=90),
    Column("first", "since", 7, right=True, from_width=100),
    Column("error", "error, without what differs", 0),
)


def spark(trend: Sequence[int]) -> str:
    """How many died in each interval, in one line."""
    return cells(trend, INTERVALS, 1)[0] if trend else ""


def key_of(one: FailureGroup) -> str:
    return f"{one.queue}\n{one.kind}\n{one.fingerprint}"


def group_line(one: FailureGroup, now: datetime) -> Line:
    """A group as a row."""
    queue, kind, error = (formats.clean(words, 200) for words in (one.queue, one.kind, one.fingerprint))
    last, first = ((now - at).total_seconds() for at in (one.last_at, one.first_at))
    since = formats.duration(first) if one.exact.get("first_at", True) else f">{formats.duration(first)}"
    cells = (
        number(formats.roughly(one.jobs, one.exact, "jobs"), "warn"), ink(queue), ink((kind, "quiet")),
        number(formats.duration(last)), ink((spark(one.trend), "warn")), number(since), ink((error, "warn")),
    )  # fmt: skip
    order = (one.jobs, queue, kind, last, one.trend[-1] if one.trend else 0, first, error)
    raw = {"queue": one.queue, "kind": one.kind, "error": one.fingerprint}
    return Line(key_of(one), cells, order, formats.clean(one.sample, 500), raw=raw)


def group_choices(groups: Sequence[FailureGroup], act: ActionName) -> list[Choice]:
    """The act on several groups: those of a queue together."""
    if len(groups) == 1:
        return [group_choice(groups[0], act)]
    queues: dict[str, list[FailureGroup]] = {}
    for one in groups:
        queues.setdefault(one.queue, []).append(one)
    found = []
    for queue, those in queues.items():
        ids = tuple(sorted({id for one in those for id in one.ids}))
        words = f"{_ladder(act)}{formats.clean(queue, 40)}: {len(ids):,} dead of {len(those)} groups that are marked"
        found.append(group_choice(those[0], act) if len(those) == 1 else Choice(words, Action(act, queue, ids)))
    return found


def group_choice(one: FailureGroup, act: ActionName) -> Choice:
    """The act on the jobs of a group that were looked at."""
    of = "" if one.exact.get("jobs", True) else f" of the newest {one.of:,}"
    words = f"{_ladder(act)}{formats.clean(one.queue, 40)}: {one.jobs:,} dead{of}, {formats.clean(one.fingerprint, 60)}"
    return Choice(words, Action(act, one.queue, one.ids))


def _ladder(act: ActionName) -> str:
    return "ladder, 1, 10, then the rest until the error comes back: " if act == "requeue_ladder" else ""


class FailuresRoom(Fetched):
    """Fetches the groups after each snapshot; a fetch that is still under way is not doubled."""

    BINDINGS = keys("filter", "requeue", "discard")
    room = "queues"

    def __init__(self, helm: Helm, queue: str | None = None) -> None:
        super().__init__(helm, "failures" if queue is None else f"{queue} › failures")
        self._queue = queue
        self._groups: dict[str, FailureGroup] = {}

    def furniture(self) -> ComposeResult:
        yield Static("looking…", id="empty", markup=False)
        table = Ledger(GROUPS, id="failures", sort="jobs", descending=True)
        table.border_title = "why jobs died"
        yield table
        yield Filter()
        yield Static(id="about", markup=False)

    async def fetch(self) -> None:
        found = await self.helm.source.failures(self._queue)
        nothing = emptiness(tuple(found), "No job has died.", "pgops queue failures", "What fails for good is here.")
        self._groups = {key_of(one): one for one in found}
        with self.app.batch_update():
            self.fill(self.filtered, [group_line(one, self.moment(one.last_at)) for one in found], nothing)
            self._chosen()

    @property
    def filtered(self) -> Ledger:
        return self.query_one("#failures", Ledger)

    @property
    def _group(self) -> FailureGroup | None:
        return self._groups.get(self.filtered.current or "")

    def _chosen(self) -> None:
        """One of the group in its own words."""
        one, words = self._group, self.query_one("#about", Static)
        words.set_class(one is None, "-hidden")
        if one is not None:
            lately = f"{spark(one.trend)} {one.trend[-1]:,} in 10 min · " if one.trend else ""
            words.update(Text(f"{lately}job {one.sample_id}: {formats.clean(one.sample, 300)}", WARN))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._chosen()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if (one := self._group) is not None:
            self.app.push_screen(GroupRoom(self.helm, one))

    def action_requeue(self) -> None:
        self._act("Requeue", "requeue_dead", "requeue_ladder")

    def action_discard(self) -> None:
        self._act("Discard", "discard_dead")

    def _act(self, title: str, *acts: ActionName) -> None:
        meant = [self._groups[line.key] for line in self.filtered.meant if line.key in self._groups]
        choices = [choice for act in acts for choice in group_choices(meant, act)]
        self.helm.choose(title, choices, "No group is under the cursor.")

    def as_command(self) -> str:
        return failures_command(self._queue)


class GroupRoom(Fetched):
    """The jobs of one group, the youngest first; those that have left it are gone from here too."""

    BINDINGS = keys("filter", "requeue", "discard")
    room = "queues"

    def __init__(self, helm: Helm, group: FailureGroup) -> None:
        super().__init__(helm, f"{group.queue} › {formats.clean(group.fingerprint, 40)}")
        self._group = group

    def furniture(self) -> ComposeResult:
        yield Static("looking…", id="empty", markup=False)
        yield Ledger(JOBS, id="jobs")
        yield Filter()

    async def fetch(self) -> None:
        table = self.query_one("#jobs", Ledger)
        jobs = await self.helm.source.dead_jobs(self._group.queue, self._group.ids[:SHOWN])
        with self.app.batch_update():
            table.lay(columns("dead", jobs))
            table.show([job_line(job, self.moment(job.created_at)) for job in jobs])
            self.say(None if jobs else Text("○ none of them is dead any more", WARN))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self.app.push_screen(JobRoom(self.helm, self._group.queue, int(str(event.row_key.value))))

    def action_requeue(self) -> None:
        self._act("Requeue", "requeue_dead", "requeue_ladder")

    def action_discard(self) -> None:
        self._act("Discard", "discard_dead")

    def _act(self, title: str, *acts: ActionName) -> None:
        """On the marked jobs, or on the group."""
        ids = tuple(sorted(int(key) for key in self.query_one("#jobs", Ledger).marks))
        words = f"marked: {ids[0]}" if len(ids) == 1 else f"marked: {len(ids)} jobs"
        marked = [Choice(words, Action(acts[0], self._group.queue, ids))] if ids else []
        self.helm.choose(title, [*marked, *(group_choice(self._group, act) for act in acts)], "")

    def as_command(self) -> str:
        return requeue_command(self._group.queue, self._group.ids)
