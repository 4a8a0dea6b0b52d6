"""The figures of `pgops check` about PostgreSQL itself: pure."""

from pgops.ops.observe.snapshot import Snapshot, Unavailable, items
from pgops.ops.thresholds import Thresholds


def figures(snapshot: Snapshot, lines: Thresholds) -> dict[str, str]:
    """Label -> value;warning;critical;min;max."""
    found: dict[str, str] = {}
    if not isinstance(snapshot.xmin_holders, Unavailable):
        whole = [one for one in snapshot.xmin_holders if not one.only_catalogs]
        held_s = max((one.age_s or 0.0 for one in whole), default=0.0)
        found["xmin_age"] = f"{max((one.age_xids for one in whole), default=0)};;;0"
        found["xmin_held"] = f"{held_s:.3f}s;{lines.xmin_holder_s:g};{lines.xmin_holder_critical_s:g};0"
    if not isinstance(snapshot.tables, Unavailable):
        found["dead_rows"] = f"{sum(one.dead_rows for one in items(snapshot.tables) if one.own)};;;0"
    if not isinstance(snapshot.replication, Unavailable):
        part = snapshot.replication
        late = [one.lag_s or 0.0 for one in part.standbys] + ([part.replay.lag_s or 0.0] if part.replay else [])
        kept = max((one.retained_bytes or 0 for one in part.slots), default=0)
        found["replica_lag"] = (
            f"{max(late, default=0.0):.3f}s;{lines.replica_lag_warning_s:g};{lines.replica_lag_critical_s:g};0"
        )
        found["slot_retained"] = f"{kept}B;{lines.slot_retained_warning};;0"
    if not isinstance(snapshot.wraparound, Unavailable):
        ids = snapshot.wraparound
        warning, critical = int(lines.xid_age_times * ids.freeze_max_age), int(lines.xid_age_critical * ids.xids_end)
        used = max((one.share for one in ids.sequences), default=0.0)
        found["xid_age"] = f"{ids.oldest_xid_age};{warning};{critical};0;{ids.xids_end}"
        found["sequence_used"] = (
            f"{used * 100:.1f}%;{lines.sequence_warning * 100:g};{lines.sequence_critical * 100:g};0;100"
        )
    return found
