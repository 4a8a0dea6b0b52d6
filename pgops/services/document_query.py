"""The statements of documents.sql made for one collection: conditions, sort keys and index expressions.

Floor 2, under document_index.py and documents.py; no I/O. Names go through sql.Identifier, values are parameters, and
paths are quoted literals, for an expression is only found in an index when it is written out as it stands there.

One path has three forms: `data -> 'a' -> 'b'` (a json index), `data -> 'a' ->> 'b'` (a text index), and
`data @> '{"a": {"b": …}}'` (a GIN index). They mean the same here; which one is written depends on the indexes that
are there, so that a find uses them.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from json import loads

from psycopg import sql

from pgops.queries import load
from pgops.services.document_rules import Steps, check_path, check_where, encode_value, nested, path_text
from pgops.services.models import Document, IndexKind, IndexType, JsonValue, Where

Q = load("pgops.services", "documents.sql")

ALL = sql.SQL("true")
NONE = sql.SQL("false")
_STEP = r"""\s*(->>?)\s*(?:('(?:[^']|'')*')::text|'?(-?\d+)'?(?:::integer)?)\)*"""
_EXPRESSION = re.compile(rf"\(*data((?:{_STEP})*)\)*", re.DOTALL)
_STEPS = re.compile(_STEP, re.DOTALL)


@dataclass(frozen=True, slots=True)
class Known:
    """What a find knows of a collection's indexes: (kind, type, path)."""

    indexes: frozenset[tuple[str, str, Steps]] = frozenset()

    def has(self, kind: IndexKind, type: IndexType, steps: Steps) -> bool:
        return (kind, type, steps) in self.indexes


@lru_cache(maxsize=2_048)
def fill(name: str, collection: str) -> bytes:
    """A statement that needs the collection's table alone."""
    return compose(name, collection).as_bytes(None)


def compose(name: str, collection: str, **more: sql.Composable) -> sql.Composed:
    """The named statement for a collection, with its other holes filled by `more`."""
    table = sql.Identifier("pgops", f"doc_{collection}")
    return sql.SQL(Q[name].decode()).format(documents=table, **more)


def read_document(
    id: str, data: str, version: int, created_at: datetime, updated_at: datetime, expires_at: datetime | None
) -> Document:
    """A row as get, patch and find return it."""
    return Document(id, loads(data), version, created_at, updated_at, expires_at)


# --- expressions -----------------------------------------------------------------------------------------------


def _literal(step: str | int, doubled: bool) -> sql.Composable:
    """A step, quoted. In a statement with parameters a percent sign stands doubled."""
    text = sql.Literal(step).as_string(None).strip()
    return sql.SQL(text.replace("%", "%%") if doubled else text)


def json_at(steps: Steps, *, doubled: bool = True) -> sql.Composed:
    """The value at the path, as jsonb."""
    arrows: list[sql.Composable] = []
    for step in steps:
        arrows += [sql.SQL(" -> "), _literal(step, doubled)]
    return sql.Composed([sql.SQL("(data"), *arrows, sql.SQL(")")])


def text_at(steps: Steps, *, doubled: bool = True) -> sql.Composed:
    """The value at the path, as text: a JSON text without its quotes."""
    before = json_at(steps[:-1], doubled=doubled) if len(steps) > 1 else sql.SQL("data")
    return sql.SQL("({} ->> {})").format(before, _literal(steps[-1], doubled))


def index_expression(kind: IndexKind, type: IndexType, steps: Steps) -> sql.Composed:
    """What an index is made of; without steps, the whole document."""
    if kind == "gin":
        return sql.SQL("{} jsonb_path_ops").format(json_at(steps, doubled=False) if steps else sql.SQL("data"))
    return sql.SQL("({})").format(text_at(steps, doubled=False) if type == "text" else json_at(steps, doubled=False))


def index_name(collection: str, kind: IndexKind, type: IndexType, steps: Steps) -> str:
    """At most 63 bytes, the same for the same index."""
    told = re.sub(r"[^a-z0-9]+", "_", path_text(steps).lower()).strip("_") or "data"
    digest = hashlib.sha256(f"{kind} {type} {path_text(steps)}".encode()).hexdigest()[:6]
    head = f"idx_{collection}_"
    return f"{head}{told[: max(63 - len(head) - 7, 0)]}_{digest}"[:63]


def read_expression(text: str) -> tuple[IndexType, Steps] | None:
    """Path and type of an index column as pg_get_indexdef prints it; None for another expression."""
    found = _EXPRESSION.fullmatch(text)
    if found is None:
        return None
    arrows = [(arrow[1], arrow[2], arrow[3]) for arrow in _STEPS.finditer(found[1])]
    if any(sign == "->>" for sign, _, _ in arrows[:-1]):
        return None
    steps = tuple(int(place) if key is None else key[1:-1].replace("''", "'") for _, key, place in arrows)
    return "text" if arrows and arrows[-1][0] == "->>" else "json", steps


# --- conditions ------------------------------------------------------------------------------------------------


