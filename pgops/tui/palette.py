"""The command palette: what the keys of the open screen do, and the queues, by name."""

from collections.abc import AsyncIterator, Callable
from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider

from pgops.ops.snapshot import items
from pgops.tui import formats
from pgops.tui.keymap import KEYS
from pgops.tui.screens.base import Room
from pgops.tui.screens.jobs import JobsRoom


class Palette(Provider):
    """Made from the keymap; nothing is told twice."""

    async def discover(self) -> Hits:
        for name, told, command in self._entries():
            yield DiscoveryHit(name, command, help=told)

    async def search(self, query: str) -> AsyncIterator[Hit]:
        matcher = self.matcher(query)
        for name, told, command in self._entries():
            score = max(matcher.match(name), 0.8 * matcher.match(told))
            if score > 0:
                yield Hit(score, matcher.highlight(name), command, help=told)

    def _entries(self) -> list[tuple[str, str, Callable[[], object]]]:
        entries: list[tuple[str, str, Callable[[], object]]] = []
        seen: set[str] = set()
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.id not in KEYS or binding.id == "palette" or binding.id in seen or not active.enabled:
                continue
            seen.add(binding.id)
            told = f"{binding.tooltip}  ({binding.key_display})"
            entries.append((binding.description, told, partial(self.app.run_action, binding.action, active.node)))
        room = self.screen
        if isinstance(room, Room) and room.view is not None and room.view.snapshot is not None:
            for queue in items(room.view.snapshot.queues):
                name = formats.clean(queue.name)
                entries.append((f"Queue: {name}", "Its jobs", partial(self._open, room, queue.name)))
        return entries

    async def _open(self, room: Room, queue: str) -> None:
        await self.app.switch_mode("queues")
        await self.app.push_screen(JobsRoom(room.helm, queue))
