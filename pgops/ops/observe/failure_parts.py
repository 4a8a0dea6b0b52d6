"""Dead letters by what their last error says, under parts.py's contract.

Floor 3, under collector.py. Of each queue that has dead letters the newest are read, by index: MOST_ROWS of all
together, of the MOST_QUEUES with the most, so that the cost does not grow with them. What costs is to unpack the errors
of all attempts.
"""

from collections.abc import Sequence
from dataclasses import replace

from pgops.ops.observe.parts import Session
from pgops.ops.observe.snapshot_jobs import Queue
from pgops.queries import load
from pgops.services.error_rules import grouped
from pgops.services.models import FailureGroup

Q = load("pgops.services", "queue.sql")

MOST_ROWS = 400
CAP = 200
LEAST = 20
MOST_QUEUES = 20
MOST_GROUPS = 50
SAMPLE = 200


async def failures(session: Session, queues: Sequence[Queue]) -> tuple[FailureGroup, ...]:
    """The largest groups first; without the ids of their jobs."""
    worst = sorted((one for one in queues if one.dead > 0), key=lambda one: -one.dead)[:MOST_QUEUES]
    if not worst:
        return ()
    cap = min(CAP, max(LEAST, MOST_ROWS // len(worst)))
    rows = await session.all(Q["newest_dead"], {"queues": [one.name for one in worst], "cap": cap, "bytes": 500})
    groups = grouped(rows, cap)[:MOST_GROUPS]
    return tuple(replace(one, ids=(), sample=one.sample[:SAMPLE]) for one in groups)
