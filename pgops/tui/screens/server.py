"""Room 8: what PostgreSQL itself suffers from: its log and replicas, whom vacuum waits for, tables and indexes."""

from textual.app import ComposeResult
from textual.widgets import DataTable, Static

from pgops.ops.act.actions import Action
from pgops.ops.observe.snapshot import Snapshot, Unavailable, items
from pgops.ops.observe.snapshot_server import IndexTrouble, TablePart, XminHolder
from pgops.tui import formats
from pgops.tui.feed import View
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Choice, Room
from pgops.tui.screens.connections import STATES
from pgops.tui.screens.session import SessionNote
from pgops.tui.theme import Tone
from pgops.tui.widgets.empty import emptiness
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink, number, plain
from pgops.tui.widgets.ledger import Column, Ledger, Line
from pgops.tui.widgets.server_lines import health

HOLDERS = (
    Column("kind", "vacuum waits for", 20, ranked=True),
    Column("name", "name", 0, most=40),
    Column("pid", "pid", 8, right=True),
    Column("user", "user", 12, from_width=100),
    Column("state", "state", 11),
    Column("age", "for", 7, right=True),
    Column("xids", "xids", 7, right=True),
)
TABLES = (
    Column("table", "table", 0, most=60),
    Column("rows", "rows", 7, right=True),
    Column("dead", "dead", 7, right=True),
    Column("share", "share", 6, right=True),
    Column("hot", "HOT", 6, right=True),
    Column("vacuum", "vacuum", 9),
    Column("last", "last", 7, right=True, from_width=90),
    Column("size", "size", 8, right=True, from_width=90),
    Column("freeze", "freeze age", 10, right=True, from_width=140),
    Column("parts", "parts", 5, right=True, from_width=140),
)
TROUBLES = (
    Column("index", "index", 0, most=60),
    Column("problem", "problem", 11, ranked=True),
    Column("size", "size", 8, right=True),
    Column("scans", "scans", 7, right=True),
    Column("about", "", 34, from_width=100),
)
PROBLEMS: dict[str, tuple[str, Tone]] = {
    "invalid": ("✕ invalid", "bad"), "duplicate": ("◆ twin", "warn"), "unused": ("○ unused", "plain"),
}  # fmt: skip
LOW_HOT, MUCH_DEAD, SOME_UPDATES = 0.5, 0.2, 1_000


def holder_line(place: int, one: XminHolder) -> Line:
    """Somebody whom vacuum waits for, as a row."""
    tone: Tone = "quiet" if one.only_catalogs else "plain"
    kind = "slot, catalogs only" if one.only_catalogs else one.kind
    name, user, state = (formats.clean(words or "", 60) for words in (one.name, one.user, one.state))
    doing = STATES.get(state, (state, "warn" if state == "inactive" else "quiet"))
    pid = "" if one.pid is None else str(one.pid)
    cells = (
        ink((kind, tone)), ink(name), number(pid), ink((user, "quiet")),
        ink(doing),
        number(formats.duration(one.age_s)), number(formats.count(one.age_xids)),
    )  # fmt: skip
    order = (place, name, one.pid or 0, user, state, one.age_s or -1.0, one.age_xids)
    return Line(f"{one.kind}/{one.name}/{pid}", cells, order, pid or one.name)


def table_line(one: TablePart, snapshot: Snapshot) -> Line:
    """A table as a row; its key is the name that an act takes."""
    name = formats.clean(one.table, 130)
    state, tone = _vacuum(one)
    last = one.vacuumed
    ago = None if last is None else (snapshot.taken_at - last).total_seconds()
    low = one.hot_share is not None and one.hot_share < LOW_HOT and one.own and one.updates_total >= SOME_UPDATES
    much = one.dead_share >= MUCH_DEAD and one.autovacuum_due
    cells = (
        ink((name, "quiet" if one.unlogged else "plain")), number(formats.roughly(one.rows, one.exact, "rows")),
        number(formats.roughly(one.dead_rows, one.exact, "dead_rows") if one.dead_rows else "0"),
        number(f"{one.dead_share:.0%}" if one.dead_rows else "0", "warn" if much else "plain"),
        number(formats.UNKNOWN if one.hot_share is None else f"{one.hot_share:.0%}", "warn" if low else "plain"),
        ink((state, tone)), number(formats.duration(ago)), number(formats.size(one.bytes)),
        number(formats.count(one.freeze_age)), number(str(one.partitions)),
    )  # fmt: skip
    order = (
        name, one.rows, one.dead_rows, one.dead_share, one.hot_share or -1.0, state, -1.0 if ago is None else ago,
        one.bytes or 0, one.freeze_age, one.partitions,
    )  # fmt: skip
    return Line(one.table, cells, order, one.table, ("unlogged",) if one.unlogged else ())


def _vacuum(one: TablePart) -> tuple[str, Tone]:
    if one.vacuuming:
        return "⟳ at work", "accent"
    if not one.autovacuum:
        return "✕ off", "bad" if one.autovacuum_due else "warn"
    return ("◆ due", "warn") if one.autovacuum_due else ("", "quiet")


