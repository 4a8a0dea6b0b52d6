"""The frame of a question or a note: a title, what it says, a row of buttons. Escape always leaves it unanswered."""

from typing import TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen

from pgops.tui.keymap import MOVES, keys
from pgops.tui.moving import Way, move
from pgops.tui.theme import WARN
from pgops.tui.widgets.ink import plain

Answer = TypeVar("Answer")


class Note(ModalScreen[Answer | None]):
    """Subclasses say what stands in it."""

    BINDINGS = keys("back", "read_on", "read_back", *MOVES)

    def __init__(self, title: str) -> None:
        super().__init__()
        self._note_title = title

    def inside(self) -> ComposeResult:
        """The widgets of the note."""
        yield from ()

    def compose(self) -> ComposeResult:
        with Vertical(classes="note") as note:
            note.border_title = plain(self._note_title)
            yield from self.inside()

    def vanished(self, what: str) -> None:
        """Say that what it shows is not there any more; it stays as it was last seen."""
        self.query_one(".note").border_subtitle = Text(f"○ {what}; this is how it was last seen", WARN)

    def action_read(self, step: int) -> None:
        for words in self.query(".words"):
            words.scroll_relative(y=step * 4, animate=False)

    def action_move(self, way: Way) -> None:
        """In the list that has the focus, else in the words."""
        if not move(self.focused, way):
            for words in self.query(".words"):
                move(words, way)

    def as_command(self) -> str:
        """What it shows, as a command line."""
        return ""

    def action_copy_command(self) -> None:
        if command := self.as_command():
            self.app.copy_to_clipboard(command)
            self.notify(command, title="Copied as a command", markup=False, timeout=4)

    def action_back(self) -> None:
        self.dismiss(None)
