"""What needs a human: pure rules, Snapshot -> findings, the worst first.

Floor 3. A rule says what it saw in numbers, why that matters and what to do; where an Action cures it, which one on
what, and the same as a command. Every line that is drawn stands in Thresholds. A part that is unavailable, or a
number that is unknown, is no finding. The rules of each subsystem stand in rules_*.py beside this file.
"""

from collections.abc import Callable, Iterator

from pgops.ops.judge import (
    rules_drain,
    rules_outbox,
    rules_outgrow,
    rules_pubsub,
    rules_queue,
    rules_server,
    rules_sessions,
    rules_stores,
    rules_tables,
    rules_trends,
)
from pgops.ops.observe.snapshot import Finding, Snapshot
from pgops.ops.thresholds import Thresholds

__all__ = ["Thresholds", "judge"]

_ORDER = {"critical": 0, "warning": 1, "info": 2}

Rule = Callable[[Snapshot, Snapshot | None, Thresholds], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    *rules_queue.RULES, *rules_drain.RULES,
    *rules_sessions.RULES, *rules_outbox.RULES, *rules_stores.RULES, *rules_trends.RULES, *rules_pubsub.RULES,
    *rules_server.RULES, *rules_tables.RULES, *rules_outgrow.RULES,
)  # fmt: skip


def judge(
    snapshot: Snapshot, before: Snapshot | None = None, thresholds: Thresholds | None = None
) -> tuple[Finding, ...]:
    """All findings, the worst first, else in the order of the rules. `before` is an earlier snapshot, a minute or two
    old, against which things rise."""
    lines = thresholds or Thresholds()
    found = [finding for rule in RULES for finding in rule(snapshot, before, lines)]
    return tuple(sorted(found, key=lambda finding: _ORDER[finding.severity]))
