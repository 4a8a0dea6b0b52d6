"""Room 4: who is connected and what they do; below, who waits for whom."""

from collections.abc import Iterator, Sequence

from textual.app import ComposeResult
from textual.widgets import DataTable, Static

from pgops.ops.act.actions import Action, ActionName
from pgops.ops.observe.snapshot import LockBackend, SessionRow, Sessions, Snapshot, Unavailable, items
from pgops.tui import formats
from pgops.tui.feed import View
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Choice, Room
from pgops.tui.screens.session import SessionNote
from pgops.tui.theme import Tone
from pgops.tui.widgets.empty import emptiness
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink, number
from pgops.tui.widgets.ledger import Column, Ledger, Line

SESSIONS = (
    Column("pid", "pid", 8, right=True),
    Column("state", "state", 10),
    Column("user", "user", 10),
    Column("database", "database", 14, from_width=150),
    Column("app", "application", 14),
    Column("client", "client", 15, from_width=150),
    Column("tx", "tx", 7, right=True),
    Column("age", "query", 7, right=True, from_width=90),
    Column("wait", "wait", 20, from_width=112),
    Column("query", "statement", 0),
)
BLOCKING = (
    Column("pid", "backend", 14, ranked=True),
    Column("waited", "waited", 7, right=True),
    Column("on", "waits on", 18),
    Column("mode", "mode", 19, from_width=100),
    Column("user", "user", 10, from_width=100),
    Column("app", "application", 14, from_width=76),
    Column("query", "statement", 0),
)
STATES: dict[str, tuple[str, Tone]] = {
    "active": ("● active", "good"),
    "fastpath function call": ("● active", "good"),
    "idle": ("○ idle", "quiet"),
    "idle in transaction": ("◆ idle tx", "warn"),
    "idle in transaction (aborted)": ("✕ failed tx", "bad"),
}
LOCK_WAIT: tuple[str, Tone] = ("◆ waits", "bad")
DEEPEST = 4


def session_line(one: SessionRow) -> Line:
    """A session as a row."""
    user, database, app = (
        formats.clean(words or formats.UNKNOWN, 60) for words in (one.user, one.database, one.application)
    )
    words, tone = _state(one)
    query = formats.clean(one.query or "", 200)
    wait = formats.clean(one.wait or "", 40)
    cells = (
        number(str(one.pid)), ink((formats.clean(words, 20), tone)), ink(user), ink((database, "quiet")), ink(app),
        ink((formats.clean(one.client, 40), "quiet")), number(formats.duration(one.transaction_s)),
        number(formats.duration(one.query_s)), ink((wait, "quiet")), ink((query, "quiet")),
    )  # fmt: skip
    order = (
        one.pid, words, user, database, app, one.client, _last(one.transaction_s), _last(one.query_s), wait, query,
    )  # fmt: skip
    raw = {
        "state": one.state, "user": one.user, "database": one.database, "app": one.application, "wait": one.wait,
        "query": one.query,
    }  # fmt: skip
    return Line(str(one.pid), cells, order, str(one.pid), raw=raw)


def _state(one: SessionRow) -> tuple[str, Tone]:
    if (one.wait or "").startswith("Lock:"):
        return LOCK_WAIT
    return STATES.get(one.state or "", (one.state or formats.UNKNOWN, "quiet"))


def _last(seconds: float | None) -> float:
    """Unknown stands below nothing."""
    return -1.0 if seconds is None else seconds


def tree(backends: Sequence[LockBackend]) -> Iterator[tuple[int, LockBackend]]:
    """Every backend once, with its depth, below the first that it waits for: the oldest chains first, rings last."""
    below: dict[int, list[LockBackend]] = {}
    for one in backends:
        if one.blocked_by:
            below.setdefault(one.blocked_by[0], []).append(one)
    roots = [one for one in backends if not one.blocked_by]
    longest = {
        root.pid: max((_last(one.waited_s) for one in backends if one.root == root.pid), default=-1.0) for root in roots
    }
    seen: set[int] = set()
    for top in (*sorted(roots, key=lambda root: -longest[root.pid]), *backends):
        stack = [(0, top)]
        while stack:
            depth, one = stack.pop()
            if one.pid in seen:
                continue
            seen.add(one.pid)
            yield depth, one
            waiting = sorted(below.get(one.pid, ()), key=lambda each: _last(each.waited_s))
            stack.extend((depth + 1, each) for each in waiting)


