"""Vectors: load, exact search, the index and how much it finds, and what the service adds to the driver.

The vectors stand in clusters, as embeddings do; between uniformly random ones nothing is near anything.
"""

from collections.abc import Sequence
from itertools import count
from random import Random

import psycopg

from pgops.bench.contract import Note, Params, Scenario
from pgops.bench.measure import interleaved, rate, seconds_of
from pgops.services.client import AsyncPgops
from pgops.services.models import VectorRow
from pgops.services.vector_found import Q as VECTORS
from pgops.services.vector_found import fill

NAME, DIMENSIONS, CLUSTERS, SPREAD = "bench", 384, 100, 0.6
QUERIES, LIMIT = 100, 10


async def run(dsn: str, params: Params, note: Note) -> None:
    vectors = clustered(params.jobs + QUERIES, Random(1))
    rows = [VectorRow("x" * params.payload_bytes, vector) for vector in vectors[QUERIES:]]
    async with AsyncPgops.open(dsn) as pg:
        await pg.vectors.create(NAME, DIMENSIONS)
        numbers = count()

        def query() -> Sequence[float]:
            return vectors[next(numbers) % QUERIES]

        note.doing("load")
        note.figure("load_rows_per_s", params.jobs / await seconds_of(pg.vectors.add_many(NAME, rows)))
        note.doing("exact search")
        exact = await rate(lambda: pg.vectors.search(NAME, query(), exact=True, limit=LIMIT), params.seconds)
        note.figure("search_exact_per_s", exact)
        note.doing("build the index")
        note.figure("build_s", await seconds_of(pg.vectors.build_index(NAME)))
        note.doing("search by the index")
        search = await rate(lambda: pg.vectors.search(NAME, query(), limit=LIMIT), params.seconds)
        note.figure("search_index_per_s", search)
        note.figure("recall", (await pg.vectors.measure_recall(NAME, k=LIMIT, sample=QUERIES, seed=1)).recall)
        note.doing("the service over the driver")
        note.figure("search_over_raw_ratio", await _over_raw(dsn, pg, params, vectors))


async def _over_raw(dsn: str, pg: AsyncPgops, params: Params, vectors: list[list[float]]) -> float:
    """The service's time over the driver's for the same search on the same connection, in turns. Both write the
    vector as text, which is what a connection that was taught nothing can send."""
    statement = fill(VECTORS["search_as_set"], NAME, "cosine", "public", {})
    numbers = count()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        bound = pg.bind(conn).vectors

        async def ours() -> None:
            await bound.search(NAME, vectors[next(numbers) % QUERIES], limit=LIMIT)

        async def raw() -> None:
            text = "[" + ",".join(f"{value:.9g}" for value in vectors[next(numbers) % QUERIES]) + "]"
            cursor = conn.cursor(binary=True)
            await cursor.execute(statement, {"embedding": text, "limit": LIMIT, "filter": None})
            await cursor.fetchall()

        return await interleaved(ours, raw, params.seconds * 2)


def clustered(rows: int, rng: Random) -> list[list[float]]:
    """Vectors around CLUSTERS centres; their noise is cut from one long strip, for drawing each would take minutes."""
    centres = [[rng.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in range(CLUSTERS)]
    noise = [rng.gauss(0, SPREAD) for _ in range(50 * DIMENSIONS)]
    found = []
    for _ in range(rows):
        start = rng.randrange(len(noise) - DIMENSIONS)
        strip = noise[start : start + DIMENSIONS]
        found.append([a + b for a, b in zip(rng.choice(centres), strip, strict=True)])
    return found


SCENARIO = Scenario(
    "vector",
    "load at 384 dimensions, exact search, search by the index with its recall, the service over psycopg",
    Params(jobs=20_000, batch=0, payload_bytes=64, concurrency=1, runs=3, seconds=1.0),
    5,
    run,
)
