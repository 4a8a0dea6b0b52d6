"""Backends as values: the list of sessions and the blocking tree, under parts.py's contract.

Floor 3, under collector.py. `rooted` is pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pgops.database import Row
from pgops.ops.observe.parts import Look, Session
from pgops.ops.observe.snapshot import LockBackend, SessionRow
from pgops.queries import load

Q = load("pgops.ops.observe", "connections.sql")

SESSIONS_SHOWN = 200
WAITING_CAP = 200


async def session_list(session: Session, look: Look) -> tuple[SessionRow, ...]:
    """At most SESSIONS_SHOWN client connections, the longest transaction first."""
    return tuple(_session(row) for row in await session.all(Q["session_list"], {"cap": SESSIONS_SHOWN}))


def _session(row: Row) -> SessionRow:
    pid, started_at, user, database, application, client, state, transaction_s, query_s, state_s, wait, query = row
    return SessionRow(
        pid, started_at, user, database, application, client, state, _age(transaction_s), _age(query_s), _age(state_s),
        wait, query,
    )  # fmt: skip


async def locks(session: Session, look: Look) -> tuple[LockBackend, ...]:
    """Every backend of a blocking tree; of more than WAITING_CAP that wait, those that began first."""
    if not (await session.one(Q["anybody_waits"]))[0]:
        return ()
    rows = await session.all(Q["locks"], {"cap": WAITING_CAP})
    return rooted(_backend(row) for row in rows)


def _backend(row: Row) -> LockBackend:
    pid, started_at, user, database, application, kind, state, transaction_s, wait, waited_s, blocked_by = row[:11]
    kind = "prepared transaction" if pid == 0 else kind
    return LockBackend(
        pid, started_at, user, database, application, kind, state, _age(transaction_s), wait, _age(waited_s),
        tuple(dict.fromkeys(blocked_by)), None, *row[11:],
    )  # fmt: skip


def rooted(backends: Iterable[LockBackend]) -> tuple[LockBackend, ...]:
    """Each with its root. One that waits for nobody is its own; in a ring there is none."""
    found = tuple(backends)
    blocked_by = {one.pid: one.blocked_by for one in found}
    return tuple(replace(one, root=_root(one.pid, blocked_by)) for one in found)


def _root(pid: int, blocked_by: Mapping[int, Sequence[int]]) -> int | None:
    """The first that waits for nobody, going up from `pid`."""
    seen, waiting = {pid}, [pid]
    while waiting:
        above = blocked_by.get(at := waiting.pop(), ())
        if not above:
            return at
        fresh = [one for one in above if one not in seen]
        seen.update(fresh)
        waiting.extend(reversed(fresh))
    return None


def _age(seconds: float | None) -> float | None:
    """Clocks of two moments: never below nothing."""
    return None if seconds is None else max(seconds, 0.0)
