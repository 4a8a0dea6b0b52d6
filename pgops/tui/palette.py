"""The command palette: what the keys of the open screen do, every act of the others, and what one opens by name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider

from pgops.errors import PgopsError
from pgops.ops.observe.snapshot import items
from pgops.ops.tell.advice import advise
from pgops.services.models import CronEntry
from pgops.tui.keymap import KEYS, MOVES
from pgops.tui.offers import OFFERS
from pgops.tui.palette_names import Entry, Names
from pgops.tui.screens.base import Helm, Room
from pgops.tui.screens.channels import ChannelsRoom
from pgops.tui.screens.collection import CollectionRoom
from pgops.tui.screens.crons import CronsRoom
from pgops.tui.screens.failures import FailuresRoom
from pgops.tui.screens.house import house_entries
from pgops.tui.screens.probe import ProbeNote
from pgops.tui.screens.subscription import SubscriptionRoom

# What is done to an event that was put aside, in the room of its subscription.
PARKED_ACTS = {"discard_parked": "Give a parked event up…", "hold_key": "Hold a key of a subscription back…"}
# What is done to a recurring job, in the room that lists them.
CRON_ACTS = {
    "hold_cron": "Pause or resume a recurring job…", "run_cron": "Run a recurring job now…",
    "remove_cron": "Remove a recurring job…",
}  # fmt: skip
CRONS_S = 0.5
ADVICE = "Advise: copy as Markdown"


class Palette(Provider):
    """Made from the keymap; nothing is told twice."""

    _crons_known: tuple[CronEntry, ...] = ()

    async def startup(self) -> None:
        """Recurring jobs stand in no View. A database that does not answer at once keeps nobody from the rest."""
        if isinstance(self.screen, Room) and self.screen.helm.now_view.lost is None:
            with suppress(PgopsError, TimeoutError):
                async with asyncio.timeout(CRONS_S):
                    self._crons_known = tuple(await self.screen.helm.source.crons())

    async def discover(self) -> Hits:
        for name, told, command in self._entries():
            yield DiscoveryHit(name, command, help=told)

    async def search(self, query: str) -> AsyncIterator[Hit]:
        matcher, entries = self.matcher(query), self._entries()
        if isinstance(self.screen, Room):
            entries += Names(self.app, self.screen.helm, self._crons_known).asked(query)
        for name, told, command in entries:
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
            entries += Names(self.app, helm, self._crons_known).entries()
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

    def _advise(self, helm: Helm) -> None:
        if (snapshot := helm.now_view.snapshot) is None:
            self.app.notify("Nothing has been seen yet.", timeout=4)
            return
        self.app.copy_to_clipboard(advise(snapshot))
        self.app.notify("Findings and state, as Markdown", title="Copied", markup=False, timeout=4)

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
