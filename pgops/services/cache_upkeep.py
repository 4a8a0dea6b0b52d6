"""What keeps the cache within bounds and says how it does: counters, purge, caps and eviction, invalidation.

The base of `AsyncCache`. No reader's and no setter's statement counts, purges or evicts: that is done by the flush of
the counters, on pgops' own connections, and by the purge.
"""

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from random import Random
from time import monotonic

from pgops.database import AsyncDatabase, AsyncPool, Row
from pgops.errors import PgopsError, UsageError
from pgops.pause import async_pause
from pgops.queries import load
from pgops.services.cache_counts import COUNTERS, CacheCounts, Counts
from pgops.services.cache_rules import check_cap, check_namespace
from pgops.services.models import CacheNamespace, CacheStats, Counted, Purged

Q = load("pgops.services", "cache.sql")
log = logging.getLogger("pgops.cache")
SLICE_PAGES = 128
EVICT_ROWS = 4_096
EVICT_SECONDS = 1.0
TURN_S = 0.01
NAMESPACES = {"exact_pages": 256, "limit": 200}


class AsyncCacheUpkeep:
    """The cache over one database object. Over a pool it flushes the `counts`; over a bound connection it never does:
    what it counts into the `counts` of a client is flushed by that client. `rng` is for drawing what to evict and when
    to compute anew."""

    def __init__(self, db: AsyncDatabase, counts: CacheCounts | None = None, rng: Random | None = None) -> None:
        self._db = db
        self._owner = db if isinstance(db, AsyncPool) else None
        self._rng = rng or Random()
        self._purge_page = 0
        self.counts = counts or CacheCounts()

    # --- bounds ------------------------------------------------------------------------------------------------

    async def set_cap(self, namespace: str, *, entries: int | None = None, bytes: int | None = None) -> None:
        """Hold `namespace` to so many entries, to so many bytes of keys and values, or to both; with neither, let it
        grow. Whatever is above is evicted by the flush of the processes that write to it (each 1,000 operations or
        5 s) and by the purge: what has expired first, then what was written (or, if it slides, read) longest ago, of a
        random sample, not of all. So a namespace may exceed its cap by what each writing process has set since its
        last flush, and above 4,096 entries by about a tenth, because there the number is estimated. What was there
        before it had a cap counts from the next purge on.

        Raises UsageError for a cap that is no whole number from 1 on."""
        params = {
            "namespace": check_namespace(namespace), "entries": check_cap("entries", entries),
            "bytes": check_cap("bytes", bytes),
        }  # fmt: skip
        await self._db.execute(Q["set_cap"], params)

    async def invalidate(self, namespace: str) -> int:
        """Forget all of `namespace` at once, however much it is; the number of its new generation. From its commit on
        no reader gets a value that was set, or began to be computed, before; the purge clears the rows away."""
        row = await self._db.one(Q["invalidate"], {"namespace": check_namespace(namespace)})
        assert row is not None
        return int(row[0])

    # --- purge -------------------------------------------------------------------------------------------------

    async def purge_expired(self, *, batch: int = 1_000, budget_s: float = 1.0) -> Purged:
        """Delete what has expired or was invalidated, at most `batch` rows a transaction, until the whole table was
        walked or `budget_s` seconds are over; the next call goes on where this one stopped. At the end of the walk
        what is above a cap is evicted. Nothing else that lives is touched, nor is a row that someone else is writing
        or purging.

        Raises UsageError for a batch below 1 or a budget that is not positive.
        """
        if batch < 1 or not budget_s > 0:
            raise UsageError("a purge needs a batch of at least 1 row and a positive budget", "for example batch=1000")
        deadline = monotonic() + budget_s
        capped = await self._capped()
        end = await self._count_pages()
        page = self._purge_page
        rows = batches = 0
        while page < end and (batches == 0 or monotonic() < deadline):
            params = {"low": f"({page},0)", "high": f"({page + SLICE_PAGES},0)", "batch": batch}
            deleted = 0
            for namespace, count in await self._db.all(Q["purge_slice"], params):
                self.counts.add(namespace, "expired", count)
                deleted += count
            enrolled = await self._db.execute(Q["enroll_slice"], {**params, "namespaces": capped}) if capped else 0
            rows, batches = rows + deleted, batches + 1
            page += SLICE_PAGES if deleted < batch and enrolled < batch else 0
        done = page >= end
        evicted = 0
        for namespace in capped if done else ():
            gone, through = await self._evict(namespace, deadline)
            evicted, done = evicted + gone, done and through
        self._purge_page = 0 if done else page
        await self._flush_if_due()
        return Purged(rows, batches, done, evicted)

    async def count_expired(self, cap: int = 100_000) -> Counted:
        """How many rows wait for the purge; beyond `cap` it is "at least"."""
        if cap < 1:
            raise UsageError("a cap is at least 1", "leave it out for 100,000")
        row = await self._db.one(Q["count_expired"], {"cap": cap})
        count = 0 if row is None else int(row[0])
        return Counted(min(count, cap), count <= cap)

    async def _evict(self, namespace: str, deadline: float, *, patient: bool = False) -> tuple[int, bool]:
        """Evict step by step until the namespace is within its cap, or for as long as there is; how many live rows that
        were, and whether it is through. Where somebody else is at it, who is `patient` waits for his turn."""
        evicted = 0
        while True:
            params = {"namespace": namespace, "rows": EVICT_ROWS, "spot": self._rng.randint(-(2**31), 0)}
            row = await self._db.one(Q["evict"], params)
            dead, alive, over, busy = row or (0, 0, False, False)
            self.counts.add(namespace, "expired", dead)
            self.counts.add(namespace, "evicted", alive)
            evicted += alive
            if busy and patient and monotonic() < deadline:
                await async_pause(TURN_S)
            elif not over or not dead + alive:
                return evicted, True
            elif monotonic() >= deadline:
                return evicted, False

    async def _capped(self, among: Sequence[str] | None = None) -> list[str]:
        params = {"all": among is None, "namespaces": list(among or ())}
        return [row[0] for row in await self._db.all(Q["capped"], params)]

    async def _count_pages(self) -> int:
        row = await self._db.one(Q["count_pages"])
        return 0 if row is None else int(row[0])

    # --- counters ----------------------------------------------------------------------------------------------

    async def stats(self) -> CacheStats:
        """Totals of all processes as far as they were flushed, size, whether a crash has emptied the cache, and the
        same by namespace."""
        await self.flush()
        row = await self._db.one(Q["read_stats"])
        assert row is not None
        hits, misses, sets, expired, evicted, since, filled_at, emptied_at, counted, estimated, size = row
        exact = counted <= 10_000
        return CacheStats(
            hits=hits,
            misses=misses,
            hit_ratio=hits / (hits + misses) if hits + misses else None,
            sets=sets,
            expired=expired,
            evicted=evicted,
            since=since,
            entries=counted if exact else max(estimated, counted),
            entries_exact=exact,
            bytes=size,
            state="filled" if counted or (filled_at and since) else "emptied" if filled_at else "never filled",
            filled_at=filled_at,
            emptied_at=emptied_at,
            namespaces=tuple([cache_namespace(one) for one in await self._db.all(Q["read_namespaces"], NAMESPACES)]),
        )

    async def flush(self) -> bool:
        """Add this process's counts to the totals, and evict what is too much where it has set something. False where
        that is not possible now: no reader is failed for the sake of a statistic, and the counts stay for the next
        flush. Over a bound connection: nothing."""
        if self._owner is None:
            return False
        for namespace, keys in self.counts.take_read().items():
            await self._extend(namespace, keys)
        taken = self.counts.take()
        written = [namespace for namespace, counts in taken.items() if counts["sets"]]
        try:
            for namespace in await self._capped(written) if written else ():
                await self._evict(namespace, monotonic() + EVICT_SECONDS, patient=True)
        except PgopsError as error:
            log.warning("nothing could be evicted: %s", error)
        self.counts.give_back(taken)
        taken = self.counts.take()
        try:
            await self._write(taken)
        except PgopsError:
            self.counts.give_back(taken)
            return False
        return True

    async def _write(self, taken: Counts) -> None:
        if taken:
            names = sorted(taken)
            columns = {counter: [taken[name][counter] for name in names] for counter in COUNTERS}
            params = {"namespaces": names, "filled": any(columns["sets"]), **columns}
            await self._db.execute(Q["flush_counts"], params)

    async def _flush_if_due(self) -> None:
        if self._owner is not None and self.counts.due():
            await self.flush()

    async def _extend(self, namespace: str, keys: Iterable[str]) -> None:
        """Let sliding values last on. No reader is failed for it, and none waits for it in a caller's transaction."""
        if self._owner is None:
            self.counts.extend_later(namespace, keys)
        else:
            with suppress(PgopsError):
                await self._owner.execute(Q["extend"], {"namespace": namespace, "keys": sorted(keys)})


def cache_namespace(row: Row) -> CacheNamespace:
    """A row of read_namespaces."""
    name, hits, misses, sets, expired, evicted, entries, size, max_entries, max_bytes, invalidated_at, exact = row
    return CacheNamespace(
        name, hits, misses, hits / (hits + misses) if hits + misses else None, sets, expired, evicted, entries, size,
        max_entries, max_bytes, invalidated_at, {} if exact else {"entries": False, "bytes": False},
    )  # fmt: skip
