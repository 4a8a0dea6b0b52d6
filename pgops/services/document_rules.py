"""What is true of documents without a database: names, ids, paths, JSON that jsonb takes, and page marks.

Floor 2, pure. A check returns its argument in its final form or raises UsageError with a hint.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgops.errors import UsageError
from pgops.services.models import JsonValue, Operator, Path, Where

NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")
MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
MAX_ID_BYTES = 500
MAX_STEPS = 32
MAX_STEP_CHARS = 500
MAX_INDEX = 2**31 - 1
MAX_TTL_S = 100 * 365 * 86_400.0
OPERATORS: tuple[Operator, ...] = ("=", "!=", "<", "<=", ">", ">=", "in", "any", "contains")

Steps = tuple[str | int, ...]

_BARE = re.compile(r'[^."\[\]]+')
_STEP = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^."\[\]]+)')
_PLACE = re.compile(r"\[(-?\d{1,10})\]")
_CONDITION = re.compile(
    r"""\s*(?P<path>(?:"(?:[^"\\]|\\.)*"|[^"=<>!])+?)\s*(?P<operator>!=|<=|>=|=|<|>|(?<=\s)(?:in|any|contains)(?=\s))"""
    r"\s*(?P<value>.*?)\s*",
    re.DOTALL,
)


def check_name(name: object) -> str:
    """A collection's name, which becomes part of a table's."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(
            f"a collection cannot be called {str(name)[:60]!r}",
            "lower case letters, digits and _, at most 41 of them, not starting with a digit",
        )
    return name


def check_id(id: object) -> str:
    """A document's id: the application's own, any text."""
    if not isinstance(id, str) or not id or "\0" in id or not 0 < _utf8_size(id) <= MAX_ID_BYTES:
        raise UsageError(f"a document's id is a text of 1 to {MAX_ID_BYTES} bytes without NUL, not {str(id)[:60]!r}",
                         "for example user:42, or leave it out to have one drawn")  # fmt: skip
    return id


def check_version(version: int | None) -> int | None:
    if version is not None and (not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < 2**63):
        raise UsageError(f"a version is a number from 0, not {version!r}", "0 says that there is none yet")
    return version


def check_ttl(ttl_s: float | None) -> float | None:
    if ttl_s is None or (math.isfinite(ttl_s) and 0 < ttl_s <= MAX_TTL_S):
        return ttl_s
    raise UsageError(f"a TTL is more than 0 and at most 100 years of seconds, not {ttl_s}", "for example ttl_s=3600")


def _utf8_size(text: str) -> int:
    """Bytes in UTF-8; 0 where it has none, as for half a surrogate pair."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0


# --- JSON ------------------------------------------------------------------------------------------------------


def encode_document(data: object, what: str = "a document") -> str:
    """JSON text of an object, as jsonb takes it: no NaN, no NUL, at most 8 MB."""
    if not isinstance(data, Mapping):
        raise UsageError(f"{what} is a JSON object, not {_kind(data)}", 'for example {"name": "Ann"}')
    return encode_value(dict(data), what)


def encode_value(value: JsonValue, what: str = "the value") -> str:
    """JSON text of any value, as jsonb takes it."""
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{what} is not JSON: {error}", "use dict, list, str, int, float, bool and None") from error
    size = _utf8_size(text)
    if size == 0:
        raise UsageError(f"{what} holds half a character (a lone surrogate)", "PostgreSQL stores UTF-8 only")
    if size > MAX_DOCUMENT_BYTES:
        raise UsageError(
            f"{what} has {size:,} bytes, more than {MAX_DOCUMENT_BYTES:,}",
            "store large parts elsewhere, with a key here",
        )
    if r"\u0000" in text and r"\u0000" in text.replace(r"\\", ""):
        raise UsageError(f"{what} holds a NUL character, which PostgreSQL cannot store", r"remove \u0000")
    return text


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds = ((bool, "true or false"), (int | float, "a number"), (str, "a text"), (Sequence, "an array"))
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)


# --- paths -----------------------------------------------------------------------------------------------------


def check_path(path: Path) -> Steps:
    """The steps of a path: texts for keys, numbers for places in an array. Raises UsageError."""
    steps: Steps = _parse(path) if isinstance(path, str) else tuple(path)
    if not steps or len(steps) > MAX_STEPS:
        raise UsageError(f"a path has 1 to {MAX_STEPS} steps, not {len(steps)}", "for example customer.name")
    for step in steps:
        if isinstance(step, str):
            if "\0" in step or len(step) > MAX_STEP_CHARS or (step and not _utf8_size(step)):
                raise UsageError(
                    f"a key in a path has at most {MAX_STEP_CHARS} characters and no NUL, not {step[:60]!r}",
                    "look for the object it stands in",
                )
        elif not isinstance(step, int) or isinstance(step, bool) or abs(step) > MAX_INDEX:
            raise UsageError(f"a step of a path is a key or a place in an array, not {step!r}", "items[0].sku")
    return steps


def _parse(path: str) -> Steps:
    steps: list[str | int] = []
    at = 0
    while True:
        found = _STEP.match(path, at)
        if found is None:
            raise _bad_path(path, at)
        steps.append(_key(path, found[0]))
        at = found.end()
        while place := _PLACE.match(path, at):
            steps.append(int(place[1]))
            at = place.end()
        if at == len(path):
            return tuple(steps)
        if path[at] != ".":
            raise _bad_path(path, at)
        at += 1


def _key(path: str, text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        raise _bad_path(path, path.find(text)) from None


def _bad_path(path: str, at: int) -> UsageError:
    return UsageError(
        f"{path[:80]!r} is no path: it breaks off at character {at + 1}",
        """keys with dots between them and [0] for places; a key with . [ ] or " in it stands in double quotes""",
    )


