"""The filter over jobs as the server can be asked it. Pure.

Words, `kind:`, `error:`, `args.user.id:42`, `age>5m`, `id:7`, and `!` before a word or a kind.
"""

import json
from dataclasses import dataclass, field

from pgops.services.models import JobMatch, JsonValue
from pgops.tui import formats
from pgops.tui.filtering import Term, parse

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
    if not all(_take(asked, term) for term in parse(query)):
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
    return any(_path(term) for term in parse(query))


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


def _take(asked: _Asked, term: Term) -> bool:
    """Note one term; whether it can be asked."""
    if term.key == "age" and term.compares and term.amount is not None and not term.negated:
        asked.ages[term.sign[0]] = term.amount
        return True
    if path := _path(term):
        return not term.negated and _nest(asked.payload, path, _value(term))
    if term.key not in ("kind", "error", "id", *HERE):
        (asked.not_words if term.negated else asked.words).append(term.written)
        return True
    if term.sign == ":" and term.key == "kind" and term.negated:
        asked.not_kinds.append(term.text)
        return True
    if term.sign != ":" or term.key in HERE or term.key in asked.one:
        return False
    asked.one[term.key] = term.text
    whole = term.text.isascii() and term.text.isdigit() and int(term.text) < 2**63
    return not term.negated and (term.key != "id" or whole)


def _path(term: Term) -> list[str]:
    """Where in a payload the term looks; nothing where it does not."""
    root, _, path = term.key.partition(".")
    return path.split(".") if path and root in ("args", "payload") and term.sign in (":", "=") else []


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


def _value(term: Term) -> JsonValue:
    """A JSON value where it is one, else, and in quotes, the text itself."""
    if term.quoted:
        return term.text
    try:
        found: JsonValue = json.loads(term.text, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return term.text
    return found
