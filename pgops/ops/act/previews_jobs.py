"""Previews of what is done to jobs and queues, and what a queue's settings may be.

Floor 3, under previews.py. Nothing here changes anything.
"""

import json
from dataclasses import asdict, replace
from difflib import get_close_matches

from pgops.database import AsyncDatabase, AsyncPool
from pgops.errors import NotFoundError, UsageError
from pgops.ops.act import keeping, payloads
from pgops.ops.act.acting import COUNT_CAP, SAMPLES, Action, Preview, first_line, shown
from pgops.ops.act.ladder_rules import check_rate
from pgops.ops.wording import age, many
from pgops.queries import load
from pgops.services.models import JobRow, JsonValue, QueueSettings
from pgops.services.queue import AsyncQueue, dead_matching
from pgops.services.queue import Q as QUEUE

Q = load("pgops.ops.act", "previews.sql")

SHOWN_IDS = 100
LIMITS = ("max_running", "rate_per_s", "burst")
SETTINGS: dict[str, type] = {
    "max_attempts": int, "lease_s": float, "max_runtime_s": float, "backoff_s": float, "backoff_max_s": float,
    "history": str, "aging_s": float, "durability": str, "max_running": int, "rate_per_s": float, "burst": int,
}  # fmt: skip
WORDS = {"history": ("none", "failures", "all"), "durability": ("durable", "relaxed")}
LADDER = "it waits for how each ends, and stops when their error comes back; it runs while this program does"
RELAXED = "a crash of the server may lose what was enqueued or completed in the last second; nothing is corrupted"


async def cancel_jobs(db: AsyncPool, action: Action) -> Preview:
    if not action.ids:
        raise UsageError("say which jobs to cancel", "for example: pgops queue cancel email 17 18")
    queue = AsyncQueue(db)
    found = [await _job(queue, action.target, id) for id in action.ids[:SAMPLES]]
    row = await db.one(Q["count_jobs"], {"queue": action.target, "ids": [*action.ids]})
    running = any(job is not None and job.state == "running" for job in found)
    return Preview(
        action=action,
        title=f"cancel jobs of queue {action.target}",
        matched=0 if row is None else int(row[0]),
        exact=True,
        samples=tuple(f"job {job.id} {job.kind}: {job.state}" for job in found if job is not None),
        sql=shown(QUEUE["cancel_jobs"], {"queue": action.target, "ids": [*action.ids], "reason": "cancelled"}),
        warning="a running job is told; what it has done so far stays done, and that is not undone" if running else "",
        undo=await keeping.words(db, "weigh_jobs", action.target, action.ids),
    )


async def _job(queue: AsyncQueue, name: str, id: int) -> JobRow | None:
    await queue.require(name)
    try:
        found = await queue.job(name, id)
    except NotFoundError:
        return None
    return found if found.state != "dead" else None


async def requeue_dead(db: AsyncPool, action: Action) -> Preview:
    return await _dead(db, action, f"let dead letters of queue {action.target} start over")


async def requeue_ladder(db: AsyncPool, action: Action) -> Preview:
    rate = check_rate(action)
    title = f"let dead letters of queue {action.target} start over: 1, then 10, then {rate:g} a second"
    look = await _dead(db, replace(action, name="requeue_dead"), title, LADDER)
    return replace(look, action=replace(look.action, name=action.name), undo="")


async def discard_dead(db: AsyncPool, action: Action) -> Preview:
    warning = "they are not run any more; the queue's history keeps them for a month"
    return await _dead(db, action, f"discard dead letters of queue {action.target}", warning)


async def _dead(db: AsyncPool, action: Action, title: str, warning: str = "") -> Preview:
    """Of an act on dead letters; what they have to match has become ids, so that those are hit that were shown."""
    queue = AsyncQueue(db)
    await queue.require(action.target)
    ids, sql = action.ids, ""
    if action.match is not None:
        ids = tuple(await queue.dead_matching(action.target, action.match))
        statement, asked = dead_matching(action.target, action.match)
        sql = f"{shown(statement.as_string(None).encode(), asked)};\n"
    params: dict[str, object] = {"queue": action.target, "ids": [*ids], "all": not ids and action.match is None}
    more = f"\n-- and {len(ids) - SHOWN_IDS:,} more ids" if len(ids) > SHOWN_IDS else ""
    row = await db.one(Q["count_dead"], {**params, "cap": COUNT_CAP})
    count = 0 if row is None else int(row[0])
    rows = await db.all(Q["sample_dead"], {**params, "shown": SAMPLES})
    return Preview(
        action=replace(action, ids=ids),
        title=title,
        matched=len(ids) if action.match is not None else min(count, COUNT_CAP),
        exact=action.match is not None or count <= COUNT_CAP,
        samples=tuple(
            f"job {id} {kind}: died {age(age_s)} ago after {many(attempt, 'attempt')}: {first_line(error)}"
            for id, kind, attempt, error, age_s in rows
        ),
        sql=sql + shown(QUEUE[action.name], params | {"ids": [*ids[:SHOWN_IDS]]}) + more,
        warning=warning,
        undo=await keeping.words(db, "weigh_dead", action.target, ids, every=not ids and action.match is None),
    )


