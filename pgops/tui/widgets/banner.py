"""The line that says what is wrong with the whole: the connection is lost, the schema is not this program's, or another
server answers."""

from rich.text import Text
from textual.widgets import Static

from pgops.ops.observe.snapshot import Unavailable
from pgops.tui import formats
from pgops.tui.feed import View
from pgops.tui.theme import BAD, INK, QUIET, WARN

# So much of a reason leaves room for when it is tried again, also in a narrow terminal.
MOST = 110


def words(view: View) -> Text | None:
    """What to say, or None where all is well."""
    if view.lost is not None:
        lost = view.lost
        retry = "trying now…" if lost.retry_in_s is None else f"trying again in {lost.retry_in_s:.0f} s"
        text = Text.assemble((f"✕ {formats.clean(lost.reason, MOST)}", BAD), (f"\n  {retry}", INK))
        if view.snapshot is not None:
            text.append(f" · last seen {formats.clock(view.snapshot.taken_at)} UTC", QUIET)
        if lost.hint:
            text.append(f" · {formats.clean(lost.hint, 300)}", QUIET)
        return text
    if view.schema is not None:
        return Text.assemble(
            (f"◆ {formats.clean(view.schema.words, 200)}", WARN), ("  ", ""), (formats.clean(view.schema.remedy), INK)
        )
    queues = view.snapshot.queues if view.snapshot else None
    if isinstance(queues, Unavailable) and "migrate" in queues.remedy:
        return Text.assemble(
            (f"◆ {formats.clean(queues.reason, 200)}", WARN), ("  ", ""), (formats.clean(queues.remedy, 200), INK)
        )
    if view.news is not None:
        return Text.assemble((f"● {view.news.words}", INK), (f"  seen {formats.clock(view.news.at)} UTC", QUIET))
    return None


class Banner(Static):
    """Hidden where all is well."""

    def __init__(self) -> None:
        super().__init__(markup=False)

    def show(self, view: View) -> None:
        text = words(view)
        self.set_class(text is None, "-hidden")
        self.set_class(view.lost is not None, "-lost")
        if text is not None:
            self.update(text)