def trouble_line(place: int, one: IndexTrouble) -> Line:
    """An index as a row; its key is the name that an act takes."""
    name, table = formats.clean(one.index, 130), formats.clean(one.table, 130)
    about = f"as {formats.clean(one.twin, 130)}" if one.twin else f"on {table}"
    if one.problem == "unused":
        about = f"0 in {formats.duration(one.statistics_s)} on {table}"
    words, tone = PROBLEMS[one.problem]
    cells = (
        ink(name), ink((words, tone)), number(f"~{formats.size(one.bytes)}"), number(formats.count(one.scans_total)),
        ink((about, "quiet")),
    )  # fmt: skip
    return Line(f"{one.problem}/{one.index}", cells, (name, place, one.bytes, one.scans_total, about), one.index)


class ServerRoom(Room):
    """K ends the session under the cursor among those whom vacuum waits for, V vacuums the table under the cursor, I is
    for the index."""

    BINDINGS = keys("filter", "terminate", "vacuum", "mend_index")
    room = "server"

    def furniture(self) -> ComposeResult:
        yield Static(id="health", markup=False)
        yield Ledger(HOLDERS, id="holders", sort="kind")
        yield Static(id="empty", classes="-hidden", markup=False)
        yield Ledger(TABLES, id="tables", sort="dead", descending=True, opens=False)
        yield Filter()
        yield Ledger(TROUBLES, id="troubles", sort="problem", opens=False)

    def on_mount(self) -> None:
        super().on_mount()
        self.filtered.focus()

    def show(self, snapshot: Snapshot, view: View) -> None:
        self.query_one("#health", Static).update(health(snapshot))
        tables, empty = self.filtered, self.query_one("#empty", Static)
        nothing = emptiness(snapshot.tables, "No table yet.", "pgops migrate")
        empty.set_class(nothing is None, "-hidden")
        tables.set_class(nothing is not None, "-hidden")
        if nothing is not None:
            empty.update(nothing)
        tables.border_title = "tables · most dead rows and largest"
        known = items(snapshot.tables)
        filled = [one for one in known if one.rows or one.dead_rows]
        tables.show([table_line(one, snapshot) for one in filled or known])
        self._list("holders", snapshot.xmin_holders, "vacuum waits for", "nobody")
        self._ledger("holders").show([holder_line(*row) for row in enumerate(items(snapshot.xmin_holders))])
        self._list("troubles", snapshot.indexes, "indexes that only cost", "none")
        self._ledger("troubles").show([trouble_line(*row) for row in enumerate(items(snapshot.indexes))])

    def _list(self, id: str, part: tuple[object, ...] | Unavailable, title: str, nothing: str) -> None:
        """A table that is one line where there is nothing in it, or where it cannot be had."""
        ledger = self._ledger(id)
        if isinstance(part, Unavailable):
            said = f"◌ {formats.clean(part.reason, 60)} → {formats.clean(part.remedy, 60)}"
        else:
            said = f"{len(part)}" if part else nothing
        ledger.border_title = plain(f"{title} · {said}")
        ledger.set_class(not items(part), "-none")
        ledger.can_focus = bool(items(part))

    def _ledger(self, id: str) -> Ledger:
        return self.query_one(f"#{id}", Ledger)

    @property
    def filtered(self) -> Ledger:
        return self._ledger("tables")

    @property
    def _holder(self) -> XminHolder | None:
        """Who is under the cursor."""
        snapshot, key = self.view.snapshot if self.view else None, self._ledger("holders").current
        known = items(snapshot.xmin_holders) if snapshot is not None else ()
        return {holder_line(0, one).key: one for one in known}.get(key or "")

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        snapshot, one = self.view.snapshot if self.view else None, self._holder
        if event.data_table.id != "holders" or snapshot is None or one is None:
            return
        found = [each for each in items(snapshot.session_list) if one.kind == "backend" and each.pid == one.pid]
        if found:
            self.app.push_screen(SessionNote(found[0], items(snapshot.locks)))
        else:
            words = f"A {one.kind} is no session that could be opened; its finding says how it is let go."
            self.notify(words, markup=False, timeout=6)

    def action_vacuum(self) -> None:
        table = self.filtered.current
        choices = [Choice(table, Action("vacuum_table", table))] if table is not None else []
        self.helm.choose("Vacuum", choices, "No table is under the cursor.")

    def action_mend_index(self) -> None:
        """One that never became valid is dropped or built again; of another one the build anew is all there is."""
        problem, _, index = (self._ledger("troubles").current or "").partition("/")
        choices = [Choice(f"build {formats.clean(index, 60)} anew", Action("reindex_index", index))] if index else []
        if problem == "invalid":
            choices.append(Choice(f"drop {formats.clean(index, 60)}", Action("drop_invalid_index", index)))
        self.helm.choose("Index", choices, "No index is under the cursor.")

    def action_terminate(self) -> None:
        one = self._holder
        if one is None or one.backend_type != "client backend":
            self.notify("No session is under the cursor.", markup=False, timeout=4)
            return
        self.helm.act(Action("terminate_backend", str(one.pid), started_at=one.started_at))
