"""What Prometheus is told of PostgreSQL itself: vacuum, the log, replicas and slots, tables, indexes, what runs out.

Floor 3, pure. A function a part, under the name of its field in Snapshot.
"""

from pgops.ops.observe.snapshot_server import (
    IndexTrouble,
    ReplicationPart,
    TablePart,
    WalPart,
    WraparoundPart,
    XminHolder,
)
from pgops.ops.tell.meters import Families, Meter


def xmin_holders(told: Families, part: tuple[XminHolder, ...]) -> None:
    whole = [one for one in part if not one.only_catalogs]
    told.gauge(
        "pgops_vacuum_held_transactions", "How many transactions vacuum is held back.",
        max((one.age_xids for one in whole), default=0),
    )  # fmt: skip
    told.gauge(
        "pgops_vacuum_held_seconds", "For how long, where that is known.",
        max((one.age_s or 0.0 for one in whole), default=0.0),
    )  # fmt: skip


def wal(told: Families, part: WalPart) -> None:
    told.total("pgops_wal_bytes", "Bytes of the log written; on a standby: replayed.", part.bytes)
    told.total("pgops_wal_checkpoints_timed", "Checkpoints by the clock.", part.checkpoints_timed)
    told.total("pgops_wal_checkpoints_requested", "Checkpoints because of the log's size.", part.checkpoints_requested)
    if part.archiving:
        told.total("pgops_wal_archived_files", "Files of the log archived.", part.archived_total)
        told.total("pgops_wal_archive_failures", "Tries to archive that failed.", part.archive_failed_total)
        told.gauge("pgops_wal_archive_failing", "Whether the last try has failed.", part.archive_failing)


def replication(told: Families, part: ReplicationPart) -> None:
    told.gauge("pgops_replication_standbys", "Standbys that stream from here.", len(part.standbys))
    for name in dict.fromkeys(one.name for one in part.standbys):
        same = [one for one in part.standbys if one.name == name]
        behind = max((one.lag_bytes or 0 for one in same), default=0)
        late_s = max((one.lag_s or 0.0 for one in same), default=0.0)
        told.gauge("pgops_replication_lag_bytes", "How far behind a standby's replay is.", behind, standby=name)
        told.gauge("pgops_replication_lag_seconds", "How late it is.", late_s, standby=name)
    for slot in part.slots:
        told.gauge("pgops_replication_slot_active", "Whether anybody reads it.", slot.active, slot=slot.name)
        told.gauge(
            "pgops_replication_slot_retained_bytes", "What of the log is kept for it.", slot.retained_bytes,
            slot=slot.name,
        )  # fmt: skip
    if part.replay is not None:
        told.gauge("pgops_replication_replay_paused", "Whether this standby's replay is.", part.replay.paused)
        told.gauge("pgops_replication_replay_lag_bytes", "How far behind it is.", part.replay.lag_bytes)
        told.gauge("pgops_replication_replay_lag_seconds", "How late it is.", part.replay.lag_s)


def tables(told: Families, part: tuple[TablePart, ...]) -> None:
    for one in part:
        names = {"table": one.table}
        told.gauge("pgops_table_rows", "Rows of a table with its partitions, estimated.", one.rows, **names)
        told.gauge("pgops_table_dead_rows", "Rows that wait for a vacuum, estimated.", one.dead_rows, **names)
        told.gauge("pgops_table_autovacuum_due", "Whether autovacuum is due.", one.autovacuum_due, **names)
        told.gauge("pgops_table_hot_updates_ratio", "Share of updates that touched no index.", one.hot_share, **names)
        told.gauge("pgops_table_bytes", "Its size, indexes included.", one.bytes, **names)
        told.total("pgops_table_updates", "Rows updated.", one.updates_total, **names)


def indexes(told: Families, part: tuple[IndexTrouble, ...]) -> None:
    for problem in ("invalid", "duplicate", "unused"):
        same = [one for one in part if one.problem == problem]
        told.gauge("pgops_indexes_in_trouble", "Indexes that only cost.", len(same), problem=problem)
        told.gauge("pgops_indexes_in_trouble_bytes", "Their size.", sum(one.bytes for one in same), problem=problem)


def wraparound(told: Families, part: WraparoundPart) -> None:
    told.gauge("pgops_xid_age_transactions", "Age of the oldest transaction id of the server.", part.oldest_xid_age)
    told.gauge("pgops_multixact_age_multixacts", "Age of its oldest multixact.", part.oldest_multixact_age)
    told.gauge("pgops_xid_end_transactions", "At this age the server stops.", part.xids_end)
    for one in part.sequences:
        told.gauge("pgops_sequence_used_ratio", "Of those that are half used.", one.share, sequence=one.name)


METERS: dict[str, Meter] = {
    "xmin_holders": xmin_holders, "wal": wal, "replication": replication, "tables": tables, "indexes": indexes,
    "wraparound": wraparound,
}  # fmt: skip
