"""The app: keys for everywhere, the heart beat, and the way of an act.

Four times a second the heart beats. When the feed says that it is time, one worker observes; while it does, no
second one starts, so that a slow database skips beats and never queues them. The View goes to the room that is
open; a room that opens draws the latest one. Nothing that fails below ends the app.
"""

from collections.abc import Sequence
from time import monotonic
from typing import get_args

from textual.app import App
from textual.binding import Binding
from textual.events import Resize
from textual.filter import LineFilter

from pgops.errors import PgopsError, UnreachableError
from pgops.ops.act.actions import Action
from pgops.profiles import Color
from pgops.tui import formats
from pgops.tui.colorless import asked_for_none
from pgops.tui.feed import Feed, View
from pgops.tui.keymap import EVERYWHERE, keys, written
from pgops.tui.messages import Observed
from pgops.tui.offers import OFFERS
from pgops.tui.palette import Palette
from pgops.tui.rebinding import Settings, bindings_of
from pgops.tui.screens.ask import Choose, Question
from pgops.tui.screens.audit import AuditRoom
from pgops.tui.screens.base import Choice, Room
from pgops.tui.screens.connections import ConnectionsRoom
from pgops.tui.screens.documents import DocumentsRoom
from pgops.tui.screens.editor import BY_HAND, Editor
from pgops.tui.screens.help import Help
from pgops.tui.screens.modal import Note
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
from pgops.tui.themes import THEMES, Inks
from pgops.tui.widgets.ledger import Ledger

BEAT_S = 0.25
SAID = {
    "open": "Nothing is guarded here: acts ask, and then run.",
    "read only": "This stays read-only: only a profile with guard = true can be unlocked.",
}  # fmt: skip


