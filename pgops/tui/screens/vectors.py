"""Room 3: vector indexes as they are built and set, and a prompt that searches one by likeness."""

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable, Input, Static

from pgops.errors import PgopsError
from pgops.ops.actions import Action
from pgops.ops.snapshot import Snapshot, VectorIndexPart, items
from pgops.services.vector_rules import lists_for
from pgops.tui import formats
from pgops.tui.commands import act_command
from pgops.tui.feed import View
from pgops.tui.keymap import keys
from pgops.tui.screens.ask import failure
from pgops.tui.screens.base import Choice, Room
from pgops.tui.screens.match import MatchNote
from pgops.tui.theme import Tone
from pgops.tui.widgets.empty import emptiness
from pgops.tui.widgets.ink import Piece, ink, number
from pgops.tui.widgets.ledger import Column, Ledger, Line

SHOWN = 20
BAR = 12

INDEXES = (
    Column("collection", "collection", 0, most=44),
    Column("method", "method", 7, from_width=90),
    Column("rows", "rows", 7, right=True),
    Column("lists", "lists", 9, right=True),
    Column("per", "per list", 8, right=True),
    Column("size", "size", 8, right=True),
    Column("valid", "valid", 6),
    Column("searches", "searches", 8, right=True, from_width=100),
    Column("recall", "recall", 12, right=True),
    Column("index", "index", 28, from_width=130),
)
RESULTS = (
    Column("likeness", "likeness", BAR + 6),
    Column("id", "id", 8, right=True),
    Column("content", "content", 0),
)


def index_line(one: VectorIndexPart) -> Line:
    """An index as a row."""
    name = formats.clean(one.collection or one.table, 80)
    built, wanted = one.lists_built or one.lists_set, one.lists_set
    lists: list[Piece] = [formats.count(built)]
    if one.lists_built and wanted and one.lists_built != wanted:
        lists.append((f"→{formats.count(wanted)}", "warn"))
    per = one.rows / built if built else None
    recall: Tone = "quiet" if one.recall is None else "warn" if one.recall < 0.9 else "plain"
    cells = (
        ink(name), ink((formats.clean(one.method, 12), "quiet")), number(formats.roughly(one.rows, one.exact, "rows")),
        ink(*lists, right=True), number(formats.count(per)), number(formats.size(one.bytes)),
        ink(("✓ yes", "good")) if one.valid else ink(("✕ no", "bad")),
        number(formats.count(one.searches_total)),
        number("not measured" if one.recall is None else formats.ratio(one.recall), recall),
        ink((formats.clean(one.index, 80), "quiet")),
    )  # fmt: skip
    order = (
        name, one.method, one.rows, built or 0, per or 0.0, one.bytes, float(one.valid), one.searches_total,
        one.recall or 0.0, one.index,
    )  # fmt: skip
    return Line(f"{one.table}\n{one.index}", cells, order, one.index)


def about(one: VectorIndexPart) -> Text:
    """An index in two lines: what searches cost and find, and what a rebuild would change."""
    probes = formats.UNKNOWN if one.probes is None else f"{one.probes} of {formats.count(one.lists_built)} lists"
    first = ink((formats.clean(one.index, 60), "plain"), ("  a search reads ", "quiet"), probes,
                ("  searches ", "quiet"), f"{formats.rate(one.searches_per_s)}/s")  # fmt: skip
    if one.recall is None:
        second = ink(("recall not measured: ", "quiet"), (f"pgops vector recall {one.collection or ''}", "accent"))
    else:
        between = f" ({formats.ratio(one.recall_low)} to {formats.ratio(one.recall_high)})"
        second = ink(("recall ", "quiet"), formats.ratio(one.recall), between,
                     (f"  measured {formats.stamp(one.recall_at)}", "quiet"))  # fmt: skip
    if one.lists_built and one.lists_set and one.lists_built != one.lists_set:
        second.append_text(ink((f"  ◆ set to {one.lists_set:,}, B rebuilds", "warn")))
    return Text("\n").join((first, second))


def match_line(place: int, id: int, score: float, content: str) -> Line:
    """A match as a row."""
    filled, rest = formats.bar(score, BAR)
    text = formats.clean(" ".join(content.split()), 400)
    cells = (ink((filled, "accent"), (rest, "quiet"), f" {score:.3f}"), number(str(id)), ink(text))
    return Line(str(id), cells, (-score, id, text), content)


