"""The event log: append in the caller's transaction, read by subscription without losing or waiting.

Producers append; a relay leases parts of a subscription, fetches a batch, delivers it and advances. Order holds
within a key, delivery is at least once, and only the living token moves a cursor. See schema/0003_events.sql for
the snapshot cursor, runtime/relay.py for the loop around fetch and advance.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Literal
from uuid import UUID, uuid4

from pgops.database import AsyncDatabase, Row
from pgops.errors import NotFoundError, SchemaError, UsageError
from pgops.queries import load
from pgops.services.arguments import copy_text, encode_json, error_text
from pgops.services.models import (
    Advanced,
    Batch,
    Event,
    JsonValue,
    Lag,
    Leased,
    NewEvent,
    ParkedEvent,
    PartCursor,
    Rejected,
    Subscription,
)

Q = load("pgops.services", "events.sql")

PARTS = 64
LAG_CAP = 10_000
_COPY_CHUNK = 1_000


class AsyncEvents:
    """The log over one database object: the pool's, or the caller's transaction (`pg.bind(conn).events`)."""

    def __init__(self, db: AsyncDatabase) -> None:
        self._db = db

    # --- producers ---------------------------------------------------------------------------------------------

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
        serialises that key's writers, for instance by updating its row first.

        Raises UsageError for a bad topic, key, type or headers, or a payload that is no JSON or over 1 MB.
        """
        event = _checked(NewEvent(topic, payload, key, type, headers))
        row = await self._db.one(Q["append"], event)
        assert row is not None
        event_id: UUID = row[0]
        return event_id

    async def append_many(self, events: Iterable[NewEvent]) -> list[UUID]:
        """Add many events by COPY, all or none; their event_ids. Raises UsageError as `append` does."""
        made: list[UUID] = []
        async with self._db.transaction() as tx:
            await tx.copy_text(Q["copy_events"], _copy_chunks(events, made))
        return made

    # --- subscriptions -----------------------------------------------------------------------------------------

    async def subscribe(
        self,
        name: str,
        *,
        topics: Sequence[str] | None = None,
        start: Literal["now", "beginning"] = "now",
        sink: str = "",
    ) -> Subscription:
        """Make the subscription, or find it as it is. `topics` None takes all; `start` "now" skips what is committed
        already. Raises UsageError for a bad argument, or where the name exists with other topics or another sink."""
        if start not in ("now", "beginning"):
            raise UsageError(f"start is now or beginning, not {start!r}", "leave it out for now")
        wanted = None if topics is None else sorted({_name("topic", topic) for topic in topics})
        if wanted == []:
            raise UsageError("an empty list of topics takes nothing", "leave it out for all topics")
        values = {
            "name": _name("subscription", name),
            "topics": wanted,
            "sink": sink,
            "beginning": start == "beginning",
        }
        await self._db.execute(Q["subscribe"], values)
        found = await self.subscription(name)
        if (found.topics, found.sink) != (wanted if wanted is None else tuple(wanted), sink):
            raise UsageError(
                f"subscription {name} exists with other settings: topics {_shown(found.topics)}, sink {found.sink!r}",
                "use these, or another name; unsubscribing drops its cursor",
            )
        return found

    async def unsubscribe(self, name: str) -> None:
        """Drop the subscription, its cursor and its parked events. Raises NotFoundError."""
        if not await self._db.execute(Q["unsubscribe"], {"name": name}):
            raise await self._unknown(name)

    async def subscriptions(self) -> list[Subscription]:
        """All subscriptions by name."""
        return [_subscription(row) for row in await self._db.all(Q["list_subscriptions"], {"name": None})]

    async def subscription(self, name: str) -> Subscription:
        """One subscription. Raises NotFoundError with near names."""
        row = await self._db.one(Q["list_subscriptions"], {"name": name})
        if row is None:
            raise await self._unknown(name)
        return _subscription(row)

    async def pause(self, name: str) -> None:
        """Stop delivering; events wait in the log. Raises NotFoundError."""
        if not await self._db.execute(Q["pause_subscription"], {"name": name, "paused": True}):
            raise await self._unknown(name)

    async def resume(self, name: str) -> None:
        """Deliver again. Raises NotFoundError."""
        if not await self._db.execute(Q["pause_subscription"], {"name": name, "paused": False}):
            raise await self._unknown(name)

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

    # --- relays ------------------------------------------------------------------------------------------------

    async def lease_parts(
        self, subscription: str, *, owner: str, token: int, lease_s: float, max_parts: int = PARTS
    ) -> Leased:
        """Take and keep a fair share of the parts, at most `max_parts`, for `lease_s` seconds; call it again well
        before they have passed. `token` is a random 63-bit number, new for each run of a relay.

        Raises NotFoundError, and SchemaError where the database is not the one that the cursor belongs to.
        """
        row = await self._db.one(Q["check_identity"], {"name": subscription})
        if row is None:
            raise await self._unknown(subscription)
        if not (row[0] and row[1]):
            what = "database" if row[0] else "cluster"
            raise SchemaError(
                f"subscription {subscription} belongs to another {what}: this one was restored or copied, and "
                "transaction ids of the old one mean nothing here",
                "nothing was skipped; drop the subscription and subscribe anew, from now or from the beginning",
            )
        values = {
            "subscription": subscription, "owner": owner, "token": token, "lease_s": lease_s, "max_parts": max_parts,
        }  # fmt: skip
        await self._db.execute(Q["beat"], values)
        rows = sorted(await self._db.all(Q["lease_parts"], values))
        return Leased(tuple(part for part, keep in rows if keep), tuple(part for part, keep in rows if not keep))

    async def renew(self, subscription: str, *, token: int, lease_s: float) -> int:
        """Extend the leases that are still the token's, and take none; how many they are."""
        values = {"subscription": subscription, "token": token, "lease_s": lease_s}
        return len(await self._db.all(Q["renew_leases"], values))

    async def release(self, subscription: str, *, owner: str, token: int) -> int:
        """Hand all parts back; how many they were."""
        values = {"subscription": subscription, "owner": owner, "token": token}
        return await self._db.execute(Q["release_parts"], values)

    async def fetch(self, subscription: str, token: int, limit: int = 100) -> Batch:
        """The next page of every part that the token leases, at most `limit` events of each; one statement. A
        paused subscription gives none. Nothing moves until `advance`."""
        values = {"subscription": subscription, "token": token, "limit": limit}
        return _batch(subscription, token, limit, await self._db.all(Q["fetch"], values))

    async def advance(self, batch: Batch, *, rejected: Sequence[Rejected] = (), idle: bool = False) -> Advanced:
        """Move the cursors past `batch`, all of which is delivered except `rejected`, which is parked in the same
        transaction. With `idle` also the cursors of parts that had nothing new, so that they stay young."""
        moving = [c for c in batch.cursors if idle or c.fresh_from is not None or c.late_from is not None]
        if not moving:
            return Advanced((), ())
        kept_back: dict[int, int] = {}
        for one in rejected:
            kept_back[one.event.part] = kept_back.get(one.event.part, 0) + 1
        cursors = json.dumps([asdict(c) | {"relayed": c.events - kept_back.get(c.part, 0)} for c in moving])
        values = {
            "subscription": batch.subscription, "token": batch.token, "target": batch.target, "cursors": cursors,
        }  # fmt: skip
        if not rejected:
            rows = await self._db.all(Q["advance"], values)
        else:
            async with self._db.transaction() as tx:
                rows = await tx.all(Q["advance"], values)
                moved = {row[0] for row in rows}
                parked = [_rejected(one) for one in rejected if one.event.part in moved]
                await tx.execute(Q["park"], {"subscription": batch.subscription, "rejected": json.dumps(parked)})
        parts = sorted(row[0] for row in rows)
        return Advanced(tuple(parts), tuple(sorted({c.part for c in moving} - set(parts))))

    async def fetch_parked(self, subscription: str, token: int, limit: int = 1_000) -> Batch:
        """Parked events to try again in the parts that the token leases, in order. They have no cursor: `settle`."""
        values = {"subscription": subscription, "token": token, "limit": limit}
        rows = await self._db.all(Q["fetch_parked"], values)
        return Batch(subscription, token, None, (), tuple(Event(*row) for row in rows), frozenset())

    async def settle(self, batch: Batch, delivered: Sequence[int], rejected: Sequence[Rejected]) -> None:
        """Forget the parked events that are delivered now, and keep those that failed again."""
        values: dict[str, object] = {"subscription": batch.subscription, "token": batch.token}
        async with self._db.transaction() as tx:
            await tx.execute(Q["unpark"], values | {"ids": list(delivered)})
            if rejected:
                again = json.dumps([_rejected(one) for one in rejected])
                await tx.execute(Q["park_again"], values | {"rejected": again})

    async def _unknown(self, name: str) -> NotFoundError:
        near = get_close_matches(name, [known.name for known in await self.subscriptions()])
        hint = f"did you mean {' or '.join(near)}?" if near else "make it with subscribe"
        return NotFoundError(f"there is no subscription {name}", hint)