def blocking_line(place: int, depth: int, one: LockBackend) -> Line:
    """A backend of the tree as a row."""
    indent = "  " * min(depth - 1, DEEPEST) + "└ " if depth else ""
    pid = str(one.pid) if one.pid else "prepared"
    on = formats.clean(one.relation or one.lock_type or "", 60)
    user, app = (formats.clean(words or "", 60) for words in (one.user, one.application))
    query = formats.clean(" ".join((one.query or "").split()), 200)
    waited = formats.duration(one.waited_s) if one.blocked_by else ""
    tone: Tone = "plain" if one.blocked_by else "bad"
    doing = (on, tone) if one.blocked_by else STATES.get(one.state or "", ("", tone))
    cells = (
        ink((indent, "quiet"), (pid, tone)), number(waited, "warn"), ink(doing), ink((one.lock_mode or "", "quiet")),
        ink(user), ink(app), ink((query, "quiet")),
    )  # fmt: skip
    return Line(
        pid,
        cells,
        (place, _last(one.waited_s), on, one.lock_mode or "", user, app, query),
        pid,
        raw={"query": one.query},
    )


class ConnectionsRoom(Room):
    """C and K act on the row under the cursor of the table that has the focus."""

    BINDINGS = keys("filter", "cancel", "terminate")
    room = "connections"

    def furniture(self) -> ComposeResult:
        yield Static(id="empty", classes="-hidden", markup=False)
        yield Ledger(SESSIONS, id="sessions", sort="tx", descending=True)
        yield Filter()
        yield Ledger(BLOCKING, id="blocking", sort="pid")

    def show(self, snapshot: Snapshot, view: View) -> None:
        sessions, blocking = self.query_one("#sessions", Ledger), self.query_one("#blocking", Ledger)
        nothing = emptiness(snapshot.session_list, "No session is seen.", "pgops sessions list")
        empty = self.query_one("#empty", Static)
        empty.set_class(nothing is None, "-hidden")
        sessions.set_class(nothing is not None, "-hidden")
        if nothing is not None:
            empty.update(nothing)
        known = items(snapshot.session_list)
        sessions.border_title = title(snapshot.sessions, len(known))
        sessions.show([session_line(one) for one in known])
        if (note := self.note_of(SessionNote)) is not None and not isinstance(snapshot.sessions, Unavailable):
            note.seen(known, snapshot.sessions.total)
        waiting = items(snapshot.locks)
        blocking.set_class(isinstance(snapshot.locks, Unavailable), "-hidden")
        blocking.set_class(not waiting, "-none")
        number_waiting = len([one for one in waiting if one.blocked_by])
        blocking.border_title = f"locks · {number_waiting} waiting" if waiting else "locks · nobody waits"
        blocking.can_focus = bool(waiting)
        blocking.show([blocking_line(place, *row) for place, row in enumerate(tree(waiting))])

    @property
    def filtered(self) -> Ledger:
        return self.query_one("#sessions", Ledger)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        snapshot = self.view.snapshot if self.view else None
        key = str(event.row_key.value)
        found = [one for one in items(snapshot.session_list) if str(one.pid) == key] if snapshot else []
        if found:
            self.app.push_screen(SessionNote(found[0], items(snapshot.locks) if snapshot else ()))

    def action_cancel_backend(self) -> None:
        self._act("cancel_backend")

    def action_terminate(self) -> None:
        self._act("terminate_backend")

    def _act(self, name: ActionName) -> None:
        """On exactly the backend that is shown, also where its pid is given anew meanwhile; of several that are marked
        one is chosen, since each is asked about alone."""
        snapshot, table = self.view.snapshot if self.view else None, self.aimed or self.filtered
        known = (items(snapshot.locks), items(snapshot.session_list)) if snapshot is not None else ()
        began = {str(one.pid): one.started_at for part in known for one in part}
        choices = [
            Choice(f"{line.key}  {line.cells[-1].plain}", Action(name, line.key, started_at=began.get(line.key)))
            for line in table.meant if line.key.isdigit()
        ]  # fmt: skip
        self.helm.choose(name.replace("_", " "), choices, "No session is under the cursor.")

    def as_command(self) -> str:
        return "pgops locks list" if self.app.focused is self.query_one("#blocking", Ledger) else "pgops sessions list"


def title(part: Sessions | Unavailable, shown: int) -> str:
    """How many there are, and that not all are shown where that is so."""
    if isinstance(part, Unavailable):
        return "sessions"
    more = f" · the {shown} with the longest transactions" if shown < part.total else ""
    return f"sessions · {part.total} of {part.max}{more}"
