"""Room 5: who follows the outbox and how far behind, and what pub/sub holds."""

from collections.abc import Callable

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import DataTable, Static

from pgops.ops.observe.snapshot import OutboxSubscription, Snapshot, items
from pgops.tui import formats
from pgops.tui.commands import subscription_command
from pgops.tui.feed import View
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Room
from pgops.tui.screens.channels import ChannelsRoom
from pgops.tui.screens.course import Course, of_subscription
from pgops.tui.screens.probe import ProbeNote
from pgops.tui.screens.subscription import SubscriptionRoom
from pgops.tui.widgets.empty import emptiness
from pgops.tui.widgets.faces import series_of
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import Piece, ink, number
from pgops.tui.widgets.ledger import Column, Ledger, Line
from pgops.tui.widgets.store_faces import PUBSUB_FACES
from pgops.tui.widgets.tile import Face, Tile
from pgops.tui.widgets.trend import Trend

SUBSCRIPTIONS = (
    Column("subscription", "subscription", 0, most=44),
    Column("sink", "sink", 32, from_width=100),
    Column("behind", "behind", 8, right=True),
    Column("oldest", "oldest", 8, right=True),
    Column("rate", "relayed/s", 10, right=True),
    Column("relayed", "relayed", 9, right=True, from_width=100),
    Column("parked", "parked", 8, right=True),
    Column("relays", "relays", 7, right=True),
)
_Value = Callable[[OutboxSubscription], float | None]
TRENDS: dict[str, tuple[_Value, Callable[[OutboxSubscription], str]]] = {
    "behind": (lambda one: one.lag_events, lambda one: formats.roughly(one.lag_events, one.exact, "lag_events")),
    "oldest": (lambda one: one.lag_s, lambda one: formats.duration(one.lag_s)),
    "relayed/s": (lambda one: one.relayed_per_s, lambda one: formats.rate(one.relayed_per_s)),
}
UNITS = {"behind": "events", "oldest": "waited", "relayed/s": "a second"}


def subscription_line(one: OutboxSubscription) -> Line:
    """A subscription as a row."""
    name, sink = formats.clean(one.name, 80), formats.clean(one.sink, 120)
    parked = formats.roughly(one.parked, one.exact, "parked")
    cells = (
        ink(("‖ ", "warn"), name, (" paused", "warn")) if one.paused else ink(name),
        ink((sink, "quiet")),
        number(formats.roughly(one.lag_events, one.exact, "lag_events")),
        number(formats.duration(one.lag_s)),
        number(formats.rate(one.relayed_per_s)),
        number(formats.count(one.relayed_total)),
        number(f"◆{parked}", "warn") if one.parked else number(parked),
        number(f"✕{one.relays}", "bad") if one.relays == 0 and not one.paused and one.lag_events
        else number(formats.count(one.relays)),
    )  # fmt: skip
    order = (
        name, sink, one.lag_events, one.lag_s or 0.0, one.relayed_per_s or 0.0, one.relayed_total, one.parked,
        one.relays or 0,
    )  # fmt: skip
    return Line(one.name, cells, order, one.name)


def about(one: OutboxSubscription) -> Text:
    """A subscription in two lines: where it goes to, and who brings it there."""
    sink = formats.clean(one.sink, 120) or "a sink that is not said"
    first = ink(formats.clean(one.name, 60), (" to ", "quiet"), sink,
                ("  relayed ", "quiet"), f"{one.relayed_total:,}", (" in all", "quiet"))  # fmt: skip
    state: list[Piece]
    if one.paused:
        state = [("‖ paused", "warn"), (": nothing is delivered until it goes on", "quiet")]
    elif one.relays is None:
        state = [("how many relays live is unknown", "quiet")]
    elif one.relays == 0:
        state = [("✕ no relay: " if one.lag_events else "○ no relay: ", "bad" if one.lag_events else "quiet"),
                 (f"pgops outbox relay --subscription {formats.clean(one.name, 60)}", "accent")]  # fmt: skip
    elif one.trouble:
        state = [("✕ no way through: ", "bad"), formats.clean(one.trouble, 100)]
    else:
        state = [("● ", "good"), f"{one.relays} {'relay delivers' if one.relays == 1 else 'relays deliver'}"]
    if one.replaying:
        state.append(("  ↺ replaying", "accent"))
    if one.held_keys:
        state.append((f"  ‖ {one.held_keys:,} {'key' if one.held_keys == 1 else 'keys'} held", "warn"))
    if one.parked:
        parked = formats.roughly(one.parked, one.exact, "parked")
        state += [(f"  ◆ {parked} parked", "warn"), (": later events of their keys wait", "quiet")]
    return Text("\n").join((first, ink(*state)))


