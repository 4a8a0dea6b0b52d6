"""The filter over jobs as the server can be asked it. Pure.

Words, `kind:`, `error:`, `args.user.id:42`, `age>5m`, `id:7`, and `!` before a word or a kind.
"""

import json
import re
from dataclasses import dataclass, field

from pgops.services.models import JobMatch, JsonValue
from pgops.tui import formats

_TOKEN = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*"?)+')
_AGE = re.compile(r"age([<>])=?(\d+(?:\.\d+)?)([smhd])")
_PATH = re.compile(r"(?:args|payload)\.([^:]+):(.+)")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
HERE = ("state", "try", "age", "payload", "value")  # what only the lines on screen have


@dataclass(slots=True)
class _Asked:
    """What a filter has asked for so far."""

    one: dict[str, str] = field(default_factory=dict)
    ages: dict[str, float] = field(default_factory=dict)
    payload: dict[str, JsonValue] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    not_kinds: list[str] = field(default_factory=list)
    not_words: list[str] = field(default_factory=list)


def job_match(query: str) -> JobMatch | None:
    """What the filter asks for; None where it asks for nothing, or for what the server cannot be asked."""
    asked = _Asked()
    if not all(_take(asked, token) for token in _TOKEN.findall(query)):
        return None
    id = asked.one.pop("id", None)
    match = JobMatch(
        kind=asked.one.get("kind"), error=asked.one.get("error"), payload=asked.payload or None,
        words=tuple(asked.words), not_kinds=tuple(asked.not_kinds), not_words=tuple(asked.not_words),
        older_than_s=asked.ages.get(">"), younger_than_s=asked.ages.get("<"), id=None if id is None else int(id),
    )  # fmt: skip
    if match == JobMatch() or (id is not None and match != JobMatch(id=int(id))):
        return None
    return match


def beyond_lines(query: str) -> bool:
    """Whether it asks for what the lines of a table cannot tell."""
    return any(_AGE.fullmatch(token) or _PATH.fullmatch(token) or '"' in token for token in _TOKEN.findall(query))


def told(match: JobMatch) -> str:
    """What matches, in words."""
    said = [f"of kind {formats.clean(match.kind, 40)}"] if match.kind else []
    said += [f"not of kind {formats.clean(kind, 40)}" for kind in match.not_kinds]
    said += [f"with {formats.clean(match.error, 40)!r} in the error"] if match.error else []
    said += [f"with {formats.clean(word, 40)!r} in it" for word in match.words]
    said += [f"without {formats.clean(word, 40)!r}" for word in match.not_words]
    said += [f"with {formats.compact_json(match.payload, 60)}"] if match.payload is not None else []
    said += [f"added {formats.duration(match.older_than_s)} ago"] if match.older_than_s is not None else []
    said += [f"added since {formats.duration(match.younger_than_s)}"] if match.younger_than_s is not None else []
    return ", ".join(said)


def _take(asked: _Asked, token: str) -> bool:
    """Note one term; whether it can be asked."""
    if age := _AGE.fullmatch(token):
        asked.ages[age[1]] = float(age[2]) * _UNITS[age[3]]
        return True
    if path := _PATH.fullmatch(token):
        return _nest(asked.payload, path[1].split("."), _value(path[2]))
    turned, term = token.startswith("!"), token.removeprefix("!")
    key, colon, value = term.partition(":")
    value = value.strip('"')
    if not colon or key not in ("kind", "error", "id", *HERE):
        word = term.strip('"')
        (asked.not_words if turned else asked.words).extend([word] if word else [])
        return True
    if key == "kind" and turned:
        asked.not_kinds.append(value)
        return bool(value)
    if turned or key in HERE or key in asked.one or not value:
        return False
    asked.one[key] = value
    return key != "id" or (value.isascii() and value.isdigit() and int(value) < 2**63)


def _nest(payload: dict[str, JsonValue], path: list[str], value: JsonValue) -> bool:
    """Put a value where its path says."""
    for name in path[:-1]:
        inner = payload.setdefault(name, {})
        if not isinstance(inner, dict):
            return False
        payload = inner
    fresh = path[-1] not in payload and all(path)
    payload.setdefault(path[-1], value)
    return fresh


def _value(text: str) -> JsonValue:
    """A JSON value where it is one, else the text itself."""
    try:
        found: JsonValue = json.loads(text, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return text
    return found
