"""A vector collection as register and catalog tell of it, and the statements of vectors.sql made for it.

Floor 2, under vector_index.py and vectors.py; no I/O. Every name of a table, index or type goes through psycopg.sql.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from psycopg import sql

from pgops.queries import load
from pgops.services.models import Metric
from pgops.services.vector_rules import OPCLASSES, OPERATORS, probes_for

Q = load("pgops.services", "vectors.sql")


@dataclass(frozen=True, slots=True)
class Found:
    """A row of find_collections."""

    name: str
    dimensions: int
    metric: Metric
    created_at: datetime
    lists_target: int | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    recall_at: datetime | None
    vector_schema: str
    estimated_rows: int
    index: str | None
    method: str | None
    valid: bool | None
    lists_set: int | None
    size: int | None
    scans: int | None

    @property
    def table(self) -> str:
        return f"pgops.vec_{self.name}"

    @property
    def index_name(self) -> str:
        return f"vec_{self.name}_ivf"

    @property
    def probes(self) -> int:
        return probes_for(self.lists_set or 1)

    def statement(self, name: str, **more: sql.Composable) -> bytes:
        """The named statement with this collection's table, index, type and operators filled in."""
        return fill(Q[name], self.name, self.metric, self.vector_schema, more)


def fill(statement: bytes, name: str, metric: str, vector_schema: str, more: Mapping[str, sql.Composable]) -> bytes:
    """A statement of vectors.sql for one collection; every name goes through psycopg.sql."""
    schema = sql.Identifier(vector_schema)
    names: dict[str, sql.Composable] = {
        "table": sql.Identifier("pgops", f"vec_{name}"),
        "index": sql.Identifier("pgops", f"vec_{name}_ivf"),
        "index_name": sql.Identifier(f"vec_{name}_ivf"),
        "type": sql.SQL("{}.vector").format(schema),
        "operator": sql.SQL("operator({}.{})").format(schema, sql.SQL(OPERATORS[metric])),
        "opclass": sql.SQL("{}.{}").format(schema, sql.SQL(OPCLASSES[metric])),
        **more,
    }
    return sql.SQL(statement.decode()).format(**names).as_bytes(None)


@dataclass(slots=True)
class Known:
    """A collection as a search knows it, with its statements made once; asked again after `until`."""

    found: Found
    until: float
    statements: dict[str, bytes] = field(default_factory=dict)

    def statement(self, name: str) -> bytes:
        if name not in self.statements:
            self.statements[name] = self.found.statement(name)
        return self.statements[name]
