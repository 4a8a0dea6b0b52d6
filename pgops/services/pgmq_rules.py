"""pgmq's names and versions, the statements of one of its queues, and how its numbers are told. Below the service;
nothing here does I/O.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from psycopg import sql

from pgops.database import Row
from pgops.errors import ConflictError, NotFoundError, PgopsError, RefusedError, UsageError
from pgops.queries import load
from pgops.services.arguments import check_queue
from pgops.services.models import PgmqQueue

Q = load("pgops.services", "pgmq.sql")

MAX_NAME_BYTES = 47
MAX_LIMIT = 10_000
MAX_VT_S = 100 * 365 * 86_400.0
INT8 = range(-(2**63), 2**63)
INT4 = range(-(2**31), 2**31)
DEAD = "_dlq"
INSTALL = "create extension pgmq; or use a queue of pgops: pgops queue enqueue"
GRANTS = (
    "grant usage on schema pgmq to {role}; grant select on all tables in schema pgmq to {role}; "
    "grant select on all sequences in schema pgmq to {role}"
)
WRITES = (
    "grant usage, create on schema pgmq to {role}; "
    "grant select, insert, update, delete on all tables in schema pgmq to {role}"
)
_KEPT = ("msg_id", "vt", "read_ct", "enqueued_at", "message")


@dataclass(frozen=True, slots=True)
class Table:
    """A queue as the catalog has it: where its messages and its archive are, and which columns there are."""

    name: str
    queue: str
    archive: str | None
    partitioned: bool
    unlogged: bool
    headers: bool
    last_read: bool

    def statement(self, name: str) -> bytes:
        """A statement of pgmq.sql for this queue and the one that takes its dead letters. It is run with parameters,
        also where it has none: a % in a name is doubled for that."""
        kept = (*_KEPT, *(["headers"] if self.headers else []), *(["last_read_at"] if self.last_read else []))
        filled = sql.SQL(Q[name].decode()).format(
            queue=identifier(self.queue),
            archive=identifier(self.archive or self.queue),
            dead=identifier(self.queue + DEAD),
            headers=sql.Identifier("headers") if self.headers else sql.NULL,
            touch=sql.SQL(", last_read_at = clock_timestamp()" if self.last_read else ""),
            kept=sql.SQL(", ").join(map(sql.Identifier, kept)),
        )
        return filled.as_bytes(None)


def identifier(table: str) -> sql.Identifier:
    """A table of pgmq in a statement that is run with parameters."""
    return sql.Identifier("pgmq", table.replace("%", "%%"))


def measure(row: Row, cap: int) -> tuple[bytes, dict[str, object]] | None:
    """The statement that counts a queue of list_queues to a cap, and its values; None where it is not to be counted."""
    _, table, partitioned, _, _, readable, oid, archive_oid, *_ = row
    if partitioned or not readable:
        return None
    statement = sql.SQL(Q["measure"].decode()).format(queue=identifier(table)).as_bytes(None)
    return statement, {"cap": cap, "oid": oid, "archive_oid": archive_oid}


def check_new(queue: str) -> str:
    """A name that pgmq takes: at most 47 bytes, and without $ ; ' and --."""
    size = len(check_queue(queue).encode())
    if size > MAX_NAME_BYTES:
        raise UsageError(f"a name in pgmq has at most {MAX_NAME_BYTES} bytes, not {size}", "use a shorter one")
    for refused in ("$", ";", "'", "--"):
        if refused in queue:
            raise UsageError(f"pgmq refuses {refused} in a name: {queue!r}", "use letters, digits and _")
    return queue


