"""Hours of a forgotten transaction, in minutes: `python tests/bench/long_hold.py`, five of them.

Another process adds jobs at a steady rate, a worker runs them, and somebody's open transaction keeps vacuum from all
that they leave behind. Each minute tells how long a job waited from the call that added it to the start of its handler
and, of pgops, how long a claim took as the worker saw it, sweeps included. What must not grow is the 99th percentile:
the last line is the last minute's over the first one's.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

from contest import HOLDERS, Contestant, working
from entrants import ENTRANTS
from sender import sender

from pgops.bench.measure import PER_S, quantile
from pgops.bench.run import environment
from pgops.bench.site import open_server, scratch
from pgops.config import Target
from pgops.services.leases import AsyncLeases

WARM_S = 2.0
Minute = dict[str, float]
HEADS = {
    "per_s": "jobs/s", "backlog": "left", "start_p50": "start, p50 ms", "start_p99": "p99", "start_max": "max",
    "claim_p50": "claim, p50 ms", "claim_p99": "p99", "claim_max": "max",
}  # fmt: skip


async def hold(name: str, dsn: str, given: argparse.Namespace) -> list[Minute]:
    """What each minute tells, also on stderr when it is over."""
    entrant, size, found = ENTRANTS[name](), max(given.rate // PER_S, 1), list[Minute]()
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(entrant.site(dsn))
        await stack.enter_async_context(entrant.connect(address))
        send = await stack.enter_async_context(sender(name, address))
        claims = stack.enter_context(timed_claims())
        serving = await stack.enter_async_context(working(entrant, entrant.serve()))
        sent = await send(min(WARM_S, given.seconds), size)
        await stack.enter_async_context(HOLDERS[given.holder](dsn))
        while len(found) < given.minutes and not serving.done():
            entrant.waited_ms, claims[:] = [], []
            began = perf_counter()
            sent += (now_sent := await send(given.seconds, size))
            found.append(minute(entrant, claims, now_sent / (perf_counter() - began), sent - entrant.done))
            sys.stderr.write(f"minute {len(found)} of {given.minutes}: {json.dumps(found[-1])}\n")
    return found


def minute(entrant: Contestant, claims: Sequence[float], per_s: float, backlog: int) -> Minute:
    """What a minute tells."""
    told: Minute = {"per_s": per_s, "backlog": backlog}
    for what, spent in (("start", entrant.waited_ms), ("claim", claims)):
        if spent:
            told |= {f"{what}_p50": quantile(spent, 50), f"{what}_p99": quantile(spent, 99), f"{what}_max": max(spent)}
    return told


@contextmanager
def timed_claims() -> Iterator[list[float]]:
    """How many milliseconds each claim of this process takes."""
    spent: list[float] = []
    claim = AsyncLeases.claim

    async def timed(self: AsyncLeases, *args: Any, **kwargs: Any) -> Any:
        began = perf_counter()
        try:
            return await claim(self, *args, **kwargs)
        finally:
            spent.append((perf_counter() - began) * 1000)

    with patch.object(AsyncLeases, "claim", timed):
        yield spent


def table(minutes: Sequence[Minute]) -> str:
    """In Markdown, a row a minute, and then how much the percentiles have grown."""
    columns = [column for column in HEADS if any(column in one for one in minutes)]
    lines = [f"| minute | {' | '.join(HEADS[column] for column in columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for number, one in enumerate(minutes, 1):
        lines.append(f"| {number} | {' | '.join(cell(column, one) for column in columns)} |")
    grown = [
        f"{what} p99 {minutes[-1][f'{what}_p99'] / minutes[0][f'{what}_p99']:.2f}x"
        for what in ("start", "claim")
        if minutes and f"{what}_p99" in minutes[0] and f"{what}_p99" in minutes[-1]
    ]
    return "\n".join([*lines, "", f"The last over the first: {', '.join(grown) or 'nothing was measured'}."])


def cell(column: str, one: Minute) -> str:
    if column not in one:
        return "–"
    return f"{one[column]:,.0f}" if column in ("per_s", "backlog") else f"{one[column]:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=ENTRANTS, default="pgops", metavar="NAME", help="who; default: pgops")
    parser.add_argument("--dsn", help="a server on which databases may be created; default: the embedded one")
    parser.add_argument("--rate", type=int, default=2_000, help=f"jobs a second, a multiple of {PER_S}")
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long a minute lasts; a few to try it")
    parser.add_argument("--holder", choices=HOLDERS, default="writer", help="who leaves a transaction open")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    loop = ENTRANTS[given.only]().loop
    try:
        with open_server(Target(given.dsn, "--dsn")) as server, scratch(server) as dsn:
            where = environment(dsn, os.getloadavg()[0])
            with asyncio.Runner(loop_factory=loop) as runner:
                minutes = runner.run(hold(given.only, dsn, given))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.stdout.write(
        f"{table(minutes)}\n\n{given.only}, a {given.holder}'s transaction open; PostgreSQL "
        f"{where.versions['postgresql']}; {where.cpus} CPUs ({where.machine}); pgops {where.revision}\n"
    )
    if given.json:
        given.json.write_text(json.dumps(minutes, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
