"""How PostgreSQL itself stands, as short tables for a ticket.

Floor 3, pure, under advice_tables.py.
"""

from collections.abc import Sequence

from pgops.ops.observe.snapshot_server import (
    IndexTrouble,
    ReplicationPart,
    TablePart,
    WalPart,
    WraparoundPart,
    XminHolder,
)
from pgops.ops.wording import duration, size

HOLDERS = ("vacuum waits for", "name", "pid", "for", "transactions")
TABLES = ("table", "rows", "dead rows", "size", "autovacuum")
INDEXES = ("index that only costs", "table", "problem", "size")


def wal(part: WalPart) -> str:
    rate = "" if part.bytes_per_s is None else f"{size(round(part.bytes_per_s))}/s, "
    archive = "no archive" if not part.archiving else "the archive fails" if part.archive_failing else "archived"
    return f"{rate}{part.checkpoints_timed:,} checkpoints by the clock, {part.checkpoints_requested:,} asked; {archive}"


def replication(part: ReplicationPart) -> str:
    said = [f"standby {one.name} {_behind(one.lag_bytes, one.lag_s)}" for one in part.standbys]
    said += [
        f"slot {one.name} {'active' if one.active else 'inactive'}, keeps {size(one.retained_bytes or 0)}"
        for one in part.slots
    ]
    if part.replay is not None:
        paused = "paused, " if part.replay.paused else ""
        said.append(f"this standby {paused}{_behind(part.replay.lag_bytes, part.replay.lag_s)}")
    return "; ".join(said) or "no standby, no slot"


def wraparound(part: WraparoundPart) -> str:
    share = part.oldest_xid_age / part.xids_end
    sequences = "".join(f"; sequence {one.name} {one.share:.0%} used" for one in part.sequences)
    return f"oldest transaction id {part.oldest_xid_age:,} old, {share:.1%} of all{sequences}"


def holder(one: XminHolder) -> Sequence[str]:
    pid, age = "-" if one.pid is None else str(one.pid), "-" if one.age_s is None else duration(one.age_s)
    return (one.kind, one.name, pid, age, f"{one.age_xids:,}")


def table(one: TablePart) -> Sequence[str]:
    vacuum = "off" if not one.autovacuum else "due" if one.autovacuum_due else "on"
    return (one.table, f"{one.rows:,}", f"{one.dead_rows:,}", "-" if one.bytes is None else size(one.bytes), vacuum)


def index(one: IndexTrouble) -> Sequence[str]:
    return (one.index, one.table, one.problem, size(one.bytes))


def _behind(bytes: int | None, seconds: float | None) -> str:
    parts = ([] if bytes is None else [size(bytes)]) + ([] if seconds is None else [duration(seconds)])
    return f"behind by {' and '.join(parts)}" if parts else "behind by nobody knows what"
