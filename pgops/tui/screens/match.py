"""One match of a search in full."""

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from pgops.tui import formats
from pgops.tui.keymap import keys
from pgops.tui.screens.modal import Note


class MatchNote(Note[None]):
    """Its content, as it stands."""

    BINDINGS = keys("copy")

    def __init__(self, id: str, content: str) -> None:
        super().__init__(f"row {id}")
        self._content = content

    def inside(self) -> ComposeResult:
        with VerticalScroll(classes="words", can_focus=False):
            yield Static(formats.clean_lines(self._content), markup=False)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._content)
        self.notify("the content of the row", title="Copied", markup=False, timeout=3)
