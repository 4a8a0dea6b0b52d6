"""Acts on data: the one way in which dashboard and commands change something.

Floor 3. An `Action` is previewed (what it will hit, samples, the SQL), confirmed by the caller, and run; every run
leaves an audit row. A transactional act commits together with its row; a long one commits `started` first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pgops.database import AsyncPool
from pgops.embedder_settings import HASHING
from pgops.errors import RefusedError
from pgops.ops.act import (
    actions_jobs,
    actions_outbox,
    actions_pgmq,
    acts_indexes,
    acts_tables,
    acts_tuning,
    audit,
    backends,
    crons,
    ladder,
    undoing,
)
from pgops.ops.act.acting import COUNT_CAP, PURGE_BATCH, Action, ActionName, Preview
from pgops.ops.act.actions_jobs import narrowed
from pgops.ops.act.previews import check_purge, check_whole, preview
from pgops.ops.act.previews_documents import drop_index
from pgops.ops.act.previews_vectors import HASHED, embedded_by, index_words, numbers_of, plan_of
from pgops.ops.act.relations import refuse_standby
from pgops.ops.wording import at_least, many
from pgops.services.cache import AsyncCache
from pgops.services.documents import AsyncDocuments
from pgops.services.events import AsyncEvents
from pgops.services.kv import AsyncKv
from pgops.services.limits import AsyncLimits
from pgops.services.models import JsonValue
from pgops.services.queue import AsyncQueue
from pgops.services.vectors import AsyncVectors

__all__ = ["Action", "ActionName", "Preview", "Result", "preview", "run"]

PURGE_SLICE_S = 1.0
READ_ONLY = "25006"


@dataclass(frozen=True, slots=True)
class Result:
    """What it did. `message` is one line for a person, `more` what a script is told beside the numbers; `rows` are a
    search's matches as (id, score, content); `undoable`: the act `audit_id` can be undone."""

    action: Action
    matched: int
    changed: int
    audit_id: int | None
    dry_run: bool
    message: str
    rows: tuple[tuple[int, float, str], ...] = ()
    more: Mapping[str, JsonValue] = field(default_factory=dict)
    undoable: bool = False


async def run(db: AsyncPool, action: Action) -> Result:
    """Do it, with its audit row. Raises PgopsError: NotFoundError for an unknown target, RefusedError in a read-only
    session, on a standby or without the privilege; a long act that fails leaves its row as failed."""
    try:
        return await _RUNS[action.name](db, action)
    except RefusedError as error:
        if getattr(error.__cause__, "sqlstate", None) == READ_ONLY:
            await refuse_standby(db)
        raise


async def _requeue_stuck(db: AsyncPool, action: Action) -> Result:
    async with db.transaction() as tx:
        changed = await AsyncQueue(tx).requeue_stuck(action.target, action.ids)
        audit_id = await audit.record(
            tx, action.name, action.target, matched=changed, changed=changed, detail=narrowed(action)
        )
    said = f"took back {many(changed, 'stuck job')} of {action.target}"
    return Result(action, changed, changed, audit_id, False, said)


async def _requeue_ladder(db: AsyncPool, action: Action) -> Result:
    done, more = await ladder.carry_out(db, action)
    return Result(action, done.matched, done.changed, done.audit_id, False, done.message, more=more)


async def _done(db: AsyncPool, action: Action) -> Result:
    done = await _DONE[action.name](db, action)
    return Result(action, done.matched, done.changed, done.audit_id, False, done.message, undoable=done.undoable)


async def _purge_expired(db: AsyncPool, action: Action) -> Result:
    check_purge(action)
    cache = AsyncCache(db)
    waiting = await cache.count_expired()
    done = False
    evicted = 0
    async with audit.long_act(db, action.name, action.target, matched=waiting.count) as act:
        while not done:
            purged = await cache.purge_expired(batch=PURGE_BATCH, budget_s=PURGE_SLICE_S)
            act.changed, done = act.changed + purged.rows + purged.evicted, purged.done
            evicted += purged.evicted
            act.detail = {"evicted": evicted} if evicted else {}
    await cache.flush()
    expired = act.changed - evicted
    said = f"removed {expired:,} expired {'entry' if expired == 1 else 'entries'} from the cache"
    if evicted:
        said = f"{said}, and {evicted:,} that were above a cap"
    return Result(action, max(waiting.count, act.changed), act.changed, act.id, False, said)


async def _invalidate(db: AsyncPool, action: Action) -> Result:
    look = await preview(db, action)
    detail: dict[str, JsonValue] = {} if look.exact else {"exact": False}
    async with db.transaction() as tx:
        detail["generation"] = await AsyncCache(tx).invalidate(action.target)
        audit_id = await audit.record(
            tx, action.name, action.target, matched=look.matched, changed=look.matched, detail=detail
        )
    said = (
        f"forgot {at_least(look.matched, look.exact)} {'entry' if look.matched == 1 else 'entries'} of {action.target}"
    )
    return Result(action, look.matched, look.matched, audit_id, False, said)


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


