"""Room 1: what needs a human first, then every part at a glance, and what looking costs."""

from textual import events
from textual.app import ComposeResult
from textual.containers import Grid
from textual.widgets import DataTable

from pgops.ops.act.actions import Action
from pgops.ops.observe.snapshot import Finding, OutboxSubscription, Snapshot, Unavailable, items
from pgops.tui import formats
from pgops.tui.feed import View
from pgops.tui.keymap import keys, shown
from pgops.tui.screens.base import Room, requeue_choices
from pgops.tui.screens.finding import FindingNote, cure
from pgops.tui.screens.subscription import SubscriptionRoom
from pgops.tui.theme import GLYPHS, SEVERITY_TONES
from pgops.tui.widgets.faces import FACES
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink, number
from pgops.tui.widgets.ledger import Column, Ledger, Line
from pgops.tui.widgets.tile import Tile

# The room that a tile is about; its key stands before the tile's name.
ROOM_OF = {"queue": "queues", "outbox": "outbox", "cache": "stores", "vectors": "vectors", "sessions": "connections"}
_RANK = {"critical": 0.0, "warning": 1.0, "info": 2.0}

FINDINGS = (
    Column("severity", "severity", 10, ranked=True),
    Column("finding", "finding", 35),
    Column("evidence", "evidence", 0),
    Column("remedy", "remedy", 40, from_width=116),
)
OUTBOX = (
    Column("name", "subscription", 0, most=44),
    Column("sink", "sink", 30, from_width=90),
    Column("lag", "behind", 8, right=True),
    Column("age", "oldest", 8, right=True),
    Column("rate", "relayed/s", 9, right=True),
    Column("total", "relayed", 8, right=True),
    Column("parked", "parked", 7, right=True),
)


def by_key(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    """Findings by what they are about; of the same thing there may be several."""
    found: dict[str, Finding] = {}
    for finding in findings:
        key = f"{finding.code}/{finding.target}"
        same = sum(known.startswith(key) for known in found)
        found[f"{key}#{same}"] = finding
    return found


def finding_line(key: str, finding: Finding) -> Line:
    """A finding as a row."""
    tone = SEVERITY_TONES[finding.severity]
    texts = (finding.title, finding.evidence, finding.command or finding.remedy)
    title, evidence, remedy = (formats.clean(text) for text in texts)
    cells = (
        ink((f"{GLYPHS[finding.severity]} {finding.severity}", tone)), ink(title), ink((evidence, "quiet")),
        ink((remedy, "accent")),
    )  # fmt: skip
    order = (_RANK[finding.severity], title, evidence, remedy)
    raw = {"severity": finding.severity, "finding": finding.title, "evidence": finding.evidence}
    return Line(key, cells, order, f"{title}: {evidence}", raw=raw)


def outbox_line(one: OutboxSubscription) -> Line:
    """A subscription as a row."""
    name, sink = formats.clean(one.name), formats.clean(one.sink)
    cells = (
        ink(name), ink((sink, "quiet")), number(formats.roughly(one.lag_events, one.exact, "lag_events")),
        number(formats.duration(one.lag_s)), number(formats.rate(one.relayed_per_s)),
        number(formats.count(one.relayed_total)), number(formats.count(one.parked), "warn" if one.parked else "plain"),
    )  # fmt: skip
    order = (name, sink, one.lag_events, one.lag_s or 0, one.relayed_per_s or 0, one.relayed_total, one.parked)
    return Line(one.name, cells, order, one.name)


def headline(snapshot: Snapshot) -> str:
    """What stands over the findings. Silence about what cannot be seen is no good news; what is only to know needs
    nobody."""
    urgent = sum(one.severity != "info" for one in snapshot.findings)
    to_know = len(snapshot.findings) - urgent
    more = f" · {to_know} to know" if to_know else ""
    if urgent:
        return f"needs a human · {urgent}{more}"
    parts = (snapshot.queues, snapshot.outbox, snapshot.cache, snapshot.sessions)
    if any(isinstance(part, Unavailable) for part in parts):
        return f"◌ nothing urgent found, but not all could be seen{more}"
    return f"✓ nothing needs a human{more}"


class OverviewRoom(Room):
    """Findings, tiles, subscriptions where there is room."""

    BINDINGS = keys("filter", "explain", "cure", "requeue", "purge")
    room = "overview"

    def furniture(self) -> ComposeResult:
        findings = Ledger(FINDINGS, id="findings", sort="severity")
        findings.border_title = "◌ nothing seen yet"
        findings.add_class("-calm")
        findings.show_header = False
        yield findings
        yield Filter()
        with Grid(id="tiles"):
            for id, (title, _) in FACES.items():
                leads = ROOM_OF.get(id, "")
                yield Tile(f"{shown(leads, self.helm.given)} {title}" if leads else title, id, leads)
        outbox = Ledger(OUTBOX, id="subscriptions", sort="name")
        outbox.border_title = "outbox subscriptions"
        outbox.can_focus = False
        outbox.show_cursor = False
        yield outbox

    def show(self, snapshot: Snapshot, view: View) -> None:
        table = self.query_one("#findings", Ledger)
        table.show([finding_line(key, one) for key, one in by_key(snapshot.findings).items()])
        note = self.note_of(FindingNote)
        if note is not None and (note.finding.code, note.finding.target) not in {
            (one.code, one.target) for one in snapshot.findings
        }:
            note.vanished("it is found no longer")
        calm = not snapshot.findings
        table.border_title = headline(snapshot)
        table.set_class(calm, "-calm")
        table.show_header = not calm
        for id, (_, face) in FACES.items():
            self.query_one(f"#{id}", Tile).show(face(snapshot, view))
        subscriptions = items(snapshot.outbox)
        outbox = self.query_one("#subscriptions", Ledger)
        outbox.set_class(not subscriptions, "-none")
        outbox.show([outbox_line(one) for one in subscriptions])

    @property
    def _finding(self) -> Finding | None:
        key = self.query_one("#findings", Ledger).current
        found = self.view.snapshot.findings if self.view and self.view.snapshot else ()
        return by_key(found).get(key or "")

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        finding = self._finding
        if event.data_table.id == "findings" and finding is not None:
            self.helm.look_into(finding)

    def action_explain(self) -> None:
        finding = self._finding
        if finding is None:
            self.notify("No finding is under the cursor.", markup=False, timeout=4)
        else:
            self.app.push_screen(FindingNote(finding, self.helm.look_into), self._answered)

    def on_click(self, event: events.Click) -> None:
        """A subscription has no cursor here; a click opens it."""
        table, row = self.query_one("#subscriptions", Ledger), event.style.meta.get("row", -1)
        if event.widget is table and 0 <= row < table.row_count:
            self.app.push_screen(SubscriptionRoom(self.helm, str(table.ordered_rows[row].key.value)))

    def action_cure(self) -> None:
        finding = self._finding
        action = cure(finding) if finding is not None else None
        if action is not None:
            self.helm.act(action)
        elif finding is not None:
            self.notify(f"No act cures it: {formats.clean(finding.remedy, 300)}", markup=False, timeout=8)

    def _answered(self, action: Action | None) -> None:
        if action is not None:
            self.helm.act(action)

    def action_requeue(self) -> None:
        snapshot = self.view.snapshot if self.view else None
        self.helm.choose("Requeue", requeue_choices(snapshot), "Nothing is stuck or dead.")

    def action_purge(self) -> None:
        self.helm.act(Action("purge_expired", ""))

    def as_command(self) -> str:
        finding = self._finding
        return finding.command if finding is not None and finding.command else "pgops status"
