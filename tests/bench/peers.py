"""pgops beside other job queues: `pip install '.[bench]'`, then `python tests/bench/peers.py --json peers.json`.

The same work for all, in one run on one server, in four phases:

    drain     add a backlog, drain it with a handler that does nothing; from the first job on
    held      the same while somebody has forgotten a transaction that has written
    reader    the same while somebody's transaction, which only reads (repeatable read), stands idle
    latency   200 jobs a second from another process: from the call that adds one to the start of its handler

and a fifth when asked for: `locks`, an idle transaction that only reads under read committed and so holds no snapshot.
What those transactions hold back is said in contest.py. Each phase has a fresh database, the runs go round robin and
begin with another phase each, and the figures are medians with the lowest and the highest.

What comes out is one JSON document; the Markdown table on stdout is made from it by report.py, the picture by plot.py,
and both can be made again from the file alone. pytest does not collect this.
"""

import argparse
import asyncio
import json
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

import plot
import report
from contest import HOLDERS, Contestant, working
from entrants import ENTRANTS, LIBRARIES
from sender import sender

from pgops.bench.measure import quantile
from pgops.bench.run import environment
from pgops.bench.site import Q, open_server, scratch
from pgops.config import Target
from pgops.database import AsyncPool

POLL_S = 0.01
DRAIN_S, ARRIVE_S, WARM_S = 120.0, 10.0, 1.5
BACKLOG = {"drain": "nobody", "held": "writer", "reader": "reader", "locks": "locks"}
PHASES = (*BACKLOG, "latency")
USUAL = ("drain", "held", "reader", "latency")
Marks = list[tuple[float, int]]
Figures = dict[str, float]


async def drain_phase(entrant: Contestant, dsn: str, phase: str, given: argparse.Namespace) -> Figures:
    """A backlog, and how fast it is drained while somebody holds what the phase says."""
    jobs = given.jobs // entrant.share
    limit_s = DRAIN_S if phase == "drain" else given.held_seconds
    async with entrant.site(dsn) as address, entrant.connect(address):
        began = perf_counter()
        await entrant.enqueue(jobs)
        enqueued_s = perf_counter() - began
        if entrant.on_postgresql:
            async with AsyncPool.open(dsn, max_size=1) as db:
                await db.execute(Q["vacuum"])
        async with HOLDERS[BACKLOG[phase]](dsn):
            marks = await drained(entrant, jobs, limit_s)
    if phase == "drain" and marks[-1][1] < jobs:
        raise RuntimeError(f"only {marks[-1][1]:,} of {jobs:,} jobs were drained in {limit_s:.0f} s")
    return {"enqueue": jobs / enqueued_s, phase: rate(marks, 0), f"{phase}_last_fifth": rate(marks, 0.8)}


async def drained(entrant: Contestant, jobs: int, limit_s: float) -> Marks:
    """When how many were done, until all are or `limit_s` is over."""
    began = perf_counter()
    marks: Marks = [(0.0, 0)]
    async with working(entrant, entrant.drain()) as draining:
        while entrant.done < jobs and perf_counter() - began < limit_s and not draining.done():
            await asyncio.sleep(POLL_S)
            marks.append((perf_counter() - began, entrant.done))
    return marks


def rate(marks: Marks, share: float) -> float:
    """Jobs a second after the first `share` of the jobs done; 0: from the first one on, without the worker's start."""
    end_at, total = marks[-1]
    start_at, before = [mark for mark in marks if mark[1] <= total * share][-1]
    return (total - before) / (end_at - start_at) if end_at > start_at else 0.0


async def latency_phase(name: str, entrant: Contestant, dsn: str, seconds: float) -> Figures:
    """How long a job waits for its handler while there is little to do; the first ones, which warm up, do not count."""
    async with entrant.site(dsn) as address, entrant.connect(address), sender(name, address) as send:
        async with working(entrant, entrant.serve()) as serving:
            await arrived(entrant, await send(WARM_S, 1), serving)
            waited = await arrived(entrant, await send(seconds, 1), serving)
    return {f"latency_p{share}_ms": quantile(waited, share) for share in (50, 95, 99)}


async def arrived(entrant: Contestant, count: int, serving: "asyncio.Task[None]") -> list[float]:
    """How long each of `count` jobs has waited, once all were met. Raises RuntimeError where some do not come."""
    until = perf_counter() + ARRIVE_S
    while len(entrant.waited_ms) < count:
        if perf_counter() > until or serving.done():
            raise RuntimeError(f"only {len(entrant.waited_ms)} of {count} jobs were met")
        await asyncio.sleep(POLL_S)
    found, entrant.waited_ms = entrant.waited_ms, []
    return found


