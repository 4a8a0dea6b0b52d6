"""From where a worker scans its queue, and when it sweeps below: decisions only, no database.

Claimed jobs leave dead index entries behind until vacuum may take them, which a forgotten transaction can forbid
for hours. So a claim starts above the highest seq that this worker has claimed. What arrives late below that, because
its transaction committed late, is found again in two ways: while the queue is nearly empty the scan starts at a mark
of a second ago, and one worker a queue sweeps from a bottom below which every transaction has ended.
"""

from collections import deque

from pgops.services.leases import NO_FLOORS, Floors
from pgops.services.models import Claim, Mark

TRAIL_S = 1.0
TRAIL_SEQS = 2_000
SWEEP_EVERY_S = 1.0
SWEEP_SHARE = 0.01
FULL_SWEEP_EVERY_S = 60.0


def highest(a: Floors, b: Floors) -> Floors:
    return (max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))


class Floor:
    """One worker's floors of one queue."""

    def __init__(self) -> None:
        self.claimed: Floors = NO_FLOORS
        self.behind = True
        self._trail = 0
        self._marks: deque[tuple[float, int]] = deque(maxlen=16)

    def scan(self) -> Floors:
        """Where the next claim starts: at what was claimed while there is a backlog, else a second before it."""
        if self.behind:
            return self.claimed
        one, two, three, four = (max(self._trail, seq - TRAIL_SEQS) for seq in self.claimed)
        return (one, two, three, four)

    def marked(self, at: float, seq: int) -> None:
        """Arrival stood at `seq` at the time `at`."""
        self._marks.append((at, seq))

    def after_claim(self, claim: Claim, asked: int, started_at: float) -> None:
        """A short claim has seen all there was, so the trail may follow to what had arrived a second before it. What a
        pause or a limit has cut short has not."""
        self.claimed = highest(self.claimed, claim.floors)
        self.behind = claim.cut or len(claim.jobs) >= asked
        if not self.behind:
            self._trail = max((seq for at, seq in self._marks if at <= started_at - TRAIL_S), default=self._trail)


class Sweep:
    """The sweeper's state of one queue. `held_back` says that a pause or a limit has cut its pass short: it goes on
    before anything else is claimed, or what stands below the floor would never have a free place."""

    def __init__(self) -> None:
        self.due_at = 0.0
        self.bottom = 0
        self.held_back = False
        self._from: Floors = NO_FLOORS
        self._last: Mark | None = None
        self._noted: Mark | None = None
        self._settled: int | None = None
        self._full_at = 0.0
        self._took_s = 0.0

    @property
    def passing(self) -> bool:
        """Whether a pass is not at its end: it found as much as it asked for, or was cut short."""
        return self.held_back or self._from != NO_FLOORS

    @property
    def start(self) -> Floors:
        """Where the pass goes on, or a new one begins."""
        return highest(self._from, (self.bottom,) * 4)

    def begin(self, mark: Mark, now: float) -> Floors:
        """Where this sweep starts. A minute after the last one it is the very beginning."""
        if self.passing:
            return self.start  # the same pass goes on: what it has passed by already is not settled by it
        if now >= self._full_at:
            self.bottom, self._full_at = 0, now + FULL_SWEEP_EVERY_S
        if self._noted is not None and mark.xmin >= self._noted.xmax:
            self._settled, self._noted = self._noted.seq, None
        if self._noted is None and self._last is not None:
            # The seq of the mark before: whoever drew it then and had no transaction id yet has one by now.
            self._noted = Mark(seq=self._last.seq, xmax=mark.xmax, xmin=mark.xmin)
        self._last = mark
        return self.start

    def after_claim(self, claim: Claim, asked: int, now: float, took_s: float, above: Floors = NO_FLOORS) -> None:
        """A sweep that found as much as it asked for goes on at once; one that came to its end raises the bottom to
        what was settled before it began; one that found a job `above` its worker's floor has found all below it, and
        leaves the rest to the worker. Then it rests so that it stays within its share of time. One that was slow for
        once, on a machine that stood still, does not count."""
        usual_s, self._took_s = min(took_s, self._took_s), took_s
        rest_s = usual_s / SWEEP_SHARE
        short = not claim.cut and len(claim.jobs) < asked
        passed = any(0 < floor < found for found, floor in zip(claim.floors, above, strict=True))
        self.held_back = claim.cut and not passed
        if not short and not passed:
            self._from = highest(self._from, claim.floors)
            self.due_at = now + rest_s if claim.cut else now
            return
        if short and self._settled is not None:
            self.bottom = max(self.bottom, self._settled)
        self._from, self._settled = NO_FLOORS, None
        self.due_at = now + max(SWEEP_EVERY_S, rest_s)
