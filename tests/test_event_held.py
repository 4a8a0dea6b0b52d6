"""What must not touch a relay: a writing transaction that stays open, and a crash of the server under it.

PGOPS_HELD_S=60 pytest tests/test_event_held.py -n 0      with the transaction open for a minute
"""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from test_relay import Memory, by_key, running, until

from pgops import migrate
from pgops.database import AsyncBound, AsyncPool
from pgops.server import Server
from pgops.services.events import AsyncEvents
from pgops.services.models import Event, NewEvent

HELD_S = float(os.environ.get("PGOPS_HELD_S", "2"))
PACE_S = 0.02


class Clock:
    """A sink that notes how long each event was under way; its payload is when it was made."""

    def __init__(self) -> None:
        self.took: list[float] = []

    async def deliver(self, events: Sequence[Event]) -> None:
        self.took += [time.perf_counter() - float(str(event.payload)) for event in events]

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.slow
@pytest.mark.timeout(60 + 3 * HELD_S)
async def test_a_held_writing_transaction_leaves_the_latency_as_it_is(db: AsyncPool, dsn: str) -> None:
    """Medians of one run: some seconds without it, and the last of the seconds with it."""
    events, sink = AsyncEvents(db), Clock()
    await events.subscribe("s")
    made = 0

    async def flow(seconds: float) -> float:
        nonlocal made
        del sink.took[:]
        until_s = time.perf_counter() + seconds
        while time.perf_counter() < until_s:
            await events.append("t", time.perf_counter(), key=f"k{made % 50}")
            made += 1
            await asyncio.sleep(PACE_S)
        await asyncio.sleep(0.2)
        return median(sink.took)

    async with running(db, sink), await psycopg.AsyncConnection.connect(dsn) as held:
        await flow(0.3)
        free_s = await flow(2.0)
        await AsyncEvents(AsyncBound(held, foreign=True)).append("t", time.perf_counter(), key="held")
        if HELD_S > 4:
            await flow(HELD_S - 2)
        held_s = await flow(2.0)
        assert (await events.lag("s")).events == 0
        before = len(sink.took)
        await held.commit()
        await until(lambda: len(sink.took) > before)
    assert (await events.subscription("s")).relayed == made + 1
    assert held_s < 3 * free_s + 0.005, (free_s, held_s)


@pytest.mark.slow
async def test_a_crash_of_the_server_while_events_are_relayed_changes_nothing(tmp_path: Path) -> None:
    """The relay keeps what it has delivered and not yet saved: nothing is lost, doubled or out of order."""
    server = Server(tmp_path / "server", settings={"fsync": "off"}, linger=10)
    try:
        with server.use() as url:
            dsn = make_conninfo(url, dbname="postgres")
            async with AsyncPool.open(dsn) as db:
                await migrate.apply(db)
                events, sink = AsyncEvents(db), Slow()
                await events.subscribe("s")
                await events.append_many(NewEvent("t", n, key=f"k{n % 7}") for n in range(200))
                async with running(db, sink, batch=3):
                    await until(lambda: len(sink.got) > 40)
                    pid = server.status().pid
                    assert pid is not None
                    os.kill(pid, signal.SIGQUIT)
                    await until(lambda: server.status().pid != pid)
                    before = len(sink.got)
                    await asyncio.to_thread(server.start)
                    await until(lambda: len(sink.got) > before, seconds=15)
                    async with await psycopg.AsyncConnection.connect(dsn) as conn:
                        later = (NewEvent("t", n, key=f"k{n % 7}") for n in range(200, 210))
                        await AsyncEvents(AsyncBound(conn, foreign=True)).append_many(later)
                    await until(lambda: len(sink.got) >= 210, seconds=15)
                    await asyncio.sleep(0.1)
                assert 40 < before < 200, "or nothing was under way"
                assert (await events.subscription("s")).relayed >= 210
    finally:
        server.destroy(force=True)
    assert by_key(sink.got) == {f"k{k}": list(range(k, 210, 7)) for k in range(7)}


class Slow(Memory):
    """Takes a while for each batch."""

    async def deliver(self, events: Sequence[Event]) -> None:
        await asyncio.sleep(0.005 * len(events))
        await super().deliver(events)
