"""The question before an act: what it would hit, samples, the SQL, the same as a command; and the choice before it."""

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from pgops.errors import PgopsError
from pgops.ops.act.actions import Action, Preview
from pgops.ops.act.danger import danger, for_good
from pgops.tui import formats
from pgops.tui.commands import act_command
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Choice
from pgops.tui.screens.modal import Note
from pgops.tui.source import Source
from pgops.tui.theme import ACCENT, BAD, INK, QUIET, WARN

SAMPLES = 3
# How one undoes it on the command line; here it is U.
CAN_BY = ": pgops audit undo"
# What counts its rows and yet does something where there are none.
OF_AN_EMPTY_ONE = ("drop_collection", "drop_documents", "invalidate")


def told(preview: Preview) -> Text:
    """A preview as paragraphs."""
    text = Text()
    text.append(f"{formats.clean(preview.title)}\n\n", f"bold {INK}")
    matched = f"{'' if preview.exact else 'at least '}{preview.matched:,}"
    text.append("matches ", QUIET)
    text.append(f"{matched}\n", f"bold {WARN}" if preview.matched else QUIET)
    for sample in preview.samples[:SAMPLES]:
        text.append(f"  {formats.clean(sample, 110)}\n", INK)
    if preview.matched > len(preview.samples[:SAMPLES]) > 0:
        text.append("  …\n", QUIET)
    if preview.warning:
        text.append(f"\n◆ {formats.clean(preview.warning)}\n", WARN)
    if preview.undo:
        glyph, tone = ("✗", WARN) if for_good(preview) else ("↶", QUIET)
        text.append(f"\n{glyph} {formats.clean(preview.undo.removesuffix(CAN_BY))}\n", tone)
    text.append("\nas SQL\n", QUIET)
    text.append(f"{formats.clean_lines(preview.sql.strip(), 4_000)}\n", INK)
    text.append("\nas a command\n", QUIET)
    text.append(formats.clean(act_command(preview.action)), ACCENT)
    return text


class Question(Note[bool]):
    """Answers True only for `y` or the button, the focus stands on Cancel; where much is destroyed for good, once the
    name of what it is was typed."""

    BINDINGS = keys("confirm", "command")

    def __init__(self, source: Source, action: Action) -> None:
        profile = formats.clean(source.standing.profile or "", 40)
        super().__init__(f"{profile} · nothing is changed yet" if profile else "nothing is changed yet")
        self._source = source
        self.action = action
        self.preview: Preview | None = None
        self.typed = ""
        self.ready = False

    def inside(self) -> ComposeResult:
        with VerticalScroll(classes="words", can_focus=False):
            yield Static("looking…", id="told", markup=False)
        with Horizontal(id="typed", classes="-none"):
            yield Static("", id="type", markup=False)
            yield Input(id="name", compact=True)
        with Horizontal(classes="buttons"):
            yield Button("Cancel", id="cancel", compact=True)
            yield Button("y  Do it", id="do", variant="warning", compact=True, disabled=True)

    def on_mount(self) -> None:
        self.query_one("#cancel", Button).focus()
        self.run_worker(self._look(), exclusive=True, exit_on_error=False)

    async def _look(self) -> None:
        said = self.query_one("#told", Static)
        try:
            preview = await self._source.preview(self.action)
        except PgopsError as error:
            said.update(failure(error))
            return
        said.update(told(preview))
        self.preview, self.action = preview, preview.action
        self.ready = bool(preview.matched) or self.action.name in OF_AN_EMPTY_ONE
        self.typed = danger(preview) if self.ready else ""
        if self.typed:
            self._have_it_typed()
        self.query_one("#do", Button).disabled = not self.sure

    def _have_it_typed(self) -> None:
        words = Text("to do it, type ", WARN)
        words.append(self.typed, f"bold {INK}").append(": ")
        self.query_one("#type", Static).update(words)
        self.query_one("#do", Button).label = "enter  Do it"
        self.query_one("#typed").remove_class("-none")
        self.query_one("#name", Input).focus()

    @property
    def sure(self) -> bool:
        """Whether it would be done now."""
        return self.ready and (not self.typed or self.query_one("#name", Input).value.strip() == self.typed)

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one("#do", Button).disabled = not self.sure

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.action_confirm()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "do" and self.sure)

    def action_confirm(self) -> None:
        if self.sure:
            self.dismiss(True)

    def action_copy_command(self) -> None:
        command = act_command(self.action)
        self.app.copy_to_clipboard(command)
        self.notify(command, title="Copied as a command", markup=False, timeout=4)


def failure(error: PgopsError) -> Text:
    """An error and what to do about it."""
    text = Text(f"✕ {formats.clean(error)}", BAD)
    if error.hint:
        text.append(f"\n\n{formats.clean(error.hint)}", INK)
    return text


class Choose(Note[Action]):
    """Which of several acts is meant; answers with its Action."""

    def __init__(self, title: str, choices: Sequence[Choice]) -> None:
        super().__init__(title)
        self._choices = tuple(choices)

    def inside(self) -> ComposeResult:
        yield OptionList(*(Option(Text(choice.words)) for choice in self._choices), markup=False, compact=True)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._choices[event.option_index].action)
