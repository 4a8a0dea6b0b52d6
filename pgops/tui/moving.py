"""Movement by letters and by half pages, in whatever has the focus: a table, a tree, a list, or words that scroll."""

from collections.abc import Callable
from typing import Literal

from textual.widget import Widget
from textual.widgets import DataTable, OptionList, Tree

Way = Literal["down", "up", "top", "bottom", "half_down", "half_up"]


def move(at: Widget | None, way: Way) -> bool:
    """Move the cursor of `at`, or its content; whether there is anything that moves."""
    if isinstance(at, DataTable | Tree | OptionList):
        _moves(at)[way]()
        return True
    if at is None or not at.allow_vertical_scroll:
        return False
    half = max(at.scrollable_content_region.height // 2, 1)
    if way in ("top", "bottom"):
        at.scroll_to(y=0 if way == "top" else at.max_scroll_y, animate=False)
    else:
        step = {"down": 1, "up": -1, "half_down": half, "half_up": -half}[way]
        at.scroll_relative(y=step, animate=False)
    return True


def _moves(at: "DataTable[object] | Tree[object] | OptionList") -> dict[Way, Callable[[], object]]:
    half = max(at.scrollable_content_region.height // 2, 1)
    top, bottom = _ends(at)
    down, up = at.action_cursor_down, at.action_cursor_up
    return {
        "down": down, "up": up, "top": top, "bottom": bottom,
        "half_down": lambda: [down() for _ in range(half)], "half_up": lambda: [up() for _ in range(half)],
    }  # fmt: skip


def _ends(at: "DataTable[object] | Tree[object] | OptionList") -> tuple[Callable[[], object], Callable[[], object]]:
    if isinstance(at, OptionList):
        return at.action_first, at.action_last
    if isinstance(at, DataTable):
        return at.action_scroll_top, at.action_scroll_bottom
    return at.action_scroll_home, at.action_scroll_end
