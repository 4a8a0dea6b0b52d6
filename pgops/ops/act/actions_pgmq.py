"""What is done to queues of pgmq: purge, dead letters and back.

Floor 3, under actions.py. A move commits together with its audit row; a purge, which goes by slices, writes `started`
first.
"""

from collections.abc import Awaitable, Callable, Mapping

from pgops.database import AsyncPool
from pgops.ops.act import audit
from pgops.ops.act.acting import COUNT_CAP, Action, ActionName
from pgops.ops.act.actions_jobs import Done
from pgops.ops.wording import many
from pgops.services.pgmq import AsyncPgmq


async def purge(db: AsyncPool, action: Action) -> Done:
    pgmq = AsyncPgmq(db)
    waiting = await pgmq.count(action.target, cap=COUNT_CAP)
    async with audit.long_act(db, action.name, action.target, matched=waiting.count) as act:

        def tell(gone: int) -> None:
            act.changed += gone

        await pgmq.purge(action.target, tell=tell)
    said = f"deleted {many(act.changed, 'message')} of pgmq queue {action.target}"
    return Done(max(waiting.count, act.changed), act.changed, act.id, said)


async def dead(db: AsyncPool, action: Action) -> Done:
    async with db.transaction() as tx:
        moved = await AsyncPgmq(tx).dead_letter_worn(action.target, more_than=action.more_than)
        audit_id = await audit.record(
            tx, action.name, action.target, matched=moved, changed=moved, detail={"more_than": action.more_than}
        )
    return Done(
        moved, moved, audit_id, f"moved {many(moved, 'message')} of {action.target} to its dead letters in pgmq"
    )


async def redrive(db: AsyncPool, action: Action) -> Done:
    async with db.transaction() as tx:
        moved = await AsyncPgmq(tx).redrive(action.target)
        audit_id = await audit.record(tx, action.name, action.target, matched=moved, changed=moved)
    verb = "starts" if moved == 1 else "start"
    return Done(moved, moved, audit_id, f"{many(moved, 'dead letter')} of pgmq queue {action.target} {verb} over")


ACTS: Mapping[ActionName, Callable[[AsyncPool, Action], Awaitable[Done]]] = {
    "pgmq_purge": purge,
    "pgmq_dead": dead,
    "pgmq_redrive": redrive,
}
