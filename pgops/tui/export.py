"""A table as a file: CSV for a spreadsheet, JSON for a program. Pure but for `write`.

Values are the raw ones where a line has them: numbers, seconds and bytes, not their short words; unknown is empty or
null. JSON is exact. In CSV, text is one harmless line, as on screen, and what a spreadsheet would take for a formula
begins with an apostrophe.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pgops.errors import UsageError
from pgops.tui.formats import UNKNOWN, clean
from pgops.tui.widgets.lines import Column, Line, bare

Rows = Sequence[Mapping[str, object]]
LONGEST = 1_000_000
FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # wide ones too begin one


def rows_of(columns: Sequence[Column], lines: Sequence[Line]) -> list[dict[str, object]]:
    """The lines as they stand, by the names of their columns, also of those too wide to be shown."""
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        names = [column.key for column in columns]
    return [
        {name: _value(column, line, at) for at, (name, column) in enumerate(zip(names, columns, strict=True))}
        for line in lines
    ]


def _value(column: Column, line: Line, at: int) -> object:
    if column.key in line.raw:
        return line.raw[column.key]
    shown, order = line.cells[at].plain.strip(), line.order[at]
    if shown in ("", UNKNOWN):
        return None
    if column.ranked:
        return bare(shown)
    return order


def as_csv(rows: Rows) -> str:
    """With a head of names, in the dialect of RFC 4180."""
    text = io.StringIO()
    if rows:
        writer = csv.writer(text)
        writer.writerow([_harmless(name) for name in rows[0]])
        writer.writerows([[_harmless(value) for value in row.values()] for row in rows])
    return text.getvalue()


def _harmless(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    text = clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), LONGEST)
    return f"'{text}" if text.lstrip()[:1] in FORMULAS else text


def as_json(rows: Rows) -> str:
    """A list of objects, one a line, in ASCII: exact, and nothing in it steers a terminal."""
    return "[\n" + ",\n".join(json.dumps(row, default=str) for row in rows) + "\n]\n"


def file_name(what: str, moment: datetime) -> str:
    """pgops-sessions-20260131T031245Z.csv."""
    safe = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in what).strip("-")
    return f"pgops-{safe[:60]}-{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}.csv"


def write(path: Path, rows: Rows) -> None:
    """Into a new file, as its ending says. Raises UsageError where that cannot be, or is there already."""
    if path.suffix.lower() not in (".csv", ".json"):
        raise UsageError(f"{path.name} ends neither in .csv nor in .json", "the ending says what is written")
    text = as_json(rows) if path.suffix.lower() == ".json" else as_csv(rows)
    try:
        file = path.open("x", encoding="utf-8", newline="")
        try:
            with file:
                file.write(text)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except FileExistsError as error:
        raise UsageError(f"{path} is there already", "nothing is overwritten: name another") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "name a folder that is there") from error
    except ValueError as error:
        raise UsageError("that is no path", "name another") from error