def _name(what: str, text: str) -> str:
    if not text or len(text.encode()) > 200 or "\0" in text:
        raise UsageError(f"a {what}'s name has 1 to 200 bytes and no NUL", "use a short name such as orders")
    return text


def _checked(event: NewEvent) -> dict[str, object]:
    key = event.key
    if key is not None and (len(key.encode()) > 1000 or "\0" in key):
        raise UsageError("an event's key has up to 1,000 bytes and no NUL", "use the aggregate's id")
    if event.headers is not None and not isinstance(event.headers, dict):
        raise UsageError("headers are a dict", 'for example {"traceparent": "…"}')
    return {
        "topic": _name("topic", event.topic),
        "key": key,
        "type": _name("type", event.type),
        "payload": encode_json(event.payload),
        "headers": encode_json(event.headers or {}),
    }


def _copy_chunks(events: Iterable[NewEvent], made: list[UUID]) -> Iterator[bytes]:
    """Lines of COPY's text format, some hundred at a time; the ids go to `made`."""
    lines: list[str] = []
    for event in events:
        made.append(uuid4())
        fields = _checked(event).values()
        lines.append("\t".join([str(made[-1]), *("\\N" if f is None else copy_text(str(f)) for f in fields)]) + "\n")
        if len(lines) >= _COPY_CHUNK:
            yield "".join(lines).encode()
            lines.clear()
    yield "".join(lines).encode()


