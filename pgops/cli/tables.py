"""What a person sees of values: cells and tables.

The rule: every cell is one line without steering characters, unknown is a dash, and a table in a pipe is never
cut. rich is imported when the first table is printed.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from io import StringIO

from pgops.cli.output import harmless, plain
from pgops.ops import wording

_PIPE_WIDTH = 10_000


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Print a table on stdout. Columns of numbers stand to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = [tuple(row) for row in rows]
    grid = Table(
        box=None, pad_edge=False, header_style="bold", title=title or None, title_justify="left", title_style="bold"
    )
    for number, head in enumerate(heads):
        numeric = all(isinstance(line[number], (int, float, type(None))) for line in lines)
        grid.add_column(head, justify="right" if numeric and lines else "left", overflow="fold")
    for line in lines:
        grid.add_row(*(Text(cell(value)) for value in line))
    seen = sys.stdout.isatty()
    console = Console(file=sys.stdout if seen else StringIO(), highlight=False, width=None if seen else _PIPE_WIDTH)
    console.print(grid)
    if not lines:
        console.print("(none)", style="dim")
    if isinstance(console.file, StringIO):
        sys.stdout.writelines(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Print one thing's facts, a line each."""
    lines = list(pairs)
    width = max(len(name) for name, _ in lines)
    sys.stdout.write("".join(f"{name:<{width}}  {cell(value)}\n" for name, value in lines))
    sys.stdout.flush()


def cell(value: object) -> str:
    """A value as one harmless line."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    text = value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
    return harmless(text).replace("\n", "\\n").replace("\t", " ")


def duration(seconds: float | None) -> str:
    """Seconds as a person says them, in the same words as the dashboard."""
    return "-" if seconds is None else wording.duration(seconds)


def size(count: int | None) -> str:
    """Bytes in powers of 1024, in the same words as the dashboard."""
    return "-" if count is None else wording.size(count)
