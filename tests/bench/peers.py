"""pgops beside other job queues: `pip install '.[bench]'`, then `python tests/bench/peers.py`.

The same work for all, in one run on one server: enqueue, drain with a handler that does nothing, and drain again while
somebody holds back vacuum by a forgotten transaction. Each has a fresh database for each run, the runs go round robin,
and the figures are medians with the lowest and the highest. It prints one Markdown table; pytest does not collect it.
"""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median
from time import perf_counter

import contestants
import other_contestants
from contestants import Contestant

from pgops.bench.measure import held_xmin
from pgops.bench.run import environment
from pgops.bench.site import Q, open_server, scratch
from pgops.config import Target
from pgops.database import AsyncPool

POLL_S = 0.01
ENTRANTS: dict[str, Callable[[], Contestant]] = {
    "pgops": contestants.Pgops,
    "pgops, small batches": lambda: contestants.Pgops(batch=1_000),
    "pgmq": contestants.Pgmq,
    "pgqueuer": contestants.Pgqueuer,
    "procrastinate": contestants.Procrastinate,
    "awa": other_contestants.Awa,
    "Redis, one by one": lambda: other_contestants.Redis(1),
    "Redis, in batches": lambda: other_contestants.Redis(100),
    "RabbitMQ, single acks": lambda: other_contestants.RabbitMq(1),
    "RabbitMQ, multiple acks": lambda: other_contestants.RabbitMq(100),
}
LIBRARIES = ("pgmq", "pgqueuer", "procrastinate", "asyncpg", "awa-pg", "redis", "pika")
PHASES = ("enqueue", "drain", "held", "last_fifth")
Marks = list[tuple[float, int]]


@dataclass(slots=True)
class Result:
    """What was measured of one contestant, a value a run."""

    contestant: Contestant
    rates: dict[str, list[float]] = field(default_factory=lambda: {phase: [] for phase in PHASES})
    failed: str = ""


async def once(entrant: Contestant, dsn: str, jobs: int, held_s: float, result: Result) -> None:
    """All phases of one contestant in its database."""
    jobs //= entrant.share
    async with AsyncPool.open(dsn, max_size=1) as db, entrant.open(dsn):
        began = perf_counter()
        await entrant.enqueue(jobs)
        result.rates["enqueue"].append(jobs / (perf_counter() - began))
        await db.execute(Q["vacuum"])
        free = await drained(entrant, jobs, 300)
        if free[-1][1] < jobs:
            raise RuntimeError(f"only {free[-1][1]:,} of {jobs:,} jobs were drained")
        result.rates["drain"].append(rate(free, 0))
        if not entrant.on_postgresql:
            return
        await entrant.enqueue(jobs)
        await db.execute(Q["vacuum"])
        async with held_xmin(dsn):
            held = await drained(entrant, jobs, held_s)
        result.rates["held"].append(rate(held, 0))
        result.rates["last_fifth"].append(rate(held, 0.8))


async def drained(entrant: Contestant, jobs: int, limit_s: float) -> Marks:
    """When how many were done, until all are or `limit_s` is over."""
    entrant.done = 0
    began = perf_counter()
    marks: Marks = [(0.0, 0)]
    draining = asyncio.ensure_future(entrant.drain())
    while entrant.done < jobs and perf_counter() - began < limit_s and not draining.done():
        await asyncio.sleep(POLL_S)
        marks.append((perf_counter() - began, entrant.done))
    entrant.stop()
    await draining
    return marks


def rate(marks: Marks, share: float) -> float:
    """Jobs a second after the first `share` of the jobs done."""
    end_at, total = marks[-1]
    start_at, before = next(mark for mark in marks if mark[1] >= total * share)
    return (total - before) / (end_at - start_at) if end_at > start_at else 0.0


def table(results: dict[str, Result]) -> str:
    """The results in Markdown; each rate also as a multiple of pgops'."""
    lines = [
        "| | enqueue, jobs/s | drain, jobs/s | drain under a held xmin | its last fifth | how |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    best = results.get("pgops")
    for name, result in results.items():
        if result.failed:
            lines.append(f"| {name} | failed: {result.failed} | | | | |")
            continue
        cells = [cell(result.rates[phase], best.rates[phase] if best else []) for phase in PHASES]
        how = f"{result.contestant.enqueues}; {result.contestant.drains}"
        lines.append(f"| {' | '.join([name, *cells, how])} |")
    return "\n".join(lines)


def cell(values: Sequence[float], ours: Sequence[float]) -> str:
    """Median, range, and how it compares with pgops; a dash where there is nothing to measure."""
    if not values:
        return "–"
    ratio = f", {median(values) / median(ours):.2f}x" if ours and values is not ours else ""
    return f"{median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f}){ratio}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(ENTRANTS)}; default: all")
    parser.add_argument("--dsn", help="a server on which databases may be created; default: the embedded one")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--held-seconds", type=float, default=20.0, help="how long a drain under a held xmin may take")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    names = given.names or list(ENTRANTS)
    results = {name: Result(ENTRANTS[name]()) for name in names}
    with open_server(Target(given.dsn, "--dsn")) as server:
        with scratch(server) as dsn:
            where = environment(dsn, os.getloadavg()[0])
        for turn in range(given.runs):
            for name, result in results.items():
                sys.stderr.write(f"run {turn + 1} of {given.runs}: {name}\n")
                entrant = result.contestant
                with scratch(server) as dsn, asyncio.Runner(loop_factory=entrant.loop) as runner:
                    try:
                        runner.run(once(entrant, dsn, given.jobs, given.held_seconds, result))
                    except Exception as error:
                        result.failed = f"{type(error).__name__}: {error}"
    peers = ", ".join(
        f"{name} {version(name)}"
        for name in ("pgmq", "pgqueuer", "procrastinate", "asyncpg", "awa-pg", "redis", "pika")
    )
    settings = ", ".join(f"{name} {where.settings[name]}" for name in ("fsync", "synchronous_commit", "shared_buffers"))
    sys.stdout.write(
        f"{table(results)}\n\n{given.jobs:,} jobs, {given.runs} runs; PostgreSQL {where.versions['postgresql']}, "
        f"{settings}; {where.cpus} CPUs ({where.machine}), load {where.load_1m:.1f} before; "
        f"pgops {where.revision}, {peers}\n"
    )


if __name__ == "__main__":
    main()
