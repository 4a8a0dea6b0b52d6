"""What an act is given, written by hand: a job's payload or a queue's settings, as JSON. The question follows."""

from dataclasses import replace

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Button, Static, TextArea

from pgops.errors import PgopsError
from pgops.ops.act.actions import Action
from pgops.ops.act.payloads import wrong_at
from pgops.tui import formats
from pgops.tui.keymap import keys
from pgops.tui.screens.ask import failure
from pgops.tui.screens.modal import Note
from pgops.tui.source import Source
from pgops.tui.theme import BAD, QUIET

# Acts that are given a text.
BY_HAND = ("edit_job", "set_queue", "outbox_keep")
CALM = "JSON; nothing is changed before the question that follows"


class Editor(Note[Action]):
    """Answers with the action and its text, once the text is JSON and the act could be done with it. What is wrong is
    told here, where the text still stands."""

    BINDINGS = keys("write_out")

    def __init__(self, source: Source, action: Action) -> None:
        super().__init__(f"{action.name.replace('_', ' ')} of {formats.clean(action.target, 60)}")
        self._source = source
        self._action = action

    def inside(self) -> ComposeResult:
        yield Static("looking…", id="told", markup=False)
        yield TextArea("", id="given", soft_wrap=True, disabled=True)
        with Horizontal(classes="buttons"):
            yield Button("Cancel", id="cancel", compact=True)
            yield Button("ctrl+s  Go on", id="do", variant="primary", compact=True)

    def on_mount(self) -> None:
        self.run_worker(self._look(), exclusive=True, exit_on_error=False)

    async def _look(self) -> None:
        said, area = self.query_one("#told", Static), self.query_one("#given", TextArea)
        try:
            text = await self._source.given(self._action)
        except PgopsError as error:
            said.update(failure(error))
            return
        said.update(Text(CALM, QUIET))
        area.disabled = False
        area.load_text(text)
        area.focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "do":
            self.action_write_out()
        else:
            self.dismiss(None)

    def action_write_out(self) -> None:
        area = self.query_one("#given", TextArea)
        if area.disabled:
            return
        wrong = wrong_at(area.text)
        if wrong is not None:
            line, column, why = wrong
            area.move_cursor((line - 1, column - 1))
            area.focus()
            self.query_one("#told", Static).update(Text(f"✕ line {line}, column {column}: {why}", BAD))
            return
        self.run_worker(self._try(replace(self._action, given=area.text.strip())), exclusive=True, exit_on_error=False)

    async def _try(self, action: Action) -> None:
        """Go on if the act could be done: the job may run by now, or a setting have another name."""
        try:
            await self._source.preview(action)
        except PgopsError as error:
            self.query_one("#told", Static).update(failure(error))
            self.query_one("#given", TextArea).focus()
            return
        self.dismiss(action)
