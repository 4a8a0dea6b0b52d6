"""A sparkline that fills whatever height it has. The newest sample stands at the right; unknown is a gap."""

from collections.abc import Sequence
from itertools import groupby

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from pgops.tui.theme import GROUND, STYLES, Tone
from pgops.tui.themes import ink_of

_BLOCKS = " ▁▂▃▄▅▆▇█"


def cells(data: Sequence[float | None], width: int, height: int) -> list[str]:
    """The lines of a sparkline, top first, scaled from 0 to its highest sample. Anything above 0 shows."""
    samples = [None] * max(width - len(data), 0) + list(data[-width:] if width else ())
    top = max((sample for sample in samples if sample is not None), default=0.0)
    levels = [
        None if sample is None else 0 if sample <= 0 or top <= 0 else max(round(sample / top * height * 8), 1)
        for sample in samples
    ]
    lines = []
    for row in range(height - 1, -1, -1):
        lines.append("".join(" " if each is None else _BLOCKS[min(max(each - row * 8, 0), 8)] for each in levels))
    return lines


class Spark(Widget):
    """Samples as a chart of one or more lines."""

    data: reactive[tuple[float | None, ...]] = reactive((), layout=False)
    tone: reactive[Tone] = reactive[Tone]("accent")

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        lines = cells(self.data, width, height)
        if y >= len(lines):
            return Strip.blank(width)
        background = Color.parse(self.background_colors[1].hex)
        strong = Color.parse(ink_of(self.app.theme, STYLES[self.tone]))
        share = 1 - y / height
        ink = background.blend(strong, 0.35 + 0.35 * share if height > 1 else 0.65)
        line = lines[y]
        drawn = Style(color=ink.rich_color, bgcolor=background.rich_color)
        if y < height - 1:
            return Strip([Segment(line, drawn)], width)
        ground = Style(color=GROUND, bgcolor=background.rich_color)
        runs = [(empty, "".join(run)) for empty, run in groupby(line, key=" ".__eq__)]
        return Strip([Segment("▁" * len(run), ground) if empty else Segment(run, drawn) for empty, run in runs], width)
