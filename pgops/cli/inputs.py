"""What the command line is given: a JSON value from an argument, or JSON lines from stdin; moments; lists of words.

The rule: what is no JSON is told with its position, and stdin never keeps ctrl-c from working.
"""

import json
import re
import sys
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import TypeVar

from pgops.cli.context import interruptible
from pgops.errors import UsageError
from pgops.services.models import JsonValue

Word = TypeVar("Word", bound=str)

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def payload(text: str) -> JsonValue:
    """The JSON value that `text` is; `-` reads it from stdin. Raises UsageError with line and column."""
    return _decode(stdin_text() if text == "-" else text, "the payload")


def stdin_text() -> str:
    """All of stdin."""
    with interruptible():
        return sys.stdin.read()


def stdin_bytes() -> bytes:
    """All of stdin, as it is."""
    with interruptible():
        return sys.stdin.buffer.read()


def stdin_lines() -> Iterator[JsonValue]:
    """One JSON value a line of stdin, as they come; empty lines are skipped."""
    number = 0
    while True:
        with interruptible():
            line = sys.stdin.readline()
        if not line:
            return
        number += 1
        if line.strip():
            yield _decode(line.strip(), f"line {number}")


def moment(text: str) -> datetime:
    """The moment that `text` is: ISO 8601, or how long ago, such as 90s, 15m, 2h or 7d. Raises UsageError."""
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(seconds=float(ago[1]) * _UNITS[ago[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no moment", "write 15m, 2h or 7d ago, or 2026-01-31T12:00Z") from error
    return found if found.tzinfo else found.astimezone()


def age_s(text: str | None) -> float | None:
    """How many seconds 90s, 15m, 2h or 7d are; None is none. Raises UsageError."""
    if text is None:
        return None
    if not (found := _AGO.fullmatch(text)):
        raise UsageError(f"{text!r} is no age", "write 90s, 15m, 2h or 7d")
    return float(found[1]) * _UNITS[found[2]]


def _decode(text: str, what: str) -> JsonValue:
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise UsageError(
            f"{what} is not JSON: {error.msg} at {place}", """quote it for the shell, for example '{"to": "x"}'"""
        ) from error
    except RecursionError as error:
        raise UsageError(f"{what} is nested too deeply", "flatten it") from error


def _refuse(name: str) -> JsonValue:
    raise UsageError(f"{name} is not JSON", "use a number or null")


def chosen(given: str, known: Collection[Word], what: str) -> list[Word]:
    """Words of a list with commas, each of them known. Raises UsageError with what is near one that is not."""
    by_name = {str(word): word for word in known}
    words = [word.strip() for word in given.split(",") if word.strip()]
    for word in words or [given]:
        if word not in by_name:
            near = get_close_matches(word, by_name, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(by_name)}"
            raise UsageError(f"there is no {what} {word!r}", hint)
    return [by_name[word] for word in dict.fromkeys(words)]
