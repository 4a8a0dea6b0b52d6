"""What producers do: append, in the caller's transaction; and a look at the log.

Floor 2, under events.py.
"""

from collections.abc import Iterable
from uuid import UUID, uuid4

from pgops.database import AsyncDatabase
from pgops.errors import NotFoundError
from pgops.queries import load
from pgops.services.event_rules import check_event_id, check_key, checked, copy_chunks
from pgops.services.models import Event, JsonValue, NewEvent

Q = load("pgops.services", "event_log.sql")


class AsyncEventLog:
    """The log itself."""

    _db: AsyncDatabase

    async def append(
        self,
        topic: str,
        payload: JsonValue,
        *,
        key: str | None = None,
        type: str = "event",
        headers: dict[str, JsonValue] | None = None,
    ) -> UUID:
        """Add one event and return its event_id. Two events of a `key` are delivered in their order if the caller
        serialises that key's writers, for instance by updating its row first. In a pipeline it waits for nothing.

        Raises UsageError for a bad topic, key, type or headers, or a payload that is no JSON or over 1 MB.
        """
        event_id = uuid4()
        event = checked(NewEvent(topic, payload, key, type, headers))
        await self._db.execute(Q["append"], event | {"event_id": event_id})
        return event_id

    async def append_many(self, events: Iterable[NewEvent]) -> list[UUID]:
        """Add many events by COPY, all or none; their event_ids. Raises UsageError as `append` does."""
        made: list[UUID] = []
        async with self._db.transaction() as tx:
            await tx.copy_text(Q["copy_events"], copy_chunks(events, made))
        return made

    async def events(
        self, *, topic: str | None = None, key: str | None = None, type: str | None = None, limit: int = 100
    ) -> list[Event]:
        """The newest events, those of the newest transaction first; of a `key`, in the reverse of its order."""
        values = {"topic": topic, "type": type, "limit": limit}
        if key is None:
            rows = await self._db.all(Q["newest_events"], values)
        else:
            rows = await self._db.all(Q["newest_of_key"], values | {"key": check_key(key)})
        return [Event(*row) for row in rows]

    async def event(self, event_id: UUID | str) -> Event:
        """One event by its name, which stands in no index: a look through the whole log. Raises NotFoundError, and
        UsageError for what is no UUID."""
        row = await self._db.one(Q["find_event"], {"event_id": check_event_id(event_id)})
        if row is None:
            raise NotFoundError(f"there is no event {event_id} in the log", "was it too old, and is gone by retention?")
        return Event(*row)
