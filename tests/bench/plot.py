"""The picture of a run of peers.py: how fast each drains, free and held back, as an SVG for a README.

Written by hand, for it is bars and words: no library to install, and a file of a few kilobytes that a diff can show.
It stands on a card of its own, light or dark as the reader's system is.
"""

from html import escape
from statistics import median
from typing import Any

WIDTH, LEFT, RIGHT, TOP = 860, 210, 90, 92
BAR, GAP, BETWEEN, FOOT = 13, 2, 14, 20
SERIES = {"drain": "nobody in the way", "held": "a writer forgotten", "reader": "a reader idle"}
TITLE = "Jobs drained a second by one worker process"
STYLE = """
  .card { fill: #ffffff; stroke: #d0d7de } text { fill: #1f2328; font: 13px system-ui, sans-serif }
  .title { font-weight: 600; font-size: 16px } .small { fill: #59636e; font-size: 12px } .name { text-anchor: end }
  .drain { fill: #0969da } .held { fill: #d4760a } .reader { fill: #2da187 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #3d444d } text { fill: #f0f6fc } .small { fill: #9198a1 }
    .drain { fill: #4493f8 } .held { fill: #e3963e } .reader { fill: #3fb99c }
  }"""


def svg(document: dict[str, Any]) -> str:
    """A group of bars a contestant, as long as its medians are high."""
    bars = {one["name"]: medians(one["runs"]) for one in document["contestants"]}
    longest = max((value for its in bars.values() for value in its.values()), default=0.0) or 1.0
    parts, y = [], TOP
    for name, its in bars.items():
        if its:
            parts += group(name, its, y, (WIDTH - LEFT - RIGHT) / longest)
            y += len(its) * (BAR + GAP) + BETWEEN
    height = y + FOOT - BETWEEN
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">',
        f"<title>{escape(TITLE)}</title>",
        f"<style>{STYLE}\n</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        f'<text class="title" x="20" y="32">{escape(TITLE)}</text>',
        f'<text class="small" x="20" y="51">{escape(below_the_title(document))}</text>',
        *legend([figure for figure in SERIES if any(figure in its for its in bars.values())]),
        *parts,
        "</svg>\n",
    ])  # fmt: skip


def medians(runs: dict[str, list[float]]) -> dict[str, float]:
    return {figure: median(runs[figure]) for figure in SERIES if runs.get(figure)}


def group(name: str, its: dict[str, float], y: int, scale: float) -> list[str]:
    """The name in the middle of its bars, each with its figure behind it."""
    middle = y + (len(its) * (BAR + GAP) - GAP) / 2
    parts = [f'<text class="name" x="{LEFT - 10}" y="{middle + 4.5:.1f}">{escape(name)}</text>']
    for number, (figure, value) in enumerate(its.items()):
        top, width = y + number * (BAR + GAP), max(value * scale, 1.0)
        parts.append(f'<rect class="{figure}" x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR}" rx="1.5"/>')
        figure_at = f'x="{LEFT + width + 6:.1f}" y="{top + 10.5}"'
        parts.append(f'<text class="small" {figure_at}>{float(f"{value:.3g}"):,.0f}</text>')
    return parts


def legend(figures: list[str]) -> list[str]:
    parts = []
    for number, figure in enumerate(figures):
        x = LEFT + number * 160
        parts.append(f'<rect class="{figure}" x="{x}" y="66" width="{BAR}" height="{BAR}" rx="1.5"/>')
        parts.append(f'<text x="{x + BAR + 6}" y="77">{escape(SERIES[figure])}</text>')
    return parts


def below_the_title(document: dict[str, Any]) -> str:
    where = document["environment"]
    return (
        f"Up to {document['params']['jobs']:,} jobs that do nothing, PostgreSQL {where['versions']['postgresql']}, "
        f"fsync {where['settings']['fsync']}, {where['cpus']} CPUs; Redis and RabbitMQ as servers of their own"
    )