class VectorsRoom(Room):
    """The prompt searches the collection under the cursor."""

    BINDINGS = keys("prompt", "rebuild", "drop")
    room = "vectors"

    def furniture(self) -> ComposeResult:
        yield Static(id="empty", classes="-hidden", markup=False)
        indexes = Ledger(INDEXES, id="indexes", sort="collection")
        indexes.border_title = "vector indexes"
        yield indexes
        yield Static(id="about", markup=False)
        yield Input(placeholder="/  search by likeness: type what you look for", id="prompt")
        yield Static(id="said", markup=False)
        results = Ledger(RESULTS, id="results", sort="likeness")
        results.add_class("-none")
        yield results

    def show(self, snapshot: Snapshot, view: View) -> None:
        nothing = emptiness(
            snapshot.vectors, "No vector index yet.", "pgops vector create docs --help",
            "Create a collection, add rows, then: pgops vector build docs",
        )  # fmt: skip
        empty = self.query_one("#empty", Static)
        empty.set_class(nothing is None, "-hidden")
        for id in ("#indexes", "#about", "#prompt", "#said", "#results"):
            self.query_one(id).set_class(nothing is not None, "-hidden")
        if nothing is not None:
            empty.update(nothing)
        self.query_one("#indexes", Ledger).show([index_line(one) for one in items(snapshot.vectors)])
        self._about()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if event.data_table.id == "indexes":
            self._about()

    def _about(self) -> None:
        index = self._index
        self.query_one("#about", Static).update(about(index) if index is not None else "")

    @property
    def _index(self) -> VectorIndexPart | None:
        key = self.query_one("#indexes", Ledger).current
        known = items(self.view.snapshot.vectors) if self.view and self.view.snapshot else ()
        return next((one for one in known if f"{one.table}\n{one.index}" == key), None)

    def action_prompt(self) -> None:
        self.query_one("#prompt", Input).focus()

    @property
    def inside_something(self) -> bool:
        return super().inside_something or (self.focused is not None and self.focused.id in ("prompt", "results"))

    def action_back(self) -> None:
        if self.focused is not None and self.focused.id in ("prompt", "results"):
            self.query_one("#indexes", Ledger).focus()
            return
        super().action_back()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        words, index = event.value.strip(), self._index
        if not words or index is None:
            return
        if index.collection is None:
            self._say(f"{formats.clean(index.index)} is no collection of pgops; it cannot be searched by text")
            return
        search = Action("search", index.collection, query=words, limit=SHOWN)
        self.run_worker(self._search(search), exclusive=True, group="search", exit_on_error=False)

    async def _search(self, search: Action) -> None:
        self._say(f"searching {formats.clean(search.target)}…")
        try:
            found = await self.helm.source.run(search)
        except PgopsError as error:
            self.query_one("#said", Static).update(failure(error))
            return
        self._say(found.message if found.rows else "nothing is like that")
        results = self.query_one("#results", Ledger)
        results.set_class(not found.rows, "-none")
        results.show([match_line(place, *row) for place, row in enumerate(found.rows)])
        if found.rows:
            results.focus()
            results.move_cursor(row=0, animate=False)

    def _say(self, words: str) -> None:
        self.query_one("#said", Static).update(ink((formats.clean(words), "quiet")))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        line = self.query_one("#results", Ledger).current_line
        if event.data_table.id == "indexes":
            self.action_prompt()
        elif line is not None:
            self.app.push_screen(MatchNote(line.key, line.value))

    def action_rebuild(self) -> None:
        choices = rebuild_choices(self._index) if self._index is not None else []
        self.helm.choose("Rebuild with", choices, "There is no ivfflat index of a pgops collection under the cursor.")

    def action_drop(self) -> None:
        self.helm.offer("drop", self._index.collection if self._index is not None else None)

    def as_command(self) -> str:
        words, index = self.query_one("#prompt", Input).value.strip(), self._index
        if words and index is not None and index.collection is not None:
            return act_command(Action("search", index.collection, query=words, limit=SHOWN))
        return "pgops vector list"


def rebuild_choices(index: VectorIndexPart) -> list[Choice]:
    """With how many lists an index could be rebuilt, if it is one that can."""
    if index.collection is None or index.method != "ivfflat":
        return []
    usual, wanted = lists_for(index.rows), index.lists_set
    choices = [_rebuild(index.collection, usual, f"usual for {index.rows:,} rows")]
    if wanted and wanted != usual:
        choices.append(_rebuild(index.collection, wanted, "as it is set now"))
    return choices


def _rebuild(collection: str, lists: int, why: str) -> Choice:
    words = f"{lists:,} {'list' if lists == 1 else 'lists'}: {why}"
    return Choice(words, Action("rebuild_index", collection, lists=lists))
