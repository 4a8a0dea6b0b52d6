"""What stands where a table would be: nothing there yet, and the first command to try; or why it cannot be had."""

from collections.abc import Sequence

from rich.text import Text

from pgops.ops.observe.snapshot import Unavailable
from pgops.tui import formats
from pgops.tui.theme import ACCENT, INK, QUIET


def emptiness(part: Sequence[object] | Unavailable, nothing: str, command: str, about: str = "") -> Text | None:
    """The words, or None where the part has something to show."""
    if isinstance(part, Unavailable):
        return Text.assemble(
            ("◌ unavailable\n\n", QUIET), (f"{formats.clean(part.reason)}\n", INK),
            (f"→ {formats.clean(part.remedy)}" if part.remedy else "", ACCENT),
        )  # fmt: skip
    if part:
        return None
    return Text.assemble((f"○ {nothing}\n", INK), (f"{about}\n\n", QUIET), ("try  ", QUIET), (command, ACCENT))
