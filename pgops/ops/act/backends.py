"""One backend to act on: which one a process id means, whether it may be hit, and hitting exactly that one.

Floor 3, under previews.py and actions.py. The rule: never this session itself, never another dashboard, never
replication, the server's own processes or a vacuum against wraparound; and a process id that was given anew since
one looked is not hit.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pgops.database import AsyncDatabase
from pgops.errors import NotFoundError, RefusedError, UsageError
from pgops.ops.wording import age, many
from pgops.queries import load

Q = load("pgops.ops.observe", "connections.sql")

Signal = Literal["cancel_backend", "terminate_backend"]
DASHBOARD = "pgops dashboard"
MAY_BE_HIT = ("client backend", "autovacuum worker")
# As PostgreSQL says of a vacuum that must not be put off: without it the server refuses to write one day.
WRAPAROUND = "(to prevent wraparound)"
MAX_PID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend as it was looked at; `waiting` are the pids of those that wait for it."""

    pid: int
    started_at: datetime
    kind: str
    user: str | None
    database: str | None
    application: str
    client: str
    state: str | None
    transaction_s: float | None
    state_s: float | None
    wait: str | None
    query: str | None
    waiting: tuple[int, ...]


async def find(db: AsyncDatabase, target: str, started_at: datetime | None = None) -> Backend:
    """The backend with this pid, which may be hit. Raises UsageError for what is no pid, NotFoundError where it is
    gone or not the one that began at `started_at`, RefusedError where it must not be hit or is hidden from us."""
    pid = _pid(target)
    row = await db.one(Q["backend"], {"pid": pid})
    if row is None:
        raise NotFoundError(f"no session has pid {pid}", "it has ended; pgops sessions list")
    _, began, kind, user, database, application, client, state, own, *ages, wait, query, waiting = row
    if own:
        raise RefusedError(f"pid {pid} is this very session", "name another one: pgops sessions list")
    if kind is None or began is None:
        raise RefusedError(
            f"what pid {pid} does is hidden from this role, so it is left alone", "grant pg_monitor to the role"
        )
    if started_at is not None and began != started_at:
        raise NotFoundError(f"pid {pid} is another session by now", "the one that was meant has ended")
    if why := protected(pid, kind, application, query or ""):
        raise RefusedError(*why)
    transaction_s, state_s = ages
    waiting = tuple(waiting)
    return Backend(
        pid, began, kind, user, database, application, client, state, transaction_s, state_s, wait, query, waiting
    )  # fmt: skip


def protected(pid: int, kind: str, application: str, query: str) -> tuple[str, str] | None:
    """Why a backend must not be hit, and what to do instead; None where it may be."""
    if kind not in MAY_BE_HIT:
        return f"pid {pid} is a {kind}, not a client's session", "only sessions of clients are ended here"
    if kind == "autovacuum worker" and WRAPAROUND in query:
        return (
            f"pid {pid} vacuums so that transaction ids do not run out; ended, it begins anew",
            f"let it work: it runs {' '.join(query.split())}",
        )
    if application == DASHBOARD:
        return f"pid {pid} is a pgops dashboard", "leave it there with q"
    return None


async def signal(db: AsyncDatabase, name: Signal, backend: Backend) -> None:
    """Send it. Raises NotFoundError where it is gone, RefusedError where this role may not."""
    try:
        row = await db.one(Q[name], {"pid": backend.pid, "started_at": backend.started_at})
    except RefusedError as error:
        raise RefusedError(str(error), "it is the same role's to do, or grant pg_signal_backend to the role") from error
    if row is None or not row[0]:
        raise NotFoundError(f"pid {backend.pid} has ended meanwhile", "nothing is left to do")


def about(backend: Backend) -> tuple[str, ...]:
    """What a person must know before he hits it, a line each."""
    who = f"pid {backend.pid}: {backend.user or backend.kind}@{backend.database or '-'} from {backend.client}"
    tx = "" if backend.transaction_s is None else f", transaction open for {age(backend.transaction_s)}"
    wait = f", waits for {backend.wait}" if backend.wait and backend.state == "active" else ""
    query = " ".join((backend.query or "").split())
    lines = (
        f"{who}, {backend.application or 'no application name'}",
        f"{backend.state or 'at work'} for {age(backend.state_s)}{tx}{wait}",
        f"holds up {many(len(backend.waiting), 'session')}: {_pids(backend.waiting)}" if backend.waiting else "",
        f"{'runs' if backend.state == 'active' else 'last ran'}: {query}" if query else "",
    )
    return tuple(line for line in lines if line)


def warning(name: Signal, backend: Backend) -> str:
    """What goes with it, or why it will change nothing."""
    if name == "terminate_backend":
        return "its connection ends and its transaction is rolled back; the client gets an error"
    if (backend.state or "").startswith("idle"):
        return "it runs no statement now, so a cancel changes nothing; terminate ends it"
    return ""


def _pids(pids: tuple[int, ...]) -> str:
    return ", ".join(map(str, pids[:8])) + (" …" if len(pids) > 8 else "")


def _pid(target: str) -> int:
    if target.isascii() and target.isdigit() and 0 < int(target[:12]) <= MAX_PID:
        return int(target)
    raise UsageError(f"a pid is a whole number from 1, not {target[:40]!r}", "see: pgops sessions list")
