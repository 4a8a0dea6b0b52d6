"""What every room has: the status line, the banner, a body, the foot of keys; and how it gets and draws a View."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from textual.app import ComposeResult
from textual.containers import Vertical

from pgops.ops.act.actions import Action
from pgops.ops.observe.snapshot import Finding, Snapshot, items
from pgops.tui import formats
from pgops.tui.feed import View
from pgops.tui.keymap import MOVES, keys
from pgops.tui.messages import Observed
from pgops.tui.screens.course import OF_ALL, Course
from pgops.tui.screens.hands import Hands
from pgops.tui.screens.modal import Note
from pgops.tui.source import Source
from pgops.tui.widgets.banner import Banner
from pgops.tui.widgets.foot import Foot
from pgops.tui.widgets.ledger import Ledger
from pgops.tui.widgets.status_line import StatusLine

LADDER = "1 dead, then 10, then the rest until their error comes back"


AnyNote = TypeVar("AnyNote", bound=Note[Any])


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several things to do, in words."""

    words: str
    action: Action


class Helm(Protocol):
    """What a room asks of the app."""

    source: Source
    given: Mapping[str, str]

    @property
    def now_view(self) -> View:
        """The latest View."""

    def turn_to(self, profile: str) -> None:
        """Leave this database for that of another profile."""

    def act(self, action: Action) -> None:
        """Preview, ask, run, tell."""

    def choose(self, title: str, choices: Sequence[Choice], nothing: str) -> None:
        """Have one of these chosen and act on it; say `nothing` where there is none."""

    def look_into(self, finding: Finding) -> None:
        """Open the room of what a finding is about, with the cursor on it."""

    def offer(self, act: str, target: str | None) -> None:
        """The act of this key, on `target`, which is under the cursor."""

    def offer_any(self, act: str) -> None:
        """The act of this key, on one of all that it could hit."""


class Room(Hands):
    """A screen of the house. Subclasses furnish it and draw a View; `room` names the tab it stands under."""

    BINDINGS = keys("back", "export", "command", *MOVES)
    room = "overview"

    def __init__(self, helm: Helm, trail: str = "") -> None:
        super().__init__()
        self.helm = helm
        self.trail = trail
        self.view: View | None = None

    # --- for subclasses --------------------------------------------------------------------------------------

    def furniture(self) -> ComposeResult:
        """The widgets of the body."""
        yield from ()

    def show(self, snapshot: Snapshot, view: View) -> None:
        """Draw what is known."""

    def observed(self) -> None:
        """A new View came; fetch what it does not hold."""

    def as_command(self) -> str:
        """What this screen shows, as a command line."""
        return "pgops status"

    def course(self) -> tuple[str, tuple[Course, ...]]:
        """What is drawn as a diagram of what the cursor is on, under this title."""
        return "all of it", OF_ALL

    def land(self, ledger: str, sought: str | None) -> None:
        """Put the focus on this list, and the cursor on what is sought in it."""
        for table in self.query(Ledger):
            if table.id == ledger and table.can_focus:
                table.focus()
                if sought is not None:
                    table.go_to(sought)

    # --- the frame -------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield StatusLine(self.room, self.trail, self.helm.given)
        yield Banner()
        with Vertical(id="body"):
            yield from self.furniture()
        yield Foot()

    def on_mount(self) -> None:
        self.draw(self.helm.now_view)
        self.observed()

    def on_screen_resume(self) -> None:
        if self.view is not None:
            self.draw(self.helm.now_view)
            self.observed()

    def on_observed(self, message: Observed) -> None:
        fresh = self.view is None or message.view.snapshot is not self.view.snapshot
        self.draw(message.view)
        if fresh:
            self.observed()

    def draw(self, view: View) -> None:
        """Draw `view` in one paint."""
        self.view = view
        with self.app.batch_update():
            self.query_one(StatusLine).show(view)
            self.query_one(Banner).show(view)
            body = self.query_one("#body")
            body.set_class(view.lost is not None and view.snapshot is not None, "-stale")
            if view.snapshot is not None:
                self.show(view.snapshot, view)

    def note_of(self, kind: type[AnyNote]) -> AnyNote | None:
        """The note of this kind that is open over the room."""
        return next((one for one in self.app.screen_stack if isinstance(one, kind)), None)

    # --- keys ------------------------------------------------------------------------------------------------

    @property
    def inside_something(self) -> bool:
        """Whether there is something to go back from."""
        return len(self.app.screen_stack) > 1 or self.holds

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Nothing to go back from: no key for it at the foot."""
        return action != "back" or self.inside_something

    def action_back(self) -> None:
        if not self.let_go() and len(self.app.screen_stack) > 1:
            self.dismiss()

    def action_copy_command(self) -> None:
        command = self.as_command()
        self.app.copy_to_clipboard(command)
        self.notify(command, title="Copied as a command", markup=False, timeout=4)


def requeue_choices(snapshot: Snapshot | None, queue: str | None = None) -> list[Choice]:
    """What could be requeued, of one queue or of all."""
    if snapshot is None:
        return []
    found = []
    for one in items(snapshot.queues):
        if queue is not None and one.name != queue:
            continue
        name = formats.clean(one.name, 60)
        if one.stuck:
            found.append(Choice(f"{name}: take back {one.stuck:,} stuck", Action("requeue_stuck", one.name)))
        if one.dead:
            found.append(Choice(f"{name}: let {one.dead:,} dead start over", Action("requeue_dead", one.name)))
            found.append(Choice(f"{name}: ladder, {LADDER}", Action("requeue_ladder", one.name)))
    return found
