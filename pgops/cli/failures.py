"""`pgops queue failures`: why jobs died, grouped by what their last error says."""

from typing import Annotated

import typer

from pgops.cli.context import Cli

HEADS = ("queue", "kind", "jobs", "of", "10 min", "last", "first", "error without what differs", "job")


async def failures(
    cli: Cli,
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="Only this one.")] = None,
    cap: Annotated[int, typer.Option("--cap", min=1, max=10_000, help="Read the newest of each queue.")] = 1_000,
) -> None:
    """Why jobs died: dead letters grouped by their last error, without what differs from job to job, with how many, how
    many in the last ten minutes, since when, and one of them. The newest of each queue are read; ~ says there are
    more. The ids in --json are what requeue and discard take; its trend counts the last two hours by ten minutes."""
    async with cli.connect() as pg:
        found = await pg.queue.failures(queue, cap=cap)
    rows = [
        (one.queue, one.kind, one.jobs if one.exact.get("jobs", True) else f"~{one.jobs:,}", one.of, one.trend[-1],
         one.last_at, one.first_at, one.fingerprint, one.sample_id)
        for one in found
    ]  # fmt: skip
    cli.items(found, HEADS, rows)
