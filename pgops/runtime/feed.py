"""The worker's supply: claims ahead of the runners, above the floor, with a sweep below it now and then.

One session of its own, so that claims and completions overlap. A sweep begins on another one, since over many dead
entries it is slow and no claim shall wait for it. The buffer is bounded by what the runners get done in a tenth of a
second, and so by far less than half a lease.
"""

import asyncio
import secrets
from collections.abc import Sequence
from functools import partial
from time import monotonic

from pgops.database import AsyncPool
from pgops.runtime.floors import SWEEP_EVERY_S, Floor, Sweep
from pgops.runtime.job import Desk, RunningJob
from pgops.runtime.outcomes import Outcomes
from pgops.runtime.sessions import worker_session
from pgops.services.leases import IN_TURN, Floors
from pgops.services.models import Claim, Job
from pgops.services.queue import AsyncQueue

POLL_MIN_S, POLL_MAX_S, POLL_QUIET_S = 0.002, 0.050, 0.100
QUIET_AFTER_S = 10.0
MARK_EVERY_S = 0.25
AHEAD_S = 0.1
MAX_BATCH = 1_000


class Feed:
    """Fills `buffer` with claimed jobs of `queues` until `stop` is set."""

    def __init__(
        self,
        db: AsyncPool,
        queues: Sequence[str],
        concurrency: int,
        buffer: "asyncio.Queue[Job | None]",
        outcomes: Outcomes,
        desk: Desk,
        heard: asyncio.Event,
    ) -> None:
        self.waiting = True
        self._heard = heard
        self._db = db
        self._desk = desk
        self._make = partial(RunningJob, desk=desk)
        self._concurrency = concurrency
        self._buffer = buffer
        self._outcomes = outcomes
        self._floors = {queue: Floor() for queue in queues}
        self._turns: dict[str, tuple[int, ...]] = dict.fromkeys(queues, IN_TURN)
        self._sweeps = {queue: Sweep() for queue in queues}
        self._owed: set[str] = set()
        self._ahead = concurrency
        self._marked_at = 0.0
        self._ended_before = 0
        self._unanswered: list[tuple[str, int]] = []

    @property
    def floors(self) -> dict[str, Floors]:
        """What has been claimed up to, by queue."""
        return {queue: floor.claimed for queue, floor in self._floors.items()}

    async def run(self, stop: asyncio.Event) -> None:
        """Claim until `stop`. Raises UnreachableError when the connection is lost; it may be called again."""
        async with worker_session(self._db) as leases:
            await self.settle(leases)
            wait_s, got_at = POLL_MIN_S, monotonic()
            while not stop.is_set():
                await self._mark(leases)
                got = 0
                for queue in self._floors:
                    got += await self._claim(leases, queue)
                self.waiting = not got and self._room() > 0
                if got:
                    wait_s, got_at = POLL_MIN_S, monotonic()
                if self.waiting:
                    most_s = POLL_MAX_S if monotonic() - got_at < QUIET_AFTER_S else max(POLL_MAX_S, POLL_QUIET_S)
                    wait_s = POLL_MIN_S if await self._told(wait_s) else min(wait_s * 1.5, most_s)
                elif self._room() == 0:
                    await asyncio.sleep(wait_s)

    async def settle(self, leases: AsyncQueue) -> None:
        """Hand back what claims may have got whose answer was lost with the connection."""
        while self._unanswered:
            queue, token = lost = self._unanswered.pop()
            try:
                await leases.release(queue, await leases.claimed(queue, owner=self._desk.owner, token=token), token)
            except BaseException:
                self._unanswered.append(lost)
                raise

    async def _told(self, wait_s: float) -> bool:
        """Wait for a hint, but no longer than `wait_s`; whether one came."""
        try:
            await asyncio.wait_for(self._heard.wait(), wait_s)
        except TimeoutError:
            return False
        self._heard.clear()
        return True

    async def _claim(self, leases: AsyncQueue, queue: str) -> int:
        """A sweep that goes on or is owed comes first: behind a backlog there would never be room for it."""
        sweep, swept = self._sweeps[queue], 0
        mine = queue in self._owed or (sweep.passing and monotonic() >= sweep.due_at)
        if mine:
            swept = await self._pass(leases, queue)
        room = self._room()
        if not room or (mine and sweep.held_back):
            return swept
        floor, started_at = self._floors[queue], monotonic()
        claim = await self._take(leases, queue, room, floor.scan())
        floor.after_claim(claim, room, started_at)
        return len(claim.jobs) + swept

    async def sweep(self, leases: AsyncQueue) -> None:
        """Begin a sweep of each queue where one is due: on another session than the claims, which need not wait for it.
        Where there is no room now, or where it finds more than that, `run` sees to it before it claims."""
        await self.settle(leases)
        for queue, sweep in self._sweeps.items():
            if sweep.passing or queue in self._owed or monotonic() < sweep.due_at:
                continue
            if not self._db.pooler and not await leases.try_sweeper(queue):
                sweep.due_at = monotonic() + SWEEP_EVERY_S
            elif self._room():
                await self._pass(leases, queue)
            else:
                self._owed.add(queue)

    async def _pass(self, leases: AsyncQueue, queue: str) -> int:
        sweep, room, began = self._sweeps[queue], self._room(), monotonic()
        if not room:
            return 0
        self._owed.discard(queue)
        start = sweep.start if sweep.passing else sweep.begin(await leases.draw_line(), began)
        claim = await self._take(leases, queue, room, start)
        now = monotonic()
        sweep.after_claim(claim, room, now, now - began, self._floors[queue].claimed)
        return len(claim.jobs)

    async def _take(self, leases: AsyncQueue, queue: str, limit: int, floors: Floors) -> Claim:
        token = secrets.randbits(63)
        try:
            claim = await leases.claim(
                queue, owner=self._desk.owner, token=token, limit=limit, floors=floors, turns=self._turns[queue],
                make=self._make,
            )  # fmt: skip
        except BaseException:
            self._unanswered.append((queue, token))
            raise
        if claim.jobs:
            self._outcomes.claimed(claim)
            for job in claim.jobs:
                self._buffer.put_nowait(job)
        return claim

    async def _mark(self, leases: AsyncQueue) -> None:
        """Note where arrival stands, and how far ahead of the runners to claim."""
        now = monotonic()
        if now - self._marked_at < MARK_EVERY_S:
            return
        seq, ended = await leases.note(), self._outcomes.stats.ended
        for queue, floor in self._floors.items():
            floor.marked(now, seq)
            self._turns[queue] = await leases.turns(queue, floor.claimed) if floor.behind else IN_TURN
        rate = (ended - self._ended_before) / (now - self._marked_at)
        self._ahead = int(max(self._concurrency, min(rate * AHEAD_S, 2 * MAX_BATCH)))
        self._marked_at, self._ended_before = now, ended

    def _room(self) -> int:
        """How many jobs to claim now: none before half of the buffer is used up."""
        room = self._ahead - self._buffer.qsize()
        return min(room, MAX_BATCH) if room * 2 >= self._ahead else 0
