"""Documents: collections, what is stored, what is looked for, indexes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pgops.services.models.jsonvalue import JsonValue

Step = str | int
Path = str | Sequence[Step]
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "any", "contains"]
IndexKind = Literal["btree", "gin"]
IndexType = Literal["json", "text"]


@dataclass(frozen=True, slots=True)
class Document:
    """A stored document. `version` is 1 at first and grows by one with each write."""

    id: str
    data: JsonValue
    version: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to store, a JSON object; without an `id` one is drawn."""

    data: Mapping[str, JsonValue]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentCollection:
    """A collection: table pgops.doc_<name>. `documents` is exact up to 10,000 and estimated beyond; `bytes` is the
    table with what it keeps out of line, `index_bytes` all of its indexes with the primary key."""

    name: str
    table: str
    documents: int
    documents_exact: bool
    bytes: int
    index_bytes: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DocumentIndex:
    """An index on data. `path` is None for the whole document and for an expression that pgops does not know, where
    `type` is None too. `type` json serves every comparison by find, text those with texts and `data ->> 'key'`."""

    name: str
    collection: str
    kind: str
    type: str | None
    path: str | None
    definition: str
    valid: bool
    bytes: int
    scans_total: int


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on the value at `path`: "customer.name", "items[0].sku", '"a.b".c', or the steps ("a.b", "c").
    As in PostgreSQL, the first place of a single value is that value.

    = and != compare with any JSON value; != is also true where there is no value. < <= > >= compare with a number
    or a text, and are true for values of that type only. in: the value is one of a list. any: the array at the path
    holds one of a list. contains: the value contains an object or array (jsonb's @>); there the path may be ().
    """

    path: Path
    operator: Operator
    value: JsonValue


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Some of the documents found; `next` is what `after` takes for the page behind this one, None at the end."""

    documents: tuple[Document, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class DocumentCount:
    """How many; where `count_exact` is false, at least so many."""

    count: int
    count_exact: bool
