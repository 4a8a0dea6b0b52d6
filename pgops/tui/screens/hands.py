"""What hands do in every room: filter its tables, export them, and let filters and marks go again."""

from datetime import UTC, datetime
from pathlib import Path

from textual.screen import Screen
from textual.widgets import Input

from pgops.tui.export import file_name, rows_of
from pgops.tui.formats import clean
from pgops.tui.moving import Way, move
from pgops.tui.screens.export import ExportNote
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ledger import Ledger


class Hands(Screen[None]):
    """A screen with tables, of which the keys mean the one that has the focus, or had it last."""

    def __init__(self) -> None:
        super().__init__()
        self._aim: Ledger | None = None

    @property
    def filtered(self) -> Ledger | None:
        """The table that is meant where none has had the focus."""
        return self.query(Ledger).first() if self.query(Ledger) else None

    @property
    def aimed(self) -> Ledger | None:
        """The table that the keys mean."""
        if isinstance(self.focused, Ledger):
            return self.focused
        return self._aim if self._aim is not None and self._aim.is_attached else self.filtered

    @property
    def _box(self) -> Filter | None:
        return self.query(Filter).first() if self.query(Filter) else None

    def action_move(self, way: Way) -> None:
        move(self.focused, way)

    # --- the filter ------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        box, table = self._box, self.aimed
        if box is not None and table is not None:
            self._aim = table
            box.open(table.query_words, table.complete)
            self.refresh_bindings()

    def on_input_changed(self, event: Input.Changed) -> None:
        if isinstance(event.input, Filter) and self.aimed is not None:
            self.aimed.set_query(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if isinstance(event.input, Filter) and self.aimed is not None:
            self.aimed.focus()
            event.input.set_class(not event.value, "-hidden")

    # --- the export ------------------------------------------------------------------------------------------

    def action_export(self) -> None:
        """What the table shows, by its filter and its order, into a file."""
        table = self.aimed
        lines = table.shown_lines if table is not None and table.display else []
        if table is None or not lines:
            self.notify("There is no line here that could be exported.", markup=False, timeout=4)
            return
        path = Path.cwd() / file_name(self._called(table), datetime.now(UTC))
        note = ExportNote(path, rows_of(table.all_columns, lines), table.query_words.strip())
        self.app.push_screen(note, self._exported)

    def _called(self, table: Ledger) -> str:
        return table.id or "lines"

    def _exported(self, path: Path | None) -> None:
        if path is not None:
            self.notify(clean(path), title="✓ Exported", markup=False, timeout=8)

    # --- letting go ------------------------------------------------------------------------------------------

    @property
    def holds(self) -> bool:
        """Whether rows are marked, or hidden by a filter, or one is being typed."""
        in_use = self._box is not None and not self._box.has_class("-hidden")
        return in_use or any(table.marks or table.query_words for table in self.query(Ledger))

    def let_go(self) -> bool:
        """Let the marks go, or else the filters; whether there was anything."""
        box, tables = self._box, list(self.query(Ledger))
        marked = [table for table in tables if table.marks]
        if marked and not (box is not None and box.has_focus):
            for table in marked:
                table.unmark()
        elif self.holds:
            for table in tables:
                table.set_query("")
            if box is not None:
                box.value = ""
                box.add_class("-hidden")
            if self.aimed is not None:
                self.aimed.focus()
        else:
            return False
        self.refresh_bindings()
        return True
