"""Rules for queues and workers.

Floor 3, pure, under findings.py.
"""

from collections.abc import Iterator, Mapping
from shlex import quote

from pgops.ops.judge.drain import serving
from pgops.ops.judge.rules_drain import drain_severity
from pgops.ops.observe.chain_words import chain_words, root_of
from pgops.ops.observe.snapshot import Finding, Snapshot, Unavailable, items
from pgops.ops.observe.snapshot_jobs import ChainLink, Queue, StuckJob, Worker
from pgops.ops.thresholds import Thresholds
from pgops.ops.wording import age, at_least, many

TOP_ERRORS = 2
WHY_STUCK = {
    "lease expired": "Their worker died, hangs or was cut off; until they are taken back nobody else does them.",
    "running too long": "They run beyond the queue's max_runtime and hold their slots: the handler waits, or loops.",
}


def no_worker(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Jobs wait and nobody is there to take them; where workers cannot be seen, nobody knows."""
    if isinstance(now.workers, Unavailable):
        return
    for queue in items(now.queues):
        if not _waits(queue, lines) or _living(now, queue):
            continue
        yield Finding(
            code="queue.no_worker",
            severity="critical",
            title=f"no worker serves {queue.name}",
            evidence=f"{many(queue.available, 'job')} ready, the oldest for {age(queue.oldest_age_s)}; 0 workers alive",
            why="Nothing in this queue will be done until a worker runs.",
            remedy=f"start one: pgops queue work module:registry -q {quote(queue.name)}",
            target=queue.name,
        )


def stuck(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Jobs that do not move, by reason. Where there is no worker at all, `no_worker` has said it."""
    for queue in items(now.queues):
        jobs = [job for job in items(now.stuck_jobs) if job.queue == queue.name]
        taken = [job for job in jobs if job.reason != "not claimed"]
        if taken:
            yield _taken(queue, taken, len(taken) == len(jobs))
        unclaimed = [job for job in jobs if job.reason == "not claimed"]
        if unclaimed and _living(now, queue):
            yield _unclaimed(now, queue, unclaimed)


def _taken(queue: Queue, jobs: list[StuckJob], alone: bool) -> Finding:
    oldest = max(job.age_s for job in jobs)
    counts = {reason: sum(job.reason == reason for job in jobs) for reason in ("lease expired", "running too long")}
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
    told = next((job for job in jobs if job.backend is not None and job.backend.chain), None) or next(
        (job for job in jobs if job.backend is not None), None
    )
    chain = "" if told is None or told.backend is None else f"; job {told.id}: {chain_words(told.backend)}"
    root = root_of(told.backend) if told is not None else None
    number = at_least(queue.stuck, queue.exact.get("stuck", True)) if alone else f"{len(jobs):,}"
    return Finding(
        code="queue.stuck",
        severity="warning",
        title=f"jobs of {queue.name} are stuck",
        evidence=f"{number} stuck: {reasons}; the longest for {age(oldest)}{chain}",
        why=" ".join(WHY_STUCK[reason] for reason, count in counts.items() if count),
        remedy=_remedy(queue, counts, max(jobs, key=lambda job: job.age_s), root),
        action="requeue_stuck",
        target=queue.name,
        command=f"pgops queue requeue {quote(queue.name)} --stuck",
    )


def _remedy(queue: Queue, counts: Mapping[str, int], oldest: StuckJob, root: ChainLink | None) -> str:
    if root is not None:
        return f"end what they wait for: pgops sessions terminate {root.pid}; or take them back, and they wait again"
    if not counts["running too long"]:
        return "take them back: they run again, and a late completion of the old worker is refused"
    look = f"pgops queue show {quote(queue.name)} {oldest.id}"
    return f"see what they wait for: {look}; then take them back, or give the queue a longer max_runtime_s"


def _unclaimed(now: Snapshot, queue: Queue, jobs: list[StuckJob]) -> Finding:
    living = _living(now, queue)
    return Finding(
        code="queue.unclaimed",
        severity="warning",
        title=f"nobody claims from {queue.name}",
        evidence=f"{at_least(queue.stuck, queue.exact.get('stuck', True))} ready for up to "
        f"{age(max(job.age_s for job in jobs))}; {many(len(living), 'living worker')} with "
        f"{sum(one.running for one in living)} of {sum(one.concurrency for one in living)} slots taken",
        why="Its workers are full of jobs that do not end, or hang.",
        remedy="look at what runs, start another worker, or give the workers more concurrency",
        target=queue.name,
    )


def dead(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Dead letters: worse while their number rises fast."""
    earlier = {queue.name: queue.dead for queue in items(before.queues)} if before is not None else {}
    for queue in items(now.queues):
        if queue.dead <= 0:
            continue
        more = queue.dead - earlier.get(queue.name, queue.dead)
        yield Finding(
            code="queue.dead",
            severity="critical" if more >= lines.dead_rise_critical else "warning",
            title=f"dead letters in {queue.name}" + (" are rising" if more > 0 else ""),
            evidence=many(queue.dead, "dead letter")
            + (f", {more:,} more than a minute ago" if more > 0 else "")
            + _why_dead(now, queue),
            why="Their last attempt failed; nothing tries them again.",
            remedy=f"read why (pgops queue failures -q {quote(queue.name)}), mend it, then let them start over",
            action="requeue_dead",
            target=queue.name,
            command=f"pgops queue requeue {quote(queue.name)} --dead",
        )


def _why_dead(now: Snapshot, queue: Queue) -> str:
    """The errors most of them died of, as far as they were looked at."""
    groups = [one for one in items(now.failures) if one.queue == queue.name]
    said = [
        f"{one.jobs:,} of {'' if one.exact.get('of', True) else 'the newest '}{one.of:,}: {one.fingerprint[:80]}"
        if at == 0
        else f"{one.jobs:,}: {one.fingerprint[:80]}"
        for at, one in enumerate(groups[:TOP_ERRORS])
    ]
    return "".join(f"; {words}" for words in said)


def ready_age(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """The queue is worked on, but too slowly; where it is known that it does not drain, that says more."""
    unclaimed = {job.queue for job in items(now.stuck_jobs) if job.reason == "not claimed"}
    for queue in items(now.queues):
        oldest = queue.oldest_age_s or 0.0
        if queue.paused or oldest < lines.ready_age_warning_s or queue.name in unclaimed or not _living(now, queue):
            continue
        if drain_severity(now, queue, lines) is not None:
            continue
        yield Finding(
            code="queue.slow",
            severity="critical" if oldest >= lines.ready_age_critical_s else "warning",
            title=f"{queue.name} falls behind",
            evidence=f"{many(queue.available, 'job')} ready, the oldest for {age(oldest)}{_speed(queue)}",
            why="Jobs wait longer than anybody should wait for them.",
            remedy="start more workers, or give them more concurrency",
            target=queue.name,
        )


def _speed(queue: Queue) -> str:
    if queue.in_per_s is None or queue.out_per_s is None:
        return ""
    return f"; {queue.in_per_s:,.1f} in and {queue.out_per_s:,.1f} out a second"


def paused(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """A pause that somebody may have forgotten."""
    for queue in items(now.queues):
        if queue.paused and queue.available > 0 and (queue.oldest_age_s or 0.0) >= lines.ready_age_warning_s:
            yield Finding(
                code="queue.paused",
                severity="info",
                title=f"{queue.name} is paused",
                evidence=f"{many(queue.available, 'job')} ready, the oldest for {age(queue.oldest_age_s)}",
                why="Nothing is claimed from a paused queue.",
                remedy=f"resume it when it may go on: pgops queue resume {quote(queue.name)}",
                target=queue.name,
            )


def worker_gone(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """A worker that stopped without a word."""
    for worker in items(now.workers):
        if not worker.alive:
            yield Finding(
                code="worker.gone",
                severity="warning",
                title=f"worker {worker.id} is gone",
                evidence=f"{worker.host}, pid {worker.pid}: last heartbeat {age(worker.heartbeat_age_s)} ago, "
                f"{many(worker.running, 'job')} held then",
                why="It was killed, lost its connection or hangs; its jobs are taken back when their leases end.",
                remedy=f"look at the process on {worker.host} and start it again",
                target=str(worker.id),
            )


def _waits(queue: Queue, lines: Thresholds) -> bool:
    return not queue.paused and queue.available > 0 and (queue.oldest_age_s or 0.0) >= lines.unclaimed_s


def _living(now: Snapshot, queue: Queue) -> list[Worker]:
    return serving(queue, items(now.workers))


RULES = (no_worker, stuck, dead, ready_age, worker_gone, paused)