class PgopsApp(App[int]):
    """The dashboard over a Source."""

    TITLE = "pgops"
    CSS_PATH = ["pgops.tcss", "rooms.tcss", "notes.tcss"]
    BINDINGS = keys(*EVERYWHERE)
    COMMANDS = {Palette}
    DEFAULT_MODE = "overview"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide"), (170, "-vast")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]

    def __init__(self, source: Source, settings: Settings | None = None, *, color: bool = True) -> None:
        with asked_for_none(color):
            super().__init__(ansi_color=None if color else True)
        settings = settings or Settings()
        for theme in THEMES.values():
            self.register_theme(theme)
        self._inks = Inks(THEMES[settings.theme].name)
        self.theme = THEMES[settings.theme].name
        self.given = settings.keys
        self.wanted: str | None = None
        self.set_keymap(dict(settings.keys))
        self.source = source
        self.feed = Feed(source.target)
        self._stand(source.standing)
        self._last_second = -1
        self._undoable: int | None = None
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

    # --- themes and keys -------------------------------------------------------------------------------------

    def watch_theme(self, name: str) -> None:
        self._inks = Inks(name)

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        return [self._inks, *filters] if self._inks.enabled else filters

    def get_key_display(self, binding: Binding) -> str:
        return binding.key_display or written(binding.key)

    # --- the heart beat --------------------------------------------------------------------------------------

    @property
    def now_view(self) -> View:
        return self.feed.view(monotonic())

    def _beat(self) -> None:
        now = monotonic()
        if self.feed.due(now):
            self.feed.started(now)
            self.run_worker(self._observe(), group="observe", exit_on_error=False)
        if self.source.doing != self.feed.doing:
            self.feed.doing = self.source.doing
            self._spread()
        if self.source.standing != self.feed.standing:
            if self.feed.standing.mode == "unlocked" and self.source.standing.mode == "locked":
                self.notify("Locked again: no act begins until it is unlocked.", markup=False, timeout=6)
            self._stand(self.source.standing)
            self._spread()
        if int(now) != self._last_second:
            self._last_second = int(now)
            if self.now_view.lost is not None:
                self._spread()

    async def _observe(self) -> None:
        try:
            self.feed.took(await self.source.snapshot())
            self.feed.schema = self.source.schema
        except PgopsError as error:
            self.feed.failed(error, monotonic())
        except Exception as error:
            self.log.error(error)
            self.feed.failed(PgopsError(f"{type(error).__name__}: {error}", "please report this"), monotonic())
        self._spread()

    def _spread(self) -> None:
        """Give the View to the room that is open, also behind a note."""
        for screen in reversed(self.screen_stack):
            if isinstance(screen, Room):
                screen.post_message(Observed(self.now_view))
                return

    # --- acts ------------------------------------------------------------------------------------------------

    def choose(self, title: str, choices: Sequence[Choice], nothing: str) -> None:
        if not choices:
            self.notify(nothing, markup=False, timeout=4)
        elif len(choices) == 1:
            self.act(choices[0].action)
        else:
            self.push_screen(Choose(title, choices), self._chosen)

    def offer(self, act: str, target: str | None) -> None:
        choices = [choice for choice in self._choices(act) if choice.action.target == target]
        self.choose(OFFERS[act].title, choices, OFFERS[act].nothing)

    def offer_any(self, act: str) -> None:
        self.choose(OFFERS[act].title, self._choices(act), OFFERS[act].nothing)

    def _choices(self, act: str) -> list[Choice]:
        snapshot = self.now_view.snapshot
        return [] if snapshot is None else OFFERS[act].choices(snapshot)

    def _chosen(self, action: Action | None) -> None:
        if action is not None:
            self.act(action)

    def act(self, action: Action) -> None:
        if action.name in BY_HAND and not action.given:
            self.push_screen(Editor(self.source, action), self._chosen)
            return
        question = Question(self.source, action)

        def go(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._run(question.action), group="act", exit_on_error=False)

        def answered(yes: bool | None) -> None:
            if yes and self.source.standing.mode == "locked":
                name = f"{question.action.name} {question.action.target}".replace("_", " ")
                self.push_screen(UnlockNote(self.source, name), go)
            else:
                go(yes)

        self.push_screen(question, answered)

    async def _run(self, action: Action) -> None:
        name = f"{action.name} {action.target}".replace("_", " ").strip()
        self.feed.busy.append(name)
        self._spread()
        try:
            result = await self.source.run(action)
            trail = "" if result.audit_id is None else f" (audit {result.audit_id})"
            if result.undoable:
                self._undoable = result.audit_id
                trail += "; U undoes it"
            elif action.name == "undo" and str(self._undoable) == action.target:
                self._undoable = None
            self.notify(formats.clean(result.message) + trail, title="✓ Done", markup=False, timeout=6)
        except PgopsError as error:
            words = formats.clean(f"{error}. {error.hint}" if error.hint else error)
            if isinstance(error, UnreachableError):
                words += ". Whether it was done, the trail tells: u"
            self.notify(words, title="✕ Not done", severity="error", markup=False, timeout=10)
        finally:
            self.feed.busy.remove(name)
            self.action_now()
            self._spread()

    # --- keys ------------------------------------------------------------------------------------------------

    def action_room(self, name: str) -> None:
        if not self.screen.is_modal:
            self.switch_mode(name)

    def action_audit(self) -> None:
        if not self.screen.is_modal and not isinstance(self.screen, AuditRoom):
            self.push_screen(AuditRoom(self))

    def action_undo(self) -> None:
        """What was done here last, of all that can be undone."""
        if self.screen.is_modal:
            return
        if self._undoable is None:
            self.notify("Nothing was done here that can be undone; u shows what others did.", markup=False, timeout=4)
        else:
            self.act(Action("undo", str(self._undoable)))

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
        self._spread()

    def action_now(self) -> None:
        self.feed.hurry()
        if not self.feed.looking:
            self.feed.started(monotonic())
            self.run_worker(self._observe(), group="observe", exit_on_error=False)

    def action_faster(self) -> None:
        self.feed.faster()
        self._spread()

    def action_slower(self) -> None:
        self.feed.slower()
        self._spread()

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


def scopes() -> list[list[Binding]]:
    """The bindings that can be pressed in one place: in each room with its tables, and in each note."""
    found: list[list[Binding]] = []
    kinds: list[type] = [Room, Note]
    for kind in kinds:
        kinds += kind.__subclasses__()
        found.append(bindings_of(kind, *((Ledger, PgopsApp) if issubclass(kind, Room) else ())))
    return found
