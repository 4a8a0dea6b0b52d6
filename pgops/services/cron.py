"""Recurring jobs: entries with a timetable, each tick of which adds one job to a queue.

Floor 2. Every worker looks for due entries of all queues (runtime/maintenance.py). Whoever moves an entry on, under the
row's lock, adds the job in the same transaction, so that each tick is taken once however many look; when a tick is due
the database's clock says. A tick's job carries the headers `cron` (the entry's name) and `tick` (the time it stood
for). While the job of the tick before is not done, a tick adds none, unless `overlap` lets it: nothing piles up where
workers are away. Timetables are the business of cron_rules.py.
"""

from datetime import datetime
from difflib import get_close_matches
from itertools import islice

from pgops.database import AsyncDatabase, Row
from pgops.errors import ConflictError, NotFoundError, PgopsError, UnreachableError, UsageError
from pgops.queries import load
from pgops.services.cron_rules import Timetable, check_name, find_timezone, new_cron, turn
from pgops.services.models import CronEntry, Enqueued, JsonValue, NewCron, Ticked, WhenMissed, read_json

Q = load("pgops.services", "cron.sql")


class AsyncCron:
    """The recurring jobs of one database: `pg.queue.cron`."""

    def __init__(self, db: AsyncDatabase) -> None:
        self._db = db

    async def add(
        self,
        name: str,
        expression: str,
        queue: str,
        payload: JsonValue = None,
        *,
        kind: str = "default",
        priority: int = 2,
        timezone: str = "UTC",
        missed: WhenMissed = "skip",
        overlap: bool = False,
        replace: bool = True,
    ) -> CronEntry:
        """Add a job to `queue` whenever `expression` fires in `timezone`: "0 3 * * *", "*/10 * * * * *" with seconds,
        or "@daily"; a payload of None is an empty object. An entry of that name is replaced and stays paused if it was.

        Ticks that nobody took in time, since no worker ran, are passed over and counted (`missed` "skip": later than a
        minute, or than the tick after them), or become one job ("once").

        Raises UsageError for a bad name, an expression that is none or never fires, and an unknown time zone;
        ConflictError without `replace` where there is such an entry.
        """
        entry = new_cron(
            name, expression, queue, payload, kind=kind, priority=priority, timezone=timezone, missed=missed,
            overlap=overlap,
        )  # fmt: skip
        return await self.put(entry, replace=replace)

    async def put(self, entry: NewCron, *, replace: bool = True) -> CronEntry:
        """The same for an entry that was made and checked before."""
        values = {
            "name": entry.name, "expression": entry.expression, "timezone": entry.timezone, "queue": entry.queue,
            "kind": entry.kind, "payload": entry.payload_json, "priority": entry.priority, "missed": entry.missed,
            "overlap": entry.overlap, "replace": replace,
            "next_at": Timetable(entry.expression, entry.timezone).first_after(await self._clock()),
        }  # fmt: skip
        if await self._db.one(Q["put_cron"], values) is None:
            raise ConflictError(
                f"there is a recurring job {entry.name!r} already", "replace it, or choose another name"
            )
        return await self.get(entry.name)

    async def remove(self, name: str) -> None:
        """Drop it; jobs that it has added stay. Raises NotFoundError, with near names."""
        if not await self._db.execute(Q["remove_cron"], {"name": name}):
            raise await self._missing(name)

    async def pause(self, name: str) -> None:
        """No more ticks until `resume`. Raises NotFoundError, with near names."""
        if not await self._db.execute(Q["pause_cron"], {"name": name}):
            raise await self._missing(name)

    async def resume(self, name: str) -> None:
        """Go on with the next tick from now. Raises NotFoundError, with near names."""
        async with self._db.transaction() as tx:
            row = await tx.one(Q["lock_cron"], {"name": name})
            if row is None:
                raise await self._missing(name)
            paused, expression, timezone, now = row
            if paused:
                next_at = Timetable(expression, timezone).first_after(now)
                await tx.execute(Q["resume_cron"], {"name": name, "next_at": next_at})

    async def run_now(self, name: str) -> Enqueued:
        """Add its job now, beside the timetable and also while it is paused. Without `overlap` the job before goes
        first: where it is not done, none is added and its id returned. Raises NotFoundError, with near names."""
        row = await self._db.one(Q["run_cron"], {"name": name})
        if row is None:
            raise await self._missing(name)
        return Enqueued(*row)

    async def next_runs(self, expression: str, timezone: str = "UTC", count: int = 5) -> tuple[datetime, ...]:
        """When an expression fires next, in its time zone. Raises UsageError as `add` does."""
        if not 1 <= count <= 1_000:
            raise UsageError(f"a count is 1 to 1,000, not {count}", "leave it out for 5")
        zone = find_timezone(timezone)
        fires = Timetable(expression, timezone).check().after(await self._clock())
        return tuple(at.astimezone(zone) for at in islice(fires, count))

    async def tick(self, *, limit: int = 1_000) -> Ticked:
        """Serve what is due, each entry in a transaction of its own. Workers call it once a second; any number may
        at once. An entry that cannot be served keeps none of the others from it."""
        jobs = skipped = 0
        broken: list[tuple[str, str]] = []
        for name, expression, timezone, missed, due, now in await self._db.all(Q["due"], {"limit": limit}):
            try:
                todo = turn(Timetable(expression, timezone), missed, due, now)
                values = {
                    "name": name, "expression": expression, "timezone": timezone, "missed": missed, "due": due,
                    "ticks": list(todo.ticks), "passed": todo.passed, "next_at": todo.next_at,
                }  # fmt: skip
                row = await self._db.one(Q["take_ticks"], values)
            except UnreachableError:
                raise
            except PgopsError as error:
                broken.append((name, str(error)))
                continue
            assert row is not None
            jobs, skipped = jobs + row[0], skipped + row[1]
        return Ticked(jobs, skipped, tuple(broken))

    async def get(self, name: str) -> CronEntry:
        """One entry. Raises NotFoundError, with near names."""
        row = await self._db.one(Q["list_cron"], {"name": check_name(name)})
        if row is None:
            raise await self._missing(name)
        return _entry(row)

    async def list(self) -> tuple[CronEntry, ...]:
        """All entries, by name."""
        return tuple(_entry(row) for row in await self._db.all(Q["list_cron"], {"name": None}))

    async def _clock(self) -> datetime:
        row = await self._db.one(Q["clock"])
        assert row is not None
        now: datetime = row[0]
        return now

    async def _missing(self, name: str) -> NotFoundError:
        names = [row[0] for row in await self._db.all(Q["cron_names"])]
        near = get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see: pgops queue cron list"
        return NotFoundError(f"there is no recurring job {name!r}", hint)


def _entry(row: Row) -> CronEntry:
    *head, payload, priority, missed, overlap, paused, next_at, last_at, last_id, ticks, skipped, created_at = row
    name, expression, timezone, queue, kind = head
    return CronEntry(
        name=name, expression=expression, timezone=timezone, queue=queue, kind=kind, payload=read_json(payload),
        priority=priority, missed=missed, overlap=overlap, paused=paused, next_at=next_at, last_at=last_at,
        last_id=last_id, ticks=ticks, skipped=skipped, created_at=created_at,
    )  # fmt: skip
