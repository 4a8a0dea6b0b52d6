"""One subscription: who holds its parts, the keys that are held back, and the events put aside. Enter shows one in
full; R tries again, D gives up, K holds a key back or lets it go."""

import json
from collections import Counter

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Static

from pgops.errors import NotFoundError, PgopsError
from pgops.ops.act.actions import Action
from pgops.services.models import ParkedEvent, ParkedKey
from pgops.tui import formats
from pgops.tui.commands import parked_command, subscription_command
from pgops.tui.keymap import keys
from pgops.tui.screens.ask import failure
from pgops.tui.screens.base import Choice, Helm, Room
from pgops.tui.screens.modal import Note
from pgops.tui.source import SubscriptionView
from pgops.tui.theme import QUIET, WARN
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import Piece, ink, number, plain
from pgops.tui.widgets.ledger import Column, Ledger, Line

LIMIT = 1_000
PARKED = (
    Column("id", "id", 9, right=True),
    Column("state", "state", 11),
    Column("key", "key", 16),
    Column("type", "type", 16, from_width=100),
    Column("topic", "topic", 14, from_width=120),
    Column("tried", "tried", 6, right=True),
    Column("age", "for", 7, right=True),
    Column("error", "why", 0),
)


def event_line(one: ParkedEvent, age_s: float, held: bool) -> Line:
    """A parked event as a row."""
    event = one.event
    key, type, topic = (formats.clean(text or formats.UNKNOWN, 60) for text in (event.key, event.type, event.topic))
    state: Piece = ("‖ held", "warn") if held else ("✕ refused", "bad") if one.attempts else ("○ waits", "quiet")
    why = formats.clean(one.error, 200)
    cells = (
        number(str(event.id)), ink(state), ink(key), ink((type, "quiet")), ink((topic, "quiet")),
        number(f"{one.attempts:,}"), number(formats.duration(age_s)), ink((why, "quiet")),
    )  # fmt: skip
    raw = {"key": event.key, "type": event.type, "topic": event.topic, "error": one.error}
    order = (event.id, str(state[0]), key, type, topic, one.attempts, age_s, why)
    return Line(str(event.id), cells, order, str(event.id), raw=raw)


def key_line(one: ParkedKey, age_s: float) -> Line:
    """A key that is held by hand, as a row."""
    key, why = formats.clean(one.key, 60), formats.clean(one.reason or "held by hand", 200)
    unknown = number(formats.UNKNOWN)
    cells = (
        unknown, ink(("‖ key", "warn")), ink(key), ink(""), ink(""), unknown, number(formats.duration(age_s)),
        ink(f"{why}: {one.waiting:,} wait"),
    )  # fmt: skip
    return Line(f"key {one.key}", cells, (0, "", key, "", "", 0, age_s, why), one.key)


def about(view: SubscriptionView) -> Text:
    """Its settings, and who holds its parts."""
    one = view.subscription
    first = ink(
        ("takes ", "quiet"), _names(one.topics, "topic"), (" of ", "quiet"), _names(one.types, "type"),
        (", refused ", "quiet"), f"{one.attempts}x", (" its key ", "quiet"),
        "waits" if one.poison == "park" else "goes on", ("  to ", "quiet"),
        formats.clean(one.sink, 80) or "a sink that is not said",
    )  # fmt: skip
    owners = Counter(part.owner for part in view.parts)
    nobody = owners.pop(None, 0)
    held: list[Piece] = [
        piece for owner, count in sorted(owners.items(), key=lambda pair: str(pair[0]))
        for piece in (("● ", "good"), f"{formats.clean(str(owner), 40)} ", (f"{count} parts  ", "quiet"))
    ]  # fmt: skip
    if nobody:
        held.append((f"○ {nobody} parts free  ", "warn" if owners else "quiet"))
    if one.replaying:
        held.append(("↺ replaying", "accent"))
    if one.paused:
        held.append(("‖ paused", "warn"))
    return Text("\n").join((first, ink(*held)))


def _names(names: tuple[str, ...] | None, what: str) -> str:
    return f"every {what}" if names is None else formats.clean(", ".join(names), 60)


class EventNote(Note[None]):
    """One parked event in full."""

    BINDINGS = keys("copy", "command")

    def __init__(self, one: ParkedEvent, of: str) -> None:
        super().__init__(f"event {one.event.event_id}")
        self.one = one
        self._of = of

    def inside(self) -> ComposeResult:
        event = self.one.event
        words = ink(
            ("topic ", "quiet"), formats.clean(event.topic, 60), ("  type ", "quiet"), formats.clean(event.type, 60),
            ("  key ", "quiet"), formats.clean(event.key or "none", 60),
        )  # fmt: skip
        with VerticalScroll(classes="words", can_focus=False):
            yield Static(words, markup=False)
            yield Static(formats.clean_lines(self.one.error, 4_000), markup=False)
            yield Static(formats.clean_lines(_json(event.payload_json, 2)), markup=False)
            yield Static(formats.clean_lines(_json(event.headers_json, 2)), markup=False)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(_json(self.one.event.payload_json))
        self.notify("the payload", title="Copied", markup=False, timeout=3)

    def as_command(self) -> str:
        return parked_command(self._of)