def trend_face(view: View, name: str, label: str, one: OutboxSubscription) -> Face:
    """How `label` of the subscription `name` went."""
    value, shown = TRENDS[label]

    def at(snapshot: Snapshot) -> float | None:
        return next((value(one) for one in items(snapshot.outbox) if one.name == name), None)

    return Face(shown(one), UNITS[label], (), series_of(view, at))


class OutboxRoom(Room):
    """The trend and the words are of the subscription under the cursor."""

    BINDINGS = keys("filter", "channels", "probe", "hold_events", "replay", "keep", "purge_events", "unsubscribe")
    room = "outbox"

    def furniture(self) -> ComposeResult:
        yield Static(id="empty", classes="-hidden", markup=False)
        table = Ledger(SUBSCRIPTIONS, id="outbox-subscriptions", sort="subscription")
        table.border_title = "outbox subscriptions"
        yield table
        yield Filter()
        yield Static(id="about", markup=False)
        yield Trend(tuple(TRENDS))
        with Container(id="pubsub"):
            for id, (title, _) in PUBSUB_FACES.items():
                yield Tile(title, id)

    def course(self) -> tuple[str, tuple[Course, ...]]:
        name = self.filtered.current
        return super().course() if name is None else (f"subscription {formats.clean(name, 60)}", of_subscription(name))

    def show(self, snapshot: Snapshot, view: View) -> None:
        nothing = emptiness(
            snapshot.outbox, "No subscription yet.", "pgops outbox subscribe billing --topic orders",
            "Events are kept; a subscription follows them, and a relay brings them to a sink.",
        )  # fmt: skip
        empty = self.query_one("#empty", Static)
        empty.set_class(nothing is None, "-hidden")
        self.filtered.set_class(nothing is not None, "-hidden")
        if nothing is not None:
            empty.update(nothing)
        self.filtered.show([subscription_line(one) for one in items(snapshot.outbox)])
        self._chosen()
        for id, (_, face) in PUBSUB_FACES.items():
            self.query_one(f"#{id}", Tile).show(face(snapshot, view))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._chosen()

    def _chosen(self) -> None:
        one, view = self._subscription, self.view
        words = self.query_one("#about", Static)
        words.set_class(one is None, "-hidden")
        if one is None or view is None:
            self.query_one(Trend).show(())
            return
        words.update(about(one))
        self.query_one(Trend).show([trend_face(view, one.name, label, one) for label in TRENDS])

    @property
    def _subscription(self) -> OutboxSubscription | None:
        name = self.filtered.current
        known = items(self.view.snapshot.outbox) if self.view and self.view.snapshot else ()
        return next((one for one in known if one.name == name), None)

    @property
    def filtered(self) -> Ledger:
        return self.query_one("#outbox-subscriptions", Ledger)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if (name := self.filtered.current) is not None:
            self.app.push_screen(SubscriptionRoom(self.helm, name))

    def action_hold_events(self) -> None:
        self.helm.offer("hold_events", self.filtered.current)

    def action_replay(self) -> None:
        self.helm.offer("replay", self.filtered.current)

    def action_keep(self) -> None:
        self.helm.offer_any("keep")

    def action_purge_events(self) -> None:
        self.helm.offer_any("purge_events")

    def action_unsubscribe(self) -> None:
        self.helm.offer("unsubscribe", self.filtered.current)

    def action_channels(self) -> None:
        self.app.push_screen(ChannelsRoom(self.helm))

    def action_probe(self) -> None:
        self.app.push_screen(ProbeNote(self.helm.source))

    def as_command(self) -> str:
        name = self.filtered.current
        return "pgops outbox list" if name is None else subscription_command(name)
