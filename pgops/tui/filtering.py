"""The language of filters, read and judged. Pure: text -> Terms; a Term is asked of a line's words and amounts.

    mail timeout          both words, anywhere in a line
    kind:mail             in one column; the column as it is called on screen, or its key
    state=dead            the column is exactly this
    age>5m  try>=3  size<1MB  hit<90%
    !timeout  !kind:mail  not so
    error:"no answer"     blanks inside

A word that begins like a column that is not there stands for itself, and `trouble` says so. What is still being
typed (`kind:`, `age>`) asks nothing yet.
"""

import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

Sign = Literal[":", "=", ">", ">=", "<", "<="]

_TERM = re.compile(
    r'\s*(?P<nots>!*)(?:(?P<key>[a-z_][a-z0-9_.]*)(?P<sign>>=|<=|[:=<>]))?(?:(?P<open>")(?P<quoted>[^"]*)"?|(?P<bare>\S*))',
    re.IGNORECASE,
)
_AMOUNT = re.compile(r"([0-9][0-9,_]*(?:\.[0-9]+)?|\.[0-9]+)([a-zµ%]*)", re.IGNORECASE)
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_COUNTS = {"": 1.0, "%": 0.01, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SIZES = {"b": 1.0, "kb": 1024.0, "mb": 1024.0**2, "gb": 1024.0**3, "tb": 1024.0**4}


@dataclass(frozen=True, slots=True)
class Term:
    """One word of a filter. Without a key it may stand anywhere. `amount` is what `text` is as a number: seconds,
    bytes, a share of 1; None where it is none. `written` is key, sign and text as they were typed,
    `quoted` whether the text stood in quotes."""

    text: str
    key: str = ""
    sign: Sign = ":"
    negated: bool = False
    amount: float | None = None
    written: str = ""
    quoted: bool = False

    @property
    def compares(self) -> bool:
        """Whether it asks for more or less of a column."""
        return self.sign in (">", ">=", "<", "<=")


def parse(query: str) -> tuple[Term, ...]:
    """The words of a filter, in order. Every text is one; nothing raises."""
    terms = []
    for found in _found(query):
        key, sign = found["key"] or "", cast(Sign, found["sign"] or ":")
        key = key if "." in key else key.lower()
        text = found["quoted"] if found["open"] else found["bare"]
        if text or (found["open"] and sign == "="):
            written = f"{found['key'] or ''}{found['sign'] or ''}{text}"
            terms.append(Term(text, key, sign, bool(found["nots"]), amount_of(text), written, bool(found["open"])))
    return tuple(terms)


def _found(query: str) -> Iterator[re.Match[str]]:
    return (found for found in _TERM.finditer(query) if found[0])


def amount_of(text: str) -> float | None:
    """3, 12.5k, 4M, 90%, 1.5MB, 350ms, 5m, 2h05m as a number: counts in powers of 1000, sizes of 1024, seconds."""
    words = "".join(text.split())
    total, at = 0.0, 0
    while found := _AMOUNT.match(words, at):
        unit = found[2]
        factor = _COUNTS.get(unit) or _DURATIONS.get(unit) or _SIZES.get(unit.lower())
        if factor is None or (unit not in _DURATIONS and (at or found.end() < len(words))):
            return None
        total += float(found[1].replace(",", "").replace("_", "")) * factor
        at = found.end()
    return total if at and at == len(words) else None


def passes(terms: Sequence[Term], words: Mapping[str, str], amounts: Mapping[str, float]) -> bool:
    """Whether a line passes all of them. `words` are its columns in lower case, `amounts` those of them that are
    known numbers; of an unknown one no comparison is true."""
    return all(_holds(term, words, amounts) is not term.negated for term in terms)


def _holds(term: Term, words: Mapping[str, str], amounts: Mapping[str, float]) -> bool:
    text = term.text.lower()
    if term.key not in words:
        written = term.written.lower()
        return any(written in cell for cell in words.values())
    if term.sign == ":":
        return text in words[term.key]
    if term.sign == "=" and text in (words[term.key], _bare(words[term.key])):
        return True
    amount = amounts.get(term.key)
    if amount is None or term.amount is None:
        return False
    return {
        "=": amount == term.amount, ">": amount > term.amount, ">=": amount >= term.amount,
        "<": amount < term.amount, "<=": amount <= term.amount,
    }[term.sign]  # fmt: skip


def _bare(cell: str) -> str:
    """A cell without the glyph before its words."""
    glyph, _, rest = cell.partition(" ")
    return rest if rest and not any(letter.isalnum() for letter in glyph) else cell


def trouble(
    terms: Sequence[Term], columns: Collection[str], numbers: Collection[str], also: Collection[str] = ()
) -> str:
    """What of a filter cannot be meant here, in one line; empty where all is well. `numbers` are those of the columns
    that compare, `also` what is known beside their names."""
    for term in terms:
        if not term.key:
            continue
        if term.key not in columns and term.key not in also:
            names = ", ".join(columns)
            return f"no column {term.key}, so “{term.written}” is looked for; there are {names}"
        if term.compares and term.key not in numbers:
            return f"{term.key} is no number to compare with; {term.key}:{term.text} looks in its words"
        if term.compares and term.amount is None:
            return f"{term.text} is no number; for example {term.key}{term.sign}5m, 3, 10k, 1MB or 90%"
    return ""


def complete(query: str, columns: Sequence[str], values: Mapping[str, Sequence[str]]) -> str | None:
    """`query` with its last word gone on: a column by its beginning, or a value that is on screen. None where
    nothing begins so, or nothing was begun."""
    last = deque(_found(query), maxlen=1)
    return _go_on(query, last[0], columns, values) if last else None


def _go_on(query: str, last: re.Match[str], columns: Sequence[str], values: Mapping[str, Sequence[str]]) -> str | None:
    if last["open"] and last.end("quoted") < len(query):
        return None
    typed = last["quoted"] if last["open"] else last["bare"]
    if last["key"] is None:
        if not typed or last["open"]:
            return None
        return _first(query, typed, [f"{name}:" for name in columns])
    if last["sign"] not in (":", "="):
        return None
    return _first(query, typed, values.get(last["key"].lower(), ()), quoted=bool(last["open"]))


def _first(query: str, typed: str, names: Sequence[str], *, quoted: bool = False) -> str | None:
    for name in names:
        if len(name) > len(typed) and name.lower().startswith(typed.lower()):
            if quoted:
                return f'{query}{name[len(typed) :]}"'
            if " " in name:
                return f'{query[: len(query) - len(typed)]}"{name}"' if not typed else None
            return query + name[len(typed) :]
    return None
