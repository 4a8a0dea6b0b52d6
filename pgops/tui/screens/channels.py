"""Who listens to which channel, as far as it can be seen: a listener waits, and what it said last was LISTEN."""

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable, Static

from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.services.models import ChannelListener
from pgops.tui import formats
from pgops.tui.commands import channels_command
from pgops.tui.feed import View
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Helm, Room
from pgops.tui.screens.probe import ProbeNote
from pgops.tui.widgets.empty import emptiness
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink, number
from pgops.tui.widgets.ledger import Column, Ledger, Line

LISTENERS = (
    Column("channel", "channel", 0, most=44),
    Column("pid", "pid", 8, right=True),
    Column("application", "application", 22),
    Column("user", "user", 16, from_width=100),
    Column("state", "state", 14),
    Column("for", "for", 7, right=True),
)


def listener_line(one: ChannelListener) -> Line:
    """A channel and a session that listens to it, as a row."""
    channel, application = formats.clean(one.channel, 80), formats.clean(one.application, 80) or formats.UNKNOWN
    user = formats.clean(one.user or formats.UNKNOWN, 60)
    state = ink(("● waits", "good")) if one.hears else ink(("◆ transaction", "warn"))
    cells = (
        ink(channel), number(str(one.pid)), ink(application), ink((user, "quiet")), state,
        number(formats.duration(one.state_s)),
    )  # fmt: skip
    order = (channel, one.pid, application, user, one.state, one.state_s)
    return Line(f"{one.pid} {one.channel}", cells, order, one.channel)


def about(one: ChannelListener) -> Text:
    """A listener in two lines."""
    first = ink(formats.clean(one.channel, 63), ("  pid ", "quiet"), str(one.pid), ("  ", "quiet"),
                formats.clean(one.application, 60))  # fmt: skip
    if one.hears:
        second = ink(("● it waits for messages", "good"))
    else:
        second = ink(("◆ it sits in a transaction and hears nothing: commit after LISTEN", "warn"))
    return Text("\n").join((first, second))


class ChannelsRoom(Room):
    """Of the latest View. The probe is of the channel under the cursor."""

    BINDINGS = keys("filter", "probe", "terminate")
    room = "outbox"

    def __init__(self, helm: Helm) -> None:
        super().__init__(helm, "channels")

    def furniture(self) -> ComposeResult:
        yield Static(id="empty", classes="-hidden", markup=False)
        table = Ledger(LISTENERS, id="listeners-table", sort="channel", opens=False)
        table.border_title = "who listens to which channel"
        yield table
        yield Filter()
        yield Static(id="about", markup=False)

    def show(self, snapshot: Snapshot, view: View) -> None:
        part = snapshot.pubsub
        listening = part if isinstance(part, Unavailable) else part.listening
        nothing = emptiness(
            listening, "Nobody is seen to listen.", "pgops pubsub listen orders",
            "A session is seen that waits after its LISTEN; pg_monitor lets this role see those of others.",
        )  # fmt: skip
        empty = self.query_one("#empty", Static)
        empty.set_class(nothing is None, "-hidden")
        self.filtered.set_class(nothing is not None, "-hidden")
        if nothing is not None:
            empty.update(nothing)
        if not isinstance(part, Unavailable):
            self.filtered.aside = "" if part.exact.get("listening", True) else "not all are seen"
        self.filtered.show([] if isinstance(listening, Unavailable) else [listener_line(one) for one in listening])
        self._chosen()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._chosen()

    @property
    def filtered(self) -> Ledger:
        return self.query_one("#listeners-table", Ledger)

    @property
    def _listener(self) -> ChannelListener | None:
        part = self.view.snapshot.pubsub if self.view and self.view.snapshot else None
        known = () if part is None or isinstance(part, Unavailable) else part.listening
        return next((one for one in known if f"{one.pid} {one.channel}" == self.filtered.current), None)

    def _chosen(self) -> None:
        one, words = self._listener, self.query_one("#about", Static)
        words.set_class(one is None, "-hidden")
        if one is not None:
            words.update(about(one))

    def action_probe(self) -> None:
        one = self._listener
        self.app.push_screen(ProbeNote(self.helm.source, None if one is None else one.channel))

    def action_terminate(self) -> None:
        one = self._listener
        self.helm.offer("terminate", None if one is None else str(one.pid))

    def as_command(self) -> str:
        return channels_command()
