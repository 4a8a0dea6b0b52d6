"""What an act keeps of what it changes, so that it can be undone: in its own transaction, up to a bound.

Floor 3, under the acts. The rule: what is kept is locked first, and the act hits exactly that; beyond the bound nothing
is kept, and the preview says so before.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgops.database import AsyncDatabase
from pgops.ops.act.acting import Action
from pgops.ops.wording import size
from pgops.queries import load
from pgops.services.arguments import encode_json
from pgops.services.models import JsonValue
from pgops.services.queue import AsyncQueue

Q = load("pgops.ops.act", "undo.sql")

KEEP_ROWS = 10_000
KEEP_BYTES = 64 * 1024**2
KEEP_DAYS = 7
CAN = f"can be undone for {KEEP_DAYS} days: pgops audit undo"


@dataclass(frozen=True, slots=True)
class Kept:
    """The act's id, None where nothing was kept, and exactly the ids to hit; none with `every`: all that there are."""

    act: int | None
    ids: tuple[int, ...]
    every: bool = False

    @property
    def empty(self) -> bool:
        return not self.ids and not self.every


async def keep_dead(tx: AsyncDatabase, action: Action) -> Kept:
    """Lock and keep the dead letters that are to be hit. Raises NotFoundError for an unknown queue."""
    queue = AsyncQueue(tx)
    await queue.require(action.target)
    ids = action.ids
    if action.match is not None and not ids:
        ids = tuple(await queue.dead_matching(action.target, action.match))
        if not ids:
            return Kept(None, ())
    if not await may_keep(tx):
        return Kept(None, ids, not ids)
    asked = {"queue": action.target, "ids": [*ids], "all": not ids, "most": KEEP_ROWS}
    row = await tx.one(Q["lock_dead"], asked)
    locked, bytes = row if row is not None else ([], 0)
    if not fits(len(locked), bytes):
        return Kept(None, ids, not ids)
    if not locked:
        return Kept(None, ())
    act = await draw(tx)
    await tx.execute(Q["keep_dead"], {"act": act, "queue": action.target, "ids": [*locked]})
    return Kept(act, tuple(locked))


async def mark_requeued(tx: AsyncDatabase, kept: Kept, queue: str) -> None:
    """After dead letters have started over: by what they will be known."""
    if kept.act is not None:
        for name in ("forget_stayed", "mark_requeued"):
            await tx.execute(Q[name], {"act": kept.act, "queue": queue})


async def keep_jobs(tx: AsyncDatabase, action: Action) -> int | None:
    """Lock and keep the jobs among `action.ids` that have not started; the act's id, None where nothing was kept."""
    asked = {"queue": action.target, "ids": [*action.ids], "most": KEEP_ROWS}
    row = await tx.one(Q["weigh_jobs"], asked)
    if row is None or not row[0] or not fits(*row) or not await may_keep(tx):
        return None
    act = await draw(tx)
    return act if await tx.execute(Q["keep_jobs"], {**asked, "act": act}) else None


async def keep_payload(tx: AsyncDatabase, queue: str, job: int, payload: JsonValue) -> int | None:
    """Keep the payload of a job that is about to get another one; the act's id, None where nothing was kept."""
    if not await may_keep(tx):
        return None
    act = await draw(tx)
    await tx.execute(Q["keep_payload"], {"act": act, "queue": queue, "job": job, "payload": encode_json(payload)})
    return act


async def begin(tx: AsyncDatabase) -> int | None:
    """The id of an act that keeps what is set, None where nothing may be kept."""
    return await draw(tx) if await may_keep(tx) else None


async def keep_value(
    tx: AsyncDatabase, act: int | None, stood_in: str, before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]
) -> None:
    """Keep one thing that is set, as it was and as the act sets it."""
    if act is None:
        return
    params = {"act": act, "stood_in": stood_in, "before": json.dumps(before), "after": json.dumps(after)}
    await tx.execute(Q["keep_value"], params)


async def lock_queue(tx: AsyncDatabase, queue: str) -> dict[str, JsonValue]:
    """Whether the queue is paused, and until when; nobody changes it until the transaction ends."""
    row = await tx.one(Q["lock_queue"], {"queue": queue})
    return {} if row is None else json.loads(row[0])


async def draw(tx: AsyncDatabase) -> int:
    """The id that the act's row will have."""
    row = await tx.one(Q["draw_act"])
    assert row is not None
    return int(row[0])


async def may_keep(db: AsyncDatabase) -> bool:
    """Whether this role may keep what it changes."""
    row = await db.one(Q["may_keep"])
    return row is not None and bool(row[0])


def fits(rows: int, bytes: int) -> bool:
    """Whether so much is kept."""
    return rows <= KEEP_ROWS and bytes <= KEEP_BYTES


async def words(db: AsyncDatabase, weigh: str, queue: str, ids: Sequence[int], *, every: bool = False) -> str:
    """Whether an act on these jobs can be undone, as its preview says it; "" where there are none."""
    row = await db.one(Q[weigh], {"queue": queue, "ids": [*ids], "all": every, "most": KEEP_ROWS})
    rows, bytes = row if row is not None else (0, 0)
    if not rows:
        return ""
    if rows > KEEP_ROWS:
        return f"cannot be undone: more than {KEEP_ROWS:,} rows"
    return await can(db) if fits(rows, bytes) else f"cannot be undone: more than {size(KEEP_BYTES)}"


async def can(db: AsyncDatabase) -> str:
    """That an act which keeps what it changes can be undone, or why this role's cannot."""
    return CAN if await may_keep(db) else "cannot be undone: this role may not keep what it changes, see pgops grants"
