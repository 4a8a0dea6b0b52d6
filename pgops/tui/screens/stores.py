"""Room 6: the stores that keep things for a while: cache, rate limits, and both key-value stores; and of the cache its
namespaces."""

from textual.app import ComposeResult
from textual.containers import Grid

from pgops.ops.act.actions import Action
from pgops.ops.observe.snapshot import Snapshot, Unavailable, items
from pgops.services.models import CacheNamespace
from pgops.tui import formats
from pgops.tui.feed import View
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Choice, Room
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink, number
from pgops.tui.widgets.ledger import Column, Ledger, Line
from pgops.tui.widgets.store_faces import STORE_FACES
from pgops.tui.widgets.tile import Tile

NAMESPACES = (
    Column("namespace", "cache namespace", 0, most=44),
    Column("ratio", "hit ratio", 9, right=True),
    Column("hits", "hits", 7, right=True),
    Column("misses", "misses", 7, right=True),
    Column("entries", "entries", 8, right=True),
    Column("cap", "cap", 7, right=True),
    Column("size", "size", 9, right=True, from_width=90),
    Column("size_cap", "size cap", 8, right=True, from_width=90),
    Column("sets", "sets", 7, right=True, from_width=110),
    Column("evicted", "evicted", 8, right=True, from_width=100),
)


def namespace_line(one: CacheNamespace) -> Line:
    """A namespace as a row."""
    name = formats.clean(one.name, 80)
    size = formats.size(one.bytes) if one.exact.get("bytes", True) else f"~{formats.size(one.bytes)}"
    cells = (
        ink(name),
        number(formats.ratio(one.hit_ratio)),
        number(formats.count(one.hits)),
        number(formats.count(one.misses)),
        number(formats.roughly(one.entries, one.exact, "entries")),
        number(formats.count(one.max_entries)),
        number(size),
        number(formats.size(one.max_bytes)),
        number(formats.count(one.sets)),
        number(formats.count(one.evicted)),
    )
    order = (
        name, one.hit_ratio or 0.0, one.hits, one.misses, one.entries, one.max_entries or 0, one.bytes,
        one.max_bytes or 0, one.sets, one.evicted,
    )  # fmt: skip
    return Line(one.name, cells, order, one.name)


def purge_choices(snapshot: Snapshot | None) -> list[Choice]:
    """What could be purged, with how much has expired there."""
    if snapshot is None:
        return []
    found = []
    if not isinstance(cache := snapshot.cache, Unavailable):
        backlog = formats.roughly(cache.expired_backlog, cache.exact, "expired_backlog")
        found.append(Choice(f"cache: {backlog} expired", Action("purge_expired", "")))
    if not isinstance(kv := snapshot.kv, Unavailable):
        both = ("expired_backlog", "ephemeral_expired_backlog")
        exact = {"both": all(kv.exact.get(name, True) for name in both)}
        backlog = formats.roughly(kv.expired_backlog + kv.ephemeral_expired_backlog, exact, "both")
        found.append(Choice(f"key-value stores: {backlog} expired", Action("purge_kv", "")))
    if not isinstance(limits := snapshot.limits, Unavailable):
        backlog = formats.roughly(limits.expired_backlog, limits.exact, "expired_backlog")
        found.append(Choice(f"rate limits: {backlog} expired", Action("purge_limits", "")))
    return found


class StoresRoom(Room):
    """Tiles for all, and the namespaces of the cache, of which one can be chosen."""

    BINDINGS = keys("filter", "purge_stores", "invalidate")
    room = "stores"

    def furniture(self) -> ComposeResult:
        yield Ledger(NAMESPACES, id="namespaces", sort="hits", descending=True, opens=False)
        yield Filter()
        with Grid(id="stores"):
            for id, (title, _) in STORE_FACES.items():
                yield Tile(title, id)

    def show(self, snapshot: Snapshot, view: View) -> None:
        namespaces = items(snapshot.cache_namespaces)
        self.filtered.set_class(not namespaces, "-hidden")
        self.filtered.show([namespace_line(one) for one in namespaces])
        for id, (_, face) in STORE_FACES.items():
            self.query_one(f"#{id}", Tile).show(face(snapshot, view))

    def action_purge(self) -> None:
        snapshot = self.view.snapshot if self.view else None
        self.helm.choose("Purge what has expired", purge_choices(snapshot), "There is nothing here to purge.")

    @property
    def filtered(self) -> Ledger:
        return self.query_one("#namespaces", Ledger)

    def action_invalidate(self) -> None:
        self.helm.offer("invalidate", self.filtered.current)

    def as_command(self) -> str:
        return "pgops cache stats"
