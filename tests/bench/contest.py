"""What is asked of a queue under test, and the transactions that somebody leaves open meanwhile.

The rule: a contestant gets a database of its own, adds jobs by its own client and runs them in its own worker, with
what its manual offers and nothing beyond; how it does that is said in `enqueues`, `drains` and `waits`. How it is timed
stands in peers.py and is the same for all.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import perf_counter
from typing import Any

import psycopg
from psycopg import sql

from pgops.bench.measure import held_xmin

PAYLOAD = {"user_id": 123, "action": "send_email"}
CONCURRENCY = 10
QUEUE = "bench"

TABLES = """
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast'
"""


def now() -> float:
    """Seconds on a clock that all processes of this machine share."""
    return perf_counter()


class Contestant:
    """A queue under test; `done` is how many jobs its handler has seen. `share`: it gets one of so many of the jobs. No
    `waits`: its latency is not measured. Where it is not `on_postgresql`, no transaction can hold it back."""

    enqueues = drains = waits = ""
    share = 1
    loop: Callable[[], Any] | None = None
    on_postgresql = True

    def __init__(self) -> None:
        self.done = 0
        self.waited_ms: list[float] = []

    @asynccontextmanager
    async def site(self, dsn: str) -> AsyncIterator[str]:
        """Its tables, or a server of its own; where `connect` finds them."""
        yield dsn

    def connect(self, address: str) -> AbstractAsyncContextManager[None]:
        """Its client; the process that sends has one of its own."""
        raise NotImplementedError

    async def enqueue(self, count: int) -> None:
        """Add so many jobs."""
        raise NotImplementedError

    async def drain(self) -> None:
        """Work until `stop`, or until nothing is left."""
        raise NotImplementedError

    async def send(self, count: int) -> None:
        """Add so many jobs at once, each with `sent`."""
        raise NotImplementedError

    async def serve(self) -> None:
        """Work until `stop` on what is sent, as soon as it comes, and tell `met`."""
        raise NotImplementedError

    def stop(self) -> None:
        """Let `drain` or `serve` end soon."""
        raise NotImplementedError

    def met(self, sent_at: float) -> None:
        """A job's handler has begun."""
        self.done += 1
        self.waited_ms.append((now() - sent_at) * 1000)


def sent() -> dict[str, float]:
    """The payload of a job that says when it was sent."""
    return {"at": now()}


@asynccontextmanager
async def working(entrant: Contestant, work: Coroutine[Any, Any, None]) -> AsyncIterator["asyncio.Task[None]"]:
    """Its `drain` or `serve` beside the block, told to stop when the block ends. Raises what has ended it."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        if not task.done():
            entrant.stop()
        await task


@asynccontextmanager
async def idle_reader(dsn: str, isolation: psycopg.IsolationLevel) -> AsyncIterator[None]:
    """A transaction that has read a row of every table and is idle since, as long as the block lasts."""
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        await conn.set_isolation_level(isolation)
        tables = await (await conn.execute(TABLES)).fetchall()
        for schema, name in tables:
            await conn.execute(sql.SQL("select from {} limit 1").format(sql.Identifier(schema, name)))
        try:
            yield
        finally:
            await conn.rollback()


@asynccontextmanager
async def nobody(dsn: str) -> AsyncIterator[None]:
    """No transaction but the queue's own."""
    yield


# Who leaves a transaction open. A forgotten writer has a transaction id and a snapshot: vacuum takes nothing, and
# whoever waits for older transactions to end waits for it. An idle reader under repeatable read has a snapshot, so
# vacuum takes nothing either, and a lock on all it has read, but no transaction id. Under read committed it has the
# locks alone, which matters only to who truncates, drops or rotates tables.
HOLDERS: dict[str, Callable[[str], AbstractAsyncContextManager[None]]] = {
    "nobody": nobody,
    "writer": held_xmin,
    "reader": lambda dsn: idle_reader(dsn, psycopg.IsolationLevel.REPEATABLE_READ),
    "locks": lambda dsn: idle_reader(dsn, psycopg.IsolationLevel.READ_COMMITTED),
}
