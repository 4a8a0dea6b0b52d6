"""JSON's edge: what comes from outside and is as it is."""

import json
import re
from typing import Any

JsonValue = Any
MAX_DEPTH = 200
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|([\[{])|[\]}]')


def read_json(text: str | None) -> JsonValue:
    """A value for a list or a detail; a number too long for Python's int stays its digits, what is nested too deeply
    for it stays text. None for None."""
    if text is None:
        return None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(text, parse_int=str)


def _depth(text: str) -> int:
    deepest = depth = 0
    for found in _BRACKETS.finditer(text):
        if not found[0].startswith('"'):
            depth += 1 if found[1] else -1
            deepest = max(deepest, depth)
    return deepest
