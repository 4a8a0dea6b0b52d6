"""Acts on data: the one way in which dashboard and commands change something.

Floor 3. An `Action` is previewed (what it will hit, samples, the SQL), confirmed by the caller, and run; every run
leaves an audit row. A transactional act commits together with its row; a long one commits `started` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pgops.database import AsyncPool
from pgops.errors import RefusedError
from pgops.ops import audit, backends
from pgops.ops.acting import COUNT_CAP, PURGE_BATCH, Action, ActionName, Preview
from pgops.ops.previews import check_purge, check_whole, preview
from pgops.ops.previews_vectors import embed, rebuild_index
from pgops.ops.wording import at_least, many
from pgops.services.cache import AsyncCache
from pgops.services.documents import AsyncDocuments
from pgops.services.events import AsyncEvents
from pgops.services.kv import AsyncKv
from pgops.services.limits import AsyncLimits
from pgops.services.models import JsonValue
from pgops.services.pgmq import AsyncPgmq
from pgops.services.queue import AsyncQueue
from pgops.services.vectors import AsyncVectors

__all__ = ["Action", "ActionName", "Preview", "Result", "preview", "run"]

PURGE_SLICE_S = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """What it did. `message` is one line for a person; `rows` are a search's matches as (id, score, content)."""

    action: Action
    matched: int
    changed: int
    audit_id: int | None
    dry_run: bool
    message: str
    rows: tuple[tuple[int, float, str], ...] = ()


async def run(db: AsyncPool, action: Action) -> Result:
    """Do it, with its audit row. Raises PgopsError: NotFoundError for an unknown target, RefusedError in a read-only
    session or without the privilege; a long act that fails leaves its row as failed."""
    return await _RUNS[action.name](db, action)


async def _requeue_stuck(db: AsyncPool, action: Action) -> Result:
    async with db.transaction() as tx:
        changed = await AsyncQueue(tx).requeue_stuck(action.target, action.ids)
        audit_id = await audit.record(
            tx, action.name, action.target, matched=changed, changed=changed, detail=_ids(action)
        )
    said = f"took back {many(changed, 'stuck job')} of {action.target}"
    return Result(action, changed, changed, audit_id, False, said)


async def _requeue_dead(db: AsyncPool, action: Action) -> Result:
    async with db.transaction() as tx:
        changed = await AsyncQueue(tx).requeue_dead(action.target, action.ids)
        audit_id = await audit.record(
            tx, action.name, action.target, matched=changed, changed=changed, detail=_ids(action)
        )
    said = f"{many(changed, 'dead letter')} of {action.target} {'starts' if changed == 1 else 'start'} over"
    return Result(action, changed, changed, audit_id, False, said)


async def _purge_expired(db: AsyncPool, action: Action) -> Result:
    check_purge(action)
    cache = AsyncCache(db)
    waiting = await cache.count_expired()
    done = False
    async with audit.long_act(db, action.name, action.target, matched=waiting.count) as act:
        while not done:
            purged = await cache.purge_expired(batch=PURGE_BATCH, budget_s=PURGE_SLICE_S)
            act.changed, done = act.changed + purged.rows, purged.done
    await cache.flush()
    said = f"removed {act.changed:,} expired {'entry' if act.changed == 1 else 'entries'} from the cache"
    return Result(action, max(waiting.count, act.changed), act.changed, act.id, False, said)


async def _purge_kv(db: AsyncPool, action: Action) -> Result:
    check_whole(action, "both stores")
    kv = AsyncKv(db)
    return await _purge_all(db, action, (kv, kv.ephemeral), "expired key")


async def _purge_limits(db: AsyncPool, action: Action) -> Result:
    check_whole(action, "all limits")
    return await _purge_all(db, action, (AsyncLimits(db),), "rate limit")


async def _purge_all(db: AsyncPool, action: Action, stores: Sequence[AsyncKv | AsyncLimits], what: str) -> Result:
    """Walk over each of `stores` to its end."""
    matched = sum([(await store.count_expired()).count for store in stores])
    async with audit.long_act(db, action.name, action.target, matched=matched) as act:
        for store in stores:
            done = False
            while not done:
                purged = await store.purge_expired(batch=PURGE_BATCH, budget_s=PURGE_SLICE_S)
                act.changed, done = act.changed + purged.rows, purged.done
    return Result(action, max(matched, act.changed), act.changed, act.id, False, f"removed {many(act.changed, what)}")


async def _rebuild_index(db: AsyncPool, action: Action) -> Result:
    """An invalid index cannot be rebuilt: its remains are dropped and it is built."""
    await rebuild_index(db, action)
    vectors = AsyncVectors(db)
    before = await vectors.stats(action.target)
    detail: dict[str, JsonValue] = {"lists": action.lists, "lists_before": before.lists_built or before.lists_set}
    async with audit.long_act(db, action.name, action.target, matched=1, detail=detail) as act:
        if before.valid:
            done = await vectors.rebuild(action.target, lists=action.lists)
            lists, index = done.lists_after, done.index
            act.detail = {"lists_after": lists, "seconds": round(done.seconds, 3)}
        else:
            built = await vectors.build_index(action.target, lists=action.lists)
            lists, index = built.lists_set or 0, built.index or ""
            act.detail = {"lists_after": lists}
        act.changed = 1
    return Result(action, 1, 1, act.id, False, f"rebuilt {index} with {many(lists, 'list')}")


