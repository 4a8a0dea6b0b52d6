"""What two observations say together: per second, pure.

Floor 3. A rate is known where the same thing stands in both, time has passed, and its counter has not gone backwards
(a crash, a reset or a restore): otherwise it is None, and never negative.
"""

from dataclasses import replace

from pgops.ops.observe.snapshot import CachePart, DocumentsPart, LimitsPart, OutboxSubscription, VectorIndexPart
from pgops.ops.observe.snapshot_jobs import Queue
from pgops.services.models import LimitStats

MIN_SECONDS = 0.05


def per_second(now: int, before: int | None, seconds: float) -> float | None:
    """How fast a counter grew in `seconds`; None where that cannot be told."""
    if before is None or now < before or seconds < MIN_SECONDS:
        return None
    return (now - before) / seconds


def queues(now: tuple[Queue, ...], before: tuple[Queue, ...], seconds: float) -> tuple[Queue, ...]:
    """`now` with in_per_s and out_per_s."""
    known = {one.name: one for one in before}
    return tuple(_queue(one, known.get(one.name), seconds) for one in now)


def _queue(now: Queue, before: Queue | None, seconds: float) -> Queue:
    if before is None:
        return now
    return replace(
        now,
        in_per_s=per_second(now.enqueued_total, before.enqueued_total, seconds),
        out_per_s=per_second(now.completed_total, before.completed_total, seconds),
    )


def outbox(
    now: tuple[OutboxSubscription, ...], before: tuple[OutboxSubscription, ...], seconds: float
) -> tuple[OutboxSubscription, ...]:
    """`now` with relayed_per_s."""
    relayed = {one.name: one.relayed_total for one in before}
    return tuple(
        replace(one, relayed_per_s=per_second(one.relayed_total, relayed.get(one.name), seconds)) for one in now
    )


def cache(now: CachePart, before: CachePart, seconds: float) -> CachePart:
    """`now` with hits_per_s and misses_per_s."""
    return replace(
        now,
        hits_per_s=per_second(now.hits, before.hits, seconds),
        misses_per_s=per_second(now.misses, before.misses, seconds),
    )


def limits(now: LimitsPart, before: LimitsPart, seconds: float) -> LimitsPart:
    """`now` with what is decided and denied a second, in all and by name. A name that was not there had decided
    nothing."""
    known = {one.name: one for one in before.names}
    nothing = before.decisions is not None and len(before.names) < 50

    def rated(one: LimitStats) -> LimitStats:
        former = known.get(one.name) or (replace(one, decisions=0, denied=0) if nothing else None)
        if former is None or now.decisions is None:
            return one
        return replace(
            one,
            decisions_per_s=per_second(one.decisions, former.decisions, seconds),
            denied_per_s=per_second(one.denied, former.denied, seconds),
        )

    return replace(
        now,
        names=tuple(rated(one) for one in now.names),
        decisions_per_s=None if now.decisions is None else per_second(now.decisions, before.decisions, seconds),
        denied_per_s=None if now.denied is None else per_second(now.denied, before.denied, seconds),
    )


def vectors(
    now: tuple[VectorIndexPart, ...], before: tuple[VectorIndexPart, ...], seconds: float
) -> tuple[VectorIndexPart, ...]:
    """`now` with searches_per_s."""
    searches = {(one.table, one.index): one.searches_total for one in before}
    return tuple(
        replace(one, searches_per_s=per_second(one.searches_total, searches.get((one.table, one.index)), seconds))
        for one in now
    )


def documents(
    now: tuple[DocumentsPart, ...], before: tuple[DocumentsPart, ...], seconds: float
) -> tuple[DocumentsPart, ...]:
    """`now` with writes_per_s."""
    writes = {one.name: one.writes_total for one in before}
    return tuple(replace(one, writes_per_s=per_second(one.writes_total, writes.get(one.name), seconds)) for one in now)
