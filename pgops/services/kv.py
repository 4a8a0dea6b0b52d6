"""The key-value store: values by key that stay, with a version each and, if wanted, a time to live.

Floor 2. Two tables, one API: what `AsyncKv` keeps is durable, what its `ephemeral` keeps costs less and is gone after
a crash. Expiry is the database's clock, and an expired key is as good as none for every verb. Over a caller's
connection all of it, both tables, belongs to his transaction.
"""

from collections.abc import Iterable, Mapping

from pgops.database import AsyncDatabase
from pgops.errors import ConflictError, UsageError
from pgops.services.keys import MAX_BATCH_BYTES, check_key, check_keys, check_text, check_ttl, check_value
from pgops.services.kv_rules import DURABLE, EPHEMERAL, INT8, MAX_SCAN, Range, glob_range, prefix_range
from pgops.services.models import Counted, KvEntry, KvPage, Purged
from pgops.services.purging import AsyncPurge


class AsyncKv:
    """Values by key. Keys have 1 to 2,000 bytes of UTF-8 without NUL; values are bytes, or a text that is stored as
    UTF-8, up to 8 MiB; what is read is bytes. Every method raises UsageError for a bad argument."""

    def __init__(self, db: AsyncDatabase, *, ephemeral: bool = False) -> None:
        self._db = db
        self._q = EPHEMERAL if ephemeral else DURABLE
        self._purge = AsyncPurge(db, self._q["count_pages"], self._q["purge_slice"])
        self.ephemeral = self if ephemeral else AsyncKv(db, ephemeral=True)

    async def get(self, key: str) -> bytes | None:
        """The value, or None where there is none or it has expired."""
        row = await self._db.one(self._q["get"], {"key": check_key(key)})
        return None if row is None else bytes(row[0])

    async def get_entry(self, key: str) -> KvEntry | None:
        """The value with its version and what is left of its time."""
        row = await self._db.one(self._q["get_entry"], {"key": check_key(key)})
        return None if row is None else KvEntry(*row)

    async def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The values that are there, by key, in the order asked for."""
        wanted = list(dict.fromkeys(check_keys(keys)))
        if not wanted:
            return {}
        found: dict[str, bytes] = dict(await self._db.all(self._q["get_many"], {"keys": wanted}))
        return {key: found[key] for key in wanted if key in found}

    async def set(self, key: str, value: bytes | str, *, ttl_s: float | None = None) -> int:
        """Keep `value` for `ttl_s` seconds, or without an end, whatever was there; its version."""
        params = {"key": check_key(key), "value": check_value(key, value), "ttl_s": check_ttl(ttl_s)}
        row = await self._db.one(self._q["set"], params)
        assert row is not None
        return int(row[0])

    async def set_many(self, values: Mapping[str, bytes | str], *, ttl_s: float | None = None) -> int:
        """Keep all of `values`, or none of them; how many they were. One statement, keys in byte order, at most
        256 MiB."""
        items = sorted((check_key(key).encode(), key, check_value(key, value)) for key, value in values.items())
        if sum(len(value) for _, _, value in items) > MAX_BATCH_BYTES:
            raise UsageError("set_many takes at most 256 MiB of values at once", "send them in several calls")
        ttl_s = check_ttl(ttl_s)
        if items:
            params = {"keys": [key for _, key, _ in items], "values": [value for _, _, value in items], "ttl_s": ttl_s}
            await self._db.execute(self._q["set_many"], params)
        return len(items)

    async def add(self, key: str, value: bytes | str, *, ttl_s: float | None = None) -> int | None:
        """Keep `value` if the key is not there; its version, or None where it was there and nothing was changed."""
        params = {"key": check_key(key), "value": check_value(key, value), "ttl_s": check_ttl(ttl_s)}
        row = await self._db.one(self._q["add"], params)
        return None if row is None else int(row[0])

    async def delete(self, *keys: str) -> int:
        """How many of `keys` were there and are gone now."""
        row = await self._db.one(self._q["delete"], {"keys": check_keys(keys)})
        return 0 if row is None else int(row[0])

    async def ttl(self, key: str) -> float:
        """Seconds that the key has left; -1 without an end, -2 where it is not there, as Redis has it."""
        row = await self._db.one(self._q["ttl"], {"key": check_key(key)})
        return -2.0 if row is None else float(row[0])

    async def expire(self, key: str, ttl_s: float) -> bool:
        """Let the key end in `ttl_s` seconds; whether it is there. Value and version stay."""
        if ttl_s is None:
            raise UsageError("expire needs a number of seconds", "persist(key) takes the end away")
        return await self._db.execute(self._q["expire"], {"key": check_key(key), "ttl_s": check_ttl(ttl_s)}) > 0

    async def persist(self, key: str) -> bool:
        """Take the key's end away; whether it is there."""
        return await self._db.execute(self._q["expire"], {"key": check_key(key), "ttl_s": None}) > 0

    async def incr(self, key: str, by: int = 1, *, ttl_s: float | None = None) -> int:
        """Add `by` to the decimal number that stands there, 0 where there is none; the sum. `ttl_s` is for a key that
        this call makes, one that is there keeps its end.

        Raises UsageError where the value is no whole number or the sum has more than 64 bits; nothing is changed then.
        """
        if not isinstance(by, int) or isinstance(by, bool) or by not in INT8:
            raise UsageError(f"incr adds a whole number of 64 bits, not {str(by)[:40]}", "for example by=1")
        params = {"key": check_key(key), "by": by, "ttl_s": check_ttl(ttl_s)}
        row = await self._db.one(self._q["incr"], params)
        if row is not None:
            return int(row[0])
        now = await self.get(key) or b""
        if len(now) <= 20 and now.removeprefix(b"-").isdigit():
            raise UsageError(f"{now.decode()} plus {by} has more than 64 bits", "set the key to a smaller number first")
        raise UsageError(f"the value of {key[:60]!r} is not a whole number", "incr counts up decimal text such as 41")

    async def compare_and_set(self, key: str, expected: int, value: bytes | str, *, ttl_s: float | None = None) -> int:
        """Keep `value` if the key still has the version `expected`, 0 for a key that is not there; its new version. As
        with `set`, without `ttl_s` it has no end.

        Raises ConflictError where somebody else was first; nothing is changed then. A version is never seen twice on
        a key, also where it was deleted and made anew.
        """
        if not isinstance(expected, int) or isinstance(expected, bool) or expected not in INT8 or expected < 0:
            raise UsageError(f"a version is a whole number, not {str(expected)[:40]}", "take it from get_entry(key)")
        if expected == 0:
            version = await self.add(key, value, ttl_s=ttl_s)
        else:
            params = {"key": check_key(key), "value": check_value(key, value), "ttl_s": check_ttl(ttl_s)}
            row = await self._db.one(self._q["compare_and_set"], {**params, "expected": expected})
            version = None if row is None else int(row[0])
        if version is None:
            now = await self.get_entry(key)
            has = "is not there" if now is None else f"has version {now.version}"
            raise ConflictError(f"{key[:60]!r} {has}, not {expected}", "read it again, decide again, and retry")
        return version

    async def scan(
        self, *, prefix: str | None = None, glob: str | None = None, limit: int = 100, after: str | None = None
    ) -> KvPage:
        r"""Entries in byte order of their keys, at most `limit` (up to 10,000), from above the key `after`.

        `prefix` is meant literally. In a `glob` * ? and [a-z] are wildcards and \* is a star; it matches the whole
        key. One call reads 10,000 keys at most: a page may hold fewer than `limit`, even none, and still have a
        `next`. Each page is a moment of its own.
        """
        if limit < 1 or limit > MAX_SCAN:
            raise UsageError(f"a page has 1 to {MAX_SCAN:,} entries, not {limit:,}", "go on with after=page.next")
        found = _range(prefix, glob)
        params = {
            "low": found.low, "high": found.high, "pattern": found.pattern, "limit": limit, "looked": MAX_SCAN,
            "after": "" if after is None else check_key(after),
        }  # fmt: skip
        rows = await self._db.all(self._q["scan"], params)
        entries = [KvEntry(*row[:5]) for row in rows if row[5]]
        if len(entries) > limit:
            return KvPage(tuple(entries[:limit]), entries[limit - 1].key)
        more = bool(rows) and rows[-1][6] == MAX_SCAN
        return KvPage(tuple(entries), rows[-1][0] if more else None)

    async def purge_expired(self, *, batch: int = 1_000, budget_s: float = 1.0) -> Purged:
        """Delete expired rows, at most `batch` a transaction, until the whole table was walked or `budget_s` seconds
        are over; the next call goes on where this one stopped. Live rows are never touched, nor is one that someone
        else is writing or purging."""
        return await self._purge.run(batch, budget_s)

    async def count_expired(self, cap: int = 100_000) -> Counted:
        """How many rows have expired and wait for the purge; beyond `cap` it is "at least"."""
        if cap < 1:
            raise UsageError("a cap is at least 1", "leave it out for 100,000")
        row = await self._db.one(self._q["count_expired"], {"cap": cap})
        count = 0 if row is None else int(row[0])
        return Counted(min(count, cap), count <= cap)


def _range(prefix: str | None, glob: str | None) -> Range:
    if prefix is not None and glob is not None:
        raise UsageError("a scan takes a prefix or a glob, not both", r"a prefix is the glob that ends with *")
    if glob is not None:
        return glob_range(check_text(glob, "a glob", 2_000, "shorten it"))
    return prefix_range("" if not prefix else check_text(prefix, "a prefix", 2_000, "shorten it"))
