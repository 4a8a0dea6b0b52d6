"""Rules for pub/sub: the notification queue, and listeners that hear nothing.

Floor 3, pure, under findings.py. Nobody can know which channels ought to have a listener, so no channel is missed here.
"""

from collections.abc import Iterator

from pgops.ops.observe.snapshot import Finding, PubsubPart, Snapshot, Unavailable
from pgops.ops.thresholds import Thresholds
from pgops.ops.wording import age, many
from pgops.services.models import QueueHolder


def pubsub(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """What keeps messages from listeners, or soon will."""
    part = now.pubsub
    if isinstance(part, Unavailable):
        return
    yield from _queue(part, lines)
    yield from _deaf(part, lines)
    if part.pooled:
        yield Finding(
            code="pubsub.pooler",
            severity="warning",
            title="somebody listens through a pooler, and hears nothing",
            evidence=f"a session of the pooler listens to {', '.join(part.pooled)}",
            why="The pooler lends sessions for one transaction: LISTEN succeeds in one of them, and what it receives "
            "goes to nobody.",
            remedy="listen over a direct DSN: PostgreSQL's own host and port instead of the pooler's",
        )


def _queue(part: PubsubPart, lines: Thresholds) -> Iterator[Finding]:
    """It fills while one listener sits in a transaction, which may be any of those that are open."""
    longest = max(part.holders, key=lambda one: one.transaction_s, default=None)
    held_s = 0.0 if longest is None else longest.transaction_s
    filling = part.queue_usage >= lines.notify_queue_warning
    if not filling and held_s < lines.notify_holder_s:
        return
    only = part.holders[0] if len(part.holders) == 1 else None
    seen = "" if not part.holders else f"; in a transaction: {', '.join(map(_holder, part.holders))}"
    yield Finding(
        code="pubsub.queue" if filling else "pubsub.held",
        severity="critical" if part.queue_usage >= lines.notify_queue_critical else "warning",
        title="the notification queue fills up" if filling else "a transaction may hold the notification queue",
        evidence=f"{_share(part.queue_usage)} of it is used; {many(part.listeners, 'listener')} seen{seen}",
        why="A listener that stays in a transaction keeps it from being emptied; full, every NOTIFY fails at commit.",
        remedy="end the oldest transaction of a session that listens",
        action=None if only is None else "terminate_backend",
        target=None if only is None else str(only.pid),
        command=None if only is None else f"pgops sessions terminate {only.pid}",
    )


def _deaf(part: PubsubPart, lines: Thresholds) -> Iterator[Finding]:
    """Said LISTEN, and never committed it or opened a transaction with it."""
    deaf = [one for one in part.listening if not one.hears and one.state_s >= lines.deaf_listener_s]
    if not deaf:
        return
    longest = max(deaf, key=lambda one: one.state_s)
    others = len({one.pid for one in deaf}) - 1
    yield Finding(
        code="pubsub.idle_listener",
        severity="warning",
        title="a listener sits in a transaction, and hears nothing",
        evidence=f"pid {longest.pid} ({longest.application or 'no name'}) on {longest.channel} for "
        f"{age(longest.state_s)}" + (f", and {many(others, 'other')}" if others else ""),
        why="LISTEN takes effect at commit, and messages are given out between transactions only; a transaction that "
        "stays open also keeps the notification queue from being emptied.",
        remedy="have the client commit after LISTEN, or listen on an autocommit connection; or end the session",
        action="terminate_backend",
        target=str(longest.pid),
        command=f"pgops sessions terminate {longest.pid}",
    )


def _holder(one: QueueHolder) -> str:
    return f"pid {one.pid} ({one.application or 'no name'}) for {age(one.transaction_s)}"


def _share(usage: float) -> str:
    return "less than 1%" if 0 < usage < 0.01 else f"{usage:.0%}"


RULES = (pubsub,)
