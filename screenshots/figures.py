"""The figures of the README: `python screenshots/figures.py`. They are of the machine it runs on.

Each is the median of RUNS runs on the embedded server with its durable defaults, in a scratch database.
"""

import asyncio
import subprocess
import sys
from statistics import median
from time import perf_counter

from pgops.config import Target
from pgops.demo.site import open_site, prepare
from pgops.runtime.registry import Registry
from pgops.runtime.worker import Worker
from pgops.services.client import AsyncPgops
from pgops.services.models import Job

RUNS, JOBS, COLD_RUNS = 3, 200_000, 5
registry = Registry()


@registry.job()
async def nothing(job: Job) -> None:
    """A handler that does nothing."""


async def enqueue_and_drain(dsn: str) -> tuple[float, float]:
    """Jobs a second in, by COPY, and out, through one worker process."""
    async with AsyncPgops.open(dsn) as pg:
        began = perf_counter()
        await pg.queue.enqueue_many("figures", ({"n": n} for n in range(JOBS)))
        enqueued = JOBS / (perf_counter() - began)
        worker = Worker(pg.db, registry, ["figures"], concurrency=10)
        began = perf_counter()
        running = asyncio.create_task(worker.run())
        while worker.stats.completed < JOBS:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        drained = JOBS / (perf_counter() - began)
        worker.stop()
        await running
    return enqueued, drained


def cold_list_s(dsn: str) -> float:
    """Wall time of `pgops queue list --json` as a program."""
    began = perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pgops", "queue", "list", "--json", "--dsn", dsn],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return perf_counter() - began


def main() -> None:
    with open_site(Target(None, "embedded")) as site:
        asyncio.run(prepare(site))
        rates = [asyncio.run(enqueue_and_drain(site.dsn)) for _ in range(RUNS)]
        cold_s = median(cold_list_s(site.dsn) for _ in range(COLD_RUNS))
    lines = (
        f"bulk enqueue by COPY, {JOBS:,} jobs: {median(rate[0] for rate in rates):,.0f} jobs/s",
        f"drain, one worker process, no-op async handler: {median(rate[1] for rate in rates):,.0f} jobs/s",
        f"pgops queue list --json, as a program: {cold_s:.2f} s",
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
