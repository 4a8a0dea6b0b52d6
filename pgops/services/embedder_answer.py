"""What an endpoint for embeddings answered, read: vectors in the order of their texts, or why there are none.

Floor 2, pure. What a server says is told with the key taken out of it, also where it repeats a part of it.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus

from pgops.embedder_settings import EmbedderSettings
from pgops.errors import EmbedderError

TRY_AGAIN = frozenset({429, 500, 502, 503, 504, 529})
_PHRASES = {one.value: one.phrase for one in HTTPStatus}
_TOLD = 200
_TELLING = 6


def vectors(settings: EmbedderSettings, content: bytes, count: int) -> list[Sequence[float]]:
    """The embeddings of an answer, by their `index`. Raises EmbedderError where there are not `count` of them."""
    try:
        found = json.loads(content)
        items = [(one.get("index"), one["embedding"]) for one in found["data"]]
    except (ValueError, RecursionError) as error:
        raise _wrong(settings, "answered with what is not JSON") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise _wrong(settings, "answered without data of embeddings") from error
    if len(items) != count:
        raise _wrong(settings, f"gave {len(items):,} vectors for {count:,} texts")
    if all(index is None for index, _ in items):
        return [vector for _, vector in items]
    by_index = {index: vector for index, vector in items if type(index) is int and 0 <= index < count}
    if len(by_index) != count:
        raise _wrong(settings, "did not say which vector is whose text's")
    return [by_index[index] for index in range(count)]


def refusal(
    settings: EmbedderSettings, status: int, content: bytes, *, key: str, attempts: int, after_s: float | None
) -> EmbedderError:
    """The error that an answer with this status is."""
    said = f"embedder {settings.name} answered {status} {_PHRASES.get(status, '')}".rstrip()
    if status in (401, 403):
        named = f"check the key in {settings.api_key_env}, and what it may do"
        missing = f'name the variable that holds the key: api_key_env = "…" below [embedders.{settings.name}]'
        return EmbedderError(said, named if settings.api_key_env else missing)
    if 300 <= status < 400:
        return EmbedderError(said, "write the address that it leads to as url")
    told = f": {message}" if (message := _message(content, key)) else ""
    if status in TRY_AGAIN:
        often = f", {attempts} times" if attempts > 1 else ""
        wait = "later" if after_s is None else f"in {after_s:,.0f} s, as it asks for"
        return EmbedderError(said + often + told, f"try again {wait}")
    return EmbedderError(
        said + told, f"check url, model, dimensions and batch of [embedders.{settings.name}] in config.toml"
    )


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """The seconds that Retry-After asks for: a number, or a date (RFC 9110, 10.2.3). None for what is neither."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def _wrong(settings: EmbedderSettings, what: str) -> EmbedderError:
    return EmbedderError(
        f"embedder {settings.name} {what}",
        "is url the root of an OpenAI-compatible API, such as https://api.openai.com/v1?",
    )


def _message(content: bytes, key: str) -> str:
    """What the server says of its refusal, in one line."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    words = found.split() if isinstance(found, str) else []
    line = " ".join("***" if _tells(word, key) else word for word in words)
    return line if len(line) <= _TOLD else f"{line[: _TOLD - 1]}…"


def _tells(word: str, key: str) -> bool:
    return bool(key) and (key[:_TELLING] in word or key[-_TELLING:] in word)
