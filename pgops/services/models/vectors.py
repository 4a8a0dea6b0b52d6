"""Vector collections: rows, matches, indexes, recall."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pgops.services.models.jsonvalue import JsonValue

Metric = Literal["cosine", "l2", "ip"]
VectorType = Literal["vector", "halfvec"]
IndexMethod = Literal["ivfflat", "hnsw"]


@dataclass(frozen=True, slots=True)
class Collection:
    """A vector collection: table pgops.vec_<name>. `type` is what a number takes: vector 32 bits, halfvec 16. `rows` is
    exact up to 10,000 and estimated beyond; `method` and `lists` are of its index, None without one. Recall is what
    was last measured. `embedder` is the name that config.toml knows, None where it has none."""

    name: str
    dimensions: int
    metric: Metric
    rows: int
    rows_exact: bool
    lists: int | None
    recall: float | None
    recall_at: datetime | None
    created_at: datetime
    type: VectorType = "vector"
    method: IndexMethod | None = None
    embedder: str | None = None


@dataclass(frozen=True, slots=True)
class TextRow:
    """A row to add whose embedding an embedder makes. Otherwise as VectorRow."""

    content: str
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    id: int | None = None


@dataclass(frozen=True, slots=True)
class VectorRow:
    """A row to add. `metadata` is any JSON object; without an `id` the collection's sequence gives one."""

    content: str
    embedding: Sequence[float]
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A row that a search found. `distance` as pgvector has it (smaller is nearer), `score` larger is nearer:
    cosine similarity 1 - d; inner product -d; for l2 1 / (1 + d)."""

    id: int
    content: str
    metadata: JsonValue
    distance: float
    score: float


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """A collection and its index; without one `index` and `method` are None. `lists_set` is what the next build
    uses, `lists_built` what the last one used (None: pageinspect or the right to it is missing); `m` and
    `ef_construction` are an hnsw index's. `probes` (ivfflat) or `ef_search` (hnsw) is what a search uses by default.
    `searches_total` counts scans of the index as PostgreSQL's statistics do."""

    name: str
    table: str
    index: str | None
    method: IndexMethod | None
    rows: int
    rows_exact: bool
    lists_built: int | None
    lists_set: int | None
    probes: int | None
    bytes: int | None
    valid: bool | None
    searches_total: int | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    recall_at: datetime | None
    type: VectorType = "vector"
    m: int | None = None
    ef_construction: int | None = None
    ef_search: int | None = None


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What building a collection's index would do: the index as it would be, and the SQL."""

    index: str
    method: IndexMethod
    lists: int | None
    m: int | None
    ef_construction: int | None
    sql: str


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """A rebuilt index. `lists_before` as built where that can be read, else as set; both are None for hnsw, which has
    `m` and `ef_construction`."""

    index: str
    lists_before: int | None
    lists_after: int | None
    seconds: float
    method: IndexMethod = "ivfflat"
    m: int | None = None
    ef_construction: int | None = None


@dataclass(frozen=True, slots=True)
class Recall:
    """How many of the true `k` nearest the index found over `queries` rows of the collection taken as queries,
    with the 95 % Wilson interval. `probes` or `ef_search` is what the index was searched with."""

    recall: float
    low: float
    high: float
    k: int
    queries: int
    probes: int | None
    measured_at: datetime
    ef_search: int | None = None
