"""Payloads from the command line: one JSON value from an argument, or JSON lines from stdin.

The rule: what is no JSON is told with its position, and stdin never keeps ctrl-c from working.
"""

import json
import sys
from collections.abc import Iterator

from pgops.cli.context import interruptible
from pgops.errors import UsageError
from pgops.services.models import JsonValue


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
