"""What is shown where nothing else fits."""

from textual.app import ComposeResult
from textual.screen import ModalScreen
from textual.widgets import Static

from pgops.tui.keymap import keys

LEAST = (40, 10)


class TooSmall(ModalScreen[None]):
    """It goes by itself when there is room again; below it everything stays as it was."""

    BINDINGS = keys("quit")

    def compose(self) -> ComposeResult:
        yield Static(f"pgops needs {LEAST[0]}x{LEAST[1]}\nq leaves", id="small", markup=False)

    def action_leave(self) -> None:
        self.app.exit(0)


def too_small(width: int, height: int) -> bool:
    return width < LEAST[0] or height < LEAST[1]
