"""Room 6: the stores that keep things for a while: cache, rate limits, and both key-value stores."""

from textual.app import ComposeResult
from textual.containers import Grid

from pgops.ops.actions import Action
from pgops.ops.snapshot import Snapshot, Unavailable
from pgops.tui import formats
from pgops.tui.feed import View
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Choice, Room
from pgops.tui.widgets.store_faces import STORE_FACES
from pgops.tui.widgets.tile import Tile


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
    """Tiles alone: none of the stores has rows that one would choose from."""

    BINDINGS = keys("purge_stores")
    room = "stores"

    def furniture(self) -> ComposeResult:
        with Grid(id="stores"):
            for id, (title, _) in STORE_FACES.items():
                yield Tile(title, id)

    def show(self, snapshot: Snapshot, view: View) -> None:
        for id, (_, face) in STORE_FACES.items():
            self.query_one(f"#{id}", Tile).show(face(snapshot, view))

    def action_purge(self) -> None:
        snapshot = self.view.snapshot if self.view else None
        self.helm.choose("Purge what has expired", purge_choices(snapshot), "There is nothing here to purge.")
