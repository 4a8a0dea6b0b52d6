"""A tile: one number that matters, what belongs to it, and how it went lately."""

from dataclasses import dataclass

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from pgops.tui.theme import STYLES, Tone
from pgops.tui.widgets.spark import Spark


@dataclass(frozen=True, slots=True)
class Face:
    """What a tile shows. `series` is oldest first; empty leaves the chart out.
    `wrap` is for lines that are sentences."""

    value: str
    unit: str
    lines: tuple[Text, ...]
    series: tuple[float | None, ...] = ()
    tone: Tone = "plain"
    about: str = ""
    wrap: bool = False


class Tile(Vertical):
    """One Face; a click goes to the room that it `leads` to."""

    def __init__(self, title: str, id: str, leads: str = "") -> None:
        super().__init__(id=id)
        self.border_title = title
        self._leads = leads
        self._face: Face | None = None

    async def on_click(self) -> None:
        """To the room where one sees more."""
        if self._leads:
            await self.app.run_action(f"app.room('{self._leads}')")

    def compose(self) -> ComposeResult:
        yield Static(classes="value", markup=False)
        yield Static(classes="lines", markup=False)
        yield Spark()

    def show(self, face: Face) -> None:
        """Draw it, if it is another one than before."""
        if face == self._face:
            return
        self._face = face
        head = Text(no_wrap=True, overflow="ellipsis", end="")
        head.append(face.value, f"bold {STYLES[face.tone]}")
        head.append(f" {face.unit}", STYLES["quiet"])
        self.query_one(".value", Static).update(head, layout=False)
        lines = self.query_one(".lines", Static)
        lines.set_class(face.wrap, "-wrap")
        lines.update(Text("\n").join(face.lines))
        spark = self.query_one(Spark)
        spark.display = bool(face.series)
        spark.data = face.series
        self.border_subtitle = face.about if face.series else ""
