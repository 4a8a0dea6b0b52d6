"""Look before the leap: what an Action would hit, counted to a cap, with samples and its SQL.

Floor 3, under actions.py, which is where others import these names from. Nothing here changes data.
"""

from dataclasses import replace
from difflib import get_close_matches

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, UsageError
from pgops.ops.act import (
    acts_indexes,
    acts_tables,
    acts_tuning,
    backends,
    crons,
    keeping,
    previews_jobs,
    previews_outbox,
    previews_pgmq,
    undoing,
)
from pgops.ops.act.acting import COUNT_CAP, PURGE_BATCH, SAMPLES, Action, Preview, first_line, shown
from pgops.ops.act.danger import way_back
from pgops.ops.act.previews_documents import drop_documents, drop_index
from pgops.ops.act.previews_vectors import build_index, drop_collection, rebuild_index, search
from pgops.ops.wording import age, many
from pgops.queries import load
from pgops.services.cache import AsyncCache
from pgops.services.cache import Q as CACHE
from pgops.services.cache_rules import check_namespace
from pgops.services.cache_upkeep import SLICE_PAGES
from pgops.services.events import AsyncEvents
from pgops.services.events import Q as EVENTS
from pgops.services.kv import AsyncKv
from pgops.services.kv_rules import DURABLE, EPHEMERAL
from pgops.services.limits import AsyncLimits
from pgops.services.limits import Q as LIMITS
from pgops.services.queue import AsyncQueue
from pgops.services.queue import Q as QUEUE

Q = load("pgops.ops.act", "previews.sql")
COUNT_PAGES = 16_384


async def preview(db: AsyncPool, action: Action) -> Preview:
    """Look before the leap; changes nothing. Raises NotFoundError for an unknown target, UsageError for an action
    that could not be run."""
    look = await _PREVIEWS[action.name](db, action)
    return replace(look, undo=way_back(look))


async def given(db: AsyncPool, action: Action) -> str:
    """What an act that is given a text would find there now, as a person would edit it. Raises NotFoundError."""
    if action.name == "outbox_keep":
        return await previews_outbox.given(db)
    return await previews_jobs.given(db, action)


async def requeue_stuck(db: AsyncPool, action: Action) -> Preview:
    await AsyncQueue(db).require(action.target)
    params = requeue_params(action)
    rows = await db.all(Q["preview_stuck"], {**params, "cap": COUNT_CAP, "shown": SAMPLES})
    count = rows[0][0] if rows else 0
    return Preview(
        action=action,
        title=f"take back stuck jobs of queue {action.target}",
        matched=min(count, COUNT_CAP),
        exact=count <= COUNT_CAP,
        samples=tuple(
            f"job {id} {kind}: started {age(age_s)} ago, {'its lease expired' if expired else 'running too long'}"
            f" (worker {owner})"
            for _, id, kind, expired, age_s, owner in rows
        ),
        sql=shown(QUEUE["requeue_stuck"], params),
        warning="a worker that hangs may still be doing it: the job can be done twice",
    )


async def purge_expired(db: AsyncPool, action: Action) -> Preview:
    check_purge(action)
    found = await AsyncCache(db).count_expired(COUNT_CAP)
    rows = await db.all(Q["sample_expired"], {"shown": SAMPLES})
    return Preview(
        action=action,
        title="remove expired entries from the cache",
        matched=found.count,
        exact=found.exact,
        samples=tuple(
            f"{first_line(key)} in {namespace}: {'invalidated' if age_s is None else f'expired {age(age_s)} ago'}"
            for namespace, key, age_s in rows
        ),
        sql=_purge_sql(CACHE["purge_slice"]),
    )


async def invalidate(db: AsyncPool, action: Action) -> Preview:
    """Of a large cache the first pages alone are counted: "at least"."""
    namespace = check_namespace(action.target)
    params = {"namespace": namespace, "pages": f"({COUNT_PAGES},0)", "cap": COUNT_CAP, "shown": SAMPLES}
    rows = await db.all(Q["sample_namespace"], params)
    count, pages = rows[0][:2]
    if not count:
        await _require_namespace(db, namespace)
    return Preview(
        action=action,
        title=f"forget all of cache namespace {namespace}",
        matched=min(count, COUNT_CAP),
        exact=count <= COUNT_CAP and pages <= COUNT_PAGES,
        samples=tuple(f"{first_line(key)}: set {age(age_s)} ago" for _, _, key, age_s in rows if key is not None),
        sql=shown(CACHE["invalidate"], {"namespace": namespace}),
        warning="whoever reads it computes it anew: expect the misses",
    )


