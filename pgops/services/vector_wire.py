"""Rows of a vector collection as PostgreSQL reads them: the binary forms of COPY and of a search's vector.

Floor 2, pure. A row is checked here before it is sent, so that a bad one ends nobody's transaction. A vector is
dimensions and 0 as 16 bits, then big-endian floats: of 32 bits in a vector, of 16 in a halfvec.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from functools import cache

from pgops.errors import UsageError
from pgops.services.models import JsonValue, TextRow, VectorRow, VectorType

_MAX_ID = 2**63 - 1
_FORMATS: Mapping[str, str] = {"vector": "f", "halfvec": "e"}
# What has no direction left in this many bits: squares vanish in 32 below 1e-18, a number itself in 16 up to 2^-25.
_NOTHING: Mapping[str, float] = {"vector": 1e-18, "halfvec": 2.0**-25}


def pack_vector(embedding: Sequence[float], dimensions: int, metric: str, type: VectorType = "vector") -> bytes:
    """`embedding` in the binary format of pgvector.

    Raises UsageError where it is not `dimensions` finite numbers that fit, or is zero under the cosine metric.
    """
    try:
        size, total = len(embedding), sum(embedding)
        packed = _layout(dimensions, type).pack(dimensions, 0, *embedding) if size == dimensions else b""
    except (TypeError, ValueError, OverflowError, struct.error):
        bits = "32 bits" if type == "vector" else "16 bits: up to 65,504"
        raise UsageError(f"an embedding is a list of numbers that fit {bits}", "for example [0.1, 0.2, …]") from None
    if size != dimensions:
        raise UsageError(
            f"the embedding has {size:,} dimensions, the collection {dimensions:,}",
            "use the model that the collection was filled with",
        )
    if not math.isfinite(total):
        raise UsageError("the embedding holds NaN or an infinity", "check what the model was given")
    # A sum that is not near zero spares looking at every number.
    nothing = _NOTHING[type]
    if metric == "cosine" and abs(total) <= dimensions * nothing and max(map(abs, embedding)) <= nothing:
        raise UsageError(
            "a zero vector has no direction and cannot be found by cosine distance",
            "leave such rows out, or make the collection with the metric l2 or ip",
        )
    return packed


@cache
def _layout(dimensions: int, type: VectorType) -> struct.Struct:
    return struct.Struct(f">HH{dimensions}{_FORMATS[type]}")


def vector_text(packed: bytes, type: VectorType = "vector") -> str:
    """A packed vector as pgvector reads it from text, for a connection that knows no binary form of it."""
    letter = _FORMATS[type]
    values = struct.unpack(f">{len(packed[4:]) // struct.calcsize(letter)}{letter}", packed[4:])
    return "[" + ",".join(f"{value:.9g}" for value in values) + "]"


def pack_row(row: VectorRow, dimensions: int, metric: str, with_id: bool, type: VectorType) -> tuple[object, ...]:
    """A row as binary COPY takes it. Raises UsageError for what the table could not hold."""
    if not isinstance(row, VectorRow):
        raise UsageError(f"add_many takes VectorRow, not {row.__class__.__name__}", "VectorRow(content, embedding)")
    return (*pack_text(row, with_id), pack_vector(row.embedding, dimensions, metric, type))


def pack_text(row: VectorRow | TextRow, with_id: bool) -> tuple[object, ...]:
    """All of a row but its embedding. Raises UsageError for what the table could not hold."""
    if (row.id is not None) != with_id:
        raise UsageError("some rows have an id and some have none", "give every row of one call an id, or none")
    rest = (utf8(row.content, "the content"), b"\1" + pack_metadata(row.metadata).encode())
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


def utf8(text: object, what: str) -> bytes:
    if not isinstance(text, str):
        raise UsageError(f"{what} is a text, not {type(text).__name__}", "use str(…) or an f-string")
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} must be valid Unicode", "it holds half of a surrogate pair") from None
    if b"\0" in data:
        raise UsageError(f"{what} cannot hold a NUL character", "PostgreSQL's text has none; escape it")
    return data
