"""The trail of acts: who did what, to how much, and what of it can be undone. Enter tells one, U undoes it."""

import json
from datetime import datetime

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Static

from pgops.errors import PgopsError
from pgops.ops.act.actions import Action
from pgops.ops.act.audit import AuditRow
from pgops.ops.act.undoing import Trail
from pgops.tui import formats
from pgops.tui.commands import trail_command
from pgops.tui.keymap import keys
from pgops.tui.screens.ask import failure
from pgops.tui.screens.base import Choice, Helm
from pgops.tui.screens.fetched import Fetched
from pgops.tui.screens.modal import Note
from pgops.tui.source import Source
from pgops.tui.theme import ACCENT, INK, QUIET, WARN, Tone
from pgops.tui.widgets.empty import emptiness
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink, number
from pgops.tui.widgets.ledger import Column, Ledger, Line

LIMIT = 200
ACTS = (
    Column("id", "act", 6, right=True),
    Column("ago", "ago", 7, right=True),
    Column("actor", "who", 14, from_width=100),
    Column("action", "what", 18),
    Column("target", "of", 0),
    Column("client", "with", 16, from_width=110),
    Column("changed", "changed", 8, right=True),
    Column("state", "state", 12),
)
STATUS: dict[str, Tone] = {"done": "quiet", "started": "accent", "failed": "bad", "interrupted": "warn"}


def act_line(one: AuditRow, now: datetime) -> Line:
    """An act as a row."""
    actor, target = formats.clean(one.actor, 40), formats.clean(_of(one), 120)
    action, client = one.action.replace("_", " "), formats.clean(one.client, 40)
    ago = (now - one.started_at).total_seconds()
    state, tone = state_words(one)
    cells = (
        number(str(one.id)), number(formats.duration(ago)), ink(actor), ink(action), ink((target, "quiet")),
        ink((client, "quiet")), number(formats.count(one.changed)), ink((state, tone)),
    )  # fmt: skip
    order = (one.id, ago, actor, action, target, client, one.changed or 0, state)
    raw = {"actor": one.actor, "action": one.action, "target": one.target, "client": one.client, "state": one.status}
    return Line(str(one.id), cells, order, str(one.id), raw=raw)


def _of(one: AuditRow) -> str:
    return f"{one.target}: {one.reason}" if one.reason else one.target


def state_words(one: AuditRow) -> tuple[str, Tone]:
    """How it ended, and whether it can be undone, in a cell."""
    if one.undone_by is not None:
        return f"↶ by {one.undone_by}", "quiet"
    return ("↶ U undoes", "accent") if one.undoable else (one.status, STATUS.get(one.status, "plain"))


def told(trail: Trail) -> Text:
    """An act as lines."""
    one, text = trail.act, Text()
    facts = (
        ("act", str(one.id)), ("what", f"{one.action.replace('_', ' ')} {one.target}"), ("who", one.actor),
        ("with", one.client), ("began", formats.stamp(one.started_at)), ("ended", formats.stamp(one.finished_at)),
        ("status", one.status), ("matched", formats.count(one.matched)), ("changed", formats.count(one.changed)),
    )  # fmt: skip
    for name, value in facts:
        text.append(f"{name:<10}", QUIET)
        text.append(f"{formats.clean(value, 200)}\n", INK)
    if trail.refused:
        text.append(f"\n◆ {formats.clean(trail.refused)}: {formats.clean(trail.hint)}\n", WARN)
    elif one.undo_until is not None:
        text.append(f"\n↶ U undoes it, until {formats.stamp(one.undo_until)}\n", ACCENT)
    if one.detail:
        text.append("\ndetail\n", QUIET)
        text.append(f"{formats.clean(json.dumps(one.detail, ensure_ascii=False), 2_000)}\n", INK)
    for kept in trail.kept:
        text.append(f"\nkept of {kept.stood_in}\n", QUIET)
        text.append(f"{formats.clean(json.dumps(kept.before, ensure_ascii=False), 600)}\n", INK)
    return text


class ActNote(Note[Action]):
    """One act in full; answers with its undo."""

    BINDINGS = keys("undo", "command")

    def __init__(self, source: Source, act: int) -> None:
        super().__init__(f"act {act}")
        self._source = source
        self._act = act

    def inside(self) -> ComposeResult:
        with VerticalScroll(classes="words", can_focus=False):
            yield Static("looking…", id="told", markup=False)

    def on_mount(self) -> None:
        self.run_worker(self._look(), exclusive=True, exit_on_error=False)

    async def _look(self) -> None:
        said = self.query_one("#told", Static)
        try:
            said.update(told(await self._source.trail(self._act)))
        except PgopsError as error:
            said.update(failure(error))

    def action_undo(self) -> None:
        self.dismiss(Action("undo", str(self._act)))

    def as_command(self) -> str:
        return trail_command(self._act)


class AuditRoom(Fetched):
    """Fetched with every new View, the newest first."""

    BINDINGS = keys("filter", "open", "undo")

    def __init__(self, helm: Helm) -> None:
        super().__init__(helm, "audit")
        self._acts: dict[str, AuditRow] = {}

    def furniture(self) -> ComposeResult:
        yield Static("looking…", id="empty", markup=False)
        table = Ledger(ACTS, id="acts", sort="ago")
        table.border_title = "who did what"
        yield table
        yield Filter()

    async def fetch(self) -> None:
        found = await self.helm.source.acts(LIMIT)
        nothing = emptiness(
            found, "Nobody has done anything yet.", "pgops audit list",
            "Every act leaves a line here, by key or by command.",
        )  # fmt: skip
        self._acts = {str(one.id): one for one in found}
        with self.app.batch_update():
            self.fill(self.filtered, [act_line(one, self.moment(one.started_at)) for one in found], nothing)

    @property
    def filtered(self) -> Ledger:
        return self.query_one("#acts", Ledger)

    @property
    def _act(self) -> AuditRow | None:
        return self._acts.get(self.filtered.current or "")

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if (one := self._act) is not None:
            self.app.push_screen(ActNote(self.helm.source, one.id), self._answered)

    def _answered(self, action: Action | None) -> None:
        if action is not None:
            self.helm.act(action)

    def action_undo(self) -> None:
        one = self._act
        choices = [Choice("undo", Action("undo", str(one.id)))] if one is not None else []
        self.helm.choose("Undo", choices, "There is no act under the cursor.")

    def as_command(self) -> str:
        return trail_command(self._act.id if self._act is not None else None)
