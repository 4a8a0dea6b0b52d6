"""The two lines on top: where one is and whether it is live; which database, and how old what is shown is."""

from collections.abc import Iterator, Mapping

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from pgops.ops.observe.snapshot import ServerPart
from pgops.tui import formats
from pgops.tui.feed import View
from pgops.tui.keymap import KEYS, shown
from pgops.tui.standing import Standing
from pgops.tui.theme import ACCENT, BAD, COLORS, INK, QUIET, WARN
from pgops.tui.widgets.ink import Piece, ink

ROOMS = ("overview", "queues", "vectors", "connections", "outbox", "stores", "documents", "server", "outgrow")


def rooms(current: str, trail: str = "", *, brief: bool = False, given: Mapping[str, str] | None = None) -> Text:
    """The name of the house and its rooms, the current one bright, with what is open inside it. `brief` names only
    the current one, the others are their keys."""
    text = Text(no_wrap=True, overflow="ellipsis", end="")
    return text.append("pgops", f"bold {ACCENT}").append_text(
        Text().join(words for _, words in doors(current, trail, brief=brief, given=given or {}))
    )


def doors(current: str, trail: str, *, brief: bool, given: Mapping[str, str]) -> Iterator[tuple[str, Text]]:
    """The rooms, each with its words."""
    for room in ROOMS:
        here = room == current
        text = Text(" ").append(shown(room, given), ACCENT if here else QUIET)
        if here or not brief:
            text.append(f" {KEYS[room].description}", f"bold {INK}" if here else QUIET)
        if here and trail:
            text.append(f" › {trail}", INK)
        yield room, text


def liveness(view: View) -> Text:
    """Live, paused or lost, how often, and the clock of the last snapshot."""
    taken = formats.clock(view.snapshot.taken_at if view.snapshot else None)
    every = f"{view.every_s:g}s"
    if view.lost is not None:
        state: list[Piece] = [("✕ lost", "bad")]
    elif view.snapshot is None:
        return ink((f"◌ {view.doing or 'connecting'}", "quiet"))
    elif view.paused:
        state = [("‖ paused", "warn")]
    else:
        state = [("● live", "good"), (f" {every}", "quiet")]
    return ink(*state, (f"  {taken} UTC", "quiet"))


def doing(view: View) -> Text:
    """What is done here now, and the key that lists it and stops it."""
    many = f"{len(view.busy)} " if len(view.busy) > 1 else ""
    key = KEYS["under_way"]
    return ink((f"⟳ {many}under way ({key.key}): ", "quiet"), (formats.clean(view.busy[-1], 160), "accent"))


def mode(view: View) -> Text:
    """The profile in its colour, and what may be changed: never cut, so it stands first. Nothing to say is empty."""
    standing, part = view.standing, view.snapshot.server if view.snapshot else None
    text = Text(no_wrap=True, end="")
    if standing.profile is not None:
        text.append(f" {formats.clean(standing.profile, 20)} ", f"bold reverse {COLORS[standing.color]}")
    standby = isinstance(part, ServerPart) and part.in_recovery
    for words, style in (_allowed(standing), ("standby, read only" if standby else "", f"bold {WARN}")):
        text.append(f" {words}" if words and text else words, style)
    return text


def _allowed(standing: Standing) -> tuple[str, str]:
    if standing.mode == "unlocked":
        return f"◆ unlocked {standing.left_s // 60}:{standing.left_s % 60:02}", f"bold {BAD}"
    if standing.mode == "locked":
        return "⊘ locked", f"bold {INK}"
    return ("read only", f"bold {INK}") if standing.mode == "read only" else ("", INK)


def server(view: View) -> Text:
    """The target without secrets, and what answers there; while something is done here, how far that is."""
    if view.busy:
        return doing(view)
    part = view.snapshot.server if view.snapshot else None
    pieces: list[Piece] = [(formats.clean(view.target, 120), "quiet")]
    if isinstance(part, ServerPart):
        vector = f"pgvector {part.pgvector}" if part.pgvector else "no pgvector"
        facts = (
            f"PostgreSQL {formats.clean(part.version, 12)}", vector, formats.clean(part.database, 30),
            formats.size(part.database_bytes), f"up {formats.duration(part.uptime_s)}",
        )  # fmt: skip
        pieces += [(f" · {fact}", "quiet") for fact in facts if fact]
    return ink(*pieces)


class StatusLine(Static):
    """Drawn anew from each View."""

    def __init__(self, room: str, trail: str = "", given: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._given = given or {}
        self._room = room
        self._trail = formats.clean(trail, 60)
        self._alive = Text()
        self._brief = False

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(self._rooms(), id="rooms", markup=False)
            yield Static(id="liveness", markup=False)
        with Horizontal():
            yield Static(id="mode", markup=False)
            yield Static(id="server", markup=False)

    def show(self, view: View) -> None:
        self._alive = liveness(view)
        self.query_one("#liveness", Static).update(self._alive)
        self._fit()
        may = mode(view)
        self.query_one("#mode", Static).update(may)
        self.query_one("#mode").set_class(not may, "-hidden")
        self.query_one("#server", Static).update(server(view), layout=False)

    def on_resize(self, event: events.Resize) -> None:
        self._fit()

    async def on_click(self, event: events.Click) -> None:
        """A click on a room's name opens it."""
        where = self.query_one("#rooms").region
        end = where.x + len("pgops")
        if where.contains(event.screen_x, event.screen_y):
            for room, words in doors(self._room, self._trail, brief=self._brief, given=self._given):
                begin, end = end, end + words.cell_len
                if begin < event.screen_x < end:
                    await self.app.run_action(f"app.room('{room}')")

    def _rooms(self, *, brief: bool = False) -> Text:
        return rooms(self._room, self._trail, brief=brief, given=self._given)

    def _fit(self) -> None:
        """All names where there is room for them beside the clock."""
        whole = self._rooms()
        brief = whole.cell_len + self._alive.cell_len + 4 > self.app.size.width
        if brief != self._brief:
            self._brief = brief
            self.query_one("#rooms", Static).update(self._rooms(brief=brief), layout=False)
