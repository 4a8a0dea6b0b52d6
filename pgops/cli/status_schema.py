"""The JSON schema of `pgops status --json`, made from the frozen dataclasses of the Snapshot.

    python -m pgops.cli.status_schema            write it
    python -m pgops.cli.status_schema --check    exit 1 if what stands there is not what would be written

The rule: it says what `output.plain` makes of those values. Everything is required but `exact`; nothing forbids a key
that a later version adds.
"""

import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

from pgops.cli.output import SCHEMA_VERSION
from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.services.models import JsonValue

FILE = Path(__file__).resolve().parent.parent / "ops" / "tell" / "status.schema.json"
Schema = dict[str, JsonValue]
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
_TIME: Schema = {"type": "string", "format": "date-time"}


def text() -> str:
    """The whole file."""
    return json.dumps(schema(), indent=2) + "\n"


def schema() -> Schema:
    """The document that `pgops status --json` prints."""
    kinds: dict[str, Schema] = {}
    body = _members(Snapshot, kinds)
    body.pop("target")
    target = _object({
        "display": {"type": "string"}, "source": {"type": "string"}, "read_only": {"type": "boolean"},
    })  # fmt: skip
    head: Schema = {
        "schema_version": {"const": SCHEMA_VERSION},
        "pgops_version": {"type": "string"},
        "taken_at": _TIME,
        "target": target,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:pgops:status:{SCHEMA_VERSION}",
        "title": "pgops status --json",
        "description": "Durations are seconds, sizes bytes, times UTC; null is unknown. Keys are only ever added.",
        **_object({**head, **body}),
        "$defs": {name: kinds[name] for name in sorted(kinds)},
    }


def _members(kind: type, kinds: dict[str, Schema]) -> Schema:
    """The properties of a dataclass, those it refers to being gathered in `kinds`."""
    hints = get_type_hints(kind)
    return {field.name: _of(hints[field.name], kinds) for field in fields(kind)}


def _of(hint: object, kinds: dict[str, Schema]) -> Schema:
    """What a value of this type becomes."""
    if hint is datetime:
        return dict(_TIME)
    if isinstance(hint, type) and hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if isinstance(hint, type) and is_dataclass(hint):
        return _reference(hint, kinds)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is tuple:
        assert inner[1:] == (...,), f"{hint}: only tuples of one kind"
        return {"type": "array", "items": _of(inner[0], kinds)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(inner[1], kinds)}
    assert origin in (Union, UnionType), f"{hint} has no form in JSON here"
    choices = [_of(one, kinds) for one in inner]
    if all(isinstance(one.get("type"), str) and len(one) == 1 for one in choices):
        return {"type": [one["type"] for one in choices]}
    return {"anyOf": list(choices)}


def _reference(kind: type, kinds: dict[str, Schema]) -> Schema:
    if kind.__name__ not in kinds:
        kinds[kind.__name__] = {}
        members = _members(kind, kinds)
        said = " ".join((inspect.getdoc(kind) or "").split())
        told: Schema = {} if said.startswith(f"{kind.__name__}(") else {"description": said}
        body = _object({"unavailable": _object(members)} if kind is Unavailable else members)
        kinds[kind.__name__] = {**told, **body}
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _object(members: Schema) -> Schema:
    """An object with these members and any others; `exact` is there only where something is not."""
    assert not [name for name in members if name.endswith("_exact")], "plain() gathers these in `exact`"
    return {"type": "object", "required": [name for name in members if name != "exact"], "properties": members}


def main() -> int:
    if "--check" not in sys.argv:
        FILE.write_text(text(), encoding="utf-8")
    elif not FILE.exists() or FILE.read_text(encoding="utf-8") != text():
        sys.stderr.write(f"{FILE.name} is not what the dataclasses say; run: python -m {__spec__.name}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
