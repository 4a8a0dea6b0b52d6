"""What an act on a queue of pgmq would hit.

Floor 3, under previews.py. The statements are the ones that the act runs, with its values.
"""

import json
from collections.abc import Callable, Coroutine, Mapping

from pgops.database import AsyncPool
from pgops.ops.act.acting import COUNT_CAP, SAMPLES, Action, ActionName, Preview, first_line, shown
from pgops.ops.wording import many
from pgops.services.models import PgmqMessage
from pgops.services.pgmq import PURGE_BATCH, AsyncPgmq


async def purge(db: AsyncPool, action: Action) -> Preview:
    pgmq = AsyncPgmq(db)
    found = await pgmq.count(action.target, cap=COUNT_CAP)
    return Preview(
        action=action,
        title=f"delete all messages of pgmq queue {action.target}",
        matched=found.count,
        exact=found.exact,
        samples=tuple(_message(one) for one in await pgmq.peek(action.target, limit=SAMPLES)),
        sql=await _shown(pgmq, action.target, "purge", {"after": 0, "upto": 2**63 - 1, "limit": PURGE_BATCH}),
        warning="there is no way back, and whoever works on one of them cannot acknowledge it",
    )


async def dead(db: AsyncPool, action: Action) -> Preview:
    pgmq, reads = AsyncPgmq(db), action.more_than
    found = await pgmq.count(action.target, more_than=reads, cap=COUNT_CAP)
    samples = await pgmq.peek(action.target, limit=SAMPLES, more_than=reads)
    values = {"reads": reads, "limit": None, "queue": action.target, "reason": f"read more than {reads} times"}
    return Preview(
        action=action,
        title=f"move messages of pgmq queue {action.target} that were read more than {reads} times to its dead letters",
        matched=found.count,
        exact=found.exact,
        samples=tuple(_message(one) for one in samples),
        sql=await _shown(pgmq, action.target, "bury_worn", values),
    )


async def redrive(db: AsyncPool, action: Action) -> Preview:
    pgmq = AsyncPgmq(db)
    letters = await pgmq.dead_queue(action.target)
    found = await pgmq.count(letters, cap=COUNT_CAP)
    return Preview(
        action=action,
        title=f"let dead letters of pgmq queue {action.target} start over",
        matched=found.count,
        exact=found.exact,
        samples=tuple(_letter(one) for one in await pgmq.peek(letters, limit=SAMPLES)),
        sql=await _shown(pgmq, action.target, "redrive", {"limit": None}),
    )


async def _shown(pgmq: AsyncPgmq, queue: str, name: str, values: Mapping[str, object]) -> str:
    return shown(await pgmq.statement(queue, name), values).replace("%%", "%")


def _message(one: PgmqMessage) -> str:
    return f"message {one.msg_id}, read {many(one.read_ct, 'time')}: {first_line(json.dumps(one.payload))}"


def _letter(one: PgmqMessage) -> str:
    death = one.headers.get("dead_letter") if isinstance(one.headers, dict) else None
    reason = death.get("reason") if isinstance(death, dict) else None
    return f"{_message(one)} ({first_line(str(reason))})" if reason else _message(one)


PREVIEWS: Mapping[ActionName, Callable[[AsyncPool, Action], Coroutine[None, None, Preview]]] = {
    "pgmq_purge": purge,
    "pgmq_dead": dead,
    "pgmq_redrive": redrive,
}
