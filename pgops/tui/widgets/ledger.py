"""A table that is diffed: rows are known by key, a cell is touched only where it changed, the cursor stays on its row.

The rule: `show` gets all lines, in any order; filter, sort and marks are the table's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.coordinate import Coordinate
from textual.message import Message
from textual.widgets import DataTable

from pgops.tui.keymap import keys
from pgops.tui.theme import ACCENT, QUIET
from pgops.tui.widgets.filter import matches

SortKey = str | float


@dataclass(frozen=True, slots=True)
class Column:
    """`width` in cells; 0 takes what is left, once a table. but not more than `most`. `from_width` hides it in a
    narrower table."""

    key: str
    label: str
    width: int
    right: bool = False
    from_width: int = 0
    most: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One row: what is shown, by what it is sorted, and what `y` copies. `tags` follow the first cell: the first of
    them however narrow the column is, the others where there is room."""

    key: str
    cells: tuple[Text, ...]
    order: tuple[SortKey, ...]
    value: str = ""
    tags: tuple[str, ...] = ()


class _First(Text):
    """The first cell of a row carries the row's place."""

    place: int = 0


class Ledger(DataTable[Text]):
    """Lines under columns."""

    BINDINGS = keys("open", "sort", "reverse", "copy")

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
        empty: str = "",
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
        self.border_subtitle = empty

    # --- what it shows ---------------------------------------------------------------------------------------

    def show(self, lines: Sequence[Line]) -> None:
        """Show these; nothing is touched that did not change. Of two lines with one key the last is shown."""
        self._lines = tuple({line.key: line for line in lines}.values())
        self.marks &= {line.key for line in lines}
        self._redraw()

    def lay(self, columns: Sequence[Column]) -> None:
        """Show these of the columns that it was made with, in this order and as wide as they say."""
        if tuple(columns) != self.all_columns:
            self.all_columns = tuple(columns)
            self._rebuild()

    def _redraw(self) -> None:
        if not self._shown:
            return
        wanted = self._arranged()
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
        self._seek()

    def go_to(self, words: str) -> None:
        """Put the cursor on the line with this key or value, as soon as it is shown; a filter that hides it ends."""
        self._sought = words
        self._redraw()

    def _seek(self) -> None:
        """Once there are lines: what is not among them is not waited for."""
        if not self._sought or not self._lines:
            return
        sought, self._sought = self._sought, ""
        key = next((one.key for one in self._lines if sought in (one.key, one.value, one.cells[0].plain)), None)
        if key is None:
            return
        if key not in self._cells:
            self.set_query("")
        self.move_cursor(row=self.get_row_index(key), animate=False, scroll=True)

    def _arranged(self) -> list[Line]:
        kept = [line for line in self._lines if matches(self.query_words, _fields(line, self._names))]
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
        first.append_text(_tagged(cells[0], line.tags, self.ordered_columns[0].width - first.cell_len))
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
    def hidden_lines(self) -> int:
        """How many lines the filter hides."""
        return len(self._lines) - self.row_count

    def set_query(self, words: str) -> None:
        """Filter by these words."""
        self.query_words = words
        self._redraw()

    def toggle_mark(self) -> None:
        """Mark or unmark the row under the cursor and go one down."""
        if (key := self.current) is not None:
            self.marks ^= {key}
            self._redraw()
            self.action_cursor_down()

    # --- keys ------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Rows that nothing opens have no key for it at the foot."""
        return action != "select_cursor" or self.opens

    def action_sort(self) -> None:
        names = [column.key for column in self._shown]
        at = names.index(self.sort_by) + 1 if self.sort_by in names else 0
        self.sort_by = names[at % len(names)]
        self._rebuild()

    def action_reverse(self) -> None:
        self.descending = not self.descending
        self._rebuild()

    def action_copy(self) -> None:
        line = self.current_line
        if line is not None:
            self.app.copy_to_clipboard(line.value)
            self.notify(line.value[:200], title="Copied", markup=False, timeout=3)

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
            self.add_column(label, width=column.width or _rest(width - fixed, column.most), key=column.key)
        self._redraw()
        if at is not None and at in self._cells:
            self.move_cursor(row=self.get_row_index(at), animate=False, scroll=True)


def _rest(width: int, most: int) -> int:
    return max(min(width, most or width), 8)


def _tagged(cell: Text, tags: Sequence[str], width: int) -> Text:
    tagged = cell.copy()
    for tag in tags:
        if tag == tags[0]:
            tagged.truncate(max(width - cell_len(tag) - 1, 1), overflow="ellipsis")
        if tag == tags[0] or tagged.cell_len + cell_len(tag) < width:
            tagged.append(f" {tag}", QUIET)
    return tagged


def _fields(line: Line, names: Sequence[str]) -> dict[str, str]:
    """What the filter looks in: the cells by column, the tags with the first, and the value."""
    fields = {name: cell.plain.lower() for name, cell in zip(names, line.cells, strict=True)}
    fields[names[0]] = " ".join([fields[names[0]], *line.tags])
    return fields | {"value": line.value.lower()}
