"""The README's table of a run of peers.py: `python tests/bench/report.py peers.json [--plot screenshots/peers.svg]`.

It reads the document and nothing else, so the table and the picture of one run show the same figures.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import plot

RATES = {
    "enqueue": "enqueue",
    "drain": "drain",
    "held": "drain, a writer forgotten",
    "held_last_fifth": "its last fifth",
    "reader": "drain, a reader idle",
    "locks": "drain, a reader idle without a snapshot",
}
LATENCY = tuple(f"latency_p{share}_ms" for share in (50, 95, 99))
LATENCY_HEAD = "enqueue to start, ms: p50 / p95 / p99"
SETTINGS = ("fsync", "synchronous_commit", "shared_buffers")


def table(document: dict[str, Any]) -> str:
    """The figures in Markdown, a row a contestant; what nobody has measured has no column."""
    contestants = document["contestants"]
    measured = {figure for one in contestants for figure in one["runs"]}
    columns = [figure for figure in RATES if figure in measured]
    heads = ["", *(RATES[figure] for figure in columns), *([LATENCY_HEAD] if measured & set(LATENCY) else [])]
    lines = [row(heads), row(["---"] * len(heads))]
    for one in contestants:
        cells = [rate(one["runs"], figure) for figure in columns]
        if measured & set(LATENCY):
            cells.append(latency(one["runs"]))
        lines.append(row([how(one, document["environment"]["libraries"]), *cells]))
    return "\n".join(lines)


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def how(one: dict[str, Any], libraries: dict[str, str]) -> str:
    """Who it is, and how it works."""
    its_version = next((number for library, number in libraries.items() if library.startswith(one["name"])), "")
    name = " ".join(filter(None, [one["name"], its_version]))
    said = f"{name}: {'; '.join(filter(None, [one['enqueues'], one['drains'], one['waits']]))}"
    return f"{said}; failed: {one['failed']}" if one["failed"] else said


def rate(runs: dict[str, list[float]], figure: str) -> str:
    """Median and range; of a last fifth also what that is of the free drain. A dash where nothing was measured."""
    values = runs.get(figure)
    if not values:
        return "–"
    share = ""
    if figure == "held_last_fifth" and runs.get("drain"):
        share = f", {median(values) / median(runs['drain']):.0%} of free"
    return f"{short(median(values))}{spread(values)}{share}"


def spread(values: Sequence[float]) -> str:
    return f" ({short(min(values))}–{short(max(values))})" if len(values) > 1 else ""


def short(value: float) -> str:
    """Three digits that count."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def latency(runs: dict[str, list[float]]) -> str:
    """The medians of the runs' percentiles."""
    if not all(runs.get(figure) for figure in LATENCY):
        return "–"
    return " / ".join(f"{median(runs[figure]):.1f}" for figure in LATENCY)


def caption(document: dict[str, Any]) -> str:
    """What was done where, by which command."""
    where, params = document["environment"], document["params"]
    shares = [f"{one['name']} {one['jobs']:,}" for one in document["contestants"] if one["jobs"] != params["jobs"]]
    jobs = f"{params['jobs']:,} jobs" + (f" ({', '.join(shares)})" if shares else "")
    settings = ", ".join(f"{name} {where['settings'][name]}" for name in SETTINGS)
    libraries = ", ".join(f"{name} {number}" for name, number in where["libraries"].items())
    return (
        f"`{document['command']}`: jobs a second, {jobs}, medians of {params['runs']} runs with the lowest and the "
        f"highest; a drain that is held back was cut off after {params['held_seconds']:g} s. PostgreSQL "
        f"{where['versions']['postgresql']}, {settings}; {where['cpus']} CPUs ({where['machine']}), load "
        f"{where['load_1m']:.1f} before; pgops {where['revision']}{', ' if libraries else ''}{libraries}; "
        f"{document['taken_at'][:10]}."
    )


def show(document: dict[str, Any], path: Path | None = None) -> None:
    """On stdout, and into a file where one is given."""
    text = f"{table(document)}\n\n{caption(document)}\n"
    sys.stdout.write(text)
    if path is not None:
        path.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document", type=Path, help="what peers.py --json has written")
    parser.add_argument("--table", type=Path, metavar="FILE", help="where the Markdown goes too, besides stdout")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where the picture goes, an SVG")
    given = parser.parse_args()
    document = json.loads(given.document.read_text(encoding="utf-8"))
    show(document, given.table)
    if given.plot:
        given.plot.write_text(plot.svg(document), encoding="utf-8")


if __name__ == "__main__":
    main()
