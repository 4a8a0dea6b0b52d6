"""The key-value store's statements, a set for each of its two tables, and its arithmetic: bounds and patterns of a
scan. Below the service; nothing here does I/O.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from pgops.errors import UsageError
from pgops.queries import load
from pgops.services.keys import MAX_KEY_BYTES

INT8 = range(-(2**63), 2**63)
MAX_SCAN = 10_000
LAST = chr(0x10FFFF)
ABOVE_ALL = LAST * (MAX_KEY_BYTES // 4 + 1)


def _statements(table: str) -> dict[str, bytes]:
    store = sql.Identifier("pgops", table)
    named = load("pgops.services", "kv.sql")
    return {name: sql.SQL(text.decode()).format(store=store).as_bytes(None) for name, text in named.items()}


DURABLE: Mapping[str, bytes] = _statements("kv_store")
EPHEMERAL: Mapping[str, bytes] = _statements("kv_ephemeral")


@dataclass(frozen=True, slots=True)
class Range:
    """Keys from `low` to below `high` in byte order; of those, the ones that the regular expression matches."""

    low: str
    high: str
    pattern: str | None = None


def prefix_range(prefix: str) -> Range:
    """All keys that begin with `prefix`, every character of which is meant literally."""
    return Range(prefix, _after_prefix(prefix))


def glob_range(glob: str) -> Range:
    r"""The keys that a glob matches as a whole: * and ? stand for any characters and any one, [a-z] and [!a-z] for one
    of a set or of the rest; \ before a character takes it literally. Its literal beginning bounds the range.

    Raises UsageError for a set that is not closed, is empty or runs backwards, and for a \ at the end.
    """
    begin, place = "", 0
    parts: list[str] = []
    while place < len(glob):
        literal, regex, place = _next_of_glob(glob, place)
        if not parts and literal:
            begin += literal
        else:
            parts.append(_escape(literal) if literal else regex)
    if not parts:
        return Range(begin, begin + "\x01")
    if set(parts) == {".*"}:
        return prefix_range(begin)
    return Range(begin, _after_prefix(begin), f"^{_escape(begin)}{''.join(parts)}$")


def _next_of_glob(glob: str, place: int) -> tuple[str, str, int]:
    """A literal character or a regular expression, and where the glob goes on."""
    char = glob[place]
    if char == "*":
        return "", ".*", place + len(glob[place:]) - len(glob[place:].lstrip("*"))
    if char == "?":
        return "", ".", place + 1
    if char == "[":
        return _set_of_glob(glob, place)
    if char != "\\":
        return char, "", place + 1
    if place + 1 == len(glob):
        raise UsageError(r"a glob cannot end with a \ that escapes nothing", r"write \\ for a backslash")
    return glob[place + 1], "", place + 2


def _set_of_glob(glob: str, place: int) -> tuple[str, str, int]:
    found = re.compile(r"\[([!^]?+)((?:\\.|[^\]\\])+)\]", re.DOTALL).match(glob, place)
    if found is None:
        raise UsageError(
            f"the glob has a [ that is not closed: {glob[place : place + 40]!r}", r"write \[ for a bracket"
        )
    members = []
    for low, high in re.findall(r"(\\.|[^\\])(?:-(\\.|[^\\]))?", found[2], re.DOTALL):
        first, last = low[-1], (high or low)[-1]
        if first > last:
            raise UsageError(f"the set of the glob runs backwards: {first}-{last}", "write the lower one first")
        members.append(f"{_member(first)}-{_member(last)}" if high else _member(first))
    return "", f"[{'^' if found[1] else ''}{''.join(members)}]", found.end()


def _member(char: str) -> str:
    """A character within a set of PostgreSQL's regular expressions."""
    return f"\\{char}" if char in "\\]^-[" else char


def _escape(text: str) -> str:
    """A text that PostgreSQL's regular expressions take literally."""
    return re.sub(r"[][\\^$.|?*+(){}]", r"\\\g<0>", text)


def _after_prefix(prefix: str) -> str:
    """The first text, in byte order of UTF-8, that is above all texts with that prefix."""
    prefix = prefix.rstrip(LAST)
    if not prefix:
        return ABOVE_ALL
    code = ord(prefix[-1]) + 1
    return prefix[:-1] + chr(0xE000 if code == 0xD800 else code)
