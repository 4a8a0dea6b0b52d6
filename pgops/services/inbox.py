"""The consumer's inbox: an event is acted on once, in the consumer's own transaction.

    with conn.transaction():
        if pg.bind(conn).inbox.first("billing", event_id):
            ...                                  # the effect commits together with the mark

Floor 2. Delivery is at least once; the mark and the effect are one transaction, so the effect is exactly once for as
long as marks are kept (see `events.set_retention`).
"""

from uuid import UUID

from pgops.database import AsyncDatabase
from pgops.queries import load
from pgops.services.event_rules import check_event_id, check_name

Q = load("pgops.services", "inbox.sql")


class AsyncInbox:
    """Which events a consumer has acted on."""

    def __init__(self, db: AsyncDatabase) -> None:
        self._db = db

    async def first(self, consumer: str, event_id: UUID | str) -> bool:
        """Whether `consumer` sees the event for the first time; marked with the caller's commit. Who asks for the same
        one at the same time waits for that. Raises UsageError for an event_id that is no UUID."""
        values = {"consumer": check_name("consumer", consumer), "event_id": check_event_id(event_id)}
        return bool(await self._db.execute(Q["mark"], values))

    async def forget(self, consumer: str) -> int:
        """Drop all marks of a consumer that is no more; how many."""
        return await self._db.execute(Q["forget"], {"consumer": consumer})
