"""The key-value store: each verb a second, durable and ephemeral, and what the service adds to the driver."""

from itertools import count
from os import urandom
from typing import Any

import psycopg

from pgops.bench.contract import Note, Params, Scenario
from pgops.bench.measure import Work, interleaved, rate
from pgops.services.client import AsyncPgops
from pgops.services.kv import AsyncKv
from pgops.services.kv_rules import DURABLE


class Turns:
    """The keys of a run, one after the other or a batch at a time, again and again."""

    def __init__(self, params: Params) -> None:
        keys = [f"key:{number}" for number in range(params.jobs)]
        size = params.batch or params.jobs
        self.keys = keys
        self.batches = [keys[start : start + size] for start in range(0, len(keys), size)]
        self._numbers = count()

    @property
    def a_batch(self) -> float:
        """How many keys one has, on average."""
        return len(self.keys) / len(self.batches)

    def key(self) -> str:
        return self.keys[next(self._numbers) % len(self.keys)]

    def batch(self) -> list[str]:
        return self.batches[next(self._numbers) % len(self.batches)]


async def run(dsn: str, params: Params, note: Note) -> None:
    value, turns = urandom(params.payload_bytes), Turns(params)
    async with AsyncPgops.open(dsn) as pg:
        for kind, kv in (("", pg.kv), ("ephemeral_", pg.kv.ephemeral)):
            note.doing("the ephemeral store" if kind else "the durable store")
            for batch in turns.batches:
                await kv.set_many(dict.fromkeys(batch, value))
            for verb, work in ours(kv, turns, value).items():
                keys = turns.a_batch if verb.endswith("_many") else 1
                note.figure(f"{kind}{verb}_per_s", keys * await rate(work, params.seconds))
        note.doing("the service over the driver")
        await _over_raw(dsn, pg, params, value, note)


async def _over_raw(dsn: str, pg: AsyncPgops, params: Params, value: bytes, note: Note) -> None:
    """The service's time over the driver's for the same statement on the same connection, in turns."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        alone = raw(conn, Turns(params), value, version=await pg.kv.set("version:raw", value))
        for verb, work in ours(pg.bind(conn).kv, Turns(params), value, "bound").items():
            note.figure(f"{verb}_over_raw_ratio", await interleaved(work, alone[verb], params.seconds * 2))


def ours(kv: AsyncKv, turns: Turns, value: bytes, who: str = "pool") -> dict[str, Work]:
    """Each verb as one call of the service."""
    version = 0

    async def compare_and_set() -> None:
        nonlocal version
        version = await kv.compare_and_set(f"version:{who}", version, value)

    return {
        "get": lambda: kv.get(turns.key()),
        "set": lambda: kv.set(turns.key(), value),
        "get_many": lambda: kv.get_many(turns.batch()),
        "set_many": lambda: kv.set_many(dict.fromkeys(turns.batch(), value)),
        "incr": lambda: kv.incr(f"counter:{who}"),
        "compare_and_set": compare_and_set,
    }


def raw(conn: psycopg.AsyncConnection[Any], turns: Turns, value: bytes, *, version: int) -> dict[str, Work]:
    """The same with the driver alone: the service's statement with its parameters, and its rows read."""

    async def one(verb: str, **params: object) -> Any:
        cursor = conn.cursor(binary=True)
        await cursor.execute(DURABLE[verb], params)
        return await cursor.fetchone()

    async def get_many() -> dict[str, bytes]:
        cursor = conn.cursor(binary=True)
        await cursor.execute(DURABLE["get_many"], {"keys": turns.batch()})
        return dict(await cursor.fetchall())

    async def set_many() -> None:
        keys = sorted(turns.batch())
        params = {"keys": keys, "values": [value] * len(keys), "ttl_s": None}
        await conn.cursor(binary=True).execute(DURABLE["set_many"], params)

    async def compare_and_set() -> None:
        nonlocal version
        (version,) = await one("compare_and_set", key="version:raw", value=value, expected=version, ttl_s=None)

    return {
        "get": lambda: one("get", key=turns.key()),
        "set": lambda: one("set", key=turns.key(), value=value, ttl_s=None),
        "get_many": get_many,
        "set_many": set_many,
        "incr": lambda: one("incr", key="counter:raw", by=1, ttl_s=None),
        "compare_and_set": compare_and_set,
    }


SCENARIO = Scenario(
    "kv",
    "get, set, many at once, incr and compare_and_set, durable and ephemeral, the service over psycopg",
    Params(jobs=2_000, batch=500, payload_bytes=200, concurrency=1, runs=3, seconds=1.0),
    3,
    run,
)
