"""What an event and a subscription may be, and how rows become batches: pure.

Floor 2, under the event services.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

from pgops.database import Row
from pgops.errors import SchemaError, UsageError
from pgops.services.arguments import copy_text, encode_json, error_text
from pgops.services.models import Batch, Event, NewEvent, PartCursor, Rejected, Subscription

Start = Literal["now", "beginning"] | datetime
Poison = Literal["park", "skip"]
_COPY_CHUNK = 1_000


def check_home(same_cluster: bool, same_database: bool) -> None:
    """Raises SchemaError where the log's transaction ids are those of another cluster or database."""
    if not (same_cluster and same_database):
        what = "database" if same_cluster else "cluster"
        raise SchemaError(
            f"the event log belongs to another {what}: this one was restored or copied, and transaction ids of the old "
            "one mean nothing here",
            "nothing was skipped; pgops outbox rebase makes it this one's, and relays go on where they were",
        )


def check_start(start: Start) -> None:
    """A moment without a time zone would be anybody's guess."""
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise UsageError("a moment needs its time zone", "for example datetime.now(UTC) - timedelta(hours=2)")
    elif start not in ("now", "beginning"):
        raise UsageError(f"start is now, beginning or a moment, not {start!r}", "leave it out for now")


def check_event_id(given: UUID | str) -> UUID:
    try:
        return given if isinstance(given, UUID) else UUID(given)
    except ValueError as error:
        raise UsageError(
            f"{given!r} is no event's id", "it is a UUID, as in the envelope; see: pgops outbox events"
        ) from error


def check_names(what: str, names: Sequence[str] | None) -> list[str] | None:
    """Sorted, each once; None: all."""
    if names is None:
        return None
    if isinstance(names, str) or not names:
        raise UsageError(f"an empty list of {what}s takes nothing", f"leave it out for all {what}s, or give a list")
    return sorted({check_name(what, name) for name in names})


def check_key(key: str) -> str:
    if len(key.encode()) > 1000 or "\0" in key:
        raise UsageError("an event's key has up to 1,000 bytes and no NUL", "use the aggregate's id")
    return key


def check_name(what: str, text: str) -> str:
    if not text or len(text.encode()) > 200 or "\0" in text:
        raise UsageError(f"a {what}'s name has 1 to 200 bytes and no NUL", "use a short name such as orders")
    return text


def checked(event: NewEvent) -> dict[str, object]:
    key = event.key
    if key is not None:
        check_key(key)
    if event.headers is not None and not isinstance(event.headers, dict):
        raise UsageError("headers are a dict", 'for example {"traceparent": "…"}')
    return {
        "topic": check_name("topic", event.topic),
        "key": key,
        "type": check_name("type", event.type),
        "payload": encode_json(event.payload),
        "headers": encode_json(event.headers or {}),
    }


def copy_chunks(events: Iterable[NewEvent], made: list[UUID]) -> Iterator[bytes]:
    """Lines of COPY's text format, some hundred at a time; the ids go to `made`."""
    lines: list[str] = []
    for event in events:
        made.append(uuid4())
        fields = checked(event).values()
        lines.append("\t".join([str(made[-1]), *("\\N" if f is None else copy_text(str(f)) for f in fields)]) + "\n")
        if len(lines) >= _COPY_CHUNK:
            yield "".join(lines).encode()
            lines.clear()
    yield "".join(lines).encode()


def differing(found: Subscription, wanted: Mapping[str, object]) -> str:
    """What stands otherwise than asked for, in words; empty where nothing does."""
    said = []
    for name in ("topics", "types", "sink", "poison", "attempts"):
        value, given = getattr(found, name), wanted[name]
        if value != (tuple(given) if isinstance(given, list) else given):
            shown = "all" if value is None else ", ".join(value) if isinstance(value, tuple) else repr(value)
            said.append(f"{name} {shown}")
    return "; ".join(said)


def subscription_of(row: Row) -> Subscription:
    name, topics, types, sink, poison, attempts, paused, created_at, relayed, advanced_at, *counts, owners = row
    parked, held_keys, replaying = counts
    return Subscription(
        name, None if topics is None else tuple(topics), None if types is None else tuple(types), sink, poison,
        attempts, paused, created_at, relayed, advanced_at, parked, held_keys, replaying, tuple(owners or ()),
    )  # fmt: skip


def rejected_row(one: Rejected) -> dict[str, object]:
    event = one.event
    return {"part": event.part, "id": event.id, "attempts": one.attempts, "error": error_text(one.error)}


def batch_of(subscription: str, token: int, limit: int, rows: Sequence[Row]) -> Batch:
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
            by_part[part].append(Event(part, *row[7:15], *row[16:]))
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
