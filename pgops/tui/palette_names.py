"""What the palette opens by name: every kind of row that there is, a job by its number, and the themes."""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from textual.app import App
from textual.screen import Screen

from pgops.errors import NotFoundError, PgopsError
from pgops.ops.act.actions import Action
from pgops.ops.observe.snapshot import Finding, SessionRow, Snapshot, items
from pgops.services.models import CronEntry
from pgops.tui import formats
from pgops.tui.screens.base import Helm
from pgops.tui.screens.collection import CollectionRoom
from pgops.tui.screens.crons import CronsRoom
from pgops.tui.screens.finding import FindingNote
from pgops.tui.screens.job import JobRoom
from pgops.tui.screens.jobs import JobsRoom
from pgops.tui.screens.pgmq_messages import MessagesRoom
from pgops.tui.screens.session import SessionNote
from pgops.tui.screens.subscription import SubscriptionRoom
from pgops.tui.themes import THEMES
from pgops.tui.widgets.ledger import Ledger
from pgops.tui.widgets.vector_lines import key_of

Entry = tuple[str, str, Callable[[], object]]


class Names:
    """What can be opened, of the latest View; `crons` were fetched, since no View holds them."""

    def __init__(self, app: App[object], helm: Helm, crons: tuple[CronEntry, ...]) -> None:
        self._app = app
        self._helm = helm
        self._crons = crons

    def entries(self) -> Iterator[Entry]:
        """All that are few enough to be listed unasked."""
        snapshot = self._helm.now_view.snapshot
        if snapshot is not None:
            yield from self._of_rooms(snapshot)
        for one in self._crons:
            told = f"When it runs: {formats.clean(one.expression, 40)}"
            yield _entry("Recurring job", one.name, told, partial(self._cron, one.name))
        for name in THEMES:
            yield f"Theme: {name}", "For good: theme in [dashboard] of config.toml", partial(self._theme, name)

    def asked(self, query: str) -> Iterator[Entry]:
        """What is found by a number alone: a job by its id, a session by its pid."""
        snapshot, number = self._helm.now_view.snapshot, query.strip().rpartition(" ")[2]
        if snapshot is None:
            return
        for one in items(snapshot.session_list):
            who = formats.clean(one.application or one.user or "", 40)
            yield _entry("Session", f"{one.pid} {who}".strip(), "What it does", partial(self._session, one))
        if number.isascii() and number.isdigit() and len(number) < 19:
            yield f"Job {number}", "In whichever queue it is", partial(self._job, int(number))

    def _of_rooms(self, snapshot: Snapshot) -> Iterator[Entry]:
        for finding in snapshot.findings:
            yield _entry("Finding", finding.title, finding.severity, partial(self._finding, finding))
        for queue in items(snapshot.queues):
            yield _entry("Queue", queue.name, "Its jobs", self._opens("queues", partial(JobsRoom, queue=queue.name)))
        for theirs in items(snapshot.pgmq):
            opens = self._opens("queues", partial(MessagesRoom, queue=theirs.name))
            yield _entry("pgmq", theirs.name, "Its messages", opens)
        for sub in items(snapshot.outbox):
            opens = self._opens("outbox", partial(SubscriptionRoom, name=sub.name))
            yield _entry("Subscription", sub.name, "Its parts and parked events", opens)
        for collection in items(snapshot.documents):
            opens = self._opens("documents", partial(CollectionRoom, collection=collection.name))
            yield _entry("Documents", collection.name, "Its indexes", opens)
        for index in items(snapshot.vectors):
            go = partial(self._at, "vectors", "indexes", key_of(index))
            yield _entry("Vectors", index.collection or index.index or index.table, "Its index, and search", go)
        for namespace in items(snapshot.cache_namespaces):
            go = partial(self._at, "stores", "namespaces", namespace.name)
            yield _entry("Cache", namespace.name, "A namespace of the cache", go)

    # --- opening ---------------------------------------------------------------------------------------------

    def _opens(self, mode: str, room: Callable[[Helm], Screen[None]]) -> Callable[[], Awaitable[None]]:
        async def opened() -> None:
            await self._app.switch_mode(mode)
            await self._app.push_screen(room(self._helm))

        return opened

    async def _at(self, mode: str, table: str, key: str) -> None:
        """The room, with the cursor on a row of it."""
        await self._app.switch_mode(mode)
        while len(self._app.screen_stack) > 1:
            await self._app.pop_screen()
        self._app.screen.query_one(f"#{table}", Ledger).go_to(key)

    async def _cron(self, name: str) -> None:
        await self._opens("queues", CronsRoom)()
        self._app.screen.query_one("#crons", Ledger).go_to(name)

    async def _finding(self, finding: Finding) -> None:
        await self._app.switch_mode("overview")

        def answered(action: Action | None) -> None:
            if action is not None:
                self._helm.act(action)

        await self._app.push_screen(FindingNote(finding, self._helm.look_into), answered)

    async def _session(self, one: SessionRow) -> None:
        snapshot = self._helm.now_view.snapshot
        await self._app.push_screen(SessionNote(one, items(snapshot.locks) if snapshot is not None else ()))

    async def _job(self, id: int) -> None:
        """Asked of one queue after the other, since an id does not say its queue."""
        snapshot = self._helm.now_view.snapshot
        for queue in items(snapshot.queues) if snapshot is not None else ():
            try:
                await self._helm.source.job(queue.name, id)
            except NotFoundError:
                continue
            except PgopsError as error:
                self._app.notify(formats.clean(error), severity="error", markup=False, timeout=6)
                return
            await self._opens("queues", partial(JobRoom, queue=queue.name, job=id))()
            return
        self._app.notify(f"No queue has a job {id}: it is completed, or never was.", markup=False, timeout=6)

    def _theme(self, name: str) -> None:
        self._app.theme = THEMES[name].name


def _entry(kind: str, name: str, told: str, opens: Callable[[], object]) -> Entry:
    return f"{kind}: {formats.clean(name, 100)}", told, opens
