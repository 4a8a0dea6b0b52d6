"""What `pgops status --json` prints of a snapshot, held against the schema that is shipped."""

import json
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from pgops.cli.output import envelope
from pgops.cli.status import body
from pgops.config import Target
from pgops.ops.observe.snapshot import Snapshot

SCHEMA = json.loads(files("pgops.ops.tell").joinpath("status.schema.json").read_text("utf-8"))
_TIMES = FormatChecker(formats=())


@_TIMES.checks("date-time", raises=ValueError)
def is_a_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


VALIDATOR = Draft202012Validator(SCHEMA, format_checker=_TIMES)


def check(document: Mapping[str, Any]) -> None:
    """Fails with all that the document breaks."""
    assert [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(document)] == []


def document_of(snapshot: Snapshot) -> dict[str, Any]:
    """The document, as it comes out of a pipe."""
    return dict(json.loads(json.dumps(envelope(Target("host=h", "test"), body(snapshot)), allow_nan=False)))
