"""Rules for tables and indexes: what vacuum leaves, what runs out, and indexes that only cost.

Floor 3, pure, under findings.py.
"""

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime

from pgops.ops.observe.snapshot import Finding, Snapshot, Unavailable, items
from pgops.ops.observe.snapshot_server import IndexTrouble, TablePart, WraparoundPart
from pgops.ops.thresholds import Thresholds
from pgops.ops.wording import age, many, size

SHOWN = 3
HOT = {
    f"pgops.{name}"
    for name in ("job_running", "workers", "queue_total", "subscription_parts", "rate_limits", "rate_windows")
}
TOLD_ELSEWHERE = ("ivfflat", "hnsw")


def vacuum(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Autovacuum is due and does not come."""
    earlier = {one.table: one for one in items(before.tables)} if before is not None else {}
    late = [one for one in items(now.tables) if _is_late(one, earlier.get(one.table), now.taken_at, lines)]
    if not late:
        return
    worst = late[0]
    last = worst.vacuumed
    ago = "never" if last is None else f"{age((now.taken_at - last).total_seconds())} ago"
    off = "" if worst.autovacuum else ", and autovacuum is off for it"
    yield Finding(
        code="vacuum.due",
        severity="warning",
        title=f"autovacuum does not come to {worst.table}",
        evidence=f"{many(worst.dead_rows, 'dead row')} ({worst.dead_share:.0%}), due above {worst.vacuum_above:,}; "
        f"vacuumed last {ago}{off}" + (f"; also {_names([one.table for one in late[1:]])}" if late[1:] else ""),
        why="Dead rows take room and slow every scan; what falls far behind is slow to vacuum.",
        remedy=f"vacuum (analyze) {worst.table}; then "
        + ("more autovacuum workers, or a smaller cost delay" if worst.autovacuum else "let autovacuum come to it"),
        action="vacuum_table",
        target=worst.table,
        command=f"pgops table vacuum {shlex.quote(worst.table)}",
    )


def _is_late(one: TablePart, before: TablePart | None, now: datetime, lines: Thresholds) -> bool:
    much = one.dead_rows >= max(lines.vacuum_due_rows, lines.vacuum_due_times * one.vacuum_above)
    if not one.autovacuum_due or one.vacuuming or not much:
        return False
    last = one.vacuumed
    if not one.autovacuum:
        return True
    if last is None:
        return before is not None and before.autovacuum_due
    return (now - last).total_seconds() >= lines.vacuum_due_s


def hot(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Updates of pgops' own busy tables that touch their indexes, which they need not."""
    for one in items(now.tables):
        if one.table not in HOT or one.updates_total < lines.hot_updates or one.hot_share is None:
            continue
        if one.hot_share < lines.hot_share:
            yield Finding(
                code="tables.hot",
                severity="warning",
                title=f"updates of {one.table} do not stay in their pages",
                evidence=f"{one.hot_share:.0%} of {one.updates_total:,} updates were HOT, below {lines.hot_share:.0%}; "
                f"{many(one.dead_rows, 'dead row')}",
                why="Each of the others writes every index, and leaves an entry that vacuum must remove.",
                remedy="look who holds vacuum back, and whether an index was added or the fill factor changed",
                target=one.table,
            )


def wraparound(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Transaction ids, multixacts and sequences that run out."""
    part = now.wraparound
    if isinstance(part, Unavailable):
        return
    for kind, name, old, forced in (
        ("transaction ids", part.oldest_database, part.oldest_xid_age, part.freeze_max_age),
        ("multixacts", part.oldest_multixact_database, part.oldest_multixact_age, part.multixact_freeze_max_age),
    ):
        critical = old >= lines.xid_age_critical * part.xids_end
        if critical or old >= lines.xid_age_times * forced:
            yield Finding(
                code="wraparound.age",
                severity="critical" if critical else "warning",
                title=f"{kind} of database {name} are not frozen in time",
                evidence=f"the oldest is {old:,} old; by force from {forced:,} on, the server stops at "
                f"{part.xids_end:,} ({old / part.xids_end:.0%})",
                why="At the end the server refuses every change, until a vacuum of all is through.",
                remedy="end what holds vacuum back (sessions, slots, prepared transactions), then vacuum (freeze) the "
                "tables with the highest age(relfrozenxid)",
                target=name,
            )
    yield from _sequences(part, lines)
    if part.unlogged:
        yield Finding(
            code="tables.unlogged",
            severity="info",
            title=f"a crash empties {many(len(part.unlogged), 'table')}",
            evidence=f"{_names([one.table for one in part.unlogged])}, {size(sum(one.bytes for one in part.unlogged))}",
            why="An unlogged table is empty after a crash or a fail-over, is not on any standby, and in no backup of "
            "files.",
            remedy=f"alter table {part.unlogged[0].table} set logged, unless that is meant",
            target=part.unlogged[0].table,
        )


def _sequences(part: WraparoundPart, lines: Thresholds) -> Iterator[Finding]:
    for one in part.sequences:
        if one.share < lines.sequence_warning:
            continue
        table, _, column = (one.feeds or "").rpartition(".")
        yield Finding(
            code="sequences.full",
            severity="critical" if one.share >= lines.sequence_critical else "warning",
            title=f"sequence {one.name} runs out",
            evidence=f"{one.last:,} of {one.ends_at:,} ({one.share:.1%})" + (f", feeds {one.feeds}" if table else ""),
            why="At its end every insert that draws from it fails.",
            remedy=f"alter table {table} alter column {column} type bigint, and alter sequence {one.name} as bigint"
            if table
            else f"alter sequence {one.name} as bigint, and the columns that it feeds",
            target=one.name,
        )


def indexes(now: Snapshot, before: Snapshot | None, lines: Thresholds) -> Iterator[Finding]:
    """Invalid ones each; duplicates and unused ones together."""
    told = [one for one in items(now.indexes) if one.problem != "invalid" or one.method not in TOLD_ELSEWHERE]
    for one in [one for one in told if one.problem == "invalid"][:SHOWN]:
        yield _invalid(one)
    twins = [one for one in told if one.problem == "duplicate"]
    if twins:
        yield Finding(
            code="indexes.duplicate",
            severity="info",
            title="1 index has a twin" if len(twins) == 1 else f"{len(twins)} indexes have a twin",
            evidence=f"{', '.join(f'{one.index} is as {one.twin}' for one in twins[:SHOWN])}; "
            f"{size(sum(one.bytes for one in twins))} in all",
            why="Each write keeps both, and no read needs the second.",
            remedy=f"drop index concurrently {twins[0].index}",
            target=twins[0].index,
        )
    unused = [
        one
        for one in told
        if one.problem == "unused"
        and one.bytes >= lines.unused_index_bytes
        and (one.statistics_s or 0.0) >= lines.unused_index_s
    ]
    if unused:
        yield Finding(
            code="indexes.unused",
            severity="info",
            title=f"{'1 index is' if len(unused) == 1 else f'{len(unused)} indexes are'} never scanned",
            evidence=f"{_names([one.index for one in unused])}: {size(sum(one.bytes for one in unused))}, 0 scans in "
            f"{age(unused[0].statistics_s)}",
            why="Each write keeps it, and it hinders HOT updates.",
            remedy=f"make sure that no standby and no rare report needs it; drop index concurrently {unused[0].index}",
            target=unused[0].index,
        )


def _invalid(one: IndexTrouble) -> Finding:
    left = one.index.strip('"').rsplit("_cc", 1)
    leftover = len(left) == 2 and left[1].rstrip("0123456789") in ("new", "old")
    again = "" if leftover else ", then make it again" + (", once its duplicates are gone" if one.unique else "")
    return Finding(
        code="indexes.invalid",
        severity="warning",
        title=f"index {one.index} is invalid",
        evidence=f"on {one.table}, {size(one.bytes)}" + (", unique" if one.unique else ""),
        why="No query uses it and it enforces nothing whole, but every write keeps it: its build was broken off.",
        remedy=f"drop index concurrently {one.index}{again}",
        action="drop_invalid_index",
        target=one.index,
        command=f"pgops index drop-invalid {shlex.quote(one.index)}",
    )


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


RULES = (vacuum, hot, wraparound, indexes)
