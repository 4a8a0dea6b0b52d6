"""Where a table goes as a file: its path first, which can be changed, then CSV or JSON."""

from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Button, Input, Static

from pgops.errors import PgopsError
from pgops.tui import formats
from pgops.tui.export import Rows, write
from pgops.tui.screens.modal import Note
from pgops.tui.theme import BAD, INK, QUIET


class ExportNote(Note[Path]):
    """Answers with the file that it wrote. Enter writes what the path's ending says, a button sets the ending."""

    def __init__(self, path: Path, rows: Rows, words: str) -> None:
        many = "1 line" if len(rows) == 1 else f"{len(rows):,} lines"
        super().__init__(f"export {many}")
        self._path = path
        self._rows = rows
        self._words = words

    def inside(self) -> ComposeResult:
        yield Input(str(self._path), id="path", select_on_focus=False)
        with_filter = f"with the filter {formats.clean(self._words, 60)}" if self._words else "without a filter"
        about = f"What is shown, {with_filter}: all columns, raw values. enter writes it as its ending says."
        yield Static(Text(about, QUIET), id="told", markup=False)
        with Horizontal(classes="buttons"):
            yield Button("Cancel", id="cancel", compact=True)
            yield Button("JSON", id="json", compact=True)
            yield Button("CSV", id="csv", variant="primary", compact=True)

    def on_mount(self) -> None:
        self.query_one("#path", Input).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
            return
        box = self.query_one("#path", Input)
        stem = box.value.strip()
        if stem.lower().endswith((".csv", ".json")):
            stem = stem.rpartition(".")[0]
        box.value = f"{stem}.{event.button.id}"
        self._write()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._write()

    def _write(self) -> None:
        path = Path(self.query_one("#path", Input).value.strip())
        try:
            path = path.expanduser().absolute()
            write(path, self._rows)
        except (PgopsError, RuntimeError) as error:
            hint = error.hint if isinstance(error, PgopsError) else ""
            said = Text.assemble((f"✕ {formats.clean(error)}\n", BAD), (formats.clean(hint), INK))
            self.query_one("#told", Static).update(said)
        else:
            self.dismiss(path)
