"""Values as a person reads them, and text made harmless. Pure; unknown is a dash.

The rule: what comes from the database passes `clean` (one line) or `clean_lines` before it is shown, so that no
terminal sequence, no direction mark and no control character in it has any effect.
"""

import json
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime

from pgops.ops import wording

UNKNOWN = "–"
_COUNTS = ("k", "M", "G", "T")
_FILLERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters that nobody sees
_PILE = 3  # marks over one letter; more would stand in the lines above and below


def count(number: float | None) -> str:
    """A count in at most six cells: 0, 999, 9,999, 12.3k, 123k, 4.6M."""
    if number is None:
        return UNKNOWN
    if abs(number) < 9_999.5:
        return f"{number:,.0f}"
    amount = float(number)
    for unit in _COUNTS:
        amount /= 1000
        if abs(amount) < 99.95:
            return f"{amount:.1f}{unit}"
        if abs(amount) < 999.5:
            return f"{amount:.0f}{unit}"
    return f"{amount:.0f}{unit}"


def roughly(number: int, exact: Mapping[str, bool], name: str) -> str:
    """A count with "~" before it where `exact` says that it is capped or estimated."""
    return count(number) if exact.get(name, True) else f"~{count(number)}"


def rate(per_s: float | None) -> str:
    """So many a second: 0, 0.4, 3.5, 120, 12.3k."""
    if per_s is None:
        return UNKNOWN
    if 0 < abs(per_s) < 9.95:
        return f"{per_s:.1f}"
    return count(per_s)


def duration(seconds: float | None) -> str:
    """Seconds in at most seven cells: 350ms, 4.2s, 42s, 3m 12s, 2h 05m, 4d 3h."""
    return UNKNOWN if seconds is None else wording.duration(seconds)


def size(count_bytes: int | None) -> str:
    """Bytes in powers of 1024: 512 B, 1.5 kB, 12.3 MB."""
    return UNKNOWN if count_bytes is None else wording.size(count_bytes)


def ratio(share: float | None) -> str:
    """A share as percent: 98.7%; 100% only where it is all of it."""
    if share is None:
        return UNKNOWN
    if 0.9995 <= share < 1:
        return "99.9%"
    return f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"


def milliseconds(ms: float | None) -> str:
    """4.2 ms, 123 ms."""
    if ms is None:
        return UNKNOWN
    return f"{ms:.1f} ms" if ms < 99.95 else f"{ms:,.0f} ms"


def clock(moment: datetime | None) -> str:
    """A time of day in UTC: 03:12:45."""
    return UNKNOWN if moment is None else moment.astimezone(UTC).strftime("%H:%M:%S")


def stamp(moment: datetime | None) -> str:
    """A moment in UTC: 2026-01-31 03:12:45Z."""
    return UNKNOWN if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _harmless(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") or character in _FILLERS:
        return "�"
    return character


def clean(text: object, limit: int = 500) -> str:
    """`text` as one harmless line: control characters as their pictures (␛, ␊), invisible ones as �."""
    line = str(text)
    if len(line) > limit:
        line = line[: limit - 1] + "…"
    return line if line.isascii() and line.isprintable() else _levelled("".join(map(_harmless, line)))


def _levelled(line: str) -> str:
    """The line without marks that are piled upon marks or have no letter, and without those that change how wide a
    character is drawn."""
    kept, marks = [], _PILE
    for character in line:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if marks <= _PILE and not "\ufe00" <= character <= "\ufe0f":
            kept.append(character)
    return "".join(kept)


def clean_lines(text: object, limit: int = 20_000) -> str:
    """`text` as harmless lines: like `clean`, but line breaks stay and tabs become blanks."""
    whole = str(text)
    cut = "\n…" if len(whole) > limit else ""
    lines = whole[:limit].replace("\r\n", "\n").replace("\t", "    ").split("\n")
    return "\n".join(clean(line, limit) for line in lines) + cut


def compact_json(value: object, limit: int = 300) -> str:
    """A JSON value as one harmless line."""
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), limit)


def bar(share: float, width: int) -> tuple[str, str]:
    """`share` of 1 as a bar of `width` cells: its filled and its empty half. Something is never drawn as nothing."""
    share = min(max(share, 0.0), 1.0)
    filled = round(share * width)
    if share > 0 and filled == 0:
        filled = 1
    if share < 1 and filled == width:
        filled = width - 1
    return "━" * filled, "─" * (width - filled)
