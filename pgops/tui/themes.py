"""The themes beside the night's: day, for a light terminal, and mono, of greys alone; and how text gets their inks.

Text is written in the night's inks (theme.py). Where another theme is on, the lines that are drawn have each of these
exchanged for what the theme has in its place; a widget that mixes a colour asks `ink_of` first.
"""

from collections.abc import Mapping

from rich.color import Color as RichColor
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

from pgops.tui.theme import ACCENT, BAD, GOOD, GROUND, INK, NIGHT, QUIET, WARN

_INKS = (INK, QUIET, ACCENT, GOOD, WARN, BAD, GROUND)
PREFIX = "pgops-"


def _made(name: str, inks: tuple[str, ...], grounds: tuple[str, str, str, str], lines: tuple[str, str], *, dark: bool
          ) -> Theme:  # fmt: skip
    """A theme of these inks; `grounds` go from the page to what stands out most, `lines` are of a border with and
    without the focus."""
    ink, quiet, accent, good, warn, bad, faint = inks
    page, surface, panel, chosen = grounds
    line, blurred = lines
    return Theme(
        name=PREFIX + name, primary=accent, secondary=line, accent=accent, foreground=ink, background=page,
        surface=surface, panel=panel, boost=panel, success=good, warning=warn, error=bad, dark=dark,
        variables={
            "quiet": quiet,
            "line": blurred,
            "block-cursor-background": chosen,
            "block-cursor-foreground": ink,
            "block-cursor-text-style": "none",
            "block-cursor-blurred-background": panel,
            "block-cursor-blurred-foreground": ink,
            "footer-background": page,
            "footer-key-foreground": accent,
            "footer-description-foreground": quiet,
            "border": line,
            "border-blurred": blurred,
            "scrollbar": faint,
            "scrollbar-hover": line,
            "scrollbar-active": line,
            "scrollbar-background": page,
            "scrollbar-background-hover": page,
            "scrollbar-background-active": page,
            "scrollbar-corner-color": page,
            "input-selection-background": f"{accent} 30%",
        },
    )  # fmt: skip


_INKS_OF = {
    NIGHT.name: _INKS,
    f"{PREFIX}day": ("#27313b", "#66727e", "#1d5f9c", "#2c7338", "#8f5a06", "#b4302f", "#d5d9dd"),
    f"{PREFIX}mono": ("#cfcfcf", "#8c8c8c", "#f2f2f2", "#cfcfcf", "#ffffff", "#ffffff", "#3a3a3a"),
}
DAY = _made(
    "day", _INKS_OF["pgops-day"], ("#fbfaf8", "#f5f4f1", "#eceae6", "#d3e3f3"), ("#7d9cba", "#d5d9dd"), dark=False
)
MONO = _made(
    "mono", _INKS_OF["pgops-mono"], ("#111111", "#181818", "#222222", "#3d3d3d"), ("#9a9a9a", "#3a3a3a"), dark=True
)
THEMES = {theme.name.removeprefix(PREFIX): theme for theme in (NIGHT, DAY, MONO)}


def ink_of(theme: str, ink: str) -> str:
    """What stands for one of the night's inks in the theme of this name."""
    return dict(zip(_INKS, _INKS_OF.get(theme, _INKS), strict=True)).get(ink, ink)


class Inks(LineFilter):
    """Exchanges the night's inks for a theme's."""

    def __init__(self, theme: str) -> None:
        super().__init__(enabled=theme in _INKS_OF and theme != NIGHT.name)
        pairs = zip(_INKS, _INKS_OF.get(theme, _INKS), strict=True)
        self._of: Mapping[ColorTriplet, RichColor] = {
            Color.parse(night).rich_color.get_truecolor(): Color.parse(ours).rich_color for night, ours in pairs
        }

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(one.text, self._inked(one.style), one.control) for one in segments]

    def _inked(self, style: Style | None) -> Style | None:
        if style is None:
            return None
        ink, ground = self._ours(style.color), self._ours(style.bgcolor)
        return style if ink is None and ground is None else style + Style.from_color(ink, ground)

    def _ours(self, colour: RichColor | None) -> RichColor | None:
        return None if colour is None or colour.triplet is None else self._of.get(colour.triplet)
