"""The event log: what an append costs, alone and in the caller's transaction, and how fast a relay hands events on."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from json import loads
from time import perf_counter

import psycopg

from pgops.bench.contract import Note, Params, Scenario
from pgops.bench.measure import interleaved, paced, payload, quantile, rate, running, seconds_of, until
from pgops.bench.site import named
from pgops.runtime.relay import Relay
from pgops.runtime.sinks import FunctionSink
from pgops.services.client import AsyncPgops
from pgops.services.events import AsyncEvents
from pgops.services.models import Event, NewEvent

TOPIC = "bench"
KEYS = 1_000


async def run(dsn: str, params: Params, note: Note) -> None:
    body = payload(params.payload_bytes)
    async with AsyncPgops.open(dsn, max_size=16) as pg:
        note.doing("append")
        note.figure("append_per_s", await rate(lambda: pg.events.append(TOPIC, body, key="1"), params.seconds))
        note.doing("append within the caller's transaction")
        plain, pipelined = await _beside_an_order(dsn, pg, params)
        note.figure("append_in_transaction_ratio", plain)
        note.figure("append_pipelined_ratio", pipelined)
        await pg.events.subscribe("all")
        note.doing("append by COPY")
        events = (NewEvent(TOPIC, body, str(number % KEYS)) for number in range(params.jobs))
        note.figure("append_many_per_s", params.jobs / await seconds_of(pg.events.append_many(events)))
        note.doing("relay")
        note.figure("relay_per_s", await _relay(pg, params))
        note.doing("end to end")
        waited = await _end_to_end(pg, params)
        note.figure("end_to_end_p50_ms", quantile(waited, 50))
        note.figure("end_to_end_p99_ms", quantile(waited, 99))
        note.doing("ten subscriptions")
        note.figure("relay_to_ten_per_s", await _relay_to_ten(pg, params))
        note.doing("idle parts")
        note.figure("idle_look_ms", await _idle_look(pg, params))


async def _beside_an_order(dsn: str, pg: AsyncPgops, params: Params) -> tuple[float, float]:
    """The time of a transaction that inserts an order and appends an event, over that of one that only inserts:
    statement by statement, and with both sent in one pipelined round trip."""
    body = payload(params.payload_bytes)
    insert = named("place_order", table="bench_orders")
    ids = count()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        await conn.execute(named("create_orders", table="bench_orders"))
        events = pg.bind(conn).events

        async def place(append: bool) -> None:
            async with conn.transaction():
                await conn.execute(insert, {"id": next(ids), "content": "lamp"})
                if append:
                    await events.append(TOPIC, body, key="1")

        async def place_pipelined(append: bool) -> None:
            async with conn.pipeline():
                await place(append)

        async def ratio(one: Callable[[bool], Awaitable[None]]) -> float:
            return await interleaved(lambda: one(True), lambda: one(False), params.seconds)

        return await ratio(place), await ratio(place_pipelined)


async def _relay(pg: AsyncPgops, params: Params) -> float:
    """Events a second until the sink has all of them."""
    seen = 0

    async def take(event: Event) -> None:
        nonlocal seen
        seen += 1

    relay = Relay(pg.db, "all", FunctionSink(take), batch=params.batch or params.jobs)
    began = perf_counter()
    async with running(relay) as task:
        await until(lambda: seen >= params.jobs, task)
        ended = perf_counter()
    return params.jobs / (ended - began)


async def _end_to_end(pg: AsyncPgops, params: Params) -> list[float]:
    """Milliseconds from the call of append to the sink, at 200 events a second."""
    waited: list[float] = []

    async def take(event: Event) -> None:
        waited.append((perf_counter() - loads(event.payload_json)["at"]) * 1000)

    numbers = count()
    relay = Relay(pg.db, "all", FunctionSink(take), batch=params.batch or params.jobs)
    async with running(relay) as task:
        await asyncio.sleep(min(0.3, params.seconds))
        sent = await paced(
            lambda: pg.events.append(TOPIC, {"at": perf_counter()}, key=str(next(numbers) % KEYS)), params.seconds
        )
        await until(lambda: len(waited) >= sent, task)
    return waited


async def _relay_to_ten(pg: AsyncPgops, params: Params) -> float:
    """Events handed on a second, of all relays together: each of ten subscriptions gets every event."""
    names, body, seen = [f"one of ten {number}" for number in range(10)], payload(params.payload_bytes), 0

    async def take(event: Event) -> None:
        nonlocal seen
        seen += 1

    for name in names:
        await pg.events.subscribe(name)
    each = max(params.jobs // len(names), 1)
    await pg.events.append_many(NewEvent(TOPIC, body, str(number % KEYS)) for number in range(each))
    relays = [Relay(pg.db, name, FunctionSink(take), batch=params.batch or params.jobs) for name in names]
    began = perf_counter()
    async with AsyncExitStack() as stack:
        tasks = [await stack.enter_async_context(running(relay)) for relay in relays]
        await until(lambda: seen >= each * len(names), *tasks)
        ended = perf_counter()
    return each * len(names) / (ended - began)


async def _idle_look(pg: AsyncPgops, params: Params) -> float:
    """Milliseconds of a look at all 64 parts where nothing is new, the median."""
    took: list[float] = []
    await pg.events.subscribe("idle")
    async with pg.db.session() as session:
        events, until_s = AsyncEvents(session), perf_counter() + params.seconds
        await events.lease_parts("idle", owner="bench", token=1, lease_s=600)
        await events.advance(await events.fetch("idle", 1), idle=True)
        while perf_counter() < until_s or not took:
            began = perf_counter()
            await events.fetch("idle", 1)
            took.append((perf_counter() - began) * 1000)
    return quantile(took, 50)


SCENARIO = Scenario(
    "outbox",
    "append alone and in the caller's transaction, relay to a function, latency at 200 events/s, ten subscriptions",
    Params(jobs=50_000, batch=100, payload_bytes=64, concurrency=1, runs=3, seconds=2.0),
    5,
    run,
)
