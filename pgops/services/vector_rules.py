"""What is true of vectors without a database: names, their binary form, how many lists and probes, intervals.

Floor 2, pure. Sources: pgvector's README for lists and probes, its src/ivfbuild.c for the memory of a build.
"""

import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from functools import cache

from pgops.errors import UsageError
from pgops.services.models import JsonValue, VectorRow

NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")
OPERATORS: Mapping[str, str] = {"cosine": "<=>", "l2": "<->", "ip": "<#>"}
OPCLASSES: Mapping[str, str] = {"cosine": "vector_cosine_ops", "l2": "vector_l2_ops", "ip": "vector_ip_ops"}
MAX_DIMENSIONS = 16_000
MAX_INDEXED_DIMENSIONS = 2_000
MAX_LISTS = 32_768
MIN_ROWS_A_LIST = 50
_MAX_ID = 2**63 - 1


def check_name(name: object) -> str:
    """A collection's name, which becomes part of a table's."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(
            f"a collection cannot be called {str(name)[:60]!r}",
            "lower case letters, digits and _, at most 41 of them, not starting with a digit",
        )
    return name


def pack_vector(embedding: Sequence[float], dimensions: int, metric: str) -> bytes:
    """`embedding` in the binary format of pgvector: dimensions and 0 as 16 bits, then big-endian floats.

    Raises UsageError where it is not `dimensions` finite numbers, or is zero under the cosine metric.
    """
    try:
        size, total = len(embedding), sum(embedding)
        packed = _layout(dimensions).pack(dimensions, 0, *embedding) if size == dimensions else b""
    except (TypeError, ValueError, OverflowError, struct.error):
        raise UsageError("an embedding is a list of numbers that fit 32 bits", "for example [0.1, 0.2, …]") from None
    if size != dimensions:
        raise UsageError(
            f"the embedding has {size:,} dimensions, the collection {dimensions:,}",
            "use the model that the collection was filled with",
        )
    if not math.isfinite(total):
        raise UsageError("the embedding holds NaN or an infinity", "check what the model was given")
    # Below 1e-18 the squares vanish in 32 bits; a sum that is not near zero spares looking at every number.
    if metric == "cosine" and abs(total) < 1e-12 and max(map(abs, embedding)) < 1e-18:
        raise UsageError(
            "a zero vector has no direction and cannot be found by cosine distance",
            "leave such rows out, or make the collection with the metric l2 or ip",
        )
    return packed


@cache
def _layout(dimensions: int) -> struct.Struct:
    return struct.Struct(f">HH{dimensions}f")


def pack_row(row: VectorRow, dimensions: int, metric: str, with_id: bool) -> tuple[object, ...]:
    """A row as binary COPY takes it. Raises UsageError for what the table could not hold."""
    if not isinstance(row, VectorRow):
        raise UsageError(f"add_many takes VectorRow, not {type(row).__name__}", "VectorRow(content, embedding)")
    if (row.id is not None) != with_id:
        raise UsageError("some rows have an id and some have none", "give every row of one call an id, or none")
    rest = (
        _utf8(row.content, "the content"),
        b"\1" + pack_metadata(row.metadata).encode(),
        pack_vector(row.embedding, dimensions, metric),
    )
    if row.id is None:
        return rest
    if not isinstance(row.id, int) or not 0 < row.id <= _MAX_ID:
        raise UsageError(f"an id is a positive 64-bit number, not {row.id}", "leave it out to have one drawn")
    return (row.id, *rest)


def pack_metadata(metadata: Mapping[str, JsonValue]) -> str:
    """JSON text that jsonb takes: an object, without NaN and without NUL."""
    if not isinstance(metadata, Mapping):
        raise UsageError(f"metadata is a JSON object, not {type(metadata).__name__}", 'for example {"lang": "en"}')
    try:
        text = json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"metadata must be JSON: {error}", "use texts, numbers, lists and objects") from None
    if r"\u0000" in text and r"\u0000" in text.replace(r"\\", ""):
        raise UsageError("metadata cannot hold a NUL character", "PostgreSQL's text has none; escape it")
    return text


def _utf8(text: object, what: str) -> bytes:
    if not isinstance(text, str):
        raise UsageError(f"{what} is a text, not {type(text).__name__}", "use str(…) or an f-string")
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} must be valid Unicode", "it holds half of a surrogate pair") from None
    if b"\0" in data:
        raise UsageError(f"{what} cannot hold a NUL character", "PostgreSQL's text has none; escape it")
    return data


def vector_text(packed: bytes) -> str:
    """A packed vector as pgvector reads it from text, for a connection that knows no binary form of it."""
    values = struct.unpack(f">{len(packed) // 4 - 1}f", packed[4:])
    return "[" + ",".join(f"{value:.9g}" for value in values) + "]"


def lists_for(rows: int) -> int:
    """Lists for so many rows: rows / 1000 up to a million, then sqrt(rows) (pgvector's README)."""
    return max(1, min(MAX_LISTS, rows // 1_000 if rows <= 1_000_000 else math.isqrt(rows)))


def probes_for(lists: int) -> int:
    """Probes for so many lists: their square root (pgvector's README)."""
    return max(1, round(math.sqrt(lists)))


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


def build_bytes(lists: int, dimensions: int) -> int:
    """Memory that building an ivfflat index takes for its k-means (src/ivfbuild.c of pgvector, Elkan)."""
    samples = max(lists * 50, 10_000)
    vector = 8 + 4 * dimensions
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
