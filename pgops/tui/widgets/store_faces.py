"""What the tiles of cache, limits, key-value stores and pub/sub say. Pure: View -> Face."""

from collections.abc import Callable
from typing import TypeVar

from pgops.ops.observe.snapshot import CachePart, KvPart, LimitsPart, PubsubPart, Snapshot, Unavailable
from pgops.tui import formats
from pgops.tui.feed import View
from pgops.tui.theme import Tone
from pgops.tui.widgets.faces import bare, flag, missing, series_of, sum_known
from pgops.tui.widgets.ink import Piece, ink
from pgops.tui.widgets.tile import Face

P = TypeVar("P")
MANY_EXPIRED = 1_000
FILLING, FULL = 0.25, 0.75


def _over(
    view: View, part: Callable[[Snapshot], P | Unavailable], value: Callable[[P], float | None]
) -> tuple[float | None, ...]:
    """A value of a part over the history; a gap where the part was missing."""

    def at(snapshot: Snapshot) -> float | None:
        found = part(snapshot)
        return None if isinstance(found, Unavailable) else value(found)

    return series_of(view, at)


def _cache(snapshot: Snapshot) -> CachePart | Unavailable:
    return snapshot.cache


def _limits(snapshot: Snapshot) -> LimitsPart | Unavailable:
    return snapshot.limits


def _kv(snapshot: Snapshot) -> KvPart | Unavailable:
    return snapshot.kv


def _pubsub(snapshot: Snapshot) -> PubsubPart | Unavailable:
    return snapshot.pubsub


def _expired(backlog: int, of: int, shown: str) -> Piece:
    """Expired rows, and that P removes them where they are many."""
    much = backlog > MANY_EXPIRED and backlog > 0.2 * max(of, 1)
    return flag("expired", backlog, "warn" if much else "plain", shown)


def reads_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.cache
    if isinstance(part, Unavailable):
        return missing(part)
    if not part.entries and not part.hits + part.misses:
        return bare("not used yet", "pgops cache set greeting hello")
    lines = (
        ink(("hits ", "quiet"), f"{formats.rate(part.hits_per_s)}/s"),
        ink(("misses ", "quiet"), f"{formats.rate(part.misses_per_s)}/s"),
        ink(("in all ", "quiet"), formats.count(part.hits), (" / ", "quiet"), formats.count(part.misses)),
    )
    series = _over(view, _cache, lambda one: sum_known((one.hits_per_s, one.misses_per_s)))
    return Face(formats.ratio(part.hit_ratio), "app hit ratio", lines, series, about="reads/s")


def entries_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.cache
    if isinstance(part, Unavailable):
        return missing(part)
    backlog = formats.roughly(part.expired_backlog, part.exact, "expired_backlog")
    last = ink(("◆ emptied by a crash", "warn")) if part.emptied_by_crash else ink(("a crash empties it", "quiet"))
    lines = (ink(formats.size(part.bytes)), ink(_expired(part.expired_backlog, part.entries, backlog)), last)
    series = _over(view, _cache, lambda one: one.expired_backlog)
    return Face(formats.roughly(part.entries, part.exact, "entries"), "entries", lines, series, about="expired")


def buffers_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.cache
    if isinstance(part, Unavailable):
        return missing(part)
    words = "PostgreSQL's own pages of all tables here. It says nothing of cache hits."
    return Face(formats.ratio(part.buffer_hit_ratio), "in memory", (ink((words, "quiet")),), wrap=True)


def limits_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.limits
    if isinstance(part, Unavailable):
        return missing(part)
    if not part.keys:
        return bare("no limit yet", "pgops limit hit login:ann --limit 5 --per 60")
    backlog = formats.roughly(part.expired_backlog, part.exact, "expired_backlog")
    lines = (
        ink(formats.size(part.bytes)), ink(_expired(part.expired_backlog, part.keys, backlog)),
        ink(("denied ", "quiet"), f"{formats.rate(part.denied_per_s)}/s",
            (f" of {formats.rate(part.decisions_per_s)}/s", "quiet"), *_most_denied(part)),
    )  # fmt: skip
    series = _over(view, _limits, lambda one: one.expired_backlog)
    return Face(formats.roughly(part.keys, part.exact, "keys"), "keys", lines, series, about="expired")


