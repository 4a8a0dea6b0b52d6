"""How far an act is that takes its time, and what is left of one that was stopped; in words, for a person who waits.

Floor 3, over the acts. Read from outside the act, from the server's own account of it or from what there is still to
do, so that any session can ask. Whoever adds a long act adds a line to HOW_FAR.
"""

from collections.abc import Awaitable, Callable, Mapping

from pgops.database import AsyncPool
from pgops.ops.act import acts_indexes, acts_tables, ladder
from pgops.ops.act.acting import COUNT_CAP, Action, ActionName
from pgops.ops.act.relations import Q, index_of
from pgops.ops.wording import at_least, many
from pgops.services.cache import AsyncCache
from pgops.services.events import AsyncEvents
from pgops.services.kv import AsyncKv
from pgops.services.limits import AsyncLimits
from pgops.services.models import Counted
from pgops.services.pgmq import AsyncPgmq

DONE_STAYS = "what was done until then stays done"
ROLLED_BACK = "nothing was changed"
NOTHING_LEFT = "nothing half built is left"


async def how_far(db: AsyncPool, action: Action) -> str:
    """How far it is, "" where nobody knows. Raises PgopsError."""
    look = HOW_FAR.get(action.name)
    return "" if look is None else await look(db, action)


async def left_of(db: AsyncPool, action: Action) -> str:
    """What is left of it, once it was stopped, and what to do about that. Raises PgopsError."""
    if action.name in BUILDS:
        found = await db.all(Q["half_built"], {"table": await _table(db, action)})
        names = [f"{schema}.{name}" for schema, name in found]
        if not names:
            return NOTHING_LEFT
        does = "; ".join(f"pgops index drop-invalid {name}" for name in names)
        return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} INVALID: {does}"
    if action.name == "requeue_ladder" and (told := await ladder.progress(db, action.target, "interrupted")):
        return f"{told}; {DONE_STAYS}"
    return DONE_STAYS if action.name in STEPWISE else ROLLED_BACK


async def _table(db: AsyncPool, action: Action) -> int:
    if action.name in ("reindex_index", "drop_invalid_index"):
        return (await index_of(db, action.target)).table_oid
    row = await db.one(Q["pgops_table"], {"name": f"vec_{action.target}"})
    return 0 if row is None or row[0] is None else int(row[0])


async def _vacuum(db: AsyncPool, action: Action) -> str:
    return await acts_tables.progress(db, action.target)


async def _build(db: AsyncPool, action: Action) -> str:
    return await acts_indexes.progress(db, await _table(db, action))


async def _ladder(db: AsyncPool, action: Action) -> str:
    return await ladder.progress(db, action.target)


async def _cache(db: AsyncPool, action: Action) -> str:
    return _still(await AsyncCache(db).count_expired(COUNT_CAP))


async def _kv(db: AsyncPool, action: Action) -> str:
    kv = AsyncKv(db)
    found = [await store.count_expired(COUNT_CAP) for store in (kv, kv.ephemeral)]
    return _still(*found)


async def _limits(db: AsyncPool, action: Action) -> str:
    return _still(await AsyncLimits(db).count_expired(COUNT_CAP))


async def _pgmq(db: AsyncPool, action: Action) -> str:
    found = await AsyncPgmq(db).count(action.target, cap=COUNT_CAP)
    return f"{at_least(found.count, found.exact)} still to go"


async def _events(db: AsyncPool, action: Action) -> str:
    return f"{many(len(await AsyncEvents(db).expiring()), 'day')} still to go"


def _still(*found: Counted) -> str:
    return f"{at_least(sum(one.count for one in found), all(one.exact for one in found))} still to go"


HOW_FAR: Mapping[ActionName, Callable[[AsyncPool, Action], Awaitable[str]]] = {
    "requeue_ladder": _ladder,
    "vacuum_table": _vacuum,
    "reindex_index": _build,
    "build_index": _build,
    "rebuild_index": _build,
    "purge_expired": _cache,
    "purge_kv": _kv,
    "purge_limits": _limits,
    "pgmq_purge": _pgmq,
    "outbox_purge": _events,
}
# What may leave an index behind that is not valid.
BUILDS: frozenset[ActionName] = frozenset({"reindex_index", "build_index", "rebuild_index", "drop_invalid_index"})
# What is done step by step: nothing of it is taken back.
STEPWISE: frozenset[ActionName] = frozenset(HOW_FAR) - BUILDS | {"drop_index"}
