"""Rate limits: whether one more is allowed now, decided in the database for all processes at once.

Floor 2. A decision is one statement in a transaction of its own, so that a hot key is locked for microseconds and what
was counted is never taken back; a caller's connection is refused. A denial is remembered here for 50 ms at most, in
which the key can only be denied, so that a hot key costs the database little. The limits may be lost in a crash, and
then start anew.
"""

from time import monotonic

from pgops.database import AsyncDatabase, AsyncPool
from pgops.errors import PgopsError, UsageError
from pgops.queries import load
from pgops.services.keys import check_key
from pgops.services.limit_counts import OTHERS, LimitCounts
from pgops.services.limit_rules import Denials, Gcra, Window, check_algorithm, gcra, window
from pgops.services.models import Algorithm, Counted, Decision, LimitStats, Purged
from pgops.services.purging import AsyncPurge

Q = load("pgops.services", "limits.sql")

MOST_NAMES = 1_000


class AsyncLimits:
    """Limits by key: `limit` units in `period_s` seconds. A key is what the caller makes of it, such as "login:ann";
    the algorithms do not see each other's keys.

    gcra: `burst` at once (default: `limit`), then evenly; in any t seconds at most burst + t * limit / period_s.
    fixed_window: `limit` in each window of the clock; around its edge up to twice as much.

    A key that gets another limit is judged by it from then on, with what it has used. Every method raises UsageError
    for a bad argument, and over a caller's connection.
    """

    def __init__(self, db: AsyncDatabase) -> None:
        self._owner = db if isinstance(db, AsyncPool) else None
        self._full, self._over = Denials(), Denials()
        self.counts = LimitCounts()
        self._purges = (
            AsyncPurge(db, Q["count_limit_pages"], Q["purge_limits"]),
            AsyncPurge(db, Q["count_window_pages"], Q["purge_windows"]),
        )

    async def hit(
        self, key: str, limit: int, period_s: float, *, burst: int | None = None, cost: int = 1,
        algorithm: Algorithm = "gcra",
    ) -> Decision:  # fmt: skip
        """Take `cost` units if they are allowed now; a denial takes nothing."""
        key = check_key(key)
        if check_algorithm(algorithm) == "gcra":
            said = await self._hit_gcra(key, gcra(limit, period_s, burst, cost))
        else:
            said = await self._hit_window(key, window(limit, period_s, burst, cost))
        self.counts.add(key, not said.allowed)
        if self.counts.due():
            await self.flush()
        return said

    async def peek(
        self, key: str, limit: int, period_s: float, *, burst: int | None = None, cost: int = 1,
        algorithm: Algorithm = "gcra",
    ) -> Decision:  # fmt: skip
        """What `hit` would say now; takes nothing, so that `remaining` is before it."""
        key = check_key(key)
        if check_algorithm(algorithm) == "gcra":
            return await self._peek_gcra(key, gcra(limit, period_s, burst, cost))
        return await self._peek_window(key, window(limit, period_s, burst, cost))

    async def reset(self, key: str) -> bool:
        """Forget what the key has used, by either algorithm; whether there was something. Other processes may go on
        denying it for 50 ms."""
        row = await self._own().one(Q["reset"], {"key": check_key(key)})
        self._full.forget(key)
        self._over.forget(key)
        return row is not None and row[0] > 0

    async def stats(self, *, limit: int = 50) -> list[LimitStats]:
        """What was decided by all processes as far as they were flushed, by the name of the limit (what stands before
        the first colon of its key), the most denied first."""
        await self.flush()
        return [LimitStats(*row[:4]) for row in await self._own().all(Q["read_limits"], {"limit": limit})]

    async def flush(self) -> bool:
        """Add what was decided in this process to the totals. It does so by itself every five seconds, and at the end.
        False where that is not possible now: no decision fails for a statistic, and the counts stay."""
        taken = self.counts.take()
        if not taken or self._owner is None:
            return True
        names = sorted(taken)
        values = {
            "names": names, "decisions": [taken[name][0] for name in names],
            "denied": [taken[name][1] for name in names], "cap": MOST_NAMES, "others": OTHERS,
        }  # fmt: skip
        try:
            await self._owner.execute(Q["flush_limits"], values)
        except PgopsError:
            self.counts.give_back(taken)
            return False
        return True

    async def purge_expired(self, *, batch: int = 1_000, budget_s: float = 1.0) -> Purged:
        """Delete rows that say nothing any more, at most `batch` a transaction and for `budget_s` seconds; the next
        call goes on where this one stopped. No decision changes by it."""
        self._own()
        done = [await purge.run(batch, budget_s / len(self._purges)) for purge in self._purges]
        return Purged(sum(one.rows for one in done), sum(one.batches for one in done), all(one.done for one in done))

    async def count_expired(self, cap: int = 100_000) -> Counted:
        """How many rows wait for the purge; beyond `cap` it is "at least"."""
        if cap < 1:
            raise UsageError("a cap is at least 1", "leave it out for 100,000")
        row = await self._own().one(Q["count_expired"], {"cap": cap})
        count = 0 if row is None else int(row[0])
        return Counted(min(count, cap), count <= cap)

    async def _hit_gcra(self, key: str, rule: Gcra) -> Decision:
        began = monotonic()
        if (known := self._full.look(key, began)) and known[1] > rule.room:
            return rule.decision(False, known[1])
        params = {"key": key, "increment": rule.increment, "room": rule.room}
        row = await self._own().one(Q["hit_gcra"], params)
        if row is not None:
            return rule.decision(True, row[0])
        ahead_us = await self._ahead_us(key)
        self._full.keep(key, began, 0, ahead_us)
        return rule.decision(False, ahead_us)

    async def _peek_gcra(self, key: str, rule: Gcra) -> Decision:
        ahead_us = await self._ahead_us(key)
        return rule.decision(ahead_us <= rule.room, ahead_us)

    async def _ahead_us(self, key: str) -> int:
        row = await self._own().one(Q["peek_gcra"], {"key": key})
        return 0 if row is None else int(row[0])

    async def _hit_window(self, key: str, rule: Window) -> Decision:
        began = monotonic()
        if (known := self._over.look(key, began)) and known[1] > 0 and known[0] + rule.cost > rule.limit:
            return rule.decision(False, *known)
        params = {"key": key, "period": rule.period_us, "limit": rule.limit, "cost": rule.cost}
        row = await self._own().one(Q["hit_window"], params)
        if row is not None:
            return rule.decision(True, *row)
        used, left_us = await self._used(key)
        self._over.keep(key, began, used, left_us)
        return rule.decision(False, used, left_us)

    async def _peek_window(self, key: str, rule: Window) -> Decision:
        used, left_us = await self._used(key)
        return rule.decision(used + rule.cost <= rule.limit, used, left_us)

    async def _used(self, key: str) -> tuple[int, int]:
        """What is used of the window that runs, and how long it lasts."""
        row = await self._own().one(Q["peek_window"], {"key": key})
        return (0, 0) if row is None or row[1] <= 0 else (int(row[0]), int(row[1]))

    def _own(self) -> AsyncPool:
        if self._owner is None:
            raise UsageError(
                "a rate limit is decided in a transaction of its own, not in the caller's",
                "call it on the client, pg.limits.hit(…), before the transaction begins",
            )
        return self._owner
