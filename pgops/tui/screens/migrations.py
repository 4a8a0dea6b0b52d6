"""The schema: which migrations are applied, which are pending, which wait and for what; and applying those that are."""

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Static

from pgops.errors import PgopsError
from pgops.migrate import State, Step
from pgops.tui import formats
from pgops.tui.keymap import keys
from pgops.tui.news import schema_seen
from pgops.tui.screens.ask import failure
from pgops.tui.screens.modal import Note
from pgops.tui.source import Source
from pgops.tui.theme import ACCENT, INK, QUIET, STYLES, WARN, Tone

MARKS: dict[State, tuple[str, Tone]] = {
    "applied": ("✓", "good"), "pending": ("○", "accent"), "waiting": ("◌", "quiet"), "changed": ("▲", "bad"),
    "newer": ("▲", "bad"),
}  # fmt: skip
COMMAND = "pgops migrate"


def told(steps: Sequence[Step], done: frozenset[str] = frozenset()) -> Text:
    """Each by its name and state; what `done` names was applied just now."""
    seen, text = schema_seen(steps), Text()
    text.append(
        "✓ the schema is this version's\n" if seen is None else f"◆ {seen.words}\n", INK if seen is None else WARN
    )
    if seen is not None and not seen.pending:
        text.append(f"→ {seen.remedy}\n", ACCENT)
    text.append("\n")
    for step in steps:
        mark, tone = MARKS[step.state]
        text.append(f"{mark} ", STYLES[tone])
        text.append(f"{formats.clean(step.name, 40):<28}", INK)
        text.append("applied now\n" if step.name in done else f"{step.state}\n", QUIET)
        if step.reason:
            text.append(f"  {formats.clean(step.reason, 200)}\n", QUIET)
    text.append("\nas a command\n", QUIET)
    text.append(COMMAND if seen is not None and seen.pending else f"{COMMAND} --plan", ACCENT)
    return text


class MigrationsNote(Note[None]):
    """The plan; `y` applies what is pending, and nothing else."""

    BINDINGS = keys("confirm", "command")

    def __init__(self, source: Source) -> None:
        profile = formats.clean(source.standing.profile or "", 40)
        super().__init__(f"{profile} · migrations" if profile else "migrations")
        self._source = source
        self._pending: frozenset[str] = frozenset()

    def inside(self) -> ComposeResult:
        with VerticalScroll(classes="words", can_focus=False):
            yield Static("looking…", id="told", markup=False)
        with Horizontal(classes="buttons"):
            yield Button("Close", id="cancel", compact=True)
            yield Button("y  Apply", id="do", variant="warning", compact=True, disabled=True)

    def on_mount(self) -> None:
        self.query_one("#cancel", Button).focus()
        self.run_worker(self._look(), exclusive=True, exit_on_error=False)

    async def _look(self) -> None:
        try:
            self._show(await self._source.migrations())
        except PgopsError as error:
            self.query_one("#told", Static).update(failure(error))

    def _show(self, steps: Sequence[Step], done: frozenset[str] = frozenset()) -> None:
        seen = schema_seen(steps)
        can = seen is not None and seen.pending
        self._pending = frozenset(step.name for step in steps if step.state == "pending") if can else frozenset()
        self.query_one("#told", Static).update(told(steps, done))
        self._offer(f"y  Apply {len(self._pending)}" if self._pending else "nothing to apply")

    def _offer(self, words: str) -> None:
        button = self.query_one("#do", Button)
        button.label = words
        button.disabled = not self._pending
        button.refresh(layout=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "do":
            self.action_confirm()
        else:
            self.dismiss(None)

    def action_confirm(self) -> None:
        if self._pending:
            wanted, self._pending = self._pending, frozenset()
            self._offer("applying…")
            self.run_worker(self._apply(wanted), exclusive=True, exit_on_error=False)

    async def _apply(self, wanted: frozenset[str]) -> None:
        try:
            self._show(await self._source.migrate(), wanted)
        except PgopsError as error:
            self.query_one("#told", Static).update(failure(error))
            self._offer("not applied")

    def action_copy_command(self) -> None:
        self.app.copy_to_clipboard(COMMAND)
        self.notify(COMMAND, title="Copied as a command", markup=False, timeout=4)
