"""Rows and columns of a table, and what the filter sees of them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rich.cells import cell_len
from rich.text import Text

from pgops.tui.formats import UNKNOWN
from pgops.tui.theme import ACCENT, QUIET, WARN

SortKey = str | float
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column:
    """`width` in cells; 0 takes what is left, once a table. but not more than `most`. `from_width` hides it in a
    narrower table. `ranked`: its order is a place and says nothing itself."""

    key: str
    label: str
    width: int
    right: bool = False
    from_width: int = 0
    most: int = 0
    ranked: bool = False

    @property
    def name(self) -> str:
        """What a filter calls it: the word above it, or the key where that is several."""
        return self.label if self.label.isidentifier() else self.key


@dataclass(frozen=True, slots=True)
class Line:
    """One row: what is shown, by what it is sorted, and what `y` copies. `tags` follow the first cell: the first of
    them however narrow the column is, the others where there is room. `raw`: by key of its column, what an export
    writes where the order is less than what is known."""

    key: str
    cells: tuple[Text, ...]
    order: tuple[SortKey, ...]
    value: str = ""
    tags: tuple[str, ...] = ()
    raw: Mapping[str, object] = field(default_factory=dict)

    def words(self, columns: Sequence[Column]) -> dict[str, str]:
        """What stands in it by key and by name of the column, in lower case; the tags stand with the first."""
        cells = [cell.plain.lower() for cell in self.cells]
        cells[0] = " ".join([cells[0], *self.tags])
        return named(columns, cells) | {"value": self.value.lower()}

    def amounts(self, columns: Sequence[Column]) -> dict[str, float]:
        """What in it is a known number, by key and by name of the column."""
        known = [self.number(at, column) for at, column in enumerate(columns)]
        return {name: amount for name, amount in named(columns, known).items() if amount is not None}

    def number(self, at: int, column: Column) -> float | None:
        """The number that the cell stands for, if it is one and known."""
        amount = self.order[at]
        if column.ranked or isinstance(amount, str) or self.cells[at].plain.strip() in ("", UNKNOWN):
            return None
        return amount


def named(columns: Sequence[Column], cells: Sequence[T]) -> dict[str, T]:
    """`cells` by key and by name of their columns; what is called so on screen goes before what only has the key."""
    by_key = {column.key: cell for column, cell in zip(columns, cells, strict=True)}
    return by_key | {
        column.name: cell for column, cell in zip(columns, cells, strict=True) if column.name != column.key
    }


def numbers(columns: Sequence[Column], lines: Sequence[Line]) -> set[str]:
    """The columns, by key and name, that compare; all of them where there is no line to tell by."""
    order: Iterable[SortKey] = lines[0].order if lines else (0.0,) * len(columns)
    flags = [not column.ranked and not isinstance(one, str) for column, one in zip(columns, order, strict=True)]
    return {name for name, compares in named(columns, flags).items() if compares}


def seen(columns: Sequence[Column], lines: Sequence[Line]) -> Mapping[str, list[str]]:
    """The words that stand in each column, by key and name, the topmost first and without the glyphs before them."""
    cells = [list(dict.fromkeys(bare(line.cells[at].plain) for line in lines)) for at in range(len(columns))]
    return named(columns, [[cell for cell in column if cell not in ("", UNKNOWN)] for column in cells])


def bare(cell: str) -> str:
    """A cell without the glyph before its words."""
    glyph, _, rest = cell.strip().partition(" ")
    return rest if rest and not any(letter.isalnum() for letter in glyph) else cell.strip()


def rest(width: int, most: int) -> int:
    """The width of the column that takes what is left."""
    return max(min(width, most or width), 8)


def tagged(cell: Text, tags: Sequence[str], width: int) -> Text:
    """A first cell with its tags."""
    whole = cell.copy()
    for tag in tags:
        if tag == tags[0]:
            whole.truncate(max(width - cell_len(tag) - 1, 1), overflow="ellipsis")
        if tag == tags[0] or whole.cell_len + cell_len(tag) < width:
            whole.append(f" {tag}", QUIET)
    return whole


def footing(trouble: str, marked: int, unseen: int, hidden: str, aside: str) -> Text:
    """What stands at the foot of a table: what of the filter cannot be meant, what is marked, what is hidden."""
    told = [Text(f"◆ {trouble}", WARN)] if trouble else []
    if marked:
        away = f", {unseen} of them out of sight" if unseen else ""
        told.append(Text(f"● {marked} marked{away}", ACCENT))
    if hidden and not trouble:
        told.append(Text(hidden, ACCENT))
    if aside:
        told.append(Text(aside))
    return Text(" · ").join(told)


def key_named(lines: Sequence[Line], words: str) -> str | None:
    """The key of the first line with this key, value or first cell; None where there is none."""
    return next((one.key for one in lines if words in (one.key, one.value, one.cells[0].plain)), None)
