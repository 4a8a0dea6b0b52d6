"""The part `pgmq` of a Snapshot: queues of pgmq in the same database, without any set-up.

Floor 3, under collector.py. One look into the catalog tells whether pgmq is there; nothing more is asked where it is
not. Of a long queue only the first messages are read, and a queue that cannot be read keeps what the catalog knows.
"""

from dataclasses import replace

from pgops.database import Row
from pgops.errors import PgopsError, UnreachableError
from pgops.ops.observe import parts
from pgops.ops.observe.parts import Look, Session
from pgops.ops.observe.rates import per_second
from pgops.ops.observe.snapshot import Unavailable
from pgops.services.models import PgmqQueue
from pgops.services.pgmq_rules import GRANTS, Q, measure, queue_of, with_dead

Part = tuple[PgmqQueue, ...] | Unavailable

ABSENT = Unavailable("pgmq is not installed in this database", "nothing needs it; to have it: create extension pgmq")
CAP = 1_000
MEASURED = 50


async def queues(session: Session, look: Look) -> Part:
    """Every queue by name, the first MEASURED of them counted; or why there is none to see."""
    there = await session.all(Q["has_pgmq"])
    if not there:
        return ABSENT
    if not there[0][0]:
        role = there[0][1]
        return Unavailable(f"role {role} may not read pgmq's queues", GRANTS.format(role=role))
    rows = await session.all(Q["list_queues"], {"queue": None})
    return with_dead([queue_of(row, await _measured(session, row, place), CAP) for place, row in enumerate(rows)])


async def _measured(session: Session, row: Row, place: int) -> Row | None:
    look = measure(row, CAP)
    if look is None or place >= MEASURED:
        return None
    try:
        return await session.one(*look)
    except UnreachableError:
        raise
    except PgopsError:
        await parts.go_on(session)
        return None


def rates(now: Part, before: Part, seconds: float) -> Part:
    """`now` with in_per_s, and out_per_s where both lengths were counted."""
    if isinstance(now, Unavailable) or isinstance(before, Unavailable):
        return now
    known = {one.name: one for one in before}
    return tuple(_rated(one, known.get(one.name), seconds) for one in now)


def _rated(now: PgmqQueue, before: PgmqQueue | None, seconds: float) -> PgmqQueue:
    if before is None or now.total is None or before.total is None:
        return now
    counted = now.exact.get("length", True) and before.exact.get("length", True)
    gone = per_second(now.total - now.length, before.total - before.length, seconds) if counted else None
    return replace(now, in_per_s=per_second(now.total, before.total, seconds), out_per_s=gone)
