"""[embedders.NAME] of config.toml: what a collection's embedder stands for on this machine.

Floor 0, under profiles.py. Either an endpoint that speaks as OpenAI's does, or a Python function:

    [embedders.openai]
    url = "https://api.openai.com/v1"
    model = "text-embedding-3-small"
    api_key_env = "OPENAI_API_KEY"
    dimensions = 1536
    timeout_s = 10
    batch = 100

    [embedders.mine]
    function = "module:function"

The key itself never stands in the file, only the name of the variable that holds it; so no value is ever repeated in
an error, which may be a key that was put in the wrong place.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pgops.errors import UsageError

HASHING = "hashing"

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_KEYS: Mapping[str, tuple[type, ...]] = {
    "url": (str,), "model": (str,), "api_key_env": (str,), "function": (str,), "dimensions": (int,),
    "timeout_s": (int, float), "batch": (int,),
}  # fmt: skip
_OF_AN_URL = ("model", "api_key_env", "timeout_s")
_KINDS = {str: "a text in quotes", int: "a whole number", float: "a number"}


@dataclass(frozen=True, slots=True)
class EmbedderSettings:
    """One embedder. It has a `url` with its `model`, or a `function`. `dimensions` are asked for where they are given,
    `batch` texts are sent at a time."""

    name: str
    url: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    function: str | None = None
    dimensions: int | None = None
    timeout_s: float = 10.0
    batch: int = 100


def parse_embedder(path: Path, name: str, values: object) -> EmbedderSettings:
    """The embedder that a table of the file at `path` describes. Raises UsageError."""
    where = f"{path}: embedder {name}"
    if not _NAME.fullmatch(name):
        raise UsageError(f"{path}: {name[:60]!r} is no name of an embedder", "letters, digits, _ . and -, at most 60")
    if name == HASHING:
        raise UsageError(f"{where} is built in", "give yours another name")
    if not isinstance(values, dict):
        raise UsageError(f"{where} is a table", f'write [embedders.{name}], below it url = "…" or function = "…"')
    for key, value in values.items():
        wanted = _KEYS.get(key)
        if wanted is None:
            secret = "key" in key or "token" in key or "secret" in key
            known = "it has " + ", ".join(_KEYS)
            told = 'a key stands in an environment variable, which api_key_env = "NAME" names' if secret else known
            raise UsageError(f"{where} has no setting {key}", told)
        if type(value) not in wanted:
            raise UsageError(
                f"{path}: {key} of embedder {name} is {_KINDS[wanted[-1]]}", f"found {type(value).__name__}"
            )
    settings = EmbedderSettings(name, **values)
    _check(where, settings, values)
    return settings


def _check(where: str, one: EmbedderSettings, given: Mapping[str, object]) -> None:
    if (one.url is None) == (one.function is None):
        raise UsageError(f"{where} has either a url or a function", 'for example url = "https://api.openai.com/v1"')
    for key in _OF_AN_URL if one.function is not None else ():
        if key in given:
            raise UsageError(f"{where} has a function, to which {key} says nothing", "leave it out")
    if one.function is not None and not _FUNCTION.fullmatch(one.function):
        raise UsageError(f"{where}: function is not module:function", 'for example function = "myapp.texts:embed"')
    if one.url is not None and not _is_plain(one.url):
        raise UsageError(
            f"{where}: url is not one of http or https without user, password, query and fragment",
            'for example url = "https://api.openai.com/v1"',
        )
    if one.url is not None and not one.model:
        raise UsageError(f"{where} has a url and no model", 'for example model = "text-embedding-3-small"')
    if one.api_key_env is not None and not _VARIABLE.fullmatch(one.api_key_env):
        raise UsageError(
            f"{where}: api_key_env is no name of an environment variable, of capitals, digits and _",
            'the key itself does not stand here: export it, and write api_key_env = "OPENAI_API_KEY"',
        )
    if one.dimensions is not None and not 1 <= one.dimensions <= 16_000:
        raise UsageError(f"{where}: dimensions are 1 to 16,000", "as many as the model gives")
    if not math.isfinite(one.timeout_s) or not 0 < one.timeout_s <= 600:
        raise UsageError(f"{where}: timeout_s is more than 0 and at most 600 seconds", "for example timeout_s = 10")
    if not 1 <= one.batch <= 10_000:
        raise UsageError(f"{where}: batch is 1 to 10,000 texts", "for example batch = 100")


def _is_plain(url: str) -> bool:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return known and url.isascii() and url.isprintable() and not set(" @?#") & set(url)
