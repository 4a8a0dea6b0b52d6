"""Where the cause of a finding is looked at: the room, the list in it, and what the cursor goes to. Pure.

The rule: every code that a finding may have stands here, by itself or by its subsystem.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pgops.ops.observe.snapshot import Finding


@dataclass(frozen=True, slots=True)
class Cause:
    """A room, and the list in it that tells; "" for all of the room. `finds`: the finding's target is in that list."""

    room: str
    ledger: str = ""
    finds: bool = True


_QUEUE = Cause("queues", "queues")
_SESSION = Cause("connections", "sessions")
_SUBSCRIPTION = Cause("outbox", "outbox-subscriptions")
_INDEX = Cause("vectors", "indexes")
_TABLE = Cause("server", "tables")
_TROUBLE = Cause("server", "troubles")
_HOLDER = Cause("server", "holders")
_SERVER = Cause("server", finds=False)

# By code, else by what stands before the point.
CAUSES: Mapping[str, Cause] = {
    "queue": _QUEUE,
    "worker": Cause("queues", "workers"),
    "locks": Cause("connections", "blocking"),
    "sessions": _SESSION,
    "outbox": _SUBSCRIPTION,
    "pubsub": Cause("outbox", finds=False),
    "pubsub.held": _SESSION,
    "pubsub.queue": _SESSION,
    "pubsub.idle_listener": _SESSION,
    "cache": Cause("stores", "namespaces", finds=False),
    "limits": Cause("stores", finds=False),
    "kv": Cause("stores", finds=False),
    "vector": _INDEX,
    "outgrow": Cause("outgrow", "outgrow"),
    "vacuum.held": _HOLDER,
    "vacuum.due": _TABLE,
    "wal": _SERVER,
    "replication": _SERVER,
    "slots": _HOLDER,
    "tables": _TABLE,
    "wraparound": Cause("server", "tables", finds=False),
    "sequences": _SERVER,
    "indexes": _TROUBLE,
    "server": _SERVER,
}


def cause_of(code: str) -> Cause:
    """Where a finding of this code is looked at."""
    return CAUSES.get(code) or CAUSES.get(code.partition(".")[0]) or Cause("overview", finds=False)


def sought(finding: Finding) -> str | None:
    """What the cursor goes to there; None where nothing in that list is meant."""
    if finding.code.startswith("outgrow."):
        return finding.code.partition(".")[2]
    return finding.target or None if cause_of(finding.code).finds else None
