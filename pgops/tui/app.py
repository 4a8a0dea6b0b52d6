"""The app: keys for everywhere, the heart beat, and the ways between rooms; acts.py has the way of an act.

Four times a second the heart beats. When the feed says that it is time, one worker observes; while it does, no
second one starts, so that a slow database skips beats and never queues them. The View goes to the room that is
open; a room that opens draws the latest one. Nothing that fails below ends the app.
"""

from time import monotonic
from typing import get_args

from textual.events import Resize

from pgops.errors import PgopsError
from pgops.ops.observe.snapshot import Finding
from pgops.profiles import Color
from pgops.tui.acts import Acts
from pgops.tui.causes import cause_of, sought
from pgops.tui.feed import Feed
from pgops.tui.memory import EVERY_S, forget_drawn
from pgops.tui.messages import Observed
from pgops.tui.palette import Palette
from pgops.tui.rebinding import Settings
from pgops.tui.screens.audit import AuditRoom
from pgops.tui.screens.base import Room
from pgops.tui.screens.connections import ConnectionsRoom
from pgops.tui.screens.course import CourseNote
from pgops.tui.screens.documents import DocumentsRoom
from pgops.tui.screens.help import Help
from pgops.tui.screens.outbox import OutboxRoom
from pgops.tui.screens.outgrow import OutgrowRoom
from pgops.tui.screens.overview import OverviewRoom
from pgops.tui.screens.queues import QueuesRoom
from pgops.tui.screens.server import ServerRoom
from pgops.tui.screens.small import TooSmall, too_small
from pgops.tui.screens.stores import StoresRoom
from pgops.tui.screens.unlock import UnlockNote
from pgops.tui.screens.vectors import VectorsRoom
from pgops.tui.source import Source
from pgops.tui.standing import Standing

BEAT_S = 0.25

SAID = {
    "open": "Nothing is guarded here: acts ask, and then run.",
    "read only": "This stays read-only: only a profile with guard = true can be unlocked.",
}  # fmt: skip


class PgopsApp(Acts):
    """The dashboard over a Source."""

    TITLE = "pgops"
    CSS_PATH = ["pgops.tcss", "rooms.tcss", "notes.tcss"]
    COMMANDS = {Palette}
    DEFAULT_MODE = "overview"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide"), (170, "-vast")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]

    def __init__(self, source: Source, settings: Settings | None = None, *, color: bool = True) -> None:
        super().__init__(settings or Settings(), color=color)
        self.wanted: str | None = None
        self.source = source
        self.feed = Feed(source.target)
        self._stand(source.standing)
        self._last_second = -1
        self.add_mode("overview", lambda: OverviewRoom(self))
        self.add_mode("queues", lambda: QueuesRoom(self))
        self.add_mode("vectors", lambda: VectorsRoom(self))
        self.add_mode("outbox", lambda: OutboxRoom(self))
        self.add_mode("stores", lambda: StoresRoom(self))
        self.add_mode("documents", lambda: DocumentsRoom(self))
        self.add_mode("outgrow", lambda: OutgrowRoom(self))
        self.add_mode("connections", lambda: ConnectionsRoom(self))
        self.add_mode("server", lambda: ServerRoom(self))

    def on_mount(self) -> None:
        self.set_interval(BEAT_S, self._beat)
        self.call_after_refresh(self._beat)

    async def on_unmount(self) -> None:
        await self.source.close()

    # --- the heart beat --------------------------------------------------------------------------------------

    def _beat(self) -> None:
        now = monotonic()
        if self.feed.due(now):
            self.feed.started(now)
            self.run_worker(self._observe(), group="observe", exit_on_error=False)
        if self.source.doing != self.feed.doing:
            self.feed.doing = self.source.doing
            self.spread()
        if self.source.standing != self.feed.standing:
            if self.feed.standing.mode == "unlocked" and self.source.standing.mode == "locked":
                self.notify("Locked again: no act begins until it is unlocked.", markup=False, timeout=6)
            self._stand(self.source.standing)
            self.spread()
        if int(now) != self._last_second:
            self._last_second = int(now)
            if self._last_second % EVERY_S == 0:
                forget_drawn()
            if self.now_view.lost is not None:
                self.spread()

    async def _observe(self) -> None:
        try:
            self.feed.took(await self.source.snapshot())
            self.feed.schema = self.source.schema
        except PgopsError as error:
            self.feed.failed(error, monotonic())
        except Exception as error:
            self.log.error(error)
            self.feed.failed(PgopsError(f"{type(error).__name__}: {error}", "please report this"), monotonic())
        self.spread()

    def spread(self) -> None:
        """Give the View to the room that is open, also behind a note."""
        for screen in reversed(self.screen_stack):
            if isinstance(screen, Room):
                screen.post_message(Observed(self.now_view))
                return

    # --- ways ------------------------------------------------------------------------------------------------

    def look_into(self, finding: Finding) -> None:
        self.run_worker(self._look_into(finding), group="ways", exit_on_error=False)

    async def _look_into(self, finding: Finding) -> None:
        cause = cause_of(finding.code)
        await self.switch_mode(cause.room)
        while len(self.screen_stack) > 1:
            await self.pop_screen()
        if isinstance(self.screen, Room):
            self.screen.land(cause.ledger, sought(finding))

    # --- keys ------------------------------------------------------------------------------------------------

    def action_room(self, name: str) -> None:
        if not self.screen.is_modal:
            self.switch_mode(name)

    def action_course(self) -> None:
        """Of a room, or of what is open in it."""
        if isinstance(self.screen, Room):
            title, courses = self.screen.course()
            self.push_screen(CourseNote(title, self.feed.tracks, courses))

    def action_audit(self) -> None:
        if not self.screen.is_modal and not isinstance(self.screen, AuditRoom):
            self.push_screen(AuditRoom(self))

    def action_unlock(self) -> None:
        """Unlock what is guarded, or lock it at once."""
        standing = self.source.standing
        if self.screen.is_modal:
            return
        if standing.mode == "locked":
            self.push_screen(UnlockNote(self.source))
        elif standing.mode == "unlocked":
            self.run_worker(self.source.lock(), group="lock", exit_on_error=False)
        else:
            self.notify(SAID[standing.mode], markup=False, timeout=6)

    def turn_to(self, profile: str) -> None:
        """Whoever has opened this app opens the next one on `wanted`."""
        self.wanted = profile
        self.exit(0)

    def _stand(self, standing: Standing) -> None:
        self.feed.standing = standing
        for color in get_args(Color):
            self.set_class(color == standing.color, f"-{color}")

    def action_pause(self) -> None:
        self.feed.paused = not self.feed.paused
        self.spread()

    def action_now(self) -> None:
        self.feed.hurry()
        if not self.feed.looking:
            self.feed.started(monotonic())
            self.run_worker(self._observe(), group="observe", exit_on_error=False)

    def action_faster(self) -> None:
        self.feed.faster()
        self.spread()

    def action_slower(self) -> None:
        self.feed.slower()
        self.spread()

    def action_help(self) -> None:
        if not self.screen.is_modal:
            self.push_screen(Help(self.given))

    def on_resize(self, event: Resize) -> None:
        small = too_small(event.size.width, event.size.height)
        if small and not isinstance(self.screen, TooSmall):
            self.push_screen(TooSmall())
        elif not small and isinstance(self.screen, TooSmall):
            self.pop_screen()

    def action_leave(self) -> None:
        if len(self.screen_stack) > 1:
            self.screen.dismiss()
        else:
            self.exit(0)
