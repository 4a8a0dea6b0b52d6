"""Room 7: document collections in numbers, and what writes to them cost."""

from collections.abc import Callable

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable, Static

from pgops.ops.observe.snapshot import DocumentsPart, Snapshot, items
from pgops.tui import formats
from pgops.tui.commands import indexes_command
from pgops.tui.feed import View
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Room
from pgops.tui.screens.collection import CollectionRoom
from pgops.tui.widgets.empty import emptiness
from pgops.tui.widgets.faces import series_of
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import Piece, ink, number
from pgops.tui.widgets.ledger import Column, Ledger, Line
from pgops.tui.widgets.tile import Face
from pgops.tui.widgets.trend import Trend

COLLECTIONS = (
    Column("collection", "collection", 0, most=44),
    Column("documents", "documents", 9, right=True),
    Column("size", "size", 8, right=True),
    Column("indexes", "indexes", 7, right=True),
    Column("index_size", "idx size", 8, right=True),
    Column("dead", "dead", 6, right=True),
    Column("hot", "hot", 6, right=True),
    Column("writes", "writes/s", 8, right=True),
    Column("total", "writes", 8, right=True, from_width=100),
    Column("scans", "scans", 8, right=True, from_width=110),
)
TRENDS: dict[str, tuple[Callable[[DocumentsPart], float | None], Callable[[DocumentsPart], str], str]] = {
    "documents": (
        lambda one: one.documents, lambda one: formats.roughly(one.documents, one.exact, "documents"), "documents",
    ),
    "dead rows": (lambda one: one.dead_rows, lambda one: formats.count(one.dead_rows), "wait for vacuum"),
    "writes/s": (lambda one: one.writes_per_s, lambda one: formats.rate(one.writes_per_s), "a second"),
}  # fmt: skip


def hot_share(one: DocumentsPart) -> float | None:
    """The share of updates that touched no index, None before the first update."""
    return one.hot_updates_total / one.updates_total if one.updates_total else None


def collection_line(one: DocumentsPart) -> Line:
    """A collection as a row."""
    name, hot = formats.clean(one.name, 80), hot_share(one)
    much = one.dead_rows > 1_000 and one.dead_rows > 0.2 * one.documents
    cells = (
        ink(name),
        number(formats.roughly(one.documents, one.exact, "documents")),
        number(formats.size(one.bytes)),
        number(f"✕{one.index_count}", "bad") if one.invalid_indexes else number(formats.count(one.index_count)),
        number(formats.size(one.index_bytes)),
        number(formats.count(one.dead_rows), "warn" if much else "plain"),
        number(formats.ratio(hot)),
        number(formats.rate(one.writes_per_s)),
        number(formats.count(one.writes_total)),
        number(formats.count(one.scans_total)),
    )
    order = (
        name, one.documents, one.bytes, one.index_count, one.index_bytes, one.dead_rows, hot or 0.0,
        one.writes_per_s or 0.0, one.writes_total, one.scans_total,
    )  # fmt: skip
    return Line(one.name, cells, order, one.name)


def about(one: DocumentsPart) -> Text:
    """A collection in two lines: its table, and what is to be said of its indexes and updates."""
    first = ink((formats.clean(one.table, 80), "plain"), ("  writes ", "quiet"), f"{one.writes_total:,}",
                ("  scans ", "quiet"), f"{one.scans_total:,}", ("  in all ", "quiet"),
                formats.size(one.bytes + one.index_bytes))  # fmt: skip
    said: list[Piece] = []
    if one.invalid_indexes:
        said.append((f"✕ {one.invalid_indexes} of its indexes invalid  ", "bad"))
    if one.unused_indexes:
        said.append((f"● {one.unused_indexes} never used  ", "accent"))
    hot = hot_share(one)
    if hot is None:
        said.append(("no update yet", "quiet"))
    else:
        said += [
            formats.ratio(hot),
            (" of ", "quiet"),
            f"{one.updates_total:,}",
            (" updates touched no index", "quiet"),
        ]
    return Text("\n").join((first, ink(*said)))


def trend_face(view: View, one: DocumentsPart, label: str) -> Face:
    """How `label` of a collection went."""
    value, shown, unit = TRENDS[label]

    def at(snapshot: Snapshot) -> float | None:
        return next((value(then) for then in items(snapshot.documents) if then.name == one.name), None)

    return Face(shown(one), unit, (), series_of(view, at))


class DocumentsRoom(Room):
    """Enter opens a collection."""

    BINDINGS = keys("filter", "drop_documents")
    room = "documents"

    def furniture(self) -> ComposeResult:
        yield Static(id="empty", classes="-hidden", markup=False)
        table = Ledger(COLLECTIONS, id="collections", sort="collection")
        table.border_title = "document collections"
        yield table
        yield Filter()
        yield Static(id="about", markup=False)
        yield Trend(tuple(TRENDS))

    def show(self, snapshot: Snapshot, view: View) -> None:
        nothing = emptiness(
            snapshot.documents, "No collection yet.", "pgops doc create orders",
            "Documents are JSON objects, found by what is in them.",
        )  # fmt: skip
        empty = self.query_one("#empty", Static)
        empty.set_class(nothing is None, "-hidden")
        self.filtered.set_class(nothing is not None, "-hidden")
        if nothing is not None:
            empty.update(nothing)
        self.filtered.show([collection_line(one) for one in items(snapshot.documents)])
        self._chosen()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._chosen()

    def _chosen(self) -> None:
        one, view = self._collection, self.view
        words = self.query_one("#about", Static)
        words.set_class(one is None, "-hidden")
        if one is None or view is None:
            self.query_one(Trend).show(())
            return
        words.update(about(one))
        self.query_one(Trend).show([trend_face(view, one, label) for label in TRENDS])

    @property
    def _collection(self) -> DocumentsPart | None:
        name = self.filtered.current
        known = items(self.view.snapshot.documents) if self.view and self.view.snapshot else ()
        return next((one for one in known if one.name == name), None)

    @property
    def filtered(self) -> Ledger:
        return self.query_one("#collections", Ledger)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self.app.push_screen(CollectionRoom(self.helm, str(event.row_key.value)))

    def action_drop(self) -> None:
        self.helm.offer("drop_documents", self.filtered.current)

    def as_command(self) -> str:
        name = self.filtered.current
        return "pgops doc list" if name is None else indexes_command(name)
