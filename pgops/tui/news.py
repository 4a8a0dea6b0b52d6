"""What has changed about the server itself between two looks, and what its schema lacks; in words. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgops.migrate import Step
from pgops.ops.observe.snapshot import ServerPart, Snapshot
from pgops.tui import formats

TOLD_FOR = timedelta(minutes=2)
A_MOMENT_S = 1.0


@dataclass(frozen=True, slots=True)
class News:
    """Something about the server, since `at`."""

    at: datetime
    words: str

    def fresh(self, now: datetime) -> bool:
        return now - self.at < TOLD_FOR


@dataclass(frozen=True, slots=True)
class SchemaSeen:
    """Why the schema is not this program's, and what to do. `pending`: it can be brought up to date from here."""

    words: str
    remedy: str
    pending: bool = False


def news_of(before: Snapshot | None, now: Snapshot) -> News | None:
    """Whether another server answers than before, or the same was started anew or promoted."""
    old, new = before.server if before is not None else None, now.server
    if not isinstance(old, ServerPart) or not isinstance(new, ServerPart):
        return None
    if old.address != new.address:
        places = formats.clean(new.address, 80), formats.clean(old.address, 80)
        words = f"another server answers now: {places[0]} (before: {places[1]})"
    elif _apart(old.started_at, new.started_at):
        words = f"the server was started anew at {formats.clock(new.started_at)} UTC"
    elif old.in_recovery and not new.in_recovery:
        words = "the standby was promoted: it can be changed now"
    else:
        return None
    return News(now.taken_at, words)


def _apart(old: datetime | None, new: datetime | None) -> bool:
    return old is not None and new is not None and abs((new - old).total_seconds()) > A_MOMENT_S


def schema_seen(steps: Sequence[Step]) -> SchemaSeen | None:
    """None where the schema is this program's; what waits for an extension is no trouble."""
    for step in steps:
        if step.state == "newer":
            return SchemaSeen(f"the schema is newer than this pgops, which does not know {step.name}", "upgrade pgops")
        if step.state == "changed":
            return SchemaSeen(f"migration {step.name} was changed after it had been applied", "restore the file")
    missing = [step.name for step in steps if step.state == "pending"]
    if not missing:
        return None
    if any(step.state == "applied" for step in steps):
        rest = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
        words = f"the schema is older: {missing[0]}{rest} missing"
    else:
        words = "the database has no pgops schema"
    return SchemaSeen(words, "run: pgops migrate, or :migrations here", pending=True)
