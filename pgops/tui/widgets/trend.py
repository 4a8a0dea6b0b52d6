"""A row of tiles under a table: how what the cursor is on went lately."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Container

from pgops.tui.widgets.tile import Face, Tile


class Trend(Container):
    """As many tiles as there are labels; hidden while nothing is chosen."""

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__(id="trend", classes="-always")
        self._labels = tuple(labels)

    def compose(self) -> ComposeResult:
        for place, label in enumerate(self._labels):
            yield Tile(label, f"trend-{place}")

    def show(self, faces: Sequence[Face]) -> None:
        """Draw the faces, one a label; none hides it."""
        self.set_class(not faces, "-hidden")
        for place, face in enumerate(faces):
            self.query_one(f"#trend-{place}", Tile).show(face)
