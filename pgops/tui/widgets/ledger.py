"""A table that is diffed: rows are known by key, a cell is touched only where it changed, the cursor stays on its row.

The rule: `show` gets all lines, in any order; filter, sort and marks are the table's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual import events
from textual.coordinate import Coordinate
from textual.message import Message
from textual.widgets import DataTable

from pgops.tui.filtering import Term, complete, parse, passes, trouble
from pgops.tui.formats import clean
from pgops.tui.keymap import keys
from pgops.tui.theme import ACCENT
from pgops.tui.widgets.lines import Column, Line, footing, key_named, numbers, rest, seen, tagged

__all__ = ["Column", "Ledger", "Line"]


class _First(Text):
    """The first cell of a row carries the row's place."""

    place: int = 0


class Ledger(DataTable[Text]):
    """Lines under columns."""

    BINDINGS = keys("open", "sort", "reverse", "mark", "mark_range", "mark_all", "copy")

    @dataclass
    class Sideways(Message):
        """Left or right was pressed in a table whose columns all fit."""

        step: int

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        id: str,
        sort: str = "",
        descending: bool = False,
        opens: bool = True,
    ) -> None:
        super().__init__(id=id, cursor_type="row", cursor_foreground_priority="renderable")
        self.all_columns = tuple(columns)
        self._names = [column.key for column in columns]
        self.sort_by = sort
        self.descending = descending
        self.opens = opens
        self.query_words = ""
        self.marks: set[str] = set()
        self._lines: tuple[Line, ...] = ()
        self._shown: tuple[Column, ...] = ()
        self._laid_out_for = 0
        self._cells: dict[str, tuple[Text, ...]] = {}
        self._sought = ""
        self._anchor: str | None = None
        self._terms: tuple[Term, ...] = ()
        self._told = ""
        self.aside = ""

    # --- what it shows ---------------------------------------------------------------------------------------

    def show(self, lines: Sequence[Line]) -> None:
        """Show these; nothing is touched that did not change. Of two lines with one key the last is shown."""
        self._lines = tuple({line.key: line for line in lines}.values())
        self.marks = self._kept_marks()
        self._redraw()

    def _kept_marks(self) -> set[str]:
        """A mark goes with its row."""
        return self.marks & {line.key for line in self._lines}

    def lay(self, columns: Sequence[Column]) -> None:
        """Show these of the columns that it was made with, in this order and as wide as they say."""
        if tuple(columns) != self.all_columns:
            self.all_columns = tuple(columns)
            self._rebuild()

    def _redraw(self) -> None:
        if not self._shown:
            return
        wanted = self._arranged(self._terms)
        at = self.current
        gone = self._cells.keys() - {line.key for line in wanted}
        if len(gone) > 50:
            self.clear()
            self._cells.clear()
        else:
            for key in gone:
                self.remove_row(key)
                del self._cells[key]
        for place, line in enumerate(wanted):
            self._put(line, place)
        if [str(row.key.value) for row in self.ordered_rows] != [line.key for line in wanted]:
            self.sort(self._shown[0].key, key=lambda cell: cell.place)
        if at is not None and at in self._cells and self.current != at:
            self.move_cursor(row=self.get_row_index(at), animate=False, scroll=True)
        self._tell()
        self._seek()

    def go_to(self, words: str) -> None:
        """Put the cursor on the line with this key or value, as soon as it is shown; a filter that hides it ends."""
        self._sought = words
        self._redraw()

    def _seek(self) -> None:
        """Once there are lines: what is not among them is not waited for."""
        if self._sought and self._lines:
            key, self._sought = key_named(self._lines, self._sought), ""
            if key is not None:
                if key not in self._cells:
                    self.set_query("")
                self.move_cursor(row=self.get_row_index(key), animate=False, scroll=True)

    def _tell(self) -> None:
        """At its foot: what is marked, what is hidden and by which words, and what of these cannot be meant."""
        words = footing(
            self.trouble, len(self.marks), len(self.marks - self._cells.keys()),
            f"{clean(self.query_words.strip(), 60)} · {self.hidden_lines} hidden" if self._terms else "", self.aside,
        )  # fmt: skip
        if words.plain != self._told:
            self._told = words.plain
            self.border_subtitle = words

    def _arranged(self, terms: Sequence[Term]) -> list[Line]:
        columns = self.all_columns
        kept = [
            line for line in self._lines if not terms or passes(terms, line.words(columns), line.amounts(columns))
        ]  # fmt: skip
        if self.sort_by in self._names:
            index = self._names.index(self.sort_by)
            kept.sort(key=lambda line: line.order[index], reverse=self.descending)
        return kept

    def _put(self, line: Line, place: int) -> None:
        by_key = dict(zip(self._names, line.cells, strict=True))
        cells = tuple(by_key[column.key] for column in self._shown)
        first = _First(no_wrap=True, overflow="ellipsis", end="", justify=cells[0].justify)
        first.place = place
        first.append("● " if line.key in self.marks else "", ACCENT)
        first.append_text(tagged(cells[0], line.tags, self.ordered_columns[0].width - first.cell_len))
        cells = (first, *cells[1:])
        old = self._cells.get(line.key)
        self._cells[line.key] = cells
        if old is None:
            self.add_row(*cells, key=line.key)
            return
        for column, before, now in zip(self._shown, old, cells, strict=True):
            if before != now or before.spans != now.spans:
                self.update_cell(line.key, column.key, now)
            elif isinstance(before, _First) and isinstance(now, _First):
                before.place = now.place
                self._cells[line.key] = (before, *cells[1:])

    # --- where one is ----------------------------------------------------------------------------------------

    @property
    def current(self) -> str | None:
        """The key of the row under the cursor."""
        if not self.row_count:
            return None
        return str(self.coordinate_to_cell_key(Coordinate(self.cursor_row, 0)).row_key.value)

    @property
    def current_line(self) -> Line | None:
        key = self.current
        return next((line for line in self._lines if line.key == key), None)

    @property
    def shown_lines(self) -> list[Line]:
        """Those that the filter leaves, as they stand."""
        return self._arranged(self._terms)

    @property
    def marked_lines(self) -> list[Line]:
        """The marked ones, as they stand, also those that the filter hides."""
        return [line for line in self._lines if line.key in self.marks]

    @property
    def meant(self) -> list[Line]:
        """The marked ones, else the one under the cursor."""
        at = self.current_line
        return self.marked_lines or ([at] if at is not None else [])

    @property
    def hidden_lines(self) -> int:
        """How many lines the filter hides."""
        return len(self._lines) - self.row_count

    def set_query(self, words: str) -> None:
        """Filter by these words."""
        if words != self.query_words:
            self.query_words, self._terms = words, parse(words)
            self._redraw()

    @property
    def trouble(self) -> str:
        """What of the filter cannot be meant in this table, in one line."""
        columns = self.all_columns
        also = [*(column.key for column in columns), "value"]
        names = [column.name for column in columns]
        return trouble(self._terms, names, numbers(columns, self._lines), also) if self._terms else ""

    def complete(self, words: str) -> str | None:
        """These words of a filter, gone on with a column or with a value: of those that the words before it leave."""
        columns = self.all_columns
        left = self._arranged(parse(words.rpartition(" ")[0]))
        return complete(words, [column.name for column in columns], seen(columns, left))

    def unmark(self) -> None:
        """Let all marks go."""
        self._mark(set())

    def _mark(self, marks: set[str]) -> None:
        self.marks = marks
        self._redraw()
        self.screen.refresh_bindings()

    # --- keys ------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Rows that nothing opens have no key for it at the foot."""
        return action != "select_cursor" or self.opens

    def action_sort(self) -> None:
        names = [column.key for column in self._shown]
        at = names.index(self.sort_by) + 1 if self.sort_by in names else 0
        self.sort_by = names[at % len(names)]
        self._rebuild()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """A click on a column sorts by it, one more turns it round."""
        self.descending = self.sort_by == event.column_key.value and not self.descending
        self.sort_by = str(event.column_key.value)
        self._rebuild()

    def action_reverse(self) -> None:
        self.descending = not self.descending
        self._rebuild()

    def action_mark(self) -> None:
        """Mark or unmark the row under the cursor and go one down."""
        if (key := self.current) is not None:
            self._anchor = key
            self._mark(self.marks ^ {key})
            self.action_cursor_down()

    def action_mark_range(self) -> None:
        """Mark from the last mark to the cursor, in the order on screen; without one the row under the cursor."""
        keys_shown = [str(row.key.value) for row in self.ordered_rows]
        if (key := self.current) is not None:
            anchor = self._anchor if self._anchor in keys_shown else key
            low, high = sorted((keys_shown.index(anchor), keys_shown.index(key)))
            self._anchor = key
            self._mark(self.marks | set(keys_shown[low : high + 1]))

    def action_mark_all(self) -> None:
        """Mark all that the filter leaves, or let them go where all of them are marked."""
        shown = set(self._cells)
        if self.trouble:
            self.notify(self.trouble, title="Not marked", severity="warning", markup=False, timeout=6)
        else:
            self._mark(self.marks - shown if shown <= self.marks else self.marks | shown)

    def action_copy(self) -> None:
        """The value under the cursor, or those of the marked rows, a line each."""
        values = [line.value for line in self.meant]
        if values:
            self.app.copy_to_clipboard("\n".join(values))
            said = clean(values[0], 200) if len(values) == 1 else f"{len(values)} values"
            self.notify(said, title="Copied", markup=False, timeout=3)

    def action_cursor_right(self) -> None:
        self.post_message(self.Sideways(1))

    def action_cursor_left(self) -> None:
        self.post_message(self.Sideways(-1))

    # --- how wide --------------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        if self.size.width != self._laid_out_for:
            self._rebuild()

    def _rebuild(self) -> None:
        """Lay out the columns for the width there is, and put the rows back."""
        width = self._laid_out_for = self.size.width
        at = self.current
        shown = tuple(column for column in self.all_columns if width >= column.from_width)
        fixed = sum(column.width for column in shown) + 2 * self.cell_padding * len(shown)
        self.clear(columns=True)
        self._cells.clear()
        self._shown = shown
        for column in shown:
            arrow = ("▾" if self.descending else "▴") if column.key == self.sort_by else ""
            label = Text(column.label + arrow, justify="right" if column.right else "left", no_wrap=True)
            self.add_column(label, width=column.width or rest(width - fixed, column.most), key=column.key)
        self._redraw()
        if at is not None and at in self._cells:
            self.move_cursor(row=self.get_row_index(at), animate=False, scroll=True)
