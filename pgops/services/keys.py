"""What a key, a value and a time to live may be: checks before the database is asked.

Below the services that keep something by key. A check returns its argument or raises UsageError with a hint.
"""

import math
from collections.abc import Iterable

from pgops.errors import UsageError

MAX_KEY_BYTES = 2_000
MAX_VALUE_BYTES = 8 * 1024 * 1024
MAX_BATCH_BYTES = 256 * 1024 * 1024
MAX_TTL_S = 100 * 365 * 86_400.0


def check_key(key: object) -> str:
    """1 to 2,000 bytes of UTF-8 without NUL, so that it fits an index."""
    return check_text(key, "a key", MAX_KEY_BYTES, "hash what is longer, for example with sha256")


def check_keys(keys: Iterable[object]) -> list[str]:
    if isinstance(keys, str):
        raise UsageError("keys are a list of texts, not one text", "write [key]")
    return [check_key(key) for key in keys]


def check_text(text: object, what: str, limit: int, hint: str) -> str:
    """1 to `limit` bytes of UTF-8 without NUL."""
    if not isinstance(text, str):
        raise UsageError(f"{what} is a text, not {type(text).__name__}", "use str(…) or an f-string")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise UsageError(f"{what} must be valid Unicode", "it holds half of a surrogate pair") from None
    if not 0 < size <= limit:
        raise UsageError(f"{what} has 1 to {limit:,} bytes, not {size:,}", hint)
    if "\0" in text:
        raise UsageError(f"{what} cannot hold a NUL character", "PostgreSQL's text has none; escape it")
    return text


def check_value(key: str, value: object) -> bytes:
    """Bytes as they are, a text as UTF-8; at most 8 MiB."""
    if isinstance(value, str):
        try:
            value = value.encode()
        except UnicodeEncodeError:
            raise UsageError("a text must be valid Unicode", "it holds half of a surrogate pair") from None
    return check_bytes(key, value, "a value is bytes or a text")


def check_bytes(key: str, value: object, rule: str = "a value is bytes") -> bytes:
    """Bytes, at most 8 MiB of them; what else there is breaks the `rule`."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise UsageError(
            f"{rule}, not {type(value).__name__}",
            "encode it first: text.encode(), or json.dumps(value).encode()",
        )
    data = bytes(value)
    if len(data) > MAX_VALUE_BYTES:
        raise UsageError(
            f"the value of {key[:60]!r} has {len(data):,} bytes; at most {MAX_VALUE_BYTES:,} fit",
            "keep it elsewhere and store its address, or compress it",
        )
    return data


def check_ttl(ttl_s: object) -> float | None:
    """Seconds, positive and finite, or None for no end. NaN fails the comparison, as it should."""
    if ttl_s is None:
        return None
    if not isinstance(ttl_s, int | float) or isinstance(ttl_s, bool):
        raise UsageError(f"a TTL is a number of seconds, not {type(ttl_s).__name__}", "for example ttl_s=60")
    if 0 < ttl_s <= MAX_TTL_S:
        return float(ttl_s)
    if ttl_s == math.inf:
        raise UsageError("a TTL is finite", "leave ttl_s out to keep a value without an end")
    raise UsageError(f"a TTL is more than 0 and at most 100 years of seconds, not {ttl_s}", "for example ttl_s=60")