def _most_denied(part: LimitsPart) -> tuple[Piece, ...]:
    """The limit that denies most now."""
    now = [one for one in part.names if one.denied_per_s]
    if not now:
        return ()
    return ((f"  {formats.clean(max(now, key=lambda one: one.denied_per_s or 0.0).name, 30)}", "warn"),)


def durable_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.kv
    if isinstance(part, Unavailable):
        return missing(part)
    if not part.keys:
        return bare("no key yet", "pgops kv set user:1 Ann")
    backlog = formats.roughly(part.expired_backlog, part.exact, "expired_backlog")
    lines = (
        ink(formats.size(part.bytes)), ink(_expired(part.expired_backlog, part.keys, backlog)),
        ink(("survives a crash", "quiet")),
    )  # fmt: skip
    series = _over(view, _kv, lambda one: one.expired_backlog)
    return Face(formats.roughly(part.keys, part.exact, "keys"), "keys", lines, series, about="expired")


def ephemeral_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.kv
    if isinstance(part, Unavailable):
        return missing(part)
    if not part.ephemeral_keys:
        return bare("no key yet", "pgops kv set seen:1 yes --ephemeral")
    backlog = formats.roughly(part.ephemeral_expired_backlog, part.exact, "ephemeral_expired_backlog")
    lines = (
        ink(formats.size(part.ephemeral_bytes)),
        ink(_expired(part.ephemeral_expired_backlog, part.ephemeral_keys, backlog)),
        ink(("a crash empties it", "quiet")),
    )
    series = _over(view, _kv, lambda one: one.ephemeral_expired_backlog)
    shown = formats.roughly(part.ephemeral_keys, part.exact, "ephemeral_keys")
    return Face(shown, "keys", lines, series, about="expired")


def listeners_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.pubsub
    if isinstance(part, Unavailable):
        return missing(part)
    channels = formats.roughly(part.channels, part.exact, "channels")
    words: list[Piece] = [("on ", "quiet"), channels, (f" {'channel' if part.channels == 1 else 'channels'}", "quiet")]
    if not part.exact.get("listeners", True):
        words.append((", not all seen", "quiet"))
    lines = (ink(*words),)
    series = _over(view, _pubsub, lambda one: one.listeners)
    shown = formats.roughly(part.listeners, part.exact, "listeners")
    return Face(shown, "listener" if part.listeners == 1 else "listeners", lines, series, about="listeners")


def usage_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.pubsub
    if isinstance(part, Unavailable):
        return missing(part)
    tone: Tone = "bad" if part.queue_usage >= FULL else "warn" if part.queue_usage >= FILLING else "plain"
    words: Piece = ("full, it fails commits", "quiet")
    if tone != "plain" and len(part.holders) == 1:
        words = (f"◆ pid {part.holders[0].pid} sits in a transaction", tone)
    elif tone != "plain":
        words = ("◆ a listener sits in a transaction", tone)
    series = _over(view, _pubsub, lambda one: one.queue_usage)
    shown = "< 0.1%" if 0 < part.queue_usage < 0.001 else formats.ratio(part.queue_usage)
    return Face(shown, "of the queue filled", (ink(words),), series, tone, "filled")


def payloads_face(snapshot: Snapshot, view: View) -> Face:
    part = snapshot.pubsub
    if isinstance(part, Unavailable):
        return missing(part)
    oldest = ink(formats.size(part.payload_bytes), ("  oldest ", "quiet"), formats.duration(part.oldest_payload_s))
    series = _over(view, _pubsub, lambda one: one.payloads)
    shown = formats.roughly(part.payloads, part.exact, "payloads")
    return Face(shown, "by reference", (oldest,), series, about="rows")


Faces = dict[str, tuple[str, Callable[[Snapshot, View], Face]]]

STORE_FACES: Faces = {
    "reads": ("cache · reads", reads_face),
    "entries": ("cache · entries", entries_face),
    "buffers": ("buffers", buffers_face),
    "limits": ("rate limits", limits_face),
    "durable": ("key-value", durable_face),
    "ephemeral": ("key-value · ephemeral", ephemeral_face),
}
PUBSUB_FACES: Faces = {
    "listeners": ("pub/sub · listening", listeners_face),
    "usage": ("pub/sub · queue", usage_face),
    "payloads": ("pub/sub · payloads", payloads_face),
}
