"""What of the app is one's own: its theme and its keys."""

from collections.abc import Sequence

from textual.app import App
from textual.binding import Binding
from textual.filter import LineFilter

from pgops.tui.colorless import asked_for_none
from pgops.tui.keymap import EVERYWHERE, keys, written
from pgops.tui.rebinding import Settings, bindings_of
from pgops.tui.screens.base import Room
from pgops.tui.screens.modal import Note
from pgops.tui.themes import THEMES, Inks
from pgops.tui.widgets.ledger import Ledger


class Dressed(App[int]):
    """An app in a theme, with the keys that `settings` give it."""

    BINDINGS = keys(*EVERYWHERE)

    def __init__(self, settings: Settings, *, color: bool = True) -> None:
        with asked_for_none(color):
            super().__init__(ansi_color=None if color else True)
        for theme in THEMES.values():
            self.register_theme(theme)
        self._inks = Inks(THEMES[settings.theme].name)
        self.theme = THEMES[settings.theme].name
        self.given = settings.keys
        self.set_keymap(dict(settings.keys))

    def watch_theme(self, name: str) -> None:
        self._inks = Inks(name)

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        return [self._inks, *filters] if self._inks.enabled else filters

    def get_key_display(self, binding: Binding) -> str:
        return binding.key_display or written(binding.key)


def scopes() -> list[list[Binding]]:
    """The bindings that can be pressed in one place: in each room that is known with its tables, and in each note."""
    found: list[list[Binding]] = []
    kinds: list[type] = [Room, Note]
    for kind in kinds:
        kinds += kind.__subclasses__()
        found.append(bindings_of(kind, *((Ledger, Dressed) if issubclass(kind, Room) else ())))
    return found
