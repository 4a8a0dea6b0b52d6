"""The cache: values that may be lost, kept by key until they expire.

Floor 2. Expiry is the database's clock. Reads never write: hits and misses are counted in this process and reach the
database in batches, on pgops' own connections and never in a caller's transaction. The one exception is a sliding
value, which a read extends once an eighth of its time has gone.
"""

from collections.abc import Iterable, Mapping
from random import Random

from pgops.database import AsyncDatabase
from pgops.errors import UsageError
from pgops.flights import AsyncCompute
from pgops.queries import load
from pgops.services.cache_counts import CacheCounts
from pgops.services.cache_flights import AsyncComputing
from pgops.services.cache_rules import DEFAULT_NAMESPACE, OnError, check_jitter, check_namespace, wanted
from pgops.services.cache_upkeep import AsyncCacheUpkeep
from pgops.services.keys import MAX_BATCH_BYTES, check_bytes, check_key, check_keys, check_ttl

Q = load("pgops.services", "cache.sql")


class AsyncCache(AsyncCacheUpkeep):
    """Values by key and namespace. A key has 1 to 2,000 bytes of UTF-8 without NUL, a namespace 1 to 200, a value up
    to 8 MiB. Every method raises UsageError for a bad argument."""

    def __init__(self, db: AsyncDatabase, counts: CacheCounts | None = None, rng: Random | None = None) -> None:
        super().__init__(db, counts, rng)
        self._computing = AsyncComputing(db, self.counts, self._rng)

    async def get(self, key: str, *, namespace: str = DEFAULT_NAMESPACE) -> bytes | None:
        """The value, or None where there is none or it has expired. A sliding value lasts on by being read; in a
        caller's transaction that waits for his client's next flush."""
        params = {"key": check_key(key), "namespace": check_namespace(namespace)}
        row = await self._db.one(Q["get"], params)
        self.counts.add(namespace, "misses" if row is None else "hits")
        if row is not None and row[1]:
            await self._extend(namespace, [key])
        await self._flush_if_due()
        return None if row is None else bytes(row[0])

    async def get_many(self, keys: Iterable[str], *, namespace: str = DEFAULT_NAMESPACE) -> dict[str, bytes]:
        """The values that are there, by key, in the order asked for; sliding ones last on, as by `get`."""
        keys = list(dict.fromkeys(check_keys(keys)))
        if not keys:
            return {}
        rows = await self._db.all(Q["get_many"], {"keys": keys, "namespace": check_namespace(namespace)})
        names, values, extend = zip(*rows, strict=True) if rows else ((), (), ())
        found: dict[str, bytes] = dict(zip(names, values, strict=True))
        self.counts.add(namespace, "hits", len(found))
        self.counts.add(namespace, "misses", len(keys) - len(found))
        if True in extend:
            await self._extend(namespace, [name for name, due in zip(names, extend, strict=True) if due])
        await self._flush_if_due()
        return {key: found[key] for key in keys if key in found}

    async def get_or_compute(
        self,
        key: str,
        compute: AsyncCompute,
        *,
        ttl_s: float | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        jitter: float = 0.0,
        beta: float = 1.0,
        stale_s: float = 0.0,
        wait_s: float = 10.0,
        on_error: OnError = "raise",
    ) -> bytes:
        """The value; where there is none, what `compute()` gives, kept for `ttl_s` seconds.

        It is computed once for all who ask meanwhile: in this process they share it, another process waits until it is
        there, up to `wait_s` seconds, and then computes it too; a process that dies while it computes keeps nobody
        waiting. What compute raises reaches all who wait in its process, and nothing is kept. Through a pooler in
        transaction mode processes do not know of each other.
        Before it expires one of the callers computes it anew, the sooner the longer that takes: `beta` above 1 makes
        it earlier, 0 never. With `stale_s` a value that expired so many seconds ago is still given to the others while
        one computes. What is set meanwhile by others is newer and stays, and what was invalidated meanwhile stays
        invalid; a delete meanwhile does not keep the value from being kept.
        Where the database cannot be asked the call fails before it computes, or with `on_error="compute"` computes
        and keeps nothing. A value that cannot be kept afterwards is returned, and that is logged.
        In a caller's transaction what is missing is computed there and kept as it commits, shared with nobody; there
        is no lock, no stale value and no early one, and the errors are his driver's own.

        Raises UsageError also where compute gives no bytes, or asks for the key that it is computed for.
        """
        it = wanted(key, namespace, ttl_s, jitter, beta, stale_s, wait_s, on_error)
        if not callable(compute):
            raise UsageError(f"compute is a function, not {type(compute).__name__}", "for example a lambda")
        value, seen = await self._computing.get(it, compute)
        if seen.extend:
            await self._extend(namespace, [key])
        await self._flush_if_due()
        return value

    async def set(
        self,
        key: str,
        value: bytes,
        *,
        ttl_s: float | None = None,
        sliding: bool = False,
        jitter: float = 0.0,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        """Keep `value` for `ttl_s` seconds, or without an end. A `sliding` one lasts so long after it was last read,
        give or take an eighth. With `jitter` it lasts shorter by a random share of at most so much, so that what was
        set together does not expire together."""
        if sliding or jitter:
            await self.set_many({key: value}, ttl_s=ttl_s, sliding=sliding, jitter=jitter, namespace=namespace)
            return
        params = {
            "key": check_key(key),
            "namespace": check_namespace(namespace),
            "value": check_bytes(key, value),
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
        sliding: bool = False,
        jitter: float = 0.0,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> int:
        """Keep all of `values`, or none of them; how many they were. One statement, keys in byte order, at most 256
        MiB. `sliding` and `jitter` as by `set`, each key with a jitter of its own."""
        items = sorted((check_key(key).encode(), key, check_bytes(key, value)) for key, value in values.items())
        if sum(len(value) for _, _, value in items) > MAX_BATCH_BYTES:
            raise UsageError("set_many takes at most 256 MiB of values at once", "send them in several calls")
        ttl_s = check_ttl(ttl_s)
        if sliding and ttl_s is None:
            raise UsageError("a sliding value has a time to live", "give ttl_s too")
        params = {
            "keys": [key for _, key, _ in items],
            "values": [value for _, _, value in items],
            "namespace": check_namespace(namespace),
            "ttl_s": ttl_s,
            "sliding": bool(sliding),
            "jitter": check_jitter(jitter, ttl_s),
        }
        if not items:
            return 0
        await self._db.execute(Q["set_many"], params)
        self.counts.add(namespace, "sets", len(items))
        await self._flush_if_due()
        return len(items)

    async def touch(self, key: str, *, ttl_s: float | None = None, namespace: str = DEFAULT_NAMESPACE) -> bool:
        """Let a value last `ttl_s` seconds from now, without reading it; without ttl_s a sliding one lasts its own time
        from now, and others stay as they are. Whether it is there."""
        params = {"key": check_key(key), "namespace": check_namespace(namespace), "ttl_s": check_ttl(ttl_s)}
        return await self._db.execute(Q["touch"], params) > 0

    async def delete(self, *keys: str, namespace: str = DEFAULT_NAMESPACE) -> int:
        """How many of `keys` were there and are gone now."""
        params = {"keys": sorted(check_keys(keys)), "namespace": check_namespace(namespace)}
        row = await self._db.one(Q["delete"], params)
        return 0 if row is None else int(row[0])
