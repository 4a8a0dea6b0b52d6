"""One look at a database, or two of them some seconds apart: rates, and whether a queue drains, need two."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from pgops.errors import UsageError

if TYPE_CHECKING:
    from pgops.ops.collector import Collector
    from pgops.ops.observe.snapshot import Snapshot

MOST_S = 600.0
Over = Annotated[
    float | None,
    typer.Option("--over", metavar="SECONDS", help="Look again after so long: rates, and whether queues drain."),
]


async def look(collector: "Collector", over: float | None) -> "Snapshot":
    """What the collector sees now, or after `over` seconds. Raises UsageError, and as it does."""
    if over is not None and not 1 <= over <= MOST_S:
        raise UsageError(f"two looks are 1 to {MOST_S:g} seconds apart, not {over:g}", "for example --over 5")
    snapshot = await collector.collect()
    if over is None:
        return snapshot
    await asyncio.sleep(over)
    return await collector.collect(fresh=True)
