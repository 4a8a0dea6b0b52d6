"""A document collection from inside: its indexes, what they serve, and whether anybody uses them."""

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable, Static

from pgops.errors import NotFoundError, PgopsError
from pgops.ops.act.actions import Action
from pgops.services.models import DocumentIndex
from pgops.tui import formats
from pgops.tui.commands import find_command
from pgops.tui.keymap import keys
from pgops.tui.screens.ask import failure
from pgops.tui.screens.base import Choice, Helm, Room
from pgops.tui.theme import INK, QUIET, WARN
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink, number
from pgops.tui.widgets.ledger import Column, Ledger, Line

INDEXES = (
    Column("path", "path", 0, most=50),
    Column("index", "index", 40, from_width=110),
    Column("kind", "kind", 6),
    Column("type", "type", 6),
    Column("size", "size", 8, right=True),
    Column("scans", "scans", 8, right=True),
    Column("valid", "valid", 6, ranked=True),
)


def index_line(one: DocumentIndex) -> Line:
    """An index as a row."""
    path, name = formats.clean(one.path or "(whole)", 120), formats.clean(one.name, 80)
    cells = (
        ink(path), ink((name, "quiet")), ink((formats.clean(one.kind, 12), "quiet")),
        ink((one.type or formats.UNKNOWN, "quiet")), number(formats.size(one.bytes)),
        number(formats.count(one.scans_total), "accent" if not one.scans_total else "plain"),
        ink(("✓ yes", "good")) if one.valid else ink(("✕ no", "bad")),
    )  # fmt: skip
    order = (path, name, one.kind, one.type or "", one.bytes, one.scans_total, float(one.valid))
    return Line(one.name, cells, order, one.definition)


def definition(one: DocumentIndex) -> Text:
    """The index as SQL, and what to think of it."""
    text = Text(f"{formats.clean(one.definition, 1_000)}\n", INK)
    if not one.valid:
        text.append("not valid: its building broke off; drop it and build it again", QUIET)
    elif not one.scans_total:
        text.append("never used since the statistics began; every write keeps it up to date", QUIET)
    return text


class CollectionRoom(Room):
    """Fetched with every new View."""

    BINDINGS = keys("filter", "drop_index")
    room = "documents"

    def __init__(self, helm: Helm, collection: str) -> None:
        super().__init__(helm, collection)
        self._collection = collection
        self._indexes: dict[str, DocumentIndex] = {}

    def furniture(self) -> ComposeResult:
        table = Ledger(INDEXES, id="doc-indexes", sort="path", opens=False)
        table.border_title = "indexes beside the primary key"
        yield table
        yield Filter()
        yield Static("looking…", id="definition", markup=False)

    def observed(self) -> None:
        self.run_worker(self._fetch(), exclusive=True, exit_on_error=False)

    async def _fetch(self) -> None:
        try:
            found = await self.helm.source.document_indexes(self._collection)
        except PgopsError as error:
            gone = isinstance(error, NotFoundError) and self._indexes
            said = Text(f"○ {formats.clean(error)}; this is how it was last seen", WARN)
            self.query_one("#definition", Static).update(said if gone else failure(error))
            self.query_one("#doc-indexes", Ledger).set_class(not self._indexes, "-hidden")
            return
        self._indexes = {one.name: one for one in found}
        self.query_one("#doc-indexes", Ledger).set_class(not found, "-hidden")
        self.query_one("#doc-indexes", Ledger).show([index_line(one) for one in found])
        self._chosen()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._chosen()

    def _chosen(self) -> None:
        one = self._indexes.get(self.query_one("#doc-indexes", Ledger).current or "")
        words = self.query_one("#definition", Static)
        if one is not None:
            words.update(definition(one))
        elif not self._indexes:
            words.update(
                Text.assemble(
                    ("○ No index beside the primary key.\n\n", INK), ("try  ", QUIET),
                    ink((f"pgops doc index {formats.clean(self._collection)} PATH", "accent")),
                )
            )  # fmt: skip

    def action_drop(self) -> None:
        """The index under the cursor, or all of it."""
        index, name = self.query_one("#doc-indexes", Ledger).current, formats.clean(self._collection, 60)
        choices = [Choice(f"collection {name} with its documents", Action("drop_documents", self._collection))]
        if index in self._indexes:
            one = Choice(f"index {formats.clean(index, 80)}", Action("drop_index", f"{self._collection}.{index}"))
            choices.insert(0, one)
        self.helm.choose("Drop", choices, "")

    def as_command(self) -> str:
        return find_command(self._collection)
