"""What Prometheus is told of each part: server, sessions, jobs, outbox and pub/sub; meters_stores.py has the stores,
meters_server.py what PostgreSQL itself suffers from.

Floor 3, pure. A function a part, under the name of its field in Snapshot; a new part is a line in METERS.
"""

from pgops.ops.observe.snapshot import LockBackend, OutboxSubscription, PubsubPart, ServerPart, Sessions
from pgops.ops.observe.snapshot_jobs import Queue, Worker
from pgops.ops.observe.snapshot_outgrow import OutgrowPart
from pgops.ops.tell import meters_server, meters_stores
from pgops.ops.tell.meters import Families, Meter
from pgops.services.models import PgmqQueue


def server(told: Families, part: ServerPart) -> None:
    told.gauge("pgops_server_version_num", "PostgreSQL's server_version_num.", part.version_num)
    told.gauge("pgops_server_uptime_seconds", "How long PostgreSQL has been up.", part.uptime_s)
    told.gauge("pgops_server_in_recovery", "Whether it is a standby.", part.in_recovery)
    told.gauge("pgops_server_database_bytes", "The size of this database.", part.database_bytes)


def sessions(told: Families, part: Sessions) -> None:
    rest = part.total - part.active - part.idle - part.idle_in_transaction
    states = {
        "active": part.active, "idle": part.idle, "idle in transaction": part.idle_in_transaction, "other": rest,
    }  # fmt: skip
    for state, number in states.items():
        told.gauge("pgops_sessions", "Client connections of the server.", number, state=state)
    told.gauge("pgops_sessions_max", "How many there may be.", part.max)
    told.gauge(
        "pgops_sessions_oldest_transaction_seconds", "Age of the oldest transaction; 0: there is none.",
        part.oldest_transaction_s or 0.0,
    )  # fmt: skip
    told.gauge(
        "pgops_sessions_oldest_idle_in_transaction_seconds",
        "How long the longest has sat idle in a transaction; 0: none does.", part.oldest_idle_in_transaction_s or 0.0,
    )  # fmt: skip


def locks(told: Families, part: tuple[LockBackend, ...]) -> None:
    waiting = [one for one in part if one.blocked_by]
    longest_s = max((one.waited_s or 0.0 for one in waiting), default=0.0)
    told.gauge("pgops_locks_waiting_backends", "Backends that wait for a lock.", len(waiting))
    told.gauge("pgops_locks_longest_wait_seconds", "How long the longest of them has waited.", longest_s)


def queues(told: Families, part: tuple[Queue, ...]) -> None:
    for one in part:
        states = {
            "available": one.available, "waiting": one.waiting, "scheduled": one.scheduled, "running": one.running,
            "dead": one.dead,
        }  # fmt: skip
        for state, number in states.items():
            help = "Jobs; the waiting ones stand behind the head of their group."
            told.gauge("pgops_queue_jobs", help, number, queue=one.name, state=state)
        told.gauge("pgops_queue_stuck_jobs", "Jobs that do not move, capped.", one.stuck, queue=one.name)
        told.gauge("pgops_queue_paused", "Whether nothing is claimed from it.", one.paused, queue=one.name)
        told.gauge(
            "pgops_queue_oldest_age_seconds", "How long the first ready job has been ready; 0: there is none.",
            one.oldest_age_s or 0.0, queue=one.name,
        )  # fmt: skip
        told.total("pgops_queue_jobs_enqueued", "Jobs enqueued.", one.enqueued_total, queue=one.name)
        told.total("pgops_queue_jobs_completed", "Jobs completed.", one.completed_total, queue=one.name)
        told.total("pgops_queue_jobs_failed", "Attempts that failed.", one.failed_total, queue=one.name)


def workers(told: Families, part: tuple[Worker, ...]) -> None:
    for one in part:
        names = {"worker": str(one.id), "host": one.host}
        told.gauge("pgops_worker_alive", "Whether its heartbeat is young.", one.alive, **names)
        told.gauge("pgops_worker_heartbeat_age_seconds", "Since it was heard of.", one.heartbeat_age_s, **names)
        told.gauge("pgops_worker_slots", "Jobs that it would run at a time.", one.concurrency, **names)
        told.gauge("pgops_worker_slots_used", "Jobs that it runs.", one.running, **names)


def outbox(told: Families, part: tuple[OutboxSubscription, ...]) -> None:
    for one in part:
        names = {"subscription": one.name}
        told.gauge("pgops_outbox_lag_events", "Events that are not delivered, capped.", one.lag_events, **names)
        told.gauge("pgops_outbox_lag_seconds", "Age of the oldest event that is not delivered.", one.lag_s, **names)
        told.gauge("pgops_outbox_parked_events", "Events put aside, capped.", one.parked, **names)
        told.gauge("pgops_outbox_held_keys", "Keys that are held back by hand.", one.held_keys, **names)
        told.gauge("pgops_outbox_paused", "Whether nothing is delivered by hand.", one.paused, **names)
        told.gauge("pgops_outbox_relays", "Relays that live.", one.relays, **names)
        told.total("pgops_outbox_relayed_events", "Events delivered.", one.relayed_total, **names)


def pubsub(told: Families, part: PubsubPart) -> None:
    told.gauge("pgops_pubsub_listeners", "Sessions that are seen to listen.", part.listeners)
    told.gauge("pgops_pubsub_channels", "Channels that they listen to.", part.channels)
    told.gauge("pgops_pubsub_notify_queue_ratio", "How full PostgreSQL's notification queue is.", part.queue_usage)
    told.gauge("pgops_pubsub_payloads", "Payloads sent by reference that are kept, capped.", part.payloads)
    told.gauge("pgops_pubsub_payload_bytes", "What they take.", part.payload_bytes)


def pgmq(told: Families, part: tuple[PgmqQueue, ...]) -> None:
    for one in part:
        states = {
            "available": one.available, "scheduled": one.scheduled, "running": one.running, "dead": one.dead
        }  # fmt: skip
        for state, number in states.items():
            told.gauge("pgops_pgmq_messages", "Messages of pgmq.", number, queue=one.name, state=state)
        told.gauge(
            "pgops_pgmq_ready_age_seconds", "How long the first available message has been.", one.ready_age_s,
            queue=one.name,
        )  # fmt: skip
        told.gauge("pgops_pgmq_bytes", "The size of the queue's table.", one.bytes, queue=one.name)
        told.gauge("pgops_pgmq_archive_bytes", "The size of its archive.", one.archive_bytes, queue=one.name)
        told.total("pgops_pgmq_messages_sent", "Messages ever sent.", one.total, queue=one.name)


def outgrow(told: Families, part: OutgrowPart) -> None:
    for one in part.lines:
        at = None if one.crosses_at is None else one.crosses_at.timestamp()
        told.gauge("pgops_outgrow_share_ratio", "Today's load, of what one PostgreSQL does.", one.share, line=one.name)
        told.gauge("pgops_outgrow_crosses_timestamp_seconds", "When it will be too much.", at, line=one.name)


METERS: dict[str, Meter] = {
    "server": server, "sessions": sessions, "locks": locks, "queues": queues, "workers": workers, "outbox": outbox,
    "pubsub": pubsub, "pgmq": pgmq, "outgrow": outgrow,
    **meters_stores.METERS, **meters_server.METERS,
}  # fmt: skip
