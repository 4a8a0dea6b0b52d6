"""The statements: `-- name:` blocks of .sql files, loaded once and never built from strings.

Floor 0. A file holds one statement a name. A name that differs by server version stands several times,
each with its `since NNNNNN` (as in `server_version_num`); `at(version)` takes the newest that fits.

    -- name: claim
    -- One line of why.
    select …

    -- name: progress since 170000
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_HEADER = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)(?: since (?P<since>\d{5,6}))?[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Statement:
    """One named statement; `since` is the oldest `server_version_num` that it runs on."""

    name: str
    since: int
    sql: bytes


class Statements(Mapping[str, bytes]):
    """All statements of one file, by name, as they run on `version` (default: the newest)."""

    def __init__(self, variants: tuple[Statement, ...], version: int = 999_999) -> None:
        self.variants = variants
        ordered = sorted(variants, key=lambda statement: statement.since)
        self._sql = {s.name: s.sql for s in ordered if s.since <= version}

    def at(self, version: int) -> "Statements":
        """The same file for a server of `version` (`server_version_num`)."""
        return Statements(self.variants, version)

    def __getitem__(self, name: str) -> bytes:
        return self._sql[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sql)

    def __len__(self) -> int:
        return len(self._sql)


def parse(text: str) -> Statements:
    """The statements of one file's text. Raises ValueError for a name that stands twice for one version."""
    heads = list(_HEADER.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    found = [
        Statement(head["name"], int(head["since"] or 0), text[head.end() : end].strip().rstrip(";").encode())
        for head, end in zip(heads, ends, strict=True)
    ]
    if len({(s.name, s.since) for s in found}) != len(found):
        raise ValueError("a statement's name stands twice for the same version")
    return Statements(tuple(found))


@cache
def load(package: str, filename: str) -> Statements:
    """The statements of `filename` beside the modules of `package`; read once."""
    return parse(files(package).joinpath(filename).read_text(encoding="utf-8"))
