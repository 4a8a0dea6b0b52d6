"""Data in Markdown: shown as it is, and never as markup.

Floor 3, pure. The rule: a word that could be markup, a link, a mention or HTML becomes a code span, in which nothing
means anything; line ends become blanks, and what would steer a terminal is made visible.
"""

import re
from collections.abc import Iterable, Sequence

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_MARKUP = re.compile(r"[\\`*_\[\]<>|~&@$^#]|:[a-z][\w+-]*:|://|\bwww\.", re.IGNORECASE)
_WORD = re.compile(r"([(\"']*)(.*?)([)\"',.;:!?]*)", re.DOTALL)
_TICKS = re.compile(r"`+")
LONGEST = 2_000


def prose(said: str) -> str:
    """Text of a paragraph; it does not begin a line of its own."""
    return " ".join(_word(word) for word in plain(said).split(" "))


def code(said: str) -> str:
    """Text as a code span."""
    said = plain(said)
    if not said:
        return ""
    ticks = "`" * (_longest(said) + 1)
    edge = " " if said.startswith("`") or said.endswith("`") or (said[0] == said[-1] == " " and said.strip()) else ""
    return f"{ticks}{edge}{said}{edge}{ticks}"


def block(said: str, language: str) -> str:
    """Text as a code block."""
    said = plain(said)
    ticks = "`" * max(3, _longest(said) + 1)
    return f"{ticks}{language}\n{said}\n{ticks}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of words; in it a bar is a bar also in a code span."""
    lines = [list(heads), ["---"] * len(heads), *([prose(cell).replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(said: str) -> str:
    """One line without anything that steers, of bounded length."""
    said = " ".join(said.split())
    said = _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), said)
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def _word(word: str) -> str:
    if not _MARKUP.search(word):
        return word
    parts = _WORD.fullmatch(word)
    assert parts is not None, "what stands around a word may be nothing"
    before, inner, after = parts.groups()
    return f"{before}{code(inner)}{after}"


def _longest(said: str) -> int:
    return max((len(run) for run in _TICKS.findall(said)), default=0)
