"""Room 3: vector indexes as they are built and set, and a prompt that searches a collection by likeness."""

import re

from textual.app import ComposeResult
from textual.widgets import DataTable, Input, Static

from pgops.errors import PgopsError
from pgops.ops.act.actions import Action, ActionName
from pgops.ops.observe.snapshot import Snapshot, VectorIndexPart, items
from pgops.services.models import IndexMethod, JsonValue
from pgops.services.vector_rules import MAX_INDEXED, MIN_ROWS_A_LIST, lists_for, parse_filter
from pgops.tui import formats
from pgops.tui.commands import act_command
from pgops.tui.feed import View
from pgops.tui.keymap import keys
from pgops.tui.screens.ask import failure
from pgops.tui.screens.base import Choice, Room
from pgops.tui.screens.match import MatchNote
from pgops.tui.widgets.empty import emptiness
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink
from pgops.tui.widgets.ledger import Ledger
from pgops.tui.widgets.vector_lines import INDEXES, RESULTS, about, index_line, key_of, match_line

SHOWN = 20
_NARROWS = re.compile(r"""\s*([A-Za-z_][\w.-]*):("[^"]*"|[^\s:/"][^\s:]*)\s+(?=\S)""")


def asked(typed: str) -> tuple[str, tuple[tuple[str, JsonValue], ...]]:
    """What is looked for, and what metadata must hold: category:books before it narrows the search."""
    wanted = []
    while found := _NARROWS.match(typed):
        wanted.append(parse_filter(f"{found[1]}={found[2]}"))
        typed = typed[found.end() :]
    return typed.strip(), tuple(wanted)


class VectorsRoom(Room):
    """The prompt searches the collection under the cursor."""

    BINDINGS = keys("prompt", "filter_beside", "rebuild", "drop")
    room = "vectors"

    def furniture(self) -> ComposeResult:
        yield Static(id="empty", classes="-hidden", markup=False)
        indexes = Ledger(INDEXES, id="indexes", sort="collection")
        indexes.border_title = "vector indexes"
        yield indexes
        yield Static(id="about", markup=False)
        yield Input(
            placeholder="/  search by likeness: type what you look for; key:value before it narrows", id="prompt"
        )
        yield Static(id="said", markup=False)
        results = Ledger(RESULTS, id="results", sort="likeness", descending=True)
        results.add_class("-none")
        yield results
        yield Filter()

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
        self.query_one("#about", Static).update("" if index is None else about(index, self._known))

    @property
    def _known(self) -> tuple[VectorIndexPart, ...]:
        return items(self.view.snapshot.vectors) if self.view and self.view.snapshot else ()

    @property
    def _index(self) -> VectorIndexPart | None:
        """What the cursor is on."""
        key = self.query_one("#indexes", Ledger).current
        return next((one for one in self._known if key_of(one) == key), None)

    def action_prompt(self) -> None:
        self.query_one("#prompt", Input).focus()

    @property
    def inside_something(self) -> bool:
        return super().inside_something or (self.focused is not None and self.focused.id in ("prompt", "results"))

    def action_back(self) -> None:
        if self.focused is not None and self.focused.id in ("prompt", "results") and not self.holds:
            self.query_one("#indexes", Ledger).focus()
            return
        super().action_back()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id != "prompt":
            return
        index = self._index
        if index is not None and index.collection is None:
            self._say(f"{formats.clean(index.index)} is no collection of pgops; it cannot be searched by text")
        search = self._wanted
        if search is not None:
            self.run_worker(self._search(search), exclusive=True, group="search", exit_on_error=False)

    @property
    def _wanted(self) -> Action | None:
        """The search that stands in the prompt, if there is one and it can be done."""
        index = self._index
        words, wanted = asked(self.query_one("#prompt", Input).value)
        if not words or index is None or index.collection is None:
            return None
        return Action("search", index.collection, query=words, limit=SHOWN, filter=wanted)

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
        index = self._index
        nothing = "There is no index of a pgops collection under the cursor."
        most = MAX_INDEXED.get((index.type if index else None) or "", 0)
        if index is not None and (index.dimensions or 0) > most > 0:
            nothing = f"No index takes {index.dimensions:,} dimensions of {index.type}; of halfvec up to 4,000."
        self.helm.choose("Build an index", builds(index) if index is not None else [], nothing)

    def action_drop(self) -> None:
        self.helm.offer("drop", self._index.collection if self._index is not None else None)

    def as_command(self) -> str:
        search = self._wanted
        return "pgops vector list" if search is None else act_command(search)


def builds(index: VectorIndexPart) -> list[Choice]:
    """How the index of a collection can be built, or built anew; nothing for what is not ours or takes none."""
    name, there = index.collection, index.index is not None
    if name is None or (not there and (index.dimensions or 0) > MAX_INDEXED.get(index.type or "", 0)):
        return []
    act: ActionName = "rebuild_index" if there else "build_index"
    choices: list[Choice] = []
    if index.rows >= MIN_ROWS_A_LIST:
        usual, wanted = lists_for(index.rows), index.lists_set
        numbers = [(usual, f"usual for {index.rows:,} rows")]
        numbers += [(wanted, "as it is set now")] if wanted and wanted != usual else []
        for lists, why in numbers:
            words = f"ivfflat, {lists:,} {'list' if lists == 1 else 'lists'}: {why}"
            choices.append(Choice(words, Action(act, name, lists=lists, method=_other(index, "ivfflat"))))
    again = "as it is now" if index.method == "hnsw" else "finds more, and is built for longer"
    choices.append(Choice(f"hnsw: {again}", Action(act, name, method=_other(index, "hnsw"))))
    return choices[::-1] if index.method == "hnsw" else choices


def _other(index: VectorIndexPart, method: IndexMethod) -> IndexMethod | None:
    """The method where it has to be said: it is not what the index has, or would get."""
    return None if method == (index.method or "ivfflat") else method
