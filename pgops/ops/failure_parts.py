"""Dead letters by what their last error says, under parts.py's contract.

Floor 3, under collector.py. Of each queue that has dead letters the newest CAP are read, by index, of the MOST_QUEUES
with the most: the cost does not grow with them.
"""

from collections.abc import Sequence
from dataclasses import replace

from pgops.ops.parts import Session
from pgops.ops.snapshot_jobs import Queue
from pgops.queries import load
from pgops.services.error_rules import grouped
from pgops.services.models import FailureGroup

Q = load("pgops.services", "queue.sql")

CAP = 200
MOST_QUEUES = 20
MOST_GROUPS = 50
SAMPLE = 200


async def failures(session: Session, queues: Sequence[Queue]) -> tuple[FailureGroup, ...]:
    """The largest groups first; without the ids of their jobs."""
    worst = sorted((one for one in queues if one.dead > 0), key=lambda one: -one.dead)[:MOST_QUEUES]
    if not worst:
        return ()
    rows = await session.all(Q["newest_dead"], {"queues": [one.name for one in worst], "cap": CAP, "bytes": 500})
    groups = grouped(rows, CAP)[:MOST_GROUPS]
    return tuple(replace(one, ids=(), sample=one.sample[:SAMPLE]) for one in groups)