async def edit_job(db: AsyncPool, action: Action) -> Preview:
    payload = payloads.exact(action)
    job = await AsyncQueue(db).job(action.target, action.ids[0])
    if job.state == "running":
        raise UsageError(f"job {job.id} is running, and keeps its payload", "cancel it first, or wait")
    params = {"queue": action.target, "id": job.id, "payload": payload}
    return Preview(
        action=action,
        title=f"give job {job.id} of queue {action.target} another payload",
        matched=1,
        exact=True,
        samples=(f"was {first_line(json.dumps(job.payload))}", f"is  {first_line(payload)}"),
        sql=shown(QUEUE["edit_job"], params),
        undo=await keeping.can(db),
    )


async def set_queue(db: AsyncPool, action: Action) -> Preview:
    given = settings_of(action)
    now = await settings(db, action.target)
    changed = {name: value for name, value in given.items() if getattr(now, name) != value}
    params: dict[str, object] = {"queue": action.target, **dict.fromkeys(SETTINGS), **given}
    sql = [QUEUE["set_queue"]] if set(given) - set(LIMITS) else []
    sql += [QUEUE["limit_queue"]] if set(given) & set(LIMITS) else []
    return Preview(
        action=action,
        title=f"change settings of queue {action.target}",
        matched=len(changed),
        exact=True,
        samples=tuple(f"{name}: {_word(getattr(now, name))} → {_word(value)}" for name, value in changed.items()),
        sql=";\n".join(shown(statement, params) for statement in sql),
        warning=RELAXED if changed.get("durability") == "relaxed" else "",
        undo=await keeping.can(db) if changed else "",
    )


async def settings(db: AsyncDatabase, queue: str) -> QueueSettings:
    """A queue's settings now. Raises NotFoundError."""
    queues = AsyncQueue(db)
    await queues.require(queue)
    return next(one for one in await queues.queues() if one.queue == queue)


async def given(db: AsyncPool, action: Action) -> str:
    """What stands there now, as a person would edit it. Raises NotFoundError."""
    if action.name == "set_queue":
        return json.dumps(current(await settings(db, action.target)), indent=2)
    await AsyncQueue(db).require(action.target)
    return await payloads.pretty(db, action.target, action.ids[0])


def settings_of(action: Action) -> dict[str, JsonValue]:
    """What a set_queue sets, by name, a number where a number is meant; null takes a limit away and ends aging.
    Raises UsageError."""
    try:
        given = json.loads(action.given)
    except ValueError as error:
        raise UsageError(f"the settings are not JSON: {error}", 'write for example {"lease_s": 60}') from error
    if not isinstance(given, dict) or not given:
        raise UsageError("no setting is given", f"of {', '.join(SETTINGS)}")
    return {name: _checked(name, value) for name, value in given.items()}


def _checked(name: str, value: JsonValue) -> JsonValue:
    if name not in SETTINGS:
        near = get_close_matches(name, SETTINGS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"of {', '.join(SETTINGS)}"
        raise UsageError(f"a queue has no setting {name!r}", hint)
    if value is None and name in (*LIMITS, "aging_s"):
        return None
    if name in WORDS:
        if value not in WORDS[name]:
            raise UsageError(f"{name} is {', '.join(WORDS[name])}, not {value!r}", "see: pgops queue set --help")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e9:
        raise UsageError(f"{name} is a number above 0, not {value!r}", "durations are seconds")
    if name == "lease_s" and value < 1:
        raise UsageError("a lease is at least 1 second", "30 is usual")
    return SETTINGS[name](value)


def current(now: QueueSettings) -> dict[str, JsonValue]:
    """The settings as a set_queue would give them."""
    return {name: value for name, value in asdict(now).items() if name in SETTINGS}


def _word(value: JsonValue) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
