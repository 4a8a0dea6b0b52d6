"""From a job to the session that works on it, and on to whoever that waits for.

Floor 3, under collector.py. A worker's connections are shared by its jobs, so only a session that is named after the
job can be told: job.connection() does that, and so does a handler that gives its own connection job.session_name. Of
any other job nothing is guessed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pgops.database import AsyncPool, Row
from pgops.ops.observe import connections
from pgops.ops.observe.chain_words import note
from pgops.ops.observe.parts import Session, StuckSeen, begin
from pgops.ops.observe.snapshot import LockBackend
from pgops.ops.observe.snapshot_jobs import ChainLink, JobBackend, JobChain, StuckJob
from pgops.queries import load
from pgops.services.arguments import session_name

Q = load("pgops.ops.observe", "job_chain.sql")

MOST_NAMES = 100
DEEPEST = 20
STATEMENT_MS, LOCK_MS = 2_000, 250


async def with_backends(session: Session, seen: StuckSeen, locks: Sequence[LockBackend]) -> StuckSeen:
    """Stuck jobs with the sessions that work on them. Nothing is asked where nobody has taken one."""
    taken = [one for one in seen.jobs if one.worker is not None][:MOST_NAMES]
    if not taken:
        return seen
    named = await _sessions(session, {_name(one) for one in taken}, locks)
    jobs = tuple(replace(one, backend=named.get(_name(one))) if one.worker is not None else one for one in seen.jobs)
    return replace(seen, jobs=jobs)


async def chain_of(db: AsyncPool, queue: str, id: int) -> JobChain | None:
    """A running job's worker, session and blockers; None where it does not run."""
    async with db.transaction() as tx:
        session = Session(tx)
        look = await begin(session, statement_ms=STATEMENT_MS, lock_ms=LOCK_MS)
        owners = await session.all(Q["job_owner"], {"queue": queue, "id": id})
        if not owners:
            return None
        worker, host, pid, alive = owners[0]
        locks = await connections.locks(session, look)
        name = session_name(worker, queue, id)
        backend = (await _sessions(session, {name}, locks)).get(name)
    return JobChain(worker, host, pid, alive, backend, "" if backend is not None else note(alive))


def links(pid: int, locks: Iterable[LockBackend]) -> tuple[ChainLink, ...]:
    """Whom `pid` waits for, and whom that one waits for, up to one that waits for nobody; each once."""
    known: Mapping[int, LockBackend] = {one.pid: one for one in locks}
    found: dict[int, ChainLink] = {}
    rows = list(known[pid].blocked_by) if pid in known else []
    while rows and len(found) < DEEPEST:
        one = known.get(at := rows.pop(0))
        if at in found or at == pid or one is None:
            continue
        found[at] = ChainLink(
            one.pid, one.started_at, one.application, one.user, one.state, one.transaction_s, one.waited_s,
            one.blocked_by, waits_for(one), one.query,
        )  # fmt: skip
        rows.extend(one.blocked_by)
    return tuple(sorted(found.values(), key=lambda link: not link.blocked_by))


def waits_for(one: LockBackend) -> str | None:
    """What a backend waits for: "AccessExclusiveLock on orders"; nothing of one that waits for nobody."""
    if not one.blocked_by:
        return None
    on = one.relation or one.lock_type
    return f"{one.lock_mode or 'a lock'}{f' on {on}' if on else ''}"


async def _sessions(session: Session, names: Iterable[str], locks: Sequence[LockBackend]) -> dict[str, JobBackend]:
    """By name; of several with the same the one with the oldest transaction."""
    found: dict[str, JobBackend] = {}
    for row in await session.all(Q["job_sessions"], {"names": sorted(names)}):
        found.setdefault(row[0], _backend(row, locks))
    return found


def _backend(row: Row, locks: Sequence[LockBackend]) -> JobBackend:
    name, pid, started_at, state, state_s, transaction_s, wait, behind, oldest, query = row
    own = next((one for one in locks if one.pid == pid), None)
    return JobBackend(
        pid=pid, started_at=started_at, application=name, state=state, state_s=state_s, transaction_s=transaction_s,
        wait=wait, waits_for=None if own is None else waits_for(own), waited_s=None if own is None else own.waited_s,
        xmin_age=behind, holds_xmin=None if behind is None else bool(oldest), query=query, chain=links(pid, locks),
    )  # fmt: skip


def _name(job: StuckJob) -> str:
    return session_name(job.worker or 0, job.queue, job.id)