async def _search(db: AsyncPool, action: Action) -> Result:
    """A read: where the session may not write, it is found all the same, and no row says so."""
    vectors = AsyncVectors(db)
    collection = await vectors.get(action.target)
    embedding, warning = embed(action, collection.dimensions)
    found = await vectors.search(action.target, embedding, limit=action.limit, exact=action.exact)
    try:
        detail = {"limit": action.limit, "exact": action.exact}
        audit_id = await audit.record(db, action.name, action.target, matched=len(found), changed=0, detail=detail)
    except RefusedError:
        audit_id = None
    said = f"{len(found):,} {'match' if len(found) == 1 else 'matches'} in {action.target}"
    if warning:
        said = f"{said} ({warning})"
    rows = tuple((one.id, one.score, one.content) for one in found)
    return Result(action, len(found), 0, audit_id, False, said, rows)


async def _pause(db: AsyncPool, action: Action) -> Result:
    async with db.transaction() as tx:
        queue = AsyncQueue(tx)
        await (queue.pause if action.name == "pause" else queue.resume)(action.target)
        audit_id = await audit.record(tx, action.name, action.target, matched=1, changed=1)
    return Result(action, 1, 1, audit_id, False, f"{action.name}d {action.target}")


async def _unsubscribe(db: AsyncPool, action: Action) -> Result:
    async with db.transaction() as tx:
        events = AsyncEvents(tx)
        lost = (await events.subscription(action.target)).parked
        await events.unsubscribe(action.target)
        audit_id = await audit.record(tx, action.name, action.target, matched=1, changed=1, detail={"parked": lost})
    return Result(action, 1, 1, audit_id, False, f"unsubscribed {action.target}")


async def _drop_collection(db: AsyncPool, action: Action) -> Result:
    async with db.transaction() as tx:
        vectors = AsyncVectors(tx)
        rows = (await vectors.get(action.target)).rows
        await vectors.drop(action.target)
        audit_id = await audit.record(tx, action.name, action.target, matched=rows, changed=rows)
    return Result(action, rows, rows, audit_id, False, f"dropped {action.target}")


async def _drop_documents(db: AsyncPool, action: Action) -> Result:
    counted = await AsyncDocuments(db).count(action.target, cap=COUNT_CAP)
    async with db.transaction() as tx:
        await AsyncDocuments(tx).drop(action.target)
        audit_id = await audit.record(
            tx, action.name, action.target, matched=counted.count, changed=counted.count,
            detail={} if counted.count_exact else {"exact": False},
        )  # fmt: skip
    said = f"dropped collection {action.target} with {at_least(counted.count, counted.count_exact)} documents"
    return Result(action, counted.count, counted.count, audit_id, False, said)


async def _signal_backend(db: AsyncPool, action: Action) -> Result:
    """The row first: where it cannot be written nothing is sent, and where nothing is sent it is rolled back."""
    name: backends.Signal = "cancel_backend" if action.name == "cancel_backend" else "terminate_backend"
    async with db.transaction() as tx:
        found = await backends.find(tx, action.target, action.started_at)
        detail: dict[str, JsonValue] = {"session": [*backends.about(found)]}
        audit_id = await audit.record(tx, name, action.target, matched=1, changed=1, detail=detail)
        await backends.signal(tx, name, found)
    done = "cancelled the statement of" if name == "cancel_backend" else "terminated"
    return Result(action, 1, 1, audit_id, False, f"{done} session {found.pid}")


async def _pgmq_purge(db: AsyncPool, action: Action) -> Result:
    pgmq = AsyncPgmq(db)
    waiting = await pgmq.count(action.target, cap=COUNT_CAP)
    async with audit.long_act(db, action.name, action.target, matched=waiting.count) as act:

        def tell(gone: int) -> None:
            act.changed += gone

        await pgmq.purge(action.target, tell=tell)
    said = f"deleted {many(act.changed, 'message')} of pgmq queue {action.target}"
    return Result(action, max(waiting.count, act.changed), act.changed, act.id, False, said)


async def _pgmq_move(db: AsyncPool, action: Action) -> Result:
    """Into the dead letters, or back."""
    async with db.transaction() as tx:
        pgmq = AsyncPgmq(tx)
        if action.name == "pgmq_dead":
            moved = await pgmq.dead_letter_worn(action.target, more_than=action.more_than)
            said = f"moved {many(moved, 'message')} of pgmq queue {action.target} to its dead letters"
            detail: dict[str, JsonValue] = {"more_than": action.more_than}
        else:
            moved, detail = await pgmq.redrive(action.target), {}
            said = (
                f"{many(moved, 'dead letter')} of pgmq queue {action.target} {'starts' if moved == 1 else 'start'} over"
            )
        audit_id = await audit.record(tx, action.name, action.target, matched=moved, changed=moved, detail=detail)
    return Result(action, moved, moved, audit_id, False, said)


def _ids(action: Action) -> dict[str, JsonValue]:
    """What the trail keeps of a narrowed act: the first thousand ids."""
    return {"ids": [*action.ids[:1_000]]} if action.ids else {}


_RUNS = {
    "requeue_stuck": _requeue_stuck,
    "requeue_dead": _requeue_dead,
    "purge_expired": _purge_expired,
    "purge_kv": _purge_kv,
    "purge_limits": _purge_limits,
    "rebuild_index": _rebuild_index,
    "search": _search,
    "pause": _pause,
    "resume": _pause,
    "unsubscribe": _unsubscribe,
    "drop_collection": _drop_collection,
    "drop_documents": _drop_documents,
    "cancel_backend": _signal_backend,
    "terminate_backend": _signal_backend,
    "pgmq_purge": _pgmq_purge,
    "pgmq_dead": _pgmq_move,
    "pgmq_redrive": _pgmq_move,
}
