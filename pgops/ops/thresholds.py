"""Where the lines are drawn between well, warning and critical.

Floor 3, values only. Ages are seconds, shares 0 to 1.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The defaults suit a service that people wait for."""

    unclaimed_s: float = 60.0
    dead_rise_critical: int = 10
    ready_age_warning_s: float = 300.0
    ready_age_critical_s: float = 1_800.0
    drain_jobs: int = 100
    drain_over_s: float = 20.0
    drain_warning_s: float = 3_600.0
    drain_critical_s: float = 21_600.0
    lag_events_warning: int = 10_000
    lag_warning_s: float = 60.0
    lag_critical_s: float = 600.0
    no_relay_s: float = 30.0
    notify_queue_warning: float = 0.25
    notify_queue_critical: float = 0.75
    notify_holder_s: float = 60.0
    deaf_listener_s: float = 5.0
    expired_rows: int = 10_000
    expired_share: float = 0.2
    over_cap: float = 1.5
    over_cap_entries: int = 10_000
    over_cap_bytes: int = 67_108_864
    hit_ratio: float = 0.5
    hit_ratio_reads: int = 1_000
    hit_ratio_reads_per_s: float = 10.0
    hit_ratio_drop: float = 0.2
    denied_share: float = 0.5
    denied_decisions_per_s: float = 1.0
    recall: float = 0.8
    recall_drop: float = 0.1
    probes_share: float = 0.5
    probes_rows: int = 10_000
    connections_warning: float = 0.80
    connections_critical: float = 0.95
    idle_in_transaction_warning_s: float = 60.0
    idle_in_transaction_critical_s: float = 600.0
    transaction_warning_s: float = 3_600.0
    blocked_warning_s: float = 30.0
    blocked_critical_s: float = 300.0
    xmin_seen_s: float = 1.0
    xmin_holder_s: float = 300.0
    xmin_holder_critical_s: float = 3_600.0
    xmin_holder_xids: int = 100_000
    xmin_dead_rows: int = 10_000
    vacuum_due_times: float = 2.0
    vacuum_due_rows: int = 10_000
    vacuum_due_s: float = 900.0
    hot_share: float = 0.5
    hot_updates: int = 100_000
    xid_age_times: float = 1.25
    xid_age_critical: float = 0.75
    slot_retained_warning: int = 10_737_418_240
    slot_inactive_bytes: int = 268_435_456
    wal_times: float = 5.0
    wal_bytes_per_s: float = 33_554_432.0
    wal_average_s: float = 86_400.0
    archive_critical_s: float = 3_600.0
    replica_lag_warning_s: float = 60.0
    replica_lag_critical_s: float = 600.0
    replica_lag_bytes: int = 1_073_741_824
    checkpoints_requested: float = 0.5
    checkpoints_seen: int = 20
    sequence_warning: float = 0.8
    sequence_critical: float = 0.95
    unused_index_bytes: int = 10_485_760
    unused_index_s: float = 604_800.0
    outgrow_jobs_per_s: float = 150.0
    outgrow_wait_p99_ms: float = 100.0
    outgrow_daily_users: float = 50_000.0
    outgrow_requests_per_user: float = 50.0
    outgrow_vector_searches_per_s: float = 1_000.0
    outgrow_vectors: float = 10_000_000.0
    outgrow_subscribers: float = 10.0
    outgrow_connections: float = 300.0
    outgrow_replica_lag_s: float = 10.0
    outgrow_wal_bytes_per_s: float = 10_485_760.0
    outgrow_log_bytes: float = 107_374_182_400.0
    outgrow_near: float = 0.8
    outgrow_soon_days: float = 60.0
