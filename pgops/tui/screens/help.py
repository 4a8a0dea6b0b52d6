"""All keys, from the keymap."""

from collections.abc import Mapping

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from pgops.tui.keymap import GROUPS, shown
from pgops.tui.screens.modal import Note
from pgops.tui.theme import ACCENT, INK, QUIET


def all_keys(given: Mapping[str, str] | None = None) -> Text:
    """Every key with what it does, by group; `given` are the keys of one's own."""
    text = Text()
    for group in GROUPS:
        text.append(f"{group.title}\n", f"bold {QUIET}")
        for key in group.keys:
            text.append(f"  {shown(key.id or '', given or {}):<8}", ACCENT)
            text.append(f"{key.tooltip}\n", INK)
        text.append("\n")
    text.append("Upper case letters act on data and always ask. ~ is an estimate, – is unknown.", QUIET)
    return text


class Help(Note[None]):
    """A note that scrolls."""

    def __init__(self, given: Mapping[str, str]) -> None:
        super().__init__("keys")
        self._given = given

    def inside(self) -> ComposeResult:
        with VerticalScroll(classes="words", can_focus=False):
            yield Static(all_keys(self._given), markup=False)
