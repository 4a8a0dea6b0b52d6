"""How values leave the program: JSON documents on stdout, talk on stderr.

The rule: JSON is a contract (keys are only ever added), written in ASCII; what people see holds no character that
could steer a terminal. Nothing here knows of databases or commands.
"""

import base64
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta

from pgops.config import Target
from pgops.ops.wording import harmless as harmless
from pgops.services.models import JsonValue
from pgops.version import __version__

SCHEMA_VERSION = 1


def envelope(target: Target | None, body: Mapping[str, object]) -> dict[str, JsonValue]:
    """A document: what every one of them has, then `body`, whose own `taken_at` wins."""
    said = None
    if target is not None:
        said = {"display": target.display, "source": target.source, "read_only": target.read_only}
    head = {
        "schema_version": SCHEMA_VERSION,
        "pgops_version": __version__,
        "taken_at": datetime.now(UTC),
        "target": said,
    }
    document: dict[str, JsonValue] = plain({**head, **body})
    return document


def plain(value: object) -> JsonValue:
    """`value` in JSON's own types. Frozen dataclasses become objects, a part that is `Unavailable` becomes
    {"unavailable": {…}}, and what is no finite number is unknown: null. Which fields are capped or estimated is said
    in `exact`, which is left out where all are exact."""
    if is_dataclass(value) and not isinstance(value, type):
        members = {field.name: getattr(value, field.name) for field in fields(value)}
        exact = dict(members.pop("exact", None) or {}) if isinstance(members.get("exact"), Mapping) else {}
        for name in [name for name in members if name.endswith("_exact")]:
            if not members.pop(name):
                exact[name.removesuffix("_exact")] = False
        if exact:
            members["exact"] = exact
        inner = {name: plain(member) for name, member in members.items()}
        return {"unavailable": inner} if type(value).__name__ == "Unavailable" else inner
    if isinstance(value, Mapping):
        return {str(name): plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(member) for member in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def value(data: bytes) -> dict[str, str]:
    """Stored bytes in a document: text as it is; what is no UTF-8 as base64, and it says so."""
    try:
        return {"value": data.decode(), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"value": base64.b64encode(data).decode(), "encoding": "base64"}


def write_value(data: bytes) -> None:
    """Stored bytes on stdout: harmless on a terminal, as they are in a pipe."""
    if sys.stdout.isatty():
        say(data.decode(errors="backslashreplace"))
    else:
        sys.stdout.buffer.write(data)


def write_json(document: Mapping[str, JsonValue], *, one_line: bool = False) -> None:
    """`document` on stdout."""
    text = json.dumps(document, indent=None if one_line else 2, allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def talk(line: str) -> None:
    """One line for a person, on stderr."""
    sys.stderr.write(harmless(line).replace("\n", " ") + "\n")
    sys.stderr.flush()


def say(text: str) -> None:
    """Text that is data, on stdout."""
    sys.stdout.write(harmless(text) + "\n")
    sys.stdout.flush()
