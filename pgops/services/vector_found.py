"""A vector collection as register and catalog tell of it, and the statements of vectors.sql made for it.

Floor 2, under the rest of the vectors; no I/O. Every name of a table, index or type goes through psycopg.sql.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from psycopg import sql

from pgops.queries import load
from pgops.services.models import IndexMethod, Metric, VectorType
from pgops.services.vector_rules import OPERATORS, SUFFIXES, Build, probes_for

Q = load("pgops.services", "vectors.sql")


@dataclass(frozen=True, slots=True)
class Found:
    """A row of find_collections."""

    name: str
    dimensions: int
    type: VectorType
    metric: Metric
    embedder: str | None
    created_at: datetime
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    recall_at: datetime | None
    vector_schema: str
    estimated_rows: int
    index_oid: int | None
    index: str | None
    method: IndexMethod | None
    valid: bool | None
    options: list[str] | None
    size: int | None
    scans: int | None

    @property
    def table(self) -> str:
        return f"pgops.vec_{self.name}"

    @property
    def prefix(self) -> str:
        """What the names of its indexes begin with."""
        return f"vec_{self.name}_"

    @property
    def lists_set(self) -> int | None:
        return self.option("lists")

    @property
    def probes(self) -> int:
        return probes_for(self.lists_set or 1)

    def option(self, name: str) -> int | None:
        """An option of the index, as it is set."""
        set_ = dict(option.split("=", 1) for option in self.options or ())
        return int(set_[name]) if name in set_ else None

    def statement(self, name: str, **more: sql.Composable) -> bytes:
        """The named statement with this collection's table, index, type and operators filled in."""
        if self.index is not None:
            more = {"index": sql.Identifier("pgops", self.index), **more}
        return fill(Q[name], self.name, self.metric, self.vector_schema, more, self.type)

    def create_index(self, build: Build) -> bytes:
        """The statement that builds its index so."""
        return self.statement(
            "create_index", new_index=sql.Identifier(index_name(self.name, build.method)),
            method=sql.SQL(build.method), options=options(build.options),
        )  # fmt: skip


def index_name(collection: str, method: IndexMethod) -> str:
    """What we call a collection's index."""
    return f"vec_{collection}_{SUFFIXES[method]}"


def options(values: Mapping[str, int]) -> sql.Composable:
    """Options of an index, as `with (…)` and `set (…)` take them."""
    pairs = (sql.SQL("{} = {}").format(sql.SQL(name), sql.Literal(value)) for name, value in values.items())
    return sql.SQL(", ").join(pairs)


def fill(
    statement: bytes, name: str, metric: str, schema: str, more: Mapping[str, sql.Composable], type: str = "vector"
) -> bytes:
    """A statement of vectors.sql for one collection; every name goes through psycopg.sql."""
    within = sql.Identifier(schema)
    names: dict[str, sql.Composable] = {
        "table": sql.Identifier("pgops", f"vec_{name}"),
        "type": sql.SQL("{}.{}").format(within, sql.SQL(type)),
        "operator": sql.SQL("operator({}.{})").format(within, sql.SQL(OPERATORS[metric])),
        "opclass": sql.SQL("{}.{}").format(within, sql.SQL(f"{type}_{metric}_ops")),
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
