"""What the tiles of the overview say. Pure: View -> Face. A part that is missing says why and what to do."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from rich.text import Text

from pgops.ops.observe.snapshot import (
    CachePart,
    OutboxSubscription,
    Sessions,
    Snapshot,
    Unavailable,
    VectorIndexPart,
    items,
)
from pgops.ops.observe.snapshot_jobs import Queue
from pgops.services.models import PgmqQueue
from pgops.services.pgmq_rules import DEAD
from pgops.tui import formats
from pgops.tui.feed import View
from pgops.tui.theme import ACCENT, INK, Tone
from pgops.tui.widgets.ink import ink
from pgops.tui.widgets.tile import Face

T = TypeVar("T")
UNAVAILABLE_WORD = "unavailable"


def missing(part: Unavailable) -> Face:
    """The face of a part that cannot be had."""
    lines = [Text(formats.clean(part.reason, 200), style=INK)]
    if part.remedy:
        lines.append(Text(f"→ {formats.clean(part.remedy, 200)}", style=ACCENT))
    return Face("◌", UNAVAILABLE_WORD, tuple(lines), tone="quiet", wrap=True)


def bare(what: str, command: str) -> Face:
    return Face("○", what, (ink(("try:", "quiet")), Text(command, style=ACCENT)), tone="quiet", wrap=True)


def series_of(view: View, value: Callable[[Snapshot], float | None]) -> tuple[float | None, ...]:
    return tuple(value(snapshot) for snapshot in view.history)


def sum_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def flag(name: str, value: int, tone: Tone, shown: str = "") -> tuple[str, Tone]:
    """Nothing is quiet; something has its tone and a glyph."""
    shown = shown or formats.count(value)
    if not value or tone == "plain":
        return f"{name} {shown}", "quiet"
    return f"◆ {name} {shown}", tone


def queue_face(snapshot: Snapshot, view: View) -> Face:
    part, ours, theirs = snapshot.queues, items(snapshot.queues), _of_pgmq(snapshot)
    if isinstance(part, Unavailable) and not theirs:
        return missing(part)
    if not ours and not theirs:
        return bare("no queues yet", "pgops queue enqueue hello '{}'")
    every: tuple[Queue | PgmqQueue, ...] = (*ours, *theirs)
    stuck, dead = sum(one.stuck for one in ours), sum(one.dead for one in every)
    exact = {"ready": all(one.available is not None and one.exact.get("available", True) for one in every)}
    waits = [*(one.oldest_age_s for one in ours), *(one.ready_age_s for one in theirs)]
    oldest = max((age_s for age_s in waits if age_s is not None), default=None)
    lines = (
        ink(("in ", "quiet"), f"{formats.rate(sum_known(one.in_per_s for one in every))}/s", ("  out ", "quiet"),
            f"{formats.rate(sum_known(one.out_per_s for one in every))}/s"),
        ink(("oldest ", "quiet"), formats.duration(oldest), ("  run ", "quiet"),
            formats.count(sum(one.running or 0 for one in every))),
        ink(flag("stuck", stuck, "bad"), ("  ", "quiet"), flag("dead", dead, "warn")),
    )  # fmt: skip
    ready = formats.roughly(sum(one.available or 0 for one in every), exact, "ready")
    unit = "ready" if ours else "ready in pgmq"
    return Face(ready, unit, lines, series_of(view, _depth), "bad" if stuck else "plain", "depth")


def _of_pgmq(snapshot: Snapshot) -> tuple[PgmqQueue, ...]:
    """Those that hold work: what died of it waits for a human."""
    return tuple(one for one in items(snapshot.pgmq) if not one.name.lower().endswith(DEAD))


def _depth(snapshot: Snapshot) -> float | None:
    every: tuple[Queue | PgmqQueue, ...] = (*items(snapshot.queues), *_of_pgmq(snapshot))
    if isinstance(snapshot.queues, Unavailable) and not every:
        return None
    return sum(one.available or 0 for one in every)


def outbox_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.outbox
    if isinstance(part, Unavailable):
        return missing(part)
    if not part:
        return bare("no subscription yet", "pgops outbox subscribe --help")
    lag_s = max((one.lag_s for one in part if one.lag_s is not None), default=None)
    exact = {"lag": all(one.exact.get("lag_events", True) for one in part)}
    lag = formats.roughly(sum(one.lag_events for one in part), exact, "lag")
    parked = sum(one.parked for one in part)
    lines = (
        ink(("oldest waits ", "quiet"), formats.duration(lag_s)),
        ink(("relayed ", "quiet"), f"{formats.rate(sum_known(one.relayed_per_s for one in part))}/s"),
        ink((f"{formats.count(len(part))} subs  ", "quiet"), flag("parked", parked, "warn")),
    )
    return Face(lag, "events behind", lines, series_of(view, _lag), "plain", "lag")


def _lag(snapshot: Snapshot) -> float | None:
    part: tuple[OutboxSubscription, ...] | Unavailable = snapshot.outbox
    return None if isinstance(part, Unavailable) else sum(one.lag_events for one in part)


def cache_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.cache
    if isinstance(part, Unavailable):
        return missing(part)
    if not part.entries and not part.hits + part.misses:
        return bare("empty", "pgops cache set greeting hello")
    backlog = formats.roughly(part.expired_backlog, part.exact, "expired_backlog")
    crash = ink(("◆ emptied by a crash", "warn"))
    entries = ink(
        formats.roughly(part.entries, part.exact, "entries"), (" keys  ", "quiet"), (formats.size(part.bytes), "plain")
    )
    lines = (
        ink(("buffer hits ", "quiet"), formats.ratio(part.buffer_hit_ratio)),
        ink(flag("expired", part.expired_backlog, "warn" if part.expired_backlog > 1_000 else "plain", backlog)),
        crash if part.emptied_by_crash else entries,
    )
    return Face(formats.ratio(part.hit_ratio), "app hit ratio", lines, series_of(view, _reads), about="reads/s")


def _reads(snapshot: Snapshot) -> float | None:
    part: CachePart | Unavailable = snapshot.cache
    return None if isinstance(part, Unavailable) else sum_known((part.hits_per_s, part.misses_per_s))


def vector_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.vectors
    if isinstance(part, Unavailable):
        return missing(part)
    if not part:
        return bare("no index yet", "pgops vector create --help")
    worst = min((one.recall for one in part if one.recall is not None), default=None)
    indexes = [one for one in part if one.index is not None]
    invalid = sum(not one.valid for one in indexes)
    recall = ink(("recall ", "quiet"), ("not measured", "quiet") if worst is None else formats.ratio(worst))
    exact = {"rows": all(one.exact.get("rows", True) for one in part)}
    rows = formats.roughly(sum({one.table: one.rows for one in part}.values()), exact, "rows")
    many = f"{len(indexes) or 'no'} {'index' if len(indexes) <= 1 else 'indexes'}"
    bytes = formats.size(sum(one.bytes for one in part))
    lines = (
        ink(many, (f"  {bytes}", "quiet")),
        ink(("searches ", "quiet"), f"{formats.rate(sum_known(one.searches_per_s for one in part))}/s"),
        ink(flag("invalid", invalid, "bad")) if invalid else recall,
    )  # fmt: skip
    return Face(rows, "vectors", lines, series_of(view, _searches), "bad" if invalid else "plain", "searches/s")


def _searches(snapshot: Snapshot) -> float | None:
    part: tuple[VectorIndexPart, ...] | Unavailable = snapshot.vectors
    return None if isinstance(part, Unavailable) else sum_known(one.searches_per_s for one in part)


def sessions_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.sessions
    if isinstance(part, Unavailable):
        return missing(part)
    share = part.total / part.max if part.max else 0.0
    tone: Tone = "bad" if share >= 0.9 else "warn" if share >= 0.75 else "good"
    filled, rest = formats.bar(share, 20)
    lines = (
        ink((filled, tone), (rest, "quiet")),
        ink(f"{part.active}", (" active  ", "quiet"), f"{part.idle}", (" idle", "quiet")),
        ink(flag("idle in tx", part.idle_in_transaction, "warn")),
        ink(("oldest tx ", "quiet"), formats.duration(part.oldest_transaction_s)),
    )  # fmt: skip
    mark: Tone = "plain" if tone == "good" else tone
    return Face(f"{part.total}", f"of {part.max} · {share:.0%}", lines, series_of(view, _total), mark, "sessions")


def _total(snapshot: Snapshot) -> float | None:
    part: Sessions | Unavailable = snapshot.sessions
    return None if isinstance(part, Unavailable) else part.total


def cost_face(snapshot: Snapshot, view: View) -> Face:
    cost = snapshot.cost
    slowest = max(cost.parts_ms.items(), key=lambda part: part[1], default=("none", 0.0))
    lines = (
        ink(f"{cost.statements}", (" statements", "quiet")),
        ink(("each ", "quiet"), f"{view.every_s:g}s", ("  share ", "quiet"),
            formats.ratio(min(cost.duration_ms / 1000 / view.every_s, 1.0))),
        ink(("most: ", "quiet"), formats.clean(slowest[0], 12), (f" {formats.milliseconds(slowest[1])}", "quiet")),
    )  # fmt: skip
    series = series_of(view, lambda one: one.cost.duration_ms)
    return Face(formats.milliseconds(cost.duration_ms), "to look", lines, series, about="ms")


FACES: dict[str, tuple[str, Callable[[Snapshot, View], Face]]] = {
    "queue": ("queue", queue_face),
    "outbox": ("outbox", outbox_face),
    "cache": ("cache", cache_face),
    "vectors": ("vectors", vector_face),
    "sessions": ("connections", sessions_face),
    "cost": ("pgops itself", cost_face),
}
