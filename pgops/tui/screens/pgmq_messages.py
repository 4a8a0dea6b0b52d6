"""The messages of one queue of pgmq, looked at without reading them. Enter shows one in full; R and X act."""

import json
from datetime import datetime

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Static

from pgops.services.models import PgmqMessage
from pgops.tui import formats
from pgops.tui.commands import peek_command
from pgops.tui.keymap import keys
from pgops.tui.screens.base import Helm
from pgops.tui.screens.fetched import Fetched
from pgops.tui.screens.modal import Note
from pgops.tui.screens.pgmq import source_of
from pgops.tui.theme import QUIET
from pgops.tui.widgets.filter import Filter
from pgops.tui.widgets.ink import ink, number, plain
from pgops.tui.widgets.ledger import Column, Ledger, Line

LIMIT = 100
MESSAGES = (
    Column("id", "id", 9, right=True),
    Column("state", "state", 9),
    Column("read", "read", 5, right=True),
    Column("age", "age", 7, right=True),
    Column("hidden", "hidden", 7, right=True),
    Column("payload", "payload", 0),
)


def message_line(one: PgmqMessage, now: datetime) -> Line:
    """A message as a row; `hidden` is for how long nobody else sees it."""
    age, hidden = (now - one.enqueued_at).total_seconds(), (one.vt - now).total_seconds()
    if hidden <= 0:
        state, cell = "ready", ink("○ ready")
    elif one.read_ct:
        state, cell = "out", ink(("● out", "accent"))
    else:
        state, cell = "delayed", ink(("◔ delayed", "quiet"))
    payload = formats.compact_json(one.payload)
    cells = (
        number(str(one.msg_id)), cell, number(f"{one.read_ct:,}"), number(formats.duration(max(age, 0.0))),
        number(formats.duration(hidden) if hidden > 0 else formats.UNKNOWN), ink((payload, "quiet")),
    )  # fmt: skip
    return Line(
        str(one.msg_id),
        cells,
        (one.msg_id, state, one.read_ct, age, hidden, payload),
        str(one.msg_id),
        raw={"payload": one.payload},
    )


def about(one: PgmqMessage) -> Text:
    """A message in two lines: its moments, and what stands beside it."""
    first = ink(
        ("sent ", "quiet"), formats.stamp(one.enqueued_at), ("  visible from ", "quiet"), formats.stamp(one.vt),
        ("  read ", "quiet"), f"{one.read_ct:,}",
    )  # fmt: skip
    second = ink(("headers ", "quiet"), formats.UNKNOWN if one.headers is None else formats.compact_json(one.headers))
    return Text("\n").join((first, second))


class MessageNote(Note[None]):
    """One message in full."""

    BINDINGS = keys("copy", "command")

    def __init__(self, message: PgmqMessage) -> None:
        super().__init__(f"{formats.clean(message.queue, 60)} › {message.msg_id}")
        self.message = message

    def inside(self) -> ComposeResult:
        with VerticalScroll(classes="words", can_focus=False):
            yield Static(about(self.message), markup=False)
            yield Static(formats.clean_lines(_json(self.message, 2)), markup=False)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(_json(self.message))
        self.notify("the payload", title="Copied", markup=False, timeout=3)

    def as_command(self) -> str:
        return peek_command(self.message.queue)


class MessagesRoom(Fetched):
    """Fetches the messages after each snapshot; a fetch that is still under way is not doubled."""

    BINDINGS = keys("filter", "redrive", "empty")
    room = "queues"

    def __init__(self, helm: Helm, queue: str) -> None:
        super().__init__(helm, f"{queue} of pgmq")
        self._queue = queue
        self._messages: dict[str, PgmqMessage] = {}

    def furniture(self) -> ComposeResult:
        yield Static("looking…", id="empty", markup=False)
        table = Ledger(MESSAGES, id="messages")
        table.border_title = plain(f"the first {LIMIT} messages of {formats.clean(self._queue, 60)}")
        yield table
        yield Filter()
        yield Static(id="about", markup=False)

    async def fetch(self) -> None:
        messages = await self.helm.source.pgmq_messages(self._queue, LIMIT)
        self._messages = {str(one.msg_id): one for one in messages}
        note, last = self.note_of(MessageNote), messages[-1].msg_id if len(messages) == LIMIT else None
        of_these = note is not None and (last is None or note.message.msg_id < last)
        if note is not None and of_these and str(note.message.msg_id) not in self._messages:
            note.vanished("the message is not in the queue any more")
        with self.app.batch_update():
            self.filtered.show([message_line(one, self.moment(one.enqueued_at)) for one in messages])
            self.say(None if messages else Text("○ no messages here", QUIET))
            self._chosen()

    @property
    def filtered(self) -> Ledger:
        return self.query_one("#messages", Ledger)

    @property
    def _message(self) -> PgmqMessage | None:
        return self._messages.get(self.filtered.current or "")

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._chosen()

    def _chosen(self) -> None:
        one, words = self._message, self.query_one("#about", Static)
        words.set_class(one is None, "-hidden")
        if one is not None:
            words.update(about(one))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if (one := self._message) is not None:
            self.app.push_screen(MessageNote(one))

    def action_redrive(self) -> None:
        self.helm.offer("redrive", source_of(self._queue))

    def action_empty(self) -> None:
        self.helm.offer("empty", self._queue)

    def as_command(self) -> str:
        return peek_command(self._queue)


def _json(one: PgmqMessage, indent: int | None = None) -> str:
    return json.dumps(one.payload, ensure_ascii=False, indent=indent)
