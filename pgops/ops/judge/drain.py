"""Will it drain: when a queue will be empty as things go, and how many workers it would take.

Floor 3, under collector.py; `Drain` holds what was seen lately, the rest is pure. What leaves is what ended, completed
or failed; what arrives is what left and what the backlog has grown by, so that retries, promoted and requeued jobs
count too. A queue whose totals went backwards (a restore, a queue made anew) is told from then on. By Little's law a
slot that is in use ends so many jobs a second, and that is what more workers would add.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil

from pgops.ops.observe.snapshot_jobs import Queue, Worker
from pgops.ops.wording import age, many

WINDOW_S = 60.0
SPACED_S = 5.0
FORGET_S = 3_600.0
LEAST_S = 0.9
WITHIN_S = 600.0
STEADY_S = 2.0
YOUNG_S = 5.0
NEVER_S = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one queue at one moment: what is not done, what has ended in all, and the slots of workers in use."""

    backlog: int
    ended: int
    busy: int


class Drain:
    """What was seen in the last WINDOW_S, and what it says of now."""

    def __init__(self) -> None:
        self._looks: deque[tuple[datetime, dict[str, Seen]]] = deque()

    def remember(self, at: datetime, queues: Sequence[Queue], workers: Sequence[Worker]) -> None:
        """A look, unless one was taken just before."""
        if not self._looks or (at - self._looks[-1][0]).total_seconds() >= SPACED_S:
            self._looks.append((at, {one.name: seen(one, workers) for one in queues}))

    def told(self, at: datetime, queues: Sequence[Queue], workers: Sequence[Worker]) -> tuple[Queue, ...]:
        """The queues as they are at `at`, with what can be told of where they go."""
        while self._looks and self._looks[-1][0] >= at:
            self._looks.pop()
        while len(self._looks) > 1 and (at - self._looks[1][0]).total_seconds() >= WINDOW_S:
            self._looks.popleft()
        while self._looks and (at - self._looks[0][0]).total_seconds() > FORGET_S:
            self._looks.popleft()
        found = tuple(self._drained(at, one, workers) for one in queues)
        self.remember(at, queues, workers)
        return found

    def _drained(self, at: datetime, queue: Queue, workers: Sequence[Worker]) -> Queue:
        now = seen(queue, workers)
        former = ((then, known[queue.name]) for then, known in reversed(self._looks) if queue.name in known)
        looks = list(_one_life(former, now))
        seconds = (at - looks[-1][0]).total_seconds() if looks else 0.0
        if seconds < LEAST_S:
            return queue
        before = looks[-1][1]
        served = (now.ended - before.ended) / seconds
        arriving = max(served + (now.backlog - before.backlog) / seconds, 0.0)
        told = replace(queue, arriving_per_s=arriving, served_per_s=served, rates_over_s=seconds)
        busy = (now.busy + sum(one.busy for _, one in looks)) / (len(looks) + 1)
        return _judged(told, busy, serving(queue, workers))


def _one_life(former: Iterable[tuple[datetime, Seen]], now: Seen) -> Iterable[tuple[datetime, Seen]]:
    """The looks before, the youngest first, until the totals are above those that came later."""
    later = now
    for then, one in former:
        if one.ended > later.ended:
            return
        yield then, one
        later = one


def _judged(queue: Queue, busy: float, living: Sequence[Worker]) -> Queue:
    """With when it is empty, and the workers it takes to have it so in WITHIN_S; of a paused one nobody knows. Where
    nothing waits long, what waits now is done in a moment, however even arrival and service are."""
    arriving, served, ready = queue.arriving_per_s or 0.0, queue.served_per_s or 0.0, ready_jobs(queue)
    if queue.paused:
        return queue
    drain_s: float | None = None
    if ready == 0 or ready <= served * STEADY_S or (served and (queue.oldest_age_s or YOUNG_S) < YOUNG_S):
        drain_s = ready / served if served else 0.0
    elif served > arriving and ready / (served - arriving) < NEVER_S:
        drain_s = ready / (served - arriving)
    needed: int | None = None
    if living and busy > 0 and served > 0 and not queue.limited:
        slots = (arriving + ready / WITHIN_S) / (served / busy)
        each = sum(one.concurrency for one in living) / len(living)
        needed = max(ceil(slots / each - 1e-9), 1 if slots > 0 else 0)
    return replace(queue, drains=drain_s is not None, drain_s=drain_s, workers_needed=needed)


def seen(queue: Queue, workers: Sequence[Worker]) -> Seen:
    """A queue as it is remembered. Claimed jobs that wait for a slot are running too, so its workers' own word counts;
    where they serve other queues as well, no more than what runs of this one."""
    slots = sum(one.running for one in serving(queue, workers))
    return Seen(
        ready_jobs(queue) + queue.running, queue.completed_total + queue.failed_total, min(slots, queue.running)
    )


def serving(queue: Queue, workers: Sequence[Worker]) -> list[Worker]:
    """Who lives, stays and claims from it."""
    return [one for one in workers if one.alive and not one.stopping and queue.name in one.queues]


def ready_jobs(queue: Queue) -> int:
    """What waits for a worker, also behind the head of its group."""
    return queue.available + queue.waiting


def drain_words(queue: Queue) -> str:
    """When it is empty, in a word or two; nothing where that is unknown."""
    if queue.drains is None:
        return ""
    return age(queue.drain_s) if queue.drains else "never"


def drain_line(queue: Queue, workers: Sequence[Worker]) -> str:
    """All of it in one line; nothing where it is unknown."""
    if queue.drains is None:
        return ""
    rates = (
        f"{queue.arriving_per_s or 0.0:,.1f} arrive and {queue.served_per_s or 0.0:,.1f} end a second "
        f"(over {age(queue.rates_over_s)})"
    )
    ends = f"empty in {age(queue.drain_s)}" if queue.drains else "never empty, at this rate"
    living = len(serving(queue, workers))
    needed = "" if queue.workers_needed is None else f"; {many(queue.workers_needed, 'worker')} needed, {living} alive"
    return f"{rates}: {ends}{needed}"
