"""How far a batch of events is done: pure.

Below the services, for whoever hands a batch out event by event.
"""

from collections.abc import Container, Sequence
from dataclasses import replace

from pgops.services.models import Batch, Event, PartCursor, Rejected


def done_so_far(batch: Batch, left: Container[int]) -> Batch:
    """The batch up to the first event of each part whose id is in `left`; parts that begin with one stay where they
    are."""
    by_part: dict[int, list[Event]] = {}
    for event in batch.events:
        by_part.setdefault(event.part, []).append(event)
    cut = [_cut(cursor, by_part.get(cursor.part, ()), left) for cursor in batch.cursors]
    return replace(batch, cursors=tuple(cursor for cursor in cut if cursor is not None))


def within(batch: Batch, rejected: Sequence[Rejected]) -> list[Rejected]:
    """Those of `rejected` that the cursors of `batch` pass."""
    ends = {cursor.part: cursor.after_id for cursor in batch.cursors}
    return [one for one in rejected if one.event.id <= ends.get(one.event.part, -1)]


def behind(event: Event) -> Rejected:
    """An event that is parked because an earlier one of its key is."""
    return Rejected(event, 0, "waits behind an earlier event of its key")


def _cut(cursor: PartCursor, events: Sequence[Event], left: Container[int]) -> PartCursor | None:
    done = next((n for n, event in enumerate(events) if event.id in left), len(events))
    if done == len(events):
        return cursor
    return replace(cursor, through=False, after_id=events[done - 1].id, events=done) if done else None
