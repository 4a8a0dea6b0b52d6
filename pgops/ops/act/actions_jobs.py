"""What is done to jobs and queues: start dead letters over, cancel, discard, edit, settings.

Floor 3, under actions.py. Each commits together with its audit row and says (matched, changed, audit id, message).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pgops.database import AsyncDatabase, AsyncPool
from pgops.ops.act import audit, keeping, payloads
from pgops.ops.act.acting import Action, ActionName
from pgops.ops.act.previews_jobs import LIMITS, current, settings, settings_of
from pgops.ops.wording import many
from pgops.services.models import JsonValue
from pgops.services.queue import AsyncQueue

KEPT_IDS = 1_000


@dataclass(frozen=True, slots=True)
class Done:
    """What it did; whether it can be undone."""

    matched: int
    changed: int
    audit_id: int
    message: str
    undoable: bool = False


async def cancel_jobs(db: AsyncPool, action: Action) -> Done:
    async with db.transaction() as tx:
        queue = AsyncQueue(tx)
        await queue.require(action.target)
        act = await keeping.keep_jobs(tx, action)
        found = await queue.cancel(action.target, action.ids)
        changed = found.cancelled + found.requested
        detail: dict[str, JsonValue] = {**narrowed(action), "told": found.requested}
        audit_id = await _record(tx, action, act, changed, detail)
    told = f"; the {'worker' if found.requested == 1 else 'workers'} of {many(found.requested, 'running one')} are told"
    said = f"cancelled {many(found.cancelled, 'job')} of {action.target}{told if found.requested else ''}"
    return Done(changed, changed, audit_id, said, act is not None)


async def requeue_dead(db: AsyncPool, action: Action) -> Done:
    async with db.transaction() as tx:
        kept = await keeping.keep_dead(tx, action)
        changed = 0 if kept.empty else await AsyncQueue(tx).requeue_dead(action.target, kept.ids)
        await keeping.mark_requeued(tx, kept, action.target)
        act = kept.act if changed else None
        audit_id = await _record(tx, action, act, changed, narrowed(action))
    verb = "starts" if changed == 1 else "start"
    said = f"{many(changed, 'dead letter')} of {action.target} {verb} over"
    return Done(changed, changed, audit_id, said, act is not None)


async def discard_dead(db: AsyncPool, action: Action) -> Done:
    async with db.transaction() as tx:
        kept = await keeping.keep_dead(tx, action)
        changed = 0 if kept.empty else await AsyncQueue(tx).discard_dead(action.target, kept.ids)
        audit_id = await _record(tx, action, kept.act, changed, narrowed(action))
    said = f"discarded {many(changed, 'dead letter')} of {action.target}"
    return Done(changed, changed, audit_id, said, kept.act is not None)


async def edit_job(db: AsyncPool, action: Action) -> Done:
    """The trail keeps the payload that was there before."""
    payload = payloads.exact(action)
    async with db.transaction() as tx:
        queue = AsyncQueue(tx)
        before = await queue.job(action.target, action.ids[0])
        act = await keeping.keep_payload(tx, action.target, before.id, payload)
        await queue.edit(action.target, before.id, payload)
        detail: dict[str, JsonValue] = {**narrowed(action), "before": before.payload, "after": payloads.about(payload)}
        audit_id = await _record(tx, action, act, 1, detail)
    return Done(1, 1, audit_id, f"job {before.id} of {action.target} has another payload", act is not None)


async def set_queue(db: AsyncPool, action: Action) -> Done:
    given = settings_of(action)
    async with db.transaction() as tx:
        await AsyncQueue(tx).require(action.target)
        await keeping.lock_queue(tx, action.target)
        now = current(await settings(tx, action.target))
        after = {name: value for name, value in given.items() if now[name] != value}
        before = {name: now[name] for name in after}
        await apply_settings(tx, action.target, now, after)
        act = await keeping.begin(tx) if after else None
        await keeping.keep_value(tx, act, "queues", before, after)
        audit_id = await _record(tx, action, act, len(after), {"before": before, "after": after})
    said = f"changed {many(len(after), 'setting')} of {action.target}"
    return Done(len(after), len(after), audit_id, said, act is not None)


async def apply_settings(
    tx: AsyncDatabase, name: str, now: Mapping[str, JsonValue], wanted: Mapping[str, JsonValue]
) -> None:
    """Give a queue that is set as `now` the settings `wanted`; None takes a limit away, and ends aging."""
    queue = AsyncQueue(tx)
    plain: dict[str, Any] = {
        name: 0 if value is None else value for name, value in wanted.items() if name not in LIMITS
    }
    if plain:
        await queue.configure(name, **plain)
    if set(wanted) & set(LIMITS):
        limits: dict[str, Any] = {one: wanted.get(one, now[one]) for one in LIMITS}
        await queue.limit(name, **{**limits, "burst": limits["burst"] if limits["rate_per_s"] else None})


async def hold(db: AsyncPool, action: Action) -> Done:
    """Pause or resume."""
    async with db.transaction() as tx:
        queue = AsyncQueue(tx)
        await queue.require(action.target)
        before = await keeping.lock_queue(tx, action.target)
        await (queue.pause if action.name == "pause" else queue.resume)(action.target)
        act = await keeping.begin(tx)
        await keeping.keep_value(tx, act, "queues", before, await keeping.lock_queue(tx, action.target))
        audit_id = await _record(tx, action, act, 1, {})
    return Done(1, 1, audit_id, f"{action.name}d {action.target}", act is not None)


async def _record(
    tx: AsyncDatabase, action: Action, act: int | None, changed: int, detail: Mapping[str, JsonValue]
) -> int:
    """The act's row; `act` is its id where it has kept what it changed."""
    return await audit.record(
        tx, action.name, action.target, matched=changed, changed=changed, detail=detail, id=act,
        undo_days=None if act is None else keeping.KEEP_DAYS,
    )  # fmt: skip


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
    "pause": hold,
    "resume": hold,
}
