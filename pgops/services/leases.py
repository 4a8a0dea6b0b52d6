"""The worker's half of the job queue: claim, complete, fail, extend, take back.

A job is claimed with a batch's token and a lease on the database's clock. Only the living token completes, fails,
extends or releases a job; a late worker changes nothing and is told so.
"""

from collections.abc import Callable, Mapping, Sequence

from pgops.database import AsyncDatabase, AsyncPool
from pgops.queries import load
from pgops.services.arguments import encode_json, error_text
from pgops.services.models import (
    CancelRequest,
    Claim,
    Failed,
    FailedJob,
    Job,
    JsonValue,
    Mark,
    Reaped,
    Verdict,
    WorkerState,
)

Q = load("pgops.services", "leases.sql")

Floors = tuple[int, int, int, int]
NO_FLOORS: Floors = (0, 0, 0, 0)
IN_TURN = (1, 2, 3, 4)
HISTORY_DAYS = 28
HINTS = "pgops_queue"


class AsyncLeases:
    """Leases over one database object; a base of `AsyncQueue`. On pgops' `own` connections a queue's relaxed durability
    holds, on a caller's his own does."""

    def __init__(self, db: AsyncDatabase, *, own: bool | None = None) -> None:
        self._db = db
        self._own = isinstance(db, AsyncPool) if own is None else own
        self._hinted: dict[str, float] = {}

    async def claim(
        self,
        queue: str,
        *,
        owner: int,
        token: int,
        limit: int,
        floors: Floors = NO_FLOORS,
        turns: Sequence[int] = IN_TURN,
        make: Callable[..., Job] = Job,
    ) -> Claim:
        """Up to `limit` ready jobs above `floors`, leased to `owner` under `token` (a random 63-bit number, new for
        each call), priorities in the order of `turns`; `make` makes a Job of its fields. An unknown or paused queue
        gives none."""
        rows = await self._db.all(
            Q["claim"],
            {
                "queue": queue, "owner": owner, "token": token, "limit": limit, "floors": list(floors),
                "turns": list(turns),
            },
        )  # fmt: skip
        cut = bool(rows and rows[0][-1])  # said in a row without a job if need be
        if cut and rows[0][0] is None:
            rows = []
        highest = [0, 0, 0, 0]
        for row in rows:
            highest[row[0] - 1] = row[1]  # rows come in order of seq within a priority
        jobs = tuple(
            make(queue, id, kind, attempt, of, payload, at, token, headers, group_key, unique_key)
            for _, _, id, kind, attempt, of, payload, at, headers, group_key, unique_key, *_ in rows
        )
        return Claim(queue, token, jobs, (highest[0], highest[1], highest[2], highest[3]), cut)

    async def turns(self, queue: str, floors: Floors = NO_FLOORS) -> tuple[int, ...]:
        """The priorities in the order in which their first jobs should be served now, by priority and age."""
        found = [row[0] for row in await self._db.all(Q["turns"], {"queue": queue, "floors": list(floors)})]
        return (*found, *(priority for priority in IN_TURN if priority not in found))

    async def complete(
        self, queue: str, ids: Sequence[int], token: int, *, results: Mapping[int, JsonValue] | None = None
    ) -> list[int]:
        """Finish jobs; the ids that were completed. An id that is missing had lost its lease: nothing was changed.
        `results` by id are kept where the queue's history keeps completed jobs."""
        values = {"queue": queue, "ids": list(ids), "token": token, "own": self._own}
        values["results"] = _json_object(results or {})
        return [row[0] for row in await self._db.all(Q["complete"], values)]

    async def fail(self, queue: str, token: int, failed: Sequence[FailedJob]) -> Failed:
        """End attempts without completing them: as each job's verdict says."""
        rows = await self._db.all(
            Q["fail"],
            {
                "queue": queue,
                "token": token,
                "ids": [job.id for job in failed],
                "verdicts": [job.verdict for job in failed],
                "errors": [error_text(job.error) for job in failed],
                "tracebacks": [error_text(job.traceback) for job in failed],
                "retry_in_s": [None if job.retry_in_s is None else float(job.retry_in_s) for job in failed],
            },
        )
        ended: dict[int, str] = {row[0]: row[1] for row in rows}

        def became(verdict: Verdict) -> tuple[int, ...]:
            return tuple(id for id, its in ended.items() if its == verdict)

        stale = tuple(job.id for job in failed if job.id not in ended)
        return Failed(became("retry"), became("dead"), stale, became("snooze"), became("cancelled"))

    async def release(self, queue: str, ids: Sequence[int], token: int) -> list[int]:
        """Hand jobs back unstarted, without counting an attempt; the ids that went back."""
        rows = await self._db.all(Q["release"], {"queue": queue, "ids": list(ids), "token": token})
        return [row[0] for row in rows]

    async def claimed(self, queue: str, *, owner: int, token: int) -> list[int]:
        """The ids of what `owner` holds under `token`: for a claim whose answer was lost with its connection."""
        rows = await self._db.all(Q["claimed"], {"queue": queue, "owner": owner, "token": token})
        return [row[0] for row in rows]

    async def heartbeat(self, queue: str, ids: Sequence[int], token: int) -> list[int]:
        """Extend the leases of running jobs; the ids that are still held."""
        rows = await self._db.all(Q["heartbeat"], {"queue": queue, "ids": list(ids), "token": token})
        return [row[0] for row in rows]

    async def report_progress(self, queue: str, progress: Mapping[tuple[int, int], JsonValue]) -> None:
        """Note how far running jobs are: by id and token."""
        values = {
            "queue": queue,
            "ids": [id for id, _ in progress],
            "tokens": [token for _, token in progress],
            "progress": [encode_json(value) for value in progress.values()],
        }
        await self._db.execute(Q["report_progress"], values)

    async def cancelled(self, queues: Sequence[str]) -> list[CancelRequest]:
        """Which running jobs of `queues` somebody wants to end."""
        return [CancelRequest(*row) for row in await self._db.all(Q["cancelled"], {"queues": list(queues)})]

    async def want_hints(self, queues: Sequence[str], for_s: float) -> int:
        """Ask producers to say when they add to `queues`, for so many seconds; how many of them exist."""
        return await self._db.execute(Q["want_hints"], {"queues": list(queues), "for_s": for_s})

    # --- maintenance -------------------------------------------------------------------------------------------

    async def reap(self, queue: str, *, everyone: bool = False, limit: int = 1_000) -> Reaped:
        """Take back expired leases of workers without heartbeat, or with `everyone` of anybody. The attempt counts."""
        which = Q["expired_of_anybody" if everyone else "expired"]
        ids = [row[0] for row in await self._db.all(which, {"queue": queue, "limit": limit})]
        row = await self._db.one(Q["reap"], {"queue": queue, "ids": ids}) if ids else None
        return Reaped(row[0], row[1]) if row else Reaped(0, 0)

    async def promote(self, queue: str, *, limit: int = 1_000, within_s: float | None = None) -> int:
        """Move scheduled jobs that are due, or have become so in the last `within_s` seconds, to the ready ones; how
        many they were."""
        row = await self._db.one(Q["promote"], {"queue": queue, "limit": limit, "within_s": within_s})
        return int(row[0]) if row else 0

    async def behead(self, queue: str, *, limit: int = 1_000) -> int:
        """Let groups go on whose last head ended while a producer held them; how many they were."""
        row = await self._db.one(Q["behead"], {"queue": queue, "limit": limit})
        return int(row[0]) if row else 0

    async def mend_groups(self, queue: str) -> int:
        """Groups whose head is nowhere, which `behead` will let go on; how many they were."""
        return await self._db.execute(Q["mend_groups"], {"queue": queue})

    async def forget_keys(self, queue: str) -> None:
        """Clear away unique keys, pauses and wishes to cancel whose time is over."""
        await self._db.execute(Q["forget_keys"], {"queue": queue})

    async def trim_history(self, days: int = HISTORY_DAYS) -> int:
        """Empty the days of the history that are all older; how many they were."""
        row = await self._db.one(Q["trim_history"], {"days": days})
        return int(row[0]) if row else 0

    async def forget_undo(self, most: int = 20) -> int:
        """Let go of what acts have kept to be undone and whose time is over; how many acts they were."""
        row = await self._db.one(Q["forget_undo"], {"most": most})
        return int(row[0]) if row else 0

    async def fold(self, queue: str, *, full: bool = False) -> None:
        """Add the deltas to the queue's total; `full` also finds those that were committed late."""
        await self._db.execute(Q["fold"], {"queue": queue, "full": full})

    async def note(self) -> int:
        """The seq at which arrival stands now."""
        row = await self._db.one(Q["note"])
        assert row is not None
        return int(row[0])

    async def draw_line(self) -> Mark:
        """Where arrival stands now. What is drawn up to it is settled once a later mark's `xmin` reaches its `xmax`."""
        row = await self._db.one(Q["draw_line"])
        assert row is not None
        return Mark(seq=row[0], xmax=row[1], xmin=row[2])

    async def try_sweeper(self, queue: str) -> bool:
        """Whether this session is the queue's sweeper; asking again is harmless."""
        row = await self._db.one(Q["try_sweeper"], {"queue": queue})
        return bool(row and row[0])

    async def enter_session(self) -> None:
        """Prepare a worker's session: each statement planned once, by index. Never through a pooler: it is a SET."""
        await self._db.one(Q["enter_session"])

    async def leave_session(self) -> None:
        """Give the session back as it came."""
        await self._db.one(Q["leave_session"])

    # --- the worker itself -------------------------------------------------------------------------------------

    async def register_worker(self, worker: WorkerState) -> int:
        """Enter a worker into the list of the living; its id, the `owner` of its claims."""
        row = await self._db.one(Q["register_worker"], _worker_values(worker))
        assert row is not None
        return int(row[0])

    async def beat_worker(self, id: int, worker: WorkerState) -> None:
        """The worker's heartbeat; without one for a lease's time its jobs are taken back."""
        await self._db.execute(Q["beat_worker"], {"id": id, **_worker_values(worker)})

    async def forget_worker(self, id: int) -> None:
        """The worker has stopped and holds nothing any more."""
        await self._db.execute(Q["forget_worker"], {"id": id})

    async def forget_lost_workers(self) -> int:
        """Clear away workers that have been silent for long and hold nothing; how many they were."""
        return await self._db.execute(Q["forget_lost_workers"])


def _json_object(values: Mapping[int, JsonValue]) -> str:
    """Each value may be as large as a payload."""
    return "{" + ",".join(f'"{id}":{encode_json(value)}' for id, value in values.items()) + "}"


def _worker_values(worker: WorkerState) -> dict[str, object]:
    return {
        "host": worker.host, "pid": worker.pid, "queues": list(worker.queues), "concurrency": worker.concurrency,
        "lease_s": worker.lease_s, "running": worker.running, "stopping": worker.stopping,
        "floors": encode_json({queue: list(floors) for queue, floors in worker.floors.items()}),
    }  # fmt: skip