class SubscriptionRoom(Room):
    """Fetched after each snapshot; a fetch that is still under way is not doubled."""

    BINDINGS = keys("filter", "unpark", "discard_parked", "hold_key", "replay")
    room = "outbox"

    def __init__(self, helm: Helm, name: str) -> None:
        super().__init__(helm, name)
        self._of = name
        self._seen: SubscriptionView | None = None
        self._fetching = False

    def furniture(self) -> ComposeResult:
        yield Static("looking…", id="about", markup=False)
        table = Ledger(PARKED, id="parked", sort="id")
        table.border_title = plain(f"put aside for {formats.clean(self._of, 60)}")
        yield table
        yield Static(id="empty", classes="-hidden", markup=False)
        yield Filter()

    def observed(self) -> None:
        if not self._fetching:
            self._fetching = True
            self.run_worker(self._fetch(), exit_on_error=False)

    async def _fetch(self) -> None:
        try:
            self._fill(await self.helm.source.subscription(self._of, LIMIT))
        except NotFoundError as error:
            gone = Text(f"○ {formats.clean(error)}; this is how it was last seen", WARN)
            empty = self.query_one("#empty", Static)
            empty.update(gone if self._seen is not None else failure(error))
            empty.remove_class("-hidden")
        except PgopsError as error:
            self.query_one("#about", Static).update(failure(error))
        finally:
            self._fetching = False

    def _fill(self, seen: SubscriptionView) -> None:
        self._seen = seen
        moment = self.view.snapshot.taken_at if self.view and self.view.snapshot else seen.subscription.advanced_at
        held = {one.key for one in seen.held}
        note = self.note_of(EventNote)
        there = {one.event.id for one in seen.parked}
        if note is not None and len(there) < LIMIT and note.one.event.id not in there:
            note.vanished("the event is put aside no longer")
        lines = [key_line(one, (moment - one.parked_at).total_seconds()) for one in seen.held]
        lines += [
            event_line(one, (moment - one.parked_at).total_seconds(), one.event.key in held) for one in seen.parked
        ]
        with self.app.batch_update():
            self.query_one("#about", Static).update(about(seen))
            self.filtered.show(lines)
            empty = self.query_one("#empty", Static)
            empty.set_class(bool(lines), "-hidden")
            empty.update(Text("○ nothing is put aside: its sink takes all", QUIET))

    @property
    def filtered(self) -> Ledger:
        return self.query_one("#parked", Ledger)

    @property
    def _event(self) -> ParkedEvent | None:
        at = self.filtered.current or ""
        return next((one for one in self._seen.parked if str(one.event.id) == at), None) if self._seen else None

    @property
    def _key(self) -> str | None:
        at = self.filtered.current or ""
        return at.removeprefix("key ") if at.startswith("key ") else self._event.event.key if self._event else None

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if (one := self._event) is not None:
            self.app.push_screen(EventNote(one, self._of))

    def action_unpark(self) -> None:
        choices = [Choice("all that is put aside", Action("outbox_unpark", self._of))] if self._parked else []
        if (key := self._key) is not None:
            choices.append(Choice(f"key {formats.clean(key, 60)} alone", Action("outbox_unpark", self._of, key=key)))
        self.helm.choose("Try again", choices, "Nothing is put aside.")

    def action_discard_parked(self) -> None:
        """The marked events, or the one under the cursor."""
        ids = tuple(sorted(int(line.key) for line in self.filtered.meant if line.key.isdigit()))
        act = [Choice("discard", Action("outbox_discard", self._of, ids))] if ids else []
        self.helm.choose("Give up", act, "There is no event under the cursor.")

    def action_hold_key(self) -> None:
        key = self._key
        if key is None:
            self.helm.choose(
                "Hold a key", [], f"No key under the cursor; by its name: pgops outbox park {self._of} KEY"
            )
            return
        held = self._seen is not None and key in {one.key for one in self._seen.held}
        self.helm.act(Action("outbox_unpark" if held else "outbox_park", self._of, key=key))

    def action_replay(self) -> None:
        self.helm.offer("replay", self._of)

    @property
    def _parked(self) -> bool:
        return self._seen is not None and bool(self._seen.parked)

    def as_command(self) -> str:
        return subscription_command(self._of)


def _json(text: str, indent: int | None = None) -> str:
    return json.dumps(json.loads(text), ensure_ascii=False, indent=indent)
