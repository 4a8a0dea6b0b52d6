"""What of a snapshot is PostgreSQL's own, as a person reads it: lines and rows under report.py."""

from pgops.cli.tables import duration, size
from pgops.ops.observe.snapshot_server import (
    IndexTrouble,
    ReplicationPart,
    Slot,
    TablePart,
    WalPart,
    WraparoundPart,
    XminHolder,
)

HOLDER_HEADS = ("vacuum waits for", "name", "pid", "user", "state", "for", "transactions", "only catalogs")
TABLE_HEADS = (
    "table", "rows", "dead rows", "dead", "hot", "autovacuum", "vacuumed", "size", "freeze age", "partitions",
)  # fmt: skip
INDEX_HEADS = ("index", "table", "problem", "size", "scans", "twin")
SHOWN = 10


def wal(part: WalPart) -> str:
    """The log, checkpoints and the archive."""
    rate = "" if part.bytes_per_s is None else f", {size(round(part.bytes_per_s))}/s"
    usual = "" if part.average_bytes_per_s is None else f" ({size(round(part.average_bytes_per_s))}/s on average)"
    archive = "no archive"
    if part.archiving:
        archive = "archive FAILING" if part.archive_failing else f"{part.archived_total:,} files archived"
    return (
        f"level {part.level}, at {part.position or '-'}{rate}{usual}; checkpoints {part.checkpoints_timed:,} timed, "
        f"{part.checkpoints_requested:,} requested; {archive}"
    )


def replication(part: ReplicationPart) -> str:
    """Standbys and slots, each by name, and this standby itself."""
    said = [
        f"standby {one.name} {one.state or 'unknown'} {one.sync_state or ''} behind by {size(one.lag_bytes)}, "
        f"{duration(one.lag_s)}"
        for one in part.standbys
    ]
    said += [_slot(one) for one in part.slots]
    if part.replay is not None:
        state = "paused" if part.replay.paused else "receiving" if part.replay.receiving else "not receiving"
        said.append(f"this standby is {state}, behind by {size(part.replay.lag_bytes)}, {duration(part.replay.lag_s)}")
    return "; ".join(said) or "no standby, no slot"


def _slot(one: Slot) -> str:
    state = "active" if one.active else "INACTIVE"
    return f"slot {one.name} ({one.type}) {state}, {one.wal_status or 'no log'}, keeps {size(one.retained_bytes)}"


def wraparound(part: WraparoundPart) -> str:
    """What runs out."""
    said = (
        f"oldest transaction id {part.oldest_xid_age:,} old in {part.oldest_database} "
        f"({part.oldest_xid_age / part.xids_end:.1%} of all), multixact {part.oldest_multixact_age:,} in "
        f"{part.oldest_multixact_database}"
    )
    for one in part.sequences:
        said += f"; sequence {one.name} {one.share:.0%} used"
    if part.unlogged:
        said += f"; unlogged: {', '.join(one.table for one in part.unlogged)}"
    return said


def holder_row(one: XminHolder) -> tuple[object, ...]:
    """A line under HOLDER_HEADS."""
    pid = None if one.pid is None else str(one.pid)
    return one.kind, one.name, pid, one.user, one.state, duration(one.age_s), one.age_xids, one.only_catalogs


def notable(tables: tuple[TablePart, ...]) -> tuple[TablePart, ...]:
    """Those with dead rows, and the largest: not more than a person reads."""
    dead = [one for one in tables if one.dead_rows][:SHOWN]
    large = sorted(tables, key=lambda one: -(one.bytes or 0))[: max(SHOWN - len(dead), 3)]
    return tuple({one.table: one for one in (*dead, *large)}.values())


def table_row(one: TablePart) -> tuple[object, ...]:
    """A line under TABLE_HEADS."""
    due = "running" if one.vacuuming else "due" if one.autovacuum_due else "-"
    hot = "-" if one.hot_share is None else f"{one.hot_share:.0%}"
    last = one.vacuumed
    return (
        one.table, f"~{one.rows:,}", f"~{one.dead_rows:,}", f"{one.dead_share:.0%}", hot,
        due if one.autovacuum else f"OFF, {due}", "-" if last is None else f"{last:%Y-%m-%d %H:%M}Z", size(one.bytes),
        one.freeze_age, one.partitions,
    )  # fmt: skip


def index_row(one: IndexTrouble) -> tuple[object, ...]:
    """A line under INDEX_HEADS."""
    return one.index, one.table, one.problem, size(one.bytes), one.scans_total, one.twin
