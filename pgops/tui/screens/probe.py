"""The probe of pub/sub: whether messages arrive, how fast, and if not, why."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from pgops.errors import PgopsError
from pgops.services.models import PubsubProbe
from pgops.services.probe_rules import verdict
from pgops.tui import formats
from pgops.tui.commands import probe_command
from pgops.tui.keymap import keys
from pgops.tui.screens.ask import failure
from pgops.tui.screens.modal import Note
from pgops.tui.source import Source
from pgops.tui.theme import ACCENT, BAD, GOOD, INK, QUIET, WARN


def told(found: PubsubProbe) -> Text:
    """What came of it, the verdict first."""
    text = Text()
    text.append(f"{'●' if found.ok else '▲'} {verdict(found)}\n\n", f"bold {GOOD if found.ok else BAD}")
    arrived = f"{found.received} of {found.sent}"
    p50 = formats.milliseconds(found.p50_ms)
    times = "" if found.p50_ms is None else f", p50 {p50}, max {formats.milliseconds(found.max_ms)}"
    facts = (
        ("listening", found.connect_ms is not None and f"after {formats.milliseconds(found.connect_ms)}"),
        ("commit → here", found.sent and f"{arrived}{times}"),
        ("queue", f"{'< 0.1%' if 0 < found.queue_usage < 0.001 else formats.ratio(found.queue_usage)} filled"),
    )
    for name, value in facts:
        if value:
            text.append(f"{name:<15}", QUIET)
            text.append(f"{value}\n", INK)
    if found.channel is not None:
        text.append(f"{'channel':<15}", QUIET)
        text.append(f"{formats.clean(found.channel, 63)}\n", INK)
    for one in found.listeners:
        text.append(f"{'listener':<15}", QUIET)
        text.append(f"pid {one.pid}  {formats.clean(one.application, 40)}  {one.state}\n", INK)
    for each in found.troubles:
        mark, tone = ("▲", BAD) if each.blocking else ("◆", WARN)
        text.append(f"\n{mark} {each.cause.replace('_', ' ')}\n", f"bold {tone}")
        text.append(f"{formats.clean(each.told)}\n", INK)
        text.append(f"→ {formats.clean(each.remedy)}\n", ACCENT)
    text.append("\nas a command\n", QUIET)
    text.append(formats.clean(probe_command(found.channel)), ACCENT)
    return text


class ProbeNote(Note[None]):
    """It probes when it opens, and once more at the key."""

    BINDINGS = keys("probe", "command")

    def __init__(self, source: Source, channel: str | None = None) -> None:
        super().__init__("pub/sub probe" if channel is None else f"pub/sub probe: {formats.clean(channel, 40)}")
        self._source = source
        self._channel = channel

    def inside(self) -> ComposeResult:
        with VerticalScroll(classes="words", can_focus=False):
            yield Static("probing…", id="told", markup=False)

    def on_mount(self) -> None:
        self.action_probe()

    def action_probe(self) -> None:
        self.query_one("#told", Static).update("probing…")
        self.run_worker(self._probe(), exclusive=True, exit_on_error=False)

    async def _probe(self) -> None:
        try:
            words = told(await self._source.probe(self._channel))
        except PgopsError as error:
            words = failure(error)
        self.query_one("#told", Static).update(words)

    def action_copy_command(self) -> None:
        words = probe_command(self._channel)
        self.app.copy_to_clipboard(words)
        self.notify(words, title="Copied as a command", markup=False, timeout=4)
