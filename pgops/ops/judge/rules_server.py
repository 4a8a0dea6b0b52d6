"""Rules for the server as a whole: who holds vacuum back, its log and checkpoints, replicas and slots, its version.

Floor 3, pure, under findings.py.
"""

from collections.abc import Iterator

from pgops.ops.judge.minors import KNOWN_ON, behind, flaws
from pgops.ops.observe.snapshot import Finding, Snapshot, Unavailable, items
from pgops.ops.observe.snapshot_server import Replay, Slot, Standby, WalPart, XminHolder
from pgops.ops.thresholds import Thresholds
from pgops.ops.wording import age, many, size


def holders(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Somebody for whom vacuum has waited long, while dead rows wait in pgops' own tables."""
    dead = sum(one.dead_rows for one in items(now.tables) if one.own)
    told = [one for one in items(now.xmin_holders) if not one.only_catalogs and _is_old(one, lines)]
    if dead < lines.xmin_dead_rows or not told:
        return
    worst, others = max(told, key=_blame), len(told) - 1
    since = "" if worst.age_s is None else f"for {age(worst.age_s)}, "
    remedy, action = _release(worst)
    yield Finding(
        code="vacuum.held",
        severity="critical" if (worst.age_s or 0.0) >= lines.xmin_holder_critical_s else "warning",
        title=f"{_who(worst)} holds vacuum back",
        evidence=f"{since}{many(worst.age_xids, 'transaction')} old{_about(worst)}; {many(dead, 'dead row')} wait in "
        f"pgops' tables" + (f"; {many(others, 'other')} behind it" if others else ""),
        why="Vacuum removes nothing that died since it began: tables and indexes grow, and reads become slower.",
        remedy=remedy,
        action=action,
        target=worst.name if action is None else str(worst.pid),
        command=None if action is None else f"pgops sessions terminate {worst.pid}",
    )


def _is_old(one: XminHolder, lines: Thresholds) -> bool:
    if one.age_s is None:
        return one.age_xids >= lines.xmin_holder_xids
    return one.age_s >= lines.xmin_holder_s


def _blame(one: XminHolder) -> tuple[float, float]:
    """The oldest; a standby reports late and repeats what is open on the primary, so that one comes before it."""
    return one.age_xids * (0.9 if one.kind == "standby" else 1.0), one.age_s or 0.0


def _who(one: XminHolder) -> str:
    return f"pid {one.pid}" if one.kind == "backend" else f"{one.kind} {one.name}"


def _about(one: XminHolder) -> str:
    if one.kind != "backend":
        return f" ({one.state})" if one.state else ""
    return f" ({one.name}{f' as {one.user}' if one.user else ''}, {one.state or 'working'})"


def _release(one: XminHolder) -> tuple[str, str | None]:
    """What to do, and the act where there is one."""
    name = _literal(one.name)
    if one.kind == "replication slot":
        return f"have its reader catch up; if nobody reads it: select pg_drop_replication_slot({name})", None
    if one.kind == "prepared transaction":
        return f"what its coordinator has forgotten: commit prepared {name}, or rollback prepared {name}", None
    if one.kind == "standby":
        return "end the long query on that standby, or set hot_standby_feedback = off there", None
    if one.backend_type == "client backend":
        return "have its client commit or roll back, or terminate it", "terminate_backend"
    return "it is not a client's: it ends by itself, or see the server's log", None


def _literal(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def wal(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """The archiver fails, the log grows unusually fast, checkpoints come too often."""
    part = now.wal
    if isinstance(part, Unavailable):
        return
    if part.archiving and part.archive_failing:
        late = part.archived_s is None or part.archived_s >= lines.archive_critical_s
        yield Finding(
            code="wal.archive",
            severity="critical" if late else "warning",
            title="the log is not archived",
            evidence=f"{many(part.archive_failed_total, 'failure')}, the last with "
            f"{part.archive_failed_file or 'a file'}; archived last "
            f"{'never' if part.archived_s is None else f'{age(part.archived_s)} ago'}",
            why="What is not archived is kept until the disk is full, and no backup reaches beyond the last file.",
            remedy="see the server's log for what archive_command, or the archive library, says",
        )
    yield from _rate(part, lines)
    checkpoints = part.checkpoints_timed + part.checkpoints_requested
    share = part.checkpoints_requested / checkpoints if checkpoints else 0.0
    if checkpoints >= lines.checkpoints_seen and share >= lines.checkpoints_requested:
        yield Finding(
            code="wal.checkpoints",
            severity="info",
            title="checkpoints come before their time",
            evidence=f"{part.checkpoints_requested:,} of {checkpoints:,} ({share:.0%}) were requested"
            f"{'' if part.checkpoints_over_s is None else f', in {age(part.checkpoints_over_s)}'}",
            why="After each one every page that changes goes whole into the log: more to write and to send.",
            remedy="raise max_wal_size, until most checkpoints are timed",
        )


def _rate(part: WalPart, lines: Thresholds) -> Iterator[Finding]:
    """Against its own average, where that is over long enough."""
    rate, average = part.bytes_per_s, part.average_bytes_per_s
    if rate is None or average is None or (part.average_over_s or 0.0) < lines.wal_average_s or part.in_recovery:
        return
    if rate >= lines.wal_bytes_per_s and rate >= lines.wal_times * average:
        yield Finding(
            code="wal.rate",
            severity="info",
            title="much more log is written than usual",
            evidence=f"{size(round(rate))}/s now, {size(round(average))}/s on average over {age(part.average_over_s)}",
            why="Replicas and the archive must take as much; what they do not take fills the disk.",
            remedy="look who writes: pgops sessions list; a bulk load or a rebuild ends by itself",
        )


def replication(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Standbys far behind, commits that wait for none, slots that keep the log, and this standby's own replay."""
    part = now.replication
    if isinstance(part, Unavailable):
        return
    if part.synchronous and not any(one.sync_state in ("sync", "quorum") for one in part.standbys):
        yield Finding(
            code="replication.synchronous",
            severity="critical",
            title="commits wait for a standby that is not there",
            evidence=f"synchronous_standby_names is set; of {many(len(part.standbys), 'standby connection')} 0 are "
            "synchronous",
            why="Every commit that writes waits until one comes.",
            remedy="bring the standby back, or empty synchronous_standby_names and reload",
        )
    for standby in part.standbys:
        yield from _standby(standby, lines)
    for slot in part.slots:
        yield from _slot(slot, lines)
    if part.replay is not None:
        yield from _replay(part.replay, lines)


def _standby(one: Standby, lines: Thresholds) -> Iterator[Finding]:
    lag_s, lag_bytes = one.lag_s or 0.0, one.lag_bytes or 0
    if lag_s >= lines.replica_lag_warning_s or lag_bytes >= lines.replica_lag_bytes:
        yield Finding(
            code="replication.lag",
            severity="critical" if lag_s >= lines.replica_lag_critical_s else "warning",
            title=f"standby {one.name} is behind",
            evidence=f"{size(lag_bytes)}"
            + (f" and {age(one.lag_s)}" if one.lag_s is not None else "")
            + f", {one.state or 'unknown'}",
            why="Reads there are as old, and after a fail-over what it lacks is lost or takes long to replay.",
            remedy="look there at long queries, its disk and the network between",
            target=one.name,
        )


def _slot(one: Slot, lines: Thresholds) -> Iterator[Finding]:
    drop = f"if nobody reads it: select pg_drop_replication_slot({_literal(one.name)})"
    kept = one.retained_bytes or 0
    unread = not one.active and kept >= lines.slot_inactive_bytes
    if one.wal_status in ("lost", "unreserved"):
        yield Finding(
            code="slots.lost",
            severity="critical",
            title=f"replication slot {one.name} " + ("is lost" if one.wal_status == "lost" else "is about to be lost"),
            evidence=f"wal_status {one.wal_status}, {size(kept)} kept for it",
            why="Its reader cannot go on from where it was, and must be built anew."
            if one.wal_status == "lost"
            else "The next checkpoint may remove what its reader needs, which must then be built anew.",
            remedy=f"build its reader anew, or {drop}"
            if one.wal_status == "lost"
            else "have its reader catch up now, and raise max_slot_wal_keep_size",
            target=one.name,
        )
    elif unread or kept >= lines.slot_retained_warning:
        yield Finding(
            code="slots.inactive" if unread else "slots.retained",
            severity="critical" if unread and kept >= lines.slot_retained_warning else "warning",
            title=f"replication slot {one.name} keeps the log" + (", and nobody reads it" if unread else ""),
            evidence=f"{size(kept)} kept"
            + ("" if one.inactive_s is None or one.active else f", inactive for {age(one.inactive_s)}"),
            why="The log is kept for it without end, until the disk is full and the server stops.",
            remedy=f"have its reader catch up; {drop}",
            target=one.name,
        )


def _replay(one: Replay, lines: Thresholds) -> Iterator[Finding]:
    if one.paused or (one.lag_s or 0.0) >= lines.replica_lag_warning_s:
        yield Finding(
            code="replication.replay",
            severity="critical" if (one.lag_s or 0.0) >= lines.replica_lag_critical_s else "warning",
            title="this standby " + ("has its replay paused" if one.paused else "is behind"),
            evidence=f"behind by {size(one.lag_bytes or 0)} and {age(one.lag_s)}, "
            f"{'receiving' if one.receiving else 'not receiving'}",
            why="Reads here are as old, and so is what a fail-over would begin with.",
            remedy="select pg_wal_replay_resume()"
            if one.paused
            else "look at long queries here, and at its way to the primary",
        )


def version(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """A minor release with a bug in something pgops relies on, or one that is not the newest known."""
    part = now.server
    if isinstance(part, Unavailable):
        return
    known = flaws(part.version_num)
    for flaw in known:
        yield Finding(
            code="server.flaw",
            severity="warning",
            title=f"PostgreSQL {part.version} has a known bug",
            evidence=f"{flaw.what}; cured in {flaw.cured_in}",
            why=f"The release notes of {flaw.cured_in} tell of it.",
            remedy=f"update to {part.version_num // 10_000}.{behind(part.version_num)}{flaw.then}",
        )
    newest = behind(part.version_num)
    if newest is not None and not known:
        yield Finding(
            code="server.minor",
            severity="info",
            title=f"PostgreSQL {part.version} is not the newest minor release",
            evidence=f"{part.version_num // 10_000}.{newest} was the newest known on {KNOWN_ON}",
            why="Minor releases bring cures of bugs and of holes alone; they need no dump.",
            remedy="read the release notes, and update",
        )


RULES = (holders, wal, replication, version)
