"""The requeue ladder: one dead letter starts over, then ten, then the rest at a rate, until their error comes back.

Floor 3, under actions.py. Every step commits by itself and the trail is told after each, so that whatever ends it
leaves nothing half done. A job that fails again is seen at its first failure, not after the last of its attempts.
"""

import asyncio
from collections.abc import Sequence
from math import ceil
from time import monotonic

from pgops.database import AsyncDatabase, AsyncPool
from pgops.ops.act import audit
from pgops.ops.act.acting import Action
from pgops.ops.act.actions_jobs import Done, narrowed
from pgops.ops.act.ladder_rules import ALL_WENT, Climb, check_rate, said
from pgops.ops.wording import duration, many
from pgops.queries import load
from pgops.services.models import JobMatch, JsonValue
from pgops.services.queue import AsyncQueue

Q = load("pgops.ops.act", "ladder.sql")

RUNGS = (1, 10)
AT_ONCE = 1_000
LOOK_EVERY_S = 0.25
PATIENCE_S = 600.0


async def carry_out(db: AsyncPool, action: Action) -> tuple[Done, dict[str, JsonValue]]:
    """Climb to the top, or to where it stops; what it did, in words and in numbers."""
    rate = check_rate(action)
    queue = AsyncQueue(db)
    await queue.require(action.target)
    ids = list(action.ids) or await queue.dead_matching(action.target, action.match or JobMatch())
    climb = Climb(action.target, ids[::-1], len(ids))
    detail: dict[str, JsonValue] = {**narrowed(action), "rate_per_s": rate}
    async with audit.long_act(db, action.name, action.target, matched=len(ids), detail=detail) as act:
        for rung in RUNGS:
            if climb.left and not climb.why:
                await _go(db, climb, act, rung)
                await _wait(db, climb, act)
                climb.judge()
        if climb.left and not climb.why:
            climb.rung += 1
        await _rest(db, climb, act, rate)
        climb.why = climb.why or ALL_WENT
        act.detail = climb.detail
    return Done(climb.of, climb.went, act.id, said(climb)), climb.detail


async def _go(db: AsyncPool, climb: Climb, act: audit.Act, jobs: int) -> None:
    """The next so many start over, in one transaction with what the trail says of them. What is no dead letter any
    more is passed by."""
    if await _stands_still(db, climb):
        return
    batch = [climb.left.pop() for _ in range(min(jobs, len(climb.left)))]
    climb.rung += 1 if climb.rung < len(RUNGS) else 0
    async with db.transaction() as tx:
        dead = [id for state, id, _ in await _where(tx, climb, batch) if state == "dead"]
        if dead:
            await AsyncQueue(tx).requeue_dead(climb.queue, dead)
            climb.took([(id, last) for state, id, last in await _where(tx, climb, dead) if state != "dead"])
        await _note(tx, climb, act)


async def _stands_still(db: AsyncPool, climb: Climb) -> bool:
    row = await db.one(Q["is_paused"], {"queue": climb.queue})
    if row is not None and row[0]:
        climb.why = "the queue is paused"
    return bool(climb.why)


async def _wait(db: AsyncPool, climb: Climb, act: audit.Act) -> None:
    """Until all that are out have ended, or there is a reason to stop."""
    since = monotonic()
    while climb.out and not climb.why:
        await asyncio.sleep(LOOK_EVERY_S)
        since = await _look(db, climb, act, since)


async def _rest(db: AsyncPool, climb: Climb, act: audit.Act, rate: float) -> None:
    """The others at the rate, but never more at once than workers keep up with."""
    began = since = monotonic()
    gone = 0
    while climb.left and not climb.why:
        due = min(ceil((monotonic() - began) * rate) - gone, AT_ONCE - len(climb.out), len(climb.left))
        if due > 0:
            await _go(db, climb, act, due)
            gone += due
        await asyncio.sleep(LOOK_EVERY_S)
        since = await _look(db, climb, act, since)
    await _wait(db, climb, act)


async def _look(db: AsyncPool, climb: Climb, act: audit.Act, since: float) -> float:
    """See what became of those that are out; since when nothing has."""
    if climb.saw(await _where(db, climb, [*climb.out])):
        await _note(db, climb, act)
        return monotonic()
    if not climb.out or await _stands_still(db, climb):
        return monotonic()
    if monotonic() - since > PATIENCE_S:
        climb.why = f"for {duration(PATIENCE_S)} none of {many(len(climb.out), 'job')} has ended"
    return since


async def _where(db: AsyncDatabase, climb: Climb, ids: Sequence[int]) -> list[tuple[str, int, str]]:
    rows = await db.all(Q["where_are"], {"queue": climb.queue, "ids": [*ids]}) if ids else []
    return [(state, id, last) for state, id, last in rows]


async def _note(db: AsyncDatabase, climb: Climb, act: audit.Act) -> None:
    act.changed, act.detail = climb.went, climb.detail
    await audit.note(db, act)


async def progress(db: AsyncPool, queue: str, status: audit.Status = "started") -> str:
    """How far the last ladder of a queue is, or was where it ended with that status; "" where there is none."""
    for one in await audit.list(db, 100):
        if (one.action, one.target, one.status) == ("requeue_ladder", queue, status) and isinstance(one.detail, dict):
            told = one.detail
            return (
                f"rung {told.get('rung', 1)}: {told.get('went', 0)} of {one.matched} went,"
                f" {told.get('ended', 0)} ended, {told.get('came_back', 0)} came back"
            )
    return ""
