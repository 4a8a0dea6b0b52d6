"""The cache: values that may be lost, kept by key until they expire.

Floor 2. Expiry is the database's clock. Reads never write: hits and misses are counted in this process and
reach the database in batches, on pgops' own connections and never in a caller's transaction.
"""

from collections.abc import Iterable, Mapping
from threading import Lock
from time import monotonic

from pgops.database import AsyncDatabase, AsyncPool
from pgops.errors import PgopsError, UsageError
from pgops.queries import load
from pgops.services.keys import MAX_BATCH_BYTES, MAX_VALUE_BYTES, check_key, check_keys, check_text, check_ttl
from pgops.services.models import CacheStats, Counted, Purged

Q = load("pgops.services", "cache.sql")
DEFAULT_NAMESPACE = "default"
MAX_NAMESPACE_BYTES = 200
FLUSH_OPERATIONS = 1_000
FLUSH_SECONDS = 5.0
SLICE_PAGES = 128
COUNTERS = ("hits", "misses", "sets", "expired", "evicted")


class CacheCounts:
    """What happened in this process since the last flush, by namespace; a client and its bound services share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[str, dict[str, int]] = {}
        self._operations = 0
        self._due_at = monotonic() + FLUSH_SECONDS

    def add(self, namespace: str, counter: str, amount: int = 1) -> None:
        with self._lock:
            counts = self._counts.get(namespace)
            if counts is None:
                counts = self._counts[namespace] = dict.fromkeys(COUNTERS, 0)
            counts[counter] += amount
            self._operations += amount

    def due(self) -> bool:
        return self._operations >= FLUSH_OPERATIONS or (self._operations > 0 and monotonic() >= self._due_at)

    def take(self) -> dict[str, dict[str, int]]:
        """The counts, which are then zero here; the next flush is due FLUSH_SECONDS from now."""
        with self._lock:
            taken, self._counts = self._counts, {}
            self._operations = 0
            self._due_at = monotonic() + FLUSH_SECONDS
            return taken

    def give_back(self, taken: dict[str, dict[str, int]]) -> None:
        """Keep what could not be written, without making a flush due at once."""
        with self._lock:
            for namespace, counts in taken.items():
                mine = self._counts.setdefault(namespace, dict.fromkeys(COUNTERS, 0))
                for counter, amount in counts.items():
                    mine[counter] += amount
            self._operations = max(self._operations, 1)


class AsyncCache:
    """Values by key and namespace. Over a pool it also flushes the counters; over a bound connection it never does:
    what it counts into the `counts` of a client is flushed by that client."""

    def __init__(self, db: AsyncDatabase, counts: CacheCounts | None = None) -> None:
        self._db = db
        self._owner = db if isinstance(db, AsyncPool) else None
        self._purge_page = 0
        self.counts = counts or CacheCounts()

    async def get(self, key: str, *, namespace: str = DEFAULT_NAMESPACE) -> bytes | None:
        """The value, or None where there is none or it has expired. Raises UsageError for a bad key."""
        params = {"key": check_key(key), "namespace": _namespace(namespace)}
        row = await self._db.one(Q["get"], params)
        self.counts.add(namespace, "misses" if row is None else "hits")
        await self._flush_if_due()
        return None if row is None else bytes(row[0])

    async def get_many(self, keys: Iterable[str], *, namespace: str = DEFAULT_NAMESPACE) -> dict[str, bytes]:
        """The values that are there, by key, in the order asked for. Raises UsageError for a bad key."""
        wanted = list(dict.fromkeys(check_keys(keys)))
        if not wanted:
            return {}
        params = {"keys": wanted, "namespace": _namespace(namespace)}
        found: dict[str, bytes] = dict(await self._db.all(Q["get_many"], params))
        self.counts.add(namespace, "hits", len(found))
        self.counts.add(namespace, "misses", len(wanted) - len(found))
        await self._flush_if_due()
        return {key: found[key] for key in wanted if key in found}

    async def set(
        self, key: str, value: bytes, *, ttl_s: float | None = None, namespace: str = DEFAULT_NAMESPACE
    ) -> None:
        """Keep `value` for `ttl_s` seconds, or without an end. Raises UsageError for a bad key, value or TTL."""
        params = {
            "key": check_key(key),
            "namespace": _namespace(namespace),
            "value": _value(key, value),
            "ttl_s": check_ttl(ttl_s),
        }
        await self._db.execute(Q["set"], params)
        self.counts.add(namespace, "sets")
        await self._flush_if_due()

    async def set_many(
        self,
        values: Mapping[str, bytes],
        *,
        ttl_s: float | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> int:
        """Keep all of `values`, or none of them; how many they were. One statement, keys in byte order.

        Raises UsageError for a bad key, value or TTL, and for more than 256 MiB at once.
        """
        items = sorted((check_key(key).encode(), key, _value(key, value)) for key, value in values.items())
        if sum(len(value) for _, _, value in items) > MAX_BATCH_BYTES:
            raise UsageError("set_many takes at most 256 MiB of values at once", "send them in several calls")
        if not items:
            return 0
        params = {
            "keys": [key for _, key, _ in items],
            "values": [value for _, _, value in items],
            "namespace": _namespace(namespace),
            "ttl_s": check_ttl(ttl_s),
        }
        await self._db.execute(Q["set_many"], params)
        self.counts.add(namespace, "sets", len(items))
        await self._flush_if_due()
        return len(items)

    async def delete(self, *keys: str, namespace: str = DEFAULT_NAMESPACE) -> int:
        """How many of `keys` were there and are gone now. Raises UsageError for a bad key."""
        params = {"keys": sorted(check_keys(keys)), "namespace": _namespace(namespace)}
        row = await self._db.one(Q["delete"], params)
        return 0 if row is None else int(row[0])

    async def purge_expired(self, *, batch: int = 1_000, budget_s: float = 1.0) -> Purged:
        """Delete expired rows, at most `batch` a transaction, until the whole table was walked or `budget_s`
        seconds are over; the next call goes on where this one stopped. Live rows are never touched, nor is one
        that someone else is writing or purging.

        Raises UsageError for a batch below 1 or a budget that is not positive.
        """
        if batch < 1 or not budget_s > 0:
            raise UsageError("a purge needs a batch of at least 1 row and a positive budget", "for example batch=1000")
        deadline = monotonic() + budget_s
        end = await self._count_pages()
        page = self._purge_page if self._purge_page < end else 0
        rows = batches = 0
        while page < end and (batches == 0 or monotonic() < deadline):
            params = {"low": f"({page},0)", "high": f"({page + SLICE_PAGES},0)", "batch": batch}
            deleted = 0
            for namespace, count in await self._db.all(Q["purge_slice"], params):
                self.counts.add(namespace, "expired", count)
                deleted += count
            rows, batches = rows + deleted, batches + 1
            page += SLICE_PAGES if deleted < batch else 0
        done = page >= end
        self._purge_page = 0 if done else page
        await self._flush_if_due()
        return Purged(rows, batches, done)

    async def count_expired(self, cap: int = 100_000) -> Counted:
        """How many rows have expired and wait for the purge; beyond `cap` it is "at least"."""
        if cap < 1:
            raise UsageError("a cap is at least 1", "leave it out for 100,000")
        row = await self._db.one(Q["count_expired"], {"cap": cap})
        count = 0 if row is None else int(row[0])
        return Counted(min(count, cap), count <= cap)

    async def stats(self) -> CacheStats:
        """Totals of all processes as far as they were flushed, size, and whether a crash has emptied the cache."""
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
        )

    async def flush(self) -> bool:
        """Add this process's counts to the totals. False where that is not possible now: no reader is failed for
        the sake of a statistic, and the counts stay for the next flush. Over a bound connection: nothing."""
        if self._owner is None:
            return False
        taken = self.counts.take()
        if not taken:
            return True
        names = sorted(taken)
        columns = {counter: [taken[name][counter] for name in names] for counter in COUNTERS}
        try:
            await self._owner.execute(
                Q["flush_counts"], {"namespaces": names, "filled": any(columns["sets"]), **columns}
            )
        except PgopsError:
            self.counts.give_back(taken)
            return False
        return True

    async def _flush_if_due(self) -> None:
        if self._owner is not None and self.counts.due():
            await self.flush()

    async def _count_pages(self) -> int:
        row = await self._db.one(Q["count_pages"])
        return 0 if row is None else int(row[0])


def _namespace(namespace: object) -> str:
    return check_text(namespace, "a namespace", MAX_NAMESPACE_BYTES, "choose a short name")


def _value(key: str, value: object) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise UsageError(
            f"a cache value is bytes, not {type(value).__name__}",
            "encode it first: text.encode(), or json.dumps(value).encode()",
        )
    data = bytes(value)
    if len(data) > MAX_VALUE_BYTES:
        raise UsageError(
            f"the value of {key[:60]!r} has {len(data):,} bytes; at most {MAX_VALUE_BYTES:,} fit",
            "keep it elsewhere and cache its address, or compress it",
        )
    return data