def path_text(steps: Steps) -> str:
    """The path as one text, which check_path takes back."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if _BARE.fullmatch(step) and step == step.strip() else json.dumps(step, ensure_ascii=False)
            text += f".{key}" if text else key
    return text


# --- conditions ------------------------------------------------------------------------------------------------


def parse_where(text: str) -> Where:
    """A condition as a person writes it: user_id=42, amount>50, status in ["paid", "sent"], tags any ["a"]. The value
    is JSON where it can be read as that, a text elsewhere. Raises UsageError."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UsageError(
            f"{text[:80]!r} is no condition", """a path, one of = != < <= > >= in any contains, a value: amount>50"""
        )
    operator = next(one for one in OPERATORS if one == found["operator"])
    return check_where(Where(path_text(check_path(found["path"].strip())), operator, _value(found["value"])))


def _value(text: str) -> JsonValue:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(name: str) -> JsonValue:
    raise ValueError(name)


def check_where(where: Where) -> Where:
    """A condition whose value fits its operator. Raises UsageError."""
    value = where.value
    if where.operator not in OPERATORS:
        raise UsageError(f"there is no operator {str(where.operator)[:20]!r}", f"use one of {' '.join(OPERATORS)}")
    if where.operator in ("<", "<=", ">", ">=") and (
        isinstance(value, bool) or not isinstance(value, int | float | str)
    ):
        raise UsageError(f"{where.operator} compares with a number or a text, not with {_kind(value)}", "amount>50")
    if where.operator in ("in", "any") and (isinstance(value, str) or not isinstance(value, Sequence)):
        raise UsageError(f"{where.operator} takes a list of values, not {_kind(value)}", 'for example ["a", "b"]')
    if where.operator == "contains" and not isinstance(value, Mapping | list | tuple):
        raise UsageError(f"contains takes an object or an array, not {_kind(value)}", "use = for a single value")
    return where


def nested(steps: Steps, value: JsonValue) -> JsonValue:
    """The object that has `value` at the path and nothing else; steps are keys only."""
    for step in reversed(steps):
        value = {step: value}
    return value


# --- pages -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a page ended: the sort it is of, the last document's key (JSON text, None where it has none) and id."""

    sort: str
    key: str | None
    id: str


def encode_mark(mark: Mark) -> str:
    text = json.dumps([mark.sort, mark.key, mark.id], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode()


def decode_mark(text: str, sort: str) -> Mark:
    """Raises UsageError for what no page of this sort has given."""
    try:
        found, key, id = json.loads(base64.b64decode(text.encode(), altchars=b"-_", validate=True))
        if found == sort and isinstance(id, str) and (key is None or isinstance(key, str)):
            json.loads("null" if key is None else key)
            return Mark(sort, key, check_id(id))
    except (ValueError, TypeError, binascii.Error, RecursionError, UsageError):
        pass
    raise UsageError("this is not where a page of that find ended", "give `after` what the page before had as `next`")
