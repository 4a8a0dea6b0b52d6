"""What is set: the theme, keys of one's own, and where findings begin; what is not as usual has a mark."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from pgops.ops.thresholds import Thresholds
from pgops.tui import formats
from pgops.tui.keymap import KEYS, shown
from pgops.tui.screens.modal import Note
from pgops.tui.theme import ACCENT, INK, QUIET


@dataclass(frozen=True, slots=True)
class InForce:
    """All that is set. `path` is the file that can say otherwise."""

    path: str
    theme: str
    keys: Mapping[str, str]
    every_s: float
    thresholds: Thresholds


def told(set: InForce) -> Text:
    """As lines: name, value, and what is usual where that is another."""
    text = Text()
    text.append(f"{formats.clean(set.path)}\n\n", QUIET)
    _line(text, "theme", set.theme, "night")
    _line(text, "look every", f"{set.every_s:g} s", "1 s")
    text.append("\nwhere findings begin\n", QUIET)
    usual = asdict(Thresholds())
    for name, value in asdict(set.thresholds).items():
        _line(text, name, f"{value:g}", f"{usual[name]:g}")
    text.append("\nkeys, as [dashboard.keys] calls them\n", QUIET)
    for id in sorted(KEYS, key=lambda id: id not in set.keys):
        _line(text, id, shown(id, set.keys), KEYS[id].key_display or KEYS[id].key)
    text.append("\nas a command\n", QUIET)
    text.append("pgops check --help", ACCENT)
    return text


def _line(text: Text, name: str, value: str, usual: str) -> None:
    other = value != usual
    text.append(f"{'●' if other else ' '} ", ACCENT)
    text.append(f"{formats.clean(name, 34):<34} ", INK)
    text.append(formats.clean(value, 40), f"bold {INK}" if other else INK)
    text.append(f"  usually {usual}\n" if other else "\n", QUIET)


class SettingsNote(Note[None]):
    """A note that scrolls."""

    def __init__(self, set: InForce) -> None:
        super().__init__("settings")
        self._set = set

    def inside(self) -> ComposeResult:
        with VerticalScroll(classes="words", can_focus=False):
            yield Static(told(self._set), markup=False)
