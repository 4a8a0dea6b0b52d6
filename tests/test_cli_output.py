"""How values become JSON and cells: pure, by tables of cases."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from pgops.cli.output import envelope, harmless, plain, write_json
from pgops.cli.tables import cell, duration, size, table
from pgops.config import Target
from pgops.ops.observe.snapshot import Unavailable


@dataclass(frozen=True, slots=True)
class Part:
    rows: int
    exact: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counted:
    rows: int
    rows_exact: bool


NOON = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Part(3), {"rows": 3}),
        (Part(3, {"rows": False}), {"rows": 3, "exact": {"rows": False}}),
        (Counted(3, True), {"rows": 3}),
        (Counted(3, False), {"rows": 3, "exact": {"rows": False}}),
        (Unavailable("no pgvector", "install it"), {"unavailable": {"reason": "no pgvector", "remedy": "install it"}}),
        ({"parts": (Part(1), Part(2))}, {"parts": [{"rows": 1}, {"rows": 2}]}),
        (NOON, "2026-03-01T12:00:00.250Z"),
        (NOON.astimezone(timezone(timedelta(hours=5))), "2026-03-01T12:00:00.250Z"),
        (timedelta(minutes=1), 60.0),
        (float("nan"), None),
        (float("inf"), None),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        ((True, None, 1, 0.5, "x"), [True, None, 1, 0.5, "x"]),
    ],
)
def test_a_value_becomes_jsons_own_types(value: object, expected: object) -> None:
    assert plain(value) == expected


def test_every_document_says_what_it_is_and_of_which_database() -> None:
    target = Target("postgresql://u:hunter2@h/d", "--dsn")
    document = envelope(target, {"items": (Part(1),), "taken_at": NOON})
    assert document["target"] == {"display": "postgresql://u:***@h/d", "source": "--dsn", "read_only": False}
    assert document["taken_at"] == "2026-03-01T12:00:00.250Z"
    assert list(document) == ["schema_version", "pgops_version", "taken_at", "target", "items"]


def test_json_is_ascii_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[31m\x9b\u202egrüße\ud800"
    write_json({"text": evil}, one_line=True)
    out = capsys.readouterr().out
    assert out.isascii() and out.count("\n") == 1
    assert not {"\x1b", "\x9b", "\u202e"} & set(out)
    assert json.loads(out)["text"] == evil


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("grüße 漢字 🙂", "grüße 漢字 🙂"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb\x07\x7f\x9b", "a\\rb\\x07\\x7f\\x9b"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("\ud800", "\\ud800"),
        ("tab\tand\nline", "tab\tand\nline"),
    ],
)
def test_what_would_steer_a_terminal_is_made_visible(text: str, shown: str) -> None:
    assert harmless(text) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"), ("", "-"), (True, "yes"), (False, "no"), (1234567, "1,234,567"), (0.5, "0.50"),
        (NOON, "2026-03-01 12:00:00Z"), ({"a": "ü"}, '{"a": "ü"}'), ("a\nb\tc", "a\\nb c"),
    ],
)  # fmt: skip
def test_a_cell_is_one_line(value: object, shown: str) -> None:
    assert cell(value) == shown


def test_durations_and_sizes_read_as_in_the_dashboard_and_unknown_is_a_dash() -> None:
    assert [duration(seconds) for seconds in (None, 0.04, 59.6, 245)] == ["-", "40ms", "1m 00s", "4m 05s"]
    assert [size(count) for count in (None, 0, 1023, 5 * 1024**3)] == ["-", "0 B", "1023 B", "5.0 GB"]


def test_a_table_in_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table(("name", "count"), [("x" * 500, 7), ("[bold]y[/bold]", 12_000)])
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "count"]
    assert first.split() == ["x" * 500, "7"]
    assert second.split() == ["[bold]y[/bold]", "12,000"]
