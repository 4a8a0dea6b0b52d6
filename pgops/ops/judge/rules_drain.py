"""Rules for where queues go: those that are worked on, and are not emptied.

Floor 3, pure, under findings.py.
"""

from collections.abc import Iterator
from shlex import quote

from pgops.ops.judge.drain import drain_words, ready_jobs, serving
from pgops.ops.observe.snapshot import Finding, Severity, Snapshot, items
from pgops.ops.observe.snapshot_jobs import Queue
from pgops.ops.thresholds import Thresholds
from pgops.ops.wording import many


def not_draining(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """More arrives than ends, or it takes too long. Without a worker another rule speaks."""
    for queue in items(now.queues):
        severity = drain_severity(now, queue, lines)
        if severity is None:
            continue
        living = serving(queue, items(now.workers))
        slots = sum(one.concurrency for one in living)
        ends = f"empty in {drain_words(queue)}" if queue.drains else "never empty"
        yield Finding(
            code="queue.not_draining",
            severity=severity,
            title=f"{queue.name} does not drain" if not queue.drains else f"{queue.name} drains slowly",
            evidence=f"{many(ready_jobs(queue), 'job')} ready, {ends}: {queue.arriving_per_s or 0.0:,.1f} arrive and "
            f"{queue.served_per_s or 0.0:,.1f} end a second; {many(len(living), 'worker')} of {many(slots, 'slot')}",
            why="As things go what waits gets older, and whoever waits for a job waits longer each minute."
            if not queue.drains
            else "At this rate the last of what waits is reached too late.",
            remedy=_remedy(queue, len(living)),
            target=queue.name,
        )


def drain_severity(now: Snapshot, queue: Queue, lines: Thresholds) -> Severity | None:
    """How bad it is that a queue is not emptied; None where it is, or nobody knows."""
    known = queue.drains is not None and (queue.rates_over_s or 0.0) >= lines.drain_over_s
    if not known or queue.paused or ready_jobs(queue) < lines.drain_jobs or not serving(queue, items(now.workers)):
        return None
    oldest, drain_s = queue.oldest_age_s or 0.0, queue.drain_s or 0.0
    if queue.drains and drain_s < lines.drain_warning_s:
        return None
    late = oldest >= lines.ready_age_critical_s or (not queue.drains and oldest >= lines.ready_age_warning_s)
    return "critical" if late or (queue.drains and drain_s >= lines.drain_critical_s) else "warning"


def _remedy(queue: Queue, living: int) -> str:
    if queue.limited:
        return f"its own limit holds it back, not its workers: pgops queue set {quote(queue.name)}"
    start = f"pgops queue work module:registry -q {quote(queue.name)}"
    if queue.workers_needed is None:
        return f"start more workers, or look at what the jobs wait for: {start}"
    if queue.workers_needed <= living:
        return "as many workers as it has would do if all their slots were used: look at what their jobs wait for"
    return f"{many(queue.workers_needed - living, 'worker')} more would empty it in ten minutes: {start}"


RULES = (not_draining,)
