"""A number over time, as lines of braille: two by four dots a cell, an axis with units and one with times. Pure.

The rule: only what was seen is drawn. Neighbours in time are joined; where nothing was seen for a while the line stops.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil, floor, log10

from rich.text import Text

from pgops.tui.theme import ACCENT, INK, QUIET
from pgops.tui.tracks import Run

# The bits of a cell's dots: its left and its right column, from the top.
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
BLANK = 0x2800
ROUND = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


def braille(run: Run, width: int, height: int, start: float, end: float, top: float) -> list[str]:
    """The lines of a diagram from `start` to `end` and from 0 to `top`, the highest first."""
    cells = [[0] * width for _ in range(height)]
    across, up = width * 2 - 1, height * 4 - 1
    before: tuple[int, int, float] | None = None
    for at, value in run.points:
        if not start <= at <= end or width < 1 or height < 1:
            continue
        x = round((at - start) / (end - start) * across) if end > start else across
        y = round(min(max(value / top, 0.0), 1.0) * up) if top > 0 else 0
        if before is not None and at - before[2] <= run.gap_s:
            _join(cells, before[0], before[1], x, y)
        _dot(cells, x, y)
        before = (x, y, at)
    return ["".join(chr(BLANK + cell) if cell else " " for cell in line) for line in cells]


def _join(cells: list[list[int]], x: int, y: int, to_x: int, to_y: int) -> None:
    steps = max(abs(to_x - x), abs(to_y - y), 1)
    for step in range(1, steps):
        _dot(cells, x + round((to_x - x) * step / steps), y + round((to_y - y) * step / steps))


def _dot(cells: list[list[int]], x: int, y: int) -> None:
    row = len(cells) * 4 - 1 - y
    cells[row // 4][x // 2] |= DOTS[x % 2][row % 4]


def nice(value: float) -> float:
    """The next round number that is not below it; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next((step * power for step in ROUND if step * power >= value * (1 - 1e-9)), 10 * power)


def plot(
    title: str, run: Run, width: int, height: int, write: Callable[[float | None], str], *, most: float = 0
) -> Text:
    """A diagram with its title, in lines of `width`. `write` writes a value with its unit; `most` is the highest that
    there can be, 0 where that is not known."""
    text = Text(no_wrap=True, overflow="crop")
    text.append(title, f"bold {INK}")
    if not run.points:
        return text.append("\n  not seen yet, or not measured", QUIET)
    values = [value for _, value in run.points]
    top = most or nice(max(values))
    text.append(f"  {write(values[-1])}", ACCENT)
    text.append(f"   least {write(min(values))}  most {write(max(values))}\n", QUIET)
    labels = [write(top), write(0)]
    margin = max(len(label) for label in labels)
    start, end = run.points[0][0], run.points[-1][0]
    inner, rows = max(width - margin - 2, 8), max(height - 2, 2)
    for place, line in enumerate(braille(run, inner, rows, start, end, top)):
        label = labels[0] if place == 0 else labels[1] if place == rows - 1 else ""
        text.append(f"{label:>{margin}} ", QUIET)
        text.append("┤" if label else "│", QUIET)
        text.append(f"{line}\n", ACCENT)
    first, last = (datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S") for at in (start, end))
    span = f"{ceil(end - start):,} s"
    inside = max(inner - len(first) - len(last) - 6, 0)
    text.append(f"{'':>{margin}} └{first} {span:^{inside}} {last} UTC"[:width], QUIET)
    return text
