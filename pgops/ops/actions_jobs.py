"""What is done to jobs and queues: start dead letters over, cancel, discard, edit, settings.

Floor 3, under actions.py. Each commits together with its audit row and says (matched, changed, audit id, message).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass

from pgops.database import AsyncPool
from pgops.ops import audit
from pgops.ops.acting import Action, ActionName
from pgops.ops.previews_jobs import LIMITS, current, payload_of, settings, settings_of
from pgops.ops.wording import many
from pgops.services.models import DeadMatch, JsonValue
from pgops.services.queue import AsyncQueue

KEPT_IDS = 1_000


@dataclass(frozen=True, slots=True)
class Done:
    """What it did."""

    matched: int
    changed: int
    audit_id: int
    message: str


async def cancel_jobs(db: AsyncPool, action: Action) -> Done:
    async with db.transaction() as tx:
        found = await AsyncQueue(tx).cancel(action.target, action.ids)
        changed = found.cancelled + found.requested
        detail: dict[str, JsonValue] = {**narrowed(action), "told": found.requested}
        audit_id = await audit.record(tx, action.name, action.target, matched=changed, changed=changed, detail=detail)
    told = f"; the {'worker' if found.requested == 1 else 'workers'} of {many(found.requested, 'running one')} are told"
    said = f"cancelled {many(found.cancelled, 'job')} of {action.target}{told if found.requested else ''}"
    return Done(changed, changed, audit_id, said)


async def requeue_dead(db: AsyncPool, action: Action) -> Done:
    async with db.transaction() as tx:
        changed = await AsyncQueue(tx).requeue_dead(action.target, action.ids, match=unresolved(action))
        audit_id = await audit.record(
            tx, action.name, action.target, matched=changed, changed=changed, detail=narrowed(action)
        )
    verb = "starts" if changed == 1 else "start"
    return Done(changed, changed, audit_id, f"{many(changed, 'dead letter')} of {action.target} {verb} over")


async def discard_dead(db: AsyncPool, action: Action) -> Done:
    async with db.transaction() as tx:
        changed = await AsyncQueue(tx).discard_dead(action.target, action.ids, match=unresolved(action))
        audit_id = await audit.record(
            tx, action.name, action.target, matched=changed, changed=changed, detail=narrowed(action)
        )
    return Done(changed, changed, audit_id, f"discarded {many(changed, 'dead letter')} of {action.target}")


async def edit_job(db: AsyncPool, action: Action) -> Done:
    """The trail keeps the payload that was there before."""
    payload = payload_of(action)
    async with db.transaction() as tx:
        queue = AsyncQueue(tx)
        before = await queue.job(action.target, action.ids[0])
        await queue.edit(action.target, before.id, payload)
        detail: dict[str, JsonValue] = {**narrowed(action), "before": before.payload, "after": payload}
        audit_id = await audit.record(tx, action.name, action.target, matched=1, changed=1, detail=detail)
    return Done(1, 1, audit_id, f"job {before.id} of {action.target} has another payload")


async def set_queue(db: AsyncPool, action: Action) -> Done:
    given = settings_of(action)
    before = current(await settings(db, action.target))
    changed = {name: value for name, value in given.items() if before[name] != value}
    plain: dict[str, JsonValue] = {
        name: 0 if value is None else value for name, value in changed.items() if name not in LIMITS
    }
    async with db.transaction() as tx:
        queue = AsyncQueue(tx)
        if plain:
            await queue.configure(action.target, **plain)
        if set(changed) & set(LIMITS):
            limits = {name: changed.get(name, before[name]) for name in LIMITS}
            await queue.limit(action.target, **{**limits, "burst": limits["burst"] if limits["rate_per_s"] else None})
        detail: dict[str, JsonValue] = {"before": {name: before[name] for name in changed}, "after": changed}
        audit_id = await audit.record(
            tx, action.name, action.target, matched=len(changed), changed=len(changed), detail=detail
        )
    return Done(len(changed), len(changed), audit_id, f"changed {many(len(changed), 'setting')} of {action.target}")


def unresolved(action: Action) -> DeadMatch | None:
    """What its preview has not made ids of."""
    return None if action.ids else action.match


def narrowed(action: Action) -> dict[str, JsonValue]:
    """What the trail keeps of a narrowed act: what was looked for, and the first thousand ids."""
    found: dict[str, JsonValue] = {}
    if action.match is not None:
        found["match"] = {name: value for name, value in asdict(action.match).items() if value}
    if action.ids:
        found["ids"] = [*action.ids[:KEPT_IDS]]
    return found


ACTS: Mapping[ActionName, Callable[[AsyncPool, Action], Awaitable[Done]]] = {
    "requeue_dead": requeue_dead,
    "cancel_jobs": cancel_jobs,
    "discard_dead": discard_dead,
    "edit_job": edit_job,
    "set_queue": set_queue,
}