def _subscription(row: Row) -> Subscription:
    name, topics, sink, paused, created_at, relayed, advanced_at, parked, owners = row
    filter_ = None if topics is None else tuple(topics)
    return Subscription(name, filter_, sink, paused, created_at, relayed, advanced_at, parked, tuple(owners or ()))


def _shown(topics: tuple[str, ...] | None) -> str:
    return "all" if topics is None else ", ".join(topics)


def _rejected(one: Rejected) -> dict[str, object]:
    event = one.event
    return {"part": event.part, "id": event.id, "attempts": one.attempts, "error": error_text(one.error)}


def _batch(subscription: str, token: int, limit: int, rows: Sequence[Row]) -> Batch:
    """Rows come by part and id; a part without events is one row without an id. All parts that open a window now
    share one target, and those that have one open keep theirs."""
    target: str | None = None
    heads: dict[int, Row] = {}
    by_part: dict[int, list[Event]] = {}
    waiting = set()
    for row in rows:
        part, part_target, is_open = row[:3]
        if part not in heads:
            heads[part] = row
            by_part[part] = []
            if not is_open:
                target = part_target
        if row[7] is not None:
            by_part[part].append(Event(part, *row[7:15]))
            if row[15]:
                waiting.add(row[7])
    cursors = tuple(_cursor(head, by_part[part], limit) for part, head in heads.items())
    events = tuple(event for part in by_part for event in by_part[part])
    return Batch(subscription, token, target, cursors, events, frozenset(waiting))


def _cursor(head: Row, events: Sequence[Event], limit: int) -> PartCursor:
    part, _, is_open, fresh_from, fresh_to, late_from, late_to = head[:7]
    after_id = events[-1].id if events else 0
    through = len(events) < limit
    return PartCursor(part, is_open, through, after_id, fresh_from, fresh_to, late_from, late_to, len(events))
