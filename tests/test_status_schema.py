"""The schema of `pgops status --json`: it is what the dataclasses say, and every document there is keeps it."""

import json
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from cli_call import Run, caller, spawned
from jsonschema import Draft202012Validator
from server_literal import suffering
from snapshots_literal import BUSY, CALM, EMPTY, HOSTILE, NO_SCHEMA, WITH_PGMQ
from status_document import SCHEMA, VALIDATOR, check, document_of

from pgops.cli import status_schema
from pgops.ops.observe.snapshot import Snapshot, Unavailable

GONE = Unavailable("no such thing here", "install it")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


def test_the_file_is_what_the_dataclasses_say_and_a_schema() -> None:
    assert status_schema.text() == status_schema.FILE.read_text("utf-8"), "run: python -m pgops.cli.status_schema"
    Draft202012Validator.check_schema(SCHEMA)
    parts = {field.name for field in fields(Snapshot)}
    assert set(SCHEMA["required"]) == parts | {"schema_version", "pgops_version"}


def test_a_stale_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "status.schema.json"
    shutil.copy(status_schema.FILE, copy)
    monkeypatch.setattr(status_schema, "FILE", copy)
    monkeypatch.setattr(sys, "argv", ["status_schema", "--check"])
    assert status_schema.main() == 0
    copy.write_text(copy.read_text("utf-8").replace("lease expired", "lease"))
    assert status_schema.main() == 1
    monkeypatch.setattr(sys, "argv", ["status_schema"])
    assert status_schema.main() == 0
    assert copy.read_text("utf-8") == status_schema.text()


@pytest.mark.parametrize("snapshot", [BUSY, CALM, EMPTY, HOSTILE, NO_SCHEMA, WITH_PGMQ, suffering(BUSY)])
def test_what_is_written_down_by_hand_keeps_it(snapshot: Snapshot) -> None:
    check(document_of(snapshot))


def test_each_part_may_be_missing_and_none_may_be_left_out_or_of_another_kind() -> None:
    full = document_of(BUSY)
    named = [field.name for field in fields(Snapshot) if field.name not in ("taken_at", "target", "findings", "cost")]
    for name in named:
        check(document_of(replace(BUSY, **{name: GONE})))
        assert not VALIDATOR.is_valid({**full, name: "soon"}), name
        assert not VALIDATOR.is_valid({**full, name: {"unavailable": {"reason": "no remedy"}}}), name
    for name in SCHEMA["required"]:
        assert not VALIDATOR.is_valid({key: value for key, value in full.items() if key != name}), name
    assert not VALIDATOR.is_valid({**full, "taken_at": "yesterday"})
    first, *others = full["queues"]
    assert not VALIDATOR.is_valid({**full, "queues": [{**first, "dead": "many"}, *others]})
    check({**full, "later": 1, "queues": [{**first, "later": 1}, *others]})


def test_a_database_without_a_schema_keeps_it_and_the_schema_is_printed(command: Run, empty_dsn: str) -> None:
    document = command("status", "--json", "--dsn", empty_dsn).document
    assert "unavailable" in document["queues"]
    check(document)
    printed = command("status", "--schema", "--dsn", "host=nowhere.invalid")
    assert (printed.code, printed.err) == (0, "")
    assert printed.document == SCHEMA


def test_each_line_of_a_watch_keeps_it(dsn: str) -> None:
    with spawned(["status", "--watch", "0.1", "--json"], dsn) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
    for line in lines:
        check(line)
    assert len({line["taken_at"] for line in lines}) == 3
