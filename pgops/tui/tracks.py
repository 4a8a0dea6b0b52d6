"""How numbers went since the dashboard was opened, in bounded memory. Pure: times are seconds since 1970, given.

The rule: a number that is not known leaves no point, and what lies between two looks far apart is not known. Each track
holds the last FINE points as they came, and all of the session in at most COARSE points, each the mean of a stretch;
when they are full, two become one.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from pgops.ops.observe.snapshot import CachePart, Sessions, Snapshot, items
from pgops.ops.observe.snapshot_jobs import Queue
from pgops.services.models import PgmqQueue

FINE = 600
COARSE = 480
MOST_TRACKS = 64
# Points further apart than this many of the usual steps have a gap between them.
GAP_STEPS = 3.5
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Run:
    """Points of a track, oldest first, and how far apart two may be without a gap."""

    points: tuple[Point, ...]
    gap_s: float


class Track:
    """One number over time."""

    def __init__(self) -> None:
        self._fine: deque[Point] = deque(maxlen=FINE)
        self._coarse: list[Point] = []
        self._stride = 1
        self._stretch: list[Point] = []

    def add(self, at: float, value: float) -> None:
        if self._fine and at <= self._fine[-1][0]:
            return
        self._fine.append((at, value))
        self._stretch.append((at, value))
        if len(self._stretch) >= self._stride:
            self._coarse.append(_mean(self._stretch))
            self._stretch.clear()
        if len(self._coarse) >= COARSE:
            self._coarse = [_mean(self._coarse[at : at + 2]) for at in range(0, COARSE, 2)]
            self._stride *= 2

    def lately(self) -> Run:
        """The last points as they came."""
        return _run(tuple(self._fine))

    def whole(self) -> Run:
        """All of the session; the same while little has been seen."""
        if self._stride == 1:
            return _run(tuple(self._coarse))
        rest = (_mean(self._stretch),) if self._stretch else ()
        return _run((*self._coarse, *rest))

    def __len__(self) -> int:
        return len(self._fine) + len(self._coarse) + len(self._stretch)


class Tracks:
    """Every number that a diagram can show, by name. A queue or subscription beyond MOST_TRACKS has none."""

    def __init__(self) -> None:
        self._tracks: dict[str, Track] = {}

    def take(self, snapshot: Snapshot) -> None:
        """Note what this look has seen."""
        at = snapshot.taken_at.timestamp()
        for name, value in seen(snapshot):
            if value is None:
                continue
            if name not in self._tracks:
                if len(self._tracks) >= MOST_TRACKS:
                    continue
                self._tracks[name] = Track()
            self._tracks[name].add(at, value)

    def get(self, name: str) -> Track | None:
        return self._tracks.get(name)

    def __len__(self) -> int:
        return len(self._tracks)


def seen(snapshot: Snapshot) -> Iterator[tuple[str, float | None]]:
    """The numbers of a snapshot that are tracked, what is always shown first."""
    sessions, cache = snapshot.sessions, snapshot.cache
    if isinstance(sessions, Sessions):
        yield "connections", sessions.total
        yield "connections at work", sessions.active
    if isinstance(cache, CachePart):
        yield "cache hit ratio", cache.hit_ratio
        yield "buffer hit ratio", cache.buffer_hit_ratio
    if isinstance(snapshot.outbox, tuple):
        yield "outbox lag", sum(one.lag_events for one in snapshot.outbox)
    for subscription in items(snapshot.outbox):
        yield f"lag of {subscription.name}", subscription.lag_events
        yield f"relayed by {subscription.name}", subscription.relayed_per_s
    queues: tuple[Queue | PgmqQueue, ...] = (*items(snapshot.queues), *items(snapshot.pgmq))
    for queue in queues:
        yield f"depth of {queue.name}", queue.available
        yield f"into {queue.name}", queue.in_per_s
        yield f"out of {queue.name}", queue.out_per_s


def _run(points: tuple[Point, ...]) -> Run:
    steps = sorted(then - now for (now, _), (then, _) in zip(points, islice(points, 1, None), strict=False))
    usual = steps[len(steps) // 2] if steps else 1.0
    return Run(points, usual * GAP_STEPS)


def _mean(points: list[Point]) -> Point:
    return sum(at for at, _ in points) / len(points), sum(value for _, value in points) / len(points)
