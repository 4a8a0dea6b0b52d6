"""JSON's edge: what comes from outside and is as it is."""

import json
from typing import Any

JsonValue = Any


def read_json(text: str | None) -> JsonValue:
    """A value for a list or a detail; a number too long for Python's int stays its digits. None for None."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(text, parse_int=str)
