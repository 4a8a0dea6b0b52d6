"""A payload that a person edits, as text from first to last: numbers keep every digit that PostgreSQL keeps.

Floor 3, under the acts on jobs. Read as Python reads it, a number of thirty digits behind the point, or one beyond a
double's range, would come back as another one.
"""

import json
import re
from math import isfinite

from pgops.database import AsyncDatabase
from pgops.errors import NotFoundError, UsageError
from pgops.ops.act.acting import Action
from pgops.queries import load
from pgops.services.arguments import MAX_PAYLOAD_BYTES, Encoded, encode_json
from pgops.services.models import JsonValue

Q = load("pgops.ops.act", "previews.sql")

EXAMPLE = 'write for example {"to": "a@example.org"}'
_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|\s+')


async def pretty(db: AsyncDatabase, queue: str, job: int) -> str:
    """A job's payload with every digit, laid out in lines. Raises NotFoundError where it runs, or is gone."""
    row = await db.one(Q["pretty_payload"], {"queue": queue, "job": job})
    if row is None:
        raise NotFoundError(f"queue {queue!r} has no job {job} that could be edited", "a running job keeps its payload")
    return str(row[0])


def exact(action: Action) -> Encoded:
    """What an edit_job gives its one job, as jsonb takes it. Raises UsageError."""
    if len(action.ids) != 1:
        raise UsageError("a payload is edited one job at a time", "name one job")
    try:
        value = json.loads(action.given, parse_int=_zero, parse_float=_zero, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the payload is not JSON: {error}", EXAMPLE) from error
    encode_json(value)
    text = _STRING_OR_SPACE.sub(r"\1", action.given)
    if len(text) > MAX_PAYLOAD_BYTES:
        raise UsageError(
            f"the payload has {len(text):,} bytes, more than {MAX_PAYLOAD_BYTES:,}",
            "store the data elsewhere and enqueue its key",
        )
    return Encoded(text)


def about(text: str) -> JsonValue:
    """The value for the trail; a number that Python cannot hold stands as its digits."""
    return json.loads(text, parse_int=_whole, parse_float=_fraction)


def wrong_at(text: str) -> tuple[int, int, str] | None:
    """Line and column, from 1, at which a text stops being JSON, and why; None where it is JSON."""
    try:
        json.loads(text, parse_int=_zero, parse_float=_zero)
    except json.JSONDecodeError as error:
        return error.lineno, error.colno, error.msg
    except RecursionError:
        return 1, 1, "nested too deeply"
    return None


def _zero(digits: str) -> int:
    return 0


def _no_number(word: str) -> int:
    raise ValueError(f"{word} is no number in JSON")


def _whole(digits: str) -> JsonValue:
    try:
        return int(digits)
    except ValueError:
        return digits


def _fraction(digits: str) -> JsonValue:
    number = float(digits)
    return number if isfinite(number) else digits