def check_limit(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise UsageError(f"a limit is 1 to {MAX_LIMIT:,} messages, not {limit!r}", "leave it out for the default")
    return limit


def check_most(limit: int | None) -> int | None:
    """How many messages to move at most; None is all."""
    if limit is not None and limit < 1:
        raise UsageError(f"a limit is 1 message or more, not {limit!r}", "leave it out for all")
    return limit


def check_vt(vt_s: float) -> float:
    if not 0 <= vt_s <= MAX_VT_S:
        raise UsageError(
            f"a visibility timeout is 0 seconds to 100 years, not {vt_s!r}", "30 hides it from others for 30 seconds"
        )
    return float(vt_s)


def check_reads(reads: int) -> int:
    if reads not in range(1_000_001):
        raise UsageError(f"the number of reads is 0 to 1,000,000, not {reads!r}", "5 takes what was read 6 times")
    return reads


def check_held(msg_id: int, read_ct: int) -> dict[str, object]:
    """A reader's claim. Raises UsageError for numbers that no message can have."""
    if msg_id not in INT8 or read_ct not in INT4:
        raise UsageError(f"no message has the id {msg_id} and was read {read_ct} times", "name both as read told them")
    return {"msg_id": msg_id, "read_ct": read_ct}


def dead_name(queue: str) -> str:
    """Where the dead letters of a queue stand. Raises RefusedError for a queue that is such a place itself."""
    if queue.lower().endswith(DEAD):
        raise RefusedError(
            f"pgmq queue {queue!r} holds dead letters itself", f"name {queue[: -len(DEAD)]!r}, or archive its messages"
        )
    if len((queue + DEAD).encode()) > MAX_NAME_BYTES:
        raise RefusedError(
            f"the name {queue!r} is too long for a queue {DEAD} beside it",
            f"of {MAX_NAME_BYTES} bytes {len(DEAD)} are for that",
        )
    return queue + DEAD


def lacking(error: PgopsError, role: str) -> PgopsError:
    """The same error, with what pgmq's owner would grant where a privilege is what lacks."""
    if not str(error).startswith("permission denied for"):
        return error
    return RefusedError(str(error), WRITES.format(role=role))


def unknown(queue: str, names: Collection[str]) -> NotFoundError:
    near = get_close_matches(queue, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "see: pgops queue pgmq list"
    return NotFoundError(f"pgmq has no queue {queue[:60]!r}", hint)


def not_held(table: Table, msg_id: int, read_ct: int, found: int | None) -> PgopsError:
    """Why nothing was changed: somebody else reads the message by now, or has ended it."""
    if found is None:
        return NotFoundError(
            f"pgmq queue {table.name!r} has no message {msg_id}",
            "it was acknowledged, archived or moved to the dead letters; nothing was changed",
        )
    if found <= read_ct:
        said = "is being read again just now" if found == read_ct else f"was read {found} times, not {read_ct}"
    else:
        said = f"was read again: {found} times by now, not {read_ct}"
    return ConflictError(
        f"message {msg_id} of {table.name!r} {said}; nothing was changed",
        "the visibility timeout ran out and it belongs to another reader: read with a longer one, or extend it",
    )


def queue_of(row: Row, measured: Row | None, cap: int) -> PgmqQueue:
    """A row of list_queues, with that of measure where there is one."""
    name, _, partitioned, unlogged, created_at, _, _, _, live, planned, total = row
    plain = PgmqQueue(
        name=name, length=live or planned, available=None, scheduled=None, running=None, dead=0, newest_age_s=None,
        oldest_age_s=None, ready_age_s=None, total=total, bytes=None, archive_bytes=None, created_at=created_at,
        unlogged=unlogged, partitioned=partitioned, exact={"length": False},
    )  # fmt: skip
    if measured is None:
        return plain
    messages, available, scheduled, running, delayed, held, *ages, size, archive_size = measured
    newest_s, oldest_s, ready_s = (None if age_s is None else max(age_s, 0.0) for age_s in ages)
    found = replace(
        plain, newest_age_s=newest_s, oldest_age_s=oldest_s, ready_age_s=ready_s, bytes=size, archive_bytes=archive_size
    )
    if messages <= cap:
        return replace(found, length=messages, available=available, scheduled=scheduled, running=running, exact={})
    length = max(messages, live if live > cap else planned)
    rough = ("length", "available", *(("scheduled", "running") if delayed + held > cap else ()))
    return replace(
        found, length=length, available=max(length - delayed - held, 0), scheduled=delayed, running=held,
        exact=dict.fromkeys(rough, False),
    )  # fmt: skip


def with_dead(queues: Sequence[PgmqQueue]) -> tuple[PgmqQueue, ...]:
    """The same, each with the length of its queue of dead letters."""
    known = {one.name.lower(): one for one in queues}
    return tuple(_with_dead(one, known.get(one.name.lower() + DEAD)) for one in queues)


def _with_dead(one: PgmqQueue, dead: PgmqQueue | None) -> PgmqQueue:
    if dead is None:
        return one
    rough = {} if dead.exact.get("length", True) else {"dead": False}
    return replace(one, dead=dead.length, exact={**one.exact, **rough})
