"""Rules for the outbox: events that are not delivered, and why.

Floor 3, pure, under findings.py.
"""

from collections.abc import Iterator
from shlex import quote

from pgops.ops.observe.snapshot import Finding, OutboxSubscription, Snapshot, items
from pgops.ops.thresholds import Thresholds
from pgops.ops.wording import age, at_least, many


def outbox(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Events that are not delivered: nobody relays, too slow, or the sink will not have them."""
    if not all(one.at_home for one in items(now.outbox)):
        yield Finding(
            code="outbox.away",
            severity="critical",
            title="the event log belongs to another cluster",
            evidence=f"{many(len(items(now.outbox)), 'subscription')} with cursors of another: restored or copied",
            why="Relays deliver nothing, since cursors mean nothing here; events wait in the log.",
            remedy="pgops outbox rebase: nothing is skipped, and what was under way may come twice",
        )
        return
    for one in items(now.outbox):
        yield from _lag(one, lines)
        if one.held_keys > 0:
            yield Finding(
                code="outbox.held",
                severity="info",
                title=f"{one.name} has keys held by hand",
                evidence=f"{many(one.held_keys, 'key')} held",
                why="Their events are put aside as they come, for as long as nobody lets them go.",
                remedy=f"see which and why: pgops outbox show {quote(one.name)}",
                target=one.name,
            )
        if one.parked > 0:
            yield Finding(
                code="outbox.parked",
                severity="warning",
                title=f"{one.name} has parked events",
                evidence=f"{at_least(one.parked, one.exact.get('parked', True))} parked",
                why="The sink would not take them; later events of the same keys wait behind them.",
                remedy=f"read why (pgops outbox parked {quote(one.name)}) and mend the sink or the event",
                target=one.name,
            )


def _lag(one: OutboxSubscription, lines: Thresholds) -> Iterator[Finding]:
    behind_s = one.lag_s or 0.0
    about = "" if one.exact.get("lag_events", True) else "about "
    evidence = f"{about}{many(one.lag_events, 'event')} undelivered, the oldest for {age(behind_s)}"
    if one.paused or one.lag_events <= 0:
        return
    if one.relays == 0 and behind_s >= lines.no_relay_s:
        yield Finding(
            code="outbox.no_relay",
            severity="critical",
            title=f"nobody relays {one.name}",
            evidence=f"{evidence}; 0 living relays",
            why="Consumers get nothing until a relay runs; the events wait in the log.",
            remedy="start a relay: pgops outbox relay --help",
            target=one.name,
        )
    elif one.trouble:
        yield Finding(
            code="outbox.sink",
            severity="critical" if behind_s >= lines.no_relay_s else "warning",
            title=f"{one.name} cannot reach its sink",
            evidence=f"{evidence}; the relay says: {one.trouble}",
            why="Consumers get nothing until it is there again; the events wait in the log, in their order.",
            remedy="bring the sink back; nothing is lost, and the relay goes on by itself",
            target=one.name,
        )
    elif one.lag_events >= lines.lag_events_warning or behind_s >= lines.lag_warning_s:
        speed = "" if one.relayed_per_s is None else f"; {one.relayed_per_s:,.1f} relayed a second"
        yield Finding(
            code="outbox.lag",
            severity="critical" if behind_s >= lines.lag_critical_s else "warning",
            title=f"{one.name} lags",
            evidence=evidence + speed,
            why="Consumers see the past.",
            remedy="start another relay (they share the parts), or look at why the sink is slow",
            target=one.name,
        )


RULES = (outbox,)
