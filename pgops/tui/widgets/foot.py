"""The keys at the foot of a room: one line, drawn anew only when other keys are to be had; a click presses one.

Textual's own makes a widget of each key and makes all of them anew whenever the focus moves, which is half of the time
that it takes to go from one room to another.
"""

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.screen import Screen
from textual.widgets import Static

from pgops.tui.theme import ACCENT, QUIET

GAP = " "


class Foot(Static):
    """What the bindings of the screen say that show themselves."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._keys: list[tuple[str, str, str]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        if screen is self.screen:
            self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        """Which keys there are is asked of the screen in front; another's are drawn when it is there again."""
        if not self.is_attached or self.app.screen is not self.screen:
            return
        shown = [one.binding for one in self.screen.active_bindings.values() if one.binding.show and one.enabled]
        first = {one.action: one for one in reversed(shown)}
        now = [(one.key, self.app.get_key_display(one), one.description) for one in shown if first[one.action] is one]
        if now != self._keys:
            self._keys = now
            self.update(self.line, layout=False)

    @property
    def line(self) -> Text:
        """All of it, also where it is wider than the terminal."""
        text = Text(no_wrap=True, overflow="ellipsis", end="")
        for _, display, words in self._keys:
            text.append(display, ACCENT).append(f" {words}{GAP}", QUIET)
        return text

    def on_click(self, event: events.Click) -> None:
        """Press the key that stands there."""
        at, end = event.get_content_offset_capture(self).x, 0
        for key, display, words in self._keys:
            end += cell_len(f"{display} {words}{GAP}")
            if at < end:
                self.app.simulate_key(key)
                return
