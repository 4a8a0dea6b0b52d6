"""Three sessions that wait for one another: an idle transaction holds a row, a second wants it and holds a table
that a third wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

Connection = psycopg.AsyncConnection[Any]


@dataclass(frozen=True, slots=True)
class Chain:
    """`last` waits for `middle`, `middle` for `root`."""

    root: int
    middle: int
    last: int

    @property
    def pids(self) -> tuple[int, int, int]:
        return self.root, self.middle, self.last


@asynccontextmanager
async def waiting(dsn: str, *, lets_go: bool = False) -> AsyncIterator[Chain]:
    """The chain stands while the block runs; one that `lets_go` commits what it does once it no longer has to wait, so
    that it dissolves when its root ends."""
    async with AsyncExitStack() as stack:
        root, middle, last, eye = [await _connect(stack, dsn, name) for name in ("root", "middle", "last", "eye")]
        await eye.execute("create table chained as select 1 as id")
        await eye.execute("create table held ()")
        await eye.commit()
        await eye.set_autocommit(True)
        await root.execute("update chained set id = 2")
        first, second = "update chained set id = 3", "lock table held in access exclusive mode"
        if lets_go:
            await middle.set_autocommit(True)
            await last.set_autocommit(True)
            first, second = f"do $$ begin {second}; {first}; end $$", f"do $$ begin {second}; end $$"
        else:
            await middle.execute("lock table held")
        tasks = []
        for conn, statement in ((middle, first), (last, second)):
            tasks.append(asyncio.create_task(_run(conn, statement)))
            await _blocked(eye, conn.info.backend_pid)
        try:
            yield Chain(root.info.backend_pid, middle.info.backend_pid, last.info.backend_pid)
        finally:
            for conn in (root, middle, last):
                await eye.execute("select pg_terminate_backend(%s)", [conn.info.backend_pid])
            await asyncio.gather(*tasks, return_exceptions=True)


async def _connect(stack: AsyncExitStack, dsn: str, name: str) -> Connection:
    conn: Connection = await psycopg.AsyncConnection.connect(make_conninfo(dsn, application_name=f"chain {name}"))
    stack.push_async_callback(conn.close)
    return conn


async def _run(conn: Connection, statement: str) -> None:
    await conn.execute(statement)


async def _blocked(eye: Connection, pid: int) -> None:
    for _ in range(500):
        cursor = await eye.execute(
            "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
            " and cardinality(pg_blocking_pids(pid)) > 0",
            [pid],
        )
        if await cursor.fetchone() is not None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{pid} does not wait")
