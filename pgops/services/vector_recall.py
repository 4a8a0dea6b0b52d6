"""How much of what is near an index finds, measured against exact search.

Floor 2, under vector_index.py. One read-only snapshot, so that both searches see the same rows, and proof that the
planner took the index, since a plan without it would measure nothing.
"""

import random
from contextlib import suppress

from pgops.database import AsyncBound
from pgops.errors import NotFoundError, PgopsError, UsageError
from pgops.services.models import Recall
from pgops.services.vector_found import Found, Q
from pgops.services.vector_register import AsyncRegister
from pgops.services.vector_rules import check_settings, ef_search_for, wilson


class AsyncRecalls(AsyncRegister):
    """Recall of a collection's index."""

    async def measure_recall(
        self,
        name: str,
        *,
        k: int = 10,
        sample: int = 20,
        probes: int | None = None,
        ef_search: int | None = None,
        seed: int | None = None,
    ) -> Recall:
        """How many of the true `k` nearest the index finds, measured: `sample` rows of the collection are searched
        for by the index and exactly, both in one snapshot. Recorded with the collection.

        Raises NotFoundError without a collection or a valid index, UsageError for k or sample below 1, another
        method's setting or a collection too small, PgopsError where the planner would not take the index.
        """
        pool = self._pool("measure_recall")
        if k < 1 or sample < 1:
            raise UsageError("k and sample are at least 1", "for example k=10, sample=20")
        found = await self._find(name)
        if not found.valid:
            raise NotFoundError(f"collection {name!r} has no valid index to measure", "build it first")
        check_settings(found.method, probes, ef_search)
        settings = {"probes": probes or found.probes, "ef_search": ef_search or ef_search_for(k)}
        async with pool.transaction() as tx:
            await tx.execute(Q["begin_measurement"])
            await tx.execute(Q["prefer_index"])
            ids = await self._sample(tx, found, random.Random(seed), sample)
            hits = trials = 0
            for id in ids:
                more = await self._hits(tx, found, {"id": id, "k": k, **settings})
                hits, trials = hits + more[0], trials + more[1]
            scans: dict[str | None, int] = dict(await tx.all(Q["index_scans_here"], {"table": found.table}))
        if trials == 0:
            raise UsageError(f"collection {name!r} has too few rows to measure", "it needs at least 2")
        if scans.get(found.index, 0) < len(ids):
            other = next((name for name, count in scans.items() if count > 0 and name != found.index), None)
            raise PgopsError(
                f"the planner did not take {found.index}{f' but {other}' if other else ''}, so this was no measurement",
                f"both serve the same searches: drop {other}" if other else "run analyze, or rebuild",
            )
        low, high = wilson(hits, trials)
        params = {"name": name, "recall": hits / trials, "low": low, "high": high}
        with suppress(PgopsError):  # a schema that is older has no place for it
            await pool.execute(Q["keep_recall"], {"name": name})
        row = await pool.one(Q["record_recall"], params)
        if row is None:
            raise await self._unknown(name)
        ivfflat = found.method == "ivfflat"
        return Recall(
            hits / trials, low, high, k, len(ids), settings["probes"] if ivfflat else None, row[0],
            None if ivfflat else settings["ef_search"],
        )  # fmt: skip

    async def _sample(self, tx: AsyncBound, found: Found, rng: random.Random, sample: int) -> list[int]:
        row = await tx.one(found.statement("id_range"))
        if row is None or row[0] is None:
            return []
        draws = [rng.randint(row[0], row[1]) for _ in range(sample)]
        return [row[0] for row in await tx.all(found.statement("nearest_ids"), {"draws": draws})]

    async def _hits(self, tx: AsyncBound, found: Found, params: dict[str, int]) -> tuple[int, int]:
        """Hits and trials of one query: what the index finds no farther away than the true k-th is a hit."""
        exact = [row[0] for row in await tx.all(found.statement("measure_exact"), params)]
        if not exact:
            return 0, 0
        near = [row[0] for row in await tx.all(found.statement("measure_index"), params)]
        farthest = exact[-1] + 1e-7 * max(1.0, abs(exact[-1]))
        return sum(distance <= farthest for distance in near), len(exact)
