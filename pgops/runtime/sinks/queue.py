"""queue:NAME: each event becomes a job of that queue, in the same database, once.

    queue:email?kind=send&group=0

The job's payload is the CloudEvents document, its kind the event's type unless `kind` says otherwise. Jobs of one key
run one after the other (`group=0`: all at once). An event's id is its job's unique key, held for a week whatever
becomes of the job: an event that the relay hands over again makes no second job, unless the subscription was set back
and it is meant to.
"""

from collections.abc import Sequence

from pgops.database import AsyncDatabase
from pgops.errors import UsageError
from pgops.runtime.sinks.address import local
from pgops.runtime.sinks.cloudevents import cloudevent, context
from pgops.runtime.sinks.contract import DeliveryError
from pgops.services.arguments import MAX_PAYLOAD_BYTES, Encoded, check_kind, check_queue
from pgops.services.models import Event, KeyState, NewJob
from pgops.services.queue import AsyncQueue

EXAMPLE = "queue:email?kind=send"
ONCE_FOR_S = 7 * 86_400.0
ALWAYS: tuple[KeyState, ...] = ("available", "scheduled", "running", "dead", "completed")


class QueueSink:
    """Enqueues over `db`, which is the relay's own."""

    def __init__(self, name: str, db: AsyncDatabase) -> None:
        self._name, options = local(name, EXAMPLE, ("kind", "group"))
        check_queue(self._name)
        self._kind = options.get("kind")
        if self._kind is not None:
            check_kind(self._kind)
        if options.get("group", "1") not in ("0", "1"):
            raise UsageError(f"group of {name} is 0 or 1", f"for example {EXAMPLE}&group=0")
        self._grouped = options.get("group") != "0"
        self._queue = AsyncQueue(db)

    async def deliver(self, events: Sequence[Event]) -> None:
        jobs = [self._job(event) for event in events]
        if large := {
            event.id: f"its document has more than {MAX_PAYLOAD_BYTES:,} bytes, the most a job may have"
            for event, job in zip(events, jobs, strict=True)
            if len(str(job.payload)) > MAX_PAYLOAD_BYTES
        }:
            raise DeliveryError("too large for a job", poison=large)
        await self._queue.enqueue_jobs(self._name, jobs, unique_states=ALWAYS, unique_for_s=ONCE_FOR_S)

    async def close(self) -> None:
        """The database is the relay's."""

    def _job(self, event: Event) -> NewJob:
        about = context(event)
        return NewJob(
            Encoded(cloudevent(event)),
            kind=self._kind or event.type,
            headers={"traceparent": about["traceparent"]} if "traceparent" in about else None,
            group_key=event.key if self._grouped else None,
            unique_key=None if event.replayed else str(event.event_id),
        )
