"""Vector indexes, collections without one, and matches, as lines of their tables. Pure."""

from collections.abc import Sequence

from rich.text import Text

from pgops.ops.observe.snapshot import VectorIndexPart
from pgops.tui import formats
from pgops.tui.theme import Tone
from pgops.tui.widgets.ink import Piece, ink, number
from pgops.tui.widgets.ledger import Column, Line

BAR = 12

INDEXES = (
    Column("collection", "collection", 0, most=44),
    Column("method", "method", 7, from_width=90),
    Column("type", "type", 14, from_width=110),
    Column("rows", "rows", 7, right=True),
    Column("lists", "lists", 9, right=True),
    Column("per", "per list", 8, right=True),
    Column("size", "size", 8, right=True),
    Column("valid", "valid", 6, ranked=True),
    Column("searches", "searches", 8, right=True, from_width=100),
    Column("recall", "recall", 12, right=True),
    Column("index", "index", 28, from_width=130),
)
RESULTS = (
    Column("likeness", "likeness", BAR + 6),
    Column("id", "id", 8, right=True),
    Column("content", "content", 0),
)


def key_of(one: VectorIndexPart) -> str:
    """What tells an index, or a collection without one, from all others."""
    return f"{one.table}\n{one.index or ''}"


def index_line(one: VectorIndexPart) -> Line:
    """An index as a row, or a collection without one."""
    name = formats.clean(one.collection or one.table, 80)
    if one.index is None:
        return _without(one, name)
    built, wanted = one.lists_built or one.lists_set, one.lists_set
    lists: list[Piece] = [formats.count(built)]
    if one.lists_built and wanted and one.lists_built != wanted:
        lists.append((f"→{formats.count(wanted)}", "warn"))
    per = one.rows / built if built else None
    recall: Tone = "quiet" if one.recall is None else "warn" if one.recall < 0.9 else "plain"
    cells = (
        ink(name), ink((formats.clean(one.method, 12), "quiet")), ink((kind(one), "quiet")),
        number(formats.roughly(one.rows, one.exact, "rows")), ink(*lists, right=True), number(formats.count(per)),
        number(formats.size(one.bytes)), ink(("✓ yes", "good")) if one.valid else ink(("✕ no", "bad")),
        number(formats.count(one.searches_total)),
        number("not measured" if one.recall is None else formats.ratio(one.recall), recall),
        ink((formats.clean(one.index, 80), "quiet")),
    )  # fmt: skip
    order = (
        name, one.method or "", kind(one), one.rows, built or 0, per or 0.0, one.bytes, float(bool(one.valid)),
        one.searches_total, one.recall or 0.0, one.index,
    )  # fmt: skip
    return Line(key_of(one), cells, order, one.index)


def _without(one: VectorIndexPart, name: str) -> Line:
    none = number(formats.UNKNOWN)
    cells = (
        ink(name), ink(("exact", "quiet")), ink((kind(one), "quiet")),
        number(formats.roughly(one.rows, one.exact, "rows")), none, none, none, ink(("none", "quiet")), none,
        number("exact", "quiet"), ink(("no index", "quiet")),
    )  # fmt: skip
    return Line(key_of(one), cells, (name, "", kind(one), one.rows, 0, 0.0, 0, 0.0, 0, 0.0, ""), one.table)


def kind(one: VectorIndexPart) -> str:
    """halfvec(1536)."""
    of = f"({one.dimensions})" if one.dimensions else ""
    return f"{formats.clean(one.type or formats.UNKNOWN, 12)}{of}"


def about(one: VectorIndexPart, others: Sequence[VectorIndexPart] = ()) -> Text:
    """An index in two lines: what searches cost and find, and what a rebuild would change. Among `others` may be one
    that serves a collection without an index of its own."""
    nature: tuple[Piece, ...] = ((f"  {kind(one)} {formats.clean(one.metric or '', 12)}", "quiet"),)
    if one.collection is not None:
        nature += ((f"  embedder {formats.clean(one.embedder or 'none', 30)}", "quiet"),)
    if one.index is None:
        theirs = next((each.index for each in others if each.table == one.table and each.valid), None)
        first = ink("no index: exact search", *nature)
        if theirs is not None:
            first = ink("no index of its own", (f"  a search may use {formats.clean(theirs, 40)}", "quiet"), *nature)
        second = ink(("a search reads all rows and misses none; ", "quiet"), ("B", "accent"), (" builds one", "quiet"))
        return Text("\n").join((first, second))
    probes = formats.UNKNOWN if one.probes is None else f"{one.probes} of {formats.count(one.lists_built)} lists"
    reads: tuple[Piece, ...] = (("  a search reads ", "quiet"), probes) if one.method == "ivfflat" else ()
    first = ink(
        formats.clean(one.index, 60), *reads, ("  searches ", "quiet"), f"{formats.rate(one.searches_per_s)}/s", *nature
    )
    return Text("\n").join((first, _findings(one)))


def _findings(one: VectorIndexPart) -> Text:
    if one.collection is None:
        second = ink(("no collection of pgops: it is only looked at", "quiet"))
    elif one.recall is None:
        second = ink(("recall not measured: ", "quiet"), (f"pgops vector recall {one.collection}", "accent"))
    else:
        between = f" ({formats.ratio(one.recall_low)} to {formats.ratio(one.recall_high)})"
        second = ink(("recall ", "quiet"), formats.ratio(one.recall), between,
                     (f"  measured {formats.stamp(one.recall_at)}", "quiet"))  # fmt: skip
    if one.lists_built and one.lists_set and one.lists_built != one.lists_set:
        second.append_text(ink((f"  ◆ set to {one.lists_set:,}, B rebuilds", "warn")))
    return second


def match_line(place: int, id: int, score: float, content: str) -> Line:
    """A match as a row."""
    filled, rest = formats.bar(score, BAR)
    text = formats.clean(" ".join(content.split()), 400)
    cells = (ink((filled, "accent"), (rest, "quiet"), f" {score:.3f}"), number(str(id)), ink(text))
    return Line(str(id), cells, (score, id, text), content, raw={"content": content})