def measure(names: Sequence[str], server: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """All runs of all of them: how each does it, and a value a run of each figure, or why it failed."""
    results: dict[str, dict[str, Any]] = {}
    for name in names:
        entrant = ENTRANTS[name]()
        how = {"enqueues": entrant.enqueues, "drains": entrant.drains, "waits": entrant.waits}
        results[name] = {"name": name, **how, "jobs": given.jobs // entrant.share, "failed": "", "runs": {}}
    for turn in range(given.runs):
        for name, result in results.items():
            for phase in in_turn(given.phases, turn):
                if result["failed"] or not takes_part(ENTRANTS[name](), phase):
                    continue
                sys.stderr.write(f"run {turn + 1} of {given.runs}: {name}, {phase}")
                sys.stderr.flush()
                began = perf_counter()
                try:
                    figures = once(name, phase, server, given)
                except Exception as error:
                    result["failed"] = f"{phase}: {type(error).__name__}: {error}"
                    sys.stderr.write(f" failed: {error}")
                else:
                    for figure, value in figures.items():
                        result["runs"].setdefault(figure, []).append(value)
                sys.stderr.write(f", {perf_counter() - began:.1f} s\n")
    return list(results.values())


def once(name: str, phase: str, server: str, given: argparse.Namespace) -> Figures:
    """One phase of one contestant in a database of its own."""
    entrant = ENTRANTS[name]()
    with place(entrant, server) as dsn, asyncio.Runner(loop_factory=entrant.loop) as runner:
        if phase == "latency":
            return runner.run(latency_phase(name, entrant, dsn, given.latency_seconds))
        return runner.run(drain_phase(entrant, dsn, phase, given))


@contextmanager
def place(entrant: Contestant, server: str) -> Any:
    """A database, for those who need one."""
    if not entrant.on_postgresql:
        yield server
        return
    with scratch(server) as dsn:
        yield dsn


def in_turn(phases: Sequence[str], turn: int) -> list[str]:
    """The phases, another one first each turn."""
    start = turn % len(phases)
    return [*phases[start:], *phases[:start]]


def takes_part(entrant: Contestant, phase: str) -> bool:
    """Whether there is anything to measure."""
    return bool(entrant.waits) if phase == "latency" else phase == "drain" or entrant.on_postgresql


def libraries(names: Sequence[str]) -> dict[str, str]:
    """The versions of what takes part."""
    those = [libraries for peer, libraries in LIBRARIES.items() if any(name.startswith(peer) for name in names)]
    return {library: version(library) for library in chain(*those)}


def run(given: argparse.Namespace) -> dict[str, Any]:
    """The whole run as a JSON document."""
    names = given.only or list(ENTRANTS)
    with open_server(Target(given.dsn, "--dsn")) as server:
        with scratch(server) as dsn:
            where = environment(dsn, os.getloadavg()[0])
        taken_at = datetime.now(UTC).isoformat(timespec="seconds")
        found = measure(names, server, given)
    return {
        "taken_at": taken_at,
        "command": shlex.join(["python", "tests/bench/peers.py", *sys.argv[1:]]),
        "params": {
            "jobs": given.jobs, "runs": given.runs, "held_seconds": given.held_seconds,
            "latency_seconds": given.latency_seconds, "phases": given.phases,
        },
        "environment": asdict(where) | {"libraries": libraries(names)},
        "contestants": found,
    }  # fmt: skip


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=ENTRANTS, metavar="NAME", help=f"of {', '.join(ENTRANTS)}")
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=list(USUAL))
    parser.add_argument("--dsn", help="a server on which databases may be created; default: the embedded one")
    parser.add_argument("--jobs", type=int, default=60_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--held-seconds", type=float, default=8.0, help="how long a drain may take that is held back")
    parser.add_argument("--latency-seconds", type=float, default=3.0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the document goes")
    parser.add_argument("--table", type=Path, metavar="FILE", help="where the Markdown goes too, besides stdout")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where the picture goes, an SVG")
    return parser


def main() -> None:
    given = options().parse_args()
    logging.disable(logging.WARNING)
    try:
        document = run(given)
    except KeyboardInterrupt:
        sys.exit(130)
    if given.json:
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    report.show(document, given.table)
    if given.plot:
        given.plot.write_text(plot.svg(document), encoding="utf-8")


if __name__ == "__main__":
    main()
