"""A Ledger on a part of something longer: it tells when one goes past its first or last row, and keeps its place on
screen when rows are put before it or taken away.
"""

from dataclasses import dataclass

from textual.message import Message

from pgops.tui.keymap import keys
from pgops.tui.widgets.ledger import Ledger


class LongLedger(Ledger):
    """The lines it holds are not all that there are."""

    BINDINGS = keys("far_end", "far_start")

    @dataclass
    class Edge(Message):
        """One wants to go on past the last row (1), or back past the first (-1)."""

        step: int

    @dataclass
    class Far(Message):
        """One wants to the very end (1), or the very beginning (-1)."""

        step: int

    def _kept_marks(self) -> set[str]:
        """Marks stay also on rows that are not among those it holds."""
        return self.marks

    def _redraw(self) -> None:
        at, row, top = self.current, self.cursor_row, int(self.scroll_y)
        super()._redraw()
        moved = self.cursor_row - row
        if at is not None and moved and self.current == at:
            self.call_after_refresh(self.scroll_to, y=top + moved, animate=False, force=True)

    @property
    def seen(self) -> list[str]:
        """The keys of the rows on screen, and of the one under the cursor."""
        top, height = int(self.scroll_y), max(self.size.height, 1)
        found = [str(row.key.value) for row in self.ordered_rows[top : top + height]]
        return [*found, self.current] if self.current is not None else found

    def go(self, step: int, from_key: str | None) -> None:
        """To the row after the one with this key, or before it; without a key to the last row, or the first."""
        if from_key is None or from_key not in self._cells:
            row = self.row_count - 1 if step > 0 else 0
        else:
            row = self.get_row_index(from_key) + step
        if 0 <= row < self.row_count:
            self.move_cursor(row=row, animate=False, scroll=True)

    def _past(self, step: int) -> bool:
        """Whether there is no row further on; if so it is told."""
        past = self.cursor_row + step not in range(self.row_count)
        if past:
            self.post_message(self.Edge(step))
        return past

    def action_cursor_down(self) -> None:
        if not self._past(1):
            super().action_cursor_down()

    def action_cursor_up(self) -> None:
        if not self._past(-1):
            super().action_cursor_up()

    def action_page_down(self) -> None:
        if not self._past(1):
            super().action_page_down()

    def action_page_up(self) -> None:
        if not self._past(-1):
            super().action_page_up()

    def action_scroll_bottom(self) -> None:
        self.action_far(1)

    def action_scroll_top(self) -> None:
        self.action_far(-1)

    def action_far(self, step: int) -> None:
        self.post_message(self.Far(step))
