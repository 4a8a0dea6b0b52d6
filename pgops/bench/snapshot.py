"""What looking costs: one observation of a database with many jobs, events and cache entries in it."""

from os import urandom
from statistics import median
from time import perf_counter

from pgops.bench.contract import Note, Params, Scenario
from pgops.bench.measure import payload, quantile, seconds_of
from pgops.bench.site import Q
from pgops.ops.collector import Collector
from pgops.ops.snapshot import Snapshot
from pgops.services.client import AsyncPgops
from pgops.services.models import NewEvent

SHARE = 10
PAGE = 5_000


async def run(dsn: str, params: Params, note: Note) -> None:
    async with AsyncPgops.open(dsn) as pg:
        note.doing("fill")
        await _fill(pg, params)
        await pg.db.execute(Q["vacuum"])
        trip_ms = median([await seconds_of(pg.db.one(Q["nothing"])) * 1000 for _ in range(50)])
        note.doing("observe")
        usual = await _observe(pg, params, fresh=False)
        note.doing("observe with every part anew")
        fresh = await _observe(pg, params, fresh=True)
    for name, seen in (("observation", usual), ("fresh_observation", fresh)):
        server_ms = [max(one.cost.duration_ms - one.cost.statements * trip_ms, 0.0) for one in seen]
        wall_ms = [one.cost.duration_ms for one in seen]
        note.figure(f"{name}_server_p50_ms", quantile(server_ms, 50))
        note.figure(f"{name}_server_p95_ms", quantile(server_ms, 95))
        note.figure(f"{name}_wall_p50_ms", quantile(wall_ms, 50))
        note.figure(f"{name}_wall_p95_ms", quantile(wall_ms, 95))
        note.figure(f"{name}_statements", median([one.cost.statements for one in seen]))


async def _fill(pg: AsyncPgops, params: Params) -> None:
    """So many jobs, and a tenth as many events and cache entries."""
    body, value = payload(params.payload_bytes), urandom(params.payload_bytes)
    await pg.queue.enqueue_many("bench", (body for _ in range(params.jobs)))
    await pg.events.subscribe("all")
    await pg.events.append_many(NewEvent("bench", body, str(number)) for number in range(params.jobs // SHARE))
    for start in range(0, params.jobs // SHARE, PAGE):
        numbers = range(start, min(start + PAGE, params.jobs // SHARE))
        await pg.cache.set_many({f"key:{number}": value for number in numbers}, ttl_s=3_600.0)


async def _observe(pg: AsyncPgops, params: Params, *, fresh: bool) -> list[Snapshot]:
    """One after the other for `seconds`, as one process that goes on looking; the first two are its beginning."""
    collector = Collector(pg.db)
    seen = [await collector.collect(), await collector.collect()]
    began = perf_counter()
    while perf_counter() - began < params.seconds or len(seen) < 3:
        seen.append(await collector.collect(fresh=fresh))
    return seen[2:]


SCENARIO = Scenario(
    "snapshot",
    "one observation of everything: time on the server and in all, usual and with every part anew",
    Params(jobs=500_000, batch=0, payload_bytes=64, concurrency=1, runs=3, seconds=3.0),
    3,
    run,
)
