"""Jobs page by page: each page is one range of an index from a cursor on, however many jobs there are.

A base of `AsyncQueue`. A page that is searched looks at a bounded number of rows and says where it stopped.
"""

from collections.abc import Sequence
from difflib import get_close_matches

from psycopg import sql

from pgops.database import AsyncDatabase, Row
from pgops.errors import NotFoundError, RefusedError
from pgops.queries import load
from pgops.services.arguments import MAX_PAYLOAD_BYTES, check_queue
from pgops.services.job_match import (
    FAR_END,
    SCAN,
    Cursor,
    Walk,
    check_page,
    conditions,
    cursor_of,
    direction,
    edge,
    turns,
    values,
)
from pgops.services.models import JobMatch, JobPage, JobRow, JobState, read_json

PAGES = load("pgops.services", "job_pages.sql")
Q = load("pgops.services", "queue.sql")

CUT = '"(a large payload: open the job to see it)"'


class AsyncJobPages:
    """Jobs one by one and page by page, over one database object; a base of `AsyncQueue`."""

    _db: AsyncDatabase

    async def page(
        self,
        queue: str,
        *,
        state: JobState | None = None,
        after: str | None = None,
        before: str | None = None,
        limit: int = 50,
        match: JobMatch | None = None,
        scan: int = SCAN,
        cut_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> JobPage:
        """Up to `limit` jobs of one state in the order that matters there (claim order, due time, start, the youngest
        death first), or of each state in turn: from the first one on, `after` a cursor of an earlier page, or `before`
        one; before "end" is the last page. With `match` those that match, of `scan` rows that are looked at, at most.
        A payload of more than `cut_bytes` comes as a text that says so. Raises NotFoundError for an unknown queue and
        UsageError for what is no cursor."""
        await self.require(queue)
        check_page(after, before, limit, scan, match)
        if match is not None and match.id is not None:
            return await self._by_id(queue, match.id, state)
        back = before is not None
        start = None if before == FAR_END else cursor_of(before or after, state)
        walk = Walk(limit, limit + 1 if match is None else scan, back)
        params = {"queue": queue, "cut_bytes": cut_bytes, "cut": CUT, **values(match)}
        matching = conditions(match)
        for each in turns(start, state, back=back):
            cursor = start if start is not None and start.state == each else edge(each, back=back)
            statement = sql.SQL(PAGES[f"page_{each}"].decode()).format(matching=matching, **direction(each, back=back))
            rows = await self._db.all(statement, {**params, **walk.asks(cursor)})
            walk.took([(*_seen(queue, each, row), row[-2], row[-1]) for row in rows])
            if walk.done:
                break
        return walk.page(after, start)

    async def _by_id(self, queue: str, id: int, state: JobState | None) -> JobPage:
        try:
            job = await self.job(queue, id)
        except NotFoundError:
            return JobPage(())
        return JobPage((job,) if state in (None, job.state) else ())

    async def jobs(
        self, queue: str, *, state: JobState | None = None, limit: int = 50, cut_bytes: int = MAX_PAYLOAD_BYTES
    ) -> list[JobRow]:
        """Jobs of one state in the order that matters there (claim order, due time, start, death), or the first of
        each state. A payload of more than `cut_bytes` comes as a text that says so. Raises NotFoundError for an
        unknown queue."""
        return list((await self.page(queue, state=state, limit=limit, cut_bytes=cut_bytes)).jobs)

    async def dead_jobs(self, queue: str, ids: Sequence[int], *, cut_bytes: int = MAX_PAYLOAD_BYTES) -> list[JobRow]:
        """Those of these jobs that are dead letters, the youngest first. Raises NotFoundError for an unknown queue."""
        await self.require(queue)
        values = {"queue": queue, "ids": list(ids), "cut_bytes": cut_bytes, "cut": CUT}
        return [_job_row(queue, row) for row in await self._db.all(Q["list_dead_named"], values)]

    async def job(self, queue: str, id: int) -> JobRow:
        """One job, wherever it stands. Raises NotFoundError."""
        await self.require(queue)
        row = await self._db.one(Q["find_job"], {"queue": queue, "id": id})
        if row is None:
            raise NotFoundError(
                f"queue {queue!r} has no job {id}",
                "it may be completed; a queue keeps completed jobs only with history 'all'",
            )
        return _job_row(queue, row)

    async def require(self, queue: str) -> None:
        """Raise NotFoundError, with near names, unless the queue exists; RefusedError for one of pgmq."""
        names = [row[0] for row in await self._db.all(Q["queue_names"])]
        if queue not in names:
            await self.refuse_pgmq(queue)
            near = get_close_matches(queue, names, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "see: pgops queue list"
            raise NotFoundError(f"there is no queue {queue!r}", hint)

    async def refuse_pgmq(self, queue: str) -> None:
        """Raise RefusedError where the name is that of a queue of pgmq in this database, and of none here."""
        row = await self._db.one(Q["is_pgmq"], {"queue": check_queue(queue)})
        if row and row[0]:
            raise RefusedError(
                f"{queue!r} is a queue of pgmq, which has messages, not jobs: no priorities, groups, unique keys, "
                "pauses, cancels or workers",
                "what it can do: pgops queue pgmq --help",
            )


def _job_row(queue: str, row: Row) -> JobRow:
    state, id, kind, priority, attempt, of, payload, errors, *times, group_key, unique_key, progress = row
    created_at, run_at, started_at, lease_until, owner = times
    return JobRow(
        queue=queue, id=id, state=state, kind=kind, priority=priority, attempt=attempt, max_attempts=of,
        payload=read_json(payload), errors=tuple(read_json(errors) or ()), created_at=created_at,
        run_at=run_at, started_at=started_at, lease_until=lease_until, owner=owner, group_key=group_key,
        unique_key=unique_key, progress=read_json(progress),
    )  # fmt: skip


def _seen(queue: str, state: JobState, row: Row) -> tuple[JobRow, Cursor]:
    """A row of a page: the job and its place."""
    *of_the_job, first, second = row[:-2]
    return _job_row(queue, tuple(of_the_job)), Cursor(state, first, second)
