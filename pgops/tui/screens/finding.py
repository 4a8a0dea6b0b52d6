"""One finding in full, with the act that cures it where there is one."""

from collections.abc import Callable
from typing import get_args

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Static

from pgops.ops.act.actions import Action, ActionName
from pgops.ops.observe.snapshot import Finding
from pgops.tui import formats
from pgops.tui.causes import cause_of
from pgops.tui.keymap import KEYS, keys
from pgops.tui.screens.modal import Note
from pgops.tui.theme import ACCENT, GLYPHS, INK, QUIET, SEVERITY_TONES, STYLES

ACT_WORDS: dict[ActionName, str] = {
    "requeue_stuck": "Take back stuck jobs",
    "requeue_dead": "Let dead jobs start over",
    "purge_expired": "Purge expired entries",
    "purge_kv": "Purge expired keys",
    "rebuild_index": "Rebuild the index",
    "cancel_backend": "Cancel its statement",
    "terminate_backend": "Terminate the session",
    "vacuum_table": "Vacuum the table",
    "drop_invalid_index": "Drop the index",
}


def cure(finding: Finding) -> Action | None:
    """The act that a finding offers, if it is one that the dashboard knows."""
    for name in get_args(ActionName):
        if finding.action == name and name in ACT_WORDS:
            return Action(name, finding.target or "")
    return None


def told(finding: Finding) -> Text:
    """A finding as paragraphs."""
    text = Text()
    tone = STYLES[SEVERITY_TONES[finding.severity]]
    text.append(f"{GLYPHS[finding.severity]} {finding.severity}  ", f"bold {tone}")
    text.append(f"{formats.clean(finding.title)}\n", f"bold {INK}")
    parts = (("evidence", finding.evidence), ("why", finding.why), ("remedy", finding.remedy))
    for name, words in parts:
        if words:
            text.append(f"\n{name}\n", QUIET)
            text.append(f"{formats.clean_lines(words, 2_000)}\n", INK)
    if finding.command:
        text.append("\nas a command\n", QUIET)
        text.append(formats.clean(finding.command), ACCENT)
    return text


class FindingNote(Note[Action]):
    """Answers with the act to preview, or None; `look` goes to what it speaks of."""

    BINDINGS = keys("confirm", "go_there", "command")

    def __init__(self, finding: Finding, look: Callable[[Finding], None]) -> None:
        super().__init__("finding")
        self._look = look
        self.finding = finding
        self._cure = cure(finding)

    def inside(self) -> ComposeResult:
        with VerticalScroll(classes="words", can_focus=False):
            yield Static(told(self.finding), markup=False)
        with Horizontal(classes="buttons"):
            if self._cure is not None:
                yield Button(f"y  {ACT_WORDS[self._cure.name]}…", id="do", variant="primary", compact=True)
            yield Button(f"o  {KEYS[cause_of(self.finding.code).room].description}", id="go", compact=True)
            yield Button("Close", id="close", compact=True)

    def on_mount(self) -> None:
        self.query(Button).first().focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "go":
            self.action_go_there()
        else:
            self.dismiss(self._cure if event.button.id == "do" else None)

    def action_go_there(self) -> None:
        self.dismiss(None)
        self.app.call_later(self._look, self.finding)

    def action_confirm(self) -> None:
        if self._cure is not None:
            self.dismiss(self._cure)

    def action_copy_command(self) -> None:
        words = self.finding.command or self.finding.remedy
        self.app.copy_to_clipboard(words)
        self.notify(words, title="Copied as a command", markup=False, timeout=4)
