"""A room over what no Snapshot holds: it fetches that after each of them."""

from collections.abc import Sequence
from datetime import datetime

from rich.text import Text
from textual.widgets import Static

from pgops.errors import PgopsError
from pgops.tui.screens.ask import failure
from pgops.tui.screens.base import Helm, Room
from pgops.tui.widgets.ledger import Ledger, Line


class Fetched(Room):
    """Subclasses fetch; one that is still under way is not doubled. Their furniture has a Static with the id `empty`,
    which says why there is nothing to see."""

    def __init__(self, helm: Helm, trail: str = "") -> None:
        super().__init__(helm, trail)
        self._fetching = False

    async def fetch(self) -> None:
        """Ask, and draw the answer. A PgopsError that it raises is told in the room."""
        raise NotImplementedError

    def observed(self) -> None:
        if not self._fetching:
            self._fetching = True
            self.run_worker(self._fetch(), exit_on_error=False)

    async def _fetch(self) -> None:
        try:
            await self.fetch()
        except PgopsError as error:
            self.say(failure(error))
        finally:
            self._fetching = False

    def moment(self, otherwise: datetime) -> datetime:
        """The moment of what is shown, from which ages are told."""
        return self.view.snapshot.taken_at if self.view and self.view.snapshot else otherwise

    def say(self, words: Text | None) -> None:
        """Why there is nothing to see; None where there is."""
        empty = self.query_one("#empty", Static)
        empty.set_class(words is None, "-hidden")
        if words is not None:
            empty.update(words)

    def fill(self, table: Ledger, lines: Sequence[Line], nothing: Text | None) -> None:
        """The lines, or the words in their place."""
        table.set_class(nothing is not None, "-hidden")
        table.show(lines)
        self.say(nothing)
