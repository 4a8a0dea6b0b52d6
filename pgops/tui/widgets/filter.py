"""The filter: one line at the foot of a table in which its words are typed, and gone on with."""

from collections.abc import Callable

from textual.suggester import Suggester
from textual.widgets import Input

from pgops.tui.keymap import keys


class _Completion(Suggester):
    """What the table that is filtered knows of columns and values."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self.complete: Callable[[str], str | None] = lambda words: None

    async def get_suggestion(self, value: str) -> str | None:
        return self.complete(value)


class Filter(Input):
    """Hidden while it is empty and not in use."""

    BINDINGS = keys("take")

    def __init__(self) -> None:
        self._completion = _Completion()
        super().__init__(
            placeholder='words · kind:mail · !not · age>5m · "two words" · tab goes on',
            id="filter",
            classes="-hidden",
            suggester=self._completion,
            select_on_focus=False,
        )

    def open(self, words: str, complete: Callable[[str], str | None]) -> None:
        """Go on with these words, completed so."""
        self._completion.complete = complete
        self.value = words
        self.remove_class("-hidden")
        self.focus()

    def action_take(self) -> None:
        """Take what is proposed; where nothing is, go to the next widget."""
        before = self.value
        self.action_end()
        self.action_cursor_right()
        if self.value == before:
            self.screen.focus_next()
