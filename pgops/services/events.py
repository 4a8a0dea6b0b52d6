"""The event log: append in the caller's transaction, read by subscription without losing or waiting.

    event_log.py       what producers do
    event_cursors.py   what relays do: lease, fetch, deliver, advance
    event_upkeep.py    how long events are kept; rebase after a restore
    here               subscriptions: made, steered, set back in time, their lag, their parked events

Order holds within a key, delivery is at least once, and only the living token moves a cursor. See
schema/0003_events.sql for the snapshot cursor, runtime/relay.py for the loop around fetch and advance.
"""

from collections.abc import Sequence
from datetime import datetime

from pgops.database import AsyncDatabase
from pgops.errors import UsageError
from pgops.queries import load
from pgops.services.event_cursors import PARTS, AsyncEventCursors
from pgops.services.event_log import AsyncEventLog
from pgops.services.event_rules import (
    Poison,
    Start,
    check_home,
    check_key,
    check_name,
    check_names,
    check_start,
    differing,
    subscription_of,
)
from pgops.services.event_upkeep import AsyncEventUpkeep
from pgops.services.models import Counted, Event, Lag, ParkedEvent, ParkedKey, PartState, Subscription

__all__ = ["PARTS", "AsyncEvents"]

Q = load("pgops.services", "events.sql")

LAG_CAP = 10_000


class AsyncEvents(AsyncEventLog, AsyncEventCursors, AsyncEventUpkeep):
    """The log over one database object: the pool's, or the caller's transaction (`pg.bind(conn).events`)."""

    def __init__(self, db: AsyncDatabase) -> None:
        self._db = db

    async def subscribe(
        self,
        name: str,
        *,
        topics: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        start: Start = "now",
        sink: str = "",
        poison: Poison = "park",
        attempts: int = 5,
    ) -> Subscription:
        """Make the subscription, or find it as it is. It takes the events of `topics` and of `types` (None: all).
        `start`: "now" skips what is committed already, "beginning" nothing, a moment what was made before it.

        An event that its sink refuses `attempts` times is put aside: with `poison` "park" the later events of its key
        wait behind it, with "skip" they go on.

        Raises UsageError for a bad argument, or where the name exists with other settings; SchemaError where the log
        belongs to another database.
        """
        check_start(start)
        if poison not in ("park", "skip") or not 1 <= attempts <= 1_000:
            raise UsageError("poison is park or skip, and attempts are 1 to 1,000", "leave them out for park and 5")
        values = {
            "name": check_name("subscription", name), "topics": check_names("topic", topics),
            "types": check_names("type", types), "sink": sink, "poison": poison, "attempts": attempts,
        }  # fmt: skip
        since = start if isinstance(start, datetime) else None
        await self._db.execute(Q["settle"])
        check_home(*await self.home())
        await self._db.execute(Q["subscribe"], values | {"beginning": start == "beginning", "since": since})
        found = await self.subscription(name)
        if other := differing(found, values):
            raise UsageError(
                f"subscription {name} exists with other settings: {other}",
                "use these, or another name; unsubscribing drops its cursor",
            )
        return found

    async def unsubscribe(self, name: str) -> None:
        """Drop the subscription, its cursor and its parked events. Raises NotFoundError."""
        await self._change("unsubscribe", name)

    async def subscriptions(self) -> list[Subscription]:
        """All subscriptions by name."""
        return [subscription_of(row) for row in await self._db.all(Q["list_subscriptions"], {"name": None})]

    async def subscription(self, name: str) -> Subscription:
        """One subscription. Raises NotFoundError with near names."""
        row = await self._db.one(Q["list_subscriptions"], {"name": name})
        if row is None:
            raise await self._unknown(name)
        return subscription_of(row)

    async def parts(self, name: str) -> list[PartState]:
        """Where each of its 64 parts stands, and who holds it. Raises NotFoundError."""
        rows = await self._db.all(Q["list_parts"], {"name": name})
        if not rows:
            raise await self._unknown(name)
        return [PartState(*row) for row in rows]

    async def pause(self, name: str) -> None:
        """Stop delivering; events wait in the log. Raises NotFoundError."""
        await self._change("pause_subscription", name, paused=True)

    async def resume(self, name: str) -> None:
        """Deliver again. Raises NotFoundError."""
        await self._change("pause_subscription", name, paused=False)

    async def replay(self, name: str, since: datetime) -> None:
        """Set the cursor back to before the events made since then, which are delivered again, flagged as `replayed`.
        What was never delivered still is. Relays lose their leases and take the parts anew. Raises NotFoundError."""
        check_start(since)
        await self._change("replay", name, since=since)

    async def count_since(self, name: str, since: datetime, cap: int) -> Counted:
        """How many events of the log a replay would deliver again, counted up to `cap`."""
        row = await self._db.one(Q["count_since"], {"name": name, "since": since, "cap": cap})
        assert row is not None
        return Counted(min(row[0], cap), row[0] <= cap)

    async def lag(self, name: str) -> Lag:
        """What is still to deliver; looks at 10,000 new events at most. Raises NotFoundError."""
        row = await self._db.one(Q["lag"], {"name": name, "cap": LAG_CAP})
        if row is None or row[2] is None:
            raise await self._unknown(name)
        return Lag(min(row[0], LAG_CAP), row[1], exact=not row[2])

    async def parked(self, name: str, limit: int = 100) -> list[ParkedEvent]:
        """Events that the sink would not take, and those that wait behind them, by part and id."""
        rows = await self._db.all(Q["list_parked"], {"subscription": name, "limit": limit})
        return [ParkedEvent(Event(*row[:9]), *row[9:]) for row in rows]

    async def retry_parked(self, name: str, *, key: str | None = None) -> int:
        """Have the relay try parked events again, of one key or all; how many failed ones. Those behind them follow."""
        return await self._db.execute(Q["retry_parked"], {"subscription": name, "key": key})

    async def discard_parked(self, name: str, ids: Sequence[int]) -> int:
        """Drop parked events for good; how many. What waited behind them goes on."""
        return await self._db.execute(Q["discard_parked"], {"subscription": name, "ids": list(ids)})

    async def park_key(self, name: str, key: str, reason: str = "") -> bool:
        """Hold a key back by hand: its events are parked as they come, until `unpark_key`. Whether it was not held
        already. Raises NotFoundError."""
        await self.subscription(name)
        values = {"subscription": name, "key": check_key(key), "reason": reason}
        return bool(await self._db.execute(Q["park_key"], values))

    async def unpark_key(self, name: str, key: str) -> bool:
        """Let a key go that was held by hand; whether it was. Its events follow in their order, also those that were
        parked meanwhile."""
        return bool(await self._db.execute(Q["unpark_key"], {"subscription": name, "key": check_key(key)}))

    async def parked_keys(self, name: str) -> list[ParkedKey]:
        """The keys that are held by hand."""
        return [ParkedKey(*row) for row in await self._db.all(Q["list_parked_keys"], {"subscription": name})]

    async def _change(self, statement: str, name: str, **values: object) -> None:
        if not await self._db.execute(Q[statement], {"name": name, **values}):
            raise await self._unknown(name)
