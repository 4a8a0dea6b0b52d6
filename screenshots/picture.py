"""A screenshot as PNG, for readers that show no SVG: `python screenshots/picture.py [NAME.svg …]`.

It is drawn by rsvg-convert (Debian: librsvg2-bin) in DejaVu Sans Mono (fonts-dejavu-core), or by cairosvg. Both drop
the blanks that a text begins with and know no width of a text, so every word gets a place of its own first; and bars
are drawn as what they are, for a font leaves gaps between its blocks.
"""

import html
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CELL, LINE, ABOVE = 12.2, 24.4, 18.5
FONT = "font-family: DejaVu Sans Mono, monospace;\n        font-size: 20.26px;"
BLOCKS = "▁▂▃▄▅▆▇█"
_TEXT = re.compile(r'<text class="([^"]+)" x="([\d.]+)" y="([\d.]+)" textLength="[\d.]+"[^>]*>([^<]*)</text>')
_WORD = re.compile(rf"[{BLOCKS}]|[^\s{BLOCKS}]+")
SHARP = 'shape-rendering="crispEdges"'
MISSING = (
    "no PNG without rsvg-convert (apt-get install librsvg2-bin fonts-dejavu-core) or cairosvg (pip install cairosvg)"
)


def words(svg: str) -> str:
    """The same picture with every word where it belongs, in a font that is as wide as a cell."""
    svg = re.sub(r"font-family: Fira Code, monospace;\s*font-size: 20px;", FONT, svg)
    return _TEXT.sub(_placed, re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))


def _placed(found: re.Match[str]) -> str:
    name, x, y, text = found[1], float(found[2]), float(found[3]), html.unescape(found[4])
    return "".join(_word(name, x + CELL * word.start(), y, word[0]) for word in _WORD.finditer(text))


def _word(name: str, x: float, y: float, word: str) -> str:
    if word in BLOCKS:
        height = LINE * (BLOCKS.index(word) + 1) / len(BLOCKS)
        top = y - ABOVE + LINE - height
        return f'<rect class="{name}" x="{x:.2f}" y="{top:.2f}" width="{CELL}" height="{height:.2f}" {SHARP}/>'
    return f'<text class="{name}" x="{x:.2f}" y="{y}">{html.escape(word)}</text>'


def drawn_by() -> Callable[[str, Path], object]:
    """What draws. Exits with the names of those that can where there is none."""
    if program := shutil.which("rsvg-convert"):
        return lambda text, png: subprocess.run([program, "--output", png], input=text.encode(), check=True)
    try:
        from cairosvg import svg2png
    except ImportError:
        sys.exit(MISSING)
    return lambda text, png: svg2png(bytestring=text.encode(), write_to=str(png))


def draw(svg: Path) -> None:
    """The PNG beside it."""
    drawn_by()(words(svg.read_text(encoding="utf-8")), svg.with_suffix(".png"))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        draw(Path(name))
