"""Queues of pgmq in the same database: send, read, acknowledge, archive, dead-letter.

At least once: a message that was read is hidden until its visibility timeout is over, then the next reader gets it with
a higher `read_ct`. Whoever ends, keeps or extends a message names the `read_ct` he got, and is told when it is
another's by now. Nothing of pgops' own schema is needed. What pgmq does not know (priorities, unique keys, pauses,
cancels, back-off) is not made up here. Partitioned queues are only looked at.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice

from pgops.database import Row
from pgops.errors import ConflictError, NotFoundError, UnavailableError
from pgops.services.arguments import check_delay, encode_json, error_text
from pgops.services.models import Counted, JsonValue, PgmqMessage, PgmqQueue, read_json
from pgops.services.pgmq_rules import (
    Q,
    Table,
    check_held,
    check_limit,
    check_most,
    check_new,
    check_reads,
    check_vt,
    dead_name,
    measure,
    not_held,
    queue_of,
    unknown,
    with_dead,
)
from pgops.services.pgmq_tables import AsyncPgmqTables

COUNT_CAP = 10_000
PURGE_BATCH = 10_000
SEND_BATCH = 1_000
CUT = '"(too large to show here: pgops queue pgmq peek has all of it)"'


class AsyncPgmq(AsyncPgmqTables):
    """pgmq's queues over one database object: the pool's, or the caller's transaction (`pg.bind(conn).pgmq`). Every
    method raises UnavailableError where there is no pgmq, RefusedError without the privilege or for a partitioned queue
    that it would change, and NotFoundError, with near names, for one that pgmq does not have."""

    # --- queues --------------------------------------------------------------------------------------------------

    async def create(self, queue: str, *, unlogged: bool = False) -> bool:
        """Make a queue; False where it is there already. An `unlogged` one is faster, and empty after a crash. Raises
        UsageError for a name that pgmq refuses, ConflictError where it is there as another kind or another spelling."""
        check_new(queue)
        there = await self._find(queue)
        if there is None:
            await self._run(Q["create_unlogged_queue" if unlogged else "create_queue"], {"queue": queue})
        elif there.name != queue:
            raise ConflictError(f"to pgmq {queue!r} is the same queue as {there.name!r}", f"use {there.name}")
        elif there.unlogged != unlogged:
            kind = "unlogged" if there.unlogged else "logged"
            raise ConflictError(f"pgmq queue {queue!r} is there already, and {kind}", "use it, or another name")
        return there is None

    async def queues(self, *, cap: int = COUNT_CAP) -> list[PgmqQueue]:
        """Every queue in numbers; what is more than `cap` is estimated, and marked so."""
        await self._require_pgmq()
        return await self._measured(None, cap)

    async def metrics(self, queue: str, *, cap: int = COUNT_CAP) -> PgmqQueue:
        """One queue in the same numbers."""
        name = (await self._table(queue)).name
        for one in await self._measured(name, cap):
            if one.name == name:
                return one
        raise unknown(queue, [])

    async def count(self, queue: str, *, more_than: int | None = None, cap: int = COUNT_CAP) -> Counted:
        """How many messages there are; or those that were read `more_than` times and are out with nobody."""
        row = await self._one(await self._table(queue), "count", _which(more_than) | {"cap": cap})
        return Counted(min(row[0], cap), row[0] <= cap)

    async def peek(
        self, queue: str, *, limit: int = 10, more_than: int | None = None, cut_bytes: int | None = None
    ) -> list[PgmqMessage]:
        """The first of the same, without reading them: nothing changes. A payload of more than `cut_bytes` comes as a
        text that says so, and so do headers."""
        values = _which(more_than) | {"limit": check_limit(limit), "cut_bytes": cut_bytes, "cut": CUT}
        table = await self._table(queue)
        return _messages(table, await self._all(table, "peek", values))

    # --- messages ------------------------------------------------------------------------------------------------

    async def send(
        self,
        queue: str,
        payload: JsonValue,
        *,
        delay_s: float | None = None,
        headers: Mapping[str, JsonValue] | None = None,
    ) -> int:
        """Add a message, which nobody sees before `delay_s`; its id. Raises UsageError for a payload that is no JSON or
        over 1 MB, UnavailableError for headers before pgmq 1.5."""
        values: dict[str, object] = {"message": encode_json(payload), "delay_s": check_delay(delay_s)}
        table = await self._writable(queue)
        if headers is None:
            return int((await self._one(table, "send", values))[0])
        _require_headers(table)
        values["message_headers"] = encode_json(dict(headers))
        return int((await self._one(table, "send_with_headers", values))[0])

    async def send_many(self, queue: str, payloads: Iterable[JsonValue], *, delay_s: float | None = None) -> list[int]:
        """Add many messages, all or none; their ids, in the same order. Raises UsageError as `send` does."""
        wait_s, texts, ids = check_delay(delay_s), iter([encode_json(payload) for payload in payloads]), list[int]()
        statement = self._statement(await self._writable(queue), "send_many")
        async with self._db.transaction() as tx:
            while batch := list(islice(texts, SEND_BATCH)):
                ids += [row[0] for row in await tx.all(statement, {"messages": batch, "delay_s": wait_s})]
        return ids

    async def read(self, queue: str, *, limit: int = 1, vt_s: float = 30.0) -> list[PgmqMessage]:
        """Up to `limit` messages in the order of their ids, hidden from others for `vt_s` seconds. Raises UsageError
        for a limit that is not 1 to 10,000 and a timeout below 0."""
        values = {"limit": check_limit(limit), "vt_s": check_vt(vt_s)}
        table = await self._writable(queue)
        return _messages(table, await self._all(table, "read", values))

    async def ack(self, queue: str, msg_id: int, read_ct: int) -> None:
        """Delete a message that was read and is done. Raises ConflictError where it was read again meanwhile, and
        NotFoundError where it is gone: nothing is changed then."""
        await self._end(queue, "ack", msg_id, read_ct)

    async def ack_many(self, queue: str, held: Iterable[tuple[int, int]]) -> list[int]:
        """Delete what is given as (msg_id, read_ct); the ids that were deleted. One that is missing was read again, or
        is gone."""
        return await self._end_many(queue, "ack_many", held)

    async def archive(self, queue: str, msg_id: int, read_ct: int) -> None:
        """Move a message that was read to the queue's archive, with errors as `ack` has them."""
        await self._end(queue, "archive", msg_id, read_ct)

    async def archive_many(self, queue: str, held: Iterable[tuple[int, int]]) -> list[int]:
        """Move what is given as (msg_id, read_ct) to the archive; the ids that were moved, as `ack_many` tells them."""
        return await self._end_many(queue, "archive_many", held)

    async def extend(self, queue: str, msg_id: int, read_ct: int, vt_s: float) -> datetime:
        """Keep a message that was read hidden for `vt_s` seconds from now, or with 0 give it back; until when. Errors
        as `ack` has them."""
        until: datetime = (await self._end(queue, "extend", msg_id, read_ct, vt_s=check_vt(vt_s)))[2]
        return until

    # --- dead letters --------------------------------------------------------------------------------------------

    async def dead_letter(self, queue: str, msg_id: int, read_ct: int, *, reason: str = "given up") -> int:
        """Move a message that was read to the queue `<name>_dlq`, which is made if needed; its id there. Its headers
        tell where it comes from, how often it was read and why it is there, under "dead_letter". Errors as `ack` has
        them; UnavailableError before pgmq 1.5, which has no headers."""
        held = check_held(msg_id, read_ct)
        table = await self._writable(queue)
        async with self._db.transaction() as tx:
            within = AsyncPgmq(tx)
            row = await within._bury(table, "bury", held | {"queue": table.name, "reason": error_text(reason)})
            if not row[0]:
                raise not_held(table, msg_id, read_ct, row[1])
        return int(row[2])

    async def dead_letter_worn(
        self, queue: str, *, more_than: int = 5, limit: int | None = None, reason: str | None = None
    ) -> int:
        """Move what was read more than `more_than` times and is out with nobody to the dead letters, in one
        transaction; how many they were. Otherwise as `dead_letter`."""
        said = f"read more than {check_reads(more_than)} times" if reason is None else reason
        values = {"reads": more_than, "limit": check_most(limit), "reason": error_text(said)}
        if not (await self.count(queue, more_than=more_than, cap=1)).count:
            return 0
        table = await self._writable(queue)
        async with self._db.transaction() as tx:
            row = await AsyncPgmq(tx)._bury(table, "bury_worn", values | {"queue": table.name})
        return int(row[0])

    async def redrive(self, queue: str, *, limit: int | None = None) -> int:
        """Move the dead letters of a queue back into it, where they start over as new messages; how many they were.
        Raises NotFoundError where it never had any."""
        values = {"limit": check_most(limit)}
        table = await self._writable(queue)
        await self._writable(await self.dead_queue(queue))
        return int((await self._one(table, "redrive", values))[0])

    async def dead_queue(self, queue: str) -> str:
        """The name of the queue with the dead letters of this one. Raises NotFoundError where it never had any."""
        table = await self._table(queue)
        found = await self._find(dead_name(table.name))
        if found is None:
            raise NotFoundError(f"pgmq queue {table.name!r} has no dead letters", "none of its messages died yet")
        return found.name

    # --- operators -----------------------------------------------------------------------------------------------

    async def purge(self, queue: str, *, tell: Callable[[int], object] | None = None) -> int:
        """Delete all messages that are there now, also those that somebody reads, but none that a transaction holds
        just now; how many they were. In slices, each a transaction of its own; `tell` is told what each did."""
        table = await self._writable(queue)
        upto: int = (await self._one(table, "newest", {}))[0]
        after: int | None = 0
        gone = 0
        while after is not None:
            values = {"after": after, "upto": upto, "limit": PURGE_BATCH}
            number, after = await self._one(table, "purge", values)
            gone += number
            if tell is not None:
                tell(number)
        return gone

    async def _measured(self, queue: str | None, cap: int) -> list[PgmqQueue]:
        found = []
        for row in await self._db.all(Q["list_queues"], {"queue": queue}):
            look = measure(row, cap)
            found.append(queue_of(row, await self._db.one(*look) if look else None, cap))
        return list(with_dead(found))

    async def _end(self, queue: str, name: str, msg_id: int, read_ct: int, **values: object) -> Row:
        held = check_held(msg_id, read_ct)
        table = await self._writable(queue)
        row = await self._one(table, name, held | values)
        if not row[0]:
            raise not_held(table, msg_id, read_ct, row[1])
        return row

    async def _end_many(self, queue: str, name: str, held: Iterable[tuple[int, int]]) -> list[int]:
        claims = [check_held(msg_id, read_ct) for msg_id, read_ct in held]
        values = {"ids": [one["msg_id"] for one in claims], "read_cts": [one["read_ct"] for one in claims]}
        return sorted(row[0] for row in await self._all(await self._writable(queue), name, values))

    async def _bury(self, table: Table, name: str, values: Mapping[str, object]) -> Row:
        _require_headers(table)
        dead = dead_name(table.name)
        if await self._find(dead) is None:
            await self.create(dead)
        await self._writable(dead)
        return await self._one(table, name, values)


def _which(more_than: int | None) -> dict[str, object]:
    return {"everything": more_than is None, "reads": 0 if more_than is None else check_reads(more_than)}


def _require_headers(table: Table) -> None:
    if not table.headers:
        raise UnavailableError(
            f"pgmq queue {table.name!r} has no headers: they came with pgmq 1.5", "alter extension pgmq update"
        )


def _messages(table: Table, rows: Sequence[Row]) -> list[PgmqMessage]:
    return [
        PgmqMessage(table.name, id, read_ct, at, vt, read_json(payload), read_json(headers))
        for id, read_ct, at, vt, payload, headers in rows
    ]