class Conditions:
    """Conditions joined by and, with their parameters."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._parts: list[sql.Composable] = []
        self.params: dict[str, object] = {}

    def add(self, where: Iterable[Where]) -> "Conditions":
        """Raises UsageError for a path, an operator or a value that cannot be."""
        for one in where:
            checked = check_where(one)
            whole = checked.operator == "contains" and not isinstance(one.path, str) and not tuple(one.path)
            steps: Steps = () if whole else check_path(one.path)
            self._parts.append(self._condition(steps, checked))
        return self

    def beyond(self, key: sql.Composable, down: bool, last: str | None, id: str) -> "Conditions":
        """Only what stands behind a key (JSON text; None: there is no key) and an id."""
        sign = sql.SQL("<" if down else ">")
        if last is None:
            self._parts.append(sql.SQL("id {} {}::text").format(sign, self._param(id)))
        else:
            marks = (key, sign, self._param(last), self._param(id))
            self._parts.append(sql.SQL("({}, id) {} ({}::jsonb, {}::text)").format(*marks))
        return self

    def present(self, key: sql.Composable, there: bool) -> "Conditions":
        self._parts.append(sql.SQL("{} is not null" if there else "{} is null").format(key))
        return self

    def joined(self) -> sql.Composable:
        return sql.SQL(" and ").join(self._parts) if self._parts else ALL

    def _param(self, value: object) -> sql.Placeholder:
        name = f"p{len(self.params)}"
        self.params[name] = value
        return sql.Placeholder(name)

    def _condition(self, steps: Steps, where: Where) -> sql.Composable:
        value = where.value
        if where.operator == "=":
            return self._one_of(steps, [value])
        if where.operator == "!=":
            return sql.SQL("{} is distinct from {}::jsonb").format(json_at(steps), self._param(encode_value(value)))
        if where.operator == "in":
            return self._one_of(steps, [*value])
        if where.operator == "any":
            return self._contains(steps, [[each] for each in value])
        if where.operator == "contains":
            return self._contains(steps, [value])
        return self._compare(steps, sql.SQL(where.operator), value)

    def _one_of(self, steps: Steps, values: Sequence[JsonValue]) -> sql.Composable:
        if not values:
            return NONE
        encoded = [encode_value(value) for value in values]
        if self._known.has("btree", "json", steps) or _has_places(steps):
            return sql.SQL("{} {}").format(json_at(steps), self._any("=", encoded))
        if self._known.has("btree", "text", steps) and all(isinstance(value, str) for value in values):
            if len(values) > 1:
                text = sql.SQL("{} = any({}::text[])").format(text_at(steps), self._param([*values]))
            else:
                text = sql.SQL("{} = {}::text").format(text_at(steps), self._param(values[0]))
            return sql.SQL("({} and {})").format(text, _is("string", steps))
        held = self._contains(steps, values)
        if any(isinstance(value, dict | list | tuple) for value in values):
            return sql.SQL("({} and {} {})").format(held, json_at(steps), self._any("=", encoded))
        return held

    def _contains(self, steps: Steps, values: Sequence[JsonValue]) -> sql.Composable:
        if not values:
            return NONE
        if _has_places(steps) or (steps and self._known.has("gin", "json", steps) and _are_containers(values)):
            held = [encode_value(value) for value in values]
            return sql.SQL("{} {}").format(json_at(steps), self._any("@>", held))
        held = [encode_value(nested(steps, value)) for value in values]
        return sql.SQL("data {}").format(self._any("@>", held))

    def _any(self, operator: str, encoded: Sequence[str]) -> sql.Composable:
        sign = sql.SQL(operator)
        if len(encoded) == 1:
            return sql.SQL("{} {}::jsonb").format(sign, self._param(encoded[0]))
        return sql.SQL("{} any({}::text[]::jsonb[])").format(sign, self._param([*encoded]))

    def _compare(self, steps: Steps, operator: sql.SQL, value: JsonValue) -> sql.Composable:
        """jsonb orders a text below every number and a number below true: the type is asked for."""
        kind = "string" if isinstance(value, str) else "number"
        encoded = encode_value(value)
        if kind == "string" and self._known.has("btree", "text", steps) and not self._known.has("btree", "json", steps):
            compared = sql.SQL("{} {} {}::text").format(text_at(steps), operator, self._param(value))
        else:
            compared = sql.SQL("{} {} {}::jsonb").format(json_at(steps), operator, self._param(encoded))
        return sql.SQL("({} and {})").format(compared, _is(kind, steps))


_TYPES = ("string", "number", "boolean", "null", "array", "object")


def _is(type: str, steps: Steps) -> sql.Composable:
    """Said by what it is not: for an equality without statistics the planner would guess one row in 200."""
    others = sql.SQL(", ").join(sql.Literal(other) for other in _TYPES if other != type)
    return sql.SQL("jsonb_typeof({}) not in ({})").format(json_at(steps), others)


def _has_places(steps: Steps) -> bool:
    return any(isinstance(step, int) for step in steps)


def _are_containers(values: Sequence[JsonValue]) -> bool:
    return all(isinstance(value, dict | list | tuple) for value in values)
