"""Whether this terminal is to be drawn without colour: asked for by NO_COLOR, or one that has none.

What is told by colour is told by a word or a glyph too; what is selected is turned over (reverse) then.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

HAVE_NONE = ("dumb", "unknown", "vt52", "vt100", "vt102", "vt220", "vt320")


def colorless(env: Mapping[str, str]) -> bool:
    """NO_COLOR with anything in it, or a terminal that knows fewer than eight colours."""
    term = env.get("TERM", "")
    if env.get("NO_COLOR") or term in HAVE_NONE or term.endswith(("-m", "-mono")):
        return True
    known = _colors_of(term)
    return known is not None and known < 8


@contextmanager
def asked_for_none(color: bool) -> Iterator[None]:
    """As if NO_COLOR had been set, which an app reads when it is made, unless there is `color`."""
    before = os.environ.get("NO_COLOR")
    if not color:
        os.environ["NO_COLOR"] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("NO_COLOR", None)
        else:
            os.environ["NO_COLOR"] = before


def _colors_of(term: str) -> int | None:
    """What terminfo says; None where there is none, or it does not know the terminal."""
    try:
        import curses

        curses.setupterm(term, 1)
        return max(curses.tigetnum("colors"), 0)
    except Exception:
        return None
