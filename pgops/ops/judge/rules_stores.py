"""Rules for cache, key-value stores and vector indexes.

Floor 3, pure, under findings.py.
"""

from collections.abc import Iterator

from pgops.ops.observe.snapshot import (
    CachePart,
    Finding,
    Severity,
    Snapshot,
    Unavailable,
    VectorIndexPart,
    items,
)
from pgops.ops.thresholds import Thresholds
from pgops.services.models import CacheNamespace


def cache(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """The application's cache: emptied, of little use, or full of what is over."""
    part = now.cache
    if isinstance(part, Unavailable):
        return
    if part.emptied_by_crash:
        yield Finding(
            code="cache.emptied",
            severity="warning",
            title="a crash emptied the cache",
            evidence=f"{part.entries:,} entries now",
            why="Its tables are not logged, so a crash or a fail-over empties them; until it is warm again every miss "
            "goes to what stands behind it.",
            remedy="watch what the misses do to the database; nothing is lost that cannot be computed again",
        )
    if part.expired_backlog >= lines.expired_rows and part.expired_backlog >= lines.expired_share * part.entries:
        yield Finding(
            code="cache.expired",
            severity="warning",
            title="expired cache entries pile up",
            evidence=f"{part.expired_backlog:,} of {part.entries:,} entries have expired or were invalidated",
            why="They are never returned, but they take room and make the table slow to walk.",
            remedy="purge them, in small batches; live values are not touched",
            action="purge_expired",
            target="",
            command="pgops cache purge",
        )
    yield from _over_cap(now, lines)
    ratio, reads = _current_ratio(part, lines)
    if ratio is not None and ratio < lines.hit_ratio:
        yield Finding(
            code="cache.hit_ratio",
            severity="warning",
            title="the cache seldom hits",
            evidence=f"hit ratio {ratio:.0%} {reads}, below {lines.hit_ratio:.0%}",
            why="Most reads pay for the cache and for what stands behind it.",
            remedy="look at TTLs that are too short, keys that are never read again, or a missing cache fill",
        )


def _over_cap(now: Snapshot, lines: Thresholds) -> Iterator[Finding]:
    """A namespace that nobody holds to its cap. A small one may be above it by many times between two flushes."""
    for one in items(now.cache_namespaces):
        bounds = (
            (one.entries, one.max_entries, lines.over_cap_entries),
            (one.bytes, one.max_bytes, lines.over_cap_bytes),
        )
        if not any(cap and held >= max(cap * lines.over_cap, cap + least) for held, cap, least in bounds):
            continue
        about = "" if one.exact.get("entries", True) else "about "
        yield Finding(
            code="cache.over_cap",
            severity="warning",
            title=f"cache namespace {one.name} outgrows its cap",
            evidence=f"{about}{one.entries:,} entries of {one.bytes:,} bytes; the cap is {_cap(one)}",
            why="Only the pgops clients that write to it and the purge evict, and neither keeps up: the table grows.",
            remedy="purge, which evicts too, and let it run by a timer; or raise the cap",
            action="purge_expired",
            target="",
            command="pgops cache purge",
        )


def _cap(one: CacheNamespace) -> str:
    entries = "" if one.max_entries is None else f"{one.max_entries:,} entries"
    size = "" if one.max_bytes is None else f"{one.max_bytes:,} bytes"
    return " and ".join(filter(None, (entries, size)))


def kv(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """A key-value store full of what is over."""
    part = now.kv
    if isinstance(part, Unavailable):
        return
    for store, keys, expired in (
        ("key-value store", part.keys, part.expired_backlog),
        ("ephemeral key-value store", part.ephemeral_keys, part.ephemeral_expired_backlog),
    ):
        if expired >= lines.expired_rows and expired >= lines.expired_share * keys:
            yield Finding(
                code="kv.expired",
                severity="warning",
                title=f"expired keys pile up in the {store}",
                evidence=f"{expired:,} of {keys:,} keys have expired",
                why="They are as good as none, but they take room and make the table slow to walk.",
                remedy="purge them, in small batches; live keys are not touched",
                action="purge_kv",
                target="",
                command="pgops kv purge",
            )


def _current_ratio(part: CachePart, lines: Thresholds) -> tuple[float | None, str]:
    """The ratio of now where enough is read to tell, else of all time."""
    if part.hits_per_s is not None and part.misses_per_s is not None:
        reads_per_s = part.hits_per_s + part.misses_per_s
        if reads_per_s >= lines.hit_ratio_reads_per_s:
            return part.hits_per_s / reads_per_s, f"at {reads_per_s:,.0f} reads a second"
    reads = part.hits + part.misses
    if reads < max(lines.hit_ratio_reads, 1):
        return None, ""
    return part.hits / reads, f"over {reads:,} reads"


def vectors(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Vector indexes that serve nobody, or not as they were meant to."""
    for index in items(now.vectors):
        if index.index is None or index.building:
            continue
        if not index.valid:
            yield on_index(
                index,
                "vector.invalid",
                "critical",
                f"index {index.index} is invalid",
                f"{index.bytes:,} bytes on {index.table}, never searched",
                "A build of it failed: it costs every write and serves no search, which read the whole table instead.",
            )
        elif index.lists_built is not None and index.lists_set is not None and index.lists_built != index.lists_set:
            yield on_index(
                index,
                "vector.lists",
                "warning",
                f"index {index.index} is not what its options say",
                f"built with {index.lists_built:,} lists, set to {index.lists_set:,}; {index.rows:,} rows",
                "Changing the option rebuilds nothing: probes chosen for the new number read the wrong share.",
            )
        if index.valid and index.recall is not None and index.recall < lines.recall:
            yield on_index(
                index,
                "vector.recall",
                "warning",
                f"index {index.index} misses what is near",
                f"recall {index.recall:.0%} at the last measurement, below {lines.recall:.0%}",
                "Searches leave out rows that they should find.",
            )


def on_index(index: VectorIndexPart, code: str, severity: Severity, title: str, evidence: str, why: str) -> Finding:
    """A finding whose cure is to build the index anew."""
    if index.collection is not None:
        return Finding(
            code=code,
            severity=severity,
            title=title,
            evidence=evidence,
            why=why,
            remedy="rebuild it; reads and writes go on meanwhile",
            action="rebuild_index",
            target=index.collection,
            command=f"pgops vector rebuild {index.collection}",
        )
    schema = index.table.split(".", 1)[0]
    return Finding(
        code=code,
        severity=severity,
        title=title,
        evidence=evidence,
        why=why,
        remedy=f'reindex index concurrently "{schema}"."{index.index}"; drop it instead if its name ends in _ccnew',
        target=index.index,
    )


RULES = (cache, kv, vectors)
