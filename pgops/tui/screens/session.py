"""One session in full: who it is, what it does, and whom it waits for."""

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from pgops.ops.observe.snapshot import LockBackend, SessionRow
from pgops.tui import formats
from pgops.tui.keymap import keys
from pgops.tui.screens.modal import Note
from pgops.tui.theme import INK, QUIET


def told(one: SessionRow, locks: Sequence[LockBackend]) -> Text:
    """A session as lines."""
    waits = next((each.blocked_by for each in locks if each.pid == one.pid), ())
    behind = [each.pid for each in locks if one.pid in each.blocked_by]
    facts = (
        ("user", one.user), ("database", one.database), ("application", one.application), ("client", one.client),
        ("connected", formats.stamp(one.started_at)),
        ("state", f"{one.state or formats.UNKNOWN} for {formats.duration(one.state_s)}"),
        ("transaction", formats.duration(one.transaction_s)), ("wait", one.wait),
        ("waits for", ", ".join(map(str, waits))), ("holds up", ", ".join(map(str, behind))),
    )  # fmt: skip
    text = Text()
    for name, value in facts:
        if value:
            text.append(f"{name:<12}", QUIET)
            text.append(f"{formats.clean(value, 200)}\n", INK)
    text.append("\nstatement\n", QUIET)
    text.append(formats.clean(one.query or formats.UNKNOWN), INK)
    return text


class SessionNote(Note[None]):
    """What is known of it."""

    BINDINGS = keys("copy", "command")

    def __init__(self, one: SessionRow, locks: Sequence[LockBackend]) -> None:
        super().__init__(f"session {one.pid}")
        self.one = one
        self._locks = locks

    def seen(self, sessions: Sequence[SessionRow], total: int) -> None:
        """Whether it is still among all the sessions that there are."""
        there = {(each.pid, each.started_at) for each in sessions}
        if len(sessions) >= total and (self.one.pid, self.one.started_at) not in there:
            self.vanished("the session has ended")

    def inside(self) -> ComposeResult:
        with VerticalScroll(classes="words", can_focus=False):
            yield Static(told(self.one, self._locks), markup=False)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(str(self.one.pid))
        self.notify(str(self.one.pid), title="Copied", markup=False, timeout=3)

    def as_command(self) -> str:
        return "pgops sessions list"
