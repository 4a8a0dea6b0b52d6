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
    recall: float = 0.8
    connections_warning: float = 0.80
    connections_critical: float = 0.95
    idle_in_transaction_warning_s: float = 60.0
    idle_in_transaction_critical_s: float = 600.0
    transaction_warning_s: float = 3_600.0
    blocked_warning_s: float = 30.0
    blocked_critical_s: float = 300.0
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
