"""Rules for what has become worse than it was: cache, rate limits, recall; and for searches that read too little.

Floor 3, pure, under findings.py.
"""

from collections.abc import Iterator
from math import sqrt

from pgops.ops.judge.rules_stores import on_index
from pgops.ops.observe.snapshot import Finding, Snapshot, Unavailable, VectorIndexPart, items
from pgops.ops.thresholds import Thresholds
from pgops.services.models import LimitStats
from pgops.services.vector_rules import probes_for


def hit_drop(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """The cache hits less than it did. Below the line for all caches another rule speaks."""
    part, former = now.cache, None if before is None else before.cache
    if isinstance(part, Unavailable) or former is None or isinstance(former, Unavailable):
        return
    hits, misses = part.hits - former.hits, part.misses - former.misses
    usual, reads = former.hits + former.misses, hits + misses
    if min(hits, misses) < 0 or min(usual, reads) < max(lines.hit_ratio_reads, 1):
        return
    ratio, baseline = hits / reads, former.hits / usual
    if ratio < lines.hit_ratio or round(baseline - ratio, 6) < lines.hit_ratio_drop:
        return
    yield Finding(
        code="cache.hit_drop",
        severity="warning",
        title="the cache hits less than it did",
        evidence=f"hit ratio {ratio:.0%} over the last {reads:,} reads, {baseline:.0%} over the {usual:,} before",
        why="What was answered by the cache now goes to what stands behind it.",
        remedy="look at what changed: pgops cache stats has each namespace; an invalidation, a deploy with other keys, "
        "a cap that evicts, or shorter TTLs",
    )


def denials(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Limits that deny most of what they are asked."""
    if isinstance(now.limits, Unavailable):
        return
    over = [one for one in now.limits.names if _share(one, lines) >= lines.denied_share]
    if not over:
        return
    worst = max(over, key=lambda one: one.denied_per_s or 0.0)
    others = "" if len(over) == 1 else f"; {len(over) - 1:,} other{'s' if len(over) > 2 else ''} too"
    yield Finding(
        code="limits.denials",
        severity="warning",
        title=f"limit {worst.name} denies most of what it is asked",
        evidence=f"{worst.denied_per_s or 0.0:,.1f} of {worst.decisions_per_s or 0.0:,.1f} decisions a second denied "
        f"({_share(worst, lines):.0%}){others}",
        why="Whoever is denied fails or tries again; either the limit is too tight, or somebody does not hold to it.",
        remedy="see which limits deny (pgops limit stats) and who calls them; raise it where they are right",
        target=worst.name,
    )


def _share(one: LimitStats, lines: Thresholds) -> float:
    """The share that is denied now; below any line where too little is decided to tell."""
    if one.decisions_per_s is None or one.denied_per_s is None:
        return -1.0
    enough = one.decisions_per_s >= lines.denied_decisions_per_s > 0
    return one.denied_per_s / one.decisions_per_s if enough else -1.0


def recall_drop(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Recall was better once, by more than chance. Below the line for all indexes another rule speaks."""
    for index in items(now.vectors):
        if index.index is None or not index.valid or index.building or index.recall is None:
            continue
        best = index.recall_before
        if best is None or index.recall < lines.recall or round(best - index.recall, 6) < lines.recall_drop:
            continue
        if (index.recall_high or index.recall) < best:
            yield on_index(
                index,
                "vector.recall_drop",
                "warning",
                f"index {index.index} finds less than it did",
                f"recall {index.recall:.0%} at the last measurement, {best:.0%} before",
                "Rows have come whose neighbours the old lists do not bring together.",
            )


def few_probes(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """An ivfflat index of which searches read too few lists. Those of pgops set their own."""
    for index in items(now.vectors):
        lists = index.lists_built or index.lists_set
        if not _counts(index, lines) or lists is None:
            continue
        probes = index.probes or 1
        if probes < lines.probes_share * sqrt(lists):
            yield Finding(
                code="vector.probes",
                severity="info",
                title=f"searches read few lists of {index.index}",
                evidence=f"ivfflat.probes is {probes:,}{'' if index.probes else ', as nobody set it'}; the index has "
                f"{lists:,} lists of {index.rows:,} rows",
                why="A search finds only what stands in the lists that it reads, however good the index is.",
                remedy=f"where the searches run: set ivfflat.probes = {probes_for(lists)}",
                target=index.index,
            )


def _counts(index: VectorIndexPart, lines: Thresholds) -> bool:
    own = index.collection is not None
    return index.method == "ivfflat" and bool(index.valid) and not own and index.rows >= lines.probes_rows


RULES = (hit_drop, denials, recall_drop, few_probes)
