"""The command palette: what the keys of the open screen do, every act of the others, and what one opens by name."""

from collections.abc import AsyncIterator, Callable
from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider

from pgops.ops.observe.snapshot import items
from pgops.ops.tell.advice import advise
from pgops.tui import formats
from pgops.tui.keymap import KEYS, MOVES
from pgops.tui.offers import OFFERS
from pgops.tui.screens.base import Helm, Room
from pgops.tui.screens.channels import ChannelsRoom
from pgops.tui.screens.collection import CollectionRoom
from pgops.tui.screens.crons import CronsRoom
from pgops.tui.screens.failures import FailuresRoom
from pgops.tui.screens.house import house_entries
from pgops.tui.screens.jobs import JobsRoom
from pgops.tui.screens.pgmq_messages import MessagesRoom
from pgops.tui.screens.probe import ProbeNote
from pgops.tui.screens.subscription import SubscriptionRoom

# What is done to an event that was put aside, in the room of its subscription.
PARKED_ACTS = {"discard_parked": "Give a parked event up…", "hold_key": "Hold a key of a subscription back…"}
# What is done to a recurring job, in the room that lists them.
CRON_ACTS = {
    "hold_cron": "Pause or resume a recurring job…", "run_cron": "Run a recurring job now…",
    "remove_cron": "Remove a recurring job…",
}  # fmt: skip
ADVICE = "Advise: copy as Markdown"
Entry = tuple[str, str, Callable[[], object]]


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

    def _entries(self) -> list[Entry]:
        here = self._here()
        entries = list(here.values())
        if isinstance(self.screen, Room):
            helm = self.screen.helm
            entries += house_entries(self.app, helm)
            entries.append((ADVICE, "Findings and state, for a ticket", partial(self._advise, helm)))
            entries += [entry for id, entry in self._elsewhere(helm).items() if id not in here]
            entries += self._by_name(helm)
        return entries

    def _here(self) -> dict[str, Entry]:
        """What the keys of the open screen do, by key."""
        found: dict[str, Entry] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if (
                binding.id in KEYS
                and binding.id not in ("palette", *MOVES)
                and binding.id not in found
                and active.enabled
            ):
                told = f"{binding.tooltip}  ({self.app.get_key_display(binding)})"
                run = partial(self.app.run_action, binding.action, active.node)
                found[binding.id] = (binding.description, told, run)
        return found

    def _elsewhere(self, helm: Helm) -> dict[str, Entry]:
        """What the keys of other screens do, by key: on one of all that it could hit, or there."""
        found: dict[str, Entry] = {
            id: (f"{offer.title}…", KEYS[id].tooltip, partial(helm.offer_any, id)) for id, offer in OFFERS.items()
        }
        found["drop_index"] = ("Drop a document index…", KEYS["drop_index"].tooltip, partial(self._indexes, helm))
        found["edit_job"] = ("Edit a job's payload…", KEYS["edit_job"].tooltip, self._jobs_to_edit)
        for id, title in PARKED_ACTS.items():
            found[id] = (title, KEYS[id].tooltip, partial(self._parked, helm))
        for id, title in CRON_ACTS.items():
            found[id] = (title, KEYS[id].tooltip, partial(self._crons, helm))
        found["failures"] = ("Why jobs died", KEYS["failures"].tooltip, partial(self._failures, helm))
        found["channels"] = ("Channels and who listens", KEYS["channels"].tooltip, partial(self._channels, helm))
        found["probe"] = ("Probe pub/sub", KEYS["probe"].tooltip, partial(self._probe, helm))
        found["undo"] = ("Undo an act…", KEYS["undo"].tooltip, partial(self.app.run_action, "audit"))
        found["audit"] = ("Audit and undo", KEYS["audit"].tooltip, partial(self.app.run_action, "audit"))
        found["prompt"] = ("Search by likeness", KEYS["prompt"].tooltip, self._prompt)
        return found

    def _by_name(self, helm: Helm) -> list[Entry]:
        """What can be opened."""
        snapshot = helm.now_view.snapshot
        entries: list[Entry] = []
        for queue in items(snapshot.queues) if snapshot is not None else ():
            entries.append((f"Queue: {formats.clean(queue.name)}", "Its jobs", partial(self._jobs, helm, queue.name)))
        for theirs in items(snapshot.pgmq) if snapshot is not None else ():
            name = f"pgmq: {formats.clean(theirs.name)}"
            entries.append((name, "Its messages", partial(self._messages, helm, theirs.name)))
        for sub in items(snapshot.outbox) if snapshot is not None else ():
            name = f"Subscription: {formats.clean(sub.name)}"
            entries.append((name, "Its parts and parked events", partial(self._subscription, helm, sub.name)))
        for one in items(snapshot.documents) if snapshot is not None else ():
            name = f"Documents: {formats.clean(one.name)}"
            entries.append((name, "Its indexes", partial(self._collection, helm, one.name)))
        return entries

    def _advise(self, helm: Helm) -> None:
        if (snapshot := helm.now_view.snapshot) is None:
            self.app.notify("Nothing has been seen yet.", timeout=4)
            return
        self.app.copy_to_clipboard(advise(snapshot))
        self.app.notify("Findings and state, as Markdown", title="Copied", markup=False, timeout=4)

    async def _jobs(self, helm: Helm, queue: str) -> None:
        await self.app.switch_mode("queues")
        await self.app.push_screen(JobsRoom(helm, queue))

    async def _messages(self, helm: Helm, queue: str) -> None:
        await self.app.switch_mode("queues")
        await self.app.push_screen(MessagesRoom(helm, queue))

    async def _collection(self, helm: Helm, name: str) -> None:
        await self.app.switch_mode("documents")
        await self.app.push_screen(CollectionRoom(helm, name))

    async def _crons(self, helm: Helm) -> None:
        await self.app.switch_mode("queues")
        await self.app.push_screen(CronsRoom(helm))

    async def _failures(self, helm: Helm) -> None:
        await self.app.switch_mode("queues")
        await self.app.push_screen(FailuresRoom(helm))

    async def _subscription(self, helm: Helm, name: str) -> None:
        await self.app.switch_mode("outbox")
        await self.app.push_screen(SubscriptionRoom(helm, name))

    async def _parked(self, helm: Helm) -> None:
        """Where they are: in the one subscription that there is, or in one of several."""
        snapshot = helm.now_view.snapshot
        names = [one.name for one in items(snapshot.outbox)] if snapshot is not None else []
        if len(names) == 1:
            await self._subscription(helm, names[0])
            return
        await self.app.switch_mode("outbox")
        words = "Open a subscription: D gives up, K holds a key." if names else "There is no subscription."
        self.app.notify(words, markup=False, timeout=6)

    async def _channels(self, helm: Helm) -> None:
        await self.app.switch_mode("outbox")
        await self.app.push_screen(ChannelsRoom(helm))

    async def _probe(self, helm: Helm) -> None:
        await self.app.push_screen(ProbeNote(helm.source))

    async def _indexes(self, helm: Helm) -> None:
        """Where they are: in the one collection that there is, or in one of several."""
        snapshot = helm.now_view.snapshot
        names = [one.name for one in items(snapshot.documents)] if snapshot is not None else []
        if len(names) == 1:
            await self._collection(helm, names[0])
            return
        await self.app.switch_mode("documents")
        words = "Open a collection: D drops the index under the cursor." if names else "There is no collection."
        self.app.notify(words, markup=False, timeout=6)

    async def _jobs_to_edit(self) -> None:
        await self.app.switch_mode("queues")
        self.app.notify("Open a queue and a job in it: E edits its payload.", markup=False, timeout=6)

    async def _prompt(self) -> None:
        await self.app.switch_mode("vectors")
        await self.app.run_action("prompt", self.app.screen)
