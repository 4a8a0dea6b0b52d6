"""The cache: one after the other and many at once, unlogged against logged, and what the service adds to the driver."""

from collections.abc import Awaitable, Callable
from itertools import count
from os import urandom

import psycopg

from pgops.bench.contract import Note, Params, Scenario
from pgops.bench.measure import interleaved, rate
from pgops.bench.site import Q
from pgops.services.cache import Q as CACHE
from pgops.services.cache_rules import DEFAULT_NAMESPACE
from pgops.services.client import AsyncPgops

TTL_S = 3_600.0


async def run(dsn: str, params: Params, note: Note) -> None:
    value = urandom(params.payload_bytes)
    keys = [f"key:{number}" for number in range(params.jobs)]
    size = params.batch or params.jobs
    batches = [keys[start : start + size] for start in range(0, params.jobs, size)]
    numbers = count()
    async with AsyncPgops.open(dsn) as pg:

        async def set_one() -> None:
            await pg.cache.set(keys[next(numbers) % len(keys)], value, ttl_s=TTL_S)

        async def set_many() -> None:
            await pg.cache.set_many(dict.fromkeys(batches[next(numbers) % len(batches)], value), ttl_s=TTL_S)

        async def get_one() -> None:
            await pg.cache.get(keys[next(numbers) % len(keys)])

        async def get_many() -> None:
            await pg.cache.get_many(batches[next(numbers) % len(batches)])

        many = params.jobs / len(batches)
        for each in batches:
            await pg.cache.set_many(dict.fromkeys(each, value), ttl_s=TTL_S)
        note.doing("get and set")
        note.figure("get_per_s", await rate(get_one, params.seconds))
        unlogged = await rate(set_one, params.seconds)
        note.figure("set_per_s", unlogged)
        note.doing("get_many and set_many")
        note.figure("get_many_per_s", many * await rate(get_many, params.seconds))
        unlogged_many = many * await rate(set_many, params.seconds)
        note.figure("set_many_per_s", unlogged_many)
        note.doing("the service over the driver")
        await _over_raw(dsn, pg, params, keys, note)
        note.doing("the same table, logged")
        await pg.db.execute(Q["make_logged"])
        note.figure("set_unlogged_over_logged_ratio", unlogged / await rate(set_one, params.seconds))
        note.figure(
            "set_many_unlogged_over_logged_ratio", unlogged_many / (many * await rate(set_many, params.seconds))
        )


async def _over_raw(dsn: str, pg: AsyncPgops, params: Params, keys: list[str], note: Note) -> None:
    """The service's time over the driver's for the same statement on the same connection, in turns."""
    value = urandom(params.payload_bytes)
    get, set = CACHE["get"], CACHE["set"]
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        cache = pg.bind(conn).cache
        numbers = count()

        def turn() -> str:
            return keys[next(numbers) % len(keys)]

        async def get_raw() -> None:
            cursor = conn.cursor(binary=True)
            await cursor.execute(get, {"key": turn(), "namespace": DEFAULT_NAMESPACE})
            await cursor.fetchone()

        async def set_raw() -> None:
            cursor = conn.cursor(binary=True)
            await cursor.execute(set, {"key": turn(), "namespace": DEFAULT_NAMESPACE, "value": value, "ttl_s": TTL_S})

        async def ratio(ours: Callable[[], Awaitable[object]], raw: Callable[[], Awaitable[object]]) -> float:
            return await interleaved(ours, raw, params.seconds * 2)

        note.figure("get_over_raw_ratio", await ratio(lambda: cache.get(turn()), get_raw))
        note.figure("set_over_raw_ratio", await ratio(lambda: cache.set(turn(), value, ttl_s=TTL_S), set_raw))


SCENARIO = Scenario(
    "cache",
    "get and set one by one and many at once, unlogged against logged, the service over psycopg",
    Params(jobs=2_000, batch=500, payload_bytes=200, concurrency=1, runs=3, seconds=1.0),
    4,
    run,
)
