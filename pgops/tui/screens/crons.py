"""Recurring jobs: when each runs next and did last. P pauses or resumes, N runs one now, D removes it."""

from datetime import datetime

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable, Static

from pgops.ops.act.actions import Action, ActionName
from pgops.services.models import CronEntry
from pgops.tui import formats
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Choice, Helm
from pgops.tui.screens.fetched import Fetched
from pgops.tui.screens.jobs import JobsRoom
from pgops.tui.widgets.empty import emptiness
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink, number
from pgops.tui.widgets.ledger import Column, Ledger, Line

ENTRIES = (
    Column("name", "recurring job", 0, most=36),
    Column("expression", "expression", 15),
    Column("timezone", "time zone", 20, from_width=110),
    Column("queue", "queue", 16, from_width=96),
    Column("next", "next in", 7, right=True),
    Column("last", "last ago", 8, right=True),
    Column("ticks", "ticks", 6, right=True),
    Column("skipped", "skipped", 7, right=True),
)
FAR = 10**12


def entry_line(one: CronEntry, now: datetime) -> Line:
    """An entry as a row."""
    name, expression = formats.clean(one.name, 80), formats.clean(one.expression, 60)
    zone, queue = formats.clean(one.timezone, 60), formats.clean(one.queue, 60)
    until = None if one.next_at is None else (one.next_at - now).total_seconds()
    since = None if one.last_at is None else (now - one.last_at).total_seconds()
    late = until is not None and until < -60
    cells = (
        ink(("‖ ", "warn"), name, (" paused", "warn")) if one.paused else ink(name),
        ink(expression), ink((zone, "quiet")), ink((queue, "quiet")),
        number("◆ due", "bad") if late else number(formats.duration(until)), number(formats.duration(since)),
        number(formats.count(one.ticks)), number(formats.count(one.skipped), "warn" if one.skipped else "plain"),
    )  # fmt: skip
    order = (
        name, expression, zone, queue, FAR if until is None else until, FAR if since is None else since, one.ticks,
        one.skipped,
    )  # fmt: skip
    return Line(one.name, cells, order, one.name)


def about(one: CronEntry) -> Text:
    """An entry in two lines: what it adds, and its moments."""
    first = ink(
        (formats.clean(one.expression, 60), "plain"), (f" {formats.clean(one.timezone, 40)}", "quiet"),
        ("  adds ", "quiet"), formats.clean(one.kind, 40), (" to ", "quiet"), formats.clean(one.queue, 40),
        ("  missed ", "quiet"), one.missed, *(("  overlaps",) if one.overlap else ()),
    )  # fmt: skip
    job = () if one.last_id is None else ((" job ", "quiet"), str(one.last_id))
    second = ink(
        ("next ", "quiet"), formats.stamp(one.next_at), ("  last ", "quiet"), formats.stamp(one.last_at), *job
    )  # fmt: skip
    return Text("\n").join((first, second))


class CronsRoom(Fetched):
    """Fetched with every new View. Enter opens the queue."""

    BINDINGS = keys("filter", "hold_cron", "run_cron", "remove_cron")
    room = "queues"

    def __init__(self, helm: Helm) -> None:
        super().__init__(helm, "recurring jobs")
        self._entries: dict[str, CronEntry] = {}

    def furniture(self) -> ComposeResult:
        yield Static("looking…", id="empty", markup=False)
        table = Ledger(ENTRIES, id="crons", sort="next")
        table.border_title = "recurring jobs"
        yield table
        yield Filter()
        yield Static(id="about", markup=False)

    async def fetch(self) -> None:
        found = await self.helm.source.crons()
        nothing = emptiness(
            found, "No recurring job yet.", "pgops queue cron add nightly '0 3 * * *' --queue email",
            "Workers add a job whenever its timetable fires.",
        )  # fmt: skip
        self._entries = {one.name: one for one in found}
        with self.app.batch_update():
            self.fill(self.filtered, [entry_line(one, self.moment(one.created_at)) for one in found], nothing)
            self._chosen()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._chosen()

    @property
    def filtered(self) -> Ledger:
        return self.query_one("#crons", Ledger)

    @property
    def _entry(self) -> CronEntry | None:
        return self._entries.get(self.filtered.current or "")

    def _chosen(self) -> None:
        one, words = self._entry, self.query_one("#about", Static)
        words.set_class(one is None, "-hidden")
        if one is not None:
            words.update(about(one))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if (one := self._entry) is not None:
            self.app.push_screen(JobsRoom(self.helm, one.queue))

    def action_hold(self) -> None:
        self._act("cron_resume" if self._entry is not None and self._entry.paused else "cron_pause")

    def action_run_cron(self) -> None:
        self._act("cron_run")

    def action_remove_cron(self) -> None:
        self._act("cron_remove")

    def _act(self, name: ActionName) -> None:
        one = self._entry
        choices = [Choice(name, Action(name, one.name))] if one is not None else []
        self.helm.choose("Recurring job", choices, "There is no recurring job under the cursor.")

    def as_command(self) -> str:
        return "pgops queue cron list"