async def _build_index(db: AsyncPool, action: Action) -> Result:
    vectors = AsyncVectors(db)
    plan = await plan_of(vectors, action)
    detail: dict[str, JsonValue] = {"index": plan.index, "with": index_words(plan)}
    async with audit.long_act(db, action.name, action.target, matched=1, detail=detail) as act:
        await vectors.build_index(
            action.target, method=plan.method, lists=plan.lists, m=plan.m, ef_construction=plan.ef_construction
        )
        act.changed = 1
    return Result(action, 1, 1, act.id, False, f"built {plan.index} with {index_words(plan)}")


async def _rebuild_index(db: AsyncPool, action: Action) -> Result:
    vectors = AsyncVectors(db)
    plan = await plan_of(vectors, action)
    detail: dict[str, JsonValue] = {"lists": action.lists, "index": plan.index, "with": index_words(plan)}
    async with audit.long_act(db, action.name, action.target, matched=1, detail=detail) as act:
        done = await vectors.rebuild(
            action.target, method=plan.method, lists=plan.lists, m=plan.m, ef_construction=plan.ef_construction
        )
        act.detail = {
            "lists_before": done.lists_before, "lists_after": done.lists_after, "seconds": round(done.seconds, 3),
        }  # fmt: skip
        act.changed = 1
    return Result(action, 1, 1, act.id, False, f"rebuilt {done.index} with {index_words(plan)}")


async def _search(db: AsyncPool, action: Action) -> Result:
    """A read: where the session may not write, it is found all the same, and no row says so."""
    vectors = AsyncVectors(db)
    numbers = numbers_of(action)
    filter = dict(action.filter) or None
    by = ""
    if numbers is not None:
        found = await vectors.search(action.target, numbers, limit=action.limit, exact=action.exact, filter=filter)
    else:
        by = embedded_by(action, await vectors.get(action.target))
        found = await vectors.search_text(
            action.target, action.query.strip(), embedder=by, limit=action.limit, exact=action.exact, filter=filter
        )
    try:
        detail: dict[str, JsonValue] = {"limit": action.limit, "exact": action.exact}
        detail |= {"embedder": by} if by else {}
        audit_id = await audit.record(db, action.name, action.target, matched=len(found), changed=0, detail=detail)
    except RefusedError:
        audit_id = None
    said = f"{len(found):,} {'match' if len(found) == 1 else 'matches'} in {action.target}"
    if action.filter:
        said += f" where {', '.join(f'{name} = {value}' for name, value in action.filter)}"
    if by:
        said += f" ({HASHED if by == HASHING else f'the text was embedded by {by}'})"
    rows = tuple((one.id, one.score, one.content) for one in found)
    return Result(action, len(found), 0, audit_id, False, said, rows)


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


async def _drop_index(db: AsyncPool, action: Action) -> Result:
    await drop_index(db, action)
    collection, _, name = action.target.partition(".")
    async with audit.long_act(db, action.name, action.target, matched=1) as act:
        await AsyncDocuments(db).drop_index(collection, name)
        act.changed = 1
    return Result(action, 1, 1, act.id, False, f"dropped {name}")


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


async def _cron(db: AsyncPool, action: Action) -> Result:
    async with db.transaction() as tx:
        done = await crons.carry_out(tx, action)
        audit_id = await audit.record(tx, action.name, action.target, matched=1, changed=done.changed, detail=done.more)
    return Result(action, 1, done.changed, audit_id, False, done.message, more=done.more)


_DONE = {
    **actions_jobs.ACTS, **actions_pgmq.ACTS, **actions_outbox.ACTS, "vacuum_table": acts_tables.carry_out,
    **acts_indexes.ACTS, **acts_tuning.ACTS, "undo": undoing.carry_out,
}  # fmt: skip
_RUNS = {
    "requeue_stuck": _requeue_stuck,
    "requeue_ladder": _requeue_ladder,
    "purge_expired": _purge_expired,
    "invalidate": _invalidate,
    "purge_kv": _purge_kv,
    "purge_limits": _purge_limits,
    "build_index": _build_index,
    "rebuild_index": _rebuild_index,
    "search": _search,
    "unsubscribe": _unsubscribe,
    "drop_collection": _drop_collection,
    "drop_documents": _drop_documents,
    "drop_index": _drop_index,
    "cancel_backend": _signal_backend,
    "terminate_backend": _signal_backend,
    **dict.fromkeys(_DONE, _done),
    **dict.fromkeys(crons.NAMES, _cron),
}
