"""What a job's arguments may be, and how they are written: checks before the database is asked.

Below the services. A check returns its argument or raises UsageError with a hint; nothing here does I/O.
"""

import json
import re
from collections.abc import Collection
from datetime import datetime

from pgops.errors import UsageError
from pgops.services.models import JsonValue

MAX_PAYLOAD_BYTES = 1_000_000
MAX_ERROR_CHARS = 8_000
MAX_JOB_KEY_BYTES = 1_000
MAX_SECONDS = 3_153_600_000  # 100 years
KEY_STATES = ("available", "scheduled", "running", "dead", "completed")


def copy_text(text: str) -> str:
    """`text` as a field of COPY's text format."""
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\n" in text or "\t" in text or "\r" in text:
        text = text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return text


def session_name(worker: int, queue: str, id: int) -> str:
    """The application_name of a session that works on a job: what PostgreSQL keeps of it, 63 characters of ASCII, with
    the job's id at its end however long the queue's name is."""
    end = f"/{id}"
    return f"pgops worker {worker} {queue}".encode("ascii", "replace").decode()[: 63 - len(end)] + end


_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Encoded(str):
    """JSON text that `encode_json` has made: it takes it for what it is."""


def encode_json(payload: JsonValue) -> str:
    """`payload` as JSON text that jsonb takes: no NaN, no NUL, no half of a surrogate pair, at most 1 MB."""
    if type(payload) is Encoded:
        return payload
    try:
        text = _encoder(payload)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"the payload is not JSON: {error}", "use dict, list, str, int, float, bool and None"
        ) from error
    if len(text) > MAX_PAYLOAD_BYTES:
        raise UsageError(
            f"the payload has {len(text):,} bytes, more than {MAX_PAYLOAD_BYTES:,}",
            "store the data elsewhere and enqueue its key",
        )
    if "\\u0000" in text and _NUL.search(text):
        raise UsageError("the payload holds a NUL character, which PostgreSQL cannot store", "remove \\u0000")
    if "\\ud" in text:
        check_unicode(json.dumps(json.loads(text), ensure_ascii=False), "the payload")
    return text


def check_unicode(text: str, what: str) -> str:
    """`text`, unless it holds half of a surrogate pair, as names of files and broken decoders have it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} holds half of a surrogate pair", "decode it with errors='replace'") from error
    return text


def error_text(text: str) -> str:
    """`text` as PostgreSQL can store it, its last 8,000 characters."""
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()[-MAX_ERROR_CHARS:]


def check_queue(queue: str) -> str:
    if not queue or len(check_unicode(queue, "a queue's name").encode()) > 200 or "\0" in queue:
        raise UsageError("a queue's name has 1 to 200 bytes and no NUL", "use a short name such as email")
    return queue


def check_kind(kind: str) -> str:
    if not kind or len(check_unicode(kind, "a job's kind")) > 200 or "\0" in kind:
        raise UsageError("a job's kind has 1 to 200 characters and no NUL", "use a short name such as send_email")
    return kind


def check_priority(priority: int) -> int:
    if priority not in (1, 2, 3, 4):
        raise UsageError(f"priority is 1 (first) to 4 (last), not {priority!r}", "leave it out for 2")
    return priority


def check_attempts(attempts: int | None) -> int | None:
    if attempts is not None and not 1 <= attempts <= 1000:
        raise UsageError(f"max_attempts is 1 to 1000, not {attempts!r}", "leave it out for the queue's own")
    return attempts


def check_job_key(key: str | None, name: str) -> str | None:
    """A group key or unique key, as `name` says."""
    if key is not None and (
        not key or len(check_unicode(key, f"a {name}").encode()) > MAX_JOB_KEY_BYTES or "\0" in key
    ):
        raise UsageError(
            f"a {name} has 1 to {MAX_JOB_KEY_BYTES:,} bytes and no NUL", "use the hash of what is long, or a short name"
        )
    return key


def check_unique(states: Collection[str], for_s: float | None) -> list[str]:
    """In which states a unique key is held, and for how long at most."""
    unknown = [state for state in states if state not in KEY_STATES]
    if unknown or not states:
        raise UsageError(f"a unique key knows no state {', '.join(unknown) or '(none)'}", f"of {', '.join(KEY_STATES)}")
    if for_s is not None and not 0 < for_s <= MAX_SECONDS:
        raise UsageError(f"unique_for_s is above 0 seconds, up to 100 years, not {for_s!r}", "leave it out for no end")
    if "completed" in states and for_s is None:
        raise UsageError("a unique key that outlives its job needs an end", "add unique_for_s, for example 3600")
    return list(states)


def check_delay(delay_s: float | None) -> float:
    if delay_s is not None and not 0 <= delay_s <= MAX_SECONDS:
        raise UsageError(f"the delay is 0 seconds to 100 years, not {delay_s!r}", "leave it out to run at once")
    return delay_s or 0.0


def check_setting(name: str, value: float | None, least: float = 0.0) -> float | None:
    """A duration among a queue's settings, in seconds."""
    if value is not None and not least <= value <= MAX_SECONDS:
        raise UsageError(f"{name} is {least:g} seconds to 100 years, not {value!r}", "leave it out to keep it as it is")
    return value


def check_word(name: str, value: str | None, words: Collection[str]) -> str | None:
    """A setting that is one of a few words."""
    if value is not None and value not in words:
        raise UsageError(f"{name} is {', '.join(words)}, not {value!r}", "leave it out to keep it as it is")
    return value


def check_limits(max_running: int | None, rate_per_s: float | None, burst: int | None) -> None:
    """A queue's limits; None is none."""
    if max_running is not None and not 1 <= max_running <= 1_000_000:
        raise UsageError(f"max_running is 1 to 1,000,000, not {max_running!r}", "pause the queue to run none")
    if rate_per_s is not None and not 0 < rate_per_s <= 1_000_000:
        raise UsageError(f"rate_per_s is more than 0, up to 1,000,000, not {rate_per_s!r}", "0.1 is one in ten seconds")
    if burst is not None and (rate_per_s is None or not 1 <= burst <= 1_000_000):
        raise UsageError("a burst is 1 to 1,000,000 jobs, of a queue with a rate", "add rate_per_s")


def check_moment(run_at: datetime | None) -> datetime | None:
    if run_at is not None and run_at.tzinfo is None:
        raise UsageError("run_at has no time zone", "use datetime.now(timezone.utc) + timedelta(…)")
    return run_at
