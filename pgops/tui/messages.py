"""What goes between the app, its screens and their widgets."""

from dataclasses import dataclass

from textual.message import Message

from pgops.tui.feed import View


@dataclass
class Observed(Message, bubble=False):
    """To the screen that is open: draw this."""

    view: View