async def _require_namespace(db: AsyncPool, namespace: str) -> None:
    names = [row[0] for row in await db.all(Q["cache_names"])]
    if namespace not in names:
        near = get_close_matches(namespace, names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see: pgops cache stats"
        raise NotFoundError(f"the cache has no namespace {namespace!r}", hint)


async def purge_kv(db: AsyncPool, action: Action) -> Preview:
    check_whole(action, "both stores")
    kv = AsyncKv(db)
    waiting = [await store.count_expired(COUNT_CAP) for store in (kv, kv.ephemeral)]
    rows = [row for one in (DURABLE, EPHEMERAL) for row in await db.all(one["sample_expired"], {"shown": SAMPLES})]
    return Preview(
        action=action,
        title="remove expired keys from the key-value stores",
        matched=sum(one.count for one in waiting),
        exact=all(one.exact for one in waiting),
        samples=tuple(f"{first_line(key)}: expired {age(age_s)} ago" for key, age_s in rows[:SAMPLES]),
        sql=_purge_sql(DURABLE["purge_slice"]) + ", in both stores",
    )


async def purge_limits(db: AsyncPool, action: Action) -> Preview:
    check_whole(action, "all limits")
    found = await AsyncLimits(db).count_expired(COUNT_CAP)
    rows = await db.all(Q["sample_limits"], {"shown": SAMPLES})
    return Preview(
        action=action,
        title="remove rate limits that say nothing any more",
        matched=found.count,
        exact=found.exact,
        samples=tuple(f"{first_line(key)}: said its last {age(age_s)} ago" for key, age_s in rows),
        sql=_purge_sql(LIMITS["purge_limits"]) + ", and the same for windows",
    )


def _purge_sql(statement: bytes) -> str:
    batch = {"low": "(0,0)", "high": f"({SLICE_PAGES},0)", "batch": PURGE_BATCH}
    return shown(statement, batch) + f"\n-- and so on, {SLICE_PAGES} pages at a time"


def check_whole(action: Action, what: str) -> None:
    if action.target:
        raise UsageError(f"a purge walks over {what}, not over {action.target[:60]!r} alone", "leave the name out")


async def pause(db: AsyncPool, action: Action) -> Preview:
    paused = action.name == "pause"
    await AsyncQueue(db).require(action.target)
    title = f"pause queue {action.target}" if paused else f"resume queue {action.target}"
    sample = "no worker claims from it; what runs goes on" if paused else "workers claim from it again"
    params = {"queue": action.target, "paused": paused, "for_s": None}
    return Preview(action, title, 1, True, (sample,), shown(QUEUE["set_paused"], params), undo=await keeping.can(db))


async def unsubscribe(db: AsyncPool, action: Action) -> Preview:
    found = await AsyncEvents(db).subscription(action.target)
    title = f"drop subscription {found.name}, its cursor and {many(found.parked, 'parked event')}"
    samples = (f"sink {found.sink or 'not said'}, {many(found.relayed, 'event')} relayed",)
    return Preview(action, title, 1, True, samples, shown(EVENTS["unsubscribe"], {"name": found.name}))


async def backend(db: AsyncPool, action: Action) -> Preview:
    name: backends.Signal = "cancel_backend" if action.name == "cancel_backend" else "terminate_backend"
    found = await backends.find(db, action.target, action.started_at)
    verb = "cancel the statement of" if name == "cancel_backend" else "terminate"
    return Preview(
        action=replace(action, started_at=found.started_at),
        title=f"{verb} session {found.pid}",
        matched=1,
        exact=True,
        samples=backends.about(found),
        sql=shown(backends.Q[name], {"pid": found.pid, "started_at": found.started_at}),
        warning=backends.warning(name, found),
    )


def requeue_params(action: Action) -> dict[str, object]:
    return {"queue": action.target, "ids": [*action.ids], "all": not action.ids}


def check_purge(action: Action) -> None:
    if action.target:
        raise UsageError(
            f"a purge walks over the whole cache, not over namespace {action.target!r} alone",
            "leave the namespace out: an expired value is never returned, whoever owns it",
        )


_PREVIEWS = {
    "requeue_stuck": requeue_stuck,
    "requeue_dead": previews_jobs.requeue_dead,
    "requeue_ladder": previews_jobs.requeue_ladder,
    "cancel_jobs": previews_jobs.cancel_jobs,
    "discard_dead": previews_jobs.discard_dead,
    "edit_job": previews_jobs.edit_job,
    "set_queue": previews_jobs.set_queue,
    "purge_expired": purge_expired,
    "invalidate": invalidate,
    "purge_kv": purge_kv,
    "purge_limits": purge_limits,
    "build_index": build_index,
    "rebuild_index": rebuild_index,
    "search": search,
    "pause": pause,
    "resume": pause,
    "unsubscribe": unsubscribe,
    "drop_collection": drop_collection,
    "drop_documents": drop_documents,
    "drop_index": drop_index,
    "cancel_backend": backend,
    "terminate_backend": backend,
    **previews_pgmq.PREVIEWS,
    **previews_outbox.PREVIEWS,
    **dict.fromkeys(crons.NAMES, crons.preview),
    "vacuum_table": acts_tables.preview,
    **acts_indexes.PREVIEWS,
    **acts_tuning.PREVIEWS,
    "undo": undoing.preview,
}
