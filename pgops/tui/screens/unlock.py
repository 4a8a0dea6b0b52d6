"""Why a guarded database must be changed: asked once, written down, and then acts run for a while."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Input, Static

from pgops.errors import PgopsError
from pgops.ops.act.unlocking import MAX_REASON, UNLOCK_S
from pgops.tui import formats
from pgops.tui.screens.ask import failure
from pgops.tui.screens.modal import Note
from pgops.tui.source import Source
from pgops.tui.theme import INK, QUIET, WARN


class UnlockNote(Note[bool]):
    """Answers True once it is unlocked. `waiting` is an act that was confirmed and runs then."""

    def __init__(self, source: Source, waiting: str = "") -> None:
        profile = formats.clean(source.standing.profile or "", 40)
        super().__init__(f"{profile} is locked")
        self._source = source
        self._waiting = waiting

    def inside(self) -> ComposeResult:
        with VerticalScroll(classes="words", can_focus=False):
            yield Static(self._words(), id="told", markup=False)
        yield Input(placeholder="why, for example a ticket", id="reason", max_length=MAX_REASON)
        with Horizontal(classes="buttons"):
            yield Button("Cancel", id="cancel", compact=True)
            yield Button("enter  Unlock", id="do", variant="warning", compact=True)

    def _words(self) -> Text:
        text = Text()
        text.append(f"Unlock for {UNLOCK_S / 60:.0f} minutes. Why must data be changed here?\n", f"bold {INK}")
        text.append("Reason, who and until when are written down; pgops audit list shows them.", QUIET)
        if self._waiting:
            text.append(f"\n\n◆ then runs, as confirmed: {formats.clean(self._waiting, 80)}", WARN)
        return text

    def on_mount(self) -> None:
        self.query_one("#reason", Input).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "do":
            self._go()
        else:
            self.dismiss(None)

    def on_input_submitted(self) -> None:
        self._go()

    def _go(self) -> None:
        self.run_worker(self._unlock(self.query_one("#reason", Input).value), exclusive=True, exit_on_error=False)

    async def _unlock(self, reason: str) -> None:
        said = self.query_one("#told", Static)
        said.update("unlocking…")
        try:
            await self._source.unlock(reason)
        except PgopsError as error:
            said.update(failure(error))
            return
        self.dismiss(True)
