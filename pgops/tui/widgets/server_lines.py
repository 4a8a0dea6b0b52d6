"""The lines about PostgreSQL's log, replicas, slots and ids: what is wrong stands out, the rest is quiet. Pure."""

from rich.text import Text

from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.ops.observe.snapshot_server import ReplicationPart, Slot, Standby, WalPart, WraparoundPart
from pgops.tui import formats
from pgops.tui.theme import Tone
from pgops.tui.widgets.ink import Piece, ink

LABEL = 10
AND: Piece = (" · ", "quiet")
FAR_S, MUCH_BYTES, NEAR = 60.0, 256 << 20, 0.8
SOME_CHECKPOINTS = 20


def health(snapshot: Snapshot) -> Text:
    """Four lines, one below the other."""
    lines = (
        _line("log", snapshot.wal if isinstance(snapshot.wal, Unavailable) else _wal(snapshot.wal)),
        *_replication(snapshot.replication),
        _line(
            "ids", snapshot.wraparound if isinstance(snapshot.wraparound, Unavailable) else _ids(snapshot.wraparound)
        ),
    )
    return Text("\n").join(lines)


def _line(label: str, said: list[Piece] | Unavailable) -> Text:
    head: Piece = (f"{label:<{LABEL}}", "quiet")
    if isinstance(said, Unavailable):
        return ink(head, ("◌ ", "quiet"), formats.clean(said.reason), (f" → {formats.clean(said.remedy)}", "accent"))
    return ink(head, *said)


def _wal(part: WalPart) -> list[Piece]:
    rate = None if part.bytes_per_s is None else round(part.bytes_per_s)
    usual = None if part.average_bytes_per_s is None else round(part.average_bytes_per_s)
    said: list[Piece] = [f"{formats.size(rate)}/s", (f" ({formats.size(usual)}/s usual)", "quiet")]
    if part.archiving and part.archive_failing:
        said.append((f" · ✕ archive fails, {part.archive_failed_total:,} times", "bad"))
    elif part.archiving:
        said.append((f" · archived {formats.duration(part.archived_s)} ago", "quiet"))
    many = part.checkpoints_timed + part.checkpoints_requested >= SOME_CHECKPOINTS
    early: Tone = "warn" if many and part.checkpoints_requested > part.checkpoints_timed else "quiet"
    said.append((f" · checkpoints {part.checkpoints_timed:,} timed, {part.checkpoints_requested:,} requested", early))
    said.append((f" · level {part.level}, at {part.position or formats.UNKNOWN}", "quiet"))
    return said


def _replication(part: ReplicationPart | Unavailable) -> tuple[Text, ...]:
    if isinstance(part, Unavailable):
        return (_line("replicas", part),)
    replicas: list[Piece] = []
    if part.replay is not None:
        state = "paused" if part.replay.paused else "receiving" if part.replay.receiving else "not receiving"
        replicas.append(
            (f"this standby: {state}, {formats.duration(part.replay.lag_s)} behind", _late(part.replay.lag_s))
        )
    for standby in part.standbys:
        replicas += [AND, _standby(standby)] if replicas else [_standby(standby)]
    slots: list[Piece] = []
    for slot in part.slots:
        slots += [AND, _slot(slot)] if slots else [_slot(slot)]
    return (
        _line("replicas", replicas or [("none", "quiet")]),
        _line("slots", slots or [("none", "quiet")]),
    )


def _late(seconds: float | None) -> Tone:
    return "warn" if (seconds or 0.0) >= FAR_S else "plain"


def _standby(one: Standby) -> Piece:
    behind = f"{formats.size(one.lag_bytes)} {formats.duration(one.lag_s)} behind"
    state = f"{one.state or formats.UNKNOWN} {one.sync_state or ''}".strip()
    return f"{formats.clean(one.name, 30)} {state}, {behind}", _late(one.lag_s)


def _slot(one: Slot) -> Piece:
    name = f"{formats.clean(one.name, 30)} {one.type}"
    if one.wal_status in ("lost", "unreserved"):
        return f"✕ {name} {one.wal_status}", "bad"
    kept = f"keeps {formats.size(one.retained_bytes)}"
    if one.active:
        return f"{name}, {kept}", "plain"
    tone: Tone = "bad" if (one.retained_bytes or 0) >= MUCH_BYTES else "warn"
    return f"◆ {name} inactive, {kept}", tone


def _ids(part: WraparoundPart) -> list[Piece]:
    share = max(part.oldest_xid_age, part.oldest_multixact_age) / part.xids_end
    old: Tone = "warn" if part.oldest_xid_age > part.freeze_max_age * 1.25 else "plain"
    said: list[Piece] = [
        (f"{formats.ratio(share)} used", old),
        (f", oldest {formats.count(part.oldest_xid_age)} in {formats.clean(part.oldest_database, 30)}", "quiet"),
    ]
    for one in part.sequences[:2]:
        tone: Tone = "warn" if one.share >= NEAR else "quiet"
        said.append((f" · {formats.clean(one.name, 40)} {formats.ratio(one.share)} used", tone))
    if part.unlogged:
        said.append((f" · unlogged: {formats.clean(', '.join(one.table for one in part.unlogged), 60)}", "quiet"))
    return said
