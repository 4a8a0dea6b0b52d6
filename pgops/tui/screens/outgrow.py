"""Room 9: the outgrow ledger: up to where one PostgreSQL does, today's load, and when it will be too much."""

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable, Static

from pgops.ops.observe.outgrow import age_words, pace, reached, shares
from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.ops.observe.snapshot_outgrow import OutgrowLine, OutgrowPart
from pgops.ops.wording import figure
from pgops.tui import formats
from pgops.tui.feed import View
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Room
from pgops.tui.theme import Tone
from pgops.tui.widgets.empty import emptiness
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import Piece, ink, number
from pgops.tui.widgets.ledger import Column, Ledger, Line

LINES = (
    Column("name", "line", 0, most=26),
    Column("value", "today", 12, right=True),
    Column("line", "does until", 12, right=True),
    Column("share", "share", 6, right=True),
    Column("bar", "", 12, from_width=96),
    Column("growth", "a day", 11, right=True, from_width=84),
    Column("reached", "reached", 16, ranked=True),
)
MEASURED = ("1/s", "ms", "s", "bytes", "bytes/s")
NEVER = 10.0**12


def tone_of(share: float | None) -> Tone:
    """Crossed is bad, the last fifth a warning."""
    return "plain" if share is None or share < 0.8 else "warn" if share < 1 else "bad"


def outgrow_line(one: OutgrowLine) -> Line:
    """A line of the ledger as a row."""
    tone = tone_of(one.share)
    about = "~" if one.exact.get("value") is False and one.value is not None else ""
    full, empty = formats.bar(min(one.share or 0.0, 1.0), 12)
    when = f"{one.crosses_at:%Y-%m-%d}" if one.crosses_at is not None else reached(one)
    unit = one.unit if one.unit in MEASURED else ""
    cells = (
        ink((one.name, tone)), number("–" if one.value is None else about + figure(one.value, unit), tone),
        number(figure(one.line, unit)), number(formats.ratio(one.share), tone), ink((full, tone), (empty, "quiet")),
        number(pace(one)), ink(when),
    )  # fmt: skip
    moment = NEVER if one.crosses_at is None else one.crosses_at.timestamp()
    order = (
        one.name, one.value or 0.0, one.line, one.share or 0.0, one.share or 0.0, one.growth_per_day or 0.0, moment
    )  # fmt: skip
    return Line(one.name, cells, order, one.name)


def written(part: OutgrowPart) -> Text:
    """Who writes how much, and how old the history is."""
    pieces: list[Piece] = [(age_words(part), "quiet")]
    found = shares(part)
    if found:
        pieces.append(("   written: ", "quiet"))
    for name, share in found:
        pieces += [(f"{name} ", "quiet"), f"{share:.0%}  "]
    return ink(*pieces)


class OutgrowRoom(Room):
    """One table; under it what to do at the line under the cursor, and who writes how much."""

    BINDINGS = keys("filter")
    room = "outgrow"

    def furniture(self) -> ComposeResult:
        yield Static(id="empty", classes="-hidden", markup=False)
        table = Ledger(LINES, id="outgrow", sort="share", descending=True, opens=False)
        table.border_title = "when to move on"
        yield table
        yield Filter()
        yield Static(id="written", markup=False)
        yield Static(id="remedy", markup=False)

    def show(self, snapshot: Snapshot, view: View) -> None:
        part = snapshot.outgrow
        lines = part if isinstance(part, Unavailable) else part.lines
        nothing = emptiness(lines, "No ledger yet.", "pgops queue work module:registry", "A worker writes its history.")
        self.query_one("#empty", Static).set_class(nothing is None, "-hidden")
        self.filtered.set_class(nothing is not None, "-hidden")
        if nothing is not None or isinstance(part, Unavailable):
            self.query_one("#empty", Static).update(nothing or "")
            return
        self.filtered.show([outgrow_line(one) for one in part.lines])
        self.query_one("#written", Static).update(written(part))
        self._chosen()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._chosen()

    @property
    def filtered(self) -> Ledger:
        return self.query_one("#outgrow", Ledger)

    def _chosen(self) -> None:
        part = self.view.snapshot.outgrow if self.view and self.view.snapshot else None
        if not isinstance(part, OutgrowPart):
            return
        one = next((line for line in part.lines if line.name == self.filtered.current), None)
        if one is not None:
            words = ink((f"{one.what}; reached: {reached(one)}\n", "quiet"), ("→ ", "accent"), one.remedy)
            words.no_wrap = False
            self.query_one("#remedy", Static).update(words)

    def as_command(self) -> str:
        return "pgops outgrow"
