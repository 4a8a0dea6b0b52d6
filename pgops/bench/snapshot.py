"""What looking costs, a look a second: at a database with many jobs, events and cache entries in it, the same while a
worker drains, and under a forgotten transaction.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from os import urandom
from pathlib import Path
from statistics import median
from time import perf_counter

from pgops.bench.contract import Note, Params, Scenario
from pgops.bench.measure import held_xmin, payload, quantile, seconds_of
from pgops.bench.site import Q
from pgops.database import AsyncPool
from pgops.ops.collector import Collector
from pgops.ops.observe.snapshot import Snapshot
from pgops.services.client import AsyncPgops
from pgops.services.models import NewEvent

QUEUE = "bench"
SHARE = 10
PAGE = 5_000
LOOKS_AT_LEAST = 10
WARM_UP = 12  # until every statement is prepared and its plan kept


async def run(dsn: str, params: Params, note: Note) -> None:
    async with AsyncPgops.open(dsn) as pg:
        note.doing("fill")
        await fill(pg, params.jobs, payload_bytes=params.payload_bytes)
        await pg.db.execute(Q["vacuum"])
        note.doing("look")
        await _look(dsn, params, note, "observation")
        note.doing("look with every part anew")
        await _look(dsn, params, note, "fresh_observation", fresh=True)
        note.doing("look while a worker drains")
        async with _draining(dsn):
            await _look(dsn, params, note, "draining_observation")
        note.doing("look under a held xmin")
        async with held_xmin(dsn), _draining(dsn):
            await _look(dsn, params, note, "held_observation")


async def fill(pg: AsyncPgops, jobs: int, *, payload_bytes: int) -> None:
    """So many jobs, and a tenth as many events and cache entries."""
    body, value = payload(payload_bytes), urandom(payload_bytes)
    await pg.queue.enqueue_many(QUEUE, (body for _ in range(jobs)), kind="nothing")
    await pg.events.subscribe("all")
    await pg.events.append_many(NewEvent("bench", body, str(number)) for number in range(jobs // SHARE))
    for start in range(0, jobs // SHARE, PAGE):
        numbers = range(start, min(start + PAGE, jobs // SHARE))
        await pg.cache.set_many({f"key:{number}": value for number in numbers}, ttl_s=3_600.0)


async def _look(dsn: str, params: Params, note: Note, name: str, *, fresh: bool = False) -> None:
    """Look for `seconds`, once a second or ten times in all, as one process that goes on looking and has warmed up.
    Server time is the wall's without round trips; the processor's time is that of the session's backend."""
    async with AsyncPool.open(dsn, application_name="pgops bench", max_size=1) as db:
        trip_ms = median([await seconds_of(db.one(Q["nothing"])) * 1000 for _ in range(50)])
        row = await db.one(Q["own_pid"])
        pid = None if row is None else row[0]
        collector = Collector(db)
        for _ in range(WARM_UP):
            await collector.collect(fresh=True)
        every_s = min(1.0, params.seconds / LOOKS_AT_LEAST)
        before_s, began, seen = _cpu_s(pid), perf_counter(), list[Snapshot]()
        while perf_counter() - began < params.seconds or len(seen) < 3:
            await asyncio.sleep(max(began + len(seen) * every_s - perf_counter(), 0))
            seen.append(await collector.collect(fresh=fresh))
        after_s, took_s = _cpu_s(pid), max(perf_counter() - began, len(seen) * every_s)
    server_ms = [max(one.cost.duration_ms - one.cost.statements * trip_ms, 0.0) for one in seen]
    wall_ms = [one.cost.duration_ms for one in seen]
    note.figure(f"{name}_server_p50_ms", quantile(server_ms, 50))
    note.figure(f"{name}_server_p95_ms", quantile(server_ms, 95))
    note.figure(f"{name}_wall_p50_ms", quantile(wall_ms, 50))
    note.figure(f"{name}_wall_p95_ms", quantile(wall_ms, 95))
    note.figure(f"{name}_statements", median([one.cost.statements for one in seen]))
    if before_s is not None and after_s is not None:
        note.figure(f"{name}_cpu_ms_per_s", (after_s - before_s) * 1000 / took_s)


def _cpu_s(pid: int | None) -> float | None:
    """How long a backend of this machine has had a processor; None of another machine's."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return None


@asynccontextmanager
async def _draining(dsn: str) -> AsyncIterator[None]:
    """A worker in a process of its own beside the block."""
    command = (sys.executable, "-m", "pgops", "queue", "work", "pgops.bench.idle_jobs:registry", "-q", QUEUE)
    worker = await asyncio.create_subprocess_exec(
        *command, env=os.environ | {"PGOPS_DSN": dsn}, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        if worker.returncode is None:
            worker.terminate()
        await worker.wait()


SCENARIO = Scenario(
    "snapshot",
    "a look a second at everything: quiet, with every part anew, while a worker drains, and under a held xmin",
    Params(jobs=500_000, batch=0, payload_bytes=64, concurrency=1, runs=1, seconds=15.0),
    5,
    run,
)
