"""What is done to the event log and its subscriptions.

Floor 3, under actions.py. All but the purge commit together with their audit row.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import UTC

from pgops.database import AsyncDatabase, AsyncPool
from pgops.ops.act import audit
from pgops.ops.act.acting import COUNT_CAP, Action, ActionName, first_line
from pgops.ops.act.actions_jobs import KEPT_IDS, Done
from pgops.ops.act.previews_outbox import KEEPS, PREVIEWS, check_log, keeps_of, key_of, since_of, span
from pgops.ops.wording import at_least, many
from pgops.services.events import AsyncEvents
from pgops.services.models import JsonValue

PURGE_SLICE_S = 1.0
Carried = tuple[int, str, Mapping[str, JsonValue]]


async def carry_out(db: AsyncPool, action: Action) -> Done:
    """Do it with its audit row. Raises NotFoundError for an unknown subscription."""
    if action.name == "outbox_purge":
        return await _purge(db, action)
    async with db.transaction() as tx:
        changed, said, detail = await _CARRIED[action.name](tx, action)
        audit_id = await audit.record(tx, action.name, action.target, matched=changed, changed=changed, detail=detail)
    return Done(changed, changed, audit_id, said)


async def _hold(db: AsyncDatabase, action: Action) -> Carried:
    paused = action.name == "outbox_pause"
    await (AsyncEvents(db).pause if paused else AsyncEvents(db).resume)(action.target)
    return 1, f"{'paused' if paused else 'resumed'} {action.target}", {}


async def _replay(db: AsyncDatabase, action: Action) -> Carried:
    events, since = AsyncEvents(db), since_of(action)
    found = await events.count_since(action.target, since, COUNT_CAP)
    await events.replay(action.target, since)
    said = f"{action.target} delivers {at_least(found.count, found.exact)} events again"
    return found.count, said, {"since": since.astimezone(UTC).isoformat()}


async def _unpark(db: AsyncDatabase, action: Action) -> Carried:
    events = AsyncEvents(db)
    await events.subscription(action.target)
    let_go = action.key is not None and await events.unpark_key(action.target, action.key)
    tried = await events.retry_parked(action.target, key=action.key)
    said = f"{many(tried, 'parked event')} of {action.target} {'is' if tried == 1 else 'are'} tried again"
    detail: dict[str, JsonValue] = {} if action.key is None else {"key": action.key, "let_go": let_go}
    return tried + let_go, f"{said}; its key is let go" if let_go else said, detail


async def _discard(db: AsyncDatabase, action: Action) -> Carried:
    gone = await AsyncEvents(db).discard_parked(action.target, action.ids)
    return gone, f"gave up {many(gone, 'parked event')} of {action.target}", {"ids": [*action.ids[:KEPT_IDS]]}


async def _park(db: AsyncDatabase, action: Action) -> Carried:
    key = key_of(action)
    made = await AsyncEvents(db).park_key(action.target, key, action.given)
    said = f"key {first_line(key)} of {action.target} is held back"
    return int(made), said, {"key": key, "reason": action.given}


async def _keep(db: AsyncDatabase, action: Action) -> Carried:
    events = AsyncEvents(db)
    before = asdict(await events.retention())
    after = before | keeps_of(action)
    await events.set_retention(**after)
    changed = [name for name in KEEPS if before[name] != after[name]]
    detail: dict[str, JsonValue] = {"before": {n: before[n] for n in changed}, "after": {n: after[n] for n in changed}}
    return len(changed), f"events are kept for {span(after['keep_s'])}", detail


async def _rebase(db: AsyncDatabase, action: Action) -> Carried:
    done = await AsyncEvents(db).rebase()
    waiting = ", ".join(f"{name} has {count:,} to get" for name, count in done.backlog)
    said = f"{many(done.events, 'event')} are at home here" + (f"; {waiting}" if waiting else "")
    return int(bool(done.events)), said, {"events": done.events, "backlog": dict(done.backlog)}


async def _purge(db: AsyncPool, action: Action) -> Done:
    check_log(action)
    events, going, lost = AsyncEvents(db), True, dict[str, int]()
    async with audit.long_act(db, action.name, action.target, matched=len(await events.expiring())) as act:
        slots = rows = 0
        while going:
            done = await events.purge_events(budget_s=PURGE_SLICE_S)
            slots, rows, going = slots + done.slots, rows + done.rows, not done.done
            lost |= dict(done.lost)
            act.changed = slots + rows
            act.detail = {"slots": slots, "rows": rows, "held_by": [*done.held_by], "lost": lost}
    said = f"let go of {many(slots, 'day')} and {many(rows, 'single row')}"
    if done.held_by:
        said += f"; {', '.join(done.held_by)} held others"
    return Done(act.changed, act.changed, act.id, said)


_CARRIED: Mapping[ActionName, Callable[[AsyncDatabase, Action], Awaitable[Carried]]] = {
    "outbox_pause": _hold,
    "outbox_resume": _hold,
    "outbox_replay": _replay,
    "outbox_unpark": _unpark,
    "outbox_discard": _discard,
    "outbox_park": _park,
    "outbox_keep": _keep,
    "outbox_rebase": _rebase,
}
ACTS: Mapping[ActionName, Callable[[AsyncPool, Action], Awaitable[Done]]] = dict.fromkeys(PREVIEWS, carry_out)
