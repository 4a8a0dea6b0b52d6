"""What is true of vectors without a database: names, bounds, how an index is built and searched, intervals.

Floor 2, pure. Sources: pgvector's README for bounds, lists and probes, its src/ivfbuild.c for the memory of a build.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from pgops.errors import UsageError
from pgops.services.models import IndexMethod, JsonValue, VectorType

NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")
OPERATORS: Mapping[str, str] = {"cosine": "<=>", "l2": "<->", "ip": "<#>"}
SUFFIXES: Mapping[str, str] = {"ivfflat": "ivf", "hnsw": "hnsw"}
MAX_DIMENSIONS = 16_000
MAX_INDEXED: Mapping[str, int] = {"vector": 2_000, "halfvec": 4_000}
MAX_LISTS = 32_768
MIN_ROWS_A_LIST = 50
M, EF_CONSTRUCTION = 16, 64
MAX_PROBES = 32_768
EF_SEARCH, MAX_EF_SEARCH = 40, 1_000


@dataclass(frozen=True, slots=True)
class Build:
    """How an index is to be built: its method, and its options by their names in SQL."""

    method: IndexMethod
    options: Mapping[str, int]


def check_name(name: object) -> str:
    """A collection's name, which becomes part of a table's."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(
            f"a collection cannot be called {str(name)[:60]!r}",
            "lower case letters, digits and _, at most 41 of them, not starting with a digit",
        )
    return name


def check_dimensions(dimensions: int) -> int:
    if not isinstance(dimensions, int) or not 1 <= dimensions <= MAX_DIMENSIONS:
        raise UsageError(
            f"dimensions are 1 to {MAX_DIMENSIONS:,}, not {dimensions}", "as many as the model's embeddings have"
        )
    return dimensions


def check_indexed(dimensions: int, type: VectorType) -> None:
    """Raises UsageError for more dimensions than an index of this type takes, with what would take them."""
    most = MAX_INDEXED[type]
    if dimensions <= most:
        return
    half = MAX_INDEXED["halfvec"]
    without = "search without one, or use a model with fewer dimensions"
    hint = f"make the collection with the type halfvec, whose index takes up to {half:,}; or {without}"
    raise UsageError(
        f"an index of {type} takes at most {most:,} dimensions, not {dimensions:,}",
        hint if most < dimensions <= half else without,
    )


def parse_filter(text: str) -> tuple[str, JsonValue]:
    """What metadata must hold, as a person writes it: category=books, year=2024, tags=["a"]. The value is JSON where it
    can be read as that, a text elsewhere. Raises UsageError."""
    key, equals, value = text.partition("=")
    if not key.strip() or not equals:
        raise UsageError(f"{text[:80]!r} is no filter", "a key of the metadata and a value: category=books")
    try:
        return key.strip(), json.loads(value, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return key.strip(), value


def _no_json(name: str) -> JsonValue:
    raise ValueError(name)


def lists_for(rows: int) -> int:
    """Lists for so many rows: rows / 1000 up to a million, then sqrt(rows) (pgvector's README)."""
    return max(1, min(MAX_LISTS, rows // 1_000 if rows <= 1_000_000 else math.isqrt(rows)))


def probes_for(lists: int) -> int:
    """Probes for so many lists: their square root (pgvector's README)."""
    return max(1, round(math.sqrt(lists)))


def ef_search_for(limit: int) -> int:
    """Candidates that an hnsw search keeps: pgvector's 40, and never fewer than are asked for."""
    return min(MAX_EF_SEARCH, max(EF_SEARCH, limit))


def check_settings(method: IndexMethod | None, probes: int | None, ef_search: int | None) -> None:
    """Raises UsageError for a search's setting that is out of bounds, or is not one of the collection's index."""
    if probes is not None and not 1 <= probes <= MAX_PROBES:
        raise UsageError(f"probes are 1 to {MAX_PROBES:,}, not {probes}", "leave them out for the usual number")
    if ef_search is not None and not 1 <= ef_search <= MAX_EF_SEARCH:
        raise UsageError(f"ef_search is 1 to {MAX_EF_SEARCH:,}, not {ef_search}", f"{EF_SEARCH} is usual")
    if probes is not None and method == "hnsw":
        raise UsageError("the collection's index is hnsw, which has no probes", "use ef_search")
    if ef_search is not None and method == "ivfflat":
        raise UsageError("the collection's index is ivfflat, which has no ef_search", "use probes")


def check_build(
    method: str, rows: int, *, lists: int | None = None, m: int | None = None, ef_construction: int | None = None
) -> Build:
    """How to build an index by `method` over so many rows, with the usual numbers where none are given.

    Raises UsageError for an unknown method, for another method's option, and for numbers that make no sense.
    """
    if method not in get_args(IndexMethod):
        raise UsageError(f"there is no index method {str(method)[:40]!r}", "ivfflat or hnsw")
    if method == "ivfflat":
        if m is not None or ef_construction is not None:
            raise UsageError("m and ef_construction are of an hnsw index, not of ivfflat", "an ivfflat index has lists")
        return Build("ivfflat", {"lists": check_lists(lists_for(rows) if lists is None else lists, rows)})
    if lists is not None:
        raise UsageError("lists are of an ivfflat index, not of hnsw", "an hnsw index has m and ef_construction")
    m = M if m is None else m
    ef_construction = max(EF_CONSTRUCTION, 2 * m) if ef_construction is None else ef_construction
    if not 2 <= m <= 100 or not max(4, 2 * m) <= ef_construction <= 1_000:
        raise UsageError(
            f"m {m} and ef_construction {ef_construction} do not fit: m is 2 to 100, ef_construction 2 m to 1,000",
            f"{M} and {EF_CONSTRUCTION} are usual",
        )
    return Build("hnsw", {"m": m, "ef_construction": ef_construction})


def check_lists(lists: int, rows: int) -> int:
    """`lists` if so many make sense for `rows`. Built on too few, the centres are noise and recall is lost."""
    most = min(MAX_LISTS, rows // MIN_ROWS_A_LIST)
    if most < 1:
        raise UsageError(
            f"{rows} rows are too few for an index: it needs {MIN_ROWS_A_LIST} a list",
            "search without one: exact search is as fast on so few; build it after loading",
        )
    if not 1 <= lists <= most:
        raise UsageError(
            f"{lists} lists do not fit {rows:,} rows: at least {MIN_ROWS_A_LIST} rows a list are needed",
            f"use 1 to {most:,} lists; {lists_for(rows):,} is usual for so many rows",
        )
    return lists


def build_bytes(lists: int, dimensions: int, type: VectorType = "vector") -> int:
    """Memory that building an ivfflat index takes for its k-means (src/ivfbuild.c of pgvector, Elkan)."""
    samples = max(lists * 50, 10_000)
    vector = 8 + (4 if type == "vector" else 2) * dimensions
    floats = samples * lists + 2 * samples + lists * lists + 3 * lists + lists * dimensions
    return (samples + 2 * lists) * vector + 4 * floats


def score(distance: float, metric: str) -> float:
    """Larger is nearer: cosine similarity, inner product, or 1 / (1 + l2 distance)."""
    if metric == "l2":
        return 1 / (1 + distance)
    return 1 - distance if metric == "cosine" else -distance


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927)."""
    if trials == 0:
        return 0.0, 1.0
    z, share = 1.96, hits / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, middle - half), min(1.0, middle + half)
