"""When to move on: a line that is crossed, or soon will be.

Floor 3, pure, under findings.py.
"""

from collections.abc import Iterator
from datetime import timedelta

from pgops.ops.observe.snapshot import Finding, Snapshot, Unavailable
from pgops.ops.observe.snapshot_outgrow import OutgrowLine
from pgops.ops.thresholds import Thresholds
from pgops.ops.wording import figure


def outgrown(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """A finding for each line that is crossed, near, or crossed before long by the trend."""
    if isinstance(now.outgrow, Unavailable):
        return
    soon = now.taken_at + timedelta(days=lines.outgrow_soon_days)
    for one in now.outgrow.lines:
        crossed = one.share is not None and one.share >= 1
        near = one.share is not None and one.share >= lines.outgrow_near
        if crossed or near or (one.crosses_at is not None and one.crosses_at <= soon):
            yield _finding(one, crossed=crossed)


def _finding(one: OutgrowLine, *, crossed: bool) -> Finding:
    about = "about " if one.exact.get("value") is False else ""
    evidence = f"{about}{figure(one.value, one.unit)} of {figure(one.line, one.unit)}: {one.what}"
    if one.crosses_at is not None:
        evidence += f"; at this pace it is reached {one.crosses_at:%Y-%m-%d}"
    return Finding(
        code=f"outgrow.{one.name}",
        severity="warning" if crossed else "info",
        title="a line of the outgrow ledger is crossed" if crossed else "a line of the outgrow ledger comes near",
        evidence=evidence,
        why="Up to the line one PostgreSQL does this well; beyond it another tool usually does it with less care.",
        remedy=one.remedy,
        command="pgops outgrow",
    )


RULES = (outgrown,)
