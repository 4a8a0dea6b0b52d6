"""How long events are kept, and a log that has come to another cluster.

Floor 2, under events.py. Retention takes whole days: it truncates a slot of the ring once all in it is old enough and
every cursor has passed it. Nobody waits for that longer than a tenth of a second; it is tried again.
"""

from time import monotonic

from psycopg import sql

from pgops.database import AsyncDatabase
from pgops.errors import PgopsError, RefusedError, UnreachableError, UsageError
from pgops.queries import load
from pgops.services.models import Expiring, PurgedEvents, Rebased, Retention

Q = load("pgops.services", "event_upkeep.sql")

COUNT_CAP = 100_000
MIXED_S = 1.5 * 86_400
BATCH = 5_000
_HOUR, _DAY = 3_600.0, 86_400.0


class AsyncEventUpkeep:
    """The log's housekeeping."""

    _db: AsyncDatabase

    async def retention(self) -> Retention:
        """How long events are kept."""
        row = await self._db.one(Q["retention"])
        return Retention(*(row or (7 * _DAY, None, 30 * _DAY)))

    async def set_retention(
        self, *, keep_s: float, force_after_s: float | None = None, inbox_keep_s: float = 30 * _DAY
    ) -> Retention:
        """Keep events for `keep_s` seconds, an hour to 30 days, and until every subscription has passed them; with
        `force_after_s` no longer than that, whoever has not. The consumers' inbox for `inbox_keep_s`.

        Raises UsageError for a time out of bounds.
        """
        if not _HOUR <= keep_s <= 30 * _DAY:
            raise UsageError("events are kept for an hour to 30 days: the ring has room for 31", "for example 7d")
        if force_after_s is not None and not keep_s <= force_after_s <= 30 * _DAY:
            raise UsageError(
                "events go by force no earlier than they go anyway, and within 30 days", "leave it out to never force"
            )
        if not _HOUR <= inbox_keep_s <= 3_650 * _DAY:
            raise UsageError("the inbox is kept for an hour to ten years", "for example 30d")
        values = {"keep_s": keep_s, "force_after_s": force_after_s, "inbox_keep_s": inbox_keep_s}
        await self._db.execute(Q["set_retention"], values)
        return Retention(keep_s, force_after_s, inbox_keep_s)

    async def expiring(self) -> list[Expiring]:
        """The slots with events that are old enough to go, oldest first, and who has not passed all of them."""
        keep = await self.retention()
        found = []
        for slot, oldest, newest, newest_xid, now in await self._db.all(Q["slots"]):
            first, last = (now - oldest).total_seconds(), (now - newest).total_seconds()
            mixed = first - last > MIXED_S
            if first < keep.keep_s or (last < keep.keep_s and not mixed):
                continue
            forced = keep.force_after_s is not None and (first if mixed else last) >= keep.force_after_s
            older_than_s = keep.force_after_s if forced and keep.force_after_s is not None else keep.keep_s
            values = {"slot": slot, "older_than_s": older_than_s, "cap": COUNT_CAP}
            behind = tuple((name, count) for name, count in await self._db.all(Q["behind_slot"], values))
            found.append(Expiring(slot, oldest, newest, newest_xid, mixed, forced, behind))
        return found

    async def purge_events(self, *, budget_s: float = 1.0) -> PurgedEvents:
        """Let go of what may go, as far as the budget reaches; of the inbox too. Two at once do not get in each other's
        way. Raises RefusedError without the privilege to delete."""
        until = monotonic() + budget_s
        keep = await self.retention()
        slots = rows = 0
        done = True
        held: set[str] = set()
        lost: dict[str, int] = {}
        for one in await self.expiring():
            if one.behind and not one.forced and not one.mixed:
                held |= {name for name, _ in one.behind}
                continue
            if monotonic() >= until:
                done = False
                break
            if not one.mixed and await self._truncate(one, keep):
                slots += 1
            else:
                gone, through = await self._empty(one, keep, until)
                rows, done = rows + gone, done and through
            if one.forced:
                for name, count in one.behind:
                    lost[name] = lost.get(name, 0) + count
        rows += await self._db.execute(Q["purge_inbox"], {"limit": BATCH})
        return PurgedEvents(slots, rows, tuple(sorted(held)), tuple(sorted(lost.items())), done)

    async def home(self) -> tuple[bool, bool]:
        """Whether the log's transaction ids are those of this cluster, and its cursors of this database."""
        return await _home(self._db)

    async def rebase(self) -> Rebased:
        """Make the log this database's own after a restore or copy: all events and cursors get transaction ids that
        mean the same here. Nothing is skipped; what was under way may be delivered twice. Producers wait meanwhile.

        Raises PgopsError where somebody writes events for longer than five seconds; nothing has changed then.
        """
        async with self._db.transaction() as tx:
            await tx.execute(Q["wait_shortly"])
            await tx.execute(Q["hold_log"])
            await tx.one(Q["hold_cursors"])
            if all(await _home(tx)):
                return Rebased(0, ())
            events = await tx.execute(Q["place_events"])
            await tx.execute(Q["place_cursors"])
            await tx.execute(Q["move_home"])
            backlog = await tx.all(Q["backlogs"], {"cap": COUNT_CAP})
        return Rebased(events, tuple((name, count) for name, count in backlog))

    async def _truncate(self, one: Expiring, keep: Retention) -> bool:
        """Whether the slot is empty now: not where it holds something younger after all, where the privilege is
        missing, or where a writer or reader does not let go within a tenth of a second."""
        table = f"pgops.event_log_{one.slot:02}"
        may = await self._db.one(Q["may_truncate"], {"table": table})
        ages = await self._db.one(Q["slot_ages"], {"slot": one.slot, "keep_s": keep.keep_s})
        if not may or not may[0] or not ages or not ages[0] or ages[1] != one.newest_xid:
            return False
        name = sql.Identifier(*table.split("."))
        try:
            async with self._db.transaction() as tx:
                await tx.execute(Q["wait_a_moment"])
                await tx.execute(sql.SQL("lock table {} in access exclusive mode").format(name))
                row = await tx.one(Q["still_so"], {"slot": one.slot, "xid": one.newest_xid, "forced": one.forced})
                if not row or not row[0]:
                    return False
                await tx.execute(sql.SQL("truncate {}").format(name))
        except PgopsError as error:
            if isinstance(error, RefusedError | UnreachableError):
                raise
            return False
        return True

    async def _empty(self, one: Expiring, keep: Retention, until: float) -> tuple[int, bool]:
        """Delete what may go, transaction by transaction; how much, and whether that was all."""
        rows = 0
        ages = [(keep.keep_s, False)]
        if one.forced and keep.force_after_s is not None:
            ages.append((keep.force_after_s, True))
        for older_than_s, forced in ages:
            values = {"slot": one.slot, "older_than_s": older_than_s, "forced": forced, "limit": BATCH}
            gone = BATCH
            while gone >= BATCH:
                if monotonic() >= until and rows:
                    return rows, False
                gone = await self._db.execute(Q["delete_old"], values)
                rows += gone
        return rows, True


async def _home(db: AsyncDatabase) -> tuple[bool, bool]:
    row = await db.one(Q["home"])
    return (True, True) if row is None else (row[0], row[1])
