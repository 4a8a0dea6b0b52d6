"""Rules for sessions: somebody waits long for somebody else, connections run out, transactions hold everybody up.

Floor 3, pure, under findings.py.
"""

from collections.abc import Iterator, Sequence

from pgops.ops.observe.snapshot import Finding, LockBackend, Sessions, Snapshot, Unavailable, items
from pgops.ops.thresholds import Thresholds
from pgops.ops.wording import age, many

CHAINS_TOLD = 3


def locks(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """A finding for each root behind which somebody has waited too long."""
    backends = {one.pid: one for one in items(now.locks)}
    for root in backends.values():
        behind = [one for one in backends.values() if one.root == root.pid and one.blocked_by]
        longest_s = max((one.waited_s or 0.0 for one in behind), default=0.0)
        if longest_s >= lines.blocked_warning_s:
            yield _chain(root, behind, longest_s, critical=longest_s >= lines.blocked_critical_s)


def _chain(root: LockBackend, behind: Sequence[LockBackend], longest_s: float, *, critical: bool) -> Finding:
    action = _cure(root)
    told = sorted(behind, key=lambda one: one.waited_s or 0.0, reverse=True)
    waits = [_wait(one) for one in told[:CHAINS_TOLD]]
    if len(told) > CHAINS_TOLD:
        waits.append(f"and {len(told) - CHAINS_TOLD:,} more")
    who = "a prepared transaction" if root.pid == 0 else f"pid {root.pid}"
    verb = "cancel" if action == "cancel_backend" else "terminate"
    return Finding(
        code="locks.blocked",
        severity="critical" if critical else "warning",
        title=f"{who} holds up {many(len(behind), 'session')}",
        evidence=f"{'; '.join(waits)}; {_about(root)}",
        why="What waits holds its own locks and its connection meanwhile, so that more and more stand still.",
        remedy=_remedy(root, action),
        action=action,
        target=None if action is None else str(root.pid),
        command=None if action is None else f"pgops sessions {verb} {root.pid}",
    )


def _wait(one: LockBackend) -> str:
    on = f" on {one.relation}" if one.relation else f" ({one.lock_type})" if one.lock_type else ""
    whom = ", ".join(str(pid) if pid else "a prepared transaction" for pid in one.blocked_by)
    return f"{one.pid} waits for {whom}{on} for {age(one.waited_s)}"


def _about(root: LockBackend) -> str:
    if root.pid == 0:
        return "a prepared transaction is neither committed nor rolled back"
    who = " ".join(part for part in (root.application, root.user and f"as {root.user}") if part)
    since = "" if root.transaction_s is None else f", its transaction open for {age(root.transaction_s)}"
    return f"{root.pid} is {who or root.backend_type or 'unknown'}, {root.state or 'working'}{since}"


def _cure(root: LockBackend) -> str | None:
    """What runs a statement is cancelled; what only holds its transaction can but be ended."""
    if root.backend_type != "client backend":
        return None
    return "cancel_backend" if root.state == "active" else "terminate_backend"


def _remedy(root: LockBackend, action: str | None) -> str:
    if root.pid == 0:
        return "look in pg_prepared_xacts; commit or roll back what its coordinator has forgotten"
    if action == "cancel_backend":
        return "wait, or cancel its statement; where that does not help, terminate it"
    if action == "terminate_backend":
        return "have its client commit or roll back, or terminate it"
    return "it is not a client's: it ends by itself, or see the server's log"


def sessions(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Connections running out, and transactions that hold everybody up."""
    part = now.sessions
    if isinstance(part, Unavailable):
        return
    share = part.total / part.max if part.max > 0 else 0.0
    if share >= lines.connections_warning:
        yield Finding(
            code="sessions.full",
            severity="critical" if share >= lines.connections_critical else "warning",
            title="connections run out",
            evidence=f"{part.total:,} of {part.max:,} connections ({share:.0%}): {part.active:,} active, {part.idle:,} "
            f"idle, {part.idle_in_transaction:,} idle in transaction",
            why="At the limit every new connection is refused, also an administrator's.",
            remedy="close idle ones, make pools smaller, or put a pooler between",
        )
    yield from _transactions(part, lines)


def _transactions(part: Sessions, lines: Thresholds) -> Iterator[Finding]:
    idle_s, oldest_s = part.oldest_idle_in_transaction_s or 0.0, part.oldest_transaction_s or 0.0
    why = "It keeps its locks, and vacuum cannot remove what has died since: tables and indexes grow."
    if idle_s >= lines.idle_in_transaction_warning_s:
        pid = part.oldest_idle_in_transaction_pid
        yield Finding(
            code="sessions.idle_in_transaction",
            severity="critical" if idle_s >= lines.idle_in_transaction_critical_s else "warning",
            title="a transaction is open and idle",
            evidence=f"{many(part.idle_in_transaction, 'session')} idle in transaction, the longest for {age(idle_s)}"
            + ("" if pid is None else f" (pid {pid})"),
            why=why,
            remedy="mend the client, or end the session",
            action=None if pid is None else "terminate_backend",
            target=None if pid is None else str(pid),
            command=None if pid is None else f"pgops sessions terminate {pid}",
        )
    elif oldest_s >= lines.transaction_warning_s:
        yield Finding(
            code="sessions.old_transaction",
            severity="warning",
            title="a transaction is very old",
            evidence=f"open for {age(oldest_s)}",
            why=why,
            remedy="look in pg_stat_activity, by xact_start, at what it does and whether anybody waits for it",
        )


RULES = (locks, sessions)
