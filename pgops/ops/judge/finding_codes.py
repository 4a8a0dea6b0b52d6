"""Every code that a finding may have: what `pgops check --only` and `--ignore` take, whole or by subsystem.

Floor 3, values only. A code is `subsystem.what`; scripts hold on to it, so it is never renamed.
"""

CODES = (
    "queue.no_worker", "queue.stuck", "queue.unclaimed", "queue.dead", "queue.slow", "queue.not_draining",
    "queue.paused",
    "worker.gone",
    "locks.blocked",
    "sessions.full", "sessions.idle_in_transaction", "sessions.old_transaction",
    "outbox.away", "outbox.held", "outbox.parked", "outbox.no_relay", "outbox.sink", "outbox.lag",
    "pubsub.pooler", "pubsub.queue", "pubsub.held", "pubsub.idle_listener",
    "cache.emptied", "cache.expired", "cache.hit_ratio", "cache.hit_drop", "cache.over_cap",
    "limits.denials",
    "kv.expired",
    "vector.invalid", "vector.lists", "vector.recall", "vector.recall_drop", "vector.probes",
    "outgrow.jobs_per_s", "outgrow.wait_p99_ms", "outgrow.daily_users", "outgrow.vector_searches_per_s",
    "outgrow.vectors", "outgrow.subscribers", "outgrow.connections", "outgrow.replica_lag_s",
    "outgrow.wal_bytes_per_s", "outgrow.log_bytes",
    "vacuum.held", "vacuum.due",
    "wal.archive", "wal.checkpoints", "wal.rate",
    "replication.synchronous", "replication.lag", "replication.replay",
    "slots.lost", "slots.inactive", "slots.retained",
    "tables.hot", "tables.unlogged",
    "wraparound.age", "sequences.full",
    "indexes.duplicate", "indexes.unused", "indexes.invalid",
    "server.flaw", "server.minor",
)  # fmt: skip

# The parts of a Snapshot without which nothing can be said of a subsystem.
NEEDS = {
    "sessions": ("sessions",), "locks": ("locks",), "queue": ("queues",), "worker": ("workers",),
    "outbox": ("outbox",), "cache": ("cache",), "vector": ("vectors",),
}  # fmt: skip

# And those of the others, that are missed by who asks for them by name.
ASKED = {
    **NEEDS, "pubsub": ("pubsub",), "limits": ("limits",), "kv": ("kv",), "outgrow": ("outgrow",),
    "vacuum": ("xmin_holders", "tables"), "wal": ("wal",), "replication": ("replication",), "slots": ("replication",),
    "tables": ("tables", "wraparound"), "wraparound": ("wraparound",), "sequences": ("wraparound",),
    "indexes": ("indexes",), "server": ("server",),
}  # fmt: skip

SUBSYSTEMS = tuple(dict.fromkeys(code.partition(".")[0] for code in CODES))
