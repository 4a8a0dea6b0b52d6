"""The values that go into the services and come out of them: frozen, slotted, without behaviour.

Times are aware datetimes of the database's clock, durations seconds, sizes bytes.
"""

from pgops.services.models.cache import CacheNamespace, CacheStats, Counted, Purged
from pgops.services.models.documents import (
    Document,
    DocumentCollection,
    DocumentCount,
    DocumentIndex,
    DocumentPage,
    IndexKind,
    IndexType,
    NewDocument,
    Operator,
    Path,
    Where,
)
from pgops.services.models.events import (
    Advanced,
    Batch,
    Event,
    Lag,
    Leased,
    NewEvent,
    ParkedEvent,
    PartCursor,
    Rejected,
    Subscription,
)
from pgops.services.models.jsonvalue import JsonValue
from pgops.services.models.kv import KvEntry, KvPage
from pgops.services.models.limits import Algorithm, Decision
from pgops.services.models.pubsub import Channel, Message, Missed
from pgops.services.models.queue import (
    Claim,
    Failed,
    FailedJob,
    Job,
    JobRow,
    JobState,
    Mark,
    QueueSettings,
    Reaped,
    WorkerState,
)
from pgops.services.models.vectors import Collection, Match, Metric, RebuildResult, Recall, VectorIndex, VectorRow

__all__ = [
    "Advanced",
    "Algorithm",
    "Batch",
    "CacheNamespace",
    "CacheStats",
    "Channel",
    "Claim",
    "Collection",
    "Counted",
    "Decision",
    "Document",
    "DocumentCollection",
    "DocumentCount",
    "DocumentIndex",
    "DocumentPage",
    "Event",
    "Failed",
    "FailedJob",
    "IndexKind",
    "IndexType",
    "Job",
    "JobRow",
    "JobState",
    "JsonValue",
    "KvEntry",
    "KvPage",
    "Lag",
    "Leased",
    "Mark",
    "Match",
    "Message",
    "Metric",
    "Missed",
    "NewDocument",
    "NewEvent",
    "Operator",
    "ParkedEvent",
    "PartCursor",
    "Path",
    "Purged",
    "QueueSettings",
    "Reaped",
    "RebuildResult",
    "Recall",
    "Rejected",
    "Subscription",
    "VectorIndex",
    "VectorRow",
    "Where",
    "WorkerState",
]
