"""The acts that are under way: how far each is, and a key that stops the one under the cursor."""

from collections.abc import Sequence
from time import monotonic

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Button, OptionList, Static

from pgops.tui import formats
from pgops.tui.keymap import keys
from pgops.tui.screens.modal import Note
from pgops.tui.theme import INK, QUIET
from pgops.tui.works import Work

EVERY_S = 0.5
STOPS = "C has the server cancel its statement; the trail says interrupted, and what is left of it is told"
NOTHING = "Nothing is done from here now."


class UnderWay(Note[None]):
    """Drawn anew from the list that the app keeps."""

    BINDINGS = keys("stop")

    def __init__(self, works: Sequence[Work]) -> None:
        super().__init__("under way")
        self._works = works
        self._shown: list[Work] = []

    def inside(self) -> ComposeResult:
        yield OptionList(markup=False, compact=True)
        yield Static("", id="told", markup=False)
        with Horizontal(classes="buttons"):
            yield Button("C  Stop it", id="stop", variant="warning", compact=True)
            yield Button("Close", id="close", compact=True)

    def on_mount(self) -> None:
        self.show()
        self.query_one(OptionList).focus()
        self.set_interval(EVERY_S, self.show)

    def show(self) -> None:
        options, now = self.query_one(OptionList), monotonic()
        lines = [Text(formats.clean(work.words(now), 400), INK) for work in self._works]
        if [*self._works] == self._shown:
            for at, line in enumerate(lines):
                options.replace_option_prompt_at_index(at, line)
        else:
            at = options.highlighted or 0
            self._shown = [*self._works]
            options.set_options(lines)
            options.highlighted = min(at, len(lines) - 1) if lines else None
        options.display = bool(lines)
        self.query_one("#stop", Button).disabled = not lines
        self.query_one("#told", Static).update(Text(STOPS if lines else NOTHING, QUIET))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "stop":
            self.action_stop()
        else:
            self.dismiss(None)

    def action_stop(self) -> None:
        at = self.query_one(OptionList).highlighted
        if at is not None and at < len(self._shown):
            self._shown[at].stop()
            self.show()
